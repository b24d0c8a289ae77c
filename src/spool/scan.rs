//! At the start: what the tree holds, and what a crash left half-done in it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::draft::{Draft, sum};
use super::mend::mend;
use super::sidecar::{Fallback, LARGEST, Sidecar};
use super::{Audio, Error, Spool, blocking, fresh_id};
use crate::mailbox::{Change, Folder, Formats, MailboxId, Message, MessageId, Stem};
use crate::state::Counter;

/// What a start found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub messages: usize,
    /// Drafts that became messages.
    pub recovered: usize,
    /// Files that could not be read; the log names them.
    pub unreadable: usize,
}

/// A recording shorter than this, left by a crash, holds no word.
const SHORTEST: Duration = Duration::from_millis(200);

pub(super) async fn scan(spool: &Spool) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut strangers = vec![];
    let mut highest = 0;
    let root = spool.root().to_owned();
    let mailboxes = blocking(move || mailboxes(&root)).await??;
    for mailbox in &mailboxes {
        let (dir, shred) = (spool.0.layout.mailbox(mailbox), spool.0.options.shred);
        blocking(move || mend(&dir, shred)).await??;
        for draft in drafts(spool, mailbox).await? {
            complete(spool, mailbox, &draft)?;
        }
        strangers.extend(read(spool, mailbox, &mut found, &mut highest).await?);
    }
    // Only now is every number known that our own messages have, and none can be given twice.
    spool.0.state.given(Counter::Message, highest).await?;
    for mailbox in &mailboxes {
        recover(spool, mailbox, &mut found).await?;
    }
    let mut alike: HashMap<(MailboxId, String), usize> = HashMap::new();
    for mut stranger in strangers {
        // Messages that have even their audio in common are told apart by their order.
        let key = (stranger.mailbox.clone(), stranger.pair.key.clone());
        let before = alike.entry(key).or_default();
        if *before > 0 {
            stranger.pair.key += &format!("#{before}");
        }
        *before += 1;
        let message = named(spool, stranger).await?;
        spool.tell(Arc::new(message), |message, counts| Change::Found { message, counts });
    }
    Ok(found)
}

fn mailboxes(root: &Path) -> Result<Vec<MailboxId>, Error> {
    let mut ids = vec![];
    for context in names(root)? {
        let dir = root.join(&context);
        if !dir.is_dir() {
            continue;
        }
        for number in names(&dir)? {
            if dir.join(&number).is_dir()
                && let Ok(id) = MailboxId::new(&context, &number)
            {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

/// Names in `dir` that can be ours, sorted; none where there is no such directory.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io("read the directory", dir))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

/// The drafts in `tmp`, by their common name. Ours have a call's digits for a name; what else
/// lies there is another program's, which may be recording now.
async fn drafts(spool: &Spool, mailbox: &MailboxId) -> Result<BTreeSet<PathBuf>, Error> {
    let dir = spool.0.layout.drafts(mailbox);
    let listed = dir.clone();
    let names = blocking(move || names(&listed)).await??;
    let ours = names.iter().filter_map(|name| {
        let (stem, extension) = name.rsplit_once('.')?;
        let digits = stem.len() == DIGITS && stem.bytes().all(|b| b.is_ascii_digit());
        (digits && matches!(extension, "wav" | "txt" | "new")).then(|| dir.join(stem))
    });
    Ok(ours.collect())
}

/// Ten of the second and seven of the counter.
const DIGITS: usize = 17;

/// Publishes the drafts that a crash left in `tmp`.
async fn recover(spool: &Spool, mailbox: &MailboxId, found: &mut Found) -> Result<(), Error> {
    for draft in drafts(spool, mailbox).await? {
        let audio = draft.with_extension("wav");
        if !audio.exists() {
            continue;
        }
        match recover_one(spool, mailbox, &audio).await {
            Ok(None) => {}
            Ok(Some(message)) => {
                spool.tell(message, |message, counts| Change::Found { message, counts });
                found.messages += 1;
                found.recovered += 1;
            }
            Err(error) => {
                warn!(%mailbox, %error, "a draft could not be recovered and stays where it is: {error}");
                found.unreadable += 1;
            }
        }
    }
    Ok(())
}

/// `None` for a draft that held nothing and was removed.
async fn recover_one(
    spool: &Spool,
    mailbox: &MailboxId,
    audio: &Path,
) -> Result<Option<Arc<Message>>, Error> {
    let began = fs::metadata(audio).map_err(Error::io("read", audio))?;
    let received = seconds(began.created().or_else(|_| began.modified()).unwrap_or(UNIX_EPOCH));
    let fresh = fresh_id(u64::try_from(received).unwrap_or(0).saturating_mul(1000))?;
    let call = spool.call_digits(received).await?;
    let mut draft = Draft::found(&spool.0.layout, mailbox, fresh, (audio, received, call));
    revive(spool, draft.clone()).await.inspect_err(|_| {
        draft.complain(); // as the scan does
        spool.keep(draft);
    })
}

/// Makes a message of a draft whose recorder is gone; `None` where it held nothing and was removed.
pub(super) async fn revive(spool: &Spool, draft: Draft) -> Result<Option<Arc<Message>>, Error> {
    let audio = draft.audio().to_owned();
    let size = match fs::metadata(&audio) {
        // The recorder could not even make the file; or it was moved, and its sidecar was not.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            complete(spool, draft.mailbox(), &audio)?;
            return Ok(None);
        }
        meta => meta.map_err(Error::io("read", &audio))?.len(),
    };
    let reader = spool.0.reader;
    let repaired = audio.clone();
    let holds = match blocking(move || (reader.repair)(&repaired)).await? {
        Ok(Audio { duration, .. }) => duration >= SHORTEST,
        // Not even a header was written.
        Err(_) if size < 44 => false,
        Err(error) => return Err(Error::io("read", &audio)(error)),
    };
    if !holds {
        spool.discard(draft).await?;
        return Ok(None);
    }
    spool.publish(draft).await.map(Some)
}

/// A draft's sidecar whose audio is in the INBOX already: the crash fell between the two renames.
/// Without such audio it says nothing.
fn complete(spool: &Spool, mailbox: &MailboxId, draft: &Path) -> Result<(), Error> {
    let (beside, old) = (draft.with_extension("new"), draft.with_extension("txt"));
    if draft.with_extension("wav").exists() {
        return Ok(());
    }
    if let Ok(bytes) = fs::read(&beside) {
        let fields = Sidecar::parse(&bytes);
        let sum = fields.text_of("sha256").to_owned();
        let home = spool.0.layout.mailbox(mailbox);
        let call = fields.text_of("call");
        let complete = !call.is_empty() && !sum.is_empty();
        'found: for folder in names(&home)?.iter().filter(|_| complete) {
            let folder = home.join(folder);
            if !folder.is_dir() || folder.ends_with("tmp") {
                continue;
            }
            for (stem, lying) in listing(&names(&folder)?) {
                if !lying.sidecar && lying.formats.is_some() && stem.as_str().contains(call) {
                    let txt = folder.join(format!("{stem}.txt"));
                    fs::rename(&beside, &txt).map_err(Error::io("move the sidecar to", &txt))?;
                    break 'found;
                }
            }
        }
    }
    if beside.exists() {
        // It describes audio that is not where it should be: somebody may still find both.
        warn!("{} describes a recording that is not to be found", beside.display());
        return Ok(());
    }
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &old)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts what lies in the mailbox's folders into the index, but for messages that have no id and
/// number of their own: these are answered.
async fn read(
    spool: &Spool,
    mailbox: &MailboxId,
    found: &mut Found,
    highest: &mut u64,
) -> Result<Vec<Stranger>, Error> {
    let dir = spool.0.layout.mailbox(mailbox);
    let mut strangers = vec![];
    let mut seen: HashSet<MessageId> = HashSet::new();
    for name in names(&dir)? {
        let Some(folder) = Folder::named(&name).filter(|_| dir.join(&name).is_dir()) else {
            continue;
        };
        let path = dir.join(&name);
        let reader = spool.0.reader;
        for pair in blocking(move || pairs(&path, reader.info)).await?? {
            let pair = match pair {
                Ok(pair) => pair,
                Err(why) => {
                    warn!(%mailbox, %folder, "{why}");
                    found.unreadable += 1;
                    continue;
                }
            };
            found.messages += 1;
            let own = pair.fields.id().zip(pair.fields.number());
            // A copy of our own file, made by another program, gets an id of its own.
            let Some((id, number)) = own.filter(|(id, _)| seen.insert(*id)) else {
                strangers.push(Stranger { mailbox: mailbox.clone(), folder: folder.clone(), pair });
                continue;
            };
            *highest = (*highest).max(number);
            let Pair { stem, fields, fallback, .. } = pair;
            let message = fields.message((id, number), (mailbox, &folder, stem), &fallback);
            spool.tell(Arc::new(message), |message, counts| Change::Found { message, counts });
        }
    }
    Ok(strangers)
}

/// A message without id and number, or with those of its copy.
struct Stranger {
    mailbox: MailboxId,
    folder: Folder,
    pair: Pair,
}

/// A sidecar, or none, and what its audio says.
struct Pair {
    stem: Stem,
    fields: Sidecar,
    fallback: Fallback,
    /// Tells a message of another program's from its neighbours, whatever its files are called.
    key: String,
}

fn pairs(
    dir: &Path,
    info: fn(&Path) -> io::Result<Audio>,
) -> Result<Vec<Result<Pair, String>>, Error> {
    let mut pairs = vec![];
    for (stem, found) in listing(&names(dir)?) {
        let path = dir.join(format!("{stem}.txt"));
        let formats = found.formats.filter(|f| dir.join(format!("{stem}.{}", f.best())).is_file());
        match (found.sidecar, formats) {
            (true, Some(formats)) => pairs.push(pair(stem, &path, formats, info)),
            (true, None) => pairs.push(Err(format!("{} has no audio beside it", path.display()))),
            // A lone recording: its envelope is what the file itself tells.
            (false, Some(formats)) if formats.best() == "wav" => {
                pairs.push(pair(stem, &path, formats, info));
            }
            (false, Some(_) | None) => {}
        }
    }
    Ok(pairs)
}

/// What lies in a folder under one stem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lying {
    pub(super) sidecar: bool,
    pub(super) formats: Option<Formats>,
}

/// A folder's files by their stems: those of messages, whole and not.
pub(super) fn listing(names: &[String]) -> BTreeMap<Stem, Lying> {
    let mut listing: BTreeMap<Stem, Lying> = BTreeMap::new();
    for name in names {
        let Some((stem, extension)) = name.rsplit_once('.') else { continue };
        if is_leftover(stem) {
            continue;
        }
        let Some(stem) = Stem::found(stem) else { continue };
        if extension == "txt" {
            listing.entry(stem).or_default().sidecar = true;
        } else if let Some(format) = Formats::named(extension) {
            let lying = listing.entry(stem).or_default();
            lying.formats = Some(lying.formats.map_or(format, |others| others.and(format)));
        }
    }
    listing
}

/// What Asterisk makes for a moment beside a message that it forwards: `msg0007-bak.txt`.
fn is_leftover(stem: &str) -> bool {
    let number = stem.strip_suffix("-bak").or_else(|| stem.strip_suffix("-prepend"));
    number
        .and_then(|stem| stem.strip_prefix("msg"))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn pair(
    stem: Stem,
    sidecar: &Path,
    formats: Formats,
    info: fn(&Path) -> io::Result<Audio>,
) -> Result<Pair, String> {
    let audio = PathBuf::from(sidecar).with_file_name(format!("{stem}.{}", formats.best()));
    let fields = match fs::metadata(sidecar) {
        Ok(meta) if meta.len() <= LARGEST => {
            let bytes = fs::read(sidecar).map_err(|e| format!("{}: {e}", sidecar.display()))?;
            Sidecar::parse(&bytes)
        }
        Ok(_) => return Err(format!("{} is too large for a sidecar", sidecar.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Sidecar::default(),
        Err(error) => return Err(format!("{}: {error}", sidecar.display())),
    };
    let meta = fs::metadata(&audio).map_err(|e| format!("{}: {e}", audio.display()))?;
    let (rate, duration, data_at) = match info(&audio) {
        Ok(audio) => (audio.rate, audio.duration, audio.data_at),
        // The message is still there to be listed, and its audio to be fetched.
        Err(error) => {
            warn!("{} is no audio file that can be read: {error}", audio.display());
            (0, Duration::ZERO, 0)
        }
    };
    let modified = meta.modified().unwrap_or(UNIX_EPOCH);
    let received = seconds(modified.checked_sub(duration).unwrap_or(UNIX_EPOCH));
    let key = match (fields.id().zip(fields.number()), fields.text_of("msg_id")) {
        // Needed only for a copy, which has all in common with its original but the place.
        (Some((id, _)), _) => format!("copy of {id} at {}", audio.display()),
        (None, "") => File::open(&audio)
            .and_then(|mut file| sum(&mut file, data_at))
            .map_err(|e| format!("{}: {e}", audio.display()))?,
        (None, msg_id) => msg_id.to_owned(),
    };
    let fallback = Fallback { received, duration, rate, formats, bytes: meta.len() };
    Ok(Pair { stem, fields, fallback, key })
}

/// Gives another program's message its id and number: the same ones at every start.
async fn named(spool: &Spool, stranger: Stranger) -> Result<Message, Error> {
    let Stranger { mailbox, folder, pair: Pair { stem, fields, fallback, key } } = stranger;
    let fresh = fresh_id(milliseconds(fallback.received))?;
    let owner = mailbox.to_string();
    let (id, number) = spool.0.state.foreign_id(&owner, &key, &fresh.to_string()).await?;
    let id = id.parse().unwrap_or(fresh);
    Ok(fields.message((id, number), (&mailbox, &folder, stem), &fallback))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}
