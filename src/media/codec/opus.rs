//! Opus (RFC 6716) as telephones speak it (RFC 7587): one channel, in the band that a recording
//! keeps.
//!
//! Neither way ever fails: what cannot be decoded is concealed for as long as it claims to last,
//! and a fault in the library costs a frame, never a thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use opus_rs::{Application, OpusDecoder, OpusEncoder};

/// Packets of one stream to samples.
pub(in crate::media) struct Decoder {
    /// `None` after too many faults: then everything is silence.
    library: Option<Box<OpusDecoder>>,
    rate: u32,
    pcm: Box<[f32]>,
    /// Samples made up since the last packet.
    made_up: usize,
    faults: u8,
}

/// Samples to packets.
pub(in crate::media) struct Encoder {
    library: Option<Box<OpusEncoder>>,
    packet: Box<[u8; LARGEST]>,
}

impl Decoder {
    /// `rate` is 8, 12, 16, 24 or 48 kHz; a packet of any band and of two channels is taken.
    pub fn new(rate: u32) -> Self {
        let pcm = vec![0.0; per_second(rate, LONGEST)].into();
        Self { library: decoder(rate), rate, pcm, made_up: 0, faults: 0 }
    }

    /// Appends what a packet says: exactly as many samples as [`units`] tells.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<i16>) {
        let Some(units) = units(packet) else { return };
        let count = per_second(self.rate, units);
        let decoded = self.attempt(count, |library, pcm| library.decode(packet, count, pcm));
        if decoded == Some(count) {
            self.made_up = 0;
            out.extend(self.pcm[..count].iter().map(|&sample| rounded(sample)));
        } else {
            self.conceal(count, out);
        }
    }

    /// Appends so many samples in place of what was lost, or of what a sender that hears nothing
    /// did not send (RFC 7587 §3.1.3).
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) {
        let unit = per_second(self.rate, 1);
        let end = out.len() + samples;
        // Nothing is left of a voice after so long, and a pause may last an hour.
        let mut left = samples.min(per_second(self.rate, FADED).saturating_sub(self.made_up));
        self.made_up += left;
        while left >= unit {
            let count = (left - left % unit).min(per_second(self.rate, 8));
            let made = self.attempt(count, |library, pcm| library.decode(&[], count, pcm));
            if made != Some(count) {
                break;
            }
            out.extend(self.pcm[..count].iter().map(|&sample| rounded(sample)));
            left -= count;
        }
        out.resize(end, 0);
    }

    /// Appends so many samples in place of those lost before `next`, which may hold a coarse copy
    /// of their end (RFC 6716 §2.1.7).
    pub fn recover(&mut self, samples: usize, next: &[u8], out: &mut Vec<i16>) {
        let frame = next.first().map_or(0, |&toc| per_second(self.rate, frame_units(toc)));
        if frame == 0 || samples < frame {
            return self.conceal(samples, out);
        }
        self.conceal(samples - frame, out);
        let made = self.attempt(frame, |library, pcm| library.decode_fec(next, frame, pcm));
        if made == Some(frame) {
            out.extend(self.pcm[..frame].iter().map(|&sample| rounded(sample)));
        } else {
            self.conceal(frame, out);
        }
    }

    fn attempt(
        &mut self,
        count: usize,
        decode: impl FnOnce(&mut OpusDecoder, &mut [f32]) -> Result<usize, &'static str>,
    ) -> Option<usize> {
        let library = self.library.as_mut()?;
        let pcm = &mut self.pcm[..count];
        if let Ok(decoded) = catch_unwind(AssertUnwindSafe(|| decode(library, pcm))) {
            return decoded.ok();
        }
        // What it was in the middle of is not to be trusted.
        self.faults += 1;
        self.library = if self.faults < MOST_FAULTS { decoder(self.rate) } else { None };
        None
    }
}

impl Encoder {
    /// `bitrate` is the mean in bits a second; losses are provided for where `lossy`.
    pub fn new(rate: u32, bitrate: i32, lossy: bool) -> Self {
        let made = i32::try_from(rate).ok().map(|rate| {
            catch_unwind(|| OpusEncoder::new(rate, 1, Application::Voip).map(Box::new))
        });
        let mut library = made.and_then(Result::ok).and_then(Result::ok);
        if let Some(library) = &mut library {
            library.bitrate_bps = bitrate;
            library.use_inband_fec = lossy;
            library.packet_loss_perc = if lossy { EXPECTED_LOSS } else { 0 };
        }
        Self { library, packet: Box::new([0; LARGEST]) }
    }

    /// The packet of a frame of 10, 20, 40 or 60 ms. One of nothing but its first octet says that
    /// nothing could be encoded.
    pub fn encode(&mut self, frame: &[i16]) -> &[u8] {
        let Self { library, packet } = self;
        let encoded = library.as_mut().and_then(|library| {
            let encode = || library.encode_i16(frame, frame.len(), &mut packet[..]);
            catch_unwind(AssertUnwindSafe(encode)).ok()?.ok()
        });
        match encoded {
            Some(length) if length > 0 => &self.packet[..length],
            Some(_) | None => &NOTHING,
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("rate", &self.rate).finish_non_exhaustive()
    }
}

/// How long a packet lasts, in units of 2.5 ms; `None` if it is none (RFC 6716 §3).
pub(in crate::media) fn units(packet: &[u8]) -> Option<u32> {
    let (&toc, rest) = packet.split_first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*rest.first()? & 0x3f),
    };
    Some(frames * frame_units(toc)).filter(|units| (1..=LONGEST).contains(units))
}

/// Packs frames of one kind, each in a packet of its own, into one packet (RFC 6716 §3.2.5), and
/// says how long it is. A frame of another kind counts as lost; what does not fit is left out.
pub(in crate::media) fn join(frames: &[&[u8]], packet: &mut [u8]) -> usize {
    let ([first, others @ ..], Some(toc)) = (frames, frames.first().and_then(|f| f.first())) else {
        return 0;
    };
    let mut joined = Vec::with_capacity(packet.len());
    if others.is_empty() {
        joined.extend_from_slice(first);
    } else {
        let audio = |frame: &&'_ [u8]| {
            frame.split_first().filter(|(kind, _)| *kind == toc).map_or(0, |(_, rest)| rest.len())
        };
        let count = u8::try_from(frames.len()).unwrap_or(u8::MAX);
        joined.extend([toc | 3, 0x80 | count]);
        for length in frames[..others.len()].iter().map(audio) {
            // §3.2.1
            let low = 252 + length % 4;
            let octets = [low, length.saturating_sub(low) / 4].map(|octet| octet.to_le_bytes()[0]);
            if length < 252 {
                joined.push(length.to_le_bytes()[0]);
            } else {
                joined.extend(octets);
            }
        }
        for frame in frames {
            joined.extend_from_slice(&frame[frame.len() - audio(frame)..]);
        }
    }
    let Some(place) = packet.get_mut(..joined.len()) else { return 0 };
    place.copy_from_slice(&joined);
    joined.len()
}

/// RFC 6716 §3.1, table 2.
fn frame_units(toc: u8) -> u32 {
    match toc >> 3 {
        config @ 0..12 => [4, 8, 16, 24][usize::from(config & 3)],
        config @ 12..16 => [4, 8][usize::from(config & 1)],
        config => [1, 2, 4, 8][usize::from(config & 3)],
    }
}

fn decoder(rate: u32) -> Option<Box<OpusDecoder>> {
    OpusDecoder::new(i32::try_from(rate).ok()?, 1).ok().map(Box::new)
}

/// So many units of 2.5 ms, in samples.
fn per_second(rate: u32, units: u32) -> usize {
    usize::try_from(u64::from(rate) * u64::from(units) / 400).unwrap_or_default()
}

fn rounded(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "a float is clipped, which is wanted")]
    let sample = (sample * 32_768.0).round() as i16;
    sample
}

/// Samples at 48 kHz by which what is decoded lags behind what was encoded: a file that is played
/// begins so much later (RFC 7845 §4.2).
#[allow(dead_code, reason = "files will have it")]
pub(in crate::media) const PRE_SKIP: u16 = 312;
/// RFC 6716 §3.4: a packet is at most 120 ms long.
const LONGEST: u32 = 48;
/// Units for which a loss or a pause is filled by the decoder: 2 s, in which a sender that hears
/// nothing speaks up several times.
const FADED: u32 = 800;
/// Octets of the largest packet of one frame.
const LARGEST: usize = 1276;
const MOST_FAULTS: u8 = 3;
/// Per cent of packets.
const EXPECTED_LOSS: i32 = 10;
/// 20 ms of SILK wideband, with nothing in it.
const NOTHING: [u8; 1] = [0x48];

#[cfg(test)]
mod tests {
    use super::*;

    fn speech() -> Vec<i16> {
        super::super::super::wav::samples("sounds/en/vm-intro.wav".as_ref()).unwrap()
    }

    fn packets(samples: &[i16], frame: usize, rate: u32, lossy: bool) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(rate, 32_000, lossy);
        samples.chunks_exact(frame).map(|frame| encoder.encode(frame).to_vec()).collect()
    }

    /// The lag at which `heard` fits `said` best, and how far its error lies below it in dB.
    fn likeness(said: &[i16], heard: &[i16]) -> (usize, f64) {
        let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|x| x * x).sum::<f64>();
        let ratios = (80..130).map(|lag| {
            let pairs =
                || said.iter().zip(&heard[lag..]).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            let signal = power(&mut pairs().map(|(a, _)| a));
            10.0 * (signal / power(&mut pairs().map(|(a, b)| a - b))).log10()
        });
        ratios
            .zip(80..)
            .map(|(ratio, lag)| (lag, ratio))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap()
    }

    #[test]
    fn speech_comes_out_as_it_went_in_whatever_the_frame() {
        let said = &speech()[..40_000];
        for millis in [10, 20, 40, 60] {
            let mut decoder = Decoder::new(16_000);
            let mut heard = Vec::new();
            for packet in packets(said, 16 * millis, 16_000, false) {
                let before = heard.len();
                decoder.decode(&packet, &mut heard);
                assert_eq!(heard.len() - before, 16 * millis);
            }
            let (lag, ratio) = likeness(&said[..heard.len()], &heard);
            assert!(ratio > 9.0, "{millis} ms: {ratio:.1} dB at {lag}");
            assert!(lag.abs_diff(usize::from(PRE_SKIP) / 3) < 8, "{millis} ms: {lag}");
        }
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_one_and_else_concealed() {
        let said = &speech()[..40_000];
        let sent = packets(said, 320, 16_000, true);
        let hear = |mend: fn(&mut Decoder, &[u8], &mut Vec<i16>)| {
            let (mut decoder, mut heard) = (Decoder::new(16_000), Vec::new());
            for (at, packet) in sent.iter().enumerate() {
                if at % 10 == 5 {
                    mend(&mut decoder, sent.get(at + 1).map_or(&[], Vec::as_slice), &mut heard);
                } else {
                    decoder.decode(packet, &mut heard);
                }
            }
            assert_eq!(heard.len(), sent.len() * 320);
            likeness(&said[..heard.len()], &heard).1
        };
        let recovered = hear(|decoder, next, out| decoder.recover(320, next, out));
        let concealed = hear(|decoder, _, out| decoder.conceal(320, out));
        let silent = hear(|_, _, out| out.resize(out.len() + 320, 0));
        assert!(recovered > concealed + 0.5, "{recovered:.1} {concealed:.1}");
        assert!(concealed > silent + 0.5, "{concealed:.1} {silent:.1}");
    }

    #[test]
    fn a_packet_lasts_as_long_as_its_first_octets_say() {
        assert_eq!(units(&[0x48]), Some(8));
        assert_eq!(units(&[0x58]), Some(24), "60 ms");
        assert_eq!(units(&[0xe0]), Some(1), "2.5 ms");
        assert_eq!(units(&[0x49, 1, 1]), Some(16), "two frames");
        assert_eq!(units(&[0x4b, 6]), Some(48), "120 ms");
        assert_eq!(units(&[0x4b, 7]), None, "140 ms");
        assert_eq!(units(&[0x4b]), None);
        assert_eq!(units(&[0x4b, 0]), None);
        assert_eq!(units(&[]), None);
    }

    #[test]
    fn frames_joined_in_a_packet_are_heard_as_they_were_alone() {
        let frames = packets(&speech()[..19_200], 320, 16_000, false);
        let (mut alone, mut together) = (Decoder::new(16_000), Decoder::new(16_000));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for frame in &frames {
            alone.decode(frame, &mut first);
        }
        for three in frames.chunks(3) {
            let three: Vec<&[u8]> = three.iter().map(Vec::as_slice).collect();
            let mut packet = [0; 1200];
            let length = join(&three, &mut packet);
            assert_eq!(units(&packet[..length]), Some(24));
            together.decode(&packet[..length], &mut second);
        }
        assert_eq!(first, second);
        let long = [&[0x48][..], &[7; 700]].concat();
        let mut packet = [0; 1500];
        let length = join(&[&long, &long], &mut packet);
        assert_eq!((length, &packet[..4]), (1404, &[0x4b, 0x82, 252, 112][..]));
        assert_eq!((join(&[], &mut packet), join(&[&long], &mut [0; 9])), (0, 0));
    }

    #[test]
    fn a_long_pause_ends_in_silence_and_costs_little() {
        let (mut decoder, mut heard) = (Decoder::new(16_000), Vec::new());
        for packet in &packets(&speech(), 320, 16_000, false)[..50] {
            decoder.decode(packet, &mut heard);
        }
        heard.clear();
        for _ in 0..100 {
            decoder.conceal(1607, &mut heard);
        }
        assert_eq!(heard.len(), 160_700);
        assert!(heard[40_000..].iter().all(|&sample| sample == 0));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_decoded_lasts_as_long_as_it_says(
            rate in proptest::sample::select(vec![8000_u32, 16_000]),
            packets in proptest::collection::vec(
                proptest::collection::vec(proptest::num::u8::ANY, 0..90), 1..20),
        ) {
            let (mut decoder, mut heard, mut lasts) = (Decoder::new(rate), Vec::new(), 0);
            for packet in &packets {
                decoder.decode(packet, &mut heard);
                lasts += units(packet).map_or(0, |units| per_second(rate, units));
            }
            proptest::prop_assert_eq!(heard.len(), lasts);
        }
    }
}
