//! What letters say: one template for each kind and language, the subject in its first line.
//!
//! Built in are those of `conf/mail`; a directory of the operator's comes before them, and so does a
//! subject or a body in the configuration, which may use the `${VM_…}` of Asterisk.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use rust_embed::Embed;
use serde::Serialize;

use super::facts::plain;

#[derive(Embed)]
#[folder = "conf/mail/"]
#[include = "*/*.txt"]
#[include = "*.html"]
struct BuiltIn;

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    New,
    /// For a telephone or pager: one short line.
    Page,
    NearlyFull,
    Full,
    Locked,
    Changed,
    Digest,
    Reminder,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::New,
        Self::Page,
        Self::NearlyFull,
        Self::Full,
        Self::Locked,
        Self::Changed,
        Self::Digest,
        Self::Reminder,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Page => "page",
            Self::NearlyFull => "nearly_full",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Changed => "changed",
            Self::Digest => "digest",
            Self::Reminder => "reminder",
        }
    }
}

/// Subjects and bodies from the configuration; they hold for every language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub subject: Option<String>,
    pub body: Option<String>,
    pub pager_subject: Option<String>,
    pub pager_body: Option<String>,
}

/// A letter's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub subject: String,
    pub text: String,
}

pub struct Templates {
    environment: Environment<'static>,
}

/// The language of which every template exists.
const FALLBACK: &str = "en";
/// A longer subject helps nobody (RFC 5322 §2.1.1 counts its line).
const SUBJECT: usize = 200;
/// A page is one short message of a mobile network.
const PAGE: usize = 160;
const LAYOUT: &str = "layout.html";

impl Templates {
    /// Reads all templates; `Err` names those that cannot be understood.
    pub fn load(directory: Option<&Path>, own: &Own) -> Result<Self, Vec<String>> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|name| {
            let html = Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("html"));
            if html { AutoEscape::Html } else { AutoEscape::None }
        });
        let mut problems = vec![];
        let mut add = |name: String, source: String| {
            if let Err(error) = environment.add_template_owned(name.clone(), source) {
                problems.push(format!("the mail template {name}: {error:#}"));
            }
        };
        for name in BuiltIn::iter() {
            if let Some(file) = BuiltIn::get(&name) {
                add(name.into_owned(), String::from_utf8_lossy(&file.data).into_owned());
            }
        }
        for (name, source) in directory.map(files).unwrap_or_default() {
            add(name, source);
        }
        let texts = [
            (Kind::New, &own.subject, &own.body),
            (Kind::Page, &own.pager_subject, &own.pager_body),
        ];
        for (kind, subject, body) in texts {
            for (part, text) in [("subject", subject), ("body", body)] {
                if let Some(text) = text {
                    add(format!("own/{}.{part}", kind.name()), from_asterisk(text));
                }
            }
        }
        if problems.is_empty() { Ok(Self { environment }) } else { Err(problems) }
    }

    /// The words of a letter; a template that fails falls back to English, so that a slip in one
    /// language never keeps a notice back.
    pub fn words(&self, kind: Kind, language: &str, facts: &impl Serialize) -> Words {
        let facts = Value::from(Serde(facts));
        let base = language.split(['-', '_']).next().unwrap_or_default();
        let names =
            [language, base, FALLBACK].map(|folder| format!("{folder}/{}.txt", kind.name()));
        let text = names.iter().find_map(|name| self.render(name, &facts)).unwrap_or_default();
        let (subject, body) = split(&text);
        let own = |part: &str| self.render(&format!("own/{}.{part}", kind.name()), &facts);
        let subject = own("subject").unwrap_or(subject);
        let body = own("body").unwrap_or(body);
        let mut text = tidy(&body);
        if kind == Kind::Page {
            text = text.trim().chars().take(PAGE).collect();
        }
        Words { subject: one_line(&subject), text }
    }

    /// The same words as restrained HTML: paragraphs and links, no picture and no script.
    pub fn html(&self, words: &Words, language: &str) -> String {
        let paragraphs: Vec<Vec<Vec<Word<'_>>>> = words
            .text
            .split("\n\n")
            .filter(|paragraph| !paragraph.trim().is_empty())
            .map(|paragraph| paragraph.lines().map(linked).collect())
            .collect();
        let subject = &words.subject;
        let facts = Value::from(Serde(Page { language, subject, paragraphs }));
        self.render(LAYOUT, &facts).unwrap_or_default()
    }

    fn render(&self, name: &str, facts: &Value) -> Option<String> {
        self.environment.get_template(name).ok()?.render(facts).ok()
    }
}

#[derive(Serialize)]
struct Page<'t> {
    language: &'t str,
    subject: &'t str,
    paragraphs: Vec<Vec<Vec<Word<'t>>>>,
}

#[derive(Serialize)]
struct Word<'t> {
    text: &'t str,
    link: bool,
}

/// A line in words and the blanks between them, addresses of pages marked.
fn linked(line: &str) -> Vec<Word<'_>> {
    line.split_inclusive(' ')
        .flat_map(|part| {
            let text = part.trim_end_matches(' ');
            let link = text.starts_with("https://") || text.starts_with("http://");
            [Word { text, link }, Word { text: &part[text.len()..], link: false }]
        })
        .filter(|word| !word.text.is_empty())
        .collect()
}

fn files(directory: &Path) -> Vec<(String, String)> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let mut found = vec![];
    for path in entries(directory)
        .into_iter()
        .flat_map(|path| if path.is_dir() { entries(&path) } else { vec![path] })
    {
        let Ok(name) = path.strip_prefix(directory) else { continue };
        let known = path.extension().is_some_and(|e| e == "txt" || e == "html");
        if let (true, Some(name), Ok(text)) = (known, name.to_str(), fs::read_to_string(&path)) {
            found.push((name.to_owned(), text));
        }
    }
    found
}

/// `Subject: …` in the first line, the body below.
fn split(text: &str) -> (String, String) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.strip_prefix("Subject:") {
        Some(subject) => (subject.trim().to_owned(), rest.to_owned()),
        None => (String::new(), text.to_owned()),
    }
}

/// No run of empty lines, where a template's conditions left nothing.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = true;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() && empty {
            continue;
        }
        empty = line.is_empty();
        out.push_str(line);
        out.push('\n');
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out.push('\n');
    out
}

#[cfg(test)]
pub(super) fn tests_one_line(text: &str) -> String {
    one_line(text)
}

/// What stands in a header: one line, without characters that a terminal or server would obey.
fn one_line(text: &str) -> String {
    let line: String = plain(text).chars().take(SUBJECT).collect();
    line.trim_end().to_owned()
}

/// A text of voicemail.conf: `${VM_NAME}` is a fact, `\n` and `\t` are what they say, and braces
/// of ours mean nothing. A text without `${` is a template as ours are.
fn from_asterisk(text: &str) -> String {
    if !text.contains("${") {
        return text.to_owned();
    }
    let text = text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("${") {
        out.push_str(&literal(&rest[..at]));
        let inner = &rest[at + 2..];
        match inner.split_once('}') {
            Some((name, after)) if is_variable(name) => {
                out.push_str("{{ ");
                out.push_str(name);
                out.push_str(" }}");
                rest = after;
            }
            // A function of the dialplan: it stays as it is, for the operator to see.
            _ => {
                out.push_str("${");
                rest = inner;
            }
        }
    }
    out.push_str(&literal(rest));
    out
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn literal(text: &str) -> String {
    if text.contains("{{") || text.contains("{%") || text.contains("{#") {
        format!("{{% raw %}}{text}{{% endraw %}}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_letter_and_each_says_its_facts() {
        let templates = Templates::load(None, &Own::default()).unwrap_or_else(|e| panic!("{e:?}"));
        let facts = serde_json::json!({
            "name": "Zoë", "mailbox": "1000", "caller": "Ann <b>", "duration": "0:17",
            "date": "then", "urgent": true, "new": 2, "old": 1, "percent": 80, "until": "noon",
            "what": "PIN", "more": 0, "messages": [{"caller": "c1", "date": "d1", "duration": "0:01"}],
        });
        for language in ["en", "es", "fr", "de", "it", "pt", "pt-BR"] {
            for kind in Kind::ALL {
                let name = format!("{}/{}.txt", &language[..2], kind.name());
                assert!(BuiltIn::get(&name).is_some(), "{name} is missing");
                let words = templates.words(kind, language, &facts);
                assert!(!words.subject.is_empty() && words.text.len() > 10, "{name}");
                assert!(format!("{words:?}").contains("1000"), "{name}");
                assert!(!words.text.contains("\n\n\n"), "{name}");
            }
        }
    }

    #[test]
    fn a_letter_of_asterisk_keeps_its_words() {
        let own = Own {
            subject: Some("New ${VM_MSGNUM} in ${VM_MAILBOX}".into()),
            body: Some("Dear ${VM_NAME}:\\n\\n\\t{{ ${VM_DUR} ${IF(x?y)} 50 %}".into()),
            ..Own::default()
        };
        let templates = Templates::load(None, &own).unwrap_or_else(|e| panic!("{e:?}"));
        let facts = serde_json::json!({
            "VM_MSGNUM": 3, "VM_MAILBOX": "1000", "VM_NAME": "{{ evil }}\n", "VM_DUR": "0:17",
        });
        let words = templates.words(Kind::New, "en", &facts);
        assert_eq!(words.subject, "New 3 in 1000");
        assert_eq!(words.text, "Dear {{ evil }}\n:\n\n\t{{ 0:17 ${IF(x?y)} 50 %}\n");
    }

    #[test]
    fn html_escapes_what_callers_say() {
        let templates = Templates::load(None, &Own::default()).unwrap_or_else(|e| panic!("{e:?}"));
        let words = Words {
            subject: "<s>".into(),
            text: "from <script>alert(1)</script>\nhttps://x.example/?a=1&b=\"2 end\n\nbye\n"
                .into(),
        };
        let html = templates.html(&words, "en");
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("<a href=\"https:&#x2f;&#x2f;x.example&#x2f;?a=1&amp;b=&quot;2\">"));
        assert_eq!(html.matches("<p>").count(), 2);
    }

    #[test]
    fn a_broken_template_is_told_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("en")).unwrap();
        fs::write(dir.path().join("en/new.txt"), "Subject: {{ x").unwrap();
        let Err(problems) = Templates::load(Some(dir.path()), &Own::default()) else {
            panic!("taken")
        };
        assert!(problems[0].contains("en/new.txt"), "{problems:?}");
    }
}
