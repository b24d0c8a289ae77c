//! One call's way through the stages: in `source → rtp → jitter → (dtmf | recorder)`, out by its
//! [`Sender`]. It owns no socket and no clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::Codec;
use super::comfort::PAYLOAD_TYPE as COMFORT_NOISE;
use super::counters::Counters;
use super::dtmf::Dtmf;
use super::event::{Teller, Told};
use super::inband::Inband;
use super::jitter::Arrival;
use super::player::{Control, Playback};
use super::recorder::{Bound, Bounds, Head, Recorder};
use super::recording::{Ended, Take};
use super::rtcp::{self, Moment, REPORT, Reports, Wall};
use super::rtp::{Incoming, Packet, Step};
use super::sender::{FRAME_PACKET, Sender, rtp_time};
use super::source::{self, Source, Verdict};
use super::stream::{Rtcp, Stream};
use super::writer::{Outbox, Receipt};

#[derive(Debug)]
pub(super) struct Line {
    sender: Sender,
    stream: Option<Stream>,
    source: Source,
    incoming: Incoming,
    dtmf: Dtmf,
    /// Listens for keys where they are not told as events.
    inband: Option<Box<Inband>>,
    intake: Intake,
    reports: Reports,
    /// Where the other side's reports come from, if not by the RTP port.
    reporter: Option<SocketAddr>,
    heard: Option<Instant>,
    /// Packets of the caller's: a count of our own, for one that others read lies far away.
    received: u64,
    /// When silence will be told, if it is to be.
    silent_at: Option<Instant>,
    rtp_timeout: Duration,
    pub teller: Teller,
    pub counters: Arc<Counters>,
}

/// What becomes of the audio that comes in.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "what each packet needs lies close together")]
enum Intake {
    Deaf,
    /// A sound has just ended, and a recording may begin.
    Head(Box<Head>),
    Recording(Recorder, Arc<Receipt>),
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
        wall: Wall,
        chance: u64,
    ) -> Self {
        Self {
            sender: Sender::new(chance),
            stream: None,
            source: Source::new(None),
            incoming: Incoming::default(),
            dtmf: Dtmf::default(),
            inband: None,
            intake: Intake::Deaf,
            reports: Reports::new(wall, chance),
            reporter: None,
            heard: None,
            received: 0,
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
        self.reports.begin(now);
        if changed {
            self.reporter = None;
        }
        self.silent_at = stream.direction.receives().then(|| now + self.rtp_timeout);
        if before != stream.codec {
            self.change(stream.codec, now);
        }
        let listens = stream.telephone_event.is_none() && stream.direction.receives();
        if !listens {
            self.inband = None;
        } else if self.inband.is_none() || before != stream.codec {
            self.inband = Some(Box::new(Inband::new(stream.codec)));
        }
        if let Some(number) = self.sender.connect(&stream) {
            self.played(number);
        }
        if changed { Ear::Open } else { Ear::AsBefore }
    }

    pub fn play(&mut self, playback: Playback, number: u32) {
        if let Intake::Head(_) = self.intake {
            self.intake = Intake::Deaf;
        }
        if let Some(number) = self.sender.play(playback, number) {
            self.played(number);
        }
    }

    pub fn control(&mut self, control: Control) {
        if let Some((position, number)) = self.sender.control(control) {
            self.teller.tell(Told::At(position, number));
            if !self.sender.is_playing() {
                self.sent_frame();
            }
        }
    }

    pub fn stop_playing(&mut self) {
        self.sender.stop();
    }

    pub fn press(&mut self, keys: &str, playback: u32) {
        self.sender.press(keys, playback);
    }

    pub fn is_playing(&self) -> bool {
        self.sender.is_playing()
    }

    pub fn is_recording(&self) -> bool {
        matches!(self.intake, Intake::Recording(..))
    }

    /// The tick at which the last frame was sent.
    pub fn sent(&self) -> Option<u64> {
        self.sender.sent()
    }

    /// The codec agreed, or the one that will most likely be.
    fn codec(&self) -> Codec {
        self.stream.map_or(Codec::Pcmu, |stream| stream.codec)
    }

    /// Where the description says that the other side is.
    pub fn offered(&self) -> Option<SocketAddr> {
        self.stream?.remote
    }

    /// Whether RTCP comes and goes by the socket of RTP.
    pub fn is_mux(&self) -> bool {
        self.stream.is_some_and(|stream| stream.rtcp == Rtcp::Mux)
    }

    /// The other side has said where it wants to be sent to.
    pub fn choose(&mut self, from: SocketAddr) {
        self.source.choose(from);
    }

    /// Where our packets go.
    pub fn target(&self) -> Option<SocketAddr> {
        self.source.target()
    }

    /// Where our reports go: by the RTP socket, or by their own.
    pub fn report_target(&self) -> Option<(Rtcp, SocketAddr)> {
        let stream = self.stream?;
        let target = self.source.target()?;
        let at = match stream.rtcp {
            Rtcp::Mux => target,
            Rtcp::Beside(told) => match self.reporter {
                Some(reporter) => reporter,
                // What the description says of ports holds for who it speaks of.
                None if stream.remote.map(source::plain) == Some(target) => told?,
                None => Rtcp::above(target)?,
            },
        };
        Some((stream.rtcp, at))
    }

    pub fn record(&mut self, take: Take, now: Instant, out: &mut Outbox) {
        self.stop_recording(now, out);
        let Take { open, limit, silence, silence_level: level, adapts, trims } = take;
        let codec = self.codec();
        let head = match std::mem::replace(&mut self.intake, Intake::Deaf) {
            Intake::Head(head) => *head,
            Intake::Deaf | Intake::Recording(..) => Head::new(codec),
        };
        let receipt = out.open(head.rate(), self.teller.clone(), open);
        let recorder = Recorder::start(head, Bounds { limit, silence, level, adapts, trims }, now);
        self.intake = Intake::Recording(recorder, receipt);
    }

    pub fn stop_recording(&mut self, now: Instant, out: &mut Outbox) {
        if let Intake::Recording(..) = self.intake {
            self.finish(None, now, out);
        }
    }

    /// The payload type of audio of which nothing is needed but that it comes: a sound will go on
    /// for a while, and a key comes as an event.
    pub fn unheard(&self) -> Option<u8> {
        let stream = self.stream.filter(|stream| stream.telephone_event.is_some())?;
        let nobody_hears = matches!(self.intake, Intake::Deaf) && !self.source.is_open();
        (nobody_hears && self.sender.left() >= LONG).then_some(stream.payload_type)
    }

    /// Whether the audio that nobody needs is thinned out.
    pub fn thin(&mut self, thins: bool) {
        self.incoming.thin(thins);
    }

    /// Takes a datagram. What it brings to a recording waits for [`Line::hand_over`].
    pub fn hear(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Ear {
        if self.is_mux() && rtcp::is_rtcp(datagram) {
            self.hear_report(datagram, from, now);
            return Ear::AsBefore;
        }
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
        // Some send keys in a stream of their own.
        let beside = is_event && self.source.is_from(from) && !self.source.is_stream(packet.ssrc);
        let ear = if beside {
            Ear::AsBefore
        } else {
            match self.source.hear(from, &packet, now) {
                Verdict::Stranger => {
                    self.counters.strangers.add(1);
                    return Ear::AsBefore;
                }
                Verdict::Accepted => Ear::AsBefore,
                Verdict::Locked => Ear::Closed,
            }
        };
        if beside {
            self.note_presence(now);
        } else {
            self.note(&packet, now);
        }
        if is_audio {
            self.reports.note(&packet, stream.codec.clock(), now);
        }
        if is_event && let Some(key) = self.dtmf.push(&packet, stream.event_clock, now) {
            self.teller.key(key);
            let known = !beside && stream.event_clock == stream.codec.clock();
            self.cut(known.then_some(packet.timestamp));
        }
        if beside {
            return ear;
        }
        let is_audio = is_audio && stream.codec.ticks(packet.payload) > 0;
        // RFC 4733 §2.5.1.2: a sender may send the tone as audio beside the event. It is no speech.
        let speech = is_audio && !self.dtmf.sounding(now) && !self.is_tone(&packet, is_audio, now);
        if packet.payload_type == COMFORT_NOISE && !is_audio {
            match &mut self.intake {
                Intake::Deaf => {}
                Intake::Head(head) => head.comfort(packet.payload),
                Intake::Recording(recorder, _) => recorder.comfort(packet.payload),
            }
        }
        self.keep(&packet, speech, now);
        ear
    }

    /// Takes a datagram of RTCP.
    pub fn hear_report(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let from = source::plain(from);
        // Behind NAT its port can be any.
        if self.source.target().is_none_or(|target| target.ip() != from.ip()) {
            return self.counters.strangers.add(1);
        }
        let (ours, theirs) = (self.sender.outgoing.ssrc(), self.incoming.ssrc());
        if !self.reports.hear(datagram, ours, theirs, now) {
            return self.counters.malformed.add(1);
        }
        self.reporter = Some(from);
        if let Some(round_trip) = self.reports.round_trip() {
            let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
            self.counters.round_trip.set(micros.saturating_add(1));
        }
    }

    /// Writes the report that is due, if one is, and says how long it is.
    pub fn report(
        &mut self,
        tick: u64,
        now: Instant,
        datagram: &mut [u8; REPORT],
    ) -> Option<usize> {
        let codec = self.stream.filter(|_| self.reports.is_due(now))?.codec;
        let moment = Moment { now, timestamp: rtp_time(tick, codec) };
        Some(self.reports.write(&moment, &mut self.incoming, &self.sender.outgoing, datagram))
    }

    /// Writes the last report, with a BYE.
    pub fn farewell(
        &mut self,
        tick: u64,
        now: Instant,
        datagram: &mut [u8; REPORT],
    ) -> Option<usize> {
        let moment = Moment { now, timestamp: rtp_time(tick, self.stream?.codec) };
        self.reports.farewell(&moment, &mut self.incoming, &self.sender.outgoing, datagram)
    }

    /// Writes the frame for `tick` into `packet` and says how long it is, if one is to be sent.
    pub fn frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let length = self.sender.frame(tick, packet)?;
        self.counters.sent.set(self.sender.outgoing.packets().into());
        Some(length)
    }

    /// The frame has left. If it was the last one, its playback is over, and a recording may begin.
    pub fn sent_frame(&mut self) {
        if let Some(number) = self.sender.over() {
            self.played(number);
        }
    }

    /// What the clock alone brings about; called some times a second.
    pub fn tick(&mut self, now: Instant, out: &mut Outbox) -> Ear {
        if let Intake::Recording(recorder, _) = &mut self.intake {
            recorder.tick(now);
            self.hand_over(now, out);
        }
        let jitter = self.reports.jitter(self.codec().clock()).as_micros();
        self.counters.jitter.set(u64::try_from(jitter).unwrap_or(u64::MAX));
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
            Intake::Head(head) => **head = Head::new(codec),
            Intake::Recording(recorder, _) => recorder.change(codec, now),
        }
    }

    fn played(&mut self, playback: u32) {
        if let Intake::Deaf = self.intake {
            self.intake = Intake::Head(Box::new(Head::new(self.codec())));
        }
        self.teller.tell(Told::Played(playback));
    }

    /// Whether a key's tone is in the audio; tells the key when it begins.
    fn is_tone(&mut self, packet: &Packet<'_>, is_audio: bool, now: Instant) -> bool {
        let Some(inband) = self.inband.as_mut().filter(|_| is_audio) else { return false };
        let before = inband.sounding();
        if let Some(pressed) = inband.push(packet, now) {
            self.teller.key(pressed.key);
            self.cut(Some(pressed.timestamp));
            return true;
        }
        before
    }

    /// A key was pressed, at this RTP time of the audio if that is known: if nothing follows, the
    /// recording ends there.
    fn cut(&mut self, timestamp: Option<u32>) {
        if let Intake::Recording(recorder, _) = &mut self.intake {
            recorder.key(timestamp);
        }
    }

    fn note_presence(&mut self, now: Instant) {
        self.heard = Some(now);
        self.silent_at = Some(now + self.rtp_timeout);
        self.count(1);
    }

    fn count(&mut self, packets: u64) {
        self.received += packets;
        self.counters.received.set(self.received);
    }

    fn note(&mut self, packet: &Packet<'_>, now: Instant) {
        self.note_presence(now);
        match self.incoming.note(packet) {
            Step::On { missing, unheard } => {
                self.counters.lost.add(missing.into());
                self.count(unheard.into());
            }
            Step::Found => self.counters.lost.take_back_one(),
            Step::Again => self.counters.duplicates.add(1),
        }
    }

    fn keep(&mut self, packet: &Packet<'_>, speech: bool, now: Instant) {
        let arrival = match &mut self.intake {
            Intake::Deaf => return,
            Intake::Head(head) => head.push(packet, speech, now),
            Intake::Recording(recorder, _) => recorder.push(packet, speech, now),
        };
        match arrival {
            Arrival::Late => self.counters.late.add(1),
            Arrival::Excess => self.counters.excess.add(1),
            Arrival::InOrder | Arrival::Early | Arrival::Duplicate => {}
        }
    }

    /// Gives a recording what its next piece will stand on.
    pub fn lend(&mut self, out: &mut Outbox) {
        if let Intake::Recording(recorder, _) = &mut self.intake
            && recorder.wants_sheet()
        {
            recorder.refill(out.sheet());
        }
    }

    /// Hands pieces that are ready to the writer, and ends a recording that has come to its bounds.
    pub fn hand_over(&mut self, now: Instant, out: &mut Outbox) {
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
        receipt.heard(recorder.spoke());
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

/// The audio that nobody needs is thinned out while a sound goes on for so long, and all is there
/// again well before it ends.
const LONG: Duration = Duration::from_secs(1);
/// After so much silence the caller may come back from another address: a NAT has forgotten, or an
/// SBC has failed over.
const OUT_OF_SIGHT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
