//! What owners may do by telephone, with which keys, and where calls may go from here.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The owner's menus.
#[derive(Clone, Debug, PartialEq)]
pub struct Menus {
    pub style: Style,
    /// Menu to key to deed, on top of the usual keys.
    pub keys: BTreeMap<String, BTreeMap<String, String>>,
    /// Of what is said before anybody has logged in.
    pub language: String,
    /// One who calls the own mailbox is asked for the PIN instead of hearing the greeting.
    pub own_calls: bool,
    pub logins: u8,
    pub rounds: u8,
    pub patience_seconds: u32,
    pub skip_seconds: u32,
    pub newest_first: bool,
    pub next_after: bool,
    pub wrap: bool,
    /// The length is told of messages that last as many seconds.
    pub say_duration_from_seconds: u32,
    pub max_greeting_seconds: u32,
    /// The owner of a new mailbox first sets it up: name, greetings and PIN.
    pub first_visit: bool,
    pub force_name: bool,
    pub force_greetings: bool,
    /// Whether owners may send messages to each other.
    pub send: bool,
    pub directory: bool,
    /// A number to mailboxes of the same context.
    pub lists: BTreeMap<String, Vec<String>>,
    /// Numbers that a sender may be called back at, and that owners may call: digits, `?` for any
    /// digit, and `*` at the end for more of them.
    pub call_back: Vec<String>,
    pub dial_out: Vec<String>,
    /// Calls that one mailbox may place in a day.
    pub calls_per_day: u32,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    Full,
    Short,
}

/// Who reaches the login by `*` in the middle of a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StarLogin {
    Nobody,
    /// Callers from a peer that is trusted.
    Trusted,
    Everybody,
}

impl Default for Menus {
    fn default() -> Self {
        Self {
            style: Style::Full,
            keys: BTreeMap::new(),
            language: "en".into(),
            own_calls: true,
            logins: 3,
            rounds: 3,
            patience_seconds: 6,
            skip_seconds: 3,
            newest_first: false,
            next_after: false,
            wrap: false,
            say_duration_from_seconds: 0,
            max_greeting_seconds: 60,
            first_visit: true,
            force_name: true,
            force_greetings: true,
            send: true,
            directory: true,
            lists: BTreeMap::new(),
            call_back: vec![],
            dial_out: vec![],
            calls_per_day: 20,
        }
    }
}

impl Menus {
    /// Whether an owner may call this number.
    pub fn permits(patterns: &[String], number: &str) -> bool {
        let dialable = (1..=32).contains(&number.len())
            && number.chars().all(|c| c.is_ascii_digit() || "+*#".contains(c));
        dialable && patterns.iter().any(|pattern| fits(pattern, number))
    }
}

fn fits(pattern: &str, number: &str) -> bool {
    let (pattern, more) = match pattern.strip_suffix('*') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let long_enough =
        if more { number.len() >= pattern.len() } else { number.len() == pattern.len() };
    long_enough
        && pattern.chars().zip(number.chars()).all(|(wanted, digit)| match wanted {
            '?' => digit.is_ascii_digit(),
            wanted => wanted == digit,
        })
}

/// What cannot work, by key.
pub(super) fn problems(menus: &Menus, calls_to: Option<&str>) -> Vec<(&'static str, String)> {
    let mut problems = vec![];
    let mut refuse = |wrong: bool, key: &'static str, why: String| {
        if wrong {
            problems.push((key, why));
        }
    };
    for (value, key, [least, most]) in [
        (menus.logins.into(), "menus.logins", [1, 10]),
        (menus.rounds.into(), "menus.rounds", [1, 20]),
        (menus.patience_seconds, "menus.patience_seconds", [1, 60]),
        (menus.skip_seconds, "menus.skip_seconds", [1, 600]),
        (menus.max_greeting_seconds, "menus.max_greeting_seconds", [5, 600]),
        (menus.calls_per_day, "menus.calls_per_day", [0, 10_000]),
    ] {
        let fine = (least..=most).contains(&value);
        refuse(!fine, key, format!("is {least} to {most}"));
    }
    refuse(
        !crate::mailbox::is_language(&menus.language),
        "menus.language",
        "is not like `en` or `pt-BR`".into(),
    );
    for (list, members) in &menus.lists {
        refuse(
            !list.bytes().all(|b| b.is_ascii_digit()) || list.is_empty(),
            "menus.lists",
            format!("`{}` is no number that can be dialled", list.escape_debug()),
        );
        let wrong = members.iter().find(|number| !crate::mailbox::is_plain_name(number));
        refuse(
            wrong.is_some(),
            "menus.lists",
            format!("`{}` is no mailbox's number", wrong.map_or("", |w| w).escape_debug()),
        );
    }
    for (patterns, key) in
        [(&menus.call_back, "menus.call_back"), (&menus.dial_out, "menus.dial_out")]
    {
        let plain = |pattern: &String| {
            let body = pattern.strip_suffix('*').unwrap_or(pattern);
            !pattern.is_empty() && body.chars().all(|c| c.is_ascii_digit() || "+?#".contains(c))
        };
        let wrong = patterns.iter().find(|pattern| !plain(pattern));
        refuse(
            wrong.is_some(),
            key,
            format!("`{}` is no pattern of digits", wrong.map_or("", |w| w).escape_debug()),
        );
        refuse(
            !patterns.is_empty() && calls_to.is_none(),
            key,
            "needs sip.calls_to, which says where calls go".into(),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_allowed_is_called() {
        let patterns = ["1???", "+49*", "5#"].map(str::to_owned);
        for (number, permitted) in [
            ("1234", true),
            ("12345", false),
            ("123", false),
            ("+4930123", true),
            ("+4430123", false),
            ("12a4", false),
            ("+49;x", false),
            ("5#", true),
            ("", false),
        ] {
            assert_eq!(Menus::permits(&patterns, number), permitted, "{number}");
        }
        assert!(!Menus::permits(&[], "1234"));
    }
}
