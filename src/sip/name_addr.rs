//! `"Name" <uri>;params`: From, To, Contact, Diversion, P-Asserted-Identity and their kin.

use std::fmt;
use std::str::FromStr;

use super::text::{Params, find_outside_quotes, is_token, list, unquote, write_quoted};
use super::uri::{BadUri, Uri};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Unquoted, free of control characters; `None` when empty.
    pub display: Option<String>,
    pub uri: Uri,
    pub params: Params,
}

impl NameAddr {
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::default() }
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// Whether the caller asked not to be named, as far as this header tells.
    pub fn is_anonymous(&self) -> bool {
        self.uri.is_anonymous()
            || self.display.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("anonymous"))
    }

    /// Every readable element of a comma-separated value; the others are skipped, because these
    /// headers (Diversion, History-Info, P-Asserted-Identity) only advise.
    pub(super) fn list(value: &str) -> impl Iterator<Item = Self> {
        list(value).filter_map(|element| element.parse().ok())
    }
}

impl From<Uri> for NameAddr {
    fn from(uri: Uri) -> Self {
        Self::new(uri)
    }
}

impl FromStr for NameAddr {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let text = text.trim();
        if text.contains(char::is_control) {
            return Err(BadUri("a control character"));
        }
        let Some(open) = find_outside_quotes(text, '<') else { return addr_spec(text) };
        let rest = &text[open + 1..];
        let close = rest.find('>').ok_or(BadUri("no `>`"))?;
        let after = rest[close + 1..].trim_start();
        if !(after.is_empty() || after.starts_with(';')) {
            return Err(BadUri("text after `>`"));
        }
        let display = display_name(&text[..open])?;
        Ok(Self { display, uri: rest[..close].parse()?, params: Params::read(after) })
    }
}

/// RFC 3261 §20: without brackets, every parameter belongs to the header, not to the URI.
fn addr_spec(text: &str) -> Result<NameAddr, BadUri> {
    // The user part may hold semicolons, so parameters are looked for after the `@`.
    let host = text.find('@').map_or(0, |at| at + 1);
    let end = text[host..].find(';').map_or(text.len(), |at| host + at);
    let uri = text[..end].trim_end().parse()?;
    Ok(NameAddr { display: None, uri, params: Params::read(&text[end..]) })
}

fn display_name(text: &str) -> Result<Option<String>, BadUri> {
    let text = text.trim();
    if text.starts_with('"') && !(text.len() > 1 && text.ends_with('"')) {
        return Err(BadUri("no end of the quoted name"));
    }
    let name = unquote(text);
    Ok(if name.is_empty() { None } else { Some(name) })
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.display {
            Some(name) if is_token(name) => write!(f, "{name} ")?,
            Some(name) => {
                write_quoted(f, name)?;
                f.write_str(" ")?;
            }
            None => {}
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NameAddr {
        text.parse().expect(text)
    }

    #[test]
    fn quoted_names_with_everything_in_them() {
        let addr = read(r#""J \"<Rosen>\", x" <sip:jd@h;lr>;tag=98"#);
        assert_eq!(addr.display.as_deref(), Some(r#"J "<Rosen>", x"#));
        assert_eq!(addr.tag(), Some("98"));
        assert!(addr.uri.params.has("lr"));
        assert_eq!(addr.to_string(), r#""J \"<Rosen>\", x" <sip:jd@h;lr>;tag=98"#);
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let addr = read("sip:a;x=1@h;tag=7");
        assert_eq!((addr.uri.user.as_str(), addr.tag()), ("a;x=1", Some("7")));
        assert!(!addr.uri.params.has("tag"));
        assert_eq!(read("Mr. Watson <tel:+1>").display.as_deref(), Some("Mr. Watson"));
    }

    #[test]
    fn anonymous_callers() {
        assert!(read("\"Anonymous\" <sip:anonymous@anonymous.invalid>").is_anonymous());
        assert!(read("\"Anonymous\" <sip:x@h>").is_anonymous());
        assert!(!read("<sip:401@h>").is_anonymous());
    }

    #[test]
    fn broken_ones() {
        for text in
            ["", "\"x <sip:a@h>", "<sip:a@h", "<sip:a@h> x", "<>", "x", "<sip:a@h>;t\u{7}=1"]
        {
            assert!(text.parse::<NameAddr>().is_err(), "{text}");
        }
    }
}
