//! At the start: what the tree holds, and what a crash left half-done in it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::draft::{Draft, sum};
use super::sidecar::{Fallback, LARGEST, Sidecar};
use super::{Audio, Error, Spool, blocking, fresh_id};
use crate::mailbox::{Change, Folder, MailboxId, Message, Stem};
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
    for mailbox in mailboxes {
        // What a crash left first: it may complete what lies in a folder.
        found.recovered += recover(spool, &mailbox, &mut found.unreadable).await?;
        strangers.extend(read(spool, &mailbox, &mut found, &mut highest).await?);
    }
    // Only now is every number known that our own messages have.
    spool.0.state.given(Counter::Message, highest).await?;
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
fn names(dir: &Path) -> Result<Vec<String>, Error> {
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

/// Publishes the drafts that a crash left in `tmp`.
async fn recover(
    spool: &Spool,
    mailbox: &MailboxId,
    unreadable: &mut usize,
) -> Result<usize, Error> {
    let dir = spool.0.layout.drafts(mailbox);
    let mut recovered = 0;
    let listed = dir.clone();
    let mut drafts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in blocking(move || names(&listed)).await?? {
        if let Some((stem, extension)) = name.rsplit_once('.') {
            drafts.entry(stem.to_owned()).or_default().push(extension.to_owned());
        }
    }
    for (stem, extensions) in drafts {
        let path = dir.join(&stem);
        if !extensions.iter().any(|extension| extension == "wav") {
            complete(spool, mailbox, &path)?;
            continue;
        }
        match recover_one(spool, mailbox, &path.with_extension("wav")).await {
            Ok(published) => recovered += usize::from(published.is_some()),
            Err(error) => {
                warn!(%mailbox, %error, "a draft could not be recovered and stays where it is: {error}");
                *unreadable += 1;
            }
        }
    }
    Ok(recovered)
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
    if let Ok(bytes) = fs::read(&beside) {
        let fields = Sidecar::parse(&bytes);
        let sum = fields.text_of("sha256").to_owned();
        let inbox = spool.0.layout.folder(mailbox, &Folder::Inbox);
        for name in names(&inbox)? {
            let wav = inbox.join(&name);
            let txt = wav.with_extension("txt");
            let call = fields.text_of("call");
            if wav.extension() == Some(OsStr::new("wav"))
                && !txt.exists()
                && !call.is_empty()
                && name.contains(call)
                && !sum.is_empty()
            {
                fs::rename(&beside, &txt).map_err(Error::io("move the sidecar to", &txt))?;
                break;
            }
        }
    }
    for leftover in [beside, old] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &leftover)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
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
            let Some((id, number)) = own.filter(|(id, _)| spool.get(mailbox, *id).is_none()) else {
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
    let names = names(dir)?;
    let mut pairs = vec![];
    for name in &names {
        let path = dir.join(name);
        let Some((stem, extension)) = name.rsplit_once('.') else { continue };
        let Some(stem) = Stem::found(stem) else { continue };
        match extension {
            "txt" if dir.join(format!("{stem}.wav")).is_file() => {
                pairs.push(pair(stem, &path, info));
            }
            "txt" => pairs.push(Err(format!("{} has no audio beside it", path.display()))),
            // A lone recording: its envelope is what the file itself tells.
            "wav" if path.is_file() && !dir.join(format!("{stem}.txt")).exists() => {
                pairs.push(pair(stem, &path.with_extension("txt"), info));
            }
            _ => {}
        }
    }
    Ok(pairs)
}

fn pair(stem: Stem, sidecar: &Path, info: fn(&Path) -> io::Result<Audio>) -> Result<Pair, String> {
    let audio = PathBuf::from(sidecar).with_extension("wav");
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
            warn!("{} is no WAV file that can be read: {error}", audio.display());
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
    Ok(Pair { stem, fields, fallback: Fallback { received, duration, rate }, key })
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
