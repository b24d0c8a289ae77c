//! Replays `tests/api/<face>/*.http` against one spool: requests as a client sends them, answers as
//! the vendor documents them. `BLESS=1` rewrites the answers; read the difference like prose.
//!
//! A file is a list of exchanges, each begun by a line `### what it shows`. In a request,
//! `Authorization: Basic name:password` stands for its encoded form.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use afterbeep::config;
use afterbeep::control::Stores;
use afterbeep::daemon;
use afterbeep::directory::Settings;
use afterbeep::http::guard::Guard;
use afterbeep::http::{self, House};
use afterbeep::state::credential::{Credential, Role};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// When all that is asked is asked: 2024-05-29 16:00:00 UTC.
const NOW: i64 = 1_716_998_400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_is_answered_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    furnish(&dir.path().join("spool"));
    let spool = dir.path().join("spool");
    let opened = Stores::open(&spool, &dir.path().join("state"), daemon::WAV).await;
    let (stores, problems) = opened.unwrap();
    assert_eq!(problems, Vec::<String>::new());
    people(&stores).await;
    let one = serve(&stores, 1).await;
    let zero = serve(&stores, 0).await;
    let mut files = vec![];
    for face in fs::read_dir("tests/api").unwrap() {
        for file in fs::read_dir(face.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.display().to_string();
        let address = if name.contains("offset-base-0") { zero } else { one };
        let script = fs::read_to_string(&path).unwrap();
        let told = tokio::task::spawn_blocking(move || {
            let told = replay(&script, address);
            if env::var_os("BLESS").is_some() {
                fs::write(&path, &told).unwrap();
                return (told.clone(), told);
            }
            (script, told)
        });
        let (script, told) = told.await.unwrap();
        for (n, (wanted, told)) in script.lines().zip(told.lines()).enumerate() {
            assert_eq!(wanted, told, "{name}:{}", n + 1);
        }
        assert_eq!(script.len(), told.len(), "{name} is cut short");
    }
}

/// A list that has no page is written piece by piece, and is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    for n in 0..1500 {
        let fields = format!("origtime={}\nduration=2\nid={}\nnumber={}\n", 1000 + n, id(n), n + 1);
        message(&spool, "default/2001", "INBOX", &format!("voicemail_{n}"), &fields, 10);
    }
    let opened = Stores::open(&spool, &dir.path().join("state"), daemon::WAV).await;
    let (stores, _) = opened.unwrap();
    people(&stores).await;
    let address = serve(&stores, 1).await;
    let ask = move || {
        let request = "GET /api/teleconsole/rest/voicemail?mailbox=2001 HTTP/1.1\nAuthorization: Basic alice:open sesame\n";
        exchange(request, address)
    };
    let (_, body) = tokio::task::spawn_blocking(ask).await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<&str> =
        list["result"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (1..=1500).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn people(stores: &Stores) {
    for (name, password) in [("alice", "open sesame"), ("zoë", "pass:wörd!")] {
        let user = Credential::user(name, Role::Reader);
        stores.state.set_credential(&user, password, 0).await.unwrap();
    }
    for mailbox in ["2001", "2002", "2003@sales", "2004@sales", "2004@support"] {
        let mut settings = Settings::new();
        settings.insert("time_zone".into(), "America/New_York".into());
        stores.directory.add(&mailbox.parse().unwrap(), &settings, None, 0).await.unwrap();
    }
}

async fn serve(stores: &Stores, offset_base: u8) -> SocketAddr {
    let house = House {
        spool: stores.spool.clone(),
        directory: stores.directory.clone(),
        guard: Guard::new(&stores.state, 0).unwrap(),
        state: stores.state.clone(),
        now: || NOW,
        busy: Arc::new(|_| false),
        playable: daemon::WAV.playable,
    };
    let options =
        config::Http { telebroad_offset_base: offset_base, ..config::Config::default().http };
    let router = http::router(&house, &options);
    let listener = http::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = http::Server::new(router, http::Limits::default());
    tokio::spawn(async move {
        server.serve(listener, stopped).await;
        drop(stop);
    });
    address
}

/// The messages that the transcripts tell of.
fn furnish(spool: &Path) {
    let put = |mailbox: &str, folder: &str, n: u32, fields: &str| {
        let stem = format!("voicemail_{n}");
        let fields = format!("{fields}id={}\nnumber={n}\n", id(n));
        message(spool, mailbox, folder, &stem, &fields, 8000);
    };
    let jane = "callerid=\"JANE DOE\" <12125550147>\n";
    let box1 = "default/2001";
    put(
        box1,
        "INBOX",
        811,
        "origtime=1716990000\nduration=95\ncallerid=2002\ncaller_ext=12125550102\nheard_at=1716990500\nread_by=alice\n",
    );
    put(box1, "INBOX", 812, &format!("origtime=1717000100\nduration=12\n{jane}"));
    put(box1, "INBOX", 813, &format!("origtime=1717000100\nduration=13\n{jane}"));
    put(
        box1,
        "Old",
        814,
        &format!("origtime=1717000200\nduration=14\n{jane}heard_at=1\nread_by=bob\n"),
    );
    put(box1, "Urgent", 815, "origtime=1717000300\nduration=15\ncallerid=Unknown\nflag=Urgent\n");
    put(
        box1,
        "INBOX",
        816,
        "origtime=1717000400\nduration=16\ncallerid=\"x\" <+4930123>\ncaller_name=Zo\u{eb} \"Q\" a/b \u{2603}\n",
    );
    put(box1, "SENT", 817, "origtime=1717000500\nduration=17\ncallerid=2001\nto=2002\n");
    put(box1, "Deleted", 818, "origtime=1717000600\nduration=18\n");
    put("default/2002", "INBOX", 820, &format!("origtime=1717000150\nduration=20\n{jane}"));
    put("sales/2003", "INBOX", 830, "origtime=1717000150\nduration=30\n");
    message(
        spool,
        "default/2001",
        "INBOX",
        "msg0007",
        "origtime=1716980000\nduration=7\ncallerid=\"Old Style\" <2005>\nmsg_id=1716980000-00000001\n",
        30,
    );
}

fn id(n: u32) -> String {
    format!("01HZ{n:022}")
}

/// One message as another program would leave it: 16-bit, 8 kHz.
fn message(spool: &Path, mailbox: &str, folder: &str, stem: &str, fields: &str, samples: u32) {
    let dir = spool.join(mailbox).join(folder);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{stem}.txt")), format!("[message]\n{fields}")).unwrap();
    let bytes = samples * 2;
    let mut wav = Vec::from(*b"RIFF");
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.extend((0..samples).flat_map(|n| u16::try_from(n).unwrap().to_le_bytes()));
    fs::write(dir.join(format!("{stem}.wav")), wav).unwrap();
}

fn replay(script: &str, address: SocketAddr) -> String {
    let mut out = String::new();
    for one in script.split("### ").skip(1) {
        let (title, rest) = one.split_once('\n').unwrap();
        let request: String =
            rest.lines().take_while(|line| !line.is_empty()).map(|l| format!("{l}\n")).collect();
        let (head, body) = exchange(&request, address);
        write!(out, "### {title}\n{request}\n{head}\n{}\n\n", broken_up(&body)).unwrap();
    }
    out
}

/// The status line and content type, and the body.
fn exchange(request: &str, address: SocketAddr) -> (String, String) {
    let mut raw = String::new();
    for line in request.lines() {
        let line = match line.strip_prefix("Authorization: Basic ") {
            Some(pair) => format!("Authorization: Basic {}", STANDARD.encode(pair)),
            None => line.to_owned(),
        };
        raw += &format!("{line}\r\n");
    }
    raw += "Host: test\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(raw.as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let shown: Vec<&str> = head
        .lines()
        .enumerate()
        .filter(|(n, line)| *n == 0 || line.to_ascii_lowercase().starts_with("content-type:"))
        .map(|(_, line)| line)
        .collect();
    (shown.join("\n") + "\n", if chunked { joined(body) } else { body.to_owned() })
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

/// One message a line, so that people can read it; base64 in short.
fn broken_up(body: &str) -> String {
    let mut text = body.replace("\"result\":[", "\"result\":[\n").replace("},{", "},\n{");
    if let Some(at) = text.find("\"data\":\"") {
        let from = at + 8 + 60;
        let to = from + text[from..].find('"').unwrap_or(0);
        text.replace_range(from..to, &format!("…{} more", to - from));
    }
    text
}
