//! Losses filled in, where the codec does not do that itself: the pitch of the voice before and
//! after goes on into the gap (in the manner of ITU-T G.711 appendix I).
//!
//! A recorder knows both sides of a gap, so nothing that was received is altered: what is made up
//! meets it smoothly at either end.

/// Appends `count` samples to stand between `before` and `after`.
pub(super) fn conceal(before: &[i16], count: usize, after: &[i16], rate: u32, out: &mut Vec<i16>) {
    let scale = Scale::of(rate);
    let start = out.len();
    out.resize(start + count, 0);
    let gap = &mut out[start..];
    let period = pitch(before, &scale);
    // A voice fades within 60 ms: longer, it is a machine's.
    let reach = count.min(scale.fade);
    if let Some(period) = period {
        let cycle = &before[before.len() - period..];
        // The step from the end of a cycle to its start is smoothed over a quarter of it.
        let lead = &before[before.len() - period - period / 4..before.len() - period];
        for (at, sample) in gap[..reach].iter_mut().enumerate() {
            let place = at % period;
            let plain = f32::from(cycle[place]);
            let from_end = period - place;
            let value = if from_end <= lead.len() {
                let share = ratio(from_end, lead.len() + 1);
                plain * share + f32::from(lead[lead.len() - from_end]) * (1.0 - share)
            } else {
                plain
            };
            *sample = rounded(value * fading(at, count, &scale));
        }
    }
    // Backwards from what follows: across the whole of a short gap, else only so far that it
    // does not begin with a click.
    let reach = if count <= scale.fade { count } else { scale.onset };
    let period = pitch_of_start(after, &scale).or(period.filter(|period| *period <= after.len()));
    if let Some(period) = period {
        for at in 1..=reach.min(count) {
            let sample = &mut gap[count - at];
            let value = f32::from(after[(period - at % period) % period]);
            let share = if count <= scale.fade {
                1.0 - ratio(at, count + 1)
            } else {
                1.0 - ratio(at, reach + 1)
            };
            *sample = rounded(f32::from(*sample) + value * share);
        }
    }
}

/// Lengths in samples.
struct Scale {
    shortest: usize,
    longest: usize,
    template: usize,
    fade: usize,
    onset: usize,
    /// Samples apart at which likeness is measured.
    stride: usize,
}

impl Scale {
    fn of(rate: u32) -> Self {
        let millisecond = (rate as usize / 1000).max(1);
        Self {
            shortest: 5 * millisecond,
            longest: 15 * millisecond,
            template: 20 * millisecond,
            fade: 60 * millisecond,
            onset: 5 * millisecond,
            stride: (millisecond / 8).max(1),
        }
    }
}

/// How loud the voice before still is `at` samples into the gap.
fn fading(at: usize, count: usize, scale: &Scale) -> f32 {
    if count <= scale.fade {
        // Across a short gap it makes room for the voice after.
        return 1.0 - ratio(at + 1, count + 1);
    }
    let full = scale.fade / 6;
    if at < full { 1.0 } else { 1.0 - ratio(at - full, scale.fade - full) }
}

/// The period at which the end of `samples` repeats itself best.
fn pitch(samples: &[i16], scale: &Scale) -> Option<usize> {
    let needed = scale.template + scale.longest + scale.longest / 4;
    let samples = samples.get(samples.len().checked_sub(needed)?..)?;
    let template = &samples[samples.len() - scale.template..];
    let lags = scale.shortest..=scale.longest;
    best(lags, |lag| {
        let end = samples.len() - lag;
        likeness(template, &samples[end - scale.template..end], scale.stride)
    })
}

/// The same for the start of what follows, as far as it is long enough.
fn pitch_of_start(samples: &[i16], scale: &Scale) -> Option<usize> {
    let longest = scale.longest.min(samples.len() * 3 / 5);
    let template = samples.len().min(scale.template + longest).checked_sub(longest)?;
    if longest < scale.shortest + scale.shortest / 2 {
        return None;
    }
    best(scale.shortest..=longest, |lag| {
        likeness(&samples[..template], &samples[lag..lag + template], scale.stride)
    })
}

fn best(lags: std::ops::RangeInclusive<usize>, likeness: impl Fn(usize) -> f32) -> Option<usize> {
    let measured = lags.map(|lag| (lag, likeness(lag)));
    measured.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(lag, _)| lag)
}

/// Normalised correlation.
fn likeness(a: &[i16], b: &[i16], stride: usize) -> f32 {
    let (mut cross, mut power) = (0.0, 1.0);
    for (a, b) in a.iter().zip(b).step_by(stride) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        cross += a * b;
        power += b * b;
    }
    cross / power.sqrt()
}

#[expect(clippy::cast_precision_loss, reason = "samples of a gap are few")]
fn ratio(part: usize, whole: usize) -> f32 {
    part as f32 / whole as f32
}

fn rounded(sample: f32) -> i16 {
    #[expect(clippy::cast_possible_truncation, reason = "a float is clipped, which is wanted")]
    let sample = sample.round() as i16;
    sample
}

/// So much of what came before is of use.
pub(super) const fn history(rate: u32) -> usize {
    rate as usize / 1000 * 40
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "few samples")]
mod tests {
    use super::*;

    /// A voice of so many hertz with its harmonics, and a little noise.
    fn voice(hertz: f64, rate: u32, samples: usize) -> Vec<i16> {
        let mut dice = 1_u32;
        let sample = |n: usize| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let phase = n as f64 * hertz / f64::from(rate) * std::f64::consts::TAU;
            let tone: f64 = (1..6).map(|h| (phase * f64::from(h)).sin() / f64::from(h)).sum();
            #[expect(clippy::cast_possible_truncation, reason = "it is far within")]
            let sample = (4000.0 * tone) as i16;
            sample + i16::try_from(dice >> 25).unwrap() - 64
        };
        (0..samples).map(sample).collect()
    }

    fn power(samples: &[i16]) -> f64 {
        let sum: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
        sum / samples.len().max(1) as f64
    }

    fn mended(voice: &[i16], gap: std::ops::Range<usize>, rate: u32, next: usize) -> Vec<i16> {
        let mut out = Vec::new();
        let after = &voice[gap.end..gap.end + next];
        conceal(&voice[..gap.start], gap.len(), after, rate, &mut out);
        assert_eq!(out.len(), gap.len());
        out
    }

    #[test]
    fn a_lost_packet_of_a_steady_voice_is_hardly_heard() {
        for rate in [8000, 16_000] {
            let frame = rate as usize / 50;
            for hertz in [80.0, 120.0, 190.0] {
                let said = voice(hertz, rate, 30 * frame);
                let gap = 10 * frame..11 * frame;
                let made = mended(&said, gap.clone(), rate, frame);
                let error: Vec<i16> =
                    made.iter().zip(&said[gap.clone()]).map(|(a, b)| a - b).collect();
                let ratio = 10.0 * (power(&said[gap]) / power(&error)).log10();
                assert!(ratio > 10.0, "{rate} {hertz}: {ratio:.1} dB");
            }
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_ends_without_a_click() {
        let said = voice(120.0, 8000, 8000);
        let made = mended(&said, 2000..4000, 8000, 160);
        assert!(power(&made[..80]) > power(&said) / 2.0);
        assert!(power(&made[480..1900]) < 1.0);
        let step = |a: i16, b: i16| (i32::from(a) - i32::from(b)).abs();
        let usual = said.windows(2).map(|pair| step(pair[0], pair[1])).max().unwrap();
        assert!(step(made[0], said[1999]) <= usual && step(made[1999], said[4000]) <= usual);
    }

    #[test]
    fn nothing_to_go_on_is_silence() {
        let mut out = Vec::new();
        conceal(&[], 160, &[], 8000, &mut out);
        assert_eq!(out, [0; 160]);
        out.clear();
        conceal(&[0; 400], 160, &[0; 160], 8000, &mut out);
        assert_eq!(out, [0; 160]);
    }

    proptest::proptest! {
        #[test]
        fn any_gap_is_filled(
            before in proptest::collection::vec(proptest::num::i16::ANY, 0..700),
            after in proptest::collection::vec(proptest::num::i16::ANY, 0..700),
            count in 0_usize..3000, rate in proptest::sample::select(vec![8000, 16_000]),
        ) {
            let mut out = Vec::new();
            conceal(&before, count, &after, rate, &mut out);
            proptest::prop_assert_eq!(out.len(), count);
        }
    }
}
