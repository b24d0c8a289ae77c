//! The lexical ground of RFC 3261 §25: tokens, quoted strings, lists, parameters.
//!
//! Everything here takes what is already a `str` without line breaks; `lexer` made it so.

use std::fmt::{self, Write};

/// `;name=value` in the order written; names compare without case (RFC 3261 §7.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `a;b=c;d="e;f"`, with or without the leading semicolon.
    pub(super) fn read(text: &str) -> Self {
        let pairs = split_outside_quotes(text, ';').map(str::trim).filter(|part| !part.is_empty());
        Self(pairs.map(pair).collect())
    }

    /// The value as written; `None` also for a parameter that stands without one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.find(name)?.1.as_deref()
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub fn set(&mut self, name: &str, value: Option<String>) {
        self.remove(name);
        self.0.push((name.to_owned(), value));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    fn find(&self, name: &str) -> Option<&(String, Option<String>)> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.iter() {
            f.write_char(';')?;
            write_visible(f, name)?;
            if let Some(value) = value {
                f.write_char('=')?;
                write_visible(f, value)?;
            }
        }
        Ok(())
    }
}

fn pair(part: &str) -> (String, Option<String>) {
    match part.split_once('=') {
        Some((name, value)) => (name.trim_end().to_owned(), Some(value.trim_start().to_owned())),
        None => (part.to_owned(), None),
    }
}

/// The elements of a comma-separated header value: commas inside quotes and angle brackets
/// do not count (RFC 3261 §7.3).
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    Split { rest: Some(value), at: ',', brackets: true }
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// Whether a list keeps to its separators: no empty element, and no empty parameter
/// (RFC 4475 §3.1.2.1).
pub(super) fn is_well_separated(value: &str) -> bool {
    let elements = Split { rest: Some(value), at: ',', brackets: true };
    elements.into_iter().all(|element| {
        split_outside_quotes(element, ';').all(|parameter| !parameter.trim().is_empty())
    })
}

pub(super) fn split_outside_quotes(text: &str, at: char) -> impl Iterator<Item = &str> {
    Split { rest: Some(text), at, brackets: false }
}

/// Where `wanted` first stands outside of quotes.
pub(super) fn find_outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quoting = Quoting::default();
    text.char_indices().find(|&(_, c)| quoting.outside(c) && c == wanted).map(|(at, _)| at)
}

struct Split<'a> {
    rest: Option<&'a str>,
    at: char,
    brackets: bool,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest?;
        let mut quoting = Quoting::default();
        let mut depth = 0_u32;
        for (at, c) in text.char_indices() {
            if !quoting.outside(c) {
                continue;
            }
            match c {
                '<' if self.brackets => depth += 1,
                '>' if self.brackets => depth = depth.saturating_sub(1),
                _ if c == self.at && depth == 0 => {
                    self.rest = Some(&text[at + c.len_utf8()..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(text)
    }
}

/// Follows quotes and backslashes through a text, one character at a time.
#[derive(Default)]
enum Quoting {
    #[default]
    Plain,
    Quoted,
    Escaped,
}

impl Quoting {
    /// Takes the next character; true when it stands outside of quotes and is no quote itself.
    fn outside(&mut self, c: char) -> bool {
        let (next, outside) = match (&*self, c) {
            (Self::Plain, '"') | (Self::Escaped, _) => (Self::Quoted, false),
            (Self::Plain, _) => (Self::Plain, true),
            (Self::Quoted, '"') => (Self::Plain, false),
            (Self::Quoted, '\\') => (Self::Escaped, false),
            (Self::Quoted, _) => (Self::Quoted, false),
        };
        *self = next;
        outside
    }
}

/// `"a \"b\""` becomes `a "b"`; what is not quoted stays as it is.
pub(super) fn unquote(text: &str) -> String {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"') else { return visible(text) };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' { chars.next().unwrap_or('\\') } else { c };
        plain.push(c);
    }
    visible(&plain)
}

/// Writes a quoted string (RFC 3261 §25.1), leaving out what could break a line.
pub(super) fn write_quoted(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

pub(super) fn write_visible(f: &mut impl Write, text: &str) -> fmt::Result {
    if !text.contains(char::is_control) {
        return f.write_str(text);
    }
    text.chars().filter(|c| !c.is_control()).try_for_each(|c| f.write_char(c))
}

pub(super) fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// Undoes `%41`. Control characters are left out: a user part may become a file name or a log
/// line one day, and no honest one has any.
pub(super) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| hex_pair(bytes, at + 1)).flatten();
        plain.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    visible(&String::from_utf8_lossy(&plain))
}

fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let (high, low) = (digit(bytes.get(at)?)?, digit(bytes.get(at + 1)?)?);
    u8::try_from(high * 16 + low).ok()
}

/// Writes `text` with everything but letters, digits and `plain` as `%XX`.
pub(super) fn write_escaped(f: &mut impl Write, text: &str, plain: &[u8]) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let value = r#""a, \"b" <sip:x,y@h>;p=1, <sip:z@h> ,, c"#;
        let parts: Vec<_> = list(value).collect();
        assert_eq!(parts, [r#""a, \"b" <sip:x,y@h>;p=1"#, "<sip:z@h>", "c"]);
    }

    #[test]
    fn params_keep_quoted_semicolons_and_ignore_case() {
        let params = Params::read(";Tag=abc ; lr;reason=\"a;b\"");
        assert_eq!(params.value("tag"), Some("abc"));
        assert!(params.has("LR"));
        assert_eq!(params.value("reason"), Some("\"a;b\""));
        assert_eq!(params.to_string(), ";Tag=abc;lr;reason=\"a;b\"");
    }

    #[test]
    fn escapes_never_yield_control_characters() {
        assert_eq!(unescape("a%0d%0aX%41%zz%4"), "aXA%zz%4");
        let mut out = String::new();
        write_escaped(&mut out, "a b%\r\n", b"-_.").expect("a String takes all");
        assert_eq!(out, "a%20b%25%0D%0A");
    }
}
