//! Session timers: who keeps a call alive, and when it counts as dead (RFC 4028).

use std::time::{Duration, Instant};

use rsip::headers::{self, UntypedHeader};
use rsip::{Header, Headers};

use super::message::{every, other};
use super::text::{Params, list};
use super::timer::LIFETIME;

/// Whose turn it is to refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresher {
    Us,
    Them,
}

/// What both sides will keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    seconds: u64,
    refresher: Refresher,
    /// Whether the other side knows of session timers.
    supported: bool,
}

/// RFC 4028 §6: the interval is below what we bear; 422.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSmall;

/// RFC 4028 §9: what a request asks for, and what we make of it. `ours` is how long we let a
/// session live; zero leaves it to the other side.
pub(super) fn agree(request: &Headers, ours: Duration) -> Result<Option<Agreed>, TooSmall> {
    let supported = every!(request, Supported)
        .chain(every!(request, Require))
        .flat_map(list)
        .any(|tag| tag.eq_ignore_ascii_case("timer"));
    let least = seconds_of(request, "Min-SE").unwrap_or(0).max(MINIMUM);
    let (wanted, asked) = match interval(request) {
        Some((wanted, _)) if wanted < MINIMUM && supported => return Err(TooSmall),
        Some((wanted, asked)) => (wanted, asked),
        None if supported && !ours.is_zero() => (ours.as_secs(), None),
        None => return Ok(None),
    };
    // §9: it may be made smaller, though not below what everyone on the way bears.
    let most = if ours.is_zero() { u64::MAX } else { ours.as_secs() };
    let seconds = wanted.min(most).max(least);
    // §9 table 2. Where we may choose it is the caller: we have more calls than they have.
    let refresher = match asked {
        Some(Role::Uac) | None if supported => Refresher::Them,
        Some(Role::Uac | Role::Uas) | None => Refresher::Us,
    };
    Ok(Some(Agreed { seconds, refresher, supported }))
}

/// RFC 4028 §7.2: what a 2xx to a request of ours settles.
pub(super) fn agreed(response: &Headers) -> Option<Agreed> {
    let (seconds, role) = interval(response)?;
    let refresher = match role {
        Some(Role::Uas) => Refresher::Them,
        Some(Role::Uac) | None => Refresher::Us,
    };
    Some(Agreed { seconds: seconds.max(MINIMUM), refresher, supported: true })
}

/// For 422, and what it said to us.
pub(super) fn minimum() -> Header {
    Header::Other("Min-SE".to_owned(), MINIMUM.to_string())
}

impl Agreed {
    /// For our 2xx.
    pub fn answer(self) -> Vec<Header> {
        let role = match self.refresher {
            Refresher::Us => "uas",
            Refresher::Them => "uac",
        };
        let mut headers = vec![self.header(role)];
        if self.supported {
            headers.push(headers::Require::new("timer").into());
        }
        headers
    }

    fn header(self, role: &str) -> Header {
        let value = format!("{};refresher={role}", self.seconds);
        Header::Other("Session-Expires".to_owned(), value)
    }
}

/// The life of a session that is kept alive.
#[derive(Debug)]
pub(super) struct Session {
    agreed: Agreed,
    /// What the others on the way bear, if they said so in a 422.
    least: u64,
    /// When something must be done: refreshed, or given up.
    due: Instant,
    expires: Instant,
}

/// What it is time for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Refresh,
    Expired,
}

impl Session {
    pub fn start(now: Instant, agreed: Agreed) -> Self {
        let life = Duration::from_secs(agreed.seconds);
        let expires = now + life;
        // RFC 4028 §10: refreshed after half of it; whoever waits for a refresh hangs up the
        // lesser of 32 s and a third before the end.
        let due = match agreed.refresher {
            Refresher::Us => now + life / 2,
            Refresher::Them => now + life.saturating_sub((life / 3).min(LIFETIME)),
        };
        Self { agreed, least: MINIMUM, due, expires }
    }

    /// When to look again, if that is before `at`.
    pub fn sooner(&self, at: Instant) -> Instant {
        self.due.min(at)
    }

    pub fn due(&self, now: Instant) -> Due {
        match self.agreed.refresher {
            _ if now < self.due => Due::Nothing,
            Refresher::Us if now < self.expires => Due::Refresh,
            Refresher::Us | Refresher::Them => Due::Expired,
        }
    }

    /// A refresh is on its way, or must wait: nothing is due before `at`.
    pub fn postpone(&mut self, at: Option<Instant>) {
        self.due = at.map_or(self.expires, |at| at.min(self.expires));
    }

    /// RFC 4028 §7.4: what our refresh asks for.
    pub fn request(&self) -> [Header; 2] {
        let least = Header::Other("Min-SE".to_owned(), self.least.to_string());
        [self.agreed.header("uac"), least]
    }

    /// RFC 4028 §7.3: a 422 says how long it must be at least. False when it asks for nothing more.
    pub fn lengthen(&mut self, response: &Headers) -> bool {
        let least = seconds_of(response, "Min-SE").unwrap_or(0);
        let longer = least > self.agreed.seconds && least <= MAXIMUM;
        if longer {
            self.agreed.seconds = least;
            self.least = least;
        }
        longer
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Uac,
    Uas,
}

/// `Session-Expires: 1800;refresher=uas`; one that cannot be read asks for nothing.
fn interval(headers: &Headers) -> Option<(u64, Option<Role>)> {
    let value = other(headers, "Session-Expires").next()?;
    let (seconds, params) = value.split_once(';').unwrap_or((value, ""));
    let seconds = seconds.trim().parse().ok().filter(|seconds| *seconds <= MAXIMUM)?;
    let role = Params::read(params).value("refresher").and_then(|role| match role {
        role if role.eq_ignore_ascii_case("uac") => Some(Role::Uac),
        role if role.eq_ignore_ascii_case("uas") => Some(Role::Uas),
        _ => None,
    });
    Some((seconds, role))
}

fn seconds_of(headers: &Headers, name: &str) -> Option<u64> {
    let value = other(headers, name).next()?;
    value.split(';').next()?.trim().parse().ok()
}

/// RFC 4028 §5: nobody may ask for less than 90 s.
const MINIMUM: u64 = 90;
/// Longer than a year is no interval.
const MAXIMUM: u64 = 31_622_400;

#[cfg(test)]
mod tests {
    use super::*;

    /// What we make of `Session-Expires | Min-SE | Supported`.
    fn made_of(asked: &str, ours: u64) -> String {
        let mut parts = asked.split('|').map(str::trim);
        let mut headers = Headers::default();
        for name in ["Session-Expires", "Min-SE"] {
            let value = parts.next().filter(|value| !value.is_empty());
            if let Some(value) = value {
                headers.push(Header::Other(name.into(), value.into()));
            }
        }
        headers.push(headers::Supported::new(parts.next().unwrap_or("")).into());
        match agree(&headers, Duration::from_secs(ours)) {
            Err(TooSmall) => "422".into(),
            Ok(None) => "none".into(),
            Ok(Some(agreed)) => {
                let headers: Vec<String> = agreed.answer().iter().map(Header::to_string).collect();
                headers.join(", ")
            }
        }
    }

    #[test]
    fn table_2_of_rfc_4028() {
        let rows = [
            ("", 1800, "none"),
            ("||timer", 0, "none"),
            ("||timer", 1800, "Session-Expires: 1800;refresher=uac, Require: timer"),
            ("|3600|timer", 1800, "Session-Expires: 3600;refresher=uac, Require: timer"),
            ("600||timer", 1800, "Session-Expires: 600;refresher=uac, Require: timer"),
            (
                "600;refresher=uac||timer",
                1800,
                "Session-Expires: 600;refresher=uac, Require: timer",
            ),
            (
                "600;refresher=uas||timer",
                1800,
                "Session-Expires: 600;refresher=uas, Require: timer",
            ),
            // A proxy wants it, the caller knows nothing of it.
            ("600", 1800, "Session-Expires: 600;refresher=uas"),
            ("3600||100rel, timer", 1800, "Session-Expires: 1800;refresher=uac, Require: timer"),
            ("3600|2000|timer", 1800, "Session-Expires: 2000;refresher=uac, Require: timer"),
            ("3600||timer", 0, "Session-Expires: 3600;refresher=uac, Require: timer"),
            ("89||timer", 1800, "422"),
            ("89", 1800, "Session-Expires: 90;refresher=uas"),
            ("soon||timer", 1800, "Session-Expires: 1800;refresher=uac, Require: timer"),
            ("99999999999999999999||timer", 0, "none"),
        ];
        for (asked, ours, wanted) in rows {
            assert_eq!(made_of(asked, ours), wanted, "{asked} with {ours} s of ours");
        }
    }

    #[test]
    fn who_refreshes_does_so_after_half_and_who_waits_gives_up_before_the_end() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let agreed = |refresher| Agreed { seconds: 600, refresher, supported: true };
        let ours = Session::start(now, agreed(Refresher::Us));
        assert_eq!(ours.due(at(299)), Due::Nothing);
        assert_eq!(ours.due(at(300)), Due::Refresh);
        assert_eq!(ours.due(at(600)), Due::Expired);
        let theirs = Session::start(now, agreed(Refresher::Them));
        assert_eq!(theirs.due(at(567)), Due::Nothing);
        assert_eq!(theirs.due(at(568)), Due::Expired);
    }
}
