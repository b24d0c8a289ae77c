//! Sounds to frames: one sound after another, joined without a gap, and moved about in as a
//! listener likes.
//!
//! What plays as it is costs a copy of encoded bytes. Only another speed or volume, and the one
//! frame after a jump, a pause or a stop, go through samples: there the old fades into the new, so
//! that nothing clicks.

use std::sync::Arc;
use std::time::Duration;

use super::codec::{self, Codec, Coder, opus};
use super::level::Limiter;
use super::sound::Sound;
use super::stretch::{Source, Stretch, blend};

/// Sounds to be played, and how.
#[derive(Debug, Clone, Default)]
pub struct Playback {
    /// One after another; each encoded in the call's codec.
    pub sounds: Vec<Arc<Sound>>,
    /// Where to begin: so much of the sounds is skipped.
    pub from: Duration,
    pub speed: Speed,
    pub volume: Volume,
}

/// How fast a playback runs; its pitch stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(u16);

/// How much louder or quieter a playback is than its sounds. It never clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Volume(i8);

/// What a listener wants of the playback that runs; each is answered by [`Event::At`]. Without a
/// playback it comes too late, and nothing is told.
///
/// [`Event::At`]: super::Event::At
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Falls silent and stays where it is; nothing is sent.
    Pause,
    Resume,
    /// Skips so much of the sounds' own time; past their end, the playback is over.
    Forward(Duration),
    /// Goes back by so much, at most to the beginning.
    Back(Duration),
    /// Goes to a place: [`Duration::ZERO`] restarts.
    To(Duration),
    Speed(Speed),
    Volume(Volume),
}

/// Where a playback is, in its sounds' own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub at: Duration,
    /// Of all its sounds.
    pub length: Duration,
    pub paused: bool,
}

impl Speed {
    pub const NORMAL: Self = Self(100);
    pub const SLOWEST: Self = Self(75);
    pub const FASTEST: Self = Self(200);

    /// In percent of the normal speed, within 75 to 200.
    pub fn percent(percent: u16) -> Self {
        Self(percent).clamp(Self::SLOWEST, Self::FASTEST)
    }

    pub fn as_percent(self) -> u16 {
        self.0
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl Volume {
    pub const NORMAL: Self = Self(0);
    pub const QUIETEST: Self = Self(-18);
    pub const LOUDEST: Self = Self(18);

    /// In dB, within -18 to 18.
    pub fn decibels(decibels: i8) -> Self {
        Self(decibels).clamp(Self::QUIETEST, Self::LOUDEST)
    }

    pub fn as_decibels(self) -> i8 {
        self.0
    }
}

impl From<Vec<Arc<Sound>>> for Playback {
    fn from(sounds: Vec<Arc<Sound>>) -> Self {
        Self { sounds, ..Self::default() }
    }
}

#[derive(Debug)]
pub(super) struct Player {
    sounds: Sounds,
    /// The next sample, counted over all sounds.
    at: u64,
    length: u64,
    state: State,
    /// Only for those who want more than a plain playback.
    desk: Option<Box<Desk>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Playing,
    Paused,
    /// One frame is left, in which what played fades out.
    Stopped,
}

/// Sounds of one codec as one row of samples.
#[derive(Debug)]
struct Sounds {
    codec: Codec,
    row: Vec<Arc<Sound>>,
    here: Option<Here>,
}

/// The sound that plays, at hand: the way to it by the row costs three fetches from memory.
#[derive(Debug)]
struct Here {
    encoded: Arc<[u8]>,
    /// Its first sample, counted over all sounds.
    begins: u64,
}

/// What works on samples.
#[derive(Debug, Default)]
struct Desk {
    speed: Speed,
    volume: Volume,
    stretch: Option<Stretch>,
    limiter: Option<Limiter>,
    /// What would have come next, had nothing changed: it fades out in the next frame.
    before: Vec<i16>,
    coder: Option<Coder>,
}

impl Player {
    /// Plays those of the sounds that are encoded in `codec`; any other cannot be heard. `before`
    /// is what the playback replaces.
    pub fn new(playback: Playback, codec: Codec, before: Option<&mut Self>) -> Self {
        let Playback { mut sounds, from, speed, volume } = playback;
        sounds.retain(|sound| sound.codec() == codec && sound.samples() > 0);
        let length = sounds.iter().map(|sound| sound.samples()).sum();
        let at = codec::samples(from, codec.rate()).min(length);
        let sounds = Sounds { codec, row: sounds, here: None };
        let mut player = Self { sounds, at, length, state: State::Playing, desk: None };
        if (speed, volume) != Default::default() {
            player.set(speed, volume);
        }
        if let Some(before) = before.filter(|before| before.sounds.codec == codec) {
            let tail = before.tail();
            if !player.is_finished() && !tail.is_empty() {
                player.desk().before = tail;
            }
        }
        player
    }

    /// Whether all has been played; a playback that was stopped does not finish.
    pub fn is_finished(&self) -> bool {
        self.at >= self.length && self.state != State::Stopped
    }

    /// Whether there is a frame to be sent.
    pub fn has_frame(&self) -> bool {
        match self.state {
            State::Playing => !self.is_finished() || self.is_fading(),
            State::Paused | State::Stopped => self.is_fading(),
        }
    }

    /// How long it will play if nothing happens, in its sounds' own time.
    pub fn left(&self) -> Duration {
        let left =
            if self.state == State::Playing { self.length.saturating_sub(self.at) } else { 0 };
        codec::duration(left, self.sounds.codec.rate())
    }

    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    fn is_fading(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| !desk.before.is_empty())
    }

    pub fn position(&self) -> Position {
        let time = |samples| codec::duration(samples, self.sounds.codec.rate());
        let paused = self.state == State::Paused;
        Position { at: time(self.at.min(self.length)), length: time(self.length), paused }
    }

    pub fn control(&mut self, control: Control) {
        let samples = |time| codec::samples(time, self.sounds.codec.rate());
        match control {
            Control::Pause if self.state == State::Playing => {
                self.fade();
                self.state = State::Paused;
            }
            Control::Resume if self.state == State::Paused => {
                // From the silence, or from what has not faded out yet.
                self.fade();
                self.state = State::Playing;
            }
            Control::Pause | Control::Resume => {}
            Control::Forward(by) => self.jump(self.at.saturating_add(samples(by))),
            Control::Back(by) => self.jump(self.at.saturating_sub(samples(by))),
            Control::To(at) => self.jump(samples(at)),
            Control::Speed(speed) => self.set(speed, self.volume()),
            Control::Volume(volume) => self.set(self.speed(), volume),
        }
    }

    /// Ends it; what plays fades out within the next frame.
    pub fn stop(&mut self) {
        if self.state == State::Playing {
            self.fade();
        }
        self.state = State::Stopped;
    }

    /// Fills a packet with what is to be heard in the next `samples`, and says how long it is. The
    /// last of all is filled up with silence.
    pub fn fill(&mut self, packet: &mut [u8], samples: u64) -> usize {
        let codec = self.sounds.codec;
        let is_plain = self.desk.as_ref().is_none_or(|desk| desk.is_idle());
        // Silence has no byte of its own in G.722: an end that is to be filled up is encoded.
        let is_cut = codec == Codec::G722 && self.at + samples > self.length;
        if !is_plain || self.state != State::Playing || is_cut {
            return self.render(packet, samples);
        }
        if codec.is_framed() {
            self.at -= self.at % codec.frame() as u64;
            let length = self.sounds.join(self.at, packet, samples);
            self.at += samples;
            return length;
        }
        let length = codec.bytes(samples).min(packet.len());
        let filled = self.sounds.copy(self.at, &mut packet[..length]);
        self.at += samples;
        if let Some(law) = codec.law() {
            packet[filled..length].fill(law.silence());
        }
        length
    }

    /// Fills a packet by way of its samples.
    fn render(&mut self, packet: &mut [u8], samples: u64) -> usize {
        let codec = self.sounds.codec;
        let mut samples = vec![0; usize::try_from(samples).unwrap_or_default()];
        let desk = self.desk.get_or_insert_default();
        if self.state == State::Playing {
            self.at = desk.next(&self.sounds, self.at, &mut samples);
        }
        let before = std::mem::take(&mut desk.before);
        blend(&before, &mut samples);
        let coder = desk.coder.get_or_insert_with(|| Coder::new(codec));
        let frames = samples.chunks(codec.frame()).map(|frame| {
            let mut encoded = Vec::with_capacity(packet.len());
            coder.encode(frame, &mut encoded);
            encoded
        });
        let frames: Vec<Vec<u8>> = frames.collect();
        if codec.law().is_some() && desk.is_idle() {
            // Nothing is kept in it: from here on bytes are enough again.
            self.desk = None;
        }
        if codec.is_framed() {
            let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            return opus::join(&frames, packet);
        }
        let encoded = frames.concat();
        let length = encoded.len().min(packet.len());
        packet[..length].copy_from_slice(&encoded[..length]);
        length
    }

    fn jump(&mut self, at: u64) {
        if self.state == State::Playing {
            self.fade();
        }
        self.at = at.min(self.length);
        if let Some(desk) = &mut self.desk {
            desk.stretch = None;
        }
    }

    fn set(&mut self, speed: Speed, volume: Volume) {
        let desk = self.desk();
        (desk.speed, desk.volume) = (speed, volume);
        if let Some(limiter) = &mut desk.limiter {
            limiter.set(f32::from(volume.0));
        }
    }

    fn speed(&self) -> Speed {
        self.desk.as_ref().map_or(Speed::NORMAL, |desk| desk.speed)
    }

    fn volume(&self) -> Volume {
        self.desk.as_ref().map_or(Volume::NORMAL, |desk| desk.volume)
    }

    /// Lets what is heard now fade out in the next frame. If that is under way already, it goes on.
    fn fade(&mut self) {
        // Who hears no more frames lets the last one fade (RFC 6716 §4.4): none need be made.
        let has_coder = self.desk.as_ref().is_some_and(|desk| desk.coder.is_some());
        if self.sounds.codec.is_framed() && !has_coder {
            return;
        }
        let tail = self.tail();
        self.desk().before = tail;
    }

    /// What would be heard next: silence after a silence.
    fn tail(&mut self) -> Vec<i16> {
        let rate = self.sounds.codec.rate();
        let length = usize::try_from(codec::samples(FADE, rate)).unwrap_or_default();
        if let Some(desk) = &mut self.desk
            && !desk.before.is_empty()
        {
            return std::mem::take(&mut desk.before);
        }
        let mut tail = vec![0; length];
        if self.state == State::Playing && !self.is_finished() {
            let mut desk = self.desk.as_deref().map(Desk::again).unwrap_or_default();
            desk.next(&self.sounds, self.at, &mut tail);
        }
        tail
    }

    fn desk(&mut self) -> &mut Desk {
        self.desk.get_or_insert_default()
    }
}

impl Desk {
    fn is_idle(&self) -> bool {
        let is_at_rest = |limiter: &Limiter| limiter.is_at_rest();
        self.before.is_empty()
            && (self.speed, self.volume) == Default::default()
            && self.limiter.as_ref().is_none_or(is_at_rest)
    }

    /// The next samples after `at`, and where they end.
    fn next(&mut self, sounds: &Sounds, at: u64, samples: &mut [i16]) -> u64 {
        let rate = sounds.codec.rate();
        let end = if self.speed == Speed::NORMAL {
            self.stretch = None;
            sounds.read(i64::try_from(at).unwrap_or(i64::MAX), samples);
            at + samples.len() as u64
        } else {
            let stretch = self.stretch.get_or_insert_with(|| Stretch::new(at));
            stretch.frame(sounds, f64::from(self.speed.0) / 100.0, rate, samples);
            stretch.at()
        };
        if self.volume != Volume::NORMAL && self.limiter.is_none() {
            let volume = f32::from(self.volume.0);
            // In the middle of a sound it goes over from the loudness until now.
            let mut limiter = if at == 0 { Limiter::new(volume) } else { Limiter::at_rest() };
            limiter.set(volume);
            self.limiter = Some(limiter);
        }
        if let Some(limiter) = &mut self.limiter {
            limiter.apply(samples, rate);
        }
        end
    }

    /// The same, for a look ahead.
    fn again(&self) -> Self {
        let Self { speed, volume, stretch, limiter, .. } = *self;
        Self { speed, volume, stretch, limiter, before: Vec::new(), coder: None }
    }
}

impl Sounds {
    /// Copies encoded audio from a sample on, and says how much there is.
    fn copy(&mut self, at: u64, frame: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < frame.len() {
            let Some(rest) = self.rest(at + self.codec.samples_of(filled)) else { break };
            let take = rest.len().min(frame.len() - filled);
            frame[filled..filled + take].copy_from_slice(&rest[..take]);
            filled += take;
        }
        filled
    }

    /// What is left, from a sample on, of the sound that it is in.
    fn rest(&mut self, at: u64) -> Option<&[u8]> {
        let codec = self.codec;
        let there = |here: &Here| {
            let skip = codec.bytes(at.checked_sub(here.begins)?);
            (skip < here.encoded.len()).then_some(skip)
        };
        let known = self.here.as_ref().and_then(there);
        if known.is_none() {
            let mut begins = 0;
            let sound = self.row.iter().find(|sound| {
                let holds = at < begins + sound.samples();
                begins += if holds { 0 } else { sound.samples() };
                holds
            })?;
            self.here = Some(Here { encoded: sound.shared(), begins });
        }
        let here = self.here.as_ref()?;
        here.encoded.get(there(here)?..)
    }
}

impl Sounds {
    /// Joins the frames from a sample on into one packet.
    fn join(&self, at: u64, packet: &mut [u8], samples: u64) -> usize {
        let step = self.codec.frame() as u64;
        let mut frames: [&[u8]; MOST_FRAMES] = [&[]; MOST_FRAMES];
        let mut count = 0;
        let mut skip = at;
        for sound in &self.row {
            while skip < sound.samples() && (count as u64) * step < samples {
                let (Some(place), Some(frame)) = (frames.get_mut(count), sound.frame(skip)) else {
                    break;
                };
                *place = frame;
                (count, skip) = (count + 1, skip + step);
            }
            skip = skip.saturating_sub(sound.samples());
        }
        opus::join(&frames[..count], packet)
    }
}

impl Source for Sounds {
    fn read(&self, at: i64, into: &mut [i16]) {
        into.fill(0);
        let mut left = match usize::try_from(at.saturating_neg()) {
            // Before the beginning there is silence.
            Ok(early) => into.get_mut(early..).unwrap_or_default(),
            Err(_) => into,
        };
        let mut skip = u64::try_from(at).unwrap_or(0);
        for sound in &self.row {
            if left.is_empty() {
                return;
            }
            let there = sound.samples();
            if skip < there {
                let take = usize::try_from(there - skip).unwrap_or(usize::MAX).min(left.len());
                let (now, later) = left.split_at_mut(take);
                sound.decode_from(skip, now);
                (left, skip) = (later, 0);
            } else {
                skip -= there;
            }
        }
    }
}

/// Frames in the longest packet that we send.
const MOST_FRAMES: usize = 3;
/// So long the old fades into the new: half a frame.
const FADE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
