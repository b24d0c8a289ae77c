//! Replays `tests/api/<face>/*.http`, each against a house of its own: requests as a client sends
//! them, answers as the vendor documents them. `BLESS=1` rewrites the answers; read the difference
//! like prose.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "api/harness.rs"]
mod harness;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/house.rs"]
mod house;

use std::path::{Path, PathBuf};
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
        let address = house.address;
        let told = tokio::task::spawn_blocking(move || {
            let told = harness::replay(&script, address);
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
