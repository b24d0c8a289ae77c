//! A receiver of webhooks that checks their signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tempfile::NamedTempFile;

/// What was posted here, signed by [`SECRET`].
#[derive(Clone)]
pub struct Sink {
    pub port: u16,
    /// Where the secret stands.
    pub secret: Arc<NamedTempFile>,
    had: Arc<Mutex<Vec<Event>>>,
}

#[derive(Clone, Debug)]
pub struct Event {
    /// The same for the same event, however often it is told.
    pub key: String,
    pub said: Value,
}

pub const SECRET: &str = "only we two know";

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let secret = NamedTempFile::new().unwrap();
        fs::write(secret.path(), SECRET).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Self { port, secret: Arc::new(secret), had: Arc::default() };
        let receiver = sink.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let receiver = receiver.clone();
                thread::spawn(
                    move || while receiver.receive(stream.as_ref().unwrap()).is_some() {},
                );
            }
        });
        sink
    }

    /// In the order of their coming. One that came twice is one.
    pub fn had(&self) -> Vec<Event> {
        let (mut had, mut seen) = (self.had.lock().unwrap().clone(), BTreeSet::new());
        had.retain(|event| seen.insert(event.key.clone()));
        had
    }

    /// How often each came, by its key.
    pub fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for event in self.had.lock().unwrap().iter() {
            *times.entry(event.key.clone()).or_default() += 1;
        }
        times
    }

    /// Events of this kind, such as `new`.
    pub fn count(&self, kind: &str) -> usize {
        let kind = format!("afterbeep.voicemail.{kind}");
        self.had().iter().filter(|event| event.said["type"] == *kind).count()
    }

    fn receive(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut head = vec![];
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|size| *size > 0)?;
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let value = |name: &str| {
            let line = head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            });
            line.unwrap_or_else(|| panic!("no {name} in {head:?}"))
        };
        let mut body = vec![0; value("content-length").parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{}.", value("x-afterbeep-timestamp")).as_bytes());
        mac.update(&body);
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let is_signed = value("x-afterbeep-signature") == format!("v1={hex}");
        let answer = if is_signed {
            let said = serde_json::from_slice(&body).unwrap();
            self.had.lock().unwrap().push(Event { key: value("idempotency-key"), said });
            "204 No Content"
        } else {
            "401 Unauthorized"
        };
        stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).ok()
    }
}
