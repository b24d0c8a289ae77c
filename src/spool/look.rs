//! A mailbox's folders compared with what the index knows: what came, changed, moved or went.
//!
//! Deliveries and edits of ours go on while the folders are read. They pause while what was seen is
//! made true, and it is seen once more before it is believed.

mod desk;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use desk::Desk;

use super::draft::sum;
use super::index::{Known, Seen, Stamp};
use super::scan::{listing, names, seconds};
use super::sidecar::{Fallback, LARGEST, Sidecar};
use super::{Audio, Error, Reader, Spool, blocking};
use crate::mailbox::{Change, Folder, Formats, MailboxId, Message, MessageId, Stem};

/// How closely a look looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// At folders that have changed since they were read.
    Changed,
    /// At every file's size and time: some programs write into files where they lie.
    Files,
    /// Every file is read.
    Anew,
}

/// What a look found.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    pub(super) found: usize,
    pub(super) changed: usize,
    pub(super) removed: usize,
    /// What cannot be read, in words.
    pub(super) problems: Vec<String>,
    /// Something may still be growing: look again in a while.
    pub(super) unsettled: bool,
    /// Messages without id or number of their own, which were left for later.
    pub(super) strangers: usize,
}

/// Ids and numbers that a reading of the whole tree has met.
#[derive(Default)]
pub(super) struct Met {
    ids: HashSet<MessageId>,
    numbers: HashSet<u64>,
    pub(super) highest: u64,
    /// Copies that other programs made of messages of ours, as they were told apart before.
    copies: HashSet<String>,
}

impl Met {
    pub(super) fn new(copies: HashSet<String>) -> Self {
        Self { copies, ..Self::default() }
    }
}

/// A folder changes unnoticed within the grain of its clock: one that was read so soon is read
/// again.
const SOON: i64 = 2_000_000_000;
/// So many changes of one mailbox are told as a sum.
const MANY: usize = 100;

pub(super) async fn look(
    spool: &Spool,
    mailbox: &MailboxId,
    depth: Depth,
) -> Result<Looked, Error> {
    let _turn = spool.looks(mailbox).lock().await;
    match sight(spool.clone(), mailbox.clone(), depth).await? {
        Some(sight) => resolve(spool, sight, None).await,
        None => Ok(Looked::default()),
    }
}

/// What lies in the folders of a mailbox that need a look.
pub(super) struct Sight {
    mailbox: MailboxId,
    folders: Vec<Glance>,
    known: Vec<Known>,
}

struct Glance {
    folder: Folder,
    /// 0 where it must be read again.
    modified: i64,
    /// New, or other than they were.
    pairs: Vec<Pair>,
    /// Numbers of messages that are as they were.
    same: Vec<u64>,
    stems: HashSet<Stem>,
    problems: Vec<String>,
    unsettled: bool,
}

/// A sidecar, or none, and what its audio says.
struct Pair {
    folder: Folder,
    stem: Stem,
    fields: Sidecar,
    fallback: Fallback,
    seen: Seen,
    /// Tells a message of another program's from its neighbours, whatever its files are called; a
    /// copy of ours by its place. Empty where the message has an id of its own.
    key: String,
    /// Why its audio cannot be played.
    unreadable: Option<String>,
}

impl Pair {
    /// The id and number that its own sidecar tells.
    fn own(&self) -> Option<(MessageId, u64)> {
        self.fields.id().zip(self.fields.number())
    }

    /// What a copy of a message of ours is known by: it has all in common with the original but the
    /// place.
    fn copy_key(&self, id: MessageId) -> String {
        format!("copy of {id} at {}/{}", self.folder, self.stem)
    }

    fn named_as_copy_of(mut self, id: MessageId) -> Self {
        self.key = self.copy_key(id);
        self
    }
}

/// `None` where nothing needs a look.
pub(super) async fn sight(
    spool: Spool,
    mailbox: MailboxId,
    depth: Depth,
) -> Result<Option<Sight>, Error> {
    let (looking, id) = (spool.clone(), mailbox.clone());
    let touched = blocking(move || touched(&looking, &id, depth)).await??;
    if touched.is_empty() {
        return Ok(None);
    }
    let known = spool.0.index.known(&mailbox).await?;
    let sight = blocking(move || {
        let settle = spool.0.options.settle;
        let mut folders = vec![];
        for (folder, dir, modified) in touched {
            let known = known.iter().filter(|known| known.folder == folder);
            let known = known.map(|known| (&known.stem, known)).collect();
            let how = (spool.0.reader, depth, settle);
            let what = format!("folder {}", dir.display());
            match glance(folder, &dir, modified, &known, how) {
                Ok(glance) => {
                    spool.is_open(&what);
                    folders.push(glance);
                }
                Err(error) => spool.without(&what, error)?,
            }
        }
        Ok::<_, Error>(Sight { mailbox, folders, known })
    });
    Ok(Some(sight.await??))
}

/// The folders that need a look: those there are, and those that were.
pub(super) fn touched(
    spool: &Spool,
    mailbox: &MailboxId,
    depth: Depth,
) -> Result<Vec<(Folder, PathBuf, i64)>, Error> {
    let home = spool.0.layout.mailbox(mailbox);
    let mut stamps = spool.0.index.stamps(mailbox);
    let mut touched = vec![];
    for name in names(&home)? {
        let Some(folder) = Folder::named(&name) else { continue };
        let dir = home.join(&name);
        let Ok(meta) = fs::metadata(&dir) else { continue };
        if !meta.is_dir() {
            continue;
        }
        let (modified, stamp) = (nanoseconds(&meta), stamps.remove(&folder));
        if depth != Depth::Changed || stamp != Some(modified) {
            touched.push((folder, dir, modified));
        }
    }
    for (folder, stamp) in stamps {
        // Gone, and known to be.
        if stamp != GONE {
            touched.push((folder.clone(), home.join(folder.name()), GONE));
        }
    }
    Ok(touched)
}

/// The stamp of a folder that is not there.
const GONE: i64 = -1;

type Shelf<'a> = HashMap<&'a Stem, &'a Known>;

fn glance(
    folder: Folder,
    dir: &Path,
    modified: i64,
    known: &Shelf,
    (reader, depth, settle): (Reader, Depth, Duration),
) -> Result<Glance, Error> {
    let now = since_epoch(SystemTime::now());
    let mut glance = Glance {
        folder,
        modified: if modified != GONE && now.saturating_sub(modified) < SOON {
            0
        } else {
            modified
        },
        pairs: vec![],
        same: vec![],
        stems: HashSet::new(),
        problems: vec![],
        unsettled: false,
    };
    for (stem, lying) in listing(&names(dir)?) {
        let named = |extension: &str| dir.join(format!("{stem}.{extension}"));
        let audio = lying.formats.map(|formats| (formats, named(formats.best())));
        let audio = audio.and_then(|(formats, path)| {
            let meta = fs::metadata(&path).ok().filter(Metadata::is_file)?;
            Some((formats, path, meta))
        });
        let Some((formats, path, meta)) = audio else {
            if lying.sidecar {
                glance.problems.push(format!("{} has no audio beside it", named("txt").display()));
            }
            continue;
        };
        let sidecar = match fs::metadata(named("txt")) {
            Ok(meta) if meta.is_file() => stamp(&meta),
            // Reading a pipe would wait for ever.
            Ok(_) => {
                glance.problems.push(format!("{} is no file", named("txt").display()));
                continue;
            }
            // A lone recording: its envelope is what the file itself tells.
            Err(_) if formats.best() == "wav" => {
                let changed = meta.ctime().saturating_mul(1_000_000_000) + meta.ctime_nsec();
                let still = now.saturating_sub(changed.max(nanoseconds(&meta)));
                if u128::from(still.max(0).unsigned_abs()) < settle.as_nanos()
                    && !known.contains_key(&stem)
                {
                    (glance.unsettled, glance.modified) = (true, 0);
                    continue;
                }
                Stamp::default()
            }
            Err(_) => continue,
        };
        glance.stems.insert(stem.clone());
        let seen = Seen { sidecar, audio: stamp(&meta) };
        if depth != Depth::Anew
            && let Some(known) = known.get(&stem)
            && known.seen == seen
            && known.formats == formats
        {
            glance.same.push(known.number);
            continue;
        }
        match pair(stem, (&path, &meta), (seen, formats), &glance.folder, reader.info) {
            Ok(pair) => glance.pairs.push(pair),
            Err(why) => glance.problems.push(why),
        }
    }
    Ok(glance)
}

fn pair(
    stem: Stem,
    (audio, meta): (&Path, &Metadata),
    (seen, formats): (Seen, Formats),
    folder: &Folder,
    info: fn(&Path) -> io::Result<Audio>,
) -> Result<Pair, String> {
    let sidecar = PathBuf::from(audio).with_file_name(format!("{stem}.txt"));
    let fields = match seen.sidecar {
        Stamp { inode: 0, .. } => Sidecar::default(),
        Stamp { bytes, .. } if bytes <= LARGEST => {
            let text = read(&sidecar, bytes).map_err(|e| format!("{}: {e}", sidecar.display()))?;
            Sidecar::parse(&text)
        }
        Stamp { .. } => return Err(format!("{} is too large for a sidecar", sidecar.display())),
    };
    let mut unreadable = None;
    let (rate, duration, data_at) = match fields.own_audio() {
        // What we have written ourselves is looked at by a check, not by every reading.
        Some((rate, duration)) => (rate, duration, 0),
        None => match info(audio) {
            Ok(audio) => (audio.rate, audio.duration, audio.data_at),
            // The message is still there to be listed, and its audio to be fetched.
            Err(error) => {
                unreadable = Some(format!("{} cannot be played: {error}", audio.display()));
                (0, Duration::ZERO, 0)
            }
        },
    };
    let modified = meta.modified().unwrap_or(UNIX_EPOCH);
    let received = seconds(modified.checked_sub(duration).unwrap_or(UNIX_EPOCH));
    let key = match (fields.id().zip(fields.number()), fields.text_of("msg_id")) {
        (Some(_), _) => String::new(),
        (None, "") => File::open(audio)
            .and_then(|mut file| sum(&mut file, data_at))
            .map_err(|e| format!("{}: {e}", audio.display()))?,
        (None, msg_id) => msg_id.to_owned(),
    };
    let fallback = Fallback { received, duration, rate, formats, bytes: meta.len() };
    Ok(Pair { folder: folder.clone(), stem, fields, fallback, seen, key, unreadable })
}

/// A file whose length is known, in one piece unless it has grown.
fn read(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = vec![0; usize::try_from(bytes).unwrap_or(0) + 1];
    let mut file = File::open(path)?;
    let read = file.read(&mut text)?;
    if read == text.len() {
        file.take(LARGEST).read_to_end(&mut text)?;
    } else {
        text.truncate(read);
    }
    Ok(text)
}

/// Brings the index into line with what was seen. With `met` the whole tree is read for the first
/// time: messages without id or number of their own wait until all others are known.
pub(super) async fn resolve(
    spool: &Spool,
    sight: Sight,
    met: Option<&mut Met>,
) -> Result<Looked, Error> {
    let Sight { mailbox, mut folders, known } = sight;
    let _alone = spool.turn_of(&mailbox).write().await;
    let mut looked = Looked::default();
    let pairs = still_so(spool, &mailbox, (&mut folders, met.is_some()), &mut looked);
    let mut desk = Desk {
        spool,
        mailbox: &mailbox,
        owner: mailbox.to_string(),
        claimed: folders.iter().flat_map(|glance| glance.same.iter().copied()).collect(),
        changed: pairs.iter().map(|pair| (pair.folder.clone(), pair.stem.clone())).collect(),
        news: vec![],
    };
    let (own, mut strangers): (Vec<Pair>, Vec<Pair>) =
        pairs.into_iter().partition(|pair| pair.own().is_some());
    if let Some(met) = met {
        strangers.extend(desk.first(own, met).await?);
        looked.found = desk.news.len();
        looked.strangers = strangers.len();
        for (_, message, seen) in desk.news {
            spool.0.index.insert(&message, seen);
        }
        for glance in &mut folders {
            if strangers.iter().any(|pair| pair.folder == glance.folder) {
                glance.modified = 0;
            }
        }
    } else {
        strangers.extend(desk.own(own, &known).await?);
        desk.named(strangers).await?;
        let Desk { claimed, mut news, .. } = desk;
        let before: HashMap<u64, Seen> = known.iter().map(|k| (k.number, k.seen)).collect();
        news.retain(|(was, message, seen)| {
            was.as_ref() != Some(message) || before.get(&message.number) != Some(seen)
        });
        let lost = lost(spool, &mailbox, (&mut folders, &known), &claimed).await?;
        tell(spool, (&mailbox, news, lost), &mut looked);
    }
    for glance in &folders {
        spool.0.index.stamp(&mailbox, &glance.folder, glance.modified);
    }
    spool.0.index.has_room().await;
    Ok(looked)
}

/// The pairs of all folders that are still as they were seen.
fn still_so(
    spool: &Spool,
    mailbox: &MailboxId,
    (folders, first): (&mut [Glance], bool),
    looked: &mut Looked,
) -> Vec<Pair> {
    let mut pairs = vec![];
    for glance in folders {
        looked.problems.append(&mut glance.problems);
        looked.unsettled |= glance.unsettled;
        let dir = spool.0.layout.folder(mailbox, &glance.folder);
        for pair in std::mem::take(&mut glance.pairs) {
            // In a first reading strangers are looked at once more, and told of then.
            if let Some(why) = pair.unreadable.as_ref().filter(|_| !first || pair.own().is_some()) {
                warn!("{why}");
            }
            if first || seen_of(&dir, &pair.stem, pair.fallback.formats) == pair.seen {
                pairs.push(pair);
            } else {
                (glance.modified, looked.unsettled) = (0, true);
            }
        }
    }
    pairs
}

/// Messages of the folders looked at that lie nowhere any more.
async fn lost(
    spool: &Spool,
    mailbox: &MailboxId,
    (folders, known): (&mut [Glance], &[Known]),
    claimed: &BTreeSet<u64>,
) -> Result<Vec<Arc<Message>>, Error> {
    let mut lost = vec![];
    for glance in folders {
        let missing = known
            .iter()
            .filter(|known| known.folder == glance.folder && !claimed.contains(&known.number));
        let missing: HashMap<MessageId, &Stem> =
            missing.map(|known| (known.id, &known.stem)).collect();
        let ids: Vec<MessageId> = missing.keys().copied().collect();
        // What has been moved or removed by us since is known elsewhere, or not at all.
        for message in spool.0.index.by_ids(&ids).await? {
            let lay = missing.get(&message.id);
            if !lay.is_some_and(|stem| is_at(&message, mailbox, (&glance.folder, stem))) {
                continue;
            }
            if glance.stems.contains(&message.stem) || !spool.exists(&message) {
                lost.push(message);
            } else {
                glance.modified = 0;
            }
        }
    }
    lost.sort_by_key(|message| message.number);
    Ok(lost)
}

type News = (Option<Arc<Message>>, Arc<Message>, Seen);

fn tell(
    spool: &Spool,
    (mailbox, news, lost): (&MailboxId, Vec<News>, Vec<Arc<Message>>),
    looked: &mut Looked,
) {
    let many = news.len() + lost.len() > MANY;
    let tell = |change: Change| {
        if !many {
            let _ = spool.0.changes.send(change);
        }
    };
    for message in lost {
        if let Some(counts) = spool.0.index.remove(&message) {
            looked.removed += 1;
            tell(Change::Removed { message, counts });
        }
    }
    for (was, message, seen) in news {
        let Some(was) = was else {
            let counts = spool.0.index.insert(&message, seen);
            looked.found += 1;
            tell(Change::Found { message, counts });
            continue;
        };
        let Some(counts) = spool.0.index.replace(&was, &message, seen) else { continue };
        if *was == *message {
            continue;
        }
        looked.changed += 1;
        if was.mailbox != message.mailbox {
            let counts = spool.counts(&was.mailbox);
            tell(Change::Removed { message: was, counts });
            tell(Change::Found { message, counts: spool.counts(mailbox) });
        } else if was.folder == message.folder {
            tell(Change::Edited { was, message, counts });
        } else {
            tell(Change::Moved { was, message, counts });
        }
    }
    if many {
        let (mailbox, counts) = (mailbox.clone(), spool.counts(mailbox));
        let _ = spool.0.changes.send(Change::Counts { mailbox, counts });
    }
}

fn is_at(message: &Message, mailbox: &MailboxId, (folder, stem): (&Folder, &Stem)) -> bool {
    (&message.mailbox, &message.folder, &message.stem) == (mailbox, folder, stem)
}

/// How a message's files look now.
pub(super) fn seen(folder: &Path, message: &Message) -> Seen {
    seen_of(folder, &message.stem, message.formats)
}

fn seen_of(folder: &Path, stem: &Stem, formats: Formats) -> Seen {
    let of = |extension: &str| {
        fs::metadata(folder.join(format!("{stem}.{extension}")))
            .map_or(Stamp::default(), |meta| stamp(&meta))
    };
    Seen { sidecar: of("txt"), audio: of(formats.best()) }
}

pub(super) fn stamp(meta: &Metadata) -> Stamp {
    Stamp { modified: nanoseconds(meta), bytes: meta.len(), inode: meta.ino() }
}

fn nanoseconds(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

fn since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
