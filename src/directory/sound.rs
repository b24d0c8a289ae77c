//! Sounds of an organization: recordings that its mailboxes may greet with.
//!
//! `<spool>/<context>/.sounds/<uuid>.wav`, and `<uuid>.toml` beside it: with that it exists.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Directory, Error};
use crate::mailbox::is_plain_name;
use crate::state;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sound {
    pub uuid: Uuid,
    pub name: String,
    /// As its owner called the file.
    #[serde(default)]
    pub file_name: String,
    #[serde(default)]
    pub tag: String,
    /// Unix seconds.
    pub created: i64,
    pub updated: i64,
}

/// Sounds of one organization.
const MOST: usize = 1_000;

impl Directory {
    pub fn sounds(&self, context: &str) -> Result<Vec<Sound>, Error> {
        let dir = self.sound_dir(context)?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(io_error("read the directory", &dir)(error)),
        };
        let mut sounds: Vec<Sound> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                (path.extension()? == "toml").then(|| read(&path)).flatten()
            })
            .collect();
        sounds.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));
        Ok(sounds)
    }

    pub fn sound(&self, context: &str, uuid: Uuid) -> Option<Sound> {
        let dir = self.sound_dir(context).ok()?;
        read(&dir.join(format!("{uuid}.toml"))).filter(|sound| sound.uuid == uuid)
    }

    /// Where the audio of a sound lies.
    pub fn sound_path(&self, context: &str, uuid: Uuid) -> PathBuf {
        self.0.root.join(context).join(".sounds").join(format!("{uuid}.wav"))
    }

    /// Keeps a sound whose audio stands in `audio`, which goes away.
    pub fn add_sound(&self, context: &str, sound: &Sound, audio: &Path) -> Result<(), Error> {
        let dir = self.sound_dir(context)?;
        if self.sound(context, sound.uuid).is_some() {
            return Err(Error::Refused(format!("there is a sound {} already", sound.uuid)));
        }
        if self.sounds(context)?.len() >= MOST {
            return Err(Error::Refused(format!("an organization has at most {MOST} sounds")));
        }
        state::make_private(&dir)?;
        let path = self.sound_path(context, sound.uuid);
        File::open(audio).and_then(|file| file.sync_all()).map_err(io_error("sync", audio))?;
        fs::rename(audio, &path).map_err(io_error("put in place", &path))?;
        write(&dir, sound)
    }

    /// A file to write a sound into before it is kept.
    pub fn sound_draft(&self, context: &str) -> Result<PathBuf, Error> {
        let dir = self.sound_dir(context)?;
        state::make_private(&dir)?;
        Ok(dir.join(format!(".{}.part", Uuid::new_v4())))
    }

    pub fn edit_sound(&self, context: &str, sound: &Sound) -> Result<(), Error> {
        write(&self.sound_dir(context)?, sound)
    }

    /// `false` where there is none. Mailboxes that greet with it greet with their own again.
    pub fn remove_sound(&self, context: &str, uuid: Uuid) -> Result<bool, Error> {
        let row = self.sound_dir(context)?.join(format!("{uuid}.toml"));
        match fs::remove_file(&row) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io_error("remove", &row)(error)),
        }
        // Without its row it is no sound any more, whatever becomes of the file.
        let _ = fs::remove_file(self.sound_path(context, uuid));
        Ok(true)
    }

    fn sound_dir(&self, context: &str) -> Result<PathBuf, Error> {
        if !is_plain_name(context) {
            return Err(Error::Refused(format!("`{}` is no context", context.escape_debug())));
        }
        Ok(self.0.root.join(context).join(".sounds"))
    }
}

fn read(path: &Path) -> Option<Sound> {
    toml::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn write(dir: &Path, sound: &Sound) -> Result<(), Error> {
    let path = dir.join(format!("{}.toml", sound.uuid));
    let text = toml::to_string(sound)
        .map_err(|error| Error::Unreadable { path: path.clone(), why: error.to_string() })?;
    let beside = dir.join(format!(".{}.new", sound.uuid));
    let mut options = File::options();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(io_error("write", &beside))?;
    fs::rename(&beside, &path).map_err(io_error("put in place", &path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("sync", dir))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Settings;
    use crate::mailbox::MailboxId;
    use crate::mailbox::greeting::Greeting;
    use crate::state::State;

    #[tokio::test]
    async fn a_sound_greets_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).await.unwrap();
        let (directory, _) = Directory::open(&dir.path().join("state"), &state).unwrap();
        let id: MailboxId = "1000@sales".parse().unwrap();
        directory.add(&id, &Settings::new(), None, 0).await.unwrap();
        let uuid = Uuid::from_u128(7);
        let edit = |uuid: Uuid| {
            let wish = serde_json::json!({"greeting": uuid});
            directory.edit(&id, wish.as_object().unwrap(), None, 1)
        };
        assert!(edit(uuid).is_err(), "no such sound");
        let sound = Sound {
            uuid,
            name: "Hello \"you\"".into(),
            file_name: "hello.wav".into(),
            tag: String::new(),
            created: 1,
            updated: 1,
        };
        let draft = directory.sound_draft("sales").unwrap();
        fs::write(&draft, b"RIFF").unwrap();
        directory.add_sound("sales", &sound, &draft).unwrap();
        assert_eq!(directory.sounds("sales").unwrap(), std::slice::from_ref(&sound));
        assert_eq!(directory.sounds("support").unwrap(), []);
        assert!(directory.add_sound("sales", &sound, &draft).is_err());
        assert!(!directory.recorded(&id).unavailable);
        edit(uuid).unwrap();
        assert!(directory.recorded(&id).unavailable);
        let plays = directory.greeting(&id, Greeting::Unavailable);
        assert_eq!(fs::read(plays).unwrap(), b"RIFF");
        assert!(directory.remove_sound("sales", uuid).unwrap());
        assert!(!directory.remove_sound("sales", uuid).unwrap());
        assert!(!directory.recorded(&id).unavailable);
        assert!(directory.sounds("../x").is_err());
    }
}
