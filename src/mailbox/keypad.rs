//! Names as they are dialled by the letters on a telephone's keys (ITU-T E.161).

/// Whether one of the words of a name begins with the letters on these keys.
pub fn begins(name: &str, keys: &str) -> bool {
    !keys.is_empty()
        && name.split(|c: char| c.is_whitespace() || c == '-' || c == ',').any(|word| {
            let mut dialled = word.chars().filter_map(key);
            keys.chars().all(|wanted| dialled.next() == Some(wanted))
        })
}

/// A letter with a mark is on the key of its letter; what is no letter is left out.
fn key(letter: char) -> Option<char> {
    let letter = letter.to_lowercase().next()?;
    Some(match letter {
        'a'..='c' | 'à'..='æ' | 'ç' | 'ā' | 'ă' | 'ą' | 'ć' | 'č' => '2',
        'd'..='f' | 'è'..='ë' | 'ð' | 'ď' | 'đ' | 'ē' | 'ę' | 'ě' => '3',
        'g'..='i' | 'ì'..='ï' | 'ğ' | 'ī' | 'ı' => '4',
        'j'..='l' | 'ł' => '5',
        'm'..='o' | 'ñ' | 'ò'..='ö' | 'ø' | 'ń' | 'ň' | 'ō' | 'ő' | 'œ' => '6',
        'p'..='s' | 'ß' | 'ř' | 'ś' | 'ş' | 'š' => '7',
        't'..='v' | 'ù'..='ü' | 'ť' | 'ū' | 'ů' | 'ű' => '8',
        'w'..='z' | 'ý' | 'ÿ' | 'ź' | 'ż' | 'ž' => '9',
        digit @ '0'..='9' => digit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_names_are_found_and_marks_do_not_matter() {
        for (name, keys, found) in [
            ("Ada Lovelace", "232", true),
            ("Ada Lovelace", "568", true),
            ("Ada Lovelace", "569", false),
            ("Jürgen Müller-Lüdenscheidt", "583", true),
            ("Jürgen Müller", "685", true),
            ("Ed", "336", false),
            ("O'Brien", "627", true),
            ("", "222", false),
            ("Ada", "", false),
        ] {
            assert_eq!(begins(name, keys), found, "{name} {keys}");
        }
    }
}
