//! One call's audio, as the call sees it.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::codec::{self, Codec};
use super::command::Command;
use super::keying::Security;
use super::player::{Control, Playback, Position};
use super::shard::Link;

/// One call's audio. Dropping it closes its sockets; a recording that still runs is finished, but
/// nobody hears of it any more.
#[derive(Debug)]
pub struct Port {
    number: u16,
    index: usize,
    link: Arc<Link>,
    events: mpsc::Receiver<Told>,
    counters: Arc<Counters>,
    security: Security,
    /// Counts the playbacks, so that the end of one that was stopped is not told.
    playback: u32,
}

/// What was agreed with the peer about one audio stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Where the SDP says that the peer receives.
    pub remote: Option<SocketAddr>,
    pub codec: Codec,
    pub payload_type: u8,
    /// The payload type of RFC 4733 events, if agreed.
    pub telephone_event: Option<u8>,
    /// The rate of their timestamps: the audio's, or 8,000 Hz beside Opus.
    pub event_clock: u32,
    /// How much the peer would like to get in a packet: 10 to 60 ms.
    pub ptime: Duration,
    pub direction: Direction,
    pub rtcp: Rtcp,
}

/// Where the reports about a stream go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rtcp {
    /// To this address of the peer's, from our port above RTP's.
    Beside(Option<SocketAddr>),
    /// Both ways with RTP itself (RFC 5761).
    Mux,
}

/// Who may send (RFC 3264 §5.1), seen from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    SendReceive,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

/// A recording to be made: 16-bit WAV at the codec's rate.
pub struct Take {
    /// Opens the file. Runs on a writer; recording begins in memory at once.
    pub open: Box<dyn FnOnce() -> io::Result<File> + Send>,
    pub limit: Duration,
    /// Ends the recording after so much silence.
    pub silence: Option<Duration>,
    /// Silence is what is less loud in the mean of the absolute samples: 256 in Asterisk.
    pub silence_level: u16,
    /// Whether noise that the line always has raises the level: what is less loud than twice the
    /// noise is silence too.
    pub adapts: bool,
    /// Whether silence at the end is cut off whatever ends the recording, but for 200 ms.
    pub trims: bool,
}

/// What happened on a port.
#[derive(Debug)]
pub enum Event {
    /// `0`–`9`, `*`, `#`, `A`–`D`; told at the first packet of a press.
    Key(char),
    /// The last frame of the sounds has been sent.
    Played,
    /// Where the playback is: the answer to a [`Control`].
    At(Position),
    /// The recording is over, and its file is complete as far as it goes.
    Recorded(Recording),
    /// Nothing was received for `Config::rtp_timeout` although something should be. Told once,
    /// and again after something came.
    Silent,
    /// The handshake that should have made keys has failed, for this reason: nothing will be heard.
    Unkeyed(String),
}

#[derive(Debug)]
pub struct Recording {
    /// So many samples are in the file.
    pub samples: u64,
    pub rate: u32,
    /// For so long somebody spoke; what is much less than a word is none.
    pub spoke: Duration,
    pub ended: Ended,
}

/// What ended a recording.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    Silence,
    Limit,
    /// The file could not be opened or written further.
    Failed(io::Error),
}

/// What passed through a port. All counts are packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    pub sent: u64,
    pub received: u64,
    /// Never came.
    pub lost: u64,
    /// Came too late to be recorded in their place.
    pub late: u64,
    /// Claimed more audio than time had passed for, and were dropped.
    pub excess: u64,
    pub duplicates: u64,
    /// From an address that is not the caller's, or while nothing was to be received. Once the source is locked the kernel drops these
    /// before they can be counted.
    pub strangers: u64,
    /// No RTP, or RTP that lies about its lengths.
    pub malformed: u64,
    /// Of a payload type that was not agreed; comfort noise (RFC 3389) is among them.
    pub unknown: u64,
    /// How unevenly packets come (RFC 3550 A.8), seen on a tick of 5 ms.
    pub jitter: Duration,
    /// To the peer and back, if it has answered a report of ours.
    pub round_trip: Option<Duration>,
}

impl Port {
    /// The RTP port, which is even. RTCP is the one above.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Says how the stream is protected: before each [`Port::connect`] where that may have changed.
    pub fn secure(&mut self, security: &Security) {
        if self.security != *security {
            self.security = security.clone();
            self.send(Command::Secure(Box::new(security.clone())));
        }
    }

    /// Says what was agreed: after the answer, and again after each re-INVITE. Another codec stops
    /// the sounds that play, which do not tell their end: play them anew, encoded for it.
    pub fn connect(&mut self, stream: Stream) {
        self.send(Command::Connect(stream));
    }

    /// Plays sounds one after another, joined without a gap, instead of what plays now: sounds
    /// alone, or a [`Playback`] that says where to begin, how fast and how loud.
    pub fn play(&mut self, playback: impl Into<Playback>) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::Play { playback: playback.into(), number: self.playback });
    }

    /// Pauses, resumes, skips, restarts, or changes speed or volume of what plays; heard within a
    /// frame of 20 ms.
    pub fn control(&mut self, control: Control) {
        self.send(Command::Control(control));
    }

    /// Presses keys (RFC 4733) instead of what plays now; told as played when the last is released.
    pub fn press(&mut self, keys: &str) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::Press { keys: keys.into(), playback: self.playback });
    }

    /// Stops: what plays fades out within the next frame, so that all is silent 30 ms later. The
    /// playback that was stopped does not tell its end.
    pub fn stop_playing(&mut self) {
        self.playback = self.playback.wrapping_add(1);
        self.send(Command::StopPlaying);
    }

    /// Records. What was heard in the last moment since a playback ended is the recording's head.
    pub fn record(&mut self, take: Take) {
        self.send(Command::Record(take));
    }

    pub fn stop_recording(&mut self) {
        self.send(Command::StopRecording);
    }

    /// Waits for the next event. May be dropped and called anew at any time.
    pub async fn next(&mut self) -> Event {
        loop {
            return match self.events.recv().await {
                Some(Told::Key(key)) => Event::Key(key),
                Some(Told::Played(playback)) if playback == self.playback => Event::Played,
                Some(Told::At(position, playback)) if playback == self.playback => {
                    Event::At(position)
                }
                Some(Told::Played(_) | Told::At(..)) => continue,
                Some(Told::Recorded(recording)) => Event::Recorded(recording),
                Some(Told::Silent) => Event::Silent,
                Some(Told::Unkeyed(why)) => Event::Unkeyed(why),
                // The media thread is gone, and with it whatever could still happen here.
                None => std::future::pending().await,
            };
        }
    }

    pub fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    pub(super) fn new(number: u16, index: usize, link: Arc<Link>) -> (Self, Teller, Arc<Counters>) {
        let (sender, events) = mpsc::channel(EVENTS);
        let counters = Arc::new(Counters::default());
        let told = Arc::clone(&counters);
        let security = Security::default();
        let port = Self { number, index, link, events, counters, security, playback: 0 };
        (port, Teller { events: sender }, told)
    }

    fn send(&self, command: Command) {
        self.link.send(self.index, command);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.send(Command::Close);
    }
}

impl Stream {
    /// A stream as it is usually agreed: static payload type, 20 ms, both ways, no events.
    pub fn new(remote: Option<SocketAddr>, codec: Codec) -> Self {
        Self {
            remote,
            codec,
            payload_type: codec.payload_type(),
            telephone_event: None,
            event_clock: codec.clock(),
            ptime: Duration::from_millis(20),
            direction: Direction::SendReceive,
            rtcp: Rtcp::Beside(remote.and_then(Rtcp::above)),
        }
    }
}

impl Rtcp {
    /// The port above RTP's (RFC 3550 §11), where nothing else was said.
    pub fn above(rtp: SocketAddr) -> Option<SocketAddr> {
        Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?))
    }
}

impl Direction {
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }
}

impl fmt::Debug for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Take")
            .field("limit", &self.limit)
            .field("silence", &self.silence)
            .field("silence_level", &self.silence_level)
            .field("adapts", &self.adapts)
            .field("trims", &self.trims)
            .finish_non_exhaustive()
    }
}

impl Take {
    /// A recording as long as it may be, which silence does not end.
    pub fn new(open: Box<dyn FnOnce() -> io::Result<File> + Send>) -> Self {
        let limit = Duration::from_hours(1);
        Self { open, limit, silence: None, silence_level: 256, adapts: false, trims: false }
    }
}

impl Recording {
    /// Whether nobody said anything.
    pub fn is_empty(&self) -> bool {
        self.spoke < WORD
    }

    pub fn duration(&self) -> Duration {
        codec::duration(self.samples, self.rate)
    }
}

/// An event on its way to the port.
#[derive(Debug)]
pub(super) enum Told {
    Key(char),
    Played(u32),
    At(Position, u32),
    Recorded(Recording),
    Silent,
    Unkeyed(String),
}

/// The other end of a port's events. It never waits.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    events: mpsc::Sender<Told>,
}

impl Teller {
    /// Keys come as fast as the peer likes, so they leave room for what the call itself asked for.
    pub fn key(&self, key: char) {
        if self.events.capacity() > EVENTS / 2 {
            self.tell(Told::Key(key));
        }
    }

    pub fn tell(&self, told: Told) {
        // Full: thirty answers to its own commands wait unread, so nobody reads any more. Closed:
        // the port is gone.
        let _ = self.events.try_send(told);
    }
}

/// Counted by one media thread and read from anywhere: plain loads and stores are enough.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub sent: Counter,
    pub received: Counter,
    pub lost: Counter,
    pub late: Counter,
    pub excess: Counter,
    pub duplicates: Counter,
    pub strangers: Counter,
    pub malformed: Counter,
    pub unknown: Counter,
    /// In microseconds.
    pub jitter: Counter,
    /// In microseconds and one more; 0 while it is not known.
    pub round_trip: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.set(self.count().wrapping_add(more));
    }

    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    pub fn take_back_one(&self) {
        self.set(self.count().saturating_sub(1));
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    fn statistics(&self) -> Statistics {
        Statistics {
            sent: self.sent.count(),
            received: self.received.count(),
            lost: self.lost.count(),
            late: self.late.count(),
            excess: self.excess.count(),
            duplicates: self.duplicates.count(),
            strangers: self.strangers.count(),
            malformed: self.malformed.count(),
            unknown: self.unknown.count(),
            jitter: Duration::from_micros(self.jitter.count()),
            round_trip: self.round_trip.count().checked_sub(1).map(Duration::from_micros),
        }
    }
}

/// The shortest word.
const WORD: Duration = Duration::from_millis(160);
/// Events that may wait for a call to read them.
const EVENTS: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The events told so far, one letter each: a key, `P`layed, `@` a position, `R`ecorded,
    /// `S`ilent.
    pub fn told(events: &mut mpsc::Receiver<Told>) -> String {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|told| match told {
                Told::Key(key) => key,
                Told::Played(_) => 'P',
                Told::At(..) => '@',
                Told::Recorded(_) => 'R',
                Told::Silent => 'S',
                Told::Unkeyed(_) => 'U',
            })
            .collect()
    }

    pub fn teller() -> (Teller, mpsc::Receiver<Told>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (Teller { events }, receiver)
    }

    #[test]
    fn a_flood_of_keys_leaves_room_for_what_was_asked_for() {
        let (teller, mut events) = teller();
        (0..1000).for_each(|_| teller.key('1'));
        teller.tell(Told::Silent);
        assert_eq!(told(&mut events), "1".repeat(EVENTS / 2) + "S");
    }
}
