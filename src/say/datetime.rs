//! Dates and times, by the tokens that Asterisk's `[zonemessages]` use.
//!
//! `'name'` plays a sound; `A a` weekday, `B b h` month, `m` its number, `d e` day, `Y` year,
//! `I l` hour of twelve, `H k` hour of twenty-four, `M N` minute, `P p` half of the day, `S`
//! seconds, `R` hour and minute, `T` with seconds, `Q q` the date as one would say it now. Of our
//! own: `t` is the time of day as the mailbox wants it, `u` the same after "at", `o` the word after an
//! hour, `n` the minute as minutes are counted.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::lang::{Clock, Day, Language};
use super::{Clip, sound};

/// Nests only where a token stands for others.
const DEEPEST: u8 = 3;

pub(super) struct Moment<'l> {
    pub language: &'l Language,
    pub clock: Option<Clock>,
    pub at: (Date, Time),
    pub today: Date,
}

impl<'l> Moment<'l> {
    pub fn new(
        language: &'l Language,
        clock: Option<Clock>,
        zone: &TimeZone,
        [at, now]: [i64; 2],
    ) -> Self {
        let local = |second| {
            let at = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            let civil = zone.to_datetime(at);
            (civil.date(), civil.time())
        };
        Self { language, clock, at: local(at), today: local(now).0 }
    }

    pub fn said(&self, format: &str) -> Vec<Clip> {
        let mut clips = vec![];
        self.say(format, DEEPEST, &mut clips);
        clips
    }

    fn say(&self, format: &str, deep: u8, clips: &mut Vec<Clip>) {
        let Some(deep) = deep.checked_sub(1) else { return };
        let mut tokens = format.chars();
        while let Some(token) = tokens.next() {
            match token {
                '\'' => {
                    let name: String = tokens.by_ref().take_while(|c| *c != '\'').collect();
                    if !name.is_empty() {
                        clips.push(sound(name));
                    }
                }
                'Q' | 'q' => self.date(deep, clips),
                't' => self.say(self.time_format(), deep, clips),
                'u' if self.language.at_one && self.spoken_hour(self.hour()) == 1 => {
                    let hour = self.language.number(1, Some(self.language.hour));
                    let parts = std::iter::once(sound("digits/at")).chain(hour).collect();
                    clips.push(Clip::either("digits/at-1", parts));
                    let (_hour, rest) = self.time_format().split_at(1);
                    self.say(rest, deep, clips);
                }
                'u' => {
                    clips.push(sound("digits/at"));
                    self.say(self.time_format(), deep, clips);
                }
                'R' => self.say("H M", deep, clips),
                'T' => self.say("H M S", deep, clips),
                token => clips.extend(self.token(token)),
            }
        }
    }

    fn token(&self, token: char) -> Vec<Clip> {
        let (date, time) = self.at;
        let language = self.language;
        let part = |value: i8| u32::try_from(value).unwrap_or(0);
        let (hour, minute) = (part(time.hour()), part(time.minute()));
        match token {
            'A' | 'a' => {
                vec![sound(format!("digits/day-{}", date.weekday().to_sunday_zero_offset()))]
            }
            'B' | 'b' | 'h' => vec![sound(format!("digits/mon-{}", date.month() - 1))],
            'm' => vec![ordinal(part(date.month()))],
            'd' | 'e' => match language.day {
                Day::Ordinal => vec![ordinal(part(date.day()))],
                Day::FirstOrdinal if date.day() == 1 => vec![ordinal(1)],
                Day::FirstOrdinal => language.number(part(date.day()), None),
            },
            'Y' => self.year(),
            'I' | 'l' => language.number((hour + 11) % 12 + 1, Some(language.hour)),
            'H' if hour < 10 && language.minute_lead.is_some() => {
                let mut clips: Vec<Clip> = language.minute_lead.into_iter().map(sound).collect();
                clips.extend((hour > 0).then(|| language.number(hour, None)).into_iter().flatten());
                clips
            }
            'H' | 'k' => language.number(hour, Some(language.hour)),
            'o' => {
                let name = if language.singular.contains(&self.spoken_hour(hour)) {
                    "digits/hour"
                } else {
                    "digits/hours"
                };
                vec![sound(name)]
            }
            'M' => self.minute(minute, language.minute_zero),
            'n' => language.number(minute, Some(language.minute)),
            'N' => self.minute(minute, Some("digits/hundred")),
            'P' | 'p' => vec![sound(if hour < 12 { "digits/a-m" } else { "digits/p-m" })],
            'S' => language.number(part(time.second()), None),
            _ => vec![],
        }
    }

    fn minute(&self, minute: u32, zero: Option<&'static str>) -> Vec<Clip> {
        match (minute, zero) {
            (0, Some(zero)) => vec![sound(zero)],
            (0..10, _) => {
                let mut clips: Vec<Clip> =
                    self.language.minute_lead.into_iter().map(sound).collect();
                clips.extend(self.language.number(minute, None));
                clips
            }
            _ => self.language.number(minute, None),
        }
    }

    /// "nineteen ninety-nine" where two halves are said, else as a number.
    fn year(&self) -> Vec<Clip> {
        let year = u32::try_from(self.at.0.year()).unwrap_or(0);
        if self.language.code != "en" || !(1_100..2_000).contains(&year) || year % 100 < 10 {
            return self.language.number(year, None);
        }
        [year / 100, year % 100].into_iter().flat_map(|n| self.language.number(n, None)).collect()
    }

    fn hour(&self) -> u32 {
        u32::try_from(self.at.1.hour()).unwrap_or(0)
    }

    fn spoken_hour(&self, hour: u32) -> u32 {
        match self.clock() {
            Clock::Twelve => (hour + 11) % 12 + 1,
            Clock::TwentyFour => hour,
        }
    }

    fn clock(&self) -> Clock {
        self.clock.unwrap_or(self.language.clock)
    }

    fn time_format(&self) -> &'static str {
        let time = match self.clock() {
            Clock::Twelve => &self.language.time_12,
            Clock::TwentyFour => &self.language.time_24,
        };
        if self.at.1.minute() == 0 { time.full } else { time.minutes }
    }

    /// Today, yesterday, a weekday, and the more of a date the longer it is ago.
    fn date(&self, deep: u8, clips: &mut Vec<Clip>) {
        let date = self.at.0;
        let days = self.today.until(date).map_or(i32::MAX, |span| span.get_days());
        match days {
            0 => clips.push(sound("digits/today")),
            -1 => clips.push(sound("digits/yesterday")),
            1 => clips.push(sound("digits/tomorrow")),
            _ => {
                let ago = |span: jiff::Span| {
                    let far = if date < self.today {
                        self.today.checked_sub(span)
                    } else {
                        self.today.checked_add(span)
                    };
                    far.is_ok_and(|far| if date < self.today { date >= far } else { date <= far })
                };
                let [week, month, half_year, older] = self.language.days;
                let format = if ago(6.days()) {
                    week
                } else if ago(1.month()) {
                    month
                } else if ago(6.months()) {
                    half_year
                } else {
                    older
                };
                self.say(format, deep, clips);
            }
        }
    }
}

fn ordinal(n: u32) -> Clip {
    let (tens, unit) = (n / 10 * 10, n % 10);
    let parts = if n > 20 && unit > 0 {
        vec![sound(format!("digits/{tens}")), sound(format!("digits/h-{unit}"))]
    } else {
        vec![]
    };
    Clip::either(format!("digits/h-{n}"), parts)
}
