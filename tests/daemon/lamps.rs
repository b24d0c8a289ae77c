//! The message lamp: by subscription, without one, and by Asterisk's program.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use afterbeep::sip::Identity;
use rustls::{ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::clients::sipp;
use crate::hook::Sink;
use crate::house::House;
use crate::mail;
use crate::notices::{leave, leave_in, waiting, webhook};
use crate::phone::{Phone, code, received};
use crate::voice::{Law, Voice, write_wav};

const PATIENCE: Duration = Duration::from_secs(60);
pub const TRUSTED: &str = "[sip]\npeers = [{ address = '127.0.0.1', trusted = true }]";

#[test]
fn sipp_subscribes_and_sees_a_message_come_and_go() {
    let house = quick(TRUSTED);
    thread::scope(|scope| {
        let subscriber = scope.spawn(|| sipp(&house, "subscriber.xml", "UDP"));
        // The scenario says so.
        house.until("it has subscribed", || house.dir.path().join("subscribed").exists());
        leave(&house);
        house.until("it is told", || house.dir.path().join("told").exists());
        file_away(&house);
        subscriber.join().unwrap();
    });
}

#[test]
fn strangers_and_unknown_mailboxes_have_no_lamp() {
    let ask = |house: &House, who: &str| {
        let more = "Event: message-summary\r\nExpires: 3600\r\n";
        code(&Phone::new(house).request_to("SUBSCRIBE", who, more))
    };
    assert_eq!(ask(&quick(""), "1000"), 403);
    let house = quick(TRUSTED);
    assert_eq!(ask(&house, "1999"), 404);
    assert_eq!(ask(&house, "1000"), 200);
}

#[test]
fn a_lamp_that_nobody_subscribed_for_follows_the_mailbox() {
    let house = quick("");
    let lamp = Phone::new(&house);
    // One may come again, and tell what was so between two files that somebody moves.
    let shows = |expected: &str| {
        let began = Instant::now();
        loop {
            let notify = lamp.expect("NOTIFY");
            lamp.reply(&notify, "200 OK", "");
            if notify.contains(&format!("\r\nVoice-Message: {expected}\r\n")) {
                return notify;
            }
            assert!(began.elapsed() < PATIENCE, "not {expected}, but {notify}");
        }
    };
    house.ok(&["mailbox", "edit", "1000", "--mwi", &format!("sip:1000@{}", lamp.address())]);
    let first = shows("0/0 (0/0)");
    for line in ["Event: message-summary", "Subscription-State: terminated", "Messages-Waiting: no"]
    {
        assert!(first.contains(line), "{line} is missing in {first}");
    }
    leave(&house);
    assert!(shows("1/0 (0/0)").contains("Messages-Waiting: yes"));
    let urgent = house.message().with_extension("txt");
    let text = fs::read_to_string(&urgent).unwrap();
    let is_plain = text.lines().any(|line| line == "flag=");
    let text = if is_plain {
        text.replace("\nflag=\n", "\nflag=Urgent\n")
    } else {
        text + "flag=Urgent\n"
    };
    fs::write(&urgent, text).unwrap();
    shows("1/0 (1/0)");
    file_away(&house);
    shows("0/1 (0/1)");
    for name in crate::house::names(&house.mailbox().join("Old")) {
        fs::remove_file(house.mailbox().join("Old").join(name)).unwrap();
    }
    shows("0/0 (0/0)");
}

#[test]
fn a_lamp_is_told_by_tcp_and_by_tls_and_by_who_can_say_who_we_are() {
    let authority = Authority::new();
    let (tcp, tls) = (Wired::new(None), Wired::new(Some(&authority.sign("lamp", &["127.0.0.1"]))));
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "open sesame\n").unwrap();
    let house = quick(&format!(
        "[notices]\nlamp_username = 'vm'\nlamp_password_file = '{}'\nlamp_realm = 'asterisk'\n\
         [sip]\ntls_ca = '{}'",
        secret.path().display(),
        authority.ca().display()
    ));
    let strict = Phone::new(&house);
    let all = [
        format!("sip:tcp@127.0.0.1:{};transport=tcp", tcp.port),
        format!("sip:tls@127.0.0.1:{};transport=tls", tls.port),
        format!("sip:strict@{}", strict.address()),
    ];
    let targets = all.iter().flat_map(|lamp| ["--mwi", lamp.as_str()]);
    house.ok(&["mailbox", "edit", "1000"].into_iter().chain(targets).collect::<Vec<_>>());
    let show = |counts: &str| {
        let line = format!("\r\nVoice-Message: {counts}\r\n");
        for (name, lamp) in [("TCP", &tcp), ("TLS", &tls)] {
            house.until(name, || lamp.told().last().is_some_and(|last| last.contains(&line)));
        }
        let asks = "WWW-Authenticate: Digest realm=\"asterisk\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let notify = strict.expect("NOTIFY");
            let Some(proof) = notify.lines().find_map(|l| l.strip_prefix("Authorization: ")) else {
                strict.reply(&notify, "401 Unauthorized", asks);
                continue;
            };
            assert!(is_proven(proof, ("vm", "open sesame"), "asterisk", "n1"), "{notify}");
            strict.reply(&notify, "200 OK", "");
            if notify.contains(&line) {
                return;
            }
        }
        panic!("not {counts}");
    };
    show("0/0 (0/0)");
    leave(&house);
    show("1/0 (0/0)");
    let told = tls.told();
    let last = told.last().unwrap();
    let via = "\r\nVia: SIP/2.0/TLS 127.0.0.1:";
    assert!(last.contains(via) && last.contains("Message-Account: sip:1000@127.0.0.1:"), "{last}");
}

/// RFC 7616 §3.4.1, with MD5 and `qop=auth`.
fn is_proven(proof: &str, (user, secret): (&str, &str), realm: &str, nonce: &str) -> bool {
    use md5::{Digest, Md5};
    let hex = |text: String| -> String {
        Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let field = |name: &str| {
        let fields = proof.trim_start_matches("Digest ").split(',').map(str::trim);
        let value = fields.filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name);
        value.map_or_else(String::new, |(_, value)| value.trim_matches('"').to_owned())
    };
    let mine = hex(format!("{user}:{realm}:{secret}"));
    let what = hex(format!("NOTIFY:{}", field("uri")));
    let (count, cnonce) = (field("nc"), field("cnonce"));
    let response = hex(format!("{mine}:{nonce}:{count}:{cnonce}:auth:{what}"));
    field("username") == user && !cnonce.is_empty() && field("response") == response
}

#[test]
fn a_lamp_goes_along_with_a_mailbox_that_is_renumbered_and_is_let_go_with_one_that_is_removed() {
    let house = quick(TRUSTED);
    let (lamp, subscriber) = (Phone::new(&house), Phone::new(&house));
    let mwi = format!("sip:lamp@{}", lamp.address());
    house.ok(&["mailbox", "add", "1001"]);
    for number in ["1000", "1001"] {
        house.ok(&["mailbox", "edit", number, "--mwi", &mwi]);
    }
    let hear = |phone: &Phone, said: &[&str]| {
        let began = Instant::now();
        loop {
            let notify = phone.expect("NOTIFY");
            phone.reply(&notify, "200 OK", "");
            if said.iter().all(|said| notify.contains(said)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "not {said:?}, but {notify}");
        }
    };
    let more = "Event: message-summary\r\nExpires: 3600\r\n";
    assert_eq!(code(&subscriber.request_to("SUBSCRIBE", "1001", more)), 200);
    leave(&house);
    hear(&lamp, &["Voice-Message: 1/0 "]);
    house.ok(&["mailbox", "rename", "1000", "2000"]);
    leave_in(&house, "1001");
    hear(&lamp, &["Voice-Message: 2/0 "]);
    hear(&subscriber, &["Voice-Message: 1/0 "]);
    let remove = || house.run(&["mailbox", "remove", "1001", "--yes"]);
    house.until("its last caller is gone", || remove().status.success());
    let over = "Subscription-State: terminated;reason=noresource";
    hear(&subscriber, &[over, "Messages-Waiting: no", "Voice-Message: 0/0 "]);
    hear(&lamp, &["Voice-Message: 1/0 "]);
}

#[test]
fn a_lamp_is_told_where_we_are_not_where_we_listen() {
    let mut house = House::empty("");
    let config = house.dir.path().join("afterbeep.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("udp = ['127.0.0.1:0']", "udp = ['0.0.0.0:0']")).unwrap();
    house.start();
    let lamp = UdpSocket::bind("127.0.0.1:0").unwrap();
    lamp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mwi = format!("sip:lamp@{}", lamp.local_addr().unwrap());
    house.ok(&["mailbox", "add", "1000", "--mwi", &mwi]);
    let notify = loop {
        let mut datagram = [0; 4096];
        let size = received(&lamp, &mut datagram).unwrap();
        let text = String::from_utf8_lossy(&datagram[..size]).into_owned();
        // Who had this port before may still be sent audio.
        if text.starts_with("NOTIFY ") {
            break text;
        }
    };
    assert!(notify.contains("Message-Account: sip:1000@127.0.0.1:"), "{notify}");
    assert!(
        notify.contains("From: <sip:1000@127.0.0.1:") && !notify.contains("0.0.0.0"),
        "{notify}"
    );
}

#[test]
fn a_program_is_told_the_counts_as_asterisk_tells_them_and_hooks_inside_must_be_allowed() {
    let sink = Sink::start();
    let place = tempfile::tempdir().unwrap();
    let [program, told] = ["notify", "told"].map(|name| place.path().join(name));
    fs::write(&program, format!("#!/bin/sh\necho \"$#: $*\" >> '{}'\n", told.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let forbidden = format!("[[notices.webhooks]]\nurl = 'http://localhost:{}/'\n", sink.port);
    let house = quick(&format!(
        "[notices]\nextern_notify = ['{}', 'a b; exit']\n{}{forbidden}",
        program.display(),
        webhook(&sink)
    ));
    leave(&house);
    let lines = || fs::read_to_string(&told).unwrap_or_default();
    house.until("the program is told", || lines().starts_with("6: a b; exit default 1000 1 0 0\n"));
    house.until("the hook is told", || sink.count("new") == 1);
    let event = &sink.had()[0];
    let message = &event.said["data"]["message"];
    assert!(event.key.starts_with(message["id"].as_str().unwrap()), "{event:?}");
    assert_eq!(message["caller"]["name"], "Grace Hopper");
    assert_eq!(event.said["data"]["counts"]["new"], 1);
    house.until("the other is not", || {
        waiting(&house).iter().any(|l| l.contains("private network"))
    });
    file_away(&house);
    house.until("the program is told", || lines().ends_with("6: a b; exit default 1000 0 1 0\n"));
    assert_eq!(sink.had().len(), 1);
}

/// A daemon where a call is short.
pub fn quick(more: &str) -> House {
    let house = House::new(&format!("[deposit]\ninstructions = false\nmin_seconds = 0\n{more}"));
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    house
}

/// Another program moves the one message to Old, where it is with its audio from the first moment.
pub fn file_away(house: &House) {
    let audio = house.message();
    let old = house.mailbox().join("Old");
    fs::create_dir_all(&old).unwrap();
    let text = audio.with_extension("txt");
    fs::hard_link(&audio, old.join(audio.file_name().unwrap())).unwrap();
    fs::rename(&text, old.join(text.file_name().unwrap())).unwrap();
    fs::remove_file(audio).unwrap();
}

/// A lamp that is told over connections.
#[derive(Clone)]
struct Wired {
    port: u16,
    told: Arc<Mutex<Vec<String>>>,
}

impl Wired {
    fn new(identity: Option<&Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lamp = Self { port: listener.local_addr().unwrap().port(), told: Arc::default() };
        let (config, listening) = (identity.map(mail::tls), lamp.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, lamp, config) = (stream.unwrap(), listening.clone(), config.clone());
                thread::spawn(move || match config {
                    None => lamp.listen(&mut BufReader::new(stream)),
                    Some(config) => {
                        let session = ServerConnection::new(config).unwrap();
                        lamp.listen(&mut BufReader::new(StreamOwned::new(session, stream)))
                    }
                });
            }
        });
        lamp
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Takes every NOTIFY, until nobody is there any more.
    fn listen(&self, stream: &mut BufReader<impl Read + Write>) -> Option<()> {
        loop {
            let mut lines = vec![];
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).ok().filter(|size| *size > 0)?;
                match line.trim_end() {
                    // Before a message it is a sign of life (RFC 5626 §4.4.1).
                    "" if lines.is_empty() => {}
                    "" => break,
                    line => lines.push(line.to_owned()),
                }
            }
            let length = lines.iter().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length?.parse().ok()?];
            stream.read_exact(&mut body).ok()?;
            let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let kept = lines.iter().filter(|line| kept.iter().any(|name| line.starts_with(name)));
            let kept: String = kept
                .map(|line| {
                    line.clone() + if line.starts_with("To:") { ";tag=lamp\r\n" } else { "\r\n" }
                })
                .collect();
            let told = format!("{}\r\n\r\n{}", lines.join("\r\n"), String::from_utf8_lossy(&body));
            self.told.lock().unwrap().push(told);
            let answer = format!("SIP/2.0 200 OK\r\n{kept}Content-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).ok()?;
            stream.get_mut().flush().ok()?;
        }
    }
}
