//! Messages that were read lately.

use std::sync::Arc;

use crate::mailbox::Message;

/// Messages that were asked for lately, and more than once. Each has its place among a few, from
/// which it drives out the one that was asked for longest ago: no message ever has to wait for many
/// others to go.
pub(super) struct Cache {
    sets: Box<[Set]>,
    /// Numbers that were read lately and not kept: who goes through very many mailboxes drives
    /// nothing out, and what is let go at once costs no way through cold memory.
    once: Box<[u64]>,
}

type Set = [Option<Arc<Message>>; 4];

const SETS: usize = 2048;
const ONCE: usize = 16_384;

impl Default for Cache {
    fn default() -> Self {
        Self { sets: vec![Set::default(); SETS].into(), once: vec![0; ONCE].into() }
    }
}

impl Cache {
    pub(super) const MOST: usize = SETS * size_of::<Set>() / size_of::<Option<Arc<Message>>>();

    pub(super) fn get(&mut self, number: u64) -> Option<Arc<Message>> {
        let set = self.set(number);
        let at = place(set, number)?;
        set[..=at].rotate_right(1);
        set[0].clone()
    }

    /// Keeps what was read, where that is not the first time.
    pub(super) fn offer(&mut self, message: &Arc<Message>) {
        let once = &mut self.once[place_of(message.number, ONCE)];
        if std::mem::replace(once, message.number) == message.number {
            self.put(message.clone());
        }
    }

    pub(super) fn put(&mut self, message: Arc<Message>) {
        let set = self.set(message.number);
        let free = || set.iter().position(Option::is_none);
        let at = place(set, message.number).or_else(free).unwrap_or(set.len() - 1);
        set[at] = Some(message);
        set[..=at].rotate_right(1);
    }

    pub(super) fn remove(&mut self, number: u64) {
        let set = self.set(number);
        if let Some(at) = place(set, number) {
            set[at] = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.sets.fill(Set::default());
    }

    /// Numbers of one mailbox that follow each other lie in different sets.
    fn set(&mut self, number: u64) -> &mut Set {
        &mut self.sets[place_of(number, SETS)]
    }
}

fn place_of(number: u64, places: usize) -> usize {
    usize::try_from(number % places as u64).unwrap_or(0)
}

fn place(set: &Set, number: u64) -> Option<usize> {
    set.iter().position(|kept| kept.as_ref().is_some_and(|message| message.number == number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{MessageId, Stem};

    fn message(number: u64) -> Arc<Message> {
        let stem = Stem::found("msg0007").unwrap();
        let mailbox = "1000@sales".parse().unwrap();
        Arc::new(Message::new(MessageId::new(7, number.into()), number, mailbox, stem))
    }

    #[test]
    fn who_goes_through_many_mailboxes_drives_nothing_out() {
        let mut cache = Cache::default();
        cache.offer(&message(7));
        assert_eq!(cache.get(7), None, "read once");
        cache.offer(&message(7));
        for number in 8..500_000 {
            cache.offer(&message(number));
        }
        assert_eq!(cache.get(7).unwrap().number, 7);
        assert_eq!(cache.get(499_999), None);
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        let alike = |n: u64| n * SETS as u64 + 7;
        let mut cache = Cache::default();
        for n in 0..4 {
            cache.put(message(alike(n)));
        }
        assert_eq!(cache.get(alike(0)).unwrap().number, alike(0));
        cache.put(message(alike(4)));
        cache.put(message(8));
        let kept = |cache: &mut Cache| (0..5).filter(|n| cache.get(alike(*n)).is_some()).collect();
        assert_eq!(kept(&mut cache), [0, 2, 3, 4].to_vec());
        cache.remove(alike(2));
        cache.remove(alike(2));
        cache.put(message(alike(1)));
        cache.put(message(alike(1)));
        assert_eq!(kept(&mut cache), [0, 1, 3, 4].to_vec());
        cache.clear();
        assert_eq!((kept(&mut cache), cache.get(8)), (vec![], None));
    }
}
