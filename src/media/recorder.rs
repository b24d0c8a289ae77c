//! Ordered audio to pieces of a recording, with its end: a limit, a silence, a key.
//!
//! G.711 stays encoded here; the writer decodes it. A piece leaves when it is full or old, so
//! that a crash costs less than a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::codec::{self, Codec};
use super::hearing::{Audio, Heard, Hearing};
use super::jitter::{Arrival, Jitter};
use super::meter::Meter;
use super::rtp::Packet;
use super::track::Track;
use super::wav;

/// What has been said since the last sound ended, in case a recording begins: a caller who speaks
/// at once into the beep's end loses nothing.
#[derive(Debug)]
pub(super) struct Head {
    jitter: Jitter,
    hearing: Hearing,
    kept: VecDeque<Track>,
}

/// What ends a recording, apart from its caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub limit: Duration,
    pub silence: Option<Duration>,
    pub level: u16,
    /// Whether the line's own noise raises the level.
    pub adapts: bool,
    /// Whether silence at the end is cut, whatever ended the recording.
    pub trims: bool,
}

#[derive(Debug)]
pub(super) struct Recorder {
    jitter: Jitter,
    hearing: Hearing,
    tape: Reel,
    bounds: Bounds,
    started: Instant,
}

/// Why a recording ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Silence,
    Limit,
}

/// What has been recorded: pieces that are ready, and the one that grows.
#[derive(Debug)]
struct Reel {
    rate: u32,
    piece: Option<Track>,
    /// For the next piece, so that each is not asked of the allocator by one thread and given back
    /// by another.
    sheet: Vec<u8>,
    since: Option<Instant>,
    ready: VecDeque<Track>,
    /// Samples recorded so far, and how many there may be.
    total: u64,
    limit: u64,
    /// Samples of silence at the end, if they are counted.
    quiet: u64,
    /// So many of them end the recording.
    silence: u64,
    level: u16,
    adapts: bool,
    meter: Meter,
    /// Where the last key was pressed, until more is said.
    key: Option<u64>,
}

impl Head {
    pub fn new(codec: Codec) -> Self {
        let hearing = Hearing::new(codec, codec.rate());
        Self { jitter: Jitter::new(codec), hearing, kept: VecDeque::new() }
    }

    pub fn push(&mut self, packet: &Packet<'_>, audio: bool, now: Instant) -> Arrival {
        let Self { jitter, hearing, kept } = self;
        let (part, head) = (part(hearing.rate()), codec::samples(HEAD, hearing.rate()));
        let arrival = jitter.push(packet, audio, now, &mut |stretch| {
            hearing.hear(&stretch, &mut |heard| {
                let (Heard::Said(audio) | Heard::Pause(audio)) = heard;
                let last = kept.back_mut().filter(|last| last.len() < part as u64);
                if !last.is_some_and(|last| last.push(audio)) {
                    kept.push_back(Track::with(audio, part));
                }
            });
        });
        // Only what is short before the recording belongs to it.
        while kept.len() > 1 && kept.iter().skip(1).map(Track::len).sum::<u64>() >= head {
            kept.pop_front();
        }
        arrival
    }

    /// The sender will be silent, and this is what its silence sounds like.
    pub fn comfort(&mut self, payload: &[u8]) {
        self.hearing.comfort(payload);
    }

    pub fn rate(&self) -> u32 {
        self.hearing.rate()
    }

    fn length(&self) -> u64 {
        codec::samples(HEAD, self.hearing.rate())
    }
}

impl Recorder {
    pub fn start(head: Head, bounds: Bounds, now: Instant) -> Self {
        let mut skip = head.kept.iter().map(Track::len).sum::<u64>().saturating_sub(head.length());
        let Head { jitter, hearing, kept } = head;
        let rate = hearing.rate();
        let mut tape = Reel {
            rate,
            piece: None,
            sheet: Vec::new(),
            since: None,
            ready: VecDeque::new(),
            total: 0,
            limit: codec::samples(bounds.limit, rate),
            quiet: 0,
            silence: bounds.silence.map_or(u64::MAX, |silence| codec::samples(silence, rate)),
            level: bounds.level,
            adapts: bounds.adapts,
            meter: Meter::new(rate),
            key: None,
        };
        for track in &kept {
            let length = track.len();
            tape.take(track.audio().last(length.saturating_sub(skip)), now);
            skip = skip.saturating_sub(length);
        }
        Self { jitter, hearing, tape, bounds, started: now }
    }

    pub fn push(&mut self, packet: &Packet<'_>, audio: bool, now: Instant) -> Arrival {
        let Self { jitter, hearing, tape, .. } = self;
        // Packets come by the handful: what follows on the end is no part of the recording.
        if tape.is_over() {
            return Arrival::InOrder;
        }
        jitter.push(packet, audio, now, &mut |stretch| {
            hearing.hear(&stretch, &mut |heard| tape.append(heard, now));
        })
    }

    /// The sender will be silent, and this is what its silence sounds like.
    pub fn comfort(&mut self, payload: &[u8]) {
        self.hearing.comfort(payload);
    }

    /// A key was pressed at this RTP time, or now. If the recording is stopped soon after, it ends
    /// there, and what was recorded of its tone is cut off.
    pub fn key(&mut self, timestamp: Option<u32>) {
        let behind = timestamp.and_then(|timestamp| self.jitter.behind(timestamp)).unwrap_or(0);
        if behind <= codec::samples(TONE, self.hearing.codec().clock()) {
            let behind = self.hearing.samples(behind);
            self.tape.key = Some(self.tape.total.saturating_sub(behind));
        }
    }

    /// Goes on in another codec, at the rate that it began with. The clock of RTP starts anew.
    pub fn change(&mut self, codec: Codec, now: Instant) {
        self.flush(now);
        self.hearing = Hearing::new(codec, self.tape.rate);
        self.jitter = Jitter::new(codec);
    }

    /// What the clock alone brings about: patience with missing packets ends, a piece grows old,
    /// and a caller who sends nothing is silent.
    pub fn tick(&mut self, now: Instant) {
        let Self { jitter, hearing, tape, .. } = self;
        jitter.expire(now, &mut |stretch| {
            hearing.hear(&stretch, &mut |heard| tape.append(heard, now));
        });
        if tape.since.is_some_and(|since| now.saturating_duration_since(since) >= AGE) {
            tape.cut();
        }
    }

    fn flush(&mut self, now: Instant) {
        let Self { jitter, hearing, tape, .. } = self;
        jitter.flush(&mut |stretch| {
            hearing.hear(&stretch, &mut |heard| tape.append(heard, now));
        });
        hearing.finish(&mut |heard| tape.append(heard, now));
        tape.cut();
    }

    /// Why the recording must end now, if it must.
    pub fn bound(&self, now: Instant) -> Option<Bound> {
        if self.tape.is_over() {
            let is_full = self.tape.total >= self.tape.limit;
            return Some(if is_full { Bound::Limit } else { Bound::Silence });
        }
        let heard = self.jitter.heard().unwrap_or(self.started).max(self.started);
        let unheard = now.saturating_duration_since(heard);
        if unheard < GRACE {
            return None;
        }
        let lasted = now.saturating_duration_since(self.started);
        if lasted >= self.bounds.limit.saturating_add(GRACE) {
            return Some(Bound::Limit);
        }
        let quiet = self.tape.quiet + codec::samples(unheard, self.tape.rate);
        (quiet >= self.tape.silence).then_some(Bound::Silence)
    }

    /// The next piece that is ready to be written.
    pub fn pull(&mut self) -> Option<Track> {
        self.tape.ready.pop_front()
    }

    /// Whether the next handful of packets begins a piece, for which there is no sheet.
    pub fn wants_sheet(&self) -> bool {
        let encoded = matches!(self.hearing.codec(), Codec::Pcmu | Codec::Pcma);
        let begins = self.tape.piece.is_none() || wav::left_in_block(self.tape.total) < SOON;
        encoded && begins && self.tape.sheet.capacity() == 0
    }

    /// Takes the sheet for the next piece.
    pub fn refill(&mut self, sheet: Vec<u8>) {
        self.tape.sheet = sheet;
    }

    /// Ends the recording. Says how many of its samples belong to it; the last pieces can still be
    /// pulled.
    pub fn finish(&mut self, bound: Option<Bound>, now: Instant) -> u64 {
        if bound.is_none() {
            self.flush(now);
        }
        let tape = &mut self.tape;
        tape.cut();
        let left = codec::samples(TAIL, tape.rate);
        let spoken = tape.total - tape.quiet.saturating_sub(left).min(tape.total);
        let end = match (bound, tape.key) {
            (Some(Bound::Silence), _) => spoken,
            (None, Some(key)) => key,
            (None | Some(Bound::Limit), _) => tape.total,
        };
        if self.bounds.trims { end.min(spoken) } else { end }
    }

    /// How long somebody spoke.
    pub fn spoke(&self) -> Duration {
        self.tape.meter.speech().lasted
    }
}

impl Reel {
    fn append(&mut self, heard: Heard<'_>, now: Instant) {
        match heard {
            Heard::Said(audio) => self.take(audio, now),
            // Whatever the room sounds like, nobody speaks.
            Heard::Pause(audio) => {
                let quiet = self.quiet + audio.len();
                self.take(audio, now);
                self.quiet = quiet.min(self.total);
            }
        }
    }

    fn take(&mut self, audio: Audio<'_>, now: Instant) {
        let audio = audio.first(self.limit.saturating_sub(self.total));
        let samples = audio.len();
        if samples == 0 {
            return;
        }
        self.lay(audio, now);
        let after = || codec::samples(AFTER_KEY, self.rate);
        self.key = self.key.filter(|key| self.total <= key + after());
        let loudness = audio.loudness();
        self.meter.push_loudness(loudness, samples);
        let is_quiet = loudness < self.loud();
        self.quiet = if is_quiet { self.quiet + samples } else { 0 };
    }

    /// Adds audio to the piece that grows, which ends where a block of the file does.
    fn lay(&mut self, audio: Audio<'_>, now: Instant) {
        let mut rest = audio;
        while rest.len() > 0 {
            let room = match rest {
                Audio::Law(..) | Audio::Linear(_) => wav::left_in_block(self.total),
                // However long, it takes no memory.
                Audio::Silence(samples) => samples + 1,
            };
            let fits = rest.first(room);
            if !self.piece.as_mut().is_some_and(|piece| piece.push(fits)) {
                self.cut();
                let encoded = matches!(fits, Audio::Law(..));
                let sheet = if encoded { std::mem::take(&mut self.sheet) } else { Vec::new() };
                self.piece = Some(Track::on(sheet, fits, wav::BLOCK));
                self.since = Some(now);
            }
            self.total += fits.len();
            if fits.len() == room {
                self.cut();
            }
            rest = rest.last(rest.len() - fits.len());
        }
    }

    /// Whether what was said has come to one of the bounds.
    fn is_over(&self) -> bool {
        self.total >= self.limit || self.quiet >= self.silence
    }

    /// What is less loud is silence: a noisy line is never silent, and yet nobody speaks.
    fn loud(&self) -> u16 {
        if !self.adapts {
            return self.level;
        }
        self.level.max(self.meter.noise().saturating_mul(2).min(LOUDEST_NOISE))
    }

    fn cut(&mut self) {
        self.since = None;
        self.ready.extend(self.piece.take());
    }
}

/// How much of what came before a recording belongs to it: as much as a very busy machine may need
/// to begin one.
const HEAD: Duration = Duration::from_secs(1);
/// Samples of the parts in which that is kept: 240 ms, a whole number of packets of any length.
const fn part(rate: u32) -> usize {
    rate as usize / 25 * 6
}
/// So many samples come with a handful of packets of a telephone's band.
const SOON: u64 = 13 * 160;
/// A piece is old, full or not, when its first sample is: more than a block of a telephone's band and
/// a packet last. With the longest round and the patience of the jitter stage, within a second.
const AGE: Duration = Duration::from_millis(600);
/// So much of a key's tone may have been recorded before the key was known.
const TONE: Duration = Duration::from_millis(120);
/// So much may come after a key that ends the recording until the recording is stopped: a round and a
/// waking of the media thread. If more comes, the key was none that ends it.
const AFTER_KEY: Duration = Duration::from_millis(400);
/// So much of a silence that ended a recording stays, as in Asterisk.
const TAIL: Duration = Duration::from_millis(200);
/// No noise is louder than this; a caller who speaks without a pause is.
const LOUDEST_NOISE: u16 = 2000;
/// Packets may be so late before the clock on the wall speaks for them.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
