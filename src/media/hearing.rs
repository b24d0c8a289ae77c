//! What is heard of a stream: its stretches, in order, to audio for a tape.
//!
//! G.711 stays as it came, byte by byte; all else is decoded here. What was lost is made up, by
//! the codec where it can; a pause is the room's noise where its sender told of that, else silence.

use super::codec::g711::Law;
use super::codec::{self, Codec, g722, opus};
use super::comfort::Noise;
use super::conceal;
use super::jitter::Stretch;
use super::resample::Resampler;

/// One stream's way to a tape of a given rate.
#[derive(Debug)]
pub(super) struct Hearing {
    codec: Codec,
    voice: Voice,
    rate: u32,
    resampler: Option<Box<Resampler>>,
    /// Samples lost that are to be made up once what follows is known.
    lost: usize,
    noise: Option<Noise>,
    /// Samples of noise in this pause.
    noisy: u64,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are G.711, which should lie close together")]
enum Voice {
    Law(Law, Past),
    G722(Box<g722::Decoder>, Vec<i16>),
    Opus(Box<opus::Decoder>),
}

/// Audio as it goes to a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audio<'a> {
    Law(Law, &'a [u8]),
    Linear(&'a [i16]),
    /// So many samples.
    Silence(u64),
}

/// Audio, and whether somebody said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Said(Audio<'a>),
    /// Nothing was sent meanwhile.
    Pause(Audio<'a>),
}

/// The last bytes of a stream.
#[derive(Debug)]
struct Past {
    ring: [u8; PAST],
    end: usize,
}

impl Hearing {
    /// `rate` is the tape's.
    pub fn new(codec: Codec, rate: u32) -> Self {
        let voice = match codec {
            Codec::Pcmu => Voice::Law(Law::Mu, Past::new(Law::Mu)),
            Codec::Pcma => Voice::Law(Law::A, Past::new(Law::A)),
            Codec::G722 => Voice::G722(Box::new(g722::Decoder::new()), Vec::new()),
            Codec::Opus | Codec::OpusNarrow => {
                Voice::Opus(Box::new(opus::Decoder::new(codec.rate())))
            }
        };
        let resampler = Resampler::new(codec.rate(), rate).map(Box::new);
        Self { codec, voice, rate, resampler, lost: 0, noise: None, noisy: 0 }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The rate of what comes out.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Ticks of the stream's RTP clock, as samples of what comes out.
    pub fn samples(&self, ticks: u64) -> u64 {
        self.paced(self.codec.samples_in(ticks))
    }

    fn paced(&self, samples: u64) -> u64 {
        samples * u64::from(self.rate) / u64::from(self.codec.rate())
    }

    /// The sender will be silent, and this is what its silence sounds like.
    pub fn comfort(&mut self, payload: &[u8]) {
        self.noise = Noise::read(payload);
    }

    pub fn hear(&mut self, stretch: &Stretch<'_>, sink: &mut impl FnMut(Heard<'_>)) {
        match *stretch {
            Stretch::Lost(ticks) => {
                let lost = usize::try_from(self.codec.samples_in(ticks)).unwrap_or(usize::MAX);
                self.lost = self.lost.saturating_add(lost);
            }
            Stretch::Pause(ticks) => self.pause(self.codec.samples_in(ticks), sink),
            Stretch::Audio(payload) => {
                self.noisy = 0;
                self.said(payload, sink);
            }
        }
    }

    /// Nothing more will come: what still waits in a filter comes out.
    pub fn finish(&mut self, sink: &mut impl FnMut(Heard<'_>)) {
        if let Some(mut resampler) = self.resampler.take() {
            let mut rest = Vec::new();
            resampler.finish(&mut rest);
            sink(Heard::Said(Audio::Linear(&rounded(&rest))));
        }
    }

    fn said(&mut self, payload: &[u8], sink: &mut impl FnMut(Heard<'_>)) {
        let mut lost = std::mem::take(&mut self.lost);
        let millisecond = self.codec.rate() as usize / 1000;
        if lost > MENDED * millisecond {
            // Nobody knows what was said; a moment at either end is enough against clicks.
            let silence = (lost - (FADE + ONSET) * millisecond) as u64;
            self.fade(FADE * millisecond, sink);
            sink(Heard::Said(Audio::Silence(self.paced(silence))));
            lost = ONSET * millisecond;
        }
        match &mut self.voice {
            Voice::Law(law, past) if self.resampler.is_none() => {
                if lost > 0 {
                    sink(Heard::Said(Audio::Law(*law, &past.mend(*law, lost, payload))));
                }
                past.remember(payload);
                sink(Heard::Said(Audio::Law(*law, payload)));
            }
            _ => {
                let samples = self.decoded(lost, payload);
                self.emit(&samples, sink);
            }
        }
    }

    /// Lets the voice before a long loss fade, and forgets it.
    fn fade(&mut self, samples: usize, sink: &mut impl FnMut(Heard<'_>)) {
        let mut made = Vec::with_capacity(samples);
        match &mut self.voice {
            Voice::Law(law, past) => {
                let encoded = past.mend(*law, samples, &[]);
                *past = Past::new(*law);
                if self.resampler.is_none() {
                    return sink(Heard::Said(Audio::Law(*law, &encoded)));
                }
                made.extend(encoded.iter().map(|&byte| law.decoded(byte)));
            }
            Voice::G722(_, past) => {
                conceal::conceal(past, samples, &[], self.codec.rate(), &mut made);
                past.clear();
            }
            Voice::Opus(decoder) => decoder.conceal(samples, &mut made),
        }
        self.emit(&made, sink);
    }

    /// What was lost, and what is here.
    fn decoded(&mut self, lost: usize, payload: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        let rate = self.codec.rate();
        match &mut self.voice {
            Voice::Law(law, past) => {
                if lost > 0 {
                    let made = past.mend(*law, lost, payload);
                    samples.extend(made.iter().map(|&byte| law.decoded(byte)));
                }
                past.remember(payload);
                samples.extend(payload.iter().map(|&byte| law.decoded(byte)));
            }
            Voice::G722(decoder, past) => {
                let mut said = Vec::with_capacity(2 * payload.len());
                decoder.decode(payload, &mut said);
                conceal::conceal(past, lost, &said, rate, &mut samples);
                samples.extend_from_slice(&said);
                past.extend_from_slice(&said);
                let more = past.len().saturating_sub(conceal::history(rate));
                past.drain(..more);
            }
            Voice::Opus(decoder) => {
                if lost > 0 {
                    decoder.recover(lost, payload, &mut samples);
                }
                decoder.decode(payload, &mut samples);
            }
        }
        samples
    }

    fn pause(&mut self, samples: u64, sink: &mut impl FnMut(Heard<'_>)) {
        let mut left = samples;
        let made_up = u64::from(self.codec.rate()) * NOISE_SECONDS;
        while left > 0 && self.noisy < made_up {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(STEP);
            let mut noise = Vec::with_capacity(STEP);
            match (&mut self.noise, &mut self.voice) {
                (Some(source), _) => source.make(step, &mut noise),
                // It knows how the room sounded.
                (None, Voice::Opus(decoder)) => decoder.conceal(step, &mut noise),
                (None, Voice::Law(..) | Voice::G722(..)) => break,
            }
            match (&self.voice, &self.resampler) {
                (Voice::Law(law, _), None) => {
                    let mut encoded = Vec::with_capacity(step);
                    law.encode(&noise, &mut encoded);
                    sink(Heard::Pause(Audio::Law(*law, &encoded)));
                }
                _ => self.emit(&noise, &mut |heard| match heard {
                    Heard::Said(audio) | Heard::Pause(audio) => sink(Heard::Pause(audio)),
                }),
            }
            left -= step as u64;
            self.noisy += step as u64;
        }
        if left > 0 {
            sink(Heard::Pause(Audio::Silence(self.paced(left))));
        }
    }

    fn emit(&mut self, samples: &[i16], sink: &mut impl FnMut(Heard<'_>)) {
        let Some(resampler) = &mut self.resampler else {
            return sink(Heard::Said(Audio::Linear(samples)));
        };
        let samples: Vec<f32> = samples.iter().map(|&sample| f32::from(sample)).collect();
        let mut out = Vec::with_capacity(2 * samples.len());
        resampler.push(&samples, &mut out);
        sink(Heard::Said(Audio::Linear(&rounded(&out))));
    }
}

impl Past {
    fn new(law: Law) -> Self {
        Self { ring: [law.silence(); PAST], end: 0 }
    }

    fn remember(&mut self, payload: &[u8]) {
        let payload = &payload[payload.len().saturating_sub(PAST)..];
        let first = payload.len().min(PAST - self.end);
        self.ring[self.end..self.end + first].copy_from_slice(&payload[..first]);
        self.ring[..payload.len() - first].copy_from_slice(&payload[first..]);
        self.end = (self.end + payload.len()) % PAST;
    }

    /// So many bytes to stand before `next`.
    fn mend(&self, law: Law, lost: usize, next: &[u8]) -> Vec<u8> {
        let (after, before) = self.ring.split_at(self.end);
        let before: Vec<i16> = before.iter().chain(after).map(|&byte| law.decoded(byte)).collect();
        let next: Vec<i16> = next.iter().map(|&byte| law.decoded(byte)).collect();
        let mut samples = Vec::with_capacity(lost);
        conceal::conceal(&before, lost, &next, 8000, &mut samples);
        let mut encoded = Vec::with_capacity(lost);
        law.encode(&samples, &mut encoded);
        encoded
    }
}

fn rounded(samples: &[f32]) -> Vec<i16> {
    samples.iter().copied().map(codec::nearest).collect()
}

/// Bytes of G.711 by which a loss is mended: 40 ms.
const PAST: usize = 320;
/// Milliseconds of a loss that are made up as a whole,
const MENDED: usize = 200;
/// and of a longer one at its beginning and its end.
const FADE: usize = 60;
const ONSET: usize = 20;
/// The noise of a pause is made for so long; who says nothing for longer has left the room.
const NOISE_SECONDS: u64 = 20;
/// 20 ms at 16 kHz.
const STEP: usize = 320;
