//! Spanish.

use super::{Clock, Day, Gender, Language, Tens, Time};

/// un mensaje, veintiún mensajes, treinta y un mensajes; una hora.
const ONES: &[u32] = &[1, 21, 31, 41, 51, 61, 71, 81, 91];

pub(super) const LANGUAGE: Language = Language {
    code: "es",
    keys: None,
    singular: &[1],
    message: Gender::Masculine,
    hour: Gender::Feminine,
    minute: Gender::Masculine,
    second: Gender::Masculine,
    forms: &[(Gender::Masculine, ONES, "M"), (Gender::Feminine, ONES, "F")],
    tens: Tens::TensWordUnit("digits/and"),
    hundred_joint: None,
    open_hundred: true,
    one_thousand: false,
    thousands: "digits/thousand",
    day: Day::FirstOrdinal,
    date: "'vm-received' q u",
    at_one: true,
    days: [
        "'digits/the' A",
        "'digits/the' A d 'digits/de' B",
        "'digits/the' d 'digits/de' B",
        "'digits/the' d 'digits/de' B 'digits/de' Y",
    ],
    clock: Clock::TwentyFour,
    time_12: Time { minutes: "I 'digits/and' M p", full: "I p" },
    time_24: Time { minutes: "k 'digits/and' M", full: "k o" },
    minute_zero: None,
    minute_lead: None,
};
