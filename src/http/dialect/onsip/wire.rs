//! OnSIP's words: an envelope in XML, and the same as JSON, in which everything is a string.
//!
//! <https://developer.onsip.com/docs/admin-api>, and the schemas in `rng/`.

use std::collections::BTreeMap;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::super::form::{self, TooMany};

pub(super) const NAMESPACE: &str = "http://www.jnctn.net/ns/rest/2006-01";

/// An element of their answers, written in either form.
#[derive(Clone, Debug)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    pub(super) fn new(name: &'static str, children: Vec<Self>) -> Self {
        Self { name, attributes: vec![], text: String::new(), children }
    }

    pub(super) fn text(name: &'static str, text: impl Into<String>) -> Self {
        Self { text: printable(&text.into()), ..Self::new(name, vec![]) }
    }

    pub(super) fn with(mut self, attribute: &'static str, value: &impl ToString) -> Self {
        self.attributes.push((attribute, value.to_string()));
        self
    }

    pub(super) fn push(&mut self, child: Self) {
        self.children.push(child);
    }

    pub(super) fn xml(&self) -> String {
        let mut writer = Writer::new(Vec::new());
        // A vector takes everything.
        let _ = writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        self.write(&mut writer);
        String::from_utf8(writer.into_inner()).unwrap_or_default()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) {
        let mut start = BytesStart::new(self.name);
        for (name, value) in &self.attributes {
            start.push_attribute((*name, value.as_str()));
        }
        if self.children.is_empty() && self.text.is_empty() {
            let _ = writer.write_event(Event::Empty(start));
            return;
        }
        let _ = writer.write_event(Event::Start(start));
        if !self.text.is_empty() {
            let _ = writer.write_event(Event::Text(BytesText::new(&self.text)));
        }
        self.children.iter().for_each(|child| child.write(writer));
        let _ = writer.write_event(Event::End(BytesEnd::new(self.name)));
    }

    /// A mechanical dump of the XML: an empty element is `{}`, several of one name are an array,
    /// one is not.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(&BTreeMap::from([(self.name, self)])).unwrap_or_default()
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.text.is_empty() {
            return serializer.serialize_str(&self.text);
        }
        let mut map = serializer.serialize_map(None)?;
        let attributes = self.attributes.iter().filter(|(name, _)| *name != "xmlns");
        let attributes: Vec<_> = attributes.collect();
        if !attributes.is_empty() {
            map.serialize_entry("@attributes", &Attributes(attributes))?;
        }
        for (at, child) in self.children.iter().enumerate() {
            let same = |other: &&Self| other.name == child.name;
            if self.children[..at].iter().any(|before| same(&before)) {
                continue;
            }
            let all: Vec<&Self> = self.children[at..].iter().filter(same).collect();
            match all[..] {
                [one] => map.serialize_entry(child.name, one)?,
                _ => map.serialize_entry(child.name, &all)?,
            }
        }
        map.end()
    }
}

struct Attributes<'e>(Vec<&'e (&'static str, String)>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// XML 1.0 has no characters but these (§2.2).
fn printable(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

/// What went wrong inside of us.
pub(super) fn exception(why: &str) -> String {
    format!(r#"<?xml version="1.0" encoding="UTF-8"?><Exception><![CDATA[{why}]]></Exception>"#)
}

/// Parameters as they came. Names are case-sensitive; of a repeated one the last counts.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    pub(super) fn read(query: &str, body: &str) -> Result<Self, TooMany> {
        let mut given: Vec<(String, String)> = vec![];
        for (name, value) in form::pairs(query)?.into_iter().chain(form::pairs(body)?) {
            match given.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => given.push((name, value)),
            }
        }
        Ok(Self(given))
    }

    pub(super) fn nothing() -> Self {
        Self(vec![])
    }

    /// Empty text is as good as none, but where it takes something away.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn echo(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Something wrong with a parameter.
pub(super) struct Fault {
    pub(super) parameter: &'static str,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Who asks, as the answer tells.
pub(super) struct Session {
    pub(super) id: Option<String>,
    pub(super) user: String,
    pub(super) roles: Vec<&'static str>,
}

/// All of an answer but its result.
pub(super) struct Context<'c> {
    pub(super) given: &'c Given,
    /// Applied where nothing was given.
    pub(super) defaults: Vec<(&'static str, String)>,
    pub(super) valid: bool,
    pub(super) request_faults: Vec<Fault>,
    /// Code and message.
    pub(super) action_fault: Option<(&'static str, String)>,
    pub(super) date_time: String,
    pub(super) milliseconds: u128,
    pub(super) session: Option<Session>,
}

pub(super) fn response(context: &Context, result: Option<Element>) -> Element {
    let mut action = Element::new("Action", vec![truth("IsCompleted", result.is_some())]);
    if let Some((code, message)) = &context.action_fault {
        let error = vec![Element::text("Code", *code), Element::text("Message", message)];
        action.push(Element::new("Errors", vec![Element::new("Error", error)]));
    }
    let children = vec![action, request(context), session(context.session.as_ref())];
    let mut response =
        Element::new("Response", vec![Element::new("Context", children)]).with("xmlns", &NAMESPACE);
    if let Some(result) = result {
        response.push(Element::new("Result", vec![result]));
    }
    response
}

fn request(context: &Context) -> Element {
    let mut request = Element::new(
        "Request",
        vec![
            truth("IsValid", context.valid),
            Element::text("DateTime", &context.date_time),
            Element::text("Duration", context.milliseconds.to_string()),
        ],
    );
    let defaults = context.defaults.iter().map(|(name, value)| (*name, value.as_str()));
    let parameters: Vec<Element> = context
        .given
        .echo()
        .chain(defaults)
        .map(|(name, value)| {
            let value = if is_secret(name) && !value.is_empty() { STARS } else { value };
            let pair = vec![Element::text("Name", name), Element::text("Value", value)];
            Element::new("Parameter", pair)
        })
        .collect();
    if !parameters.is_empty() {
        request.push(Element::new("Parameters", parameters));
    }
    if !context.request_faults.is_empty() {
        let faults = context.request_faults.iter().map(|fault| {
            Element::new(
                "Error",
                vec![
                    Element::text("Parameter", fault.parameter),
                    Element::text("Code", fault.code),
                    Element::text("Message", &fault.message),
                ],
            )
        });
        request.push(Element::new("Errors", faults.collect()));
    }
    request
}

fn session(session: Option<&Session>) -> Element {
    let mut element = Element::new("Session", vec![truth("IsEstablished", session.is_some())]);
    if let Some(session) = session {
        if let Some(id) = &session.id {
            element.push(Element::text("SessionId", id));
        }
        element.push(Element::text("UserId", &session.user));
        let roles = session
            .roles
            .iter()
            .map(|role| Element::new("Role", vec![Element::text("Name", *role)]));
        element.push(Element::new("Roles", roles.collect()));
    }
    element
}

pub(super) const STARS: &str = "******";

/// Nobody reads a password in an answer, however its name is written.
fn is_secret(name: &str) -> bool {
    name.to_ascii_lowercase().contains("password")
}

pub(super) fn truth(name: &'static str, value: bool) -> Element {
    Element::text(name, if value { "true" } else { "false" })
}

/// JSONP calls what a page names: a name and nothing more.
pub(super) fn is_callback(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._[]".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_dump_of_the_xml() {
        let one = || Element::text("A", "1");
        let tree = |children| Element::new("X", children).with("Found", &2).json();
        assert_eq!(tree(vec![]), r#"{"X":{"@attributes":{"Found":"2"}}}"#);
        assert_eq!(tree(vec![one()]), r#"{"X":{"@attributes":{"Found":"2"},"A":"1"}}"#);
        assert_eq!(
            tree(vec![one(), Element::text("A", "")]),
            r#"{"X":{"@attributes":{"Found":"2"},"A":["1",{}]}}"#
        );
    }

    #[test]
    fn nothing_escapes_its_element() {
        let xml = Element::text("A", "<&>\"'\u{0}\u{b}").with("b", &"\"<&").xml();
        let wanted = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <A b=\"&quot;&lt;&amp;\">&lt;&amp;&gt;&quot;&apos;\u{fffd}\u{fffd}</A>";
        assert_eq!(xml, wanted);
    }

    #[test]
    fn a_callback_is_a_name() {
        assert!(is_callback("jQuery_1.cb[0]") && is_callback("a"));
        for bad in ["", "alert(1)", "a;b", "a b", "a<b", "\u{e9}"] {
            assert!(!is_callback(bad), "{bad}");
        }
    }
}
