//! The map of `src/lib.rs`, checked: who may name whom, who may touch the world, and where each
//! outside library lives.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each module, and the modules of ours that it may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mailbox", &[]),
    ("say", &["mailbox"]),
    ("ivr", &["mailbox", "say"]),
    ("pii", &[]),
    ("accept", &[]),
    ("tls", &[]),
    ("sip", &["pii"]),
    ("media", &["pii"]),
    ("config", &["mailbox", "pii"]),
    ("state", &[]),
    ("spool", &["mailbox", "state"]),
    ("directory", &["mailbox", "state"]),
    ("call", &["config", "directory", "ivr", "mailbox", "media", "pii", "say", "sip", "spool"]),
    ("http", &["accept", "config", "directory", "mailbox", "pii", "spool", "state", "tls"]),
    ("fuzz", &["call", "config", "directory", "ivr", "mailbox", "media", "say", "sip", "spool"]),
    ("notice", &["directory", "mailbox", "pii", "sip", "spool", "state"]),
    ("control", &["accept", "directory", "mailbox", "spool", "state"]),
    (
        "daemon",
        &[
            "call", "config", "control", "http", "mailbox", "media", "notice", "pii", "sip",
            "spool", "state", "tls",
        ],
    ),
    (
        "cli",
        &[
            "call",
            "config",
            "control",
            "daemon",
            "directory",
            "mailbox",
            "media",
            "sip",
            "spool",
            "state",
        ],
    ),
];

/// Modules and files that must stay free of the world, and the words that would betray them.
const PURE: &[&str] = &[
    "mailbox",
    "say",
    "ivr",
    "pii.rs",
    "config",
    "call/choice.rs",
    "call/keys.rs",
    "call/route.rs",
    "call/talk.rs",
    "notice/calendar.rs",
    "notice/date.rs",
    "notice/errand.rs",
    "notice/facts.rs",
    "notice/lanes.rs",
    "notice/letter.rs",
    "notice/mwi.rs",
    "notice/words.rs",
    "http/dialect/onsip/map.rs",
    "http/dialect/onsip/wire.rs",
    "http/dialect/telebroad/map.rs",
    "http/dialect/telebroad/wire.rs",
    "spool/index/record.rs",
    "spool/index/run.rs",
    "spool/query.rs",
    "http/dialect/telecmi/map.rs",
    "http/dialect/telecmi/wire.rs",
    "http/dialect/telecomx/map.rs",
    "http/dialect/telecomx/wire.rs",
    "http/dialect/yay/map.rs",
    "http/dialect/yay/wire.rs",
    "http/form.rs",
    "spool/sidecar.rs",
    "directory/import.rs",
    "directory/import",
    "directory/table.rs",
    "media/codec",
    "media/comfort.rs",
    "media/conceal.rs",
    "media/dtls.rs",
    "media/dtmf.rs",
    "media/guard.rs",
    "media/hearing.rs",
    "media/ice.rs",
    "media/inband.rs",
    "media/jitter.rs",
    "media/keying.rs",
    "media/level.rs",
    "media/line.rs",
    "media/meter.rs",
    "media/phrase.rs",
    "media/player.rs",
    "media/press.rs",
    "media/recorder.rs",
    "media/resample.rs",
    "media/rtcp.rs",
    "media/rtp.rs",
    "media/sender.rs",
    "media/source.rs",
    "media/stream.rs",
    "media/srtp",
    "media/stretch.rs",
    "media/stun.rs",
    "media/tone.rs",
    "media/track.rs",
    "sip",
];
const WORLD: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "Instant::now",
    "SystemTime::now",
    ".await",
    "std::thread",
];

/// Below a pure module, what faces the world all the same.
const SHELL: &[&str] = &["sip/socket"];

/// Each outside library, and the modules that may name it.
const HOME: &[(&str, &[&str])] = &[
    ("rsip::", &["sip"]),
    ("sdp_types::", &["sip"]),
    ("hound::", &["media"]),
    ("symphonia::", &["media"]),
    ("ogg::", &["media"]),
    ("shine_rs::", &["media"]),
    ("audio_codec::", &["media"]),
    ("opus_rs::", &["media"]),
    ("socket2::", &["sip", "media"]),
    ("rustls::", &["sip", "notice", "tls"]),
    ("tokio_rustls::", &["sip", "tls"]),
    ("rustls_native_certs::", &["sip"]),
    ("x509_parser::", &["sip", "media", "tls"]),
    ("dimpl::", &["media"]),
    ("rcgen::", &["media", "tls"]),
    ("instant_acme::", &["tls"]),
    ("ring::aead", &["media"]),
    ("ring::signature", &["media"]),
    ("aes::", &["media"]),
    ("sha1::", &["media"]),
    ("crc32fast::", &["media"]),
    ("tokio_tungstenite::", &["sip"]),
    ("axum::", &["http"]),
    ("governor::", &["http"]),
    ("quick_xml::", &["http"]),
    ("utoipa::", &["http"]),
    ("hyper::", &["http"]),
    ("hyper_util::", &["http"]),
    ("tower_http::", &["http"]),
    ("sqlx::", &["state", "spool"]),
    ("notify::", &["spool"]),
    ("argon2::", &["state"]),
    ("chacha20poly1305::", &["state"]),
    ("getrandom::", &["state", "sip", "media"]),
    ("hmac::", &["http", "sip", "state", "media", "notice"]),
    ("hickory_resolver::", &["sip"]),
    ("ulid::", &["mailbox"]),
    ("toml::", &["config", "directory"]),
    ("clap::", &["cli"]),
    ("indicatif::", &["cli"]),
    ("rust_embed::", &["call", "notice"]),
    ("lettre::", &["notice"]),
    ("minijinja::", &["notice"]),
    ("reqwest::", &["notice"]),
    ("anyhow::", &["cli", "control", "daemon"]),
    ("tracing_subscriber::", &["daemon"]),
];

#[test]
fn modules_know_only_their_neighbours() {
    for (module, may_use) in MAY_USE {
        each_line(module, |at, line| {
            for known in named(line, "crate::") {
                assert!(
                    known == *module || may_use.contains(&known),
                    "{at}: `{module}` may not know `{known}`"
                );
            }
        });
    }
}

#[test]
fn every_module_has_its_place_on_the_map() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    for module in text.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(MAY_USE.iter().any(|(known, _)| known == &module), "`{module}` is not on the map");
    }
}

#[test]
fn one_face_does_not_know_another() {
    let faces = fs::read_dir("src/http/dialect").unwrap();
    let faces: Vec<_> =
        faces.map(|face| face.unwrap().file_name().into_string().unwrap()).collect();
    for face in &faces {
        each_line(&format!("http/dialect/{face}"), |at, line| {
            for other in faces.iter().filter(|other| *other != face) {
                assert!(!line.contains(&format!("{other}::")), "{at}: `{face}` knows `{other}`");
            }
        });
    }
}

#[test]
fn a_vendors_words_know_nothing_of_ours() {
    for face in fs::read_dir("src/http/dialect").unwrap() {
        let wire = format!("http/dialect/{}/wire.rs", face.unwrap().file_name().to_str().unwrap());
        each_line(&wire, |at, line| {
            assert!(!line.contains("crate::mailbox"), "{at}: words of ours among the vendor's");
        });
    }
}

#[test]
fn what_is_pure_touches_nothing() {
    for place in PURE {
        assert!(Path::new("src").join(place).exists() || is_module(place), "{place} is gone");
        each_line(place, |at, line| {
            if SHELL.iter().any(|shell| at.starts_with(&format!("src/{shell}"))) {
                return;
            }
            for word in WORLD {
                assert!(!line.contains(word), "{at}: `{word}` where all is pure");
            }
        });
    }
}

#[test]
fn outside_libraries_have_their_home() {
    for (module, _) in MAY_USE {
        for (library, homes) in HOME.iter().filter(|(_, homes)| !homes.contains(module)) {
            each_line(module, |at, line| {
                let called = line.match_indices(library).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                assert!(!called, "{at}: `{library}` lives in {homes:?}");
            });
        }
    }
}

#[test]
fn no_file_is_a_house_of_its_own() {
    let mut files = vec![];
    collect(Path::new("src"), &mut files);
    for path in files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 800, "{} has {lines} lines", path.display());
    }
}

fn named<'l>(line: &'l str, prefix: &'static str) -> impl Iterator<Item = &'l str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.split(prefix)
        .skip(1)
        .flat_map(move |rest| match rest.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or("")
                .split(',')
                .map(move |one| one.trim().split(move |c| !is_word(c)).next().unwrap_or(""))
                .collect::<Vec<_>>(),
            None => vec![rest.split(move |c| !is_word(c)).next().unwrap_or("")],
        })
        .filter(|name| name.chars().next().is_some_and(char::is_lowercase))
}

fn is_module(place: &str) -> bool {
    Path::new("src").join(place).with_extension("rs").exists()
}

/// Calls `check` with each line of code, comments and tests left out.
fn each_line(place: &str, check: impl Fn(&str, &str)) {
    let mut files = vec![];
    collect(&Path::new("src").join(place), &mut files);
    collect(&Path::new("src").join(place).with_extension("rs"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (n, line) in text.lines().enumerate() {
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            if !line.trim_start().starts_with("//") {
                check(&format!("{}:{}", path.display(), n + 1), line);
            }
        }
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|e| e == "rs")
        && path.is_file()
        && !files.iter().any(|f| f == path)
    {
        files.push(path.to_owned());
    }
}
