//! Who the messages are that were seen in a mailbox: ours, another program's, or copies.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{Met, News, Pair, is_at};
use crate::mailbox::{Folder, MailboxId, Message, MessageId, Stem};
use crate::spool::index::Known;
use crate::spool::scan::milliseconds;
use crate::spool::{Error, Spool, fresh_id};
use crate::state::Counter;

/// Where it is found out who the messages of one mailbox are.
pub(super) struct Desk<'a> {
    pub spool: &'a Spool,
    pub mailbox: &'a MailboxId,
    pub owner: String,
    /// Numbers of messages that are found in this look.
    pub claimed: BTreeSet<u64>,
    /// Places that hold something other than they did.
    pub changed: HashSet<(Folder, Stem)>,
    pub news: Vec<News>,
}

impl Desk<'_> {
    /// Messages of ours in a tree that is read for the first time. Those that are left are copies.
    pub async fn first(&mut self, own: Vec<Pair>, met: &mut Met) -> Result<Vec<Pair>, Error> {
        let mut copies = vec![];
        for pair in own {
            let Some((id, number)) = pair.own() else { continue };
            let is_copy = !met.copies.is_empty()
                && met.copies.contains(&format!("{} {}", self.owner, pair.copy_key(id)));
            if is_copy || !met.ids.insert(id) {
                copies.push(pair.named_as_copy_of(id));
                continue;
            }
            let number = if met.numbers.insert(number) {
                number
            } else {
                self.spool.own_number(&self.owner, id).await?
            };
            met.highest = met.highest.max(number);
            self.news(&pair, (id, number), None);
        }
        Ok(copies)
    }

    /// Messages of ours. Those that are left are copies.
    pub async fn own(&mut self, own: Vec<Pair>, known: &[Known]) -> Result<Vec<Pair>, Error> {
        let claims: Vec<(MessageId, u64)> = own.iter().filter_map(Pair::own).collect();
        let ids: Vec<MessageId> = claims.iter().map(|(id, _)| *id).collect();
        let numbers: Vec<u64> = claims.iter().map(|(_, number)| *number).collect();
        let index = &self.spool.0.index;
        let existing: HashMap<MessageId, Arc<Message>> =
            index.by_ids(&ids).await?.into_iter().map(|message| (message.id, message)).collect();
        let taken = index.taken(&numbers).await?;
        let lay: HashMap<(&Folder, &Stem), MessageId> =
            known.iter().map(|known| ((&known.folder, &known.stem), known.id)).collect();
        let mut copies = vec![];
        let mut here = HashSet::new();
        // Who has stayed where he was goes before who may be his copy.
        let stayed = |pair: &Pair| {
            let before = pair.own().and_then(|(id, _)| existing.get(&id));
            before.is_some_and(|before| is_at(before, self.mailbox, (&pair.folder, &pair.stem)))
        };
        let (mut pairs, others): (Vec<Pair>, Vec<Pair>) = own.into_iter().partition(stayed);
        pairs.extend(others);
        for pair in pairs {
            let Some((id, number)) = pair.own() else { continue };
            let before = lay.get(&(&pair.folder, &pair.stem));
            let was_copy = before.is_some_and(|before| *before != id)
                && self.spool.0.state.is_foreign(&self.owner, &pair.copy_key(id)).await?;
            let existing = existing.get(&id);
            let is_it = existing.is_none_or(|existing| {
                !self.claimed.contains(&existing.number) && self.may_be(existing, &pair)
            });
            if was_copy || !is_it || !here.insert(id) {
                copies.push(pair.named_as_copy_of(id));
                continue;
            }
            let number = match existing {
                Some(existing) => existing.number,
                None if taken.contains(&number) || self.claimed.contains(&number) => {
                    self.spool.own_number(&self.owner, id).await?
                }
                None => number,
            };
            self.spool.0.state.given(Counter::Message, number).await?;
            self.news(&pair, (id, number), existing.cloned());
        }
        Ok(copies)
    }

    /// Gives other programs' messages, and copies of ours, their ids and numbers: the same ones at
    /// every look. Those that are alike in everything are told apart by their order.
    pub async fn named(&mut self, mut strangers: Vec<Pair>) -> Result<(), Error> {
        let mut asked: HashMap<String, usize> = HashMap::new();
        while !strangers.is_empty() {
            strangers.retain(|pair| asked.get(&pair.key).is_none_or(|&turn| turn < ALIKE));
            let mut keys = vec![];
            for pair in &strangers {
                let turn = asked.entry(pair.key.clone()).or_default();
                let key =
                    if *turn == 0 { pair.key.clone() } else { format!("{}#{turn}", pair.key) };
                *turn += 1;
                keys.push((key, fresh_id(milliseconds(pair.fallback.received))?.to_string()));
            }
            let offers = self.offers(&strangers, &keys).await?;
            strangers = self.take_up(strangers, offers);
        }
        Ok(())
    }

    /// Who messages of these keys are, in the order of the pairs that ask.
    async fn offers(&self, pairs: &[Pair], keys: &[(String, String)]) -> Result<Offers, Error> {
        let ids = self.spool.0.state.foreign_ids(&self.owner, keys).await?;
        let parsed: Vec<MessageId> = ids.iter().filter_map(|(id, _)| id.parse().ok()).collect();
        let existing = self.spool.0.index.by_ids(&parsed).await?;
        let existing: HashMap<MessageId, Arc<Message>> =
            existing.into_iter().map(|message| (message.id, message)).collect();
        let mut offers = Offers::new();
        for (pair, (id, number)) in pairs.iter().zip(ids) {
            let Ok(id) = id.parse::<MessageId>() else { continue };
            let existing = existing.get(&id).cloned();
            let number = existing.as_ref().map_or(number, |existing| existing.number);
            offers.entry(pair.key.clone()).or_default().push_back(((id, number), existing));
        }
        Ok(offers)
    }

    /// Who lies where it did is who it was; the others are, in their order, those that lie nowhere
    /// any more, or are new. Gives back whom nothing was left for.
    fn take_up(&mut self, pairs: Vec<Pair>, mut offers: Offers) -> Vec<Pair> {
        let places: HashSet<_> = pairs.iter().map(|p| (&p.key, &p.folder, &p.stem)).collect();
        let mut here = HashMap::new();
        for (key, offers) in &mut offers {
            offers.retain(|(own, existing)| {
                if self.claimed.contains(&own.1) {
                    return false;
                }
                let Some(message) = existing else { return true };
                let place = (key, &message.folder, &message.stem);
                if message.mailbox == *self.mailbox && places.contains(&place) {
                    let place = (message.folder.clone(), message.stem.clone());
                    here.insert(place, (*own, Arc::clone(message)));
                    return false;
                }
                self.is_free(message)
            });
        }
        let mut left = vec![];
        for pair in pairs {
            match here.remove(&(pair.folder.clone(), pair.stem.clone())) {
                Some((own, message)) => self.news(&pair, own, Some(message)),
                None => left.push(pair),
            }
        }
        left.retain(|pair| {
            let offer = offers.get_mut(&pair.key).and_then(VecDeque::pop_front);
            let is_left = offer.is_none();
            if let Some((own, existing)) = offer {
                self.news(pair, own, existing);
            }
            is_left
        });
        left
    }

    /// Whether a known message may be what lies here now: it did already, or is not where it was.
    fn may_be(&self, existing: &Message, pair: &Pair) -> bool {
        is_at(existing, self.mailbox, (&pair.folder, &pair.stem)) || self.is_free(existing)
    }

    /// Whether a known message is no more where it was.
    fn is_free(&self, existing: &Message) -> bool {
        let place = (existing.folder.clone(), existing.stem.clone());
        (existing.mailbox == *self.mailbox && self.changed.contains(&place))
            || !self.spool.exists(existing)
    }

    fn news(&mut self, pair: &Pair, own: (MessageId, u64), was: Option<Arc<Message>>) {
        let place = (self.mailbox, &pair.folder, pair.stem.clone());
        let message = Arc::new(pair.fields.message(own, place, &pair.fallback));
        self.claimed.insert(own.1);
        self.news.push((was, message, pair.seen));
    }
}

/// Ids and numbers for messages of a key, and what is known under them.
type Offers = HashMap<String, VecDeque<((MessageId, u64), Option<Arc<Message>>)>>;

/// Messages of one mailbox that may be alike in everything.
const ALIKE: usize = 100_000;
