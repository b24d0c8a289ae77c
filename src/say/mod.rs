//! What is said, free of any language; and how one language says it.
//!
//! A sound's name is Asterisk's, so that a sound pack made for Asterisk fits.

use crate::mailbox::greeting::Greeting;

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// One recorded sound, by its name below `sounds/<language>/`.
    Sound(&'static str),
    /// A number spelled one character after the other.
    Digits(String),
    /// The owner's own recording.
    Greeting(Greeting),
}

/// A recording to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clip {
    /// Below `sounds/<language>/`, without extension.
    Sound(String),
    Greeting(Greeting),
}

/// The recordings that say `prompts`, in their order.
pub fn clips(prompts: &[Prompt]) -> Vec<Clip> {
    let mut clips = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        match prompt {
            Prompt::Sound(name) => clips.push(Clip::Sound((*name).into())),
            Prompt::Digits(text) => {
                clips.extend(text.chars().filter_map(character).map(Clip::Sound));
            }
            Prompt::Greeting(greeting) => clips.push(Clip::Greeting(*greeting)),
        }
    }
    clips
}

fn character(c: char) -> Option<String> {
    match c.to_ascii_lowercase() {
        digit @ '0'..='9' => Some(format!("digits/{digit}")),
        '*' => Some("digits/star".into()),
        '#' => Some("digits/pound".into()),
        letter @ 'a'..='z' => Some(format!("letters/{letter}")),
        '-' => Some("letters/dash".into()),
        '+' => Some("letters/plus".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_spelled_as_it_is_dialled() {
        let spelled = clips(&[Prompt::Sound("vm-theperson"), Prompt::Digits("0b+#é".into())]);
        let names: Vec<_> = spelled
            .iter()
            .map(|clip| match clip {
                Clip::Sound(name) => name.as_str(),
                Clip::Greeting(greeting) => greeting.stem(),
            })
            .collect();
        assert_eq!(
            names,
            ["vm-theperson", "digits/0", "letters/b", "letters/plus", "digits/pound"]
        );
    }
}
