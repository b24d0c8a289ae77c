//! Owners are told by mail and page, whatever the mail server does.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use afterbeep::state::State;
use afterbeep::state::attempt::Door;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::authority::Authority;
use crate::hook::Sink;
use crate::house::{House, names, soon};
use crate::kills::{Tally, kill};
use crate::mail::{Liar, Lie, OpenSmtpd, Silence};
use crate::phone::Phone;
use crate::voice::{Law, Voice, wav_samples, write_wav};

#[test]
fn a_message_is_mailed_to_every_address_and_leaves_when_all_have_it() {
    let server = OpenSmtpd::start();
    let house = mailing(server.port, "");
    let to = ["--email", "ada@example.com", "--email", "countess@example.com"];
    let more = ["--notify-email", "attach", "--time-zone", "Europe/Berlin"];
    let page = ["--notify-pager", "true", "--pager", "pager@example.com"];
    house.ok(&[&["mailbox", "edit", "1000"], &to[..], &more, &page].concat());
    leave_as(&house, "Zoë Ünlü 😀");
    let [mine, theirs] = ["ada", "countess"].map(|user| server.letters(user, 1).remove(0));
    let kept = house.message();
    let length = seconds(&kept);
    assert!(length >= 3, "{length}");
    for (letter, to) in [(&mine, "ada@example.com"), (&theirs, "countess@example.com")] {
        let head = &letter["headers"];
        assert_eq!(letter["defects"], Value::Array(vec![]), "{letter:#}");
        assert!(head["to"].as_str().unwrap().contains(to), "{head}");
        assert!(head["from"].as_str().unwrap().contains("voicemail@pbx.example"), "{head}");
        assert!(head["subject"].as_str().unwrap().contains("Zoë Ünlü 😀"), "{head}");
        assert_eq!(head["auto-submitted"], "auto-generated");
        assert!(head["message-id"].as_str().unwrap().ends_with("@pbx.example>"), "{head}");
        let now = jiff::Timestamp::now().as_second();
        assert!((now - letter["at"].as_i64().unwrap()).abs() < 60, "{letter:#}");
        let body = &letter["body"];
        assert_eq!(
            shape(body),
            "multipart/mixed(multipart/alternative(text/plain text/html) audio/wav)"
        );
        let [text, html] = [0, 1].map(|n| &body["parts"][0]["parts"][n]);
        for part in [text, html] {
            assert_eq!(part["charset"], "utf-8");
            for said in ["Zoë Ünlü 😀", "12125550142", &format!("0:{length:02}")] {
                assert!(part["text"].as_str().unwrap().contains(said), "{said} in {part}");
            }
        }
        let audio = &body["parts"][1];
        assert_eq!(audio["disposition"], "attachment");
        assert_eq!(
            usize::try_from(audio["samples"].as_u64().unwrap()).unwrap(),
            wav_samples(&kept).len()
        );
        let name = audio["name"].as_str().unwrap();
        assert!(name.ends_with(&format!("_+12125550142_0m{length:02}s.wav")), "{name}");
    }
    assert_ne!(mine["headers"]["message-id"], theirs["headers"]["message-id"]);

    let page = &server.letters("pager", 1)[0]["body"];
    assert_eq!(shape(page), "text/plain");
    assert!(page["text"].as_str().unwrap().trim().chars().count() <= 160, "{page}");

    // Mailed and taken by both, it need not stay. That this was changed is told too.
    let edit = ["mailbox", "edit", "1000", "--notify-email", "delete"];
    house.ok(&edit);
    for user in ["ada", "countess"] {
        // The directory does not tell which came first.
        let letters = server.letters(user, 2);
        let texts = |letter: &Value| letter["body"]["parts"][0]["text"].to_string();
        assert!(letters.iter().any(|l| texts(l).contains("notices by e-mail")), "{letters:#?}");
    }
    leave_as(&house, "Alan Turing");
    server.letters("ada", 3);
    server.letters("countess", 3);
    house.until("it leaves", || names(&house.mailbox().join("Deleted")).len() == 2);
    assert_eq!(house.message(), kept, "the first was to stay");
    house.until("all is sent", || waiting(&house).is_empty());
}

#[test]
fn a_server_that_encrypts_with_a_certificate_of_its_own_is_not_refused_where_a_bare_one_is_not() {
    let authority = Authority::new();
    // As Debian makes one at an installation: nobody has signed it whom we know.
    let liar = Liar::encrypting(&authority.sign("mail", &["mail.example"]));
    let house = mailing(liar.port, "[mail]\nattach = 'mp3'");
    let more = ["--email", "ada@example.com", "--notify-email", "attach"];
    house.ok(&[&["mailbox", "edit", "1000"], &more[..]].concat());
    leave(&house);
    house.until("it is mailed", || liar.had().len() == 1);
    let text = liar.texts().remove(0);
    // In both ways: some mail programs know only the old one.
    let name = format!("_+12125550142_0m{:02}s.mp3\"", seconds(&house.message()));
    assert!(text.contains("audio/mpeg; name=") && text.matches(&name).count() == 2, "{text}");
}

#[test]
fn a_letter_says_where_to_listen_instead_of_bringing_the_recording() {
    let liar = Liar::start();
    let house = mailing(
        liar.port,
        "[mail]\nattach = 'link'\nlink_url = 'https://vm.example/pbx/'\nlink_hours = 48",
    );
    let more = ["--email", "ada@example.com", "--notify-email", "delete"];
    house.ok(&[&["mailbox", "edit", "1000"], &more[..]].concat());
    leave(&house);
    house.until("it is mailed", || waiting(&house).is_empty() && liar.had().len() == 1);
    let text = unfolded(&liar.texts()[0]);
    assert!(!text.contains("audio/"), "{text}");
    let (_, link) = text.split_once("https://vm.example/pbx").unwrap();
    let link = link.split_whitespace().next().unwrap();
    // As a browser asks: nobody logs in.
    let (head, audio) = fetch(house.web(), "GET", link, "", &[]);
    assert!(head.contains(" 200 ") && head.contains("content-type: audio/mpeg"), "{head}");
    assert!(audio.len() > 500, "{}", audio.len());
    let (expires, now) = (link.split_once("expires=").unwrap().1, jiff::Timestamp::now());
    let expires: i64 = expires.split('&').next().unwrap().parse().unwrap();
    assert!((47 * 3_600..=48 * 3_600).contains(&(expires - now.as_second())), "{link}");
    let later = link.replace(&expires.to_string(), &(expires + 1).to_string());
    assert!(fetch(house.web(), "GET", &later, "", &[]).0.contains(" 403 "));
    // What would lead to nothing stays, whatever is said to be deleted.
    house.message();
}

#[test]
fn owners_hear_what_was_done_to_their_mailbox() {
    let liar = Liar::start();
    let mut house = mailing(liar.port, "");
    house.ok(&["mailbox", "edit", "1000", "--email", "old@example.com", "--language", "de"]);
    let letters = |expected: &[(&str, &str)]| {
        let came = || liar.letters().len() == expected.len();
        assert!(soon(came), "{:#?}", liar.letters());
        for (to, said) in expected {
            let is_it =
                |(address, text): &(String, String)| address == to && unfolded(text).contains(said);
            assert!(liar.letters().iter().any(is_it), "{to} {said} {:#?}", liar.letters());
        }
    };
    // A thief's first step; who owns it must hear of it where the thief does not read.
    house.ok(&["mailbox", "edit", "1000", "--email", "thief@example.com"]);
    let changed = "wurde geändert: E-Mail-Adressen";
    let (old, new) = (("old@example.com", changed), ("thief@example.com", changed));
    letters(&[old, new]);

    let wav = house.dir.path().join("greeting.wav");
    write_wav(&wav, &Voice::new(Law::Mu, 1.0, 3).samples());
    let login = format!("Authorization: Basic {}\r\n", STANDARD.encode("1000@default:4711"));
    let path = "/v1/mailboxes/1000/greetings/busy";
    let (head, _) = fetch(house.web(), "PUT", path, &login, &fs::read(wav).unwrap());
    assert!(head.contains(" 20"), "{head}");
    let greeting = ("thief@example.com", "wurde geändert: Begrüßung bei Besetzt");
    letters(&[old, new, greeting]);

    // Wrong PINs of hours, and one more.
    house.until("all is sent", || waiting(&house).is_empty());
    house.kill();
    guess_before(&house, 8);
    house.start();
    let wrong = format!("Authorization: Basic {}\r\n", STANDARD.encode("1000@default:0000"));
    let (head, _) = fetch(house.web(), "GET", "/v1/mailboxes/1000", &wrong, &[]);
    assert!(head.contains(" 401 "), "{head}");
    letters(&[old, new, greeting, ("thief@example.com", "gesperrt")]);
}

/// So many wrong PINs, each as soon as the door was open again.
fn guess_before(house: &House, times: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let owner = fs::read_to_string(house.mailbox().join("mailbox.toml")).unwrap();
    let uuid = owner.lines().find_map(|line| line.strip_prefix("uuid = ")).unwrap();
    let uuid = uuid.trim_matches('"').parse().unwrap();
    runtime.block_on(async {
        let state = State::open(&house.dir.path().join("state")).await.unwrap();
        let mut now = jiff::Timestamp::now().as_second() - 20_000;
        for _ in 0..times {
            let attempt = state.attempt(Some(uuid), "192.0.2.1", Door::Api, now).unwrap();
            now = attempt.wrong().await.unwrap().unwrap_or(now) + 1;
        }
        state.close().await;
    });
}

/// Head and body of an answer.
fn fetch(web: SocketAddr, method: &str, path: &str, more: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(web).unwrap();
    let head = format!("{method} {path} HTTP/1.0\r\n{more}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
}

/// The words of a letter, whatever quoted-printable (RFC 2045 §6.7) has made of them.
fn unfolded(text: &str) -> String {
    let text = text.replace("=\n", "");
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = rest.get(1..3).and_then(|two| std::str::from_utf8(two).ok());
        let code = hex.filter(|_| *first == b'=').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn whatever_a_mail_server_does_no_letter_is_lost_and_nothing_else_waits() {
    let (silence, sink) = (Silence::new(), Sink::start());
    let mut house = mailing(silence.port(), &webhook(&sink));
    let to = ["--email", "a@example.com", "--email", "b@example.com"];
    house.ok(&[&["mailbox", "edit", "1000", "--notify-email", "delete"], &to[..]].concat());
    let told = |many: usize| house.until("the hook hears", || sink.count("new") == many);
    let stays = |many: usize| assert_eq!(house.messages(many).len(), many);
    let wait = |many: usize, why: &str| {
        let of = |why| waiting(&house).iter().filter(|line| line.contains(why)).count();
        house.until(why, || of(why) == many && of("") == many);
    };
    let retry = || house.ok(&["outbox", "retry"]);
    let leaves = |liar: &Liar, letters: usize| {
        house.until("all is mailed", || liar.had().len() == letters && waiting(&house).is_empty());
        house.until("it leaves", || house.ok(&["messages", "list", "1000", "--json"]).is_empty());
    };

    // Nobody listens.
    leave(&house);
    told(1);
    house.until("refused", || waiting(&house).iter().any(|line| line.contains("refused")));
    stays(1);
    let liar = silence.ends();
    retry();
    leaves(&liar, 2);

    // It hangs: callers and hooks do not.
    liar.lies(Lie::Hang);
    leave(&house);
    told(2);
    leave(&house);
    told(3);
    stays(2);
    house.until("two letters of two messages hang", || liar.hung() == 4);
    wait(4, "");
    liar.lies(Lie::None);
    wait(4, "incomplete");
    retry();
    leaves(&liar, 6);

    liar.lies(Lie::Closing);
    leave(&house);
    house.until("421", || waiting(&house).iter().any(|line| line.contains("421")));
    stays(1);
    liar.lies(Lie::None);
    retry();
    leaves(&liar, 8);

    // One recipient must wait; the other need not, but the message stays for both.
    liar.lies(Lie::Later("b@"));
    leave(&house);
    wait(1, "451");
    assert_eq!(liar.had().len(), 9);
    stays(1);
    liar.lies(Lie::None);
    retry();
    leaves(&liar, 10);

    liar.lies(Lie::Nobody("b@"));
    leave(&house);
    wait(1, "given up");
    assert_eq!(liar.had().len(), 11);
    stays(1);
    let dead = waiting(&house).remove(0);
    assert!(dead.contains("550"), "{dead}");
    liar.lies(Lie::None);
    assert_eq!(retry(), "1 notices are tried again\n");
    leaves(&liar, 12);

    liar.lies(Lie::Gone("b@"));
    leave(&house);
    wait(1, "incomplete");
    stays(1);
    liar.lies(Lie::None);
    retry();
    leaves(&liar, 14);
    let again = liar.had().values().any(|times| *times > 1);
    assert!(again, "the same letter, by its Message-ID: {:#?}", liar.had());

    liar.lies(Lie::Slow);
    leave(&house);
    leaves(&liar, 16);
    assert!(house.runs());
}

#[test]
fn whenever_the_daemon_dies_each_notice_comes_once_or_twice_and_the_lamp_is_right() {
    // Four at once: most of the time is spent in waiting for calls and starts.
    let tallies = thread::scope(|scope| {
        let houses: Vec<_> = (0..4).map(|seed| scope.spawn(move || kill(5, seed, 40))).collect();
        houses.into_iter().map(|house| house.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(tallies.iter().map(|tally| tally.kills).sum::<u64>(), 20);
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (messages, again) = (sum(|tally| tally.messages), sum(|tally| tally.again));
    assert!(messages > 10 && again < 2 * messages, "{tallies:?}");
}

/// How long a recording is, in whole seconds.
fn seconds(audio: &Path) -> usize {
    wav_samples(audio).len() / 8_000
}

/// A daemon that mails to this port, and where a call is short.
pub fn mailing(port: u16, more: &str) -> House {
    let (mail, more) = match more.strip_prefix("[mail]") {
        Some(mail) => (mail, ""),
        None => ("", more),
    };
    let house = House::new(&format!(
        "[mail]{mail}\nserver = 'smtp://127.0.0.1:{port}'\nfrom = 'voicemail@pbx.example'\n\
         [deposit]\ninstructions = false\nmin_seconds = 0\n{more}"
    ));
    write_wav(&house.mailbox().join("unavail.wav"), &Voice::new(Law::Mu, 0.3, 4).samples());
    house
}

pub fn webhook(sink: &Sink) -> String {
    format!(
        "[[notices.webhooks]]\nurl = 'http://127.0.0.1:{}/'\nallow_private = true\nsecret_file = '{}'\n",
        sink.port,
        sink.secret.path().display()
    )
}

/// A short message, left by a telephone.
pub fn leave(house: &House) {
    leave_in(house, "1000");
}

pub fn leave_in(house: &House, mailbox: &str) {
    let phone = Phone::new(house);
    let mut call = phone.call(mailbox);
    call.skip_to_the_end_of_the_beep();
    let voice = Voice::new(Law::Mu, 0.4, 6);
    call.say(&voice, 0..voice.len());
    call.hang_up();
}

/// Three seconds, left by our own caller.
fn leave_as(house: &House, name: &str) {
    let wav = house.dir.path().join("said.wav");
    write_wav(&wav, &Voice::new(Law::Mu, 3.0, 5).samples());
    let target = format!("sip:1000@{}", house.sip("UDP"));
    let wav = wav.to_str().unwrap();
    house.ok(&[
        "call",
        &target,
        "--wav",
        wav,
        "--keys",
        "#",
        "--from",
        "+12125550142",
        "--name",
        name,
    ]);
}

/// What `afterbeep outbox list` shows of letters that nobody has accepted.
pub fn waiting(house: &House) -> Vec<String> {
    let list = house.ok(&["outbox", "list"]);
    let lines = list.lines().filter(|line| *line != "nothing waits" && !line.contains("accepted"));
    lines.map(str::to_owned).collect()
}

/// The types of a letter's parts.
fn shape(part: &Value) -> String {
    let name = part["type"].as_str().unwrap();
    match part["parts"].as_array() {
        Some(parts) => format!("{name}({})", parts.iter().map(shape).collect::<Vec<_>>().join(" ")),
        None => name.to_owned(),
    }
}
