//! German.

use super::{Clock, Day, Gender, Language, Tens, Time};

pub(super) const LANGUAGE: Language = Language {
    code: "de",
    keys: Some("keys"),
    singular: &[1],
    message: Gender::Feminine,
    // ein Uhr
    hour: Gender::Masculine,
    minute: Gender::Feminine,
    second: Gender::Feminine,
    forms: &[(Gender::Feminine, &[1], "F"), (Gender::Masculine, &[1], "M")],
    tens: Tens::UnitTens,
    hundred_joint: None,
    open_hundred: false,
    one_thousand: false,
    thousands: "digits/thousand",
    day: Day::Ordinal,
    date: "'vm-received' q u",
    at_one: false,
    days: [
        "'digits/am' A",
        "'digits/am' A 'digits/den' d B",
        "'digits/am' d B",
        "'digits/am' d B Y",
    ],
    clock: Clock::TwentyFour,
    time_12: Time { minutes: "I 'digits/oclock' M p", full: "I 'digits/oclock' p" },
    time_24: Time { minutes: "k 'digits/oclock' M", full: "k 'digits/oclock'" },
    minute_zero: None,
    minute_lead: None,
};
