//! What differs from language to language, as data: one file each.

mod de;
mod en;
mod es;
mod fr;
mod it;
mod pt;

/// The grammar of one language, as far as a voicemail speaks it.
#[derive(Debug)]
pub struct Language {
    pub code: &'static str,
    /// Where the sounds of keys at the end of a sentence are, if they say more than the digit:
    /// German `die Taste vier`.
    pub keys: Option<&'static str>,
    /// Counts that take the singular.
    pub singular: &'static [u32],
    pub message: Gender,
    pub hour: Gender,
    pub minute: Gender,
    pub second: Gender,
    /// Numbers below 100 that have a form of their own before such a noun, and the ending of its
    /// sound's name: `digits/1F`.
    pub forms: &'static [(Gender, &'static [u32], &'static str)],
    /// How packs without whole numbers build those from 21 to 99.
    pub tens: Tens,
    /// Between hundreds and the rest: Portuguese `e`.
    pub hundred_joint: Option<&'static str>,
    /// 101 to 199 begin with another word than 100: Spanish `ciento`.
    pub open_hundred: bool,
    /// A thousand is said with a `one` before it.
    pub one_thousand: bool,
    /// More than one thousand has a word of its own: Italian `mila`.
    pub thousands: &'static str,
    pub day: Day,
    /// Asterisk's date format, in which `u` is "at" and the time of day as the mailbox wants it.
    pub date: &'static str,
    /// "At one" is one sound, because "at" takes another form before it: Italian `all'una`.
    pub at_one: bool,
    /// A day of the last week, of the last month, of the last half year, and an older one.
    pub days: [&'static str; 4],
    pub clock: Clock,
    pub time_12: Time,
    pub time_24: Time,
    /// The minute 0 after an hour (`M`), and what leads minutes below ten.
    pub minute_zero: Option<&'static str>,
    pub minute_lead: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    Feminine,
    Masculine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tens {
    /// twenty one
    TensUnit,
    /// vingt et un, treinta y uno: the word between.
    TensWordUnit(&'static str),
    /// einundzwanzig: the unit with its "and" is one sound.
    UnitTens,
}

/// How a day of the month is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Ordinal,
    /// Only the first is an ordinal.
    FirstOrdinal,
}

/// Hours of the day as they are usually said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Twelve,
    TwentyFour,
}

/// A time of day, as tokens: with minutes, and on the full hour.
#[derive(Debug)]
pub struct Time {
    pub minutes: &'static str,
    pub full: &'static str,
}

/// Complete ones, English first: every other falls back to it.
pub const ALL: [&Language; 6] =
    [&en::LANGUAGE, &es::LANGUAGE, &fr::LANGUAGE, &de::LANGUAGE, &it::LANGUAGE, &pt::LANGUAGE];

/// The grammar of `pt-BR` is that of `pt`; one that we do not know is spoken as English is.
pub fn of(language: &str) -> &'static Language {
    let base = language.split(['-', '_']).next().unwrap_or("");
    ALL.into_iter().find(|known| known.code.eq_ignore_ascii_case(base)).unwrap_or(ALL[0])
}
