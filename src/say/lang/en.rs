//! English, as in America.

use super::{Clock, Day, Gender, Language, Tens, Time};

pub(super) const LANGUAGE: Language = Language {
    code: "en",
    keys: None,
    singular: &[1],
    message: Gender::Masculine,
    hour: Gender::Masculine,
    minute: Gender::Masculine,
    second: Gender::Masculine,
    forms: &[],
    tens: Tens::TensUnit,
    hundred_joint: None,
    open_hundred: false,
    one_thousand: true,
    thousands: "digits/thousand",
    day: Day::Ordinal,
    date: "'vm-received' q u",
    at_one: false,
    days: ["A", "A B d", "B d", "B d Y"],
    clock: Clock::Twelve,
    time_12: Time { minutes: "I M p", full: "I p" },
    time_24: Time { minutes: "H N", full: "H 'digits/hundred-hours'" },
    minute_zero: Some("digits/oclock"),
    minute_lead: Some("digits/oh"),
};
