//! At the start: what the tree holds, and what a crash left half-done in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use tracing::warn;

use super::draft::{Draft, bring_home, forget, open};
use super::edit::remove;
use super::look::{Depth, Looked, Met, look, resolve, sight, touched};
use super::mend::mend;
use super::publish::rename_into;
use super::sidecar::Sidecar;
use super::{Audio, Error, Progress, Spool, blocking, fresh_id, is_there};
use crate::mailbox::{Change, Counts, Formats, MailboxId, Message, Stem};
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

/// Brings index and tree together: what a crash left half-done is finished, what the index does
/// not know is read, and drafts become messages.
pub(super) async fn start(spool: &Spool, at_once: bool) -> Result<Found, Error> {
    let (listing, coming) = (spool.clone(), spool.clone());
    blocking(move || bring_strays_home(&coming)).await?;
    let all = blocking(move || all_mailboxes(&listing)).await??;
    forget_gone(spool, &all);
    let mut found = Found::default();
    let (looking, listed) = (spool.clone(), all.clone());
    let busy = blocking(move || with_drafts(&looking, &listed)).await??;
    for mailbox in &busy {
        or_without(spool, mailbox, tidy(spool, mailbox).await)?;
    }
    if at_once {
        spool.0.state.given(Counter::Message, spool.0.index.highest()).await?;
    } else if spool.0.index.is_new() {
        found.unreadable += read_all(spool, &all).await?;
    } else {
        let (looking, listed) = (spool.clone(), all.clone());
        for mailbox in blocking(move || all_touched(&looking, &listed)).await?? {
            let looked = look_and_mend(spool, &mailbox).await;
            found.unreadable += or_without(spool, &mailbox, looked)?;
        }
        spool.0.state.given(Counter::Message, spool.0.index.highest()).await?;
    }
    for mailbox in &busy {
        let recovered = recover(spool, mailbox, &mut found).await;
        or_without(spool, mailbox, recovered)?;
    }
    found.messages = spool.0.index.len();
    Ok(found)
}

/// Finishes what a crash left undone in `tmp`.
async fn tidy(spool: &Spool, mailbox: &MailboxId) -> Result<(), Error> {
    mend_one(spool, mailbox).await?;
    for draft in drafts(spool, mailbox).await? {
        complete(spool, mailbox, &draft)?;
    }
    Ok(())
}

/// One mailbox that cannot be read does not keep the others from anything.
pub(super) fn or_without<T: Default>(
    spool: &Spool,
    mailbox: &MailboxId,
    done: Result<T, Error>,
) -> Result<T, Error> {
    done.or_else(|error| {
        spool.without(&format!("mailbox {mailbox}"), error)?;
        Ok(T::default())
    })
}

/// Reads the whole tree into an index that knows nothing; how many files cannot be read.
pub(super) async fn read_all(spool: &Spool, all: &[MailboxId]) -> Result<usize, Error> {
    let gauge = &spool.0.options.gauge;
    let mut progress = Progress { of: all.len(), ..Progress::default() };
    gauge.shows(progress);
    let mut met = Met::new(spool.0.state.copies().await?);
    let (mut unreadable, mut strange, mut broken) = (0, vec![], vec![]);
    {
        let each = stream::iter(all.to_vec())
            .map(|mailbox| {
                let reading = sight(spool.clone(), mailbox.clone(), Depth::Anew);
                async move { (mailbox, reading.await) }
            })
            .buffered(READERS);
        let mut each = std::pin::pin!(each);
        while let Some((mailbox, seen)) = each.next().await {
            progress.mailboxes += 1;
            let Some(seen) = or_without(spool, &mailbox, seen)? else { continue };
            let looked = resolve(spool, seen, Some(&mut met)).await?;
            progress.messages += looked.found;
            gauge.shows(progress);
            if looked.strangers > 0 {
                strange.push(mailbox.clone());
            }
            if !looked.problems.is_empty() {
                broken.push(mailbox);
            }
        }
    }
    // Only now is every number known that our own messages have, and none can be given twice.
    spool.0.state.given(Counter::Message, met.highest).await?;
    drop(met);
    spool.0.index.is_filled().await?;
    for mailbox in &strange {
        let looked: Looked =
            or_without(spool, mailbox, look(spool, mailbox, Depth::Changed).await)?;
        progress.messages += looked.found;
        gauge.shows(progress);
    }
    for mailbox in &broken {
        unreadable += or_without(spool, mailbox, look_and_mend(spool, mailbox).await)?;
    }
    Ok(unreadable)
}

/// Mailboxes that are read at one time.
pub(super) const READERS: usize = 4;

/// A look; where something does not belong together, a crash may have left it so.
async fn look_and_mend(spool: &Spool, mailbox: &MailboxId) -> Result<usize, Error> {
    let looked = look(spool, mailbox, Depth::Files).await?;
    if looked.problems.is_empty() {
        return Ok(0);
    }
    mend_one(spool, mailbox).await?;
    let looked = look(spool, mailbox, Depth::Files).await?;
    for problem in &looked.problems {
        warn!(%mailbox, "{problem}");
    }
    Ok(looked.problems.len())
}

async fn mend_one(spool: &Spool, mailbox: &MailboxId) -> Result<(), Error> {
    let (dir, shred) = (spool.0.layout.mailbox(mailbox), spool.0.options.shred);
    blocking(move || mend(&dir, shred)).await?
}

fn forget_gone(spool: &Spool, all: &[MailboxId]) {
    for mailbox in spool.0.index.mailboxes() {
        if all.binary_search(&mailbox).is_err() && !is_there(&spool.0.layout.mailbox(&mailbox)) {
            spool.forget(&mailbox);
        }
    }
}

/// Recordings that the spool could not take become drafts in it.
fn bring_strays_home(spool: &Spool) {
    let strays = spool.0.room.strays().unwrap_or_else(|error| {
        warn!("{error}");
        vec![]
    });
    for stray in strays {
        let come = || {
            let text = fs::read(stray.with_extension("txt")).unwrap_or_default();
            let fields = Sidecar::parse(&text);
            let id = MailboxId::new(fields.text_of("context"), fields.text_of("origmailbox"));
            let call = stray.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let Some(id) = id.ok().filter(|_| is_call(call)) else {
                warn!("{} belongs to no mailbox, and stays there", stray.display());
                return Ok(());
            };
            if !is_delivered(spool, &id, call)? {
                let audio = spool.0.layout.drafts(&id).join(format!("{call}.wav"));
                bring_home(&stray, &audio)?;
            }
            forget(&stray);
            Ok::<_, Error>(())
        };
        if let Err(error) = come() {
            warn!("{} stays there until the next start: {error}", stray.display());
        }
    }
}

/// Whether a message was made of a call's recording.
fn is_delivered(spool: &Spool, mailbox: &MailboxId, call: &str) -> Result<bool, Error> {
    let home = spool.0.layout.mailbox(mailbox);
    for folder in names(&home)?.iter().filter(|name| *name != "tmp") {
        let folder = home.join(folder);
        if folder.is_dir() && names(&folder)?.iter().any(|name| name.contains(call)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn with_drafts(spool: &Spool, all: &[MailboxId]) -> Result<Vec<MailboxId>, Error> {
    let mut busy = vec![];
    for mailbox in all {
        let drafts = names(&spool.0.layout.drafts(mailbox));
        if !or_without(spool, mailbox, drafts)?.is_empty() {
            busy.push(mailbox.clone());
        }
    }
    Ok(busy)
}

pub(super) fn all_touched(spool: &Spool, all: &[MailboxId]) -> Result<Vec<MailboxId>, Error> {
    let mut found = vec![];
    for mailbox in all {
        let touched = touched(spool, mailbox, Depth::Changed);
        if touched.is_ok() {
            spool.is_open(&format!("mailbox {mailbox}"));
        }
        if !or_without(spool, mailbox, touched)?.is_empty() {
            found.push(mailbox.clone());
        }
    }
    Ok(found)
}

/// Every mailbox's directory, in order, but for contexts that cannot be read.
pub(super) fn all_mailboxes(spool: &Spool) -> Result<Vec<MailboxId>, Error> {
    let (all, closed) = mailboxes(spool.root())?;
    let closed: BTreeMap<String, Error> = closed
        .into_iter()
        .map(|(context, error)| (format!("the context {context}"), error))
        .collect();
    spool.closed().retain(|what| !what.starts_with("the context ") || closed.contains_key(what));
    for (what, error) in closed {
        spool.without(&what, error)?;
    }
    Ok(all)
}

/// Contexts that cannot be read, and why.
type Closed = Vec<(String, Error)>;

/// Every mailbox's directory, in order.
pub(super) fn mailboxes(root: &Path) -> Result<(Vec<MailboxId>, Closed), Error> {
    let (mut ids, mut closed) = (vec![], vec![]);
    for context in names(root)? {
        let dir = root.join(&context);
        // Every disk of its own has one, which only root may read.
        if context == "lost+found" || !dir.is_dir() {
            continue;
        }
        let numbers = match names(&dir) {
            Ok(numbers) => numbers,
            Err(error) => {
                closed.push((context, error));
                continue;
            }
        };
        for number in numbers {
            if dir.join(&number).is_dir()
                && let Ok(id) = MailboxId::new(&context, &number)
            {
                ids.push(id);
            }
        }
    }
    ids.sort();
    Ok((ids, closed))
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
        (is_call(stem) && matches!(extension, "wav" | "txt" | "new")).then(|| dir.join(stem))
    });
    Ok(ours.collect())
}

fn is_call(stem: &str) -> bool {
    stem.len() == DIGITS && stem.bytes().all(|b| b.is_ascii_digit())
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
            Ok(Some((message, counts))) => {
                let _ = spool.0.changes.send(Change::Found { message, counts });
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
) -> Result<Option<(Arc<Message>, Counts)>, Error> {
    let began = fs::metadata(audio).map_err(Error::io("read", audio))?;
    let received = seconds(began.created().or_else(|_| began.modified()).unwrap_or(UNIX_EPOCH));
    let fresh = fresh_id(u64::try_from(received).unwrap_or(0).saturating_mul(1000))?;
    let call = spool.call_digits(received).await?;
    let mut draft =
        Draft::found((&spool.0.layout, &spool.0.room), mailbox, fresh, (audio, received, call));
    revive(spool, draft.clone()).await.inspect_err(|_| {
        draft.complain(); // as the scan does
        spool.keep(draft);
    })
}

/// Makes a message of a draft whose recorder is gone; `None` where it held nothing and was removed.
pub(super) async fn revive(
    spool: &Spool,
    draft: Draft,
) -> Result<Option<(Arc<Message>, Counts)>, Error> {
    let coming = draft.clone();
    blocking(move || coming.come_home()).await??;
    let audio = draft.home().to_owned();
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
    let holds = match blocking(move || (reader.repair)(&open(&repaired)?)).await? {
        Ok(Audio { duration, .. }) => duration >= SHORTEST,
        // Not even a header was written.
        Err(_) if size < 44 => false,
        Err(error) => return Err(Error::io("read", &audio)(error)),
    };
    if !holds {
        spool.discard(draft).await?;
        return Ok(None);
    }
    let (message, counts, synced) = spool.publish(draft).await?;
    spool.until_safe(synced).await;
    Ok(Some((message, counts)))
}

/// A sidecar whose audio is in its folder already, a draft's or a copy's: the crash fell between
/// the two renames. Without such audio it says nothing.
fn complete(spool: &Spool, mailbox: &MailboxId, draft: &Path) -> Result<(), Error> {
    if draft.with_extension("wav").exists() {
        return Ok(());
    }
    for text in ["new", "txt"].map(|extension| draft.with_extension(extension)) {
        let Ok(bytes) = fs::read(&text) else { continue };
        let fields = Sidecar::parse(&bytes);
        let call = fields.text_of("call");
        // Half of one, or that of a recording which never came to its end.
        let is_whole =
            !call.is_empty() && fields.number().is_some() && !fields.text_of("sha256").is_empty();
        let audio = if is_whole { without_sidecar(spool, mailbox, call)? } else { None };
        match audio {
            Some(audio) => {
                let to = audio.with_extension("txt");
                rename_into(&text, &to).map_err(Error::io("move the sidecar to", &to))?;
            }
            // Somebody may still find both.
            None if is_whole || text.extension().is_some_and(|it| it == "new") => {
                warn!("{} describes a recording that is not to be found", text.display());
            }
            None => remove(&text)?,
        }
    }
    Ok(())
}

/// The recording of a call that lies in a folder without its sidecar.
fn without_sidecar(
    spool: &Spool,
    mailbox: &MailboxId,
    call: &str,
) -> Result<Option<PathBuf>, Error> {
    let home = spool.0.layout.mailbox(mailbox);
    for folder in names(&home)?.iter().filter(|name| *name != "tmp") {
        let folder = home.join(folder);
        if !folder.is_dir() {
            continue;
        }
        for (stem, lying) in listing(&names(&folder)?) {
            if let (false, Some(formats)) = (lying.sidecar, lying.formats)
                && stem.as_str().contains(call)
            {
                return Ok(Some(folder.join(format!("{stem}.{}", formats.best()))));
            }
        }
    }
    Ok(None)
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
        let Some(stem) = Stem::found(stem) else { continue };
        if extension == "txt" {
            listing.entry(stem).or_default().sidecar = true;
        } else if let Some(format) = Formats::named(extension) {
            let lying = listing.entry(stem).or_default();
            lying.formats = Some(lying.formats.map_or(format, |others| others.and(format)));
        }
    }
    let leftovers: Vec<Stem> =
        listing.keys().filter(|stem| is_leftover(stem.as_str(), &listing)).cloned().collect();
    for stem in leftovers {
        listing.remove(&stem);
    }
    listing
}

/// What Asterisk makes for a moment beside a message that it forwards with an introduction: the
/// introduction, and a copy of the message as it was. A copy that outlived its message is one.
fn is_leftover(stem: &str, listing: &BTreeMap<Stem, Lying>) -> bool {
    let of_message = |stem: &str| {
        let number = stem.strip_prefix("msg").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let whole = |stem: &str| {
        let lying = Stem::found(stem).and_then(|stem| listing.get(&stem).copied());
        lying.is_some_and(|lying| lying.sidecar && lying.formats.is_some())
    };
    match (stem.strip_suffix("-bak"), stem.strip_suffix("-prepend")) {
        (Some(message), _) => of_message(message) && whole(message),
        (None, Some(message)) => of_message(message),
        (None, None) => false,
    }
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}
