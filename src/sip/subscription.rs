//! Telling a subscriber what it asked for: the notifier of RFC 6665, pure.
//!
//! A subscriber hears of the first change at once, of later ones once a second at most, and of the
//! last one always. One NOTIFY is on its way at a time, so that none overtakes another.

use std::time::{Duration, Instant};

use super::dialog::Dialog;
use super::invite::Pending;
use super::timer::Armed;

/// A subscription, for as long as the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey(pub(super) u64);

/// The one event package that we know (RFC 3842).
pub(super) const PACKAGE: &str = "message-summary";
pub(super) const BODY: &str = "application/simple-message-summary";

/// RFC 3842 §3.4.
pub(super) const USUAL: Duration = Duration::from_secs(3_600);
pub(super) const SHORTEST: Duration = Duration::from_secs(60);
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);
/// RFC 3842 §3.10: not more often.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Subscription {
    pub dialog: Dialog,
    /// `id` of the Event header, told back as it was given.
    pub id: Option<String>,
    pub expires: Instant,
    pub phase: Phase,
    /// What is still to be told.
    owed: Option<Vec<u8>>,
    /// What was told last.
    told: Vec<u8>,
    last: Option<Instant>,
    /// A NOTIFY has no final response yet.
    under_way: bool,
    pub armed: Armed<2>,
}

pub(super) enum Phase {
    /// The SUBSCRIBE waits for the house; for how long it asked.
    Asked(Box<Pending>, Duration),
    Active,
    /// The last NOTIFY, with this reason, is owed or on its way.
    Ending(Reason),
}

/// Why a subscription ends: RFC 6665 §4.1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was not refreshed, or its owner wants no more of it.
    Timeout,
    /// There is nothing to tell of any more: do not come back.
    NoResource,
    /// Come back, here or elsewhere.
    Deactivated,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoResource => "noresource",
            Self::Deactivated => "deactivated",
        }
    }
}

/// What may be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Send {
        body: Vec<u8>,
        state: String,
    },
    /// Look again then.
    At(Instant),
    Nothing,
    /// The last NOTIFY was answered.
    Over,
}

impl Subscription {
    pub fn new(dialog: Dialog, id: Option<String>, phase: Phase, now: Instant) -> Self {
        Self {
            dialog,
            id,
            expires: now,
            phase,
            owed: None,
            told: vec![],
            last: None,
            under_way: false,
            armed: Armed::default(),
        }
    }

    /// Something to tell, perhaps the same as before.
    pub fn owe(&mut self, body: Vec<u8>) {
        let news = body != self.told;
        self.owed = news.then_some(body);
    }

    /// RFC 6665 §4.2.1.2: a SUBSCRIBE is answered by a NOTIFY at once, news or not.
    pub fn owe_at_once(&mut self, body: Option<Vec<u8>>) {
        self.owed = Some(body.unwrap_or_else(|| self.owed.take().unwrap_or(self.told.clone())));
        self.last = None;
    }

    pub fn end(&mut self, reason: Reason) {
        self.phase = Phase::Ending(reason);
        self.owe_at_once(None);
    }

    /// What may be sent; it then counts as sent.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.under_way || matches!(self.phase, Phase::Asked(..)) {
            return Next::Nothing;
        }
        if self.owed.is_none() {
            let over = matches!(self.phase, Phase::Ending(_));
            return if over { Next::Over } else { Next::Nothing };
        }
        if let Some(at) = self.last.map(|last| last + PAUSE).filter(|at| *at > now) {
            return Next::At(at);
        }
        let Some(body) = self.owed.take() else { return Next::Nothing };
        self.told.clone_from(&body);
        self.last = Some(now);
        self.under_way = true;
        let state = match &self.phase {
            Phase::Ending(reason) => format!("terminated;reason={}", reason.name()),
            Phase::Asked(..) | Phase::Active => {
                let left = self.expires.saturating_duration_since(now);
                // A second begun is told whole: 0 would say that it is over.
                format!("active;expires={}", left.as_millis().div_ceil(1000).max(1))
            }
        };
        Next::Send { body, state }
    }

    /// The NOTIFY under way was answered.
    pub fn answered(&mut self) {
        self.under_way = false;
    }

    /// It was not taken, but may be later: told again after `wait`, unless there is news before.
    pub fn again(&mut self, now: Instant, wait: Duration) {
        self.under_way = false;
        if matches!(self.phase, Phase::Active) {
            let told = std::mem::take(&mut self.told);
            self.owed.get_or_insert(told);
            self.last = Some(now + wait.saturating_sub(PAUSE));
        }
    }
}

/// Whether an answer to a NOTIFY ends the subscription: RFC 6665 §4.2.2, RFC 5057 §5.2.
pub(super) fn ends(code: u16) -> bool {
    matches!(
        code,
        401 | 403 | 404 | 405 | 407 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 603 | 604
    )
}

/// For how long a subscriber may have it; `Err` is the shortest that we grant.
pub(super) fn duration(asked: Option<&str>) -> Result<Duration, Duration> {
    let seconds = asked.and_then(|text| text.trim().parse::<u64>().ok());
    match seconds.map(Duration::from_secs) {
        None => Ok(USUAL),
        // RFC 6665 §4.4.3: it fetches once.
        Some(Duration::ZERO) => Ok(Duration::ZERO),
        Some(asked) if asked < SHORTEST => Err(SHORTEST),
        Some(asked) => Ok(asked.min(LONGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_reason() {
        let seconds = Duration::from_secs;
        assert_eq!(duration(None), Ok(USUAL));
        assert_eq!(duration(Some("0")), Ok(seconds(0)));
        assert_eq!(duration(Some("59")), Err(SHORTEST));
        assert_eq!(duration(Some("60")), Ok(SHORTEST));
        assert_eq!(duration(Some("4294967295")), Ok(LONGEST));
        assert_eq!(duration(Some("x")), Ok(USUAL));
    }
}
