//! French.

use super::{Clock, Day, Gender, Language, Tens, Time};

pub(super) const LANGUAGE: Language = Language {
    code: "fr",
    keys: None,
    // zéro message, un message, deux messages.
    singular: &[0, 1],
    message: Gender::Masculine,
    hour: Gender::Feminine,
    minute: Gender::Feminine,
    second: Gender::Feminine,
    forms: &[(Gender::Feminine, &[1, 21, 31, 41, 51, 61], "F")],
    tens: Tens::TensWordUnit("digits/et"),
    hundred_joint: None,
    open_hundred: false,
    one_thousand: false,
    thousands: "digits/thousand",
    day: Day::FirstOrdinal,
    date: "'vm-received' q u",
    at_one: false,
    days: ["A", "A d B", "'digits/le' d B", "'digits/le' d B Y"],
    clock: Clock::TwentyFour,
    time_12: Time { minutes: "I o n p", full: "I o p" },
    time_24: Time { minutes: "k o n", full: "k o" },
    minute_zero: None,
    minute_lead: None,
};
