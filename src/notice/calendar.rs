//! What is told without a change: the digest of each day, and the reminder of a message that nobody
//! hears. Pure: the time comes in, and up to when was decided before.
//!
//! State remembers that moment and moves it on together with what follows from it, so that a restart
//! repeats nothing, and a day without a daemon skips nothing.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

/// Names under which state remembers up to when was decided.
pub const DIGEST: &str = "digest";
pub const REMINDER: &str = "reminder";

/// Unix seconds after `after`, up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub after: i64,
    pub until: i64,
}

/// What was received in one step is looked at together, in seconds.
const STEP: i64 = 3_600;

impl Span {
    /// What is to be decided now. `None`: nothing, for nobody has decided before; what lay there
    /// when the option was switched on is no news.
    pub fn since(decided: Option<i64>, until: i64) -> Option<Self> {
        // A clock that was set back decides nothing a second time.
        decided.map(|after| Self { after, until: until.max(after) })
    }

    pub fn is_empty(self) -> bool {
        self.until <= self.after
    }

    /// The beginning, as much as is looked at together.
    pub fn step(self) -> Self {
        Self { until: self.until.min(self.after.saturating_add(STEP)), ..self }
    }

    /// When it was last `at` o'clock in this zone within the span.
    pub fn struck(self, at: Time, zone: &TimeZone) -> Option<i64> {
        let here = Timestamp::from_second(self.until).ok()?.to_zoned(zone.clone());
        let today = here.date();
        // Where clocks are put forward, an hour that is left out strikes an hour later.
        let second = |date: jiff::civil::Date| {
            Some(date.to_datetime(at).to_zoned(zone.clone()).ok()?.timestamp().as_second())
        };
        let last = second(today).filter(|second| *second <= self.until);
        last.or_else(|| second(today.yesterday().ok()?)).filter(|last| *last > self.after)
    }
}

/// `08:00`.
pub fn o_clock(text: &str) -> Option<Time> {
    Time::strptime("%H:%M", text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn each_day_strikes_once_in_the_zone_whatever_the_daemon_does() {
        let at = o_clock("08:00").unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // Looked at every minute, over both changes of the clock, with a night and a week off.
        let (mut decided, mut struck) = (second("2026-03-01T00:00:30Z"), vec![]);
        let mut now = decided;
        while now < second("2026-11-10T00:00:00Z") {
            let off = [("2026-06-01T05:00:00Z", 7 * 86_400), ("2026-07-01T20:00:00Z", 40_000)];
            let off = off.iter().find(|(from, _)| second(from) / 60 == now / 60);
            now += off.map_or(60, |(_, seconds)| *seconds);
            let span = Span::since(Some(decided), now).unwrap();
            struck.extend(span.struck(at, &zone));
            decided = span.until;
        }
        let days: Vec<_> = struck
            .iter()
            .map(|second| Timestamp::from_second(*second).unwrap().to_zoned(zone.clone()))
            .collect();
        assert!(days.iter().all(|day| day.strftime("%H:%M").to_string() == "08:00"));
        let mut dates: Vec<_> = days.iter().map(jiff::Zoned::date).collect();
        let told = dates.len();
        dates.dedup();
        // 254 days, of which six passed unnoticed in the week off: one digest tells of all.
        assert_eq!((told, dates.len()), (254 - 6, 254 - 6));
    }

    #[test]
    fn an_hour_that_a_day_lacks_strikes_all_the_same() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let day =
            Span { after: second("2026-03-28T12:00:00Z"), until: second("2026-03-29T12:00:00Z") };
        let struck = day.struck(o_clock("02:30").unwrap(), &zone);
        assert_eq!(struck, Some(second("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn nothing_is_decided_twice_and_nothing_at_first() {
        assert_eq!(Span::since(None, 5), None);
        let back = Span::since(Some(10), 5).unwrap();
        assert!(back.is_empty() && back.until == 10, "the clock was set back");
        let long = Span { after: 0, until: 9_000 };
        assert_eq!(long.step(), Span { after: 0, until: 3_600 });
        assert_eq!(Span { after: 8_000, ..long }.step().until, 9_000);
        for bad in ["", "8", "24:00", "08:60", "8 am"] {
            assert_eq!(o_clock(bad), None, "{bad}");
        }
    }
}
