//! What identifies a person or proves who someone is, as a log may show it.

use std::fmt;

/// Prints all but the end as stars, and nothing that a terminal would obey.
#[derive(Clone, Copy)]
pub struct Pii<'t>(pub &'t str);

const SHOWN: usize = 3;

impl fmt::Display for Pii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.0.chars().count().saturating_sub(SHOWN);
        if self.0.is_empty() {
            return f.write_str("anonymous");
        }
        // As many stars for everybody: the length says something too.
        f.write_str(if hidden > 0 { "***" } else { "" })?;
        self.0.chars().skip(hidden).try_for_each(|c| write!(f, "{}", c.escape_debug()))
    }
}

impl fmt::Debug for Pii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A password; whatever prints it prints stars.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The password itself: for sums, never for a line that someone reads.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_only_the_end() {
        assert_eq!(Pii("+12125550142").to_string(), "***142");
        assert_eq!(Pii("201").to_string(), "201");
        assert_eq!(Pii("").to_string(), "anonymous");
        assert_eq!(format!("{:?}", Some(Secret::new("1234"))), "Some(***)");
        assert_eq!(Pii("x\u{1b}[2J\n").to_string(), "***2J\\n");
    }
}
