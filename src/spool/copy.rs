//! A message sent on, or kept by its sender: another message with the same audio.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::draft::sum;
use super::edit::{Files, sidecar_of, write_beside};
use super::layout::Layout;
use super::look::seen;
use super::publish::{Acted, Arrival, Work};
use super::{Audio, Error, Probe, Reader};
use crate::mailbox::{CallerId, Folder, Formats, Forwarded, MailboxId, Message, MessageId, Stem};

/// What a copy is for.
#[derive(Clone, Debug)]
pub enum CopyAs {
    /// Another recipient of the same message: it arrives there as it arrived here.
    Also,
    /// Sent on by an owner: it arrives there as new, from the same caller.
    Forward {
        /// As the recipient shall hear or read it: the sender's mailbox or name.
        by: String,
        urgent: bool,
        /// What the sender says before it: an own recording, which stays where it is.
        intro: Option<PathBuf>,
    },
    /// The owner's own copy of what was sent from the mailbox, in SENT.
    Sent,
    /// The owner's own copy into another folder.
    Within(Folder),
}

/// Whose a copy shall be.
pub(super) struct Target {
    pub(super) mailbox: MailboxId,
    pub(super) owner: u64,
    pub(super) id: MessageId,
    pub(super) number: u64,
    pub(super) call: String,
    pub(super) at: i64,
}

pub(super) fn copy(
    layout: &Layout,
    source: &Message,
    (target, how): (Target, &CopyAs),
    reader: Reader,
    probe: &Probe,
) -> Result<Work, Error> {
    let Target { mailbox, owner, id, number, call, at } = target;
    let old = Files::of(layout, source);
    let mut fields = sidecar_of(source, &old)?;
    let tmp = layout.drafts(&mailbox);
    DirBuilder::new().recursive(true).mode(0o700).create(&tmp).map_err(Error::io("make", &tmp))?;
    let mut copied = Message {
        id,
        number,
        mailbox,
        folder: Folder::Inbox,
        heard: None,
        deleted: None,
        filed: None,
        origin: Some(source.id),
        ..source.clone()
    };
    copied.envelope.call.clone_from(&call);
    let mut intro = None;
    match how {
        CopyAs::Also => {}
        CopyAs::Forward { by, urgent, intro: said } => {
            copied.forwarded =
                Some(Forwarded { by: by.clone(), received: source.envelope.received });
            copied.envelope.received = at;
            copied.urgent = *urgent;
            intro = said.as_deref();
        }
        CopyAs::Sent => copied.folder = Folder::Sent,
        CopyAs::Within(folder) => copied.folder = folder.clone(),
    }
    let draft = Draft { tmp: &tmp, call: &call };
    let audio = match intro {
        None => draft.link(&old)?,
        Some(intro) => draft.join(intro, &old, &mut copied, reader)?,
    };
    probe.after("audio written").map_err(Error::io("write", &tmp))?;
    let CallerId { number: caller, .. } = &copied.envelope.caller;
    let seconds = copied.duration.as_secs();
    copied.stem = Stem::ours(copied.envelope.received, &call, owner, caller, seconds);
    fields.copied(&copied, owner);
    if intro.is_some() {
        fields.complete(&copied);
    } else {
        fields.mark(&copied);
    }
    let beside = tmp.join(format!("{call}.new"));
    let mut written = vec![(beside.clone(), write_beside(&beside, &fields)?)];
    for (path, _) in &audio {
        written.push((path.clone(), File::open(path).map_err(Error::io("open", path))?));
    }
    probe.after("sidecar written").map_err(Error::io("write", &beside))?;
    let folder = layout.folder(&copied.mailbox, &copied.folder);
    let arrival = Arrival {
        message: copied,
        folder: folder.clone(),
        audio,
        sidecar: beside.clone(),
        probe: probe.clone(),
    };
    let act = Box::new(move || {
        let lying: Vec<PathBuf> = arrival.audio.iter().map(|(path, _)| path.clone()).collect();
        let message = arrival.place().inspect_err(|_| {
            for path in lying.iter().chain([&beside]) {
                let _ = fs::remove_file(path);
            }
        })?;
        let seen = seen(&folder, &message);
        Ok(Acted { message, seen, folders: vec![folder] })
    });
    Ok(Work { written, act })
}

/// A copy that is not yet a message. Its names are no draft's: a crash leaves no message of it,
/// since nobody was told of one.
struct Draft<'a> {
    tmp: &'a Path,
    call: &'a str,
}

impl Draft<'_> {
    fn named(&self, extension: &str) -> PathBuf {
        self.tmp.join(format!("{}.copy.{extension}", self.call))
    }

    /// The same audio under a second name where the file system can; nobody writes into it.
    fn link(&self, old: &Files) -> Result<Vec<(PathBuf, &'static str)>, Error> {
        let mut linked = vec![];
        for (path, extension) in &old.audio {
            let to = self.named(extension);
            match fs::hard_link(path, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::io("copy", path)(error));
                }
                Err(_) => {
                    fs::copy(path, &to).map_err(Error::io("copy", path))?;
                }
            }
            linked.push((to, *extension));
        }
        Ok(linked)
    }

    fn join(
        &self,
        intro: &Path,
        old: &Files,
        copied: &mut Message,
        reader: Reader,
    ) -> Result<Vec<(PathBuf, &'static str)>, Error> {
        let to = self.named("wav");
        let Some((best, _)) = old.audio.last() else {
            return Err(Error::NoSuchMessage(copied.id));
        };
        let Audio { rate, duration, data_at } =
            (reader.join)(&[intro, best], &to).map_err(Error::io("write", &to))?;
        let mut file = File::open(&to).map_err(Error::io("open", &to))?;
        copied.sha256 = sum(&mut file, data_at).map_err(Error::io("read", &to))?;
        copied.bytes = file.metadata().map_or(0, |meta| meta.len());
        (copied.rate, copied.duration, copied.formats) = (rate, duration, Formats::WAV);
        Ok(vec![(to, "wav")])
    }
}
