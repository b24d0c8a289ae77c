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
    /// Those to be told, by when.
    due: BTreeSet<(Instant, String)>,
    /// Those that were told a moment ago, and have not answered yet.
    unanswered: BTreeSet<(Instant, String)>,
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
    /// Since then.
    UnderWay(Instant),
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
/// Who has not answered for so long does not keep others waiting: a telephone that is switched off
/// is given up after 32 s (RFC 3261 §17.1.2.2), and there may be many.
const PATIENCE: Duration = Duration::from_secs(1);
/// A lamp that is nobody's any more, and cannot be told so, is told so often.
const LAST_TRIES: u32 = 8;
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
            }
            // The lamp must go out, or show what the others have.
            self.is_due(gone, now);
        }
        for address in &wanted {
            let lamp = self.all.entry(address.clone()).or_default();
            lamp.mailboxes.insert(mailbox.clone(), counts);
            self.is_due(address, now);
        }
        if !wanted.is_empty() {
            self.by_mailbox.insert(mailbox.clone(), wanted);
        }
    }

    pub fn changed(&mut self, mailbox: &MailboxId, counts: Counts, now: Instant) {
        let Some(addresses) = self.by_mailbox.get(mailbox).cloned() else { return };
        for address in &addresses {
            if let Some(lamp) = self.all.get_mut(address) {
                lamp.mailboxes.insert(mailbox.clone(), counts);
            }
            self.is_due(address, now);
        }
    }

    /// Who is to be told what, now; each counts as under way until [`Lamps::answered`].
    pub fn next(&mut self, now: Instant) -> Vec<(String, MailboxId, Counts)> {
        while self.unanswered.first().is_some_and(|(since, _)| *since + PATIENCE <= now) {
            self.unanswered.pop_first();
        }
        let mut told = vec![];
        while self.unanswered.len() < AT_ONCE
            && let Some((_, address)) = self.due.first().filter(|(at, _)| *at <= now).cloned()
        {
            let Some(lamp) = self.all.get_mut(&address) else {
                self.due.pop_first();
                continue;
            };
            let sum = lamp.sum();
            if lamp.told == Some(sum) {
                let is_nobodys = lamp.mailboxes.is_empty();
                self.stands(&address, Standing::Quiet);
                if is_nobodys {
                    self.all.remove(&address);
                }
                continue;
            }
            (lamp.told, lamp.last) = (Some(sum), Some(now));
            // A lamp of nobody goes out; whose it was does not matter to it.
            let owner = lamp.mailboxes.keys().min().cloned().unwrap_or_else(nobody);
            self.stands(&address, Standing::UnderWay(now));
            told.push((address, owner, sum));
        }
        told
    }

    pub fn answered(&mut self, address: &str, answer: Answer, now: Instant) {
        let Some(lamp) = self.all.get_mut(address) else { return };
        let is_nobodys = lamp.mailboxes.is_empty();
        let standing = match answer {
            Answer::Told | Answer::Refused => {
                lamp.failures = 0;
                if lamp.told == Some(lamp.sum()) && !is_nobodys {
                    Standing::Quiet
                } else {
                    Standing::Due(now + PAUSE)
                }
            }
            Answer::Later(_) if is_nobodys && lamp.failures >= LAST_TRIES => {
                self.stands(address, Standing::Quiet);
                self.all.remove(address);
                return;
            }
            Answer::Later(wait) => {
                lamp.told = None;
                lamp.failures = lamp.failures.saturating_add(1);
                let doubled = FIRST * 2_u32.pow(lamp.failures.clamp(1, 8) - 1);
                Standing::Due(now + wait.unwrap_or(doubled).clamp(PAUSE, LONGEST))
            }
        };
        self.stands(address, standing);
    }

    /// When [`Lamps::next`] has something that it has not now.
    pub fn deadline(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        let full = self.unanswered.first().filter(|_| self.unanswered.len() >= AT_ONCE);
        Some(full.map_or(*due, |(since, _)| (*due).max(*since + PATIENCE)))
    }

    /// Something may have changed: as soon as a second has passed since the last NOTIFY.
    fn is_due(&mut self, address: &str, now: Instant) {
        let Some(lamp) = self.all.get_mut(address) else { return };
        if !matches!(lamp.standing, Standing::UnderWay(_)) {
            lamp.failures = 0;
            let at = lamp.last.map_or(now, |last| now.max(last + PAUSE));
            self.stands(address, Standing::Due(at));
        }
    }

    fn stands(&mut self, address: &str, standing: Standing) {
        let Some(lamp) = self.all.get_mut(address) else { return };
        let was = std::mem::replace(&mut lamp.standing, standing);
        let place = |at| (at, address.to_owned());
        let _it_was_there = match was {
            Standing::Due(at) => self.due.remove(&place(at)),
            Standing::UnderWay(since) => self.unanswered.remove(&place(since)),
            Standing::Quiet => true,
        };
        let _it_is_new = match standing {
            Standing::Due(at) => self.due.insert(place(at)),
            Standing::UnderWay(since) => self.unanswered.insert(place(since)),
            Standing::Quiet => true,
        };
    }
}

impl Lamp {
    fn sum(&self) -> Counts {
        self.mailboxes.values().copied().sum()
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

    #[test]
    fn telephones_that_are_switched_off_keep_no_other_dark() {
        let (mut lamps, start) = (Lamps::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for n in 1_000..1_200 {
            lamps.set(&id(&n.to_string()), &[format!("sip:off{n}")], new(1), at(0));
        }
        assert_eq!(told(&mut lamps, at(0)).len(), AT_ONCE);
        lamps.set(&id("2"), &["sip:on".to_owned()], new(1), at(1));
        assert_eq!((told(&mut lamps, at(999)), lamps.deadline()), (vec![], Some(at(1_000))));
        let others: usize = (1..4).map(|s| told(&mut lamps, at(s * 1_000)).len()).sum();
        assert_eq!(others, 200 + 1 - AT_ONCE, "none has answered, and all were told");
        assert_eq!(lamps.deadline(), None);
        // The answers of who was given up count all the same.
        lamps.answered("sip:off1000", Answer::Later(None), at(32_000));
        assert_eq!(lamps.deadline(), Some(at(37_000)));
        lamps.answered("sip:on", Answer::Told, at(32_000));
        lamps.changed(&id("2"), new(2), at(33_000));
        assert_eq!(told(&mut lamps, at(33_000)), [("sip:on".to_owned(), 2)]);
    }

    #[test]
    fn a_lamp_that_nobody_has_any_more_is_not_called_for_ever() {
        let (mut lamps, mut now) = (Lamps::default(), Instant::now());
        lamps.set(&id("1"), &["sip:typo".to_owned()], new(1), now);
        assert_eq!(told(&mut lamps, now).len(), 1);
        lamps.answered("sip:typo", Answer::Later(None), now);
        lamps.set(&id("1"), &[], new(1), now);
        let mut tries = 0;
        while let Some(at) = lamps.deadline() {
            now = at;
            tries += told(&mut lamps, now).len();
            lamps.answered("sip:typo", Answer::Later(None), now);
        }
        assert!((3..12).contains(&tries) && lamps.all.is_empty(), "{tries}");
    }
}
