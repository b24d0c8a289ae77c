//! Transcripts of HTTP: a list of exchanges, each begun by a line `### what it shows`.
//!
//! In a request, `Authorization: Basic name:password` stands for its encoded form, and lines that
//! begin with `> ` are the body; `> @FILE` stands for what is in the file. What is drawn by chance is told by a label, such as `{uuid-1}`, and a
//! later request may name it. `WAIT 60` in place of a request lets a minute pass, at once.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub fn replay(script: &str, address: SocketAddr, clock: &AtomicI64) -> String {
    let mut out = String::new();
    let mut labels = Labels::default();
    for one in script.split("### ").skip(1) {
        let (title, rest) = one.split_once('\n').unwrap();
        let request: String =
            rest.lines().take_while(|line| !line.is_empty()).map(|l| format!("{l}\n")).collect();
        if let Some(seconds) = request.strip_prefix("WAIT ") {
            clock.fetch_add(seconds.trim().parse().unwrap(), Ordering::Relaxed);
            write!(out, "### {title}\n{request}\n").unwrap();
            continue;
        }
        labels.asked += &request;
        let (head, body) = exchange(&labels.filled(&request), address);
        if body.starts_with("<?xml") && body.contains("<Response") {
            validate(&body, title);
        }
        let head = labels.labelled(&head);
        let body = labels.labelled(&without_durations(&body));
        write!(out, "### {title}\n{request}\n{head}\n{}\n\n", broken_up(&body)).unwrap();
    }
    out
}

/// The status line and the headers that matter, and the body.
pub fn exchange(request: &str, address: SocketAddr) -> (String, String) {
    let mut raw = String::new();
    let mut body: Vec<Vec<u8>> = vec![];
    for line in request.lines() {
        if let Some(text) = line.strip_prefix("> ") {
            body.push(match text.strip_prefix('@') {
                Some(file) => std::fs::read(file).unwrap(),
                None => text.into(),
            });
            continue;
        }
        raw += &match line.strip_prefix("Authorization: Basic ") {
            Some(pair) => format!("Authorization: Basic {}\r\n", STANDARD.encode(pair)),
            None => format!("{line}\r\n"),
        };
    }
    let body = body.join(&b'\n');
    if !body.is_empty() {
        raw += &format!("Content-Length: {}\r\n", body.len());
    }
    raw += "Host: test\r\nConnection: close\r\n\r\n";
    let answer = sent([raw.as_bytes(), &body].concat().as_slice(), address);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let told = [
        "access-control-allow-origin:",
        "content-type:",
        "location:",
        "content-range:",
        "www-authenticate:",
        "allow:",
    ];
    let shown: Vec<&str> = head
        .lines()
        .enumerate()
        .filter(|(n, line)| {
            let line = line.to_ascii_lowercase();
            *n == 0 || told.iter().any(|name| line.starts_with(name))
        })
        .map(|(_, line)| line)
        .collect();
    (shown.join("\n") + "\n", if chunked { joined(body) } else { body.to_owned() })
}

/// Sends bytes, and reads what comes until the other side has said all.
pub fn sent(bytes: &[u8], address: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    // Whoever is refused early may not read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// RFC 9112 §7.1.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &rest[..size];
        chunks = rest[size..].strip_prefix("\r\n").unwrap_or("");
        if size == 0 {
            break;
        }
    }
    body
}

/// Every answer in XML is what the schema of its action says.
pub fn validate(body: &str, title: &str) {
    let action = body.split("<Name>Action</Name><Value>").nth(1);
    let action = action.and_then(|rest| rest.split('<').next()).unwrap_or_default();
    let schemas = Path::new("src/http/dialect/onsip/rng");
    let own = schemas.join(format!("{action}.rng"));
    let schema = if own.is_file() { own } else { schemas.join("SessionCreate.rng") };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("answer.xml");
    std::fs::write(&file, body).unwrap();
    let checked =
        Command::new("xmllint").arg("--noout").arg("--relaxng").arg(schema).arg(file).output();
    let checked = checked.expect("xmllint (Debian: libxml2-utils)");
    let why = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{title}: {why}\n{body}");
}

/// How long a request took is nobody's contract.
fn without_durations(body: &str) -> String {
    let mut text = body.to_owned();
    for (before, after) in [("<Duration>", "</"), ("\"Duration\":\"", "\"")] {
        if let Some((head, rest)) = text.split_once(before) {
            let (_, tail) = rest.split_once(after).unwrap();
            text = format!("{head}{before}0{after}{tail}");
        }
    }
    text
}

/// What was drawn by chance, by the names that a transcript gives it.
#[derive(Default)]
pub struct Labels {
    known: Vec<(String, String)>,
    /// All requests so far: what was sent was not drawn.
    pub asked: String,
}

impl Labels {
    pub fn filled(&self, request: &str) -> String {
        self.known
            .iter()
            .fold(request.to_owned(), |text, (label, value)| text.replace(label, value))
    }

    pub fn labelled(&mut self, text: &str) -> String {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        for found in text.split(|c| !word(c)) {
            let kind = match found.len() {
                36 if is_uuid(found) => "uuid",
                26 if found.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => {
                    "token"
                }
                26 if found.starts_with("01") && !found.contains("000000000") => "ulid",
                24 if is_hex(found) && found.contains(|c: char| c.is_ascii_lowercase()) => "id",
                64 if is_hex(found) => "signature",
                _ => continue,
            };
            if !self.asked.contains(found) {
                self.learn(kind, found);
            }
        }
        let sent = self.asked.replace(' ', "");
        for pin in pins(text).filter(|pin| pin.len() >= 4) {
            if !pins(&sent).any(|sent| sent == pin) {
                self.learn("pin", pin);
            }
        }
        self.known.iter().fold(text.to_owned(), |text, (label, value)| {
            if !label.starts_with("{pin-") {
                return text.replace(value, label);
            }
            // So few digits stand by chance in other numbers too.
            BEFORE_PINS.iter().fold(text, |text, before| {
                [("\"", "\""), ("", "<")].iter().fold(text, |text, (open, close)| {
                    let [from, to] =
                        [value, label].map(|pin| format!("{before}{open}{pin}{close}"));
                    text.replace(&from, &to)
                })
            })
        })
    }

    fn learn(&mut self, kind: &str, value: &str) {
        if self.known.iter().any(|(_, known)| known == value) {
            return;
        }
        let prefix = format!("{{{kind}-");
        let n = self.known.iter().filter(|(label, _)| label.starts_with(&prefix)).count() + 1;
        self.known.push((format!("{prefix}{n}}}"), value.to_owned()));
    }
}

const BEFORE_PINS: [&str; 5] =
    ["<Password>", "Password=", "\"Password\":", "\"password\":", "\"pin\":"];

fn pins(text: &str) -> impl Iterator<Item = &str> {
    BEFORE_PINS.iter().flat_map(move |before| {
        let behind = text.split(before).skip(1).map(|rest| rest.trim_start_matches('"'));
        behind.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
    })
}

fn is_uuid(text: &str) -> bool {
    text.char_indices().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// One message a line, so that people can read it; base64 in short.
fn broken_up(body: &str) -> String {
    let mut text = body
        .replace("\"result\":[", "\"result\":[\n")
        .replace("},{", "},\n{")
        .replace("><", ">\n<");
    if let Some(at) = text.find("\"data\":\"") {
        let from = at + 8 + 60;
        let to = from + text[from..].find('"').unwrap_or(0);
        text.replace_range(from..to, &format!("…{} more", to - from));
    }
    text
}
