//! One call's way through the stages: in `source → rtp → jitter → (dtmf | recorder)`, out
//! `player → rtp`. It owns no socket and no clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::Codec;
use super::comfort::PAYLOAD_TYPE as COMFORT_NOISE;
use super::dtmf::Dtmf;
use super::jitter::Arrival;
use super::player::{Control, Playback, Player};
use super::port::{Counters, Ended, Rtcp, Stream, Take, Teller, Told};
use super::press::Keys;
use super::recorder::{Bound, Bounds, Head, Recorder};
use super::rtcp::{self, Moment, REPORT, Reports, Wall};
use super::rtp::{self, Incoming, Outgoing, Packet, Step};
use super::source::{self, Source, Verdict};
use super::writer::{Outbox, Receipt};

#[derive(Debug)]
pub(super) struct Line {
    stream: Option<Stream>,
    source: Source,
    incoming: Incoming,
    dtmf: Dtmf,
    intake: Intake,
    outgoing: Outgoing,
    reports: Reports,
    /// Where the other side's reports come from, if not by the RTP port.
    reporter: Option<SocketAddr>,
    playing: Playing,
    /// The tick at which the last frame was sent.
    sent: Option<u64>,
    heard: Option<Instant>,
    /// When silence will be told, if it is to be.
    silent_at: Option<Instant>,
    rtp_timeout: Duration,
    pub teller: Teller,
    pub counters: Arc<Counters>,
}

/// What becomes of the audio that comes in.
#[derive(Debug)]
enum Intake {
    Deaf,
    /// A sound has just ended, and a recording may begin.
    Head(Box<Head>),
    Recording(Box<Recorder>, Arc<Receipt>),
}

#[derive(Debug)]
enum Playing {
    Nothing,
    /// Asked for before the stream was agreed.
    Waiting(Playback, u32),
    Sounds(Player, u32),
    Keys {
        keys: Keys,
        playback: u32,
    },
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
            stream: None,
            source: Source::new(None),
            incoming: Incoming::default(),
            dtmf: Dtmf::default(),
            intake: Intake::Deaf,
            outgoing: Outgoing::new(chance),
            reports: Reports::new(wall, chance),
            reporter: None,
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
        self.reports.begin(now);
        if changed {
            self.reporter = None;
        }
        self.silent_at = stream.direction.receives().then(|| now + self.rtp_timeout);
        if before != stream.codec {
            self.change(stream.codec, now);
        }
        if let Playing::Waiting(playback, number) = &mut self.playing {
            let (playback, number) = (std::mem::take(playback), *number);
            self.play(playback, number);
        }
        if changed { Ear::Open } else { Ear::AsBefore }
    }

    pub fn play(&mut self, playback: Playback, number: u32) {
        if let Intake::Head(_) = self.intake {
            self.intake = Intake::Deaf;
        }
        let Some(stream) = self.stream else {
            self.playing = Playing::Waiting(playback, number);
            return;
        };
        let before = match &mut self.playing {
            Playing::Sounds(player, _) => Some(player),
            Playing::Nothing | Playing::Waiting(..) | Playing::Keys { .. } => None,
        };
        let player = Player::new(playback, stream.codec, before);
        if player.is_finished() {
            self.stop_playing();
            self.played(number, stream.codec);
        } else {
            self.playing = Playing::Sounds(player, number);
        }
    }

    pub fn control(&mut self, control: Control) {
        let (Playing::Sounds(player, number), Some(stream)) = (&mut self.playing, self.stream)
        else {
            return;
        };
        let number = *number;
        player.control(control);
        self.teller.tell(Told::At(player.position(), number));
        if player.is_finished() && !player.has_frame() {
            self.playing = Playing::Nothing;
            self.played(number, stream.codec);
        }
    }

    pub fn stop_playing(&mut self) {
        if let Playing::Sounds(player, _) = &mut self.playing {
            player.stop();
            if player.has_frame() {
                return;
            }
        }
        self.playing = Playing::Nothing;
    }

    /// Presses keys, which ends like a playback. Without a payload type agreed for them they are
    /// not heard.
    pub fn press(&mut self, keys: &str, playback: u32) {
        self.playing = Playing::Keys { keys: Keys::new(keys), playback };
    }

    pub fn is_playing(&self) -> bool {
        match &self.playing {
            Playing::Sounds(player, _) => player.has_frame(),
            Playing::Keys { .. } => true,
            Playing::Nothing | Playing::Waiting(..) => false,
        }
    }

    /// The tick at which the last frame was sent.
    pub fn sent(&self) -> Option<u64> {
        self.sent
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
        let ear = match self.source.hear(from, &packet, now) {
            Verdict::Stranger => {
                self.counters.strangers.add(1);
                return Ear::AsBefore;
            }
            Verdict::Accepted => Ear::AsBefore,
            Verdict::Locked => Ear::Closed,
        };
        self.note(&packet, now);
        if is_audio {
            self.reports.note(&packet, stream.codec.clock(), now);
        }
        if is_event && let Some(key) = self.dtmf.push(&packet, now) {
            self.teller.key(key);
            if let Intake::Recording(recorder, _) = &mut self.intake {
                recorder.key(packet.timestamp);
            }
        }
        // RFC 4733 §2.5.1.2: a sender may send the tone as audio beside the event. It is no speech.
        let speech = is_audio && stream.codec.ticks(packet.payload) > 0 && !self.dtmf.sounding(now);
        if packet.payload_type == COMFORT_NOISE && !is_audio {
            match &mut self.intake {
                Intake::Deaf => {}
                Intake::Head(head) => head.comfort(packet.payload),
                Intake::Recording(recorder, _) => recorder.comfort(packet.payload),
            }
        }
        self.keep(&packet, speech, now, out);
        ear
    }

    /// Takes a datagram of RTCP.
    pub fn hear_report(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let from = source::plain(from);
        // Behind NAT its port can be any.
        if self.source.target().is_none_or(|target| target.ip() != from.ip()) {
            return self.counters.strangers.add(1);
        }
        let (ours, theirs) = (self.outgoing.ssrc(), self.incoming.ssrc());
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
        Some(self.reports.write(&moment, &mut self.incoming, &self.outgoing, datagram))
    }

    /// Writes the last report, with a BYE.
    pub fn farewell(
        &mut self,
        tick: u64,
        now: Instant,
        datagram: &mut [u8; REPORT],
    ) -> Option<usize> {
        let moment = Moment { now, timestamp: rtp_time(tick, self.stream?.codec) };
        self.reports.farewell(&moment, &mut self.incoming, &self.outgoing, datagram)
    }

    /// Writes the frame for `tick` into `packet` and says how long it is, if one is to be sent.
    pub fn frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let stream = self.stream?;
        let player = match &mut self.playing {
            Playing::Sounds(player, _) if player.has_frame() => player,
            Playing::Keys { .. } => return self.key_frame(tick, packet),
            Playing::Nothing | Playing::Waiting(..) | Playing::Sounds(..) => return None,
        };
        let length = stream.codec.bytes(u64::from(stream.codec.clock()) / FRAMES_PER_SECOND);
        let (head, audio) = packet.split_first_chunk_mut()?;
        player.fill(&mut audio[..length]);
        let spurt = self.sent.is_none_or(|sent| sent + TICKS_PER_FRAME != tick);
        self.sent = Some(tick);
        if !stream.direction.sends() {
            return None;
        }
        *head = self.outgoing.header(stream.payload_type, rtp_time(tick, stream.codec), spurt);
        self.outgoing.sent(length);
        self.counters.sent.add(1);
        Some(rtp::HEADER + length)
    }

    fn key_frame(&mut self, tick: u64, packet: &mut [u8; FRAME_PACKET]) -> Option<usize> {
        let stream = self.stream?;
        let Playing::Keys { keys, playback } = &mut self.playing else { return None };
        let samples = u64::from(stream.codec.clock()) / FRAMES_PER_SECOND;
        let pressed = keys.next(u32::try_from(samples).unwrap_or_default());
        if keys.is_finished() {
            // The gap after a key ends it: nothing is left to be sent.
            let playback = *playback;
            self.playing = Playing::Nothing;
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
        self.outgoing.sent(payload.len());
        self.counters.sent.add(1);
        Some(rtp::HEADER + payload.len())
    }

    /// The frame has left. If it was the last one, its playback is over, and a recording may begin.
    pub fn sent_frame(&mut self) {
        let (Playing::Sounds(player, number), Some(stream)) = (&self.playing, self.stream) else {
            return;
        };
        let number = *number;
        if player.is_finished() {
            self.playing = Playing::Nothing;
            self.played(number, stream.codec);
        } else if player.is_stopped() && !player.has_frame() {
            self.playing = Playing::Nothing;
        }
    }

    /// What the clock alone brings about; called some ten times a second.
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
        // What plays is encoded for the other codec: whoever agreed to this one plays it anew.
        if let Playing::Sounds(..) = self.playing {
            self.playing = Playing::Nothing;
        }
        match &mut self.intake {
            Intake::Deaf => {}
            Intake::Head(head) => **head = Head::new(codec),
            Intake::Recording(recorder, _) => recorder.change(codec, now),
        }
    }

    fn played(&mut self, playback: u32, codec: Codec) {
        if let Intake::Deaf = self.intake {
            self.intake = Intake::Head(Box::new(Head::new(codec)));
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
        match arrival {
            Arrival::Late => self.counters.late.add(1),
            Arrival::Excess => self.counters.excess.add(1),
            Arrival::InOrder | Arrival::Early | Arrival::Duplicate => {}
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
/// After so much silence the caller may come back from another address: a NAT has forgotten, or an
/// SBC has failed over.
const OUT_OF_SIGHT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::media::Sound;
    use crate::media::port::tests::{teller, told};
    use crate::media::writer::Pool;

    struct Call {
        line: Line,
        events: Receiver<Told>,
        outbox: Outbox,
        now: Instant,
        sequence: u16,
        tick: u64,
    }

    impl Call {
        fn new() -> Self {
            let (teller, events) = teller();
            let now = Instant::now();
            let wall = Wall { at: now, unix: Duration::from_secs(1_700_000_000) };
            let line = Line::new(teller, Arc::default(), Duration::from_secs(30), wall, 7);
            let outbox = Pool::start(1).unwrap().outbox();
            Self { line, events, outbox, now, sequence: 0, tick: 0 }
        }

        fn connected() -> Self {
            let mut call = Self::new();
            call.line.connect(stream(Codec::Pcmu), call.now);
            call
        }

        /// Hears one packet: payload type and payload.
        fn hears(&mut self, payload_type: u8, payload: &[u8]) -> Ear {
            let mut datagram = vec![0x80, payload_type];
            datagram.extend(self.sequence.to_be_bytes());
            datagram.extend((u32::from(self.sequence) * 160).to_be_bytes());
            datagram.extend([0, 0, 0, 1]);
            datagram.extend(payload);
            self.sequence += 1;
            self.now += Duration::from_millis(20);
            self.line.hear(&datagram, phone(), self.now, &mut self.outbox)
        }

        /// Sends the frame that is due, and says its length, marker and payload type.
        fn sends(&mut self) -> Option<(usize, bool, u8)> {
            let mut packet = [0; FRAME_PACKET];
            self.tick += TICKS_PER_FRAME;
            let length = self.line.frame(self.tick, &mut packet);
            self.line.sent_frame();
            let length = length?;
            Some((length, packet[1] & 0x80 != 0, packet[1] & 0x7f))
        }

        fn told(&mut self) -> String {
            told(&mut self.events)
        }

        fn counts(&self) -> [u64; 3] {
            let counters = &self.line.counters;
            [&counters.received, &counters.strangers, &counters.unknown]
                .map(crate::media::port::Counter::count)
        }
    }

    fn phone() -> SocketAddr {
        "192.0.2.1:4000".parse().unwrap()
    }

    fn stream(codec: Codec) -> Stream {
        Stream { telephone_event: Some(101), ..Stream::new(Some(phone()), codec) }
    }

    fn sound(millis: u64) -> Playback {
        vec![Arc::new(Sound::silence(Duration::from_millis(millis), Codec::Pcmu))].into()
    }

    #[test]
    fn the_end_of_a_sound_is_told_with_its_last_frame() {
        let mut call = Call::connected();
        call.line.play(sound(30), 1);
        assert_eq!(call.sends(), Some((172, true, 0)));
        assert_eq!(call.told(), "");
        assert_eq!(call.sends(), Some((172, false, 0)));
        assert_eq!(call.told(), "P");
        assert_eq!(call.sends(), None);
        call.line.play(sound(20), 2);
        assert_eq!(call.sends(), Some((172, true, 0)), "a new talk spurt");
    }

    #[test]
    fn a_sound_asked_for_too_early_waits_for_the_stream() {
        let mut call = Call::new();
        call.line.play(sound(20), 1);
        assert_eq!(call.sends(), None);
        call.line.connect(stream(Codec::Pcmu), call.now);
        assert!(call.sends().is_some());
        assert_eq!(call.told(), "P");
    }

    #[test]
    fn nothing_to_play_is_played_at_once() {
        let mut call = Call::connected();
        call.line.play(Playback::default(), 1);
        assert_eq!(call.told(), "P");
    }

    #[test]
    fn a_stopped_sound_fades_out_in_one_frame_and_is_not_told() {
        let mut call = Call::connected();
        call.line.play(sound(60), 1);
        call.sends();
        call.line.stop_playing();
        assert_eq!((call.sends(), call.sends()), (Some((172, false, 0)), None));
        assert_eq!(call.told(), "");
        assert!(!call.line.is_playing());
    }

    #[test]
    fn a_pause_sends_nothing_and_a_skip_past_the_end_is_the_end() {
        let mut call = Call::connected();
        call.line.control(Control::Pause);
        assert_eq!(call.told(), "", "nothing plays");
        call.line.play(sound(60), 1);
        call.sends();
        call.line.control(Control::Pause);
        assert_eq!((call.sends(), call.sends()), (Some((172, false, 0)), None));
        assert!(!call.line.is_playing());
        call.line.control(Control::Resume);
        assert!(call.line.is_playing());
        assert_eq!(call.sends(), Some((172, true, 0)), "a new talk spurt");
        assert_eq!(call.told(), "@@");
        call.line.control(Control::Forward(Duration::from_secs(3)));
        assert_eq!(call.told(), "@");
        assert_eq!((call.sends(), call.told()), (Some((172, false, 0)), "P".into()));
        call.line.play(sound(60), 2);
        call.line.control(Control::Pause);
        call.sends();
        call.line.control(Control::Forward(Duration::from_secs(3)));
        assert_eq!((call.told(), call.sends()), ("@@P".into(), None));
    }

    #[test]
    fn another_codec_ends_what_plays_and_is_not_told() {
        let mut call = Call::connected();
        call.line.play(sound(60), 1);
        call.line.connect(stream(Codec::Pcma), call.now);
        assert_eq!((call.sends(), call.told()), (None, String::new()));
    }

    #[test]
    fn what_was_not_agreed_is_counted_and_dropped() {
        let mut call = Call::connected();
        assert_eq!(call.hears(0, &[0xff; 160]), Ear::Closed);
        call.hears(96, &[0; 160]);
        call.hears(13, &[60]);
        assert_eq!(call.counts(), [2, 0, 2], "comfort noise shows that the caller is there");
        assert_eq!(Call::new().hears(0, &[0xff; 160]), Ear::AsBefore);
    }

    #[test]
    fn reports_go_where_the_description_says_until_the_source_shows_otherwise() {
        let mut call = Call::new();
        let rtcp = Rtcp::Beside(Some("192.0.2.1:5555".parse().unwrap()));
        call.line.connect(Stream { rtcp, ..stream(Codec::Pcmu) }, call.now);
        let target = |call: &Call| call.line.report_target().unwrap().1.to_string();
        assert_eq!(target(&call), "192.0.2.1:5555");
        // NAT: audio comes from another port, and reports then from yet another.
        for sequence in 1..=2 {
            let datagram = [0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
            let from = "192.0.2.1:6000".parse().unwrap();
            call.line.hear(&datagram, from, call.now, &mut call.outbox);
        }
        assert_eq!(target(&call), "192.0.2.1:6001");
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        call.line.hear_report(&report, "203.0.113.5:1".parse().unwrap(), call.now);
        assert_eq!((target(&call).as_str(), call.counts()[1]), ("192.0.2.1:6001", 2));
        call.line.hear_report(&report, "192.0.2.1:7000".parse().unwrap(), call.now);
        assert_eq!(target(&call), "192.0.2.1:7000");
    }

    #[test]
    fn reports_among_the_audio_are_told_apart_where_that_was_agreed() {
        let mut call = Call::new();
        call.line.connect(Stream { rtcp: Rtcp::Mux, ..stream(Codec::Pcmu) }, call.now);
        assert_eq!(call.line.report_target(), Some((Rtcp::Mux, phone())));
        call.hears(0, &[0xff; 160]);
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        call.line.hear(&report, phone(), call.now, &mut call.outbox);
        call.line.hear(&[0x80, 201, 0, 9], phone(), call.now, &mut call.outbox);
        assert_eq!(call.counts(), [1, 0, 0]);
        assert_eq!(call.line.counters.malformed.count(), 1);
    }

    #[test]
    fn a_report_leaves_when_it_is_due() {
        let mut call = Call::connected();
        call.hears(0, &[0xff; 160]);
        let mut datagram = [0; REPORT];
        assert_eq!(call.line.report(0, call.now, &mut datagram), None);
        let later = call.now + Duration::from_secs(4);
        assert_eq!(call.line.report(0, later, &mut datagram), Some(8 + 24 + 28));
        assert_eq!(call.line.report(0, later, &mut datagram), None);
        assert_eq!(call.line.farewell(0, later, &mut datagram), Some(8 + 24 + 28 + 8));
    }

    #[test]
    fn a_key_is_told_once_whatever_plays() {
        let mut call = Call::connected();
        call.line.play(sound(60), 1);
        let mut press = |end| {
            call.sequence = 5;
            call.hears(101, &[7, end, 1, 0]);
        };
        press(0);
        press(0x80);
        press(0x80);
        assert_eq!(call.told(), "7");
    }

    #[test]
    fn a_caller_out_of_sight_may_come_back_from_elsewhere() {
        let mut call = Call::connected();
        call.hears(0, &[0xff; 160]);
        let soon = call.now + OUT_OF_SIGHT / 2;
        assert_eq!(call.line.tick(soon, &mut call.outbox), Ear::AsBefore);
        let late = call.now + OUT_OF_SIGHT;
        assert_eq!(call.line.tick(late, &mut call.outbox), Ear::Open);
        assert_eq!(call.line.tick(late, &mut call.outbox), Ear::AsBefore);
        assert_eq!(call.line.target(), Some(phone()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_survived_and_stays_within_bounds(
            datagrams in proptest::collection::vec(
                (proptest::bits::u8::masked(0xf1), 0_u8..3, proptest::num::u16::ANY, 0_u32..9,
                 proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0_u64..900), 0..200,
            )
        ) {
            let mut call = Call::connected();
            let limit = Duration::from_secs(3);
            let open = Box::new(|| Err(std::io::Error::other("no disk")));
            let take = Take { limit, ..Take::new(open) };
            call.line.record(take, call.now, &mut call.outbox);
            let mut recorded = 0;
            for (flags, kind, sequence, stamp, rest, millis) in datagrams {
                let mut datagram = vec![flags ^ 0x80, [0, 101, 13][usize::from(kind)]];
                datagram.extend((sequence % 512).to_be_bytes());
                datagram.extend((stamp * 500_000_000).wrapping_add(sequence.into()).to_be_bytes());
                datagram.extend([0, 0, 0, u8::from(millis == 0)]);
                datagram.extend(rest);
                call.now += Duration::from_millis(millis);
                call.line.hear(&datagram, phone(), call.now, &mut call.outbox);
                call.line.tick(call.now, &mut call.outbox);
                recorded = recorded.max(call.outbox.gathered());
            }
            proptest::prop_assert!(recorded <= 3 * 8000);
        }
    }

    #[test]
    fn silence_is_told_once_for_each_silence() {
        let mut call = Call::connected();
        let late = |call: &mut Call| {
            for _ in 0..3 {
                call.now += Duration::from_secs(20);
                call.line.tick(call.now, &mut call.outbox);
            }
            call.told()
        };
        assert_eq!(late(&mut call), "S");
        call.hears(0, &[0xff; 160]);
        assert_eq!(late(&mut call), "S");
    }
}
