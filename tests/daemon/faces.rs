//! One spool, six faces: a message that a telephone left is told alike by all, and what one of them
//! does with it the others see.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::clients::sipp;
use crate::hook::Sink;
use crate::house::{House, names};
use crate::notices::webhook;
use crate::phone::Phone;
use crate::voice::{Law, Voice};

const YAY: &str =
    "X-Auth-Reseller: acme\r\nX-Auth-User: bot\r\nX-Auth-Password: yay-secret\r\nUser-Agent: t\r\n";

#[test]
fn a_message_left_by_a_phone_is_told_alike_by_all_faces() {
    let sink = Sink::start();
    let missed = webhook(&sink) + "shape = 'telecmi'\nappid = 7\n";
    let house = House::new(&missed);
    house.ok(&["mailbox", "edit", "1000", "--e164", "+4520000001"]);
    let lamp = Phone::new(&house);
    // What nobody has read in time comes again (RFC 3261 §17.1.2.1).
    let shows = |waiting: &str, counts: &str| {
        house.until("the lamp shows it", || {
            let notify = lamp.expect("NOTIFY");
            lamp.reply(&notify, "200 OK", "");
            let says = |line: &str| notify.contains(&format!("\r\n{line}\r\n"));
            says(&format!("Messages-Waiting: {waiting}"))
                && says(&format!("Voice-Message: {counts} (0/0)"))
        });
    };
    house.ok(&["mailbox", "edit", "1000", "--mwi", &format!("sip:1000@{}", lamp.address())]);
    shows("no", "0/0");
    secret(
        &house,
        &["user", "add", "root", "--role", "admin", "--password-stdin"],
        "correct horse",
    );
    secret(
        &house,
        &["key", "add", "yay", "acme/bot", "--role", "manager", "--secret-stdin"],
        "yay-secret",
    );
    secret(
        &house,
        &["key", "add", "telecmi", "7", "--role", "reader", "--secret-stdin"],
        "cmi-secret",
    );
    let root = format!("Authorization: Basic {}\r\n", STANDARD.encode("root:correct horse"));
    let web = house.web();
    let mut events = listen(web, &root);

    let voice = Voice::new(Law::Mu, 4.0, 1);
    fs::write(house.dir.path().join("voice.raw"), &voice.bytes).unwrap();
    sipp(&house, "pcmu-udp.xml", "UDP");
    house.message();
    shows("yes", "1/0");

    let told = Told::by_all(web, &root);
    assert_eq!(told.counts, [(1, 0); 4], "telebroad, telecomx, telecomx' pbx, ours");
    let first = &told.messages[0];
    assert_eq!((first.caller.as_str(), first.seconds, first.heard), ("12125550142", 4, false));
    for (face, message) in told.messages.iter().enumerate() {
        assert_eq!(message, first, "face {face}");
    }
    until_event(&mut events, "delivered", &json!([1, 0]));

    // One marks it as heard.
    let (_, listed) = ask(web, "GET", "/v1/mailboxes/1000/messages", &root, "");
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let number = listed["items"][0]["number"].to_string();
    let body = json!({"type": "vox", "ids": number}).to_string();
    let (_, marked) = ask(web, "PUT", "/api/teleconsole/rest/messages/read", &root, &body);
    assert_eq!(marked, json!({"error": null, "result": true}));
    let told = Told::by_all(web, &root);
    assert_eq!(told.counts, [(0, 1); 4]);
    assert!(told.messages.iter().all(|message| message.heard || message.cannot_say_heard));
    until_event(&mut events, "edited", &json!([0, 1]));
    shows("no", "0/1");

    // TeleCMI's webhook names what its interface plays.
    house.until("the hook hears", || !sink.had().is_empty());
    let hook = &sink.had()[0].said;
    assert_eq!(hook["from"], 12_125_550_142_u64, "{hook}");
    let file = hook["voicename"].as_str().unwrap();
    let mp3 = get(web, &format!("/v2/play?appid=7&secret=cmi-secret&file={file}"));
    assert!(mp3.starts_with("HTTP/1.0 200") && mp3.contains("audio/mpeg"), "{file}");

    // One deletes it.
    let path = format!("/v1/mailboxes/1000/messages/{id}");
    assert_eq!(ask(web, "DELETE", &path, &root, "").0, 204);
    let told = Told::by_all(web, &root);
    assert_eq!(told.counts, [(0, 0); 4]);
    assert!(told.messages.is_empty());
    until_event(&mut events, "moved", &json!([0, 0]));
    shows("no", "0/0");
    assert_eq!(names(&house.inbox()), [""; 0]);
    assert_eq!(names(&house.mailbox().join("Deleted")).len(), 2);

    // And a mailbox that one of them makes takes calls: all others know it.
    let form = "Action=VoicemailboxAdd&OrganizationId=1&Username=vm.a&Domain=x.example&Mailbox=7011&Fullname=A&Output=json";
    let (_, made) = ask(web, "POST", "/api", &root, form);
    assert_eq!(made["Response"]["Context"]["Action"]["IsCompleted"], "true", "{made}");
    assert_eq!(ask(web, "GET", "/v1/mailboxes/7011", &root, "").1["name"], "A");
    let (_, all) = ask(web, "GET", "/voip/mailbox", YAY, "");
    assert_eq!(all["result"].as_array().unwrap().len(), 2);
    assert!(house.ok(&["mailbox", "list"]).contains("7011@default"));

    let trail = house.ok(&["audit", "show"]);
    for deed in ["message.delete", "mailbox.add", "user root api", "credential.set"] {
        assert!(trail.contains(deed), "{deed} is not in\n{trail}");
    }
    assert!(house.ok(&["audit", "verify"]).contains("all of them fit"));
    // As a word: among a port's or a second's digits it is no PIN.
    let log = house.log();
    let tells_pin = log.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "4711");
    assert!(!tells_pin && !log.contains("correct horse"), "{log}");
}

/// What each face says of the same messages.
struct Told {
    /// New and old.
    counts: [(u64, u64); 4],
    messages: Vec<Message>,
}

#[derive(Debug, PartialEq)]
struct Message {
    time: i64,
    caller: String,
    seconds: u64,
    heard: bool,
    cannot_say_heard: bool,
}

impl Told {
    fn by_all(web: SocketAddr, root: &str) -> Self {
        let seconds =
            |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
        let digits = |text: &Value| text.as_str().unwrap().trim_start_matches('+').to_owned();
        let mut messages: Vec<Message> = vec![];
        let known = |time, caller, seconds, heard| Message {
            time,
            caller,
            seconds,
            heard,
            cannot_say_heard: false,
        };

        let (_, list) = ask(web, "GET", "/api/teleconsole/rest/voicemail?mailbox=1000", root, "");
        let number = |text: &Value| text.as_str().unwrap().parse::<i64>().unwrap();
        take(&mut messages, &list["result"], &|m| {
            let seconds = number(&m["duration"]).try_into().unwrap();
            known(number(&m["time"]), digits(&m["callerid"]), seconds, m["read_by"] != "")
        });
        let (_, unread) = ask(web, "GET", "/api/teleconsole/rest/messages/unread", root, "");
        let read = list["result"].as_array().unwrap().iter().filter(|m| m["read_by"] != "").count();
        let telebroad = (unread["result"]["vox"].as_u64().unwrap(), read as u64);

        let (_, new) = ask(web, "GET", "/mvno/voicemail/+4520000001/4711", "", "");
        let (_, old) = ask(web, "GET", "/mvno/voicemail/%2B4520000001/4711?box=OLD", "", "");
        for list in [&new, &old] {
            take(&mut messages, &list["voicemails"], &|m| {
                let length = m["length"].as_u64().unwrap();
                known(seconds(&m["date"]), digits(&m["from"]), length, m["played"] == true)
            });
        }
        let telecomx = (new["newCount"].as_u64().unwrap(), new["oldCount"].as_u64().unwrap());

        let (_, login) = ask(
            web,
            "POST",
            "/auth/login",
            "",
            r#"{"username":"root","password":"correct horse"}"#,
        );
        let bearer = format!("Authorization: Bearer {}\r\n", login["token"].as_str().unwrap());
        let (_, list) = ask(web, "GET", "/pbx/voicemail", &bearer, "");
        take(&mut messages, &list["voicemails"], &|m| {
            let length = m["length"].as_u64().unwrap();
            known(seconds(&m["date"]), digits(&m["aNumber"]), length, m["old"] == true)
        });
        let (_, count) = ask(web, "GET", "/pbx/voicemail/count", &bearer, "");
        let pbx = (count["newMessages"].as_u64().unwrap(), count["oldMessages"].as_u64().unwrap());

        let (_, boxes) = ask(web, "GET", "/voip/mailbox", YAY, "");
        let uuid = boxes["result"][0]["uuid"].as_str().unwrap();
        let (_, list) = ask(web, "GET", &format!("/voip/mailbox/{uuid}/messages"), YAY, "");
        take(&mut messages, &list["result"], &|m| {
            let length = m["duration"].as_u64().unwrap();
            known(
                seconds(&m["created_on"]),
                digits(&m["caller_id_number"]),
                length,
                m["read"] == true,
            )
        });

        let (_, list) = ask(
            web,
            "POST",
            "/v2/voicemail",
            "",
            r#"{"appid":7,"secret":"cmi-secret","end_date":9999999999999}"#,
        );
        let first_heard = messages.first().is_some_and(|m| m.heard);
        take(&mut messages, &list["voicemail"], &|m| {
            // It says neither how long a message is nor whether it was heard.
            let time = m["time"].as_i64().unwrap() / 1000;
            Message {
                heard: false,
                cannot_say_heard: first_heard,
                ..known(time, m["from"].to_string(), 4, false)
            }
        });

        let (_, list) = ask(web, "GET", "/v1/mailboxes/1000/messages", root, "");
        take(&mut messages, &list["items"], &|m| {
            let length = m["duration_ms"].as_u64().unwrap() / 1000;
            known(
                seconds(&m["received_at"]),
                digits(&m["caller"]["number"]),
                length,
                !m["heard"].is_null(),
            )
        });
        let ours =
            (list["counts"]["new"].as_u64().unwrap(), list["counts"]["old"].as_u64().unwrap());
        Self { counts: [telebroad, telecomx, pbx, ours], messages }
    }
}

fn take(messages: &mut Vec<Message>, list: &Value, read: &dyn Fn(&Value) -> Message) {
    messages.extend(list.as_array().unwrap().iter().map(read));
}

/// Makes somebody whose secret comes from standard input.
fn secret(house: &House, arguments: &[&str], secret: &str) {
    let mut command = house.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    command.stdin.take().unwrap().write_all(format!("{secret}\n").as_bytes()).unwrap();
    assert!(command.wait().unwrap().success(), "{arguments:?}");
}

fn get(web: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(web).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(web: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(web).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A listener to what happens, before it does.
fn listen(web: SocketAddr, root: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(web).unwrap();
    let request = format!("GET /v1/events?mailbox=1000 HTTP/1.0\r\n{root}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    reader
}

/// Reads until this event comes, with these counts of new and old messages.
fn until_event(events: &mut BufReader<TcpStream>, wanted: &str, counts: &Value) {
    let (mut name, mut heard) = (String::new(), String::new());
    let began = Instant::now();
    // Comments keep the stream alive: it does not end by itself.
    while began.elapsed() < Duration::from_secs(60) {
        let mut line = String::new();
        assert!(events.read_line(&mut line).unwrap() > 0, "the stream of events ended:\n{heard}");
        heard += &line;
        if let Some(told) = line.strip_prefix("event:") {
            told.trim().clone_into(&mut name);
        }
        if let Some(data) = line.strip_prefix("data:") {
            let data: Value = serde_json::from_str(data.trim()).unwrap();
            if name == wanted && json!([data["counts"]["new"], data["counts"]["old"]]) == *counts {
                return;
            }
        }
    }
    panic!("no {wanted} with {counts} among\n{heard}");
}

#[test]
fn a_call_in_progress_is_seen_and_ended() {
    let house = House::new("[deposit]\ninstructions = false\nmin_seconds = 0\n");
    secret(
        &house,
        &["user", "add", "root", "--role", "admin", "--password-stdin"],
        "correct horse",
    );
    let root = format!("Authorization: Basic {}\r\n", STANDARD.encode("root:correct horse"));
    let web = house.web();
    let calls = || ask(web, "GET", "/v1/calls", &root, "").1;
    assert_eq!(calls(), json!({"calls": 0, "messages": 0, "items": []}));

    let phone = Phone::new(&house);
    let mut call = phone.call("1000");
    house.until("it is answered", || calls()["items"][0]["state"] == "answered");
    let seen = calls();
    assert_eq!(seen["calls"], 1);
    let one = &seen["items"][0];
    let told = ["caller_number", "mailbox", "purpose", "codec"].map(|name| one[name].clone());
    assert_eq!(told, ["+12125550142", "1000@default", "deposit", "PCMU"]);
    call.press_pound();
    house.until("it is recorded", || calls()["items"][0]["state"] == "recording");
    let voice = Voice::new(Law::Mu, 1.0, 7);
    call.say(&voice, 0..voice.len());

    let path = format!("/v1/calls/{}", one["id"]);
    assert_eq!(ask(web, "DELETE", &path, &root, "").0, 204);
    call.expect_bye();
    house.message();
    house.until("nobody calls", || calls()["calls"] == 0);
    assert_eq!(ask(web, "DELETE", &path, &root, "").0, 404);
    house.until("it is told", || house.log().contains("an administrator hung up"));
    assert!(house.ok(&["audit", "show"]).contains("call.hang_up"));
}

#[test]
fn https_is_spoken_where_there_is_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["voicemail.example".to_owned()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files =
        format!("tls_certificate = '{}'\ntls_key = '{}'\n", certificate.display(), key.display());
    let house = House::new(&files);
    let port = house.web().port();
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--cacert"])
        .arg(&certificate)
        .args(["--resolve", &format!("voicemail.example:{port}:127.0.0.1")])
        .arg(format!("https://voicemail.example:{port}/v1/health"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(told.contains("\"status\":\"ok\""), "{told}{}", String::from_utf8_lossy(&curl.stderr));
    assert!(
        house.ok(&["check-config"]).is_empty() || house.run(&["check-config"]).status.success()
    );
    fs::write(&key, "no key").unwrap();
    assert!(!house.run(&["check-config"]).status.success());
}
