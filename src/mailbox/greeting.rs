//! Which greeting a caller hears.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A recording of the owner's, by the name that Asterisk gives its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Greeting {
    Temporary,
    Unavailable,
    Busy,
    /// The owner's spoken name.
    Name,
}

impl Greeting {
    /// The file's name without its extension.
    pub fn stem(self) -> &'static str {
        match self {
            Self::Temporary => "temp",
            Self::Unavailable => "unavail",
            Self::Busy => "busy",
            Self::Name => "greet",
        }
    }
}

impl fmt::Display for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stem())
    }
}

/// A greeting for some callers, or for some times. It lies beside the others as
/// `greeting-<name>.wav`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub greeting: String,
    /// `mon-fri`, `sat,sun`; every day where empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub days: String,
    /// `18:00`, in the mailbox's time zone; `until` before `from` is the day after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Numbers, with a `*` at the end for more digits; everybody where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callers: Vec<String>,
}

/// A moment of a week: days from Monday, 0, and minutes from midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub day: u8,
    pub minute: u16,
}

impl Rule {
    /// Whether this greeting is for such a call. What cannot be read fits nothing.
    pub fn fits(&self, caller: &str, at: Moment) -> bool {
        let known = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => caller.starts_with(start),
            None => caller == pattern,
        };
        let time = |text: &Option<String>, unset| text.as_deref().map_or(Some(unset), minute);
        let (Some(from), Some(until)) = (time(&self.from, 0), time(&self.until, 24 * 60)) else {
            return false;
        };
        // What began yesterday belongs to yesterday.
        let (day, now) = if until <= from && at.minute < until {
            ((at.day + 6) % 7, true)
        } else if until <= from {
            (at.day, at.minute >= from)
        } else {
            (at.day, (from..until).contains(&at.minute))
        };
        (self.callers.is_empty() || self.callers.iter().any(known))
            && now
            && days(&self.days).is_some_and(|days| days[usize::from(day % 7)])
    }

    /// Why it can never fit.
    pub fn problem(&self) -> Option<String> {
        let wrong = |text: &Option<String>| {
            text.as_deref().filter(|text| minute(text).is_none()).map(str::to_owned)
        };
        if !super::is_plain_name(&self.greeting) {
            return Some(format!("`{}` is no name of a greeting", self.greeting.escape_debug()));
        }
        if let Some(time) = wrong(&self.from).or_else(|| wrong(&self.until)) {
            return Some(format!("`{}` is no time: write 18:00", time.escape_debug()));
        }
        let why = || format!("`{}` are no days: write mon-fri,sun", self.days.escape_debug());
        days(&self.days).is_none().then(why)
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour <= 24 && minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

fn days(text: &str) -> Option<[bool; 7]> {
    if text.is_empty() {
        return Some([true; 7]);
    }
    let named = |name: &str| {
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
            .iter()
            .position(|known| name.trim().eq_ignore_ascii_case(known))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (named(first)?, named(last)?);
        for day in first..first + 1 + (last + 7 - first) % 7 {
            days[day % 7] = true;
        }
    }
    Some(days)
}

/// Which of the owner's recordings exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub temporary: bool,
    pub unavailable: bool,
    pub busy: bool,
    pub name: bool,
}

impl Recorded {
    /// As they are at this time: a temporary greeting has an end.
    pub fn at(self, now: i64, temporary_until: Option<i64>) -> Self {
        let temporary = self.temporary && temporary_until.is_none_or(|until| now < until);
        Self { temporary, ..self }
    }

    pub fn has(self, greeting: Greeting) -> bool {
        match greeting {
            Greeting::Temporary => self.temporary,
            Greeting::Unavailable => self.unavailable,
            Greeting::Busy => self.busy,
            Greeting::Name => self.name,
        }
    }

    /// The same for one who is talking already: then what greets the others.
    pub fn for_busy(self) -> Option<Greeting> {
        if self.busy && !self.temporary { Some(Greeting::Busy) } else { self.for_no_answer() }
    }

    /// The recording that greets a caller whose call was not answered; `None` where the owner has
    /// recorded nothing that could.
    pub fn for_no_answer(self) -> Option<Greeting> {
        if self.temporary {
            Some(Greeting::Temporary)
        } else if self.unavailable {
            Some(Greeting::Unavailable)
        } else if self.name {
            Some(Greeting::Name)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_knows_days_times_and_callers() {
        let rule = |days: &str, from: &str, until: &str, callers: &[&str]| Rule {
            greeting: "closed".into(),
            days: days.into(),
            from: (!from.is_empty()).then(|| from.into()),
            until: (!until.is_empty()).then(|| until.into()),
            callers: callers.iter().map(|caller| (*caller).into()).collect(),
        };
        let at = |day, hour: u16| Moment { day, minute: hour * 60 };
        let nights = rule("mon-fri", "18:00", "08:00", &[]);
        // Monday evening, Saturday before dawn, Monday before dawn, Monday noon.
        for (moment, fits) in
            [(at(0, 19), true), (at(5, 7), true), (at(0, 7), false), (at(0, 12), false)]
        {
            assert_eq!(nights.fits("", moment), fits, "{moment:?}");
        }
        let weekend = rule("sat-mon", "", "", &[]);
        assert!(weekend.fits("", at(6, 3)) && weekend.fits("", at(0, 3)));
        assert!(!weekend.fits("", at(1, 3)));
        let friends = rule("", "", "", &["+4930*", "2001"]);
        assert!(friends.fits("+49301234", at(2, 3)) && friends.fits("2001", at(2, 3)));
        assert!(!friends.fits("20011", at(2, 3)) && !friends.fits("", at(2, 3)));
        for wrong in [rule("someday", "", "", &[]), rule("", "25:00", "", &[])] {
            assert!(wrong.problem().is_some() && !wrong.fits("", at(0, 1)), "{wrong:?}");
        }
        assert_eq!(nights.problem(), None);
    }
}
