//! Speech faster or slower at its own pitch: overlapped stretches that fit each other (WSOLA,
//! Verhelst & Roelands, ICASSP 1993); pure.

/// Reads samples from a place on, and silence where there are none.
pub(super) trait Source {
    fn read(&self, at: i64, into: &mut [i16]);
}

/// Where a stretched playback is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    /// Where the frame before would naturally go on.
    next: i64,
    /// Where speed alone says that we are.
    due: f64,
}

impl Stretch {
    pub fn new(at: u64) -> Self {
        let next = i64::try_from(at).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "days of samples are exact")]
        Self { next, due: next as f64 }
    }

    /// Where playback would go on at its own speed.
    pub fn at(&self) -> u64 {
        u64::try_from(self.next).unwrap_or(0)
    }

    /// The next frame, its source run through at `speed`.
    ///
    /// A frame is a piece of the source near the place that is due: the one which continues the
    /// frame before best, blended over from what would have come.
    pub fn frame(&mut self, source: &impl Source, speed: f64, rate: u32, frame: &mut [i16]) {
        let ms = rate as usize / 1000;
        let (overlap, reach) = ((OVERLAP * ms).min(frame.len()), REACH * ms);
        let mut natural = [0; MOST];
        let natural = &mut natural[..overlap.min(MOST)];
        source.read(self.next, natural);
        #[expect(clippy::cast_possible_truncation, reason = "a place, which fits")]
        let due = self.due as i64;
        let mut around = [0; MOST + 2 * MOST];
        let around = &mut around[..(natural.len() + 2 * reach).min(3 * MOST)];
        let first = due - i64::try_from(reach).unwrap_or(0);
        source.read(first, around);
        let best = first + i64::try_from(best(natural, around, reach)).unwrap_or(0);

        source.read(best, frame);
        blend(natural, frame);
        let length = i64::try_from(frame.len()).unwrap_or(0);
        self.next = best + length;
        #[expect(clippy::cast_precision_loss, reason = "a frame is short")]
        let step = length as f64 * speed;
        self.due += step;
    }
}

/// Fades over from `before` into the beginning of `frame`.
pub(super) fn blend(before: &[i16], frame: &mut [i16]) {
    let length = i32::try_from(before.len()).unwrap_or(i32::MAX).max(1);
    for ((old, new), n) in before.iter().zip(frame).zip(0..) {
        let mixed = (i32::from(*old) * (length - n) + i32::from(*new) * n) / length;
        *new = i16::try_from(mixed).unwrap_or(*new);
    }
}

/// Where in `around` the samples are most like `natural`; of equals, the one nearest to `middle`.
fn best(natural: &[i16], around: &[i16], middle: usize) -> usize {
    let likeness = |at: usize| {
        let (mut cross, mut power) = (0_i64, 1_i64);
        for (a, b) in natural.iter().zip(&around[at..]) {
            cross += i64::from(i32::from(*a) * i32::from(*b));
            power += i64::from(i32::from(*b) * i32::from(*b));
        }
        #[expect(clippy::cast_precision_loss, reason = "a likeness need not be exact")]
        let likeness = cross as f64 / (power as f64).sqrt();
        likeness
    };
    let places = around.len().saturating_sub(natural.len()) + 1;
    let mut best = (middle.min(places - 1), likeness(middle.min(places - 1)));
    for at in 0..places {
        let like = likeness(at);
        let nearer = at.abs_diff(middle) < best.0.abs_diff(middle);
        if like > best.1 || (like >= best.1 && nearer) {
            best = (at, like);
        }
    }
    best.0
}

/// Milliseconds over which two pieces are blended.
const OVERLAP: usize = 10;
/// Milliseconds around the place due in which the best piece is looked for: together more than a
/// period of the lowest voice.
const REACH: usize = 8;
/// Samples of 10 ms at 48 kHz.
const MOST: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;

    struct Samples(Vec<i16>);

    impl Source for Samples {
        fn read(&self, at: i64, into: &mut [i16]) {
            for (sample, at) in into.iter_mut().zip(at..) {
                let at = usize::try_from(at).ok();
                *sample = at.and_then(|at| self.0.get(at)).copied().unwrap_or(0);
            }
        }
    }

    /// A voice's buzz: a pitch with its overtones.
    #[expect(clippy::cast_possible_truncation, reason = "8000 fits")]
    fn voice(hertz: f64, rate: u32, seconds: u32) -> Samples {
        let sample = |n: u32| {
            let t = f64::from(n) / f64::from(rate) * hertz * std::f64::consts::TAU;
            ((t.sin() + (2.0 * t).sin() / 2.0 + (3.0 * t).sin() / 3.0) * 8000.0) as i16
        };
        Samples((0..rate * seconds).map(sample).collect())
    }

    fn stretched(source: &Samples, speed: f64, rate: u32) -> Vec<i16> {
        let (mut stretch, mut all) = (Stretch::new(0), Vec::new());
        while usize::try_from(stretch.at()).unwrap() < source.0.len() {
            let mut frame = vec![0; rate as usize / 50];
            stretch.frame(source, speed, rate, &mut frame);
            all.extend(frame);
        }
        all
    }

    fn crossings(samples: &[i16]) -> usize {
        samples.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count()
    }

    #[test]
    fn the_time_changes_and_the_pitch_does_not() {
        for (rate, speed, percent) in
            [(8000, 0.75, 133), (8000, 1.5, 67), (8000, 2.0, 50), (16_000, 1.25, 80)]
        {
            let source = voice(147.0, rate, 4);
            let output = stretched(&source, speed, rate);
            let length = output.len() * 100 / source.0.len();
            assert!(length.abs_diff(percent) <= 1, "{speed}: {length} %");
            // So many periods as a voice of that pitch has in that time.
            let middle = &output[rate as usize / 2..rate as usize * 3 / 2];
            assert!(crossings(middle).abs_diff(147) <= 2, "{speed}: {} Hz", crossings(middle));
        }
    }

    #[test]
    fn pieces_are_joined_where_they_fit() {
        let source = voice(147.0, 8000, 4);
        let steepest = |samples: &[i16]| {
            samples.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap()
        };
        let inside = steepest(&source.0);
        for speed in [0.75, 0.9, 1.3, 2.0] {
            let output = stretched(&source, speed, 8000);
            let seen = steepest(&output[..output.len() - 320]);
            assert!(seen <= inside + inside / 8, "{speed}: {seen} and {inside}");
        }
    }

    #[test]
    fn at_its_own_speed_nothing_changes() {
        let source = voice(147.0, 8000, 1);
        assert_eq!(stretched(&source, 1.0, 8000), source.0);
    }
}
