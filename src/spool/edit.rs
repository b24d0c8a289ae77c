//! Marking, moving and purging what lies in the tree.
//!
//! A moved message is never in two places: its audio is renamed, then its new sidecar, which lay
//! safe in `tmp`; the old sidecar goes last, and says nothing without audio.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::draft::replace;
use super::index::Seen;
use super::layout::Layout;
use super::look::seen;
use super::publish::{Acted, Arrival, Work, rename_into};
use super::sidecar::{LARGEST, Sidecar};
use super::{Error, Probe};
use crate::mailbox::Message;

/// How a message's files become those of the edited message.
pub(super) fn change(
    layout: &Layout,
    was: &Message,
    edited: Message,
    probe: &Probe,
) -> Result<Work, Error> {
    let old = Files::of(layout, was);
    let mut fields = sidecar_of(was, &old)?;
    fields.mark(&edited);
    let beside = layout.drafts(&was.mailbox).join(format!("{}.edit", was.id));
    let file = write_beside(&beside, &fields)?;
    probe.after("sidecar written").map_err(Error::io("write", &beside))?;
    let probe = probe.clone();
    let written = vec![(beside.clone(), file)];
    let folder = layout.folder(&edited.mailbox, &edited.folder);
    let act: Box<dyn FnOnce() -> Result<Acted, Error> + Send> = if edited.folder == was.folder {
        Box::new(move || {
            fs::rename(&beside, &old.sidecar).map_err(Error::io("replace", &old.sidecar))?;
            probe.reached("sidecar replaced");
            let seen = seen(&folder, &edited);
            Ok(Acted { message: edited, seen, folders: vec![folder] })
        })
    } else {
        Box::new(move || {
            let arrival = Arrival {
                message: edited,
                folder: folder.clone(),
                audio: old.audio,
                sidecar: beside.clone(),
                probe: probe.clone(),
            };
            let message = arrival.place().inspect_err(|_| {
                let _ = fs::remove_file(&beside);
            })?;
            // Without audio it says nothing: the next start removes it.
            if let Err(error) = remove(&old.sidecar) {
                warn!("{error}");
            }
            probe.reached("old sidecar removed");
            let seen = seen(&folder, &message);
            Ok(Acted { message, seen, folders: vec![folder, old.folder] })
        })
    };
    Ok(Work { written, act })
}

/// How a message goes for good. Its audio first goes where nobody looks for messages: a lone
/// recording in a folder would be one again.
pub(super) fn purge(layout: &Layout, was: &Message, shred: bool, probe: &Probe) -> Work {
    let old = Files::of(layout, was);
    let (message, probe) = (was.clone(), probe.clone());
    let grave = layout.drafts(&was.mailbox);
    let marker = grave.join(format!("{}.purge", was.id));
    let place = format!("{}/{}", was.folder, was.stem);
    let act = Box::new(move || {
        // Should a crash come now, the next start knows what was to go.
        write_text(&marker, &place).map_err(Error::io("write", &marker))?;
        let mut buried = vec![];
        for (path, extension) in old.audio {
            let to = grave.join(format!("{}.{extension}.gone", message.id));
            match rename_into(&path, &to) {
                // Another program was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => {
                    done.map_err(Error::io("move away", &path))?;
                    buried.push(to);
                }
            }
        }
        probe.reached("audio moved away");
        remove(&old.sidecar)?;
        probe.reached("old sidecar removed");
        for path in buried {
            dispose(&path, shred)?;
        }
        remove(&marker)?;
        Ok(Acted { message, seen: Seen::default(), folders: vec![old.folder] })
    });
    Work { written: vec![], act }
}

/// Removes a file; before that writes over it, where that is wished and no other message shares
/// the audio.
pub(super) fn dispose(path: &Path, shred: bool) -> Result<(), Error> {
    if shred && let Err(error) = overwrite(path) {
        return Err(Error::io("overwrite", path)(error));
    }
    remove(path)
}

fn overwrite(path: &Path) -> io::Result<()> {
    // What a link leads to is not ours.
    if !path.symlink_metadata()?.is_file() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).open(path)?;
    let meta = file.metadata()?;
    if meta.nlink() > 1 {
        return Ok(());
    }
    let zeros = vec![0; 64 * 1024];
    let mut left = meta.len();
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all(&zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

/// A message's files.
pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) sidecar: PathBuf,
    /// The best last: while it lies in its place the message is there.
    pub(super) audio: Vec<(PathBuf, &'static str)>,
}

impl Files {
    pub(super) fn of(layout: &Layout, message: &Message) -> Self {
        let Message { mailbox, folder, stem, formats, .. } = message;
        let folder = layout.folder(mailbox, folder);
        let named = |extension: &str| folder.join(format!("{stem}.{extension}"));
        let audio = formats.extensions().rev().map(|e| (named(e), e)).collect();
        Self { sidecar: named("txt"), audio, folder }
    }
}

/// What the message's sidecar says now: another program may have written to it.
pub(super) fn sidecar_of(message: &Message, files: &Files) -> Result<Sidecar, Error> {
    if let Some((audio, _)) = files.audio.last()
        && !audio.exists()
    {
        return Err(Error::NoSuchMessage(message.id));
    }
    match fs::metadata(&files.sidecar) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Sidecar::described(message));
        }
        Ok(meta) if meta.is_file() && meta.len() <= LARGEST => {}
        Ok(_) => return Err(Error::NoSuchMessage(message.id)),
        Err(error) => return Err(Error::io("read", &files.sidecar)(error)),
    }
    let bytes = fs::read(&files.sidecar).map_err(Error::io("read", &files.sidecar))?;
    Ok(Sidecar::parse(&bytes))
}

pub(super) fn write_beside(path: &Path, fields: &Sidecar) -> Result<File, Error> {
    write_text(path, &fields.text()).map_err(Error::io("write", path))
}

/// Writes a file in `tmp`, which another program's mailbox may not have.
fn write_text(path: &Path, text: &str) -> io::Result<File> {
    replace(path, text.as_bytes()).or_else(|error| match (error.kind(), path.parent()) {
        (io::ErrorKind::NotFound, Some(dir)) => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            replace(path, text.as_bytes())
        }
        _ => Err(error),
    })
}

pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_leads_to_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let [shared, link, own] = ["shared", "link", "own"].map(|name| dir.path().join(name));
        fs::write(&shared, "kept").unwrap();
        fs::write(&own, "gone").unwrap();
        std::os::unix::fs::symlink(&shared, &link).unwrap();
        dispose(&link, true).unwrap();
        dispose(&own, true).unwrap();
        assert_eq!(fs::read_to_string(&shared).unwrap(), "kept");
        assert!(!own.exists() && link.symlink_metadata().is_err());
    }
}
