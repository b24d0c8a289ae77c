//! What no honest client sends: each face answers in its own form, and goes on serving.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::harness::sent;
use super::house::House;

/// A face's address that takes a body, what its answers look like, and who asks.
const BODIES: [(&str, &str, &str, &str); 7] = [
    (
        "PUT /api/teleconsole/rest/messages/read",
        "\"error\":{\"code\":",
        "application/json",
        TELEBROAD,
    ),
    ("POST /api", "<IsCompleted>false</IsCompleted>", "text/xml", ""),
    ("POST /mvno/voicemail/+4520000001/4821/pin", "{\"code\":4", "application/json", ""),
    ("POST /voip/mailbox", "\"status_message\":", "application/json", YAY),
    ("POST /v2/voicemail", "\"code\":4", "application/json", ""),
    ("POST /v1/mailboxes", "\"title\":", "application/problem+json", ROOT),
    ("POST /v1/users", "\"title\":", "application/problem+json", ROOT),
];

const TELEBROAD: &str = "Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=\r\n";
const ROOT: &str = "Authorization: Basic cm9vdDpjb3JyZWN0IGhvcnNl\r\n";
const YAY: &str = "X-Auth-Reseller: acme\r\nX-Auth-User: api-user\r\nX-Auth-Password: yay-secret\r\nUser-Agent: x\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_make_no_sense_are_refused_in_each_faces_form() {
    let house = House::furnished("hostile", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
        let deep = "[".repeat(100_000);
        let bomb = format!("{{\"a\":{}", "{\"a\":".repeat(50_000));
        let many = "x=1&".repeat(100_000);
        let large = " ".repeat(10 * 1024 * 1024);
        for (line, form, kind, login) in BODIES {
            for (name, body) in [
                ("nothing", ""),
                ("deep", &*deep),
                ("bomb", &*bomb),
                ("many parameters", &*many),
                ("10 MB", &*large),
                ("NUL", "\0\0\0"),
                ("no UTF-8", "{\"name\":\"\u{fffd}"),
                ("a number", "7"),
            ] {
                let head = format!(
                    "{line} HTTP/1.1\r\nHost: x\r\n{login}Content-Type: text/plain\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let answer = sent(&[head.as_bytes(), body.as_bytes()].concat(), address);
                let answer = String::from_utf8_lossy(&answer).into_owned();
                assert!(answer.contains(form), "{line}, {name}: {answer}");
                assert!(answer.to_lowercase().contains(kind), "{line}, {name}: {answer}");
            }
            assert_alive(address);
        }
    });
    checked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_lead_nowhere_but_to_refusals() {
    let house = House::furnished("hostile", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
        let ways = [
            "../../../../etc/passwd",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e%2f%2e%2e",
            "%00",
            "%ff%fe",
            "a%0d%0aX:%20y",
        ];
        for way in ways {
            for (path, login) in [
                (
                    format!("/api/teleconsole/rest/voicemail/file?mailbox=2001&file={way}"),
                    TELEBROAD,
                ),
                (format!("/api/teleconsole/rest/voicemail?mailbox={way}"), TELEBROAD),
                (format!("/api/teleconsole/rest/voicemail?mailbox=2001&dir={way}"), TELEBROAD),
                (format!("/rng/{way}"), ""),
                (format!("/mvno/voicemail/{way}/4821"), ""),
                (format!("/pbx/voicemail/{way}"), TELEBROAD),
                (format!("/voip/mailbox/{way}"), YAY),
                (format!("/voip/sound/{way}"), YAY),
                (format!("/voip/sound/{way}/{way}/content?expires=1717027300&signature=00"), ""),
                (format!("/v2/play?appid=2220001&secret=cmi-secret&file={way}"), ""),
                (format!("/v1/mailboxes/{way}"), ROOT),
                (format!("/v1/mailboxes/2001/messages/{way}"), ROOT),
                (format!("/v1/mailboxes/2001/greetings/{way}"), ROOT),
                (
                    format!(
                        "/v1/mailboxes/2001/messages/{way}/audio?expires=1717027300&signature=00"
                    ),
                    "",
                ),
            ] {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{login}Connection: close\r\n\r\n");
                let answer = sent(request.as_bytes(), address);
                let answer = String::from_utf8_lossy(&answer).into_owned();
                let status: u16 = answer.get(9..12).unwrap_or_default().parse().unwrap_or(0);
                let told =
                    answer.contains("\"error\":{\"code\":") || answer.ends_with("\r\n\r\nnull");
                assert!(told || (400..500).contains(&status), "{path}: {answer}");
                assert!(!answer.contains("root:"), "{path}: {answer}");
            }
        }
        assert_alive(address);
    });
    checked.await.unwrap();
}

/// Who never ends his body is told so in his face's words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_end_is_given_up_in_each_faces_form() {
    let house = House::furnished("hasty", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
        for (line, _, kind, login) in BODIES {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{login}Content-Length: 9\r\n\r\n{{");
            let answer = String::from_utf8_lossy(&sent(head.as_bytes(), address)).into_owned();
            let slow = answer.contains("408") || answer.contains("<Code>Request.TooSlow</Code>");
            assert!(slow && answer.to_lowercase().contains(kind), "{line}: {answer}");
        }
        assert_alive(address);
    });
    checked.await.unwrap();
}

/// Of what comes twice, and of a body that calls itself something else, each face makes what it
/// makes of it, but in its own form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_or_under_a_wrong_name_is_answered_in_each_faces_form() {
    let house = House::furnished("hostile", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
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
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\n{login}{login}Connection: close\r\n\r\n"
            );
            let answer = String::from_utf8_lossy(&sent(request.as_bytes(), address)).into_owned();
            assert!(answer.contains(form), "{path}: {answer}");
        }
        for kind in [
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "text/xml",
            "\"",
            "a/b; charset=utf-16",
        ] {
            for (line, form, _, login) in
                BODIES.into_iter().chain([("POST /voip/sound", "\"status_code\":400", "", YAY)])
            {
                for body in ["{\"name\":1,\"name\":2}", "<a/>", "--x\r\n\r\n"] {
                    let request = format!(
                        "{line} HTTP/1.1\r\nHost: x\r\n{login}Content-Type: {kind}\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let answer =
                        String::from_utf8_lossy(&sent(request.as_bytes(), address)).into_owned();
                    assert!(answer.contains(form), "{line}, {kind}: {answer}");
                }
            }
        }
        assert_alive(address);
    });
    checked.await.unwrap();
}

/// Who sends a byte now and then is not waited for by others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_keeps_nobody_waiting() {
    let house = House::furnished("hostile", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
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
    });
    checked.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_parameters_are_too_many() {
    let house = House::furnished("hostile", "alice root api-user 2220001").await;
    let address = house.address;
    let checked = tokio::task::spawn_blocking(move || {
        let many = "a=1&".repeat(2_000);
        for (path, login, form) in [
            ("/api/teleconsole/rest/voicemail?mailbox=2001&", TELEBROAD, "\"error\":{\"code\":400"),
            ("/api?Action=SessionCreate&", "", "Parameter.TooMany"),
            ("/mvno/voicemail/+4520000001/4821?", "", "{\"code\":400"),
            ("/v2/play?", "", "\"code\":400"),
        ] {
            let request =
                format!("GET {path}{many} HTTP/1.1\r\nHost: x\r\n{login}Connection: close\r\n\r\n");
            let answer = sent(request.as_bytes(), address);
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.contains(form), "{path}: {answer}");
        }
        // A head of megabytes is refused before anybody looks at it.
        let request = format!("GET /api?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a=1&".repeat(500_000));
        let answer = String::from_utf8_lossy(&sent(request.as_bytes(), address)).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert_alive(address);
    });
    checked.await.unwrap();
}

fn assert_alive(address: SocketAddr) {
    let request = "GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8_lossy(&sent(request.as_bytes(), address)).into_owned();
    assert!(answer.ends_with('}') && answer.contains("\"ok\""), "{answer}");
}
