//! Who calls, and what a test needs of a port.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use afterbeep::media::{Codec, Config, Event, Media, Port, Position, Recording, Stream, Take};

/// A phone that speaks in steps: frame n is 160 times one byte.
pub struct Caller {
    pub socket: UdpSocket,
}

impl Caller {
    pub fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn answered_by(&self, port: &mut Port, codec: Codec) {
        let stream = Stream::new(Some(self.address()), codec);
        port.connect(Stream { telephone_event: Some(101), ..stream });
    }

    pub fn header(payload_type: u8, sequence: u16, timestamp: u32) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet
    }

    pub fn send(&self, port: &Port, sequence: u16, n: u16) {
        let mut packet = Self::header(0, sequence, u32::from(sequence) * 160);
        packet.extend([Self::byte(n); 160]);
        self.socket.send_to(&packet, port_address(port)).unwrap();
    }

    pub fn talk(&self, port: &Port, sequence: usize, frames: std::ops::Range<u16>) {
        let first = frames.start;
        for n in frames {
            self.send(port, u16::try_from(sequence).unwrap() + n - first, n);
        }
    }

    pub fn listen(&self, packets: usize) -> Vec<Vec<u8>> {
        let hear = |_| {
            let mut packet = [0; 500];
            let length = loop {
                match self.socket.recv(&mut packet) {
                    // A machine was frozen and thawed.
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    heard => break heard.unwrap(),
                }
            };
            packet[..length].to_vec()
        };
        (0..packets).map(hear).collect()
    }

    /// What has come and was not listened to.
    pub fn rest(&self) -> Vec<Vec<u8>> {
        self.socket.set_nonblocking(true).unwrap();
        let hear = || {
            let mut packet = [0; 500];
            let length = self.socket.recv(&mut packet).ok()?;
            Some(packet[..length].to_vec())
        };
        let rest = std::iter::from_fn(hear).collect();
        self.socket.set_nonblocking(false).unwrap();
        rest
    }

    pub fn drain(&self) -> usize {
        self.rest().len()
    }

    pub fn byte(n: u16) -> u8 {
        u8::try_from(n % 100).unwrap()
    }

    /// What frame n says, by the arithmetic of G.711.
    pub fn sample(n: u16) -> i16 {
        let code = i32::from(!Self::byte(n));
        let magnitude = ((((code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84;
        i16::try_from(if code & 0x80 == 0 { magnitude } else { -magnitude }).unwrap()
    }
}

pub fn media() -> Media {
    Media::start(config(22_000..=22_999)).unwrap()
}

pub fn config(ports: std::ops::RangeInclusive<u16>) -> Config {
    Config { ports, bind: Ipv4Addr::LOCALHOST.into(), threads: 1, writers: 1, ..Config::default() }
}

pub fn port_address(port: &Port) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number()).into()
}

pub fn take(path: &Path) -> Take {
    let path = path.to_owned();
    Take {
        open: Box::new(move || std::fs::File::options().read(true).write(true).open(path)),
        limit: Duration::from_mins(10),
        silence: None,
        silence_level: 256,
        adapts: true,
        trims: false,
    }
}

/// The byte of µ-law nearest to a sample.
pub fn ulaw(sample: f64) -> u8 {
    let decoded = |byte: u8| {
        let code = i32::from(!byte);
        let magnitude = ((((code & 0x0f) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84;
        f64::from(if code & 0x80 == 0 { magnitude } else { -magnitude })
    };
    let off = |byte: &u8| (decoded(*byte) - sample).abs();
    (0..=255).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap()
}

/// A tone of 1 kHz: eight samples to the turn.
pub fn tone(millis: usize) -> Vec<i16> {
    [0, 6364, 9000, 6364, 0, -6364, -9000, -6364].repeat(millis)
}

/// Waits until something is so; a busy machine may take its time.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let (began, mut tries) = (Instant::now(), 0);
    while !so() {
        // A machine that was frozen has let time pass, but has not tried.
        assert!(tries < 1_000 || began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until so many packets were heard.
pub async fn heard(port: &Port, packets: u64) {
    until("the packets are heard", || port.statistics().received >= packets).await;
}

/// Begins a recording: what comes once this returns belongs to it. A packet may be read before a
/// command that was given earlier.
pub async fn record(port: &mut Port, take: Take) {
    let (begun, begins) = tokio::sync::oneshot::channel();
    let Take { open, .. } = take;
    let told = move || {
        let _ = begun.send(());
        open()
    };
    port.record(Take { open: Box::new(told), ..take });
    begins.await.unwrap();
}

/// Tries again what takes its time: a machine that stands still in the midst of it spoils a try.
pub async fn undisturbed(mut once: impl AsyncFnMut() -> Result<(), String>) {
    let mut why = String::new();
    for _ in 0..20 {
        match once().await {
            Ok(()) => return,
            Err(spoilt) => why = spoilt,
        }
    }
    panic!("{why}, twenty times");
}

/// Whether each packet begins where the one before it ends, by the RTP clock.
pub fn are_joined(packets: &[Vec<u8>], step: u32) -> bool {
    packets.windows(2).all(|pair| timestamp(&pair[1]) == timestamp(&pair[0]).wrapping_add(step))
}

pub fn samples(path: &Path) -> Vec<i16> {
    hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect()
}

pub fn timestamp(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

pub async fn expect_played(port: &mut Port) {
    match port.next().await {
        Event::Played => {}
        other => panic!("{other:?}"),
    }
}

pub async fn expect_position(port: &mut Port) -> Position {
    match port.next().await {
        Event::At(position) => position,
        other => panic!("{other:?}"),
    }
}

pub async fn expect_recorded(port: &mut Port) -> Recording {
    match port.next().await {
        Event::Recorded(recording) => recording,
        other => panic!("{other:?}"),
    }
}

/// Until the media thread has ticked a few times, if nothing keeps it.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(40)).await;
}

/// A machine may stand still, but not for so long.
pub const PATIENCE: Duration = Duration::from_secs(60);
