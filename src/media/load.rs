//! Which media thread takes a call.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// What a media thread has to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub lines: usize,
    /// Of a thousand parts of its time, so many were spent working; of a thread without lines it
    /// is what was so once.
    pub busy: usize,
}

/// Threads are filled one after another: one that is awake anyway takes a call for less than one
/// that must be woken for it. How much a call costs, its codec decides.
pub(super) fn choose(threads: impl Iterator<Item = Load> + Clone) -> Option<usize> {
    let has_room = |load: &Load| load.lines == 0 || load.lines < PLENTY && load.busy < BUSY;
    let first = threads.clone().position(|load| has_room(&load));
    first.or_else(|| Some(threads.enumerate().min_by_key(|(_, load)| load.lines)?.0))
}

/// Measures how busy the thread is that owns it.
#[derive(Debug)]
pub(super) struct Effort {
    since: Instant,
    before: Duration,
}

impl Effort {
    pub fn new() -> Self {
        Self { since: Instant::now(), before: Duration::ZERO }
    }

    /// Thousandths, told now and then.
    pub fn tell(&mut self, now: Instant) -> Option<usize> {
        let passed = now.saturating_duration_since(self.since);
        if passed < OFTEN {
            return None;
        }
        let worked = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?.into();
        let share =
            Duration::saturating_sub(worked, self.before).as_secs_f32() / passed.as_secs_f32();
        (self.since, self.before) = (now, worked);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is neither large nor negative"
        )]
        Some((share * 1000.0) as usize)
    }
}

const OFTEN: Duration = Duration::from_millis(100);
/// A thread with so many calls sends what is due of them in a fraction of its tick.
const PLENTY: usize = 1000;
const BUSY: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_filled_one_after_another_as_far_as_they_are_not_busy() {
        for (threads, chosen) in [
            (&[(0, 0), (0, 0)][..], Some(0)),
            (&[(10, 20), (0, 0)], Some(0)),
            (&[(1000, 100), (0, 0)], Some(1)),
            (&[(50, 400), (0, 0)], Some(1)),
            // It was busy when it last had any.
            (&[(0, 900), (0, 0)], Some(0)),
            (&[(50, 400), (60, 250), (0, 0)], Some(1)),
            (&[(1200, 100), (1000, 100)], Some(1)),
            (&[(50, 400), (60, 350)], Some(0)),
            (&[], None),
        ] {
            let loads = threads.iter().map(|&(lines, busy)| Load { lines, busy });
            assert_eq!(choose(loads), chosen, "{threads:?}");
        }
    }

    #[test]
    fn a_thread_that_works_is_busier_than_one_that_sleeps() {
        let busy = |work: fn()| {
            let told = std::thread::spawn(move || {
                let mut effort = Effort::new();
                loop {
                    work();
                    if let Some(busy) = effort.tell(Instant::now()) {
                        return busy;
                    }
                }
            });
            told.join().unwrap()
        };
        let [works, sleeps] = [busy(|| ()), busy(|| std::thread::park_timeout(OFTEN))];
        assert!(works > sleeps, "{works} {sleeps}");
    }
}
