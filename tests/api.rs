//! Replays `tests/api/<face>/*.http`, each against a house of its own: requests as a client sends
//! them, answers as the vendor documents them. `BLESS=1` rewrites the answers; read the difference
//! like prose.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "api/examples.rs"]
mod examples;
#[path = "api/forms.rs"]
mod forms;
#[path = "api/harness.rs"]
mod harness;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/house.rs"]
mod house;
#[path = "api/tree.rs"]
mod tree;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use house::House;

async fn replayed(face: &str) {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new("tests/api").join(face))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.display().to_string();
        let script = fs::read_to_string(&path).unwrap();
        let house = House::furnished(&name, &script).await;
        let (address, clock) = (house.address, Arc::clone(&house.clock));
        let told = tokio::task::spawn_blocking(move || {
            let told = harness::replay(&script, address, &clock);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telebroad_answers_as_documented() {
    replayed("telebroad").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn onsip_answers_as_documented() {
    replayed("onsip").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telecomx_answers_as_documented() {
    replayed("telecomx").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yay_answers_as_documented() {
    replayed("yay").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telecmi_answers_as_documented() {
    replayed("telecmi").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_answers_as_described() {
    replayed("v1").await;
}

/// A list that has no page is written piece by piece, and is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_whole() {
    let house = House::with(1500).await;
    let address = house.address;
    let ask = move || {
        let request = "GET /api/teleconsole/rest/voicemail?mailbox=2001 HTTP/1.1\nAuthorization: Basic alice:open sesame\n";
        harness::exchange(request, address).1
    };
    let body = tokio::task::spawn_blocking(ask).await.unwrap();
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<&str> =
        list["result"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (1..=1500).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Who has a mailbox is told neither by the answer to a wrong PIN nor by the work that it makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_learn_who_has_a_mailbox() {
    let house = House::with(0).await;
    let address = house.address;
    let mut answers = vec![];
    for login in ["2001@default:1111", "9999@default:1111", "2001:1111"] {
        for login in [login.to_owned(), format!("{login}{}", "1".repeat(20))] {
            let request = format!("GET /v1/mailboxes HTTP/1.1\nAuthorization: Basic {login}\n");
            let before = house.stores.state.checks();
            let ask = move || harness::exchange(&request, address);
            let answer = tokio::task::spawn_blocking(ask).await.unwrap();
            answers.push((answer, house.stores.state.checks() - before));
        }
    }
    assert!(answers[0].0.0.starts_with("HTTP/1.1 401"), "{answers:?}");
    assert_eq!(answers[0].1, 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

/// Programs read the description, people the page that shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_interface_describes_itself() {
    let house = House::with(0).await;
    let address = house.address;
    let ask = move |path: &str| harness::exchange(&format!("GET {path} HTTP/1.1\n"), address);
    let told = tokio::task::spawn_blocking(move || (ask("/v1/openapi.json"), ask("/docs/")));
    let ((_, description), (head, page)) = told.await.unwrap();
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, method) in [
        ("/v1/mailboxes/{mailbox}/messages", "get"),
        ("/v1/mailboxes/{mailbox}/messages/{id}/audio", "get"),
        ("/v1/events", "get"),
        ("/v1/tokens", "post"),
    ] {
        assert!(description["paths"][path][method].is_object(), "{method} {path}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && page.contains("swagger"), "{head}{page}");
}

/// Of all who saw the same, one changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_saw_the_same_one_changes_it() {
    let house = House::furnished("many", "root").await;
    let address = house.address;
    let changed = tokio::task::spawn_blocking(move || {
        let ask = move |request: &str| {
            let sent = harness::sent(request.as_bytes(), address);
            String::from_utf8_lossy(&sent).into_owned()
        };
        let close = "Host: x\r\nConnection: close\r\n\r\n";
        let root = forms::ROOT;
        let seen = ask(&format!("GET /v1/mailboxes/2002 HTTP/1.1\r\n{root}{close}"));
        let tag = seen.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let all: Vec<_> = (0..16)
            .map(|n| {
                let body = format!("{{\"name\":\"Number {n}\"}}");
                let request = format!(
                    "PATCH /v1/mailboxes/2002 HTTP/1.1\r\n{root}If-Match: {tag}\r\nContent-Length: {}\r\n{close}{body}",
                    body.len()
                );
                std::thread::spawn(move || ask(&request))
            })
            .collect();
        let mut answers: Vec<String> =
            all.into_iter().map(|one| one.join().unwrap()[9..12].to_owned()).collect();
        answers.sort();
        answers
    });
    let changed = changed.await.unwrap();
    assert_eq!((changed[0].as_str(), &changed[1..]), ("200", &vec!["412".to_owned(); 15][..]));
}

/// Who is removed hears nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_ends_with_the_login() {
    let house = House::furnished("events", "root alice").await;
    let address = house.address;
    let heard = tokio::task::spawn_blocking(move || {
        let close = "Host: x\r\nConnection: close\r\n\r\n";
        let listen = |login: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(format!("GET /v1/events HTTP/1.1\r\n{login}{close}").as_bytes())
                .unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        };
        let (mut alice, mut root) = (listen(forms::TELEBROAD), listen(forms::ROOT));
        let ask = |line: &str, body: &str| {
            let length = body.len();
            let request = format!(
                "{line} HTTP/1.1\r\n{}Content-Length: {length}\r\n{close}{body}",
                forms::ROOT
            );
            harness::sent(request.as_bytes(), address)
        };
        assert!(ask("DELETE /v1/users/alice", "").starts_with(b"HTTP/1.1 204"));
        let message = "/v1/mailboxes/2001/messages/01HZ0000000000000000000812";
        assert!(ask(&format!("PATCH {message}"), "{\"heard\":true}").starts_with(b"HTTP/1.1 200"));
        let mut heard = String::new();
        alice.read_to_string(&mut heard).unwrap();
        assert!(!heard.contains("event:"), "{heard}");
        // Who was not removed hears it.
        let mut told = vec![];
        while !String::from_utf8_lossy(&told).contains("event: edited") {
            let mut piece = [0; 1024];
            let size = root.read(&mut piece).unwrap();
            assert!(size > 0, "the stream ended");
            told.extend_from_slice(&piece[..size]);
        }
    });
    heard.await.unwrap();
}
