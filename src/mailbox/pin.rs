//! What a PIN may be. Only digit strings: `0042` is not 42.

use std::fmt;

/// Shortest PIN that a person may choose.
pub const SHORTEST: usize = 4;
pub const LONGEST: usize = 16;
/// Length of the PINs that we draw where nobody says otherwise.
pub const DRAWN: usize = 6;
/// So many earlier PINs are not taken again.
pub const REMEMBERED: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    NotDigits,
    Length,
    OneDigit,
    Run,
    MailboxNumber,
    KeypadColumn,
    Common,
    Used,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDigits => f.write_str("a PIN has only digits"),
            Self::Length => write!(f, "a PIN has {SHORTEST} to {LONGEST} digits"),
            Self::OneDigit => f.write_str("a PIN that repeats one digit is guessed first"),
            Self::Run => f.write_str("a PIN that counts up or down is guessed first"),
            Self::MailboxNumber => f.write_str("a PIN must not be the mailbox's number"),
            Self::KeypadColumn => {
                f.write_str("a PIN that is a line on the keypad is guessed first")
            }
            Self::Used => f.write_str("this PIN was used before: take another"),
            Self::Common => f.write_str("this PIN is among those that are guessed first"),
        }
    }
}

/// Why `pin` should not protect the mailbox with this number.
pub fn weakness(pin: &str, number: &str) -> Option<Weakness> {
    let digits: Vec<i16> = pin.bytes().map(|b| i16::from(b) - i16::from(b'0')).collect();
    let steps =
        |step: i16| digits.windows(2).all(|pair| (pair[0] + step).rem_euclid(10) == pair[1]);
    if !pin.bytes().all(|b| b.is_ascii_digit()) {
        Some(Weakness::NotDigits)
    } else if !(SHORTEST..=LONGEST).contains(&pin.len()) {
        Some(Weakness::Length)
    } else if steps(0) {
        Some(Weakness::OneDigit)
    } else if steps(1) || steps(-1) {
        Some(Weakness::Run)
    } else if pin == number || (pin.len() >= SHORTEST && number.ends_with(pin)) {
        Some(Weakness::MailboxNumber)
    } else if ["2580", "0852", "1470", "0741", "3690", "0963", "147258", "258369"].contains(&pin) {
        Some(Weakness::KeypadColumn)
    } else if is_year(pin)
        || ["1212", "6969", "1004", "4321", "123123", "112233", "121212"].contains(&pin)
    {
        Some(Weakness::Common)
    } else {
        None
    }
}

/// A PIN of so many digits for a new mailbox. `chance` yields random numbers.
pub fn draw(number: &str, digits: usize, mut chance: impl FnMut() -> u64) -> String {
    loop {
        let pin: String = (0..digits.clamp(SHORTEST, LONGEST))
            .map(|_| char::from(b'0' + u8::try_from(chance() % 10).unwrap_or(0)))
            .collect();
        if weakness(&pin, number).is_none() {
            return pin;
        }
    }
}

fn is_year(pin: &str) -> bool {
    pin.len() == 4 && (pin.starts_with("19") || pin.starts_with("20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_pins_are_named() {
        let cases = [
            ("12a4", Weakness::NotDigits),
            ("123", Weakness::Length),
            ("", Weakness::Length),
            ("7777", Weakness::OneDigit),
            ("1234", Weakness::Run),
            ("8901", Weakness::Run),
            ("9876", Weakness::Run),
            ("1000", Weakness::MailboxNumber),
            ("2580", Weakness::KeypadColumn),
            ("1984", Weakness::Common),
        ];
        for (pin, why) in cases {
            assert_eq!(weakness(pin, "1000"), Some(why), "{pin}");
        }
        assert_eq!(weakness("4821", "1000"), None);
        assert_eq!(weakness("0042", "1000"), None);
    }

    #[test]
    fn a_drawn_pin_is_strong() {
        let mut n = 0u64;
        let pin = draw("1000", DRAWN, || {
            n += 7;
            n / 3
        });
        assert_eq!((pin.len(), weakness(&pin, "1000")), (6, None));
    }
}
