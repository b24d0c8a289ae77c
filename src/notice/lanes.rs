//! Which notices may be tried now: a server that hangs or refuses everybody delays only what goes
//! to it. Pure: time comes in, decisions go out.

use std::collections::HashMap;

use super::mailer::Failure;

/// What goes to one server.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    under_way: usize,
    /// Failures of the server itself, one after the other.
    failures: u32,
    /// Unix seconds before which nothing is tried.
    closed_until: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Lanes(HashMap<String, Lane>);

/// What becomes of a notice after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Sent,
    /// Again at this Unix second.
    Again {
        at: i64,
        why: String,
    },
    /// Never again by itself.
    Dead {
        why: String,
    },
}

/// Notices under way to one server at a time.
const AT_ONCE: usize = super::mailer::AT_ONCE as usize;
/// A server is knocked at again after five minutes at the latest.
const KNOCK: i64 = 300;
/// Notices older than that are given up, as mail servers do (RFC 5321 §4.5.4.1).
const PATIENCE: i64 = 4 * 86_400;

impl Lanes {
    /// Lanes in which nothing may be begun.
    pub fn closed(&self, now: i64) -> Vec<String> {
        let shut = self.0.iter().filter(|(_, lane)| lane.room(now) == 0);
        shut.map(|(name, _)| name.clone()).collect()
    }

    /// When the next closed lane opens.
    pub fn next_opening(&self, now: i64) -> Option<i64> {
        self.0.values().map(|lane| lane.closed_until).filter(|until| *until > now).min()
    }

    /// Somebody who knows better wants every server tried now.
    pub fn open_all(&mut self) {
        for lane in self.0.values_mut() {
            lane.closed_until = 0;
        }
    }

    /// Takes a place in the lane, where there is one.
    pub fn begin(&mut self, lane: &str, now: i64) -> bool {
        let lane = self.0.entry(lane.to_owned()).or_default();
        let begins = lane.room(now) > 0;
        lane.under_way += usize::from(begins);
        begins
    }

    /// An attempt has ended. `attempts` counts this one; `made` is when the notice was made.
    pub fn end(
        &mut self,
        lane: &str,
        outcome: Result<(), Failure>,
        (attempts, made, now): (i64, i64, i64),
    ) -> After {
        let lane = self.0.entry(lane.to_owned()).or_default();
        lane.under_way = lane.under_way.saturating_sub(1);
        match outcome {
            Ok(()) => {
                (lane.failures, lane.closed_until) = (0, 0);
                After::Sent
            }
            Err(Failure::Letter(why)) => After::Dead { why },
            Err(Failure::Later(_) | Failure::Server(_)) if now - made > PATIENCE => {
                After::Dead { why: "given up after four days".into() }
            }
            Err(Failure::Later(why)) => After::Again { at: now + pause(attempts, 3_600), why },
            Err(Failure::Server(why)) => {
                lane.failures = lane.failures.saturating_add(1);
                lane.closed_until = now + pause(lane.failures.into(), KNOCK);
                After::Again { at: lane.closed_until, why }
            }
        }
    }
}

impl Lane {
    fn room(&self, now: i64) -> usize {
        match () {
            () if now < self.closed_until => 0,
            // One knocks; the others wait for what it hears.
            () if self.failures > 0 => 1_usize.saturating_sub(self.under_way),
            () => AT_ONCE.saturating_sub(self.under_way),
        }
    }
}

/// Seconds after the `failures`th failure: doubling from 15, `most` at most.
fn pause(failures: i64, most: i64) -> i64 {
    let doublings = u32::try_from(failures.clamp(1, 12) - 1).unwrap_or(0);
    (15 << doublings).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Result<(), Failure> {
        Err(Failure::Server("refused".into()))
    }

    #[test]
    fn a_server_that_is_down_is_knocked_at_by_one_and_then_serves_all() {
        let mut lanes = Lanes::default();
        assert!(lanes.begin("mail", 0) && lanes.begin("hook", 0));
        let after = lanes.end("mail", down(), (1, 0, 0));
        assert_eq!(after, After::Again { at: 15, why: "refused".into() });
        assert_eq!(lanes.closed(1), ["mail"], "and the hook is not touched");
        assert_eq!(lanes.next_opening(1), Some(15));
        assert!(!lanes.begin("mail", 14));
        let mut opened = lanes.clone();
        opened.open_all();
        assert!(opened.begin("mail", 2) && !opened.begin("mail", 2));
        assert!(lanes.begin("mail", 15) && !lanes.begin("mail", 15), "one knocks");
        assert_eq!(lanes.end("mail", Ok(()), (2, 0, 16)), After::Sent);
        assert_eq!((0..9).filter(|_| lanes.begin("mail", 16)).count(), AT_ONCE);
    }

    #[test]
    fn an_hour_without_a_server_gives_nothing_up() {
        let mut lanes = Lanes::default();
        let (mut now, mut knocks) = (0, 0);
        while now < 3_600 {
            assert!(lanes.begin("mail", now));
            let After::Again { at, .. } = lanes.end("mail", down(), (knocks, 0, now)) else {
                panic!("given up at {now}")
            };
            assert!(at > now && at - now <= KNOCK);
            (now, knocks) = (at, knocks + 1);
        }
        assert!(knocks < 20, "{knocks}");
        assert!(lanes.begin("mail", now));
        assert_eq!(lanes.end("mail", Ok(()), (knocks, 0, now)), After::Sent);
    }

    #[test]
    fn one_letter_that_is_refused_stops_no_other() {
        let mut lanes = Lanes::default();
        assert!(lanes.begin("mail", 0) && lanes.begin("mail", 0));
        let later = Err(Failure::Later("451 greylisted".into()));
        let after = lanes.end("mail", later.clone(), (1, 0, 0));
        assert_eq!(after, After::Again { at: 15, why: "451 greylisted".into() });
        let never = Err(Failure::Letter("550 nobody".into()));
        let after = lanes.end("mail", never, (1, 0, 0));
        assert_eq!(after, After::Dead { why: "550 nobody".into() });
        assert_eq!(lanes.closed(0), Vec::<String>::new());
        assert!(lanes.begin("mail", PATIENCE + 1));
        let after = lanes.end("mail", later, (99, 0, PATIENCE + 1));
        assert!(matches!(after, After::Dead { .. }));
    }
}
