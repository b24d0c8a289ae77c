//! `kill -9` between a caller's BYE and the last word of the mail server, again and again.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use crate::hook::Sink;
use crate::house::{House, names, soon};
use crate::mail::Liar;
use crate::notices::{leave, mailing, waiting, webhook};

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub kills: u64,
    pub messages: usize,
    /// Letters and events that came a second time.
    pub again: usize,
}

/// Kills a daemon so often, after so many milliseconds at most, and holds what its owner was told
/// against what lies in the spool: the lamp after each kill, letters and events in the end.
pub fn kill(times: u64, mut seed: u64, longest: u64) -> Tally {
    let (liar, sink) = (Liar::start(), Sink::start());
    let mut house = mailing(liar.port, &webhook(&sink));
    let lamp = Lamp::new();
    let mwi = format!("sip:lamp@{}", lamp.0.local_addr().unwrap());
    let more = ["--notify-email", "attach", "--email", "a@example.com", "--mwi", &mwi];
    house.ok(&[&["mailbox", "edit", "1000"], &more[..]].concat());
    for _ in 0..times {
        leave(&house);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros((seed >> 33) % (longest * 1000)));
        house.kill();
        lamp.forget();
        house.start();
        lamp.shows(&house, in_spool(&house));
    }
    let messages = in_spool(&house);
    assert!(messages > 0 && messages <= usize::try_from(times).unwrap());
    // An intent that the last start has found is not in the outbox at once.
    let over = || {
        let told = (liar.had().len(), sink.times().len());
        told == (messages, messages) && waiting(&house).is_empty()
    };
    let told =
        || format!("{messages}: {:#?} {:#?} {:#?}", liar.had(), sink.times(), waiting(&house));
    assert!(soon(over), "{}\n{}", told(), house.log());
    let (letters, events) = (liar.had(), sink.times());
    let often = |times: &&usize| **times > 2;
    assert_eq!(letters.values().chain(events.values()).find(often), None, "{}", told());
    let again = letters.values().chain(events.values()).filter(|times| **times == 2).count();
    Tally { kills: times, messages, again }
}

/// A telephone that only has a lamp.
struct Lamp(UdpSocket);

impl Lamp {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    /// What it was told before does not count.
    fn forget(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 2048]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }

    /// Waits until it is told of so many new messages.
    fn shows(&self, house: &House, new: usize) {
        let wanted = format!("Voice-Message: {new}/0 (0/0)");
        let mut told = vec![];
        loop {
            let mut bytes = [0; 2048];
            let (size, from) = match self.0.recv_from(&mut bytes) {
                Ok(heard) => heard,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{error}: no `{wanted}`, but {told:#?}\n{}", house.log()),
            };
            let notify = String::from_utf8_lossy(&bytes[..size]).into_owned();
            // Who had this port before may still be sent audio.
            let Some((head, body)) = notify.split_once("\r\n\r\n") else { continue };
            let echoed = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let lines =
                head.lines().filter(|line| echoed.iter().any(|name| line.starts_with(name)));
            let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
            let lines = lines.replacen("\r\nCall-ID", ";tag=lamp\r\nCall-ID", 1);
            let answer = format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
            self.0.send_to(answer.as_bytes(), from).unwrap();
            if body.contains(&wanted) {
                return;
            }
            told.push(body.to_owned());
        }
    }
}

fn in_spool(house: &House) -> usize {
    let is_sidecar = |name: &&String| name.rsplit_once('.').is_some_and(|(_, kind)| kind == "txt");
    names(&house.inbox()).iter().filter(is_sidecar).count()
}
