//! The message lamp: what it is told (RFC 3842), and which lamp is told when. Pure.
//!
//! A lamp is state, not a queue: only the newest counts are ever sent. One NOTIFY to a lamp is under
//! way at a time; a change that comes meanwhile waits for its answer, and one that comes while a
//! failed lamp waits for its next try ends that wait.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::mailbox::{Counts, MailboxId};

/// The body of a NOTIFY: RFC 3842 §5.2. `account` is what a telephone dials to listen.
pub fn summary(account: &str, counts: Counts) -> String {
    let Counts { new, old, urgent_new, urgent_old } = counts;
    let waiting = if new > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {waiting}\r\nMessage-Account: {account}\r\n\
         Voice-Message: {new}/{old} ({urgent_new}/{urgent_old})\r\n"
    )
}

/// The lamps that nobody subscribed for, by their SIP address.
#[derive(Debug, Default)]
pub struct Lamps {
    all: HashMap<String, Lamp>,
    by_mailbox: HashMap<MailboxId, BTreeSet<String>>,
    under_way: usize,
}

#[derive(Debug, Default)]
struct Lamp {
    /// One lamp may be that of several mailboxes: it shows their sum.
    mailboxes: HashMap<MailboxId, Counts>,
    told: Option<Counts>,
    standing: Standing,
    failures: u32,
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Quiet,
    Due(Instant),
    UnderWay,
}

/// How telling a lamp ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Told,
    /// It may hear it later; after so long, where it said so.
    Later(Option<Duration>),
    /// It does not know of messages: it is told of the next change, not of this one again.
    Refused,
}

/// NOTIFYs under way at one time: ten thousand lamps at a start are no flood.
const AT_ONCE: usize = 64;
/// RFC 3842 §3.10: not more often.
const PAUSE: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);

impl Lamps {
    /// A mailbox has these lamps, and so many messages. New lamps are told at once.
    pub fn set(&mut self, mailbox: &MailboxId, lamps: &[String], counts: Counts, now: Instant) {
        let wanted: BTreeSet<String> = lamps.iter().cloned().collect();
        let before = self.by_mailbox.remove(mailbox).unwrap_or_default();
        for gone in before.difference(&wanted) {
            if let Some(lamp) = self.all.get_mut(gone) {
                lamp.mailboxes.remove(mailbox);
                // The lamp must go out, or show what the others have.
                lamp.due(now);
            }
        }
        for address in &wanted {
            let lamp = self.all.entry(address.clone()).or_default();
            lamp.mailboxes.insert(mailbox.clone(), counts);
            lamp.due(now);
        }
        if !wanted.is_empty() {
            self.by_mailbox.insert(mailbox.clone(), wanted);
        }
    }

    pub fn changed(&mut self, mailbox: &MailboxId, counts: Counts, now: Instant) {
        for address in self.by_mailbox.get(mailbox).into_iter().flatten() {
            if let Some(lamp) = self.all.get_mut(address) {
                lamp.mailboxes.insert(mailbox.clone(), counts);
                lamp.due(now);
            }
        }
    }

    /// The lamp has registered anew, or was switched on: it is told whatever it was told before.
    pub fn forgot(&mut self, address: &str, now: Instant) {
        if let Some(lamp) = self.all.get_mut(address) {
            lamp.told = None;
            lamp.due(now);
        }
    }

    /// Who is to be told what, now; each counts as under way until [`Lamps::answered`].
    pub fn next(&mut self, now: Instant) -> Vec<(String, MailboxId, Counts)> {
        let mut due = vec![];
        let mut over = vec![];
        for (address, lamp) in &mut self.all {
            if self.under_way + due.len() >= AT_ONCE {
                break;
            }
            if !matches!(lamp.standing, Standing::Due(at) if at <= now) {
                continue;
            }
            let sum: Counts = lamp.mailboxes.values().copied().sum();
            if lamp.told == Some(sum) {
                lamp.standing = Standing::Quiet;
                if lamp.mailboxes.is_empty() {
                    over.push(address.clone());
                }
                continue;
            }
            lamp.standing = Standing::UnderWay;
            (lamp.told, lamp.last) = (Some(sum), Some(now));
            let owner = lamp.mailboxes.keys().min().cloned();
            // A lamp of nobody goes out; whose it was does not matter to it.
            let owner = owner.unwrap_or_else(nobody);
            due.push((address.clone(), owner, sum));
        }
        for address in over {
            self.all.remove(&address);
        }
        self.under_way += due.len();
        due
    }

    pub fn answered(&mut self, address: &str, answer: Answer, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(lamp) = self.all.get_mut(address) else { return };
        let sum: Counts = lamp.mailboxes.values().copied().sum();
        lamp.standing = match answer {
            Answer::Told | Answer::Refused => {
                lamp.failures = 0;
                if lamp.told == Some(sum) && !lamp.mailboxes.is_empty() {
                    Standing::Quiet
                } else {
                    Standing::Due(now + PAUSE)
                }
            }
            Answer::Later(wait) => {
                lamp.told = None;
                lamp.failures = lamp.failures.saturating_add(1);
                let doubled = FIRST * 2_u32.pow(lamp.failures.clamp(1, 8) - 1);
                Standing::Due(now + wait.unwrap_or(doubled).clamp(PAUSE, LONGEST))
            }
        };
    }

    /// When [`Lamps::next`] has something that it has not now.
    pub fn deadline(&self) -> Option<Instant> {
        if self.under_way >= AT_ONCE {
            return None;
        }
        let due = |lamp: &Lamp| match lamp.standing {
            Standing::Due(at) => Some(at),
            Standing::Quiet | Standing::UnderWay => None,
        };
        self.all.values().filter_map(due).min()
    }
}

impl Lamp {
    /// Something may have changed: as soon as a second has passed since the last NOTIFY.
    fn due(&mut self, now: Instant) {
        if self.standing != Standing::UnderWay {
            self.failures = 0;
            self.standing = Standing::Due(self.last.map_or(now, |last| now.max(last + PAUSE)));
        }
    }
}

fn nobody() -> MailboxId {
    // A plain name at both ends: it cannot be refused.
    MailboxId::new("default", "none").unwrap_or_else(|_| unreachable!("a plain name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: &str) -> MailboxId {
        number.parse().unwrap()
    }

    fn new(new: u32) -> Counts {
        Counts { new, ..Counts::default() }
    }

    fn told(lamps: &mut Lamps, now: Instant) -> Vec<(String, u32)> {
        lamps.next(now).into_iter().map(|(to, _, counts)| (to, counts.new)).collect()
    }

    #[test]
    fn the_body_is_rfc_3842s() {
        let counts = Counts { new: 2, old: 8, urgent_new: 0, urgent_old: 2 };
        assert_eq!(
            summary("sip:1000@pbx", counts),
            "Messages-Waiting: yes\r\nMessage-Account: sip:1000@pbx\r\nVoice-Message: 2/8 (0/2)\r\n"
        );
        assert!(summary("sip:1", Counts::default()).starts_with("Messages-Waiting: no\r\n"));
    }

    #[test]
    fn a_burst_becomes_one_and_the_last_state_is_told() {
        let (mut lamps, start) = (Lamps::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let phone = "sip:1000@phone".to_owned();
        lamps.set(&id("1000"), std::slice::from_ref(&phone), new(0), at(0));
        assert_eq!(told(&mut lamps, at(0)), [(phone.clone(), 0)]);
        for n in 1..=9 {
            lamps.changed(&id("1000"), new(n), at(u64::from(n)));
        }
        assert_eq!(told(&mut lamps, at(10)), [], "one is under way");
        lamps.answered(&phone, Answer::Told, at(20));
        assert_eq!(told(&mut lamps, at(900)), []);
        assert_eq!(lamps.deadline(), Some(at(1_020)));
        assert_eq!(told(&mut lamps, at(1_020)), [(phone.clone(), 9)]);
        lamps.answered(&phone, Answer::Told, at(1_030));
        assert_eq!((told(&mut lamps, at(9_000)), lamps.deadline()), (vec![], None));
        lamps.changed(&id("1000"), new(9), at(9_001));
        assert_eq!(told(&mut lamps, at(9_001)), [], "no news");
        lamps.changed(&id("1000"), new(8), at(9_002));
        assert_eq!(told(&mut lamps, at(9_002)), [(phone, 8)], "the first change at once");
    }

    #[test]
    fn a_lamp_that_fails_is_tried_again_and_at_once_on_a_change() {
        let (mut lamps, start) = (Lamps::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let phone = "sip:p".to_owned();
        lamps.set(&id("1"), std::slice::from_ref(&phone), new(1), at(0));
        let mut now = 0;
        for wait in [5, 10, 20, 40] {
            assert_eq!(told(&mut lamps, at(now)).len(), 1);
            lamps.answered(&phone, Answer::Later(None), at(now));
            assert_eq!(lamps.deadline(), Some(at(now + wait)));
            now += wait;
        }
        assert_eq!(told(&mut lamps, at(now)).len(), 1);
        lamps.answered(&phone, Answer::Later(Some(Duration::from_secs(300))), at(now));
        lamps.changed(&id("1"), new(2), at(now + 2));
        assert_eq!(told(&mut lamps, at(now + 2)), [(phone.clone(), 2)], "the wait is over");
        lamps.answered(&phone, Answer::Refused, at(now + 3));
        assert_eq!(lamps.deadline(), None);
    }

    #[test]
    fn one_lamp_shows_the_sum_of_its_mailboxes_and_goes_out_with_them() {
        let (mut lamps, start) = (Lamps::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let phone = "sip:p".to_owned();
        lamps.set(&id("1"), std::slice::from_ref(&phone), new(1), at(0));
        lamps.set(&id("2"), std::slice::from_ref(&phone), new(2), at(0));
        assert_eq!(told(&mut lamps, at(0)), [(phone.clone(), 3)]);
        lamps.answered(&phone, Answer::Told, at(0));
        lamps.set(&id("2"), &[], new(2), at(2));
        assert_eq!(told(&mut lamps, at(2)), [(phone.clone(), 1)]);
        lamps.answered(&phone, Answer::Told, at(2));
        lamps.set(&id("1"), &[], new(1), at(4));
        assert_eq!(told(&mut lamps, at(4)), [(phone.clone(), 0)]);
        lamps.answered(&phone, Answer::Told, at(4));
        assert_eq!(told(&mut lamps, at(6)), []);
        assert!(lamps.all.is_empty());
    }
}
