//! The bodies of the fuzz targets: bytes in, and a panic if a promise is broken.
//!
//! They are compiled with the library, so that they cannot rot. `tests/fuzz` holds the targets for
//! `cargo fuzz`, `tests/fuzz.rs` gives each a short seeded run, `tests/long/fuzz.rs` a long one.

mod dialog;
pub mod line;
mod menus;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::call::secure::Rules;
use crate::call::talk::Talk;
use crate::config::Srtp;
use crate::directory::import::conf::{Conf, Source};
use crate::directory::import::{House, Pin, Plan, csv, is_pin};
use crate::directory::settings;
use crate::mailbox::{Folder, MailboxId, MessageId, Stem};
use crate::media::{self, file, trial, wav};
use crate::sip::endpoint::{Endpoint, Output};
use crate::sip::framing::{self, Frame, MAX_MESSAGE};
use crate::sip::{Flow, Limits, Link, NameAddr, Transport, Uri, sdp};
use crate::spool::sidecar::{Fallback, Sidecar};

pub use dialog::dialog;
pub use menus::menus;

pub type Target = fn(&[u8]);

/// Each target by its name.
pub const TARGETS: [(&str, Target); 20] = [
    ("message", message),
    ("stream", stream),
    ("description", description),
    ("dialog", dialog),
    ("talk", talk),
    ("sidecar", sidecar),
    ("srtp", srtp),
    ("stun", stun),
    ("secured", secured),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("dtmf", dtmf),
    ("wav", wav),
    ("g722", g722),
    ("opus", opus),
    ("noise", noise),
    ("voicemail", voicemail),
    ("audio", audio),
    ("gsm", gsm),
    ("menus", menus),
];

/// The longest that one message or file has taken so far, in processor time.
pub fn slowest() -> Duration {
    Duration::from_nanos(SLOWEST.load(Ordering::Relaxed))
}

/// One datagram from anywhere: at most one answer, well-formed, to where it came from; and what
/// is read as a URI or an address is written so that it reads the same.
pub fn message(data: &[u8]) {
    for flow in [udp(), tcp()] {
        let mut endpoint = Endpoint::new("Afterbeep", Limits::default(), [1; 32]);
        timed(|| endpoint.receive(Instant::now(), flow, data));
        let mut answers = 0;
        while let Some(output) = endpoint.poll() {
            match output {
                Output::Transmit(to, wire) => {
                    answers += 1;
                    assert_eq!(to.remote.ip(), flow.remote.ip(), "an answer to a stranger");
                    check_wire(&wire);
                }
                Output::Incoming(..)
                | Output::Subscribing(..)
                | Output::TurnedAway { .. }
                | Output::Dropped { .. } => {}
                other => panic!("{other:?} out of nothing"),
            }
        }
        assert!(answers <= 1, "{answers} answers to one message");
    }
    for line in String::from_utf8_lossy(data).lines().take(50) {
        let value = line.split_once(": ").map_or(line, |(_, value)| value);
        reads_back::<Uri>(value);
        reads_back::<NameAddr>(value);
    }
}

fn reads_back<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let again = written.parse::<T>().ok();
    assert_eq!(again.as_ref(), Some(&value), "{text:?} was written as {written:?}");
}

/// A connection: its messages are the same however its bytes arrive, and no more than one
/// message and a half is ever kept.
pub fn stream(data: &[u8]) {
    let Some((&pieces, bytes)) = data.split_first() else { return };
    let whole = frames(bytes, bytes.len().max(1));
    let size = usize::from(pieces) + 1;
    // One byte at a time over a large input costs its square.
    let size = if bytes.len() > 4_096 { size.max(256) } else { size };
    assert_eq!(frames(bytes, size), whole, "in pieces of {size}");
    let mut endpoint = Endpoint::new("", Limits::default(), [1; 32]);
    for message in whole.iter().flatten() {
        timed(|| endpoint.receive(Instant::now(), tcp(), message));
        while let Some(output) = endpoint.poll() {
            if let Output::Transmit(_, wire) = output {
                check_wire(&wire);
            }
        }
    }
}

/// The messages of a stream; `None` at its end says that it broke.
fn frames(bytes: &[u8], size: usize) -> Vec<Option<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    for piece in bytes.chunks(size) {
        kept.extend(piece);
        loop {
            let used = match timed(|| framing::next(&kept)) {
                Frame::Message(length) => {
                    messages.push(Some(kept[..length].to_vec()));
                    length
                }
                Frame::Ping(length) | Frame::Blank(length) => length,
                Frame::Partial => break,
                Frame::Broken(_) => {
                    messages.push(None);
                    return messages;
                }
            };
            assert!(used > 0, "no progress");
            kept.drain(..used);
        }
        assert!(kept.len() <= MAX_MESSAGE, "{} bytes kept", kept.len());
    }
    messages
}

/// A session description: the answer to it can be read, and has as many streams.
pub fn description(data: &[u8]) {
    let Ok(offer) = timed(|| sdp::read(data)) else { return };
    let local = sdp::Local { address: OURS.ip(), port: 4000, session_id: 1, version: 1 };
    let Some(audio) = offer.audio() else { return };
    let format = audio.formats.first().expect("audio without a format is none");
    let terms = sdp::Terms { ptime: Some(20), maxptime: None, rtcp_mux: audio.rtcp_mux };
    let protection = sdp::Protection::default();
    let answer = timed(|| offer.answer(&local, format, audio.formats.last(), terms, &protection));
    assert!(answer.len() <= data.len() + 2_000, "an answer grows without end");
    let read = sdp::read(answer.as_bytes()).expect("our answer can be read");
    let ours = read.audio().expect("our answer has audio");
    assert_eq!((ours.port, ours.direction), (4000, audio.direction.mirrored()), "{answer}");
    assert_eq!(ours.formats[0].name, format.name, "{answer}");
    let streams = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(streams(&answer), streams(&String::from_utf8_lossy(data).replace('\r', "\n")));
}

/// An offer to a call, and an answer to one of ours.
pub fn talk(data: &[u8]) {
    let mut talk = Talk::new(OURS.ip(), 4000, 1);
    if let Ok((answer, stream)) = timed(|| talk.answer(data)) {
        let theirs = Talk::new(THEIRS.ip(), 4000, 1).answered(answer.as_bytes()).ok();
        let theirs = theirs.expect("whom we answer understands the answer");
        assert_eq!((theirs.codec, theirs.payload_type), (stream.codec, stream.payload_type));
        assert_eq!(theirs.telephone_event, stream.telephone_event, "{answer}");
        assert_eq!(theirs.remote, Some(SocketAddr::new(OURS.ip(), 4000)));
        assert!(!stream.ptime.is_zero());
    }
    assert!(!talk.offer().is_empty());
    let _no_panic = timed(|| talk.answered(data));
}

/// A packet that may be protected.
pub fn srtp(data: &[u8]) {
    timed(|| media::fuzz::srtp(data));
}

/// A datagram that may be a check of connectivity.
pub fn stun(data: &[u8]) {
    timed(|| media::fuzz::stun(data));
}

/// A line with a key or a fingerprint, and an offer with such lines: what is read is written so
/// that it reads the same, and the answer has what goes with the offer's.
pub fn secured(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines().take(50) {
        let value = line.split_once(':').map_or(line, |(_, value)| value);
        if let Some(crypto) = timed(|| sdp::Crypto::read(value)) {
            assert_eq!(sdp::Crypto::read(&crypto.write()), Some(crypto));
        }
        if let Some(print) = timed(|| sdp::Fingerprint::read(value)) {
            assert_eq!(sdp::Fingerprint::read(&print.write()), Some(print));
        }
    }
    let rules = Rules {
        demand: Srtp::Required,
        sdes: true,
        browser: false,
        secrets: media::Secrets::known(),
        fingerprint: [1; 32],
    };
    let mut talk = Talk::new(OURS.ip(), 4000, 1).guarded(rules);
    let Ok((answer, _)) = timed(|| talk.answer(data)) else { return };
    let description = sdp::read(answer.as_bytes()).expect("our answer can be read");
    let audio = description.audio().expect("our answer has audio");
    let secured = &audio.secured;
    match &talk.security().keying {
        media::Keying::Clear => panic!("required, and not protected: {answer}"),
        media::Keying::Sdes(_) => assert_eq!(secured.crypto.len(), 1, "{answer}"),
        media::Keying::Dtls { .. } => {
            assert_eq!(
                secured.fingerprint.as_ref().map(|f| f.octets.as_slice()),
                Some(&[1; 32][..])
            );
            assert!(matches!(secured.setup, Some(sdp::Setup::Active | sdp::Setup::Passive)));
            assert_eq!(secured.ice.is_some(), talk.security().ice.is_some(), "{answer}");
        }
    }
    let _no_panic = timed(|| talk.answered(data));
}

/// A sidecar of another program, or half of one of ours: what is read can be written, and is then
/// read the same.
pub fn sidecar(data: &[u8]) {
    let read = timed(|| Sidecar::parse(data));
    let text = timed(|| read.text());
    assert_eq!(Sidecar::parse(text.as_bytes()), read, "{text}");
    let mailbox: MailboxId = "1234".parse().expect("a mailbox");
    let stem = Stem::found("msg0000").expect("a stem");
    let fallback = Fallback { duration: Duration::from_secs(3), ..Fallback::default() };
    let place = (&mailbox, &Folder::Inbox, stem);
    let message = timed(|| read.message((MessageId::new(1, 1), 1), place, &fallback));
    assert!(!message.duration.is_zero());
}

/// An operator's `voicemail.conf`: whatever it says, each mailbox that comes of it has a name that
/// stays in its folder and settings that it can have, and no PIN is in the report.
pub fn voicemail(data: &[u8]) {
    let source = Source { name: "v".into(), bytes: data.to_vec() };
    let mut included = 0;
    let conf = Conf::parse(&source, &mut |_| {
        included += 1;
        // What includes itself ten times at each of ten depths is no configuration.
        if included < 3 { Ok(vec![source.clone()]) } else { Err(String::new()) }
    });
    let known = settings();
    let house = House { settings: &known, is_time_zone: &|zone| zone.contains('/') };
    let plan = Plan::of(&conf, &house);
    for mailbox in &plan.mailboxes {
        assert_eq!(mailbox.id.path().components().count(), 2, "{}", mailbox.id);
        assert!(mailbox.settings.keys().all(|key| known.contains(key)));
        if let Pin::Given(pin) = &mailbox.pin {
            assert!(is_pin(pin), "{pin:?}");
        }
    }
    for line in conf.problems.iter().chain(&plan.report) {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let rows = csv::rows(&String::from_utf8_lossy(data));
    Plan::of_rows(&rows, &conf, &house);
}

/// A WAV file of anybody's on disk: its length is what can be read of it, and what is mended stays so.
pub fn audio(data: &[u8]) {
    let file = Scratch::new(data, "wav");
    if let Ok(info) = file::info(&file.0)
        && data.starts_with(b"RIFF")
    {
        assert!(info.samples <= data.len() as u64 * 8, "{info:?} of {} bytes", data.len());
    }
    let _no_panic = file::read(&file.0);
    let before = std::fs::read(&file.0).expect("the scratch file");
    match wav::repair(&file.0) {
        Ok(mended) => assert_eq!(wav::repair(&file.0).ok(), Some(mended)),
        Err(_) => assert_eq!(std::fs::read(&file.0).ok(), Some(before), "refused, and touched"),
    }
}

/// GSM frames of any bits: 160 samples for each whole one.
pub fn gsm(data: &[u8]) {
    let file = Scratch::new(data, "gsm");
    if let Ok(pcm) = file::read(&file.0) {
        assert_eq!(pcm.samples.len(), data.len() / 33 * 160);
        assert_eq!(
            file::info(&file.0).map(|info| info.samples).ok(),
            Some(pcm.samples.len() as u64)
        );
    }
}

/// A file for a moment.
struct Scratch(PathBuf);

impl Scratch {
    fn new(data: &[u8], extension: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("afterbeep-fuzz-{}-{n}.{extension}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, data).expect("room for the scratch file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whatever came in, what goes out is one message with whole lines.
fn check_wire(wire: &[u8]) {
    assert_eq!(framing::next(wire), Frame::Message(wire.len()), "{wire:?}");
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the head");
    let head = std::str::from_utf8(&wire[..end]).expect("we write UTF-8");
    for line in head.split("\r\n").skip(1) {
        let name = line.split_once(':').map_or("", |(name, _)| name);
        assert!(!name.is_empty() && !name.contains(' '), "{line:?}");
        assert!(!line.contains(|c: char| c.is_ascii_control()), "{line:?}");
    }
}

/// Datagrams to a recording.
pub fn rtp(data: &[u8]) {
    trial::rtp(data);
}

/// Reports.
pub fn rtcp(data: &[u8]) {
    trial::rtcp(data);
}

/// Keys, as events and as tones.
pub fn dtmf(data: &[u8]) {
    trial::dtmf(data);
}

/// A WAV file of anybody.
pub fn wav(data: &[u8]) {
    trial::wav(data);
}

/// Packets of G.722.
pub fn g722(data: &[u8]) {
    trial::g722(data);
}

/// Packets of Opus, some of them lost.
pub fn opus(data: &[u8]) {
    trial::opus(data);
}

/// Comfort noise.
pub fn noise(data: &[u8]) {
    trial::noise(data);
}

/// No message may hold up the others for longer than `MOST`.
fn timed<T>(what: impl FnOnce() -> T) -> T {
    let before = processor_time();
    let done = what();
    let took = processor_time().saturating_sub(before);
    SLOWEST.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    assert!(took < MOST, "{took:?} for one message");
    done
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn udp() -> Flow {
    let link = Link::Socket(0);
    Flow { transport: Transport::Udp, local: OURS, remote: THEIRS, link }
}

fn tcp() -> Flow {
    let link = Link::Connection(1);
    Flow { transport: Transport::Tcp, local: OURS, remote: THEIRS, link }
}

const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), 5060);
const THEIRS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060);

/// Code without optimization takes some twenty times as long.
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 5 });

static SLOWEST: AtomicU64 = AtomicU64::new(0);
