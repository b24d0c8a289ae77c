//! Numbers, by whole recordings up to 99 and by parts above.

use super::lang::{Gender, Language, Tens};
use super::{Clip, sound};

impl Language {
    /// As it is counted, or as it stands before a noun of this gender.
    pub(super) fn number(&self, n: u32, before: Option<Gender>) -> Vec<Clip> {
        match n {
            0..100 => vec![self.below_hundred(n, before)],
            100..1_000 => self.hundreds(n, before),
            1_000..1_000_000 => self.thousands(n, before),
            // Nothing that is counted here is as many.
            _ => super::spelled(&n.to_string()),
        }
    }

    fn below_hundred(&self, n: u32, before: Option<Gender>) -> Clip {
        // Something follows every number: the voice stays up.
        let plain = match n {
            0..10 => Clip::either(format!("digits/mid-{n}"), vec![sound(format!("digits/{n}"))]),
            _ => Clip::either(format!("digits/{n}"), self.parts(n)),
        };
        let form = before.and_then(|gender| {
            self.forms.iter().find(|(of, numbers, _)| *of == gender && numbers.contains(&n))
        });
        match form {
            Some((.., ending)) => Clip::either(format!("digits/{n}{ending}"), vec![plain]),
            None => plain,
        }
    }

    /// What packs have that record no whole numbers.
    fn parts(&self, n: u32) -> Vec<Clip> {
        let (tens, unit) = (n / 10 * 10, n % 10);
        if n <= 20 || unit == 0 {
            return vec![];
        }
        let (tens_sound, unit_sound) =
            (sound(format!("digits/{tens}")), sound(format!("digits/{unit}")));
        match self.tens {
            Tens::TensUnit => vec![tens_sound, unit_sound],
            Tens::TensWordUnit(word) => vec![tens_sound, sound(word), unit_sound],
            Tens::UnitTens => vec![sound(format!("digits/{unit}-and")), tens_sound],
        }
    }

    fn hundreds(&self, n: u32, before: Option<Gender>) -> Vec<Clip> {
        let (hundred, rest) = (n / 100, n % 100);
        let name = if hundred == 1 && rest > 0 && self.open_hundred {
            "digits/100-and".to_owned()
        } else {
            format!("digits/{hundred}00")
        };
        let parts = vec![sound(format!("digits/{hundred}")), sound("digits/hundred")];
        let mut clips = vec![Clip::either(name, parts)];
        if rest > 0 {
            clips.extend(self.hundred_joint.map(sound));
            clips.push(self.below_hundred(rest, before));
        }
        clips
    }

    fn thousands(&self, n: u32, before: Option<Gender>) -> Vec<Clip> {
        let (thousand, rest) = (n / 1_000, n % 1_000);
        let mut clips = match thousand {
            1 if self.one_thousand => vec![self.below_hundred(1, None), sound("digits/thousand")],
            1 => vec![sound("digits/thousand")],
            _ => {
                let mut clips = self.number(thousand, None);
                clips.push(sound(self.thousands));
                clips
            }
        };
        if rest > 0 {
            // mil e vinte, mil duzentos e vinte
            clips.extend(self.hundred_joint.filter(|_| rest < 100).map(sound));
            clips.extend(self.number(rest, before));
        }
        clips
    }

    /// "three messages": the number and its noun, of which there are two recordings.
    pub(super) fn counted(&self, n: u32, gender: Gender, [one, many]: [Clip; 2]) -> Vec<Clip> {
        let mut clips = self.number(n, Some(gender));
        clips.push(if self.singular.contains(&n) { one } else { many });
        clips
    }
}
