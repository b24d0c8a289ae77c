//! What no honest client sends: each face answers in its own form, and goes on serving.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::forms::Form::{self, Onsip, Ours, Telebroad, Telecmi, Telecomx, Yay};
use super::forms::{ROOT, TELEBROAD, YAY};
use super::harness::sent;
use super::house::House;

/// Addresses that take a body, and who asks.
const BODIES: [(Form, &str, &str); 12] = [
    (Telebroad, "PUT /api/teleconsole/rest/messages/read", TELEBROAD),
    (Telebroad, "PUT /api/teleconsole/rest/mailbox?mailbox=2001", ROOT),
    (Telebroad, "POST /api/teleconsole/rest/login", ""),
    (Onsip, "POST /api", ""),
    (Telecomx, "POST /mvno/voicemail/+4520000001/4821/pin", ""),
    (Telecomx, "POST /auth/login", ""),
    (Yay, "POST /voip/mailbox", YAY),
    (Yay, "POST /voip/sound", YAY),
    (Telecmi, "POST /v2/voicemail", ""),
    (Telecmi, "POST /v2/token", ""),
    (Ours, "POST /v1/mailboxes", ROOT),
    (Ours, "POST /v1/users", ROOT),
];

async fn house(name: &str) -> House {
    House::furnished(name, "alice root api-user 2220001").await
}

/// Runs in a thread that may block.
async fn with(house: House, talk: impl FnOnce(SocketAddr) + Send + 'static) {
    let address = house.address;
    tokio::task::spawn_blocking(move || {
        talk(address);
        assert_alive(address);
    })
    .await
    .unwrap();
}

fn posted(address: SocketAddr, line: &str, headers: &str, body: &[u8]) -> String {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answer = sent(&[head.as_bytes(), body].concat(), address);
    String::from_utf8_lossy(&answer).into_owned()
}

fn got(address: SocketAddr, path: &str, login: &str) -> String {
    posted(address, &format!("GET {path}"), login, b"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_make_no_sense_are_refused_in_each_faces_form() {
    with(house("hostile").await, |address| {
        let deep = "[".repeat(100_000);
        let bomb = format!("{{\"a\":{}", "{\"a\":".repeat(50_000));
        let many = "x=1&".repeat(100_000);
        let members = format!("{{{}\"z\":1}}", "\"a\":1,".repeat(30_000));
        let large = " ".repeat(10 * 1024 * 1024);
        for (form, line, login) in BODIES {
            for (name, body) in [
                ("nothing", ""),
                ("deep", &*deep),
                ("bomb", &*bomb),
                ("many parameters", &*many),
                ("many members", &*members),
                ("10 MB", &*large),
                ("NUL", "\0\0\0"),
                ("a NUL in a name", "{\"\\u0000\":\"\\u0000\"}"),
                ("no UTF-8", "{\"name\":\"\u{fffd}"),
                ("a number", "7"),
            ] {
                // As members that mean nothing change nothing.
                let nothing_to_change =
                    line.contains("/mailbox?") && body.starts_with("{\"") && body.ends_with('}');
                if nothing_to_change {
                    continue;
                }
                let headers = format!("{login}Content-Type: text/plain\r\n");
                let answer = posted(address, line, &headers, body.as_bytes());
                assert!(form.refuses(&answer), "{line}, {name}: {answer}");
            }
        }
    })
    .await;
}

/// What stands in for a name, wherever a face takes one: it is nobody's, and never a path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_paths_or_bytes_are_refused_in_each_faces_form() {
    with(house("hostile").await, |address| {
        let long = "9".repeat(8_000);
        for value in [
            "../../../../etc/passwd",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e",
            "%2e%2e%2f%2e%2e",
            "%252e%252e%252f",
            "%00",
            "2001%00",
            "%ff%fe",
            "a%0d%0aX:%20y",
            "+",
            "%2B",
            "%2B%2B4520000001",
            "%20%2B4520000001",
            "+4520000001+",
            "%",
            "%zz",
            "%u002e",
            &long,
        ] {
            for (form, path, login) in [
                (Telebroad, "/api/teleconsole/rest/voicemail/file?mailbox=2001&file={}", TELEBROAD),
                (Telebroad, "/api/teleconsole/rest/voicemail?mailbox={}", TELEBROAD),
                (Telebroad, "/api/teleconsole/rest/voicemail?mailbox=2001&dir={}", TELEBROAD),
                (Onsip, "/api?Action={}", ""),
                (Onsip, "/api?Action=VoicemailboxRead&VoicemailboxId={}", ROOT),
                (Onsip, "/api?Action=VoicemailboxRead&VoicemailboxId=10001&SessionId={}", ""),
                (Telecomx, "/mvno/voicemail/{}/4821", ""),
                (Telecomx, "/mvno/voicemail/+4520000001/{}", ""),
                (Telecomx, "/mvno/voicemail/+4520000001/4821?box={}", ""),
                (Yay, "/voip/mailbox/{}", YAY),
                (Yay, "/voip/sound/{}", YAY),
                (Yay, "/voip/sound/{}/{}/content?expires=1717027300&signature=00", ""),
                (Telecmi, "/v2/play?appid=2220001&secret=cmi-secret&file={}", ""),
                (Telecmi, "/v2/play?appid={}&secret=cmi-secret&file=x", ""),
                (Ours, "/v1/mailboxes/{}", ROOT),
                (Ours, "/v1/mailboxes/2001/messages/{}", ROOT),
                (Ours, "/v1/mailboxes/2001/greetings/{}", ROOT),
                (Ours, "/v1/mailboxes/2001/messages/{}/audio?expires=1717027300&signature=00", ""),
            ] {
                let path = path.replace("{}", value);
                let answer = got(address, &path, login);
                assert!(form.refuses(&answer), "{path}: {answer}");
                assert!(!answer.contains("root:"), "{path}: {answer}");
            }
            let schema = got(address, &format!("/rng/{value}"), "");
            assert!(schema.starts_with("HTTP/1.1 4"), "{value}: {schema}");
        }
    })
    .await;
}

/// A plus is a plus in a path, and a space in a query and a form (WHATWG URL §5.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plus_is_read_as_its_place_has_it() {
    with(house("hostile").await, |address| {
        let counts = "{\"newCount\":1,";
        let session = "/api?Action=SessionDestroy&SessionId=x&Output=json&Fullname=";
        for (path, login, form) in [
            ("/mvno/voicemail/+4520000001/4821", "", counts),
            ("/mvno/voicemail/%2B4520000001/4821", "", counts),
            ("/mvno/voicemail/%2b4520000001/4821?box=NEW", "", counts),
            (&*format!("{session}Joe+Smith%2B"), "", "\"Value\":\"Joe Smith+\""),
            ("/v1/mailboxes/2001/messages?q=%2B4930123", ROOT, "\"number\":\"+4930123\""),
            ("/v1/mailboxes/2001/messages?q=old+style", ROOT, "\"name\":\"Old Style\""),
            ("/v2/play?appid=2220001&secret=cmi%2Bsecret&file=x", "", "\"code\":407"),
            (
                "/api/teleconsole/rest/voicemail?mailbox=2001,+2002&limit=0",
                TELEBROAD,
                "null,\"result\":[",
            ),
            ("/api/teleconsole/rest/voicemail?mailbox=2001%2B", TELEBROAD, "\"code\":404"),
        ] {
            let answer = got(address, path, login);
            assert!(answer.contains(form), "{path}: {answer}");
        }
        // Yay's queries name the sound that is sent.
        let header = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0";
        let audio = [&header[..], &[0; 8]].concat();
        let kind = format!("{YAY}Content-Type: audio/wav\r\n");
        let answer = posted(address, "POST /voip/sound?name=Joe+Smith%2B", &kind, &audio);
        assert!(answer.contains("\"name\":\"Joe Smith+\""), "{answer}");
    })
    .await;
}

/// Who never ends his body is told so in his face's words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_end_is_given_up_in_each_faces_form() {
    with(house("hasty").await, |address| {
        for (form, line, login) in BODIES {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{login}Content-Length: 9\r\n\r\n{{");
            let answer = String::from_utf8_lossy(&sent(head.as_bytes(), address)).into_owned();
            let slow = answer.contains("408") || answer.contains("<Code>Request.TooSlow</Code>");
            assert!(slow && form.refuses(&answer), "{line}: {answer}");
        }
    })
    .await;
}

/// What comes twice counts once, and a body's type is the client's affair: a face may refuse what it
/// makes of it, but in its own form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_or_under_a_wrong_name_is_answered_in_each_faces_form() {
    with(house("hostile").await, |address| {
        for (path, login, form) in [
            (
                "/api/teleconsole/rest/voicemail?mailbox=2001&mailbox=9&limit=0",
                TELEBROAD,
                "{\"error\":null,",
            ),
            (
                "/api?Action=SessionCreate&Action=X&Username=a&Password=b",
                "",
                "<Code>Action.Unknown</Code>",
            ),
            ("/mvno/voicemail/+4520000001/4821?box=OLD&box=x", "", "{\"newCount\":"),
            ("/voip/mailbox?x=1&x=2", YAY, "\"status_code\":200"),
            (
                "/v2/play?appid=2220001&appid=1&secret=cmi-secret&secret=x&file=x",
                "",
                "{\"code\":404,",
            ),
            ("/v1/mailboxes?limit=1&limit=2", ROOT, "\"status\":400"),
        ] {
            // The credentials come twice as well.
            let answer = got(address, path, &format!("{login}{login}"));
            assert!(answer.contains(form), "{path}: {answer}");
        }
        for kind in [
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "text/xml",
            "\"",
            "a/b; charset=utf-16",
        ] {
            for (form, line, login) in BODIES {
                let bodies = ["{\"name\":1,\"name\":2}", "<a/>", "--x\r\n\r\n"];
                for body in bodies {
                    // Members that mean nothing change nothing.
                    if line.contains("/mailbox?") && body.starts_with('{') {
                        continue;
                    }
                    let headers = format!("{login}Content-Type: {kind}\r\n");
                    let answer = posted(address, line, &headers, body.as_bytes());
                    assert!(form.refuses(&answer), "{line}, {kind}: {answer}");
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_addresses_of_nobodys_are_refused_in_each_faces_form() {
    with(house("hostile").await, |address| {
        for (form, line, login) in [
            (Telebroad, "PATCH /api/teleconsole/rest/voicemail", TELEBROAD),
            (Telebroad, "GET /api/teleconsole/rest/nothing", TELEBROAD),
            (Onsip, "PUT /api", ""),
            (Onsip, "DELETE /webapi", ""),
            (Telecomx, "DELETE /mvno/voicemail/+4520000001/4821", ""),
            (Telecomx, "PUT /mvno/voicemail/+4520000001/4821/pin", ""),
            (Telecomx, "POST /pbx/voicemail", ROOT),
            (Telecomx, "DELETE /pbx/voicemail/665712f0a1b2c3d4e5f60718", ROOT),
            (Telecomx, "GET /mvno/voicemail/+4520000001", ""),
            (Telecomx, "GET /pbx/voicemail/1/2/3", ROOT),
            (Yay, "PATCH /voip/mailbox", YAY),
            (Yay, "GET /voip/nothing", YAY),
            (Telecmi, "GET /v2/voicemail", ""),
            (Telecmi, "PUT /v2/play", ""),
            (Telecmi, "GET /v2/nothing", ""),
            (Ours, "PUT /v1/mailboxes", ROOT),
            (Ours, "GET /v1/nothing", ROOT),
        ] {
            let answer = posted(address, line, login, b"");
            assert!(form.refuses(&answer), "{line}: {answer}");
        }
    })
    .await;
}

/// Who sends a byte now and then is not waited for by others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_keeps_nobody_waiting() {
    with(house("patient").await, |address| {
        let mut slow = vec![];
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).unwrap();
            let head = "POST /v2/voicemail HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
            stream.write_all(head.as_bytes()).unwrap();
            slow.push(stream);
        }
        assert_alive(address);
        for mut stream in slow {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            assert!(stream.read(&mut [0; 1]).is_err(), "answered too early");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_parameters_are_too_many() {
    with(house("hostile").await, |address| {
        let many = "a=1&".repeat(2_000);
        for (form, path, login) in [
            (Telebroad, "/api/teleconsole/rest/voicemail?mailbox=2001&", TELEBROAD),
            (Onsip, "/api?Action=SessionCreate&", ""),
            (Telecomx, "/mvno/voicemail/+4520000001/4821?", ""),
            (Telecomx, "/pbx/voicemail?", ROOT),
            (Yay, "/voip/mailbox?", YAY),
            (Telecmi, "/v2/play?", ""),
            (Ours, "/v1/mailboxes?", ROOT),
            (Ours, "/v1/mailboxes/2001/messages?", ROOT),
        ] {
            let answer = got(address, &format!("{path}{many}"), login);
            assert!(form.refuses(&answer), "{path}: {answer}");
        }
    })
    .await;
}

/// What nobody reads to its end, or cannot read: not even its path need be whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_cannot_be_read_are_refused_in_each_faces_form() {
    with(house("hostile").await, |address| {
        for (form, path, login) in [
            (Telebroad, "/api/teleconsole/rest/voicemail?mailbox=2001", TELEBROAD),
            (Onsip, "/api?Action=SessionCreate", ""),
            (Onsip, "/webapi?Action=SessionCreate", ""),
            (Telecomx, "/mvno/voicemail/+4520000001/4821?", ""),
            (Telecomx, "/pbx/voicemail?", ROOT),
            (Yay, "/voip/mailbox?", YAY),
            (Telecmi, "/v2/play?", ""),
            (Telecmi, "/v1/play?", ""),
            (Ours, "/v1/mailboxes?", ROOT),
            (Ours, "/nowhere?", ""),
        ] {
            let many = |times| format!("GET {path}{}", "&a=1".repeat(times));
            let field = format!("X-Long: {}\r\n", "x".repeat(300_000));
            for (name, line, headers, number) in [
                ("100,000 parameters", many(100_000), login, "431"),
                ("2 MB of parameters", many(500_000), login, "431"),
                ("a long field", many(0), &*field, "431"),
                ("a space in the query", many(1) + " b", login, "400"),
                ("a field that is none", many(0), "X Y\r\n", "400"),
            ] {
                let answer = posted(address, &line, headers, b"");
                assert!(form.refuses(&answer), "{path}, {name}: {answer}");
                assert!(form == Onsip || answer.contains(number), "{path}, {name}: {answer}");
            }
        }
        // Behind a request that was answered, and in pieces.
        let mut stream = TcpStream::connect(address).unwrap();
        let mut answer = [0; 4096];
        for path in ["/v1/health", "/voip/mailbox"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            assert!(stream.read(&mut answer).unwrap() > 0);
        }
        for piece in ["GE", "T /voip/mail", "box?x", " y HTTP/1.1\r\n\r\n"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(Yay.refuses(&answer), "{answer}");
    })
    .await;
}

fn assert_alive(address: SocketAddr) {
    let answer = got(address, "/v1/health", "");
    assert!(answer.ends_with('}') && answer.contains("\"ok\""), "{answer}");
}
