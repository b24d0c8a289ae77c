//! What a crash left half-done in one mailbox, put right: a move, a copy, a purge.
//!
//! The same names always lead to the same end, so a crash in here is mended by the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::Error;
use super::edit::{dispose, remove};
use super::publish::rename_into;
use super::scan::{listing, names};
use super::sidecar::{LARGEST, Sidecar};
use crate::mailbox::{Folder, Formats, Stem};

/// One folder of the mailbox, by what belongs together in it.
struct Shelf {
    dir: PathBuf,
    /// Sidecars without audio.
    orphans: Vec<Stem>,
    /// Audio without sidecar.
    lone: Vec<(Stem, Formats)>,
    whole: Vec<Stem>,
}

pub(super) fn mend(mailbox: &Path, shred: bool) -> Result<(), Error> {
    let tmp = mailbox.join("tmp");
    let left = names(&tmp)?;
    let shelves = shelves(mailbox)?;
    for name in left.iter().filter(|name| is_a(name, "purge")) {
        purge(&shelves, &tmp.join(name), &left)?;
    }
    for name in &left {
        let path = tmp.join(name);
        if is_a(name, "gone") {
            dispose(&path, shred)?;
        } else if let Some(id) = name.strip_suffix(".edit") {
            finish_move(&shelves, &path, id)?;
        } else if name.contains(".copy.") {
            // Nobody was told of this copy.
            let call = name.split('.').next().unwrap_or_default();
            if left.iter().any(|other| *other == format!("{call}.new")) {
                remove(&tmp.join(format!("{call}.new")))?;
            }
            remove(&path)?;
        }
    }
    for shelf in &shelves {
        for stem in &shelf.orphans {
            forget_moved(&shelves, shelf, stem)?;
        }
    }
    Ok(())
}

fn is_a(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, last)| last == extension)
}

fn shelves(mailbox: &Path) -> Result<Vec<Shelf>, Error> {
    let mut shelves = vec![];
    for name in names(mailbox)? {
        let dir = mailbox.join(&name);
        if Folder::named(&name).is_none() || !dir.is_dir() {
            continue;
        }
        let mut shelf = Shelf { orphans: vec![], lone: vec![], whole: vec![], dir };
        for (stem, found) in listing(&names(&shelf.dir)?) {
            match (found.sidecar, found.formats) {
                (true, None) => shelf.orphans.push(stem),
                (true, Some(_)) => shelf.whole.push(stem),
                (false, Some(formats)) => shelf.lone.push((stem, formats)),
                (false, None) => {}
            }
        }
        shelves.push(shelf);
    }
    Ok(shelves)
}

/// Once some audio is in the grave the rest of the message follows.
fn purge(shelves: &[Shelf], marker: &Path, left: &[String]) -> Result<(), Error> {
    let id = marker.file_stem().and_then(|id| id.to_str()).unwrap_or_default();
    let begun = left.iter().any(|name| name.starts_with(id) && is_a(name, "gone"));
    let place = fs::read_to_string(marker).unwrap_or_default();
    if let (true, Some((folder, stem))) = (begun, place.split_once('/'))
        && let Some(stem) = Stem::found(stem)
    {
        for shelf in shelves.iter().filter(|shelf| shelf.dir.ends_with(folder)) {
            if shelf.orphans.contains(&stem) || shelf.whole.contains(&stem) {
                remove(&shelf.dir.join(format!("{stem}.txt")))?;
            }
            for extension in Formats::ALL.extensions() {
                remove(&shelf.dir.join(format!("{stem}.{extension}")))?;
            }
        }
    }
    remove(marker)
}

/// An edit that nobody was told of is undone, unless its audio has arrived already.
fn finish_move(shelves: &[Shelf], edit: &Path, id: &str) -> Result<(), Error> {
    let Some(fields) = read(edit) else { return remove(edit) };
    let is_it = |path: &Path| {
        read(path).is_some_and(|old| match old.text_of("id") {
            "" => same_origin(&old, &fields),
            known => known == id,
        })
    };
    for shelf in shelves {
        for stem in &shelf.whole {
            if !is_it(&shelf.dir.join(format!("{stem}.txt"))) {
                continue;
            }
            // Still in its old place, perhaps without some of its formats.
            for other in shelves.iter().filter(|other| other.dir != shelf.dir) {
                for (strayed, formats) in other.lone.iter().filter(|(lone, _)| lone == stem) {
                    for extension in formats.extensions() {
                        let file = format!("{strayed}.{extension}");
                        let to = shelf.dir.join(&file);
                        rename_into(&other.dir.join(&file), &to)
                            .map_err(Error::io("move back to", &to))?;
                    }
                }
            }
            return remove(edit);
        }
    }
    for shelf in shelves {
        for stem in &shelf.orphans {
            let old = shelf.dir.join(format!("{stem}.txt"));
            if !is_it(&old) {
                continue;
            }
            for other in shelves.iter().filter(|other| other.dir != shelf.dir) {
                if let Some((arrived, _)) = other.lone.iter().find(|(lone, _)| follows(lone, stem))
                {
                    let to = other.dir.join(format!("{arrived}.txt"));
                    rename_into(edit, &to).map_err(Error::io("move the sidecar to", &to))?;
                    return remove(&old);
                }
            }
        }
    }
    // A recording that never had a sidecar is whole wherever it lies.
    remove(edit)
}

/// The sidecar that a finished move left behind: the same message is whole elsewhere.
fn forget_moved(shelves: &[Shelf], shelf: &Shelf, stem: &Stem) -> Result<(), Error> {
    let path = shelf.dir.join(format!("{stem}.txt"));
    let Some(old) = read(&path) else { return Ok(()) };
    for other in shelves.iter().filter(|other| other.dir != shelf.dir) {
        for arrived in other.whole.iter().filter(|arrived| follows(arrived, stem)) {
            let Some(new) = read(&other.dir.join(format!("{arrived}.txt"))) else { continue };
            let same = match old.text_of("id") {
                "" => same_origin(&old, &new),
                id => id == new.text_of("id"),
            };
            if same {
                return remove(&path);
            }
        }
    }
    Ok(())
}

/// Whether a message that lay under `stem` may have got this name where it was moved to.
fn follows(name: &Stem, stem: &Stem) -> bool {
    name.as_str().strip_prefix(stem.as_str()).is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Another program's sidecar and what we made of it.
fn same_origin(old: &Sidecar, new: &Sidecar) -> bool {
    ["msg_id", "origtime", "callerid", "callerchan", "origmailbox"]
        .iter()
        .all(|key| old.text_of(key) == new.text_of(key))
        && !old.text_of("origtime").is_empty()
}

fn read(path: &Path) -> Option<Sidecar> {
    let meta = fs::metadata(path).ok().filter(|meta| meta.len() <= LARGEST)?;
    if !meta.is_file() {
        return None;
    }
    fs::read(path)
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                warn!("{} cannot be read: {error}", path.display());
            }
        })
        .ok()
        .map(|bytes| Sidecar::parse(&bytes))
}
