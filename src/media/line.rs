//! One call's way through the stages: in `source → rtp → jitter → (dtmf | recorder)`, out
//! `player → rtp`. It owns no socket and no clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::Codec;
use super::dtmf::Dtmf;
use super::jitter::Arrival;
use super::player::Player;
use super::press::Keys;
use super::port::{Counters, Ended, Stream, Take, Teller, Told};
use super::recorder::{Bound, Bounds, Head, Recorder};
use super::rtp::{self, Incoming, Outgoing, Packet, Step};
use super::sound::Sound;
use super::source::{Source, Verdict};
use super::writer::{Outbox, Receipt};

#[derive(Debug)]
pub(super) struct Line {
    stream: Option<Stream>,
    source: Source,
    incoming: Incoming,
    dtmf: Dtmf,
    intake: Intake,
    outgoing: Outgoing,
    playing: Playing,
    /// The tick at which the last frame was sent.
    sent: Option<u64>,
    heard: Option<Instant>,
    /// When silence will be told, if it is to be.
    silent_at: Option<Instant>,
    rtp_timeout: Duration,
    teller: Teller,
    counters: Arc<Counters>,
}

/// What becomes of the audio that comes in.
#[derive(Debug)]
enum Intake {
    Deaf,
    /// A sound has just ended, and a recording may begin.
    Head(Head),
    Recording(Box<Recorder>, Arc<Receipt>),
}

#[derive(Debug)]
enum Playing {
    Nothing,
    /// Asked for before the stream was agreed.
    Waiting(Vec<Arc<Sound>>, u32),
    Sounds(Player, u32),
    Keys { keys: Keys, playback: u32 },
}

/// What the owner of the socket must do about what was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ear {
    AsBefore,
    /// The source is known for good: connect the socket to it.
    Closed,
    /// Anybody may turn out to be the source.
    Open,
}

impl Line {
    pub fn new(
        teller: Teller,
        counters: Arc<Counters>,
        rtp_timeout: Duration,
        chance: u64,
    ) -> Self {
        Self {
            stream: None,
            source: Source::new(None),
            incoming: Incoming::default(),
            dtmf: Dtmf::default(),
            intake: Intake::Deaf,
            outgoing: Outgoing::new(chance),
            playing: Playing::Nothing,
            sent: None,
            heard: None,
            silent_at: None,
            rtp_timeout,
            teller,
            counters,
        }
    }

    pub fn connect(&mut self, stream: Stream, now: Instant) -> Ear {
        let before = self.codec();
        self.stream = Some(stream);
        let changed = self.source.offer(stream.remote);
        self.silent_at = stream.direction.receives().then(|| now + self.rtp_timeout);
        if before != stream.codec {
            self.change(stream.codec, now);
        }
        if let Playing::Waiting(sounds, playback) = &mut self.playing {
            let (sounds, playback) = (std::mem::take(sounds), *playback);
            self.play(sounds, playback);
        }
        if changed { Ear::Open } else { Ear::AsBefore }
    }

    pub fn play(&mut self, sounds: Vec<Arc<Sound>>, playback: u32) {
        if let Intake::Head(_) = self.intake {
            self.intake = Intake::Deaf;
        }
        let Some(stream) = self.stream else {
            self.playing = Playing::Waiting(sounds, playback);
            return;
        };
        let player = Player::new(sounds, stream.codec);
        if player.is_finished() {
            self.played(playback, stream.codec);
        } else {
            self.playing = Playing::Sounds(player, playback);
        }
    }

    pub fn stop_playing(&mut self) {
        self.playing = Playing::Nothing;
    }

    /// Presses keys, which ends like a playback. Without a payload type agreed for them they are
    /// not heard.
    pub fn press(&mut self, keys: &str, playback: u32) {
        self.playing = Playing::Keys { keys: Keys::new(keys), playback };
    }

    pub fn is_playing(&self) -> bool {
        matches!(self.playing, Playing::Sounds(..) | Playing::Keys { .. })
    }

    /// The tick at which the last frame was sent.
    pub fn sent(&self) -> Option<u64> {
        self.sent
    }

    /// The codec agreed, or the one that will most likely be.
    fn codec(&self) -> Codec {
        self.stream.map_or(Codec::Pcmu, |stream| stream.codec)
    }

    /// Where our packets go.
    pub fn target(&self) -> Option<SocketAddr> {
        self.source.target()
    }

    pub fn record(&mut self, take: Take, now: Instant, out: &mut Outbox) {
        self.stop_recording(now, out);
        let Take { open, limit, silence, silence_level: level } = take;
        let codec = self.codec();
        let head = match std::mem::replace(&mut self.intake, Intake::Deaf) {
            Intake::Head(head) => head,
            Intake::Deaf | Intake::Recording(..) => Head::new(codec),
        };
        let receipt = out.open(codec.rate(), self.teller.clone(), open);
        let recorder = Recorder::start(head, Bounds { limit, silence, level }, now);
        self.intake = Intake::Recording(Box::new(recorder), receipt);
    }

    pub fn stop_recording(&mut self, now: Instant, out: &mut Outbox) {
        if let Intake::Recording(..) = self.intake {
            self.finish(None, now, out);
        }
    }

    /// Takes a datagram.
    pub fn hear(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
        out: &mut Outbox,
    ) -> Ear {
        let Some(packet) = Packet::parse(datagram) else {
            self.counters.malformed.add(1);
            return Ear::AsBefore;
        };
        let Some(stream) = self.stream.filter(|stream| stream.direction.receives()) else {
            self.counters.strangers.add(1);
            return Ear::AsBefore;
        };
        let is_audio = packet.payload_type == stream.payload_type;
        let is_event = Some(packet.payload_type) == stream.telephone_event;
        if !is_audio && !is_event {
            self.counters.unknown.add(1);
            if packet.payload_type != COMFORT_NOISE {
                return Ear::AsBefore;
            }
        }
        let ear = match self.source.hear(from, &packet, now) {
            Verdict::Stranger => {
                self.counters.strangers.add(1);
                return Ear::AsBefore;
            }
            Verdict::Accepted => Ear::AsBefore,
            Verdict::Locked => Ear::Closed,
        };
        self.note(&packet, now);
        if is_event && let Some(key) = self.dtmf.push(&packet, now) {
            self.teller.key(key);
            if let Intake::Recording(recorder, _) = &mut self.intake {
                recorder.key(packet.timestamp);
            }
        }
        // RFC 4733 §2.5.1.2: a sender may send the tone as audio beside the event. It is no speech.
        let speech = is_audio && !packet.payload.is_empty() && !self.dtmf.sounding(now);
        self.keep(&packet, speech, now, out);
        ear
    }

    /// Writes the frame for `tick` into `packet` and says how long it is, if one is to be sent.
    pub fn frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let stream = self.stream?;
        let (player, playback) = match &mut self.playing {
            Playing::Sounds(player, playback) => (player, playback),
            Playing::Keys { .. } => return self.key_frame(tick, packet),
            Playing::Nothing | Playing::Waiting(..) => return None,
        };
        let length = stream.codec.bytes(u64::from(stream.codec.clock()) / FRAMES_PER_SECOND);
        let (head, audio) = packet.split_first_chunk_mut()?;
        player.fill(&mut audio[..length]);
        if player.is_finished() {
            let playback = *playback;
            self.played(playback, stream.codec);
        }
        let spurt = self.sent.is_none_or(|sent| sent + TICKS_PER_FRAME != tick);
        self.sent = Some(tick);
        if !stream.direction.sends() {
            return None;
        }
        *head = self.outgoing.header(stream.payload_type, rtp_time(tick, stream.codec), spurt);
        self.counters.sent.add(1);
        Some(rtp::HEADER + length)
    }

    fn key_frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let stream = self.stream?;
        let Playing::Keys { keys, playback } = &mut self.playing else { return None };
        let samples = u64::from(stream.codec.clock()) / FRAMES_PER_SECOND;
        let pressed = keys.next(u32::try_from(samples).unwrap_or_default());
        if keys.is_finished() {
            let playback = *playback;
            self.played(playback, stream.codec);
        }
        let (Some(pressed), Some(events)) = (pressed, stream.telephone_event) else { return None };
        let (head, rest) = packet.split_first_chunk_mut()?;
        let payload = rest.first_chunk_mut()?;
        *payload = pressed.payload;
        // RFC 4733 §2.2.1: all packets of one event share its first timestamp.
        let began = tick.saturating_sub(u64::from(pressed.frames_ago) * TICKS_PER_FRAME);
        let first = pressed.frames_ago == 0;
        *head = self.outgoing.header(events, rtp_time(began, stream.codec), first);
        self.counters.sent.add(1);
        Some(rtp::HEADER + payload.len())
    }

    /// What the clock alone brings about; called some ten times a second.
    pub fn tick(&mut self, now: Instant, out: &mut Outbox) -> Ear {
        if let Intake::Recording(recorder, _) = &mut self.intake {
            recorder.tick(now);
            self.hand_over(now, out);
        }
        if self.silent_at.is_some_and(|at| at <= now) {
            self.silent_at = None;
            self.teller.tell(Told::Silent);
        }
        let lost_sight = self.heard.is_some_and(|heard| now.duration_since(heard) >= OUT_OF_SIGHT);
        if lost_sight && !self.source.is_open() {
            self.source.forget();
            return Ear::Open;
        }
        Ear::AsBefore
    }

    fn change(&mut self, codec: Codec, now: Instant) {
        match &mut self.intake {
            Intake::Deaf => {}
            Intake::Head(head) => *head = Head::new(codec),
            Intake::Recording(recorder, _) => recorder.change(codec, now),
        }
    }

    fn played(&mut self, playback: u32, codec: Codec) {
        self.playing = Playing::Nothing;
        if let Intake::Deaf = self.intake {
            self.intake = Intake::Head(Head::new(codec));
        }
        self.teller.tell(Told::Played(playback));
    }

    fn note(&mut self, packet: &Packet<'_>, now: Instant) {
        self.heard = Some(now);
        self.silent_at = Some(now + self.rtp_timeout);
        self.counters.received.add(1);
        match self.incoming.note(packet) {
            Step::On { missing } => self.counters.lost.add(missing.into()),
            Step::Found => self.counters.lost.take_back_one(),
            Step::Again => self.counters.duplicates.add(1),
        }
    }

    fn keep(&mut self, packet: &Packet<'_>, speech: bool, now: Instant, out: &mut Outbox) {
        let arrival = match &mut self.intake {
            Intake::Deaf => return,
            Intake::Head(head) => head.push(packet, speech, now),
            Intake::Recording(recorder, _) => recorder.push(packet, speech, now),
        };
        if arrival == Arrival::Late {
            self.counters.late.add(1);
        }
        self.hand_over(now, out);
    }

    /// Hands pieces that are ready to the writer, and ends a recording that has come to its bounds.
    fn hand_over(&mut self, now: Instant, out: &mut Outbox) {
        let Intake::Recording(recorder, receipt) = &mut self.intake else { return };
        while let Some(piece) = recorder.pull() {
            // Its end may have been told already: then the disk has failed.
            if receipt.is_told() || !out.write(receipt, piece, now) {
                self.intake = Intake::Deaf;
                return;
            }
        }
        if let Some(bound) = recorder.bound(now) {
            self.finish(Some(bound), now, out);
        }
    }

    fn finish(&mut self, bound: Option<Bound>, now: Instant, out: &mut Outbox) {
        let intake = std::mem::replace(&mut self.intake, Intake::Deaf);
        let Intake::Recording(mut recorder, receipt) = intake else { return };
        let keep = recorder.finish(bound, now);
        while let Some(piece) = recorder.pull() {
            if !out.write(&receipt, piece, now) {
                return;
            }
        }
        let ended = match bound {
            None => Ended::Stopped,
            Some(Bound::Silence) => Ended::Silence,
            Some(Bound::Limit) => Ended::Limit,
        };
        out.finish(&receipt, keep, ended, now);
    }
}

/// RTP time, which wraps.
fn rtp_time(tick: u64, codec: Codec) -> u32 {
    let elapsed = tick * (u64::from(codec.clock()) / FRAMES_PER_SECOND / TICKS_PER_FRAME);
    u32::try_from(elapsed & u64::from(u32::MAX)).unwrap_or_default()
}

/// The wheel turns in ticks of 5 ms, and a frame is 20 ms.
pub(super) const TICKS_PER_FRAME: u64 = 4;
const FRAMES_PER_SECOND: u64 = 50;
/// Room for a header and 20 ms of any codec so far.
pub(super) const FRAME_PACKET: usize = rtp::HEADER + 160;
/// RFC 3389's static payload type.
const COMFORT_NOISE: u8 = 13;
/// After so much silence the caller may come back from another address: a NAT has forgotten, or an
/// SBC has failed over.
const OUT_OF_SIGHT: Duration = Duration::from_secs(1);
