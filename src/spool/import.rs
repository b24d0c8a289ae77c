//! Another spool's messages, taken over: copied, made safe, and published as found.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::draft::sum;
use super::edit::write_beside;
use super::look::seen;
use super::publish::{Acted, Arrival, Work, rename_into};
use super::scan::{Lying, listing, mailboxes, names};
use super::sidecar::{Fallback, LARGEST, Sidecar};
use super::{Error, Reader, Spool, blocking};
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{Change, Folder, Formats, MailboxId, MessageId, Stem};
use crate::state::Counter;

/// What an import of one mailbox came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub messages: usize,
    /// Messages that are here already.
    pub known: usize,
    pub greetings: usize,
    /// What could not be copied, and why.
    pub problems: Vec<String>,
}

/// A message as it lies in the other spool.
struct Source {
    dir: PathBuf,
    stem: Stem,
    fields: Sidecar,
    fallback: Fallback,
    sha256: String,
    /// The same at each import, wherever it lies and whatever it is called.
    id: MessageId,
}

impl Spool {
    /// Copies what lies in `from`, a mailbox's directory in Asterisk's spool, into the mailbox
    /// `to`. Messages that were taken over before are left out, and so is a greeting where there
    /// is one. With `dry` nothing is copied, only counted.
    pub async fn import(
        &self,
        (to, owner): (&MailboxId, u64),
        from: &Path,
        dry: bool,
    ) -> Result<Imported, Error> {
        let mut imported = Imported::default();
        let mut alike = HashMap::new();
        for name in names(from)? {
            let dir = from.join(&name);
            let Some(folder) = Folder::named(&name).filter(|_| dir.is_dir()) else { continue };
            for (stem, lying) in listing(&names(&dir)?) {
                let (at, reader, mailbox) = (dir.clone(), self.0.reader, to.to_string());
                let before = alike.clone();
                let read =
                    blocking(move || Source::read((&at, &stem), lying, &mailbox, reader, before))
                        .await?;
                let taken = match read {
                    Ok((source, after)) => {
                        alike = after;
                        self.take(source, (to, owner), &folder, dry).await
                    }
                    Err(why) => {
                        imported.problems.push(why);
                        continue;
                    }
                };
                match taken {
                    Ok(true) => imported.messages += 1,
                    Ok(false) => imported.known += 1,
                    Err(error) => imported.problems.push(error.to_string()),
                }
            }
        }
        let (from, home) = (from.to_owned(), self.0.layout.mailbox(to));
        imported.greetings = blocking(move || greetings(&from, &home, dry)).await??;
        Ok(imported)
    }

    /// Whether it was not here yet.
    async fn take(
        &self,
        source: Source,
        (to, owner): (&MailboxId, u64),
        folder: &Folder,
        dry: bool,
    ) -> Result<bool, Error> {
        if self.get(to, source.id).await?.is_some() {
            return Ok(false);
        }
        if dry {
            return Ok(true);
        }
        let number = self.0.state.next(Counter::Message).await?;
        let Source { dir, stem: old, mut fields, fallback, sha256, id } = source;
        let mut message = fields.message((id, number), (to, folder, old.clone()), &fallback);
        let call = self.call_digits(message.envelope.received).await?;
        let seconds = message.duration.as_secs();
        message.envelope.call.clone_from(&call);
        message.sha256 = sha256;
        message.stem = Stem::ours(
            message.envelope.received,
            &call,
            owner,
            &message.envelope.caller.number,
            seconds,
        );
        self.is_ours_now(&message.stem, false);
        let (layout, probe) = (self.0.layout.clone(), self.0.options.probe.clone());
        let work = blocking(move || {
            let tmp = layout.drafts(&message.mailbox);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&tmp);
            made.map_err(Error::io("make", &tmp))?;
            let (mut audio, mut written) = (vec![], vec![]);
            // The one that tells of the message last.
            for extension in message.formats.extensions().rev() {
                // A crash leaves no message of this name: nobody was told of one.
                let copy = tmp.join(format!("{call}.copy.{extension}"));
                written
                    .push((copy.clone(), copied(&dir.join(format!("{old}.{extension}")), &copy)?));
                audio.push((copy, extension));
            }
            fields.taken_over(&message, owner);
            let sidecar = tmp.join(format!("{call}.new"));
            written.push((sidecar.clone(), write_beside(&sidecar, &fields)?));
            let folder = layout.folder(&message.mailbox, &message.folder);
            let arrival = Arrival { message, folder: folder.clone(), audio, sidecar, probe };
            let act: Box<dyn FnOnce() -> Result<Acted, Error> + Send> = Box::new(move || {
                let message = arrival.place()?;
                let seen = seen(&folder, &message);
                Ok(Acted { message, seen, folders: vec![folder] })
            });
            Ok::<_, Error>(Work { written, act })
        });
        let work = work.await??;
        let _shared = self.turn_of(to).read().await;
        let (message, seen) = self.act(work).await?;
        let counts = self.0.index.insert(&message, seen);
        self.tell(Change::Found { message, counts });
        Ok(true)
    }
}

/// How many messages have had each key so far.
type Alike = HashMap<String, usize>;

impl Source {
    fn read(
        (dir, stem): (&Path, &Stem),
        lying: Lying,
        mailbox: &str,
        reader: Reader,
        mut alike: Alike,
    ) -> Result<(Self, Alike), String> {
        let path = |extension: &str| dir.join(format!("{stem}.{extension}"));
        let txt = path("txt");
        let told = |error: io::Error| format!("{}: {error}", dir.join(stem.as_str()).display());
        let formats =
            lying.formats.ok_or_else(|| format!("{} has no audio beside it", txt.display()))?;
        let mut fields = Sidecar::default();
        if lying.sidecar {
            if fs::metadata(&txt).map_err(told)?.len() > LARGEST {
                return Err(format!("{} is too large for a sidecar", txt.display()));
            }
            fields = Sidecar::parse(&fs::read(&txt).map_err(told)?);
        }
        let audio = path(formats.best());
        let meta = fs::metadata(&audio).map_err(told)?;
        // What cannot be read can still be kept.
        let (rate, duration, data_at) = (reader.info)(&audio)
            .map_or((0, Duration::ZERO, 0), |audio| (audio.rate, audio.duration, audio.data_at));
        let modified = meta.modified().map_err(told)?;
        let began = modified.checked_sub(duration).unwrap_or(UNIX_EPOCH);
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let received = i64::try_from(began).unwrap_or(i64::MAX);
        let mut file = File::open(&audio).map_err(told)?;
        let sha256 = sum(&mut file, data_at).map_err(told)?;
        let mut key = match fields.text_of("msg_id") {
            "" => sha256.clone(),
            msg_id => msg_id.to_owned(),
        };
        // Messages that have even their audio in common are told apart by their order.
        let before = alike.entry(key.clone()).or_default();
        if *before > 0 {
            key += &format!("#{before}");
        }
        *before += 1;
        let fallback = Fallback { received, duration, rate, formats, bytes: meta.len() };
        let at = fields.envelope(received).received;
        let digest = Sha256::digest(format!("{mailbox}\n{key}"));
        let mut chance = [0; 16];
        chance.copy_from_slice(&digest[..16]);
        let millis = u64::try_from(at).unwrap_or(0).saturating_mul(1000);
        let id = MessageId::new(millis, u128::from_le_bytes(chance));
        Ok((Self { dir: dir.to_owned(), stem: stem.clone(), fields, fallback, sha256, id }, alike))
    }
}

fn copied(from: &Path, to: &Path) -> Result<File, Error> {
    // What an earlier attempt left there is worth nothing.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).map_err(Error::io("open", to))?;
    File::options().read(true).write(true).open(to).map_err(Error::io("open", to))
}

fn greetings(from: &Path, home: &Path, dry: bool) -> Result<usize, Error> {
    let mut copies = 0;
    let (there, offered) = (names(home)?, names(from)?);
    let of = |names: &[String], stem: &str| -> Vec<String> {
        let audio = |name: &&String| {
            name.rsplit_once('.').is_some_and(|(s, e)| s == stem && Formats::named(e).is_some())
        };
        names.iter().filter(audio).cloned().collect()
    };
    for greeting in [Greeting::Unavailable, Greeting::Busy, Greeting::Name, Greeting::Temporary] {
        let files = of(&offered, greeting.stem());
        if files.is_empty() || !of(&there, greeting.stem()).is_empty() {
            continue;
        }
        copies += 1;
        if dry {
            continue;
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(home);
        made.map_err(Error::io("make", home))?;
        for name in files {
            let (hidden, to) = (home.join(format!(".{name}.new")), home.join(&name));
            let file = copied(&from.join(&name), &hidden)?;
            file.sync_all().map_err(Error::io("sync", &hidden))?;
            match rename_into(&hidden, &to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => done.map_err(Error::io("move to", &to))?,
            }
        }
        let synced = File::open(home).and_then(|dir| dir.sync_all());
        synced.map_err(Error::io("sync", home))?;
    }
    Ok(copies)
}

/// Each mailbox's directory in a spool of Asterisk's, with the mailbox that it is.
pub fn mailboxes_in(root: &Path) -> Result<Vec<(MailboxId, PathBuf)>, Error> {
    let with_path = |id: MailboxId| {
        let path = root.join(id.path());
        (id, path)
    };
    let (all, closed) = mailboxes(root)?;
    match closed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(all.into_iter().map(with_path).collect()),
    }
}
