//! Portuguese, as in Brazil.

use super::{Clock, Day, Gender, Language, Tens, Time};

/// uma mensagem, duas mensagens, vinte e uma mensagens.
const FEMININE: &[u32] = &[1, 2, 21, 22, 31, 32, 41, 42, 51, 52, 61, 62, 71, 72, 81, 82, 91, 92];

pub(super) const LANGUAGE: Language = Language {
    code: "pt",
    keys: None,
    singular: &[1],
    message: Gender::Feminine,
    hour: Gender::Feminine,
    minute: Gender::Masculine,
    second: Gender::Masculine,
    forms: &[(Gender::Feminine, FEMININE, "F")],
    tens: Tens::TensWordUnit("digits/and"),
    hundred_joint: Some("digits/and"),
    open_hundred: true,
    one_thousand: false,
    thousands: "digits/thousand",
    day: Day::FirstOrdinal,
    date: "'vm-received' q u",
    at_one: true,
    days: [
        "A",
        "A d 'digits/de' B",
        "'digits/em' d 'digits/de' B",
        "'digits/em' d 'digits/de' B 'digits/de' Y",
    ],
    clock: Clock::TwentyFour,
    time_12: Time { minutes: "I 'digits/and' M p", full: "I o p" },
    time_24: Time { minutes: "k o 'digits/and' M", full: "k o" },
    minute_zero: None,
    minute_lead: None,
};
