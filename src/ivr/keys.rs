//! Which key does what, in every menu: Asterisk's keys, and a site's own on top of them.

mod table;
mod words;

use std::collections::BTreeMap;

use crate::say::Prompt;
use table::exits;
pub use table::{DEFAULT, Place};
pub use words::{ACTS, Act};
use words::{Words, composite, words};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Every menu tells its keys.
    #[default]
    Full,
    /// For those who know them: menus tell their keys only when asked.
    Short,
}

/// The keys of all menus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    pub style: Style,
    keys: BTreeMap<(Place, char), Act>,
}

impl Default for KeyMap {
    fn default() -> Self {
        let keys = DEFAULT
            .iter()
            .flat_map(|(place, keys)| keys.iter().map(|(key, act)| ((*place, *key), *act)))
            .collect();
        Self { style: Style::Full, keys }
    }
}

impl KeyMap {
    /// A site's keys on top of the usual ones: menu, key, and what it does; `none` frees a key.
    /// All that cannot work is told.
    pub fn new(
        style: Style,
        wishes: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Self, Vec<String>> {
        let mut map = Self { style, ..Self::default() };
        let mut problems = vec![];
        for (menu, keys) in wishes {
            let Some(place) = Place::ALL.into_iter().find(|place| place.name() == menu) else {
                problems.push(format!("there is no menu `{}`", menu.escape_debug()));
                continue;
            };
            // First what is freed, so that two keys can change places.
            for key in keys.keys() {
                map.keys.retain(|(of, known), _| *of != place || known.to_string() != *key);
            }
            for (key, act) in keys {
                if let Err(why) = map.bind(place, key, act) {
                    problems.push(format!("{menu}: {why}"));
                }
            }
        }
        problems.extend(map.problems());
        if problems.is_empty() { Ok(map) } else { Err(problems) }
    }

    fn bind(&mut self, place: Place, key: &str, act: &str) -> Result<(), String> {
        let mut keys = key.chars();
        let known = keys.next().filter(|key| KEYS.contains(*key) && keys.next().is_none());
        let key = known.ok_or_else(|| format!("`{}` is no key", key.escape_debug()))?;
        if act == "none" {
            return Ok(());
        }
        let possible = possible(place);
        let wanted = possible.iter().find(|possible| words(**possible).name == act);
        let Some(act) = wanted else {
            let known: Vec<_> = possible.iter().map(|act| words(*act).name).collect();
            return Err(format!(
                "`{}` means nothing there: write one of {}, or none",
                act.escape_debug(),
                known.join(", ")
            ));
        };
        // It moves from the key that it has: one key for each deed.
        self.keys.retain(|(of, _), known| of != &place || known != act);
        self.keys.insert((place, key), *act);
        Ok(())
    }

    /// Menus that one could not leave, and deeds that no key does any more.
    fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        for place in Place::ALL {
            for act in exits(place).iter().filter(|act| self.key(place, **act).is_none()) {
                let (menu, name) = (place.name(), words(*act).name);
                problems.push(format!("{menu}: no key is left for {name}"));
            }
        }
        problems
    }

    pub fn act(&self, place: Place, key: char) -> Option<Act> {
        self.keys.get(&(place, key)).copied()
    }

    pub fn key(&self, place: Place, act: Act) -> Option<char> {
        let act = act.done_by();
        self.keys.iter().find(|((of, _), known)| *of == place && **known == act).map(|(at, _)| at.1)
    }

    /// Tells the keys of these deeds, in this order.
    pub(super) fn offer(&self, place: Place, acts: &[Act]) -> Vec<Prompt> {
        let mut said = vec![];
        let mut rest = acts;
        while let [first, others @ ..] = rest {
            let whole = composite(rest).filter(|(acts, _)| {
                acts.iter().all(|act| self.key(place, *act) == usual(place, *act))
            });
            if let Some((acts, name)) = whole {
                let parts = acts.iter().flat_map(|act| self.tell(place, *act)).collect();
                said.push(Prompt::Either(name, parts));
                rest = &rest[acts.len()..];
            } else {
                said.extend(self.tell(place, *first));
                rest = others;
            }
        }
        said
    }

    fn tell(&self, place: Place, act: Act) -> Vec<Prompt> {
        let Some(key) = self.key(place, act) else { return vec![] };
        let Words { sound, whole, .. } = words(act);
        if sound.is_empty() {
            return vec![];
        }
        let parts = vec![Prompt::Sound(sound), Prompt::Key(key)];
        match whole {
            Some(whole) if usual(place, act) == Some(key) => vec![Prompt::Either(whole, parts)],
            Some(_) | None => parts,
        }
    }

    /// As a configuration would write them all.
    pub fn names(&self) -> String {
        let mut names = String::new();
        for place in Place::ALL {
            let keys = self.keys.iter().filter(|((of, _), _)| *of == place);
            let keys: Vec<String> = keys
                .map(|((_, key), act)| format!("\"{key}\" = \"{}\"", words(*act).name))
                .collect();
            names += &format!("{} = {{ {} }}\n", place.name(), keys.join(", "));
        }
        names
    }

    /// Every key in every menu, for a printed card.
    pub fn card(&self) -> String {
        let mut card = String::new();
        for place in Place::ALL {
            card += &format!("\n{}\n", place.title());
            let keys = self.keys.iter().filter(|((of, _), _)| *of == place);
            for ((_, key), act) in keys {
                card += &format!("  {key}  {}\n", words(*act).card);
            }
            if let Some(more) = place.note() {
                card += &format!("     {more}\n");
            }
        }
        card += ENTERING;
        card.trim_start().to_owned()
    }
}

/// Asterisk's key for this.
fn usual(place: Place, act: Act) -> Option<char> {
    let (_, keys) = DEFAULT.iter().find(|(of, _)| *of == place)?;
    keys.iter().find(|(_, known)| *known == act.done_by()).map(|(key, _)| *key)
}

/// All that a menu can do.
fn possible(place: Place) -> Vec<Act> {
    let usual = DEFAULT.iter().filter(|(of, _)| *of == place).flat_map(|(_, keys)| *keys);
    usual.map(|(_, act)| *act).collect()
}

/// Keys that make a number are the same everywhere.
const ENTERING: &str = "
While a number, a PIN or the letters of a name are entered
  #  that is all
  *  enter it again; before anything else: cancel
";

/// What a telephone has.
const KEYS: &str = "0123456789*#ABCD";

#[cfg(test)]
mod tests {
    use super::*;

    fn map(wishes: &[(&str, &str, &str)]) -> Result<KeyMap, Vec<String>> {
        let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (menu, key, act) in wishes {
            all.entry((*menu).into()).or_default().insert((*key).into(), (*act).into());
        }
        KeyMap::new(Style::Full, &all)
    }

    #[test]
    fn the_usual_keys_work_and_no_key_means_two_things() {
        assert_eq!(map(&[]), Ok(KeyMap::default()));
        for (place, keys) in DEFAULT {
            let mut seen: Vec<char> = keys.iter().map(|(key, _)| *key).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), keys.len(), "{place:?}");
        }
    }

    #[test]
    fn every_deed_has_a_name_of_its_own() {
        let mut names: Vec<_> = ACTS.iter().map(|(_, words)| words.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTS.len());
    }

    #[test]
    fn a_key_moves_and_the_others_stay() {
        let map = map(&[("message", "1", "next"), ("message", "6", "none")]).unwrap();
        assert_eq!(map.act(Place::Message, '1'), Some(Act::Next));
        assert_eq!(map.act(Place::Message, '6'), None);
        assert_eq!(map.act(Place::Message, '7'), Some(Act::Delete));
        assert_eq!(map.key(Place::Message, Act::Undelete), Some('7'));
    }

    #[test]
    fn two_keys_change_places() {
        let map = map(&[("message", "4", "next"), ("message", "6", "previous")]).unwrap();
        assert_eq!(map.act(Place::Message, '4'), Some(Act::Next));
        assert_eq!(map.act(Place::Message, '6'), Some(Act::Previous));
    }

    #[test]
    fn what_cannot_work_is_told() {
        for (wish, why) in [
            (("mesage", "1", "next"), "there is no menu"),
            (("message", "12", "next"), "is no key"),
            (("message", "1", "fly"), "means nothing there"),
            (("message", "#", "next"), "no key is left for exit"),
            (("folders", "#", "none"), "no key is left for cancel"),
        ] {
            let told = map(&[wish]).unwrap_err();
            assert!(told.iter().any(|line| line.contains(why)), "{wish:?}: {told:?}");
        }
    }

    #[test]
    fn the_card_names_every_key() {
        let card = KeyMap::default().card();
        for (place, keys) in DEFAULT {
            assert!(card.contains(place.title()), "{place:?}");
            for (key, act) in *keys {
                let line = format!("  {key}  {}\n", words(*act).card);
                assert!(card.contains(&line), "{line}");
            }
        }
    }
}
