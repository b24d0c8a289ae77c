//! Which messages of a mailbox are asked for, and in which order.

use crate::mailbox::{Folder, Message};

/// Which messages, in which order. Times are Unix seconds, both inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// None named: all folders.
    pub folders: Vec<Folder>,
    /// Where none is named: these are left out.
    pub except: Vec<Folder>,
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub heard: Option<bool>,
    pub urgent: Option<bool>,
    /// Words, of which each begins a word of the caller's name or the transcript, or stands in the
    /// caller's number.
    pub text: Option<String>,
    pub order: Order,
    /// The order turned round, whatever it is.
    pub newest_first: bool,
    pub skip: usize,
    pub limit: Option<usize>,
}

/// What is least comes first; what is equal lies by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Received,
    Number,
    Duration,
}

/// What memory knows of a message: enough to put it in order, without a look at the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    pub number: u64,
    /// Unix seconds.
    pub received: i64,
    pub folder: Folder,
    pub heard: bool,
    pub urgent: bool,
}

/// What is searched for, word by word.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(MOST_WORDS).map(str::to_lowercase).collect()
}

const MOST_WORDS: usize = 16;

/// Whether a message says every word.
pub(super) fn says(message: &Message, words: &[String]) -> bool {
    let caller = &message.envelope.caller;
    let said = format!("{} {}", caller.name, message.transcript).to_lowercase();
    words.iter().all(|word| {
        said.split(|c: char| !c.is_alphanumeric()).any(|other| other.starts_with(word))
            || caller.number.contains(word)
    })
}
