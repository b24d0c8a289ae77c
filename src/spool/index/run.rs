//! Messages in the order of their arrival, 24 bytes each: pages and counts without a database.
//!
//! A run is cut into chunks, each of which knows how many messages of each kind it holds: a page
//! far down skips whole chunks, and a change touches one.

use std::cmp::Ordering;

/// What order and counts need to know of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// 40 bits of seconds, 16 of the folder, 8 of marks.
    head: u64,
    pub(super) number: u64,
    pub(super) millis: u32,
    pub(super) bytes: u32,
}

pub(super) const HEARD: u8 = 1;
pub(super) const URGENT: u8 = 2;

const LATEST: i64 = (1 << 40) - 1;

impl Entry {
    pub(super) fn new(
        (received, number): (i64, u64),
        (folder, marks): (u16, u8),
        (millis, bytes): (u128, u64),
    ) -> Self {
        let received = received.clamp(0, LATEST).unsigned_abs();
        Self {
            head: received << 24 | u64::from(folder) << 8 | u64::from(marks),
            number,
            millis: u32::try_from(millis).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn received(self) -> i64 {
        i64::try_from(self.head >> 24).unwrap_or(LATEST)
    }

    pub(super) fn folder(self) -> u16 {
        (self.head >> 8 & 0xffff) as u16
    }

    pub(super) fn marks(self) -> u8 {
        (self.head & 0xff) as u8
    }

    pub(super) fn is(self, mark: u8) -> bool {
        self.marks() & mark != 0
    }

    fn place(self) -> (u64, u64) {
        (self.head >> 24, self.number)
    }

    pub(super) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.head.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.millis.to_be_bytes());
        bytes[20..].copy_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (millis, rest) = rest.split_first_chunk()?;
        Some(Self {
            head: u64::from_be_bytes(*head),
            number: u64::from_be_bytes(*number),
            millis: u32::from_be_bytes(*millis),
            bytes: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// Folders below this have a meaning; all others count as one kind.
pub(super) const NAMED: u16 = 8;
const KINDS: usize = (NAMED as usize + 1) * 4;

fn kind(entry: Entry) -> usize {
    usize::from(entry.folder().min(NAMED)) * 4 + usize::from(entry.marks() & (HEARD | URGENT))
}

/// Which entries are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// `None`: all.
    pub(super) folders: Option<Vec<u16>>,
    pub(super) heard: Option<bool>,
    pub(super) urgent: Option<bool>,
    pub(super) from: i64,
    pub(super) to: i64,
    /// Only these numbers, sorted.
    pub(super) among: Option<Vec<u64>>,
}

impl Wish {
    fn wants(&self, entry: Entry) -> bool {
        self.folders.as_ref().is_none_or(|folders| folders.contains(&entry.folder()))
            && self.heard.is_none_or(|heard| heard == entry.is(HEARD))
            && self.urgent.is_none_or(|urgent| urgent == entry.is(URGENT))
            && (self.from..=self.to).contains(&entry.received())
            && self.among.as_ref().is_none_or(|among| among.binary_search(&entry.number).is_ok())
    }

    /// For each kind whether it is wanted as a whole; `None` where only a look at each entry tells.
    fn kinds(&self) -> Option<[bool; KINDS]> {
        let special = |folders: &Vec<u16>| folders.iter().any(|folder| *folder >= NAMED);
        if self.among.is_some() || self.folders.as_ref().is_some_and(special) {
            return None;
        }
        let mut wanted = [false; KINDS];
        for (at, wanted) in wanted.iter_mut().enumerate() {
            let folder = u16::try_from(at / 4).unwrap_or(NAMED);
            let marks = u8::try_from(at % 4).unwrap_or(0);
            let example = Entry::new((self.from.max(0), 0), (folder, marks), (0, 0));
            let everywhere = Self { from: i64::MIN, to: i64::MAX, ..self.clone() };
            *wanted = everywhere.wants(example);
        }
        Some(wanted)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Received,
    Number,
    Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) by: By,
    pub(super) backwards: bool,
    pub(super) skip: usize,
    pub(super) limit: usize,
}

#[derive(Debug, Default)]
pub(super) struct Run {
    chunks: Vec<Chunk>,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    kinds: [u16; KINDS],
}

/// Entries of a chunk; a full one is cut in two.
const MOST: usize = 512;

impl Chunk {
    fn of(entries: Vec<Entry>) -> Self {
        let mut kinds = [0; KINDS];
        for entry in &entries {
            kinds[kind(*entry)] += 1;
        }
        Self { entries, kinds }
    }

    fn first(&self) -> (u64, u64) {
        self.entries.first().map_or((0, 0), |entry| entry.place())
    }

    /// Whether all of it lies within the times.
    fn is_within(&self, wish: &Wish) -> bool {
        let ends = (self.entries.first(), self.entries.last());
        matches!(ends, (Some(first), Some(last))
            if first.received() >= wish.from && last.received() <= wish.to)
    }

    fn is_outside(&self, wish: &Wish) -> bool {
        let ends = (self.entries.first(), self.entries.last());
        matches!(ends, (Some(first), Some(last))
            if last.received() < wish.from || first.received() > wish.to)
    }

    fn wanted(&self, kinds: &[bool; KINDS]) -> usize {
        let wanted = self.kinds.iter().zip(kinds).filter(|(_, wanted)| **wanted);
        wanted.map(|(count, _)| usize::from(*count)).sum()
    }
}

impl Run {
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.place());
        let len = entries.len();
        let chunks = entries.chunks(MOST * 3 / 4).map(|part| Chunk::of(part.to_vec())).collect();
        Self { chunks, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter().copied())
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.len += 1;
        let place = entry.place();
        let at = self.chunks.partition_point(|chunk| chunk.first() <= place).saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Chunk::of(vec![entry]));
            return;
        };
        let within = chunk.entries.partition_point(|other| other.place() <= place);
        chunk.entries.insert(within, entry);
        chunk.kinds[kind(entry)] += 1;
        if chunk.entries.len() >= MOST {
            // What arrives last is cut off: a growing run then has full chunks.
            let keep = if within + 1 == MOST { MOST - 1 } else { MOST / 2 };
            let rest = chunk.entries.split_off(keep);
            *chunk = Chunk::of(std::mem::take(&mut chunk.entries));
            self.chunks.insert(at + 1, Chunk::of(rest));
        }
    }

    /// Takes out the entry of this time and number, as it was put in.
    pub(super) fn remove(&mut self, entry: Entry) -> Option<Entry> {
        let place = entry.place();
        let at = self.chunks.partition_point(|chunk| chunk.first() <= place).saturating_sub(1);
        let chunk = self.chunks.get_mut(at)?;
        let within = chunk.entries.binary_search_by_key(&place, |other| other.place()).ok()?;
        let gone = chunk.entries.remove(within);
        chunk.kinds[kind(gone)] -= 1;
        self.len -= 1;
        if chunk.entries.is_empty() {
            self.chunks.remove(at);
        }
        Some(gone)
    }

    pub(super) fn count(&self, wish: &Wish) -> usize {
        let kinds = wish.kinds();
        let chunks = self.chunks.iter().filter(|chunk| !chunk.is_outside(wish));
        chunks
            .map(|chunk| match &kinds {
                Some(kinds) if chunk.is_within(wish) => chunk.wanted(kinds),
                Some(_) | None => chunk.entries.iter().filter(|entry| wish.wants(**entry)).count(),
            })
            .sum()
    }

    pub(super) fn page(&self, wish: &Wish, page: Page) -> Vec<Entry> {
        if page.limit == 0 || wish.from > wish.to {
            return vec![];
        }
        match page.by {
            By::Received => self.by_time(wish, page),
            By::Number => self.sorted(wish, page, |a, b| a.number.cmp(&b.number)),
            By::Duration => {
                self.sorted(wish, page, |a, b| (a.millis, a.number).cmp(&(b.millis, b.number)))
            }
        }
    }

    fn by_time(&self, wish: &Wish, Page { backwards, mut skip, limit, .. }: Page) -> Vec<Entry> {
        let kinds = wish.kinds();
        let mut found = vec![];
        let mut look = |chunk: &Chunk| {
            if chunk.is_outside(wish) {
                return true;
            }
            if let Some(kinds) = &kinds
                && skip > 0
                && chunk.is_within(wish)
            {
                let wanted = chunk.wanted(kinds);
                if wanted <= skip {
                    skip -= wanted;
                    return true;
                }
            }
            let mut each = |entry: &Entry| {
                if !wish.wants(*entry) {
                    return true;
                }
                if skip > 0 {
                    skip -= 1;
                    return true;
                }
                found.push(*entry);
                found.len() < limit
            };
            if backwards {
                chunk.entries.iter().rev().all(&mut each)
            } else {
                chunk.entries.iter().all(&mut each)
            }
        };
        if backwards {
            self.chunks.iter().rev().all(&mut look);
        } else {
            self.chunks.iter().all(&mut look);
        }
        found
    }

    /// Only the page itself is sorted; what lies before it is merely set apart.
    fn sorted(
        &self,
        wish: &Wish,
        Page { backwards, skip, limit, .. }: Page,
        order: impl Fn(&Entry, &Entry) -> Ordering,
    ) -> Vec<Entry> {
        let order = |a: &Entry, b: &Entry| if backwards { order(b, a) } else { order(a, b) };
        let mut all: Vec<Entry> = self.iter().filter(|entry| wish.wants(*entry)).collect();
        if skip >= all.len() {
            return vec![];
        }
        if skip > 0 {
            all.select_nth_unstable_by(skip, order);
            all.drain(..skip);
        }
        if limit < all.len() {
            all.select_nth_unstable_by(limit, order);
            all.truncate(limit);
        }
        all.sort_unstable_by(order);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn everything() -> Wish {
        let (from, to) = (i64::MIN, i64::MAX);
        Wish { folders: None, heard: None, urgent: None, from, to, among: None }
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (0..50_i64, 0..100_000_u64, 0..12_u16, 0..4_u8, 0..9_u128).prop_map(
            |(received, number, folder, marks, millis)| {
                Entry::new((received, number), (folder, marks), (millis, 9))
            },
        )
    }

    fn wish() -> impl Strategy<Value = Wish> {
        let folders = proptest::option::of(proptest::collection::vec(0..12_u16, 0..4));
        let mark = || proptest::option::of(any::<bool>());
        (folders, mark(), mark(), -5..60_i64, -5..60_i64).prop_map(
            |(folders, heard, urgent, from, to)| Wish {
                folders,
                heard,
                urgent,
                from,
                to,
                among: None,
            },
        )
    }

    fn page() -> impl Strategy<Value = Page> {
        let by = prop_oneof![Just(By::Received), Just(By::Number), Just(By::Duration)];
        (by, any::<bool>(), 0..900_usize, 0..60_usize)
            .prop_map(|(by, backwards, skip, limit)| Page { by, backwards, skip, limit })
    }

    /// The page as anyone would find it.
    fn plainly(entries: &[Entry], wish: &Wish, page: Page) -> Vec<Entry> {
        let mut all: Vec<Entry> = entries.iter().copied().filter(|e| wish.wants(*e)).collect();
        all.sort_by_key(|e| match page.by {
            By::Received => (e.received().unsigned_abs(), e.number),
            By::Number => (e.number, 0),
            By::Duration => (u64::from(e.millis), e.number),
        });
        if page.backwards {
            all.reverse();
        }
        all.into_iter().skip(page.skip).take(page.limit).collect()
    }

    proptest! {
        #[test]
        fn a_page_is_what_it_is_said_to_be(
            mut entries in proptest::collection::vec(entry(), 0..2500),
            wish in wish(),
            page in page(),
        ) {
            entries.sort_by_key(|e| e.number);
            entries.dedup_by_key(|e| e.number);
            let mut grown = Run::default();
            for (n, entry) in entries.iter().enumerate() {
                grown.insert(*entry);
                if n % 3 == 0 {
                    prop_assert_eq!(grown.remove(*entry), Some(*entry));
                    prop_assert_eq!(grown.remove(*entry), None);
                    grown.insert(*entry);
                }
            }
            let made = Run::of(entries.clone());
            let plain = plainly(&entries, &wish, page);
            let every = Page { skip: 0, limit: usize::MAX, ..page };
            let count = plainly(&entries, &wish, every).len();
            for run in [grown, made] {
                prop_assert_eq!(run.len(), entries.len());
                prop_assert_eq!(run.page(&wish, page), plain.clone());
                prop_assert_eq!(run.count(&wish), if wish.from > wish.to { 0 } else { count });
            }
        }
    }

    #[test]
    fn an_entry_has_24_bytes_that_say_all() {
        assert_eq!(size_of::<Entry>(), 24);
        let entry = Entry::new((1_700_000_000, (1 << 53) - 1), (65_535, HEARD), (5, 1 << 40));
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        assert_eq!((entry.received(), entry.folder()), (1_700_000_000, 65_535));
        assert!(entry.is(HEARD) && !entry.is(URGENT));
        assert_eq!(Entry::new((-5, 1), (0, 0), (0, 0)).received(), 0);
        assert_eq!(Entry::from_bytes(&[0; 23]), None);
    }

    #[test]
    fn only_named_numbers_are_found() {
        let run = Run::of((0..1000).map(|n| Entry::new((5, n), (0, 0), (0, 0))).collect());
        let wish = Wish { among: Some(vec![3, 700]), ..everything() };
        let all = Page { by: By::Received, backwards: true, skip: 0, limit: 10 };
        let found: Vec<_> = run.page(&wish, all).iter().map(|entry| entry.number).collect();
        assert_eq!((found, run.count(&wish)), (vec![700, 3], 2));
    }
}
