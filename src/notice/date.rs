//! Dates as a letter's reader writes them: weekdays and months in the language, the order of the
//! language, the clock of the mailbox's zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

struct Names {
    language: &'static str,
    /// From Sunday.
    days: [&'static str; 7],
    months: [&'static str; 12],
    format: &'static str,
}

/// `seconds` since 1970 in `zone`, by `format` (strftime; empty: as the language has it).
pub(super) fn written(seconds: i64, zone: &TimeZone, language: &str, format: &str) -> String {
    let names = names(language);
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(zone.clone());
    let day = names.days[usize::from(at.weekday().to_sunday_zero_offset().unsigned_abs()) % 7];
    let month = names.months[usize::from(at.month().unsigned_abs()).saturating_sub(1) % 12];
    let format = if format.is_empty() { names.format } else { format };
    let format = localized(format, day, month);
    // A format that means nothing is the operator's slip: the date is told all the same.
    jiff::fmt::strtime::format(&format, &at)
        .or_else(|_| jiff::fmt::strtime::format("%Y-%m-%d %H:%M", &at))
        .unwrap_or_default()
}

/// Puts the language's words where the format asks for the names of day and month.
fn localized(format: &str, day: &str, month: &str) -> String {
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let mut out = String::with_capacity(format.len() + 24);
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('A')) => out.push_str(day),
            ('%', Some('a')) => out.push_str(&short(day)),
            ('%', Some('B')) => out.push_str(month),
            ('%', Some('b' | 'h')) => out.push_str(&short(month)),
            ('%', Some(other)) => out.extend(['%', other]),
            ('%', None) => out.push_str("%%"),
            (other, _) => out.push(other),
        }
    }
    out
}

fn names(language: &str) -> &'static Names {
    let base = language.split(['-', '_']).next().unwrap_or_default();
    NAMES.iter().find(|names| names.language == base).unwrap_or(&NAMES[0])
}

const NAMES: [Names; 6] = [
    Names {
        language: "en",
        days: ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
        months: [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ],
        format: "%A, %-d %B %Y, at %H:%M",
    },
    Names {
        language: "es",
        days: ["domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"],
        months: [
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ],
        format: "%A, %-d de %B de %Y, a las %H:%M",
    },
    Names {
        language: "fr",
        days: ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        months: [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
        format: "%A %-d %B %Y à %H:%M",
    },
    Names {
        language: "de",
        days: ["Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"],
        months: [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
        format: "%A, %-d. %B %Y, %H:%M Uhr",
    },
    Names {
        language: "it",
        days: ["domenica", "lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato"],
        months: [
            "gennaio",
            "febbraio",
            "marzo",
            "aprile",
            "maggio",
            "giugno",
            "luglio",
            "agosto",
            "settembre",
            "ottobre",
            "novembre",
            "dicembre",
        ],
        format: "%A %-d %B %Y, ore %H:%M",
    },
    Names {
        language: "pt",
        days: [
            "domingo",
            "segunda-feira",
            "terça-feira",
            "quarta-feira",
            "quinta-feira",
            "sexta-feira",
            "sábado",
        ],
        months: [
            "janeiro",
            "fevereiro",
            "março",
            "abril",
            "maio",
            "junho",
            "julho",
            "agosto",
            "setembro",
            "outubro",
            "novembro",
            "dezembro",
        ],
        format: "%A, %-d de %B de %Y, às %H:%M",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_in_the_zone_and_the_words_of_its_reader() {
        let zone = TimeZone::get("Europe/Madrid").unwrap();
        for (language, format, text) in [
            ("en", "", "Tuesday, 14 November 2023, at 23:13"),
            ("es", "", "martes, 14 de noviembre de 2023, a las 23:13"),
            ("de-AT", "", "Dienstag, 14. November 2023, 23:13 Uhr"),
            ("fr", "%a %d %b", "mar 14 nov"),
            ("xx", "%I:%M %p", "11:13 PM"),
            ("en", "100 %", "100 %"),
        ] {
            assert_eq!(written(1_700_000_000, &zone, language, format), text, "{language}");
        }
        assert_eq!(written(i64::MAX, &TimeZone::UTC, "en", "%Y"), "1970");
    }
}
