//! Italian.

use super::{Clock, Day, Gender, Language, Tens, Time};

pub(super) const LANGUAGE: Language = Language {
    code: "it",
    keys: None,
    singular: &[1],
    message: Gender::Masculine,
    hour: Gender::Feminine,
    minute: Gender::Masculine,
    second: Gender::Masculine,
    // un messaggio; l'una
    forms: &[(Gender::Masculine, &[1], "M"), (Gender::Feminine, &[1], "F")],
    tens: Tens::TensUnit,
    hundred_joint: None,
    open_hundred: false,
    one_thousand: false,
    thousands: "digits/thousands",
    day: Day::FirstOrdinal,
    date: "'vm-received' q u",
    at_one: true,
    days: ["A", "A d B", "d B", "d B Y"],
    clock: Clock::TwentyFour,
    time_12: Time { minutes: "I 'digits/and' M p", full: "I p" },
    time_24: Time { minutes: "k 'digits/and' M", full: "k" },
    minute_zero: None,
    minute_lead: None,
};
