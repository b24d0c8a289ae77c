//! `mailbox.toml`: one per mailbox, edited by people and by us, replaced in one step.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::LazyLock;

use toml::{Table, Value};
use uuid::Uuid;

use sha2::{Digest, Sha256};

use super::Error;
use crate::mailbox::Mailbox;
use crate::mailbox::greeting::Rule;

pub(super) const NAME: &str = "mailbox.toml";
/// What an import found and could not use: kept for people to read.
const KEPT: &str = "asterisk";

/// Larger files are no settings.
const LARGEST: u64 = 256 * 1024;

/// The settings in a mailbox's directory, and the keys in them that mean nothing to us.
pub(super) fn read(dir: &Path) -> Result<(Mailbox, Vec<String>), Error> {
    let path = dir.join(NAME);
    let table = table(&path)?;
    let unknown =
        table.keys().filter(|key| *key != KEPT && !KNOWN.contains(key)).cloned().collect();
    let mailbox: Mailbox = Value::Table(table)
        .try_into()
        .map_err(|error| Error::Unreadable { path: path.clone(), why: error.to_string() })?;
    Ok((with_rows(mailbox), unknown))
}

/// The same for all: a start reads very many.
static KNOWN: LazyLock<Vec<String>> = LazyLock::new(|| keys(&Mailbox::new(Uuid::nil(), 0, 0)));

/// Writes options of Asterisk's that mean nothing here beside the settings.
pub(super) fn keep(dir: &Path, options: &BTreeMap<String, String>) -> Result<(), Error> {
    if options.is_empty() {
        return Ok(());
    }
    let path = dir.join(NAME);
    let mut settings = table(&path)?;
    let options = options.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    settings.insert(KEPT.to_owned(), Value::Table(options.collect()));
    replace(dir, &settings)
}

/// Replaces the settings; keys that are not ours stay.
pub(super) fn write(dir: &Path, mailbox: &Mailbox) -> Result<(), Error> {
    let path = dir.join(NAME);
    let known = keys(mailbox);
    let mut settings = encode(mailbox, &path)?;
    match table(&path) {
        Ok(kept) => settings.extend(kept.into_iter().filter(|(key, _)| !known.contains(key))),
        Err(error) if error.is_missing() => {}
        // What cannot be read cannot be kept; it is not thrown away either.
        Err(error) => return Err(error),
    }
    replace(dir, &settings)
}

fn replace(dir: &Path, settings: &Table) -> Result<(), Error> {
    let path = dir.join(NAME);
    let text = toml::to_string(settings)
        .map_err(|error| Error::Unreadable { path: path.clone(), why: error.to_string() })?;
    let beside = dir.join(".mailbox.toml.new");
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(io("write", &beside))?;
    file.write_all(text.as_bytes()).map_err(io("write", &beside))?;
    file.sync_all().map_err(io("sync", &beside))?;
    fs::rename(&beside, &path).map_err(io("replace", &path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

/// Bare addresses get rows that are the same at each reading, until they are written down.
fn with_rows(mut mailbox: Mailbox) -> Mailbox {
    let (own, created) = (mailbox.uuid, mailbox.created);
    for row in mailbox.email.iter_mut().filter(|row| row.uuid.is_nil()) {
        let digest = Sha256::new().chain_update(own).chain_update(&row.address).finalize();
        let bytes = <[u8; 16]>::try_from(&digest[..16]).unwrap_or_default();
        row.uuid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
        (row.created, row.updated) = (created, created);
    }
    mailbox
}

/// Every key that settings can have.
pub(super) fn keys(mailbox: &Mailbox) -> Vec<String> {
    let full = Mailbox {
        sip_address: Some(String::new()),
        e164: Some(String::new()),
        time_zone: Some(String::new()),
        pager: Some(String::new()),
        earlier_pins: vec![String::new()],
        greeting: Some(Uuid::nil()),
        max_messages: Some(0),
        max_seconds: Some(0),
        min_seconds: Some(0),
        greeting_rules: vec![Rule::default()],
        temporary_until: Some(0),
        clock: Some(0),
        date_format: Some(String::new()),
        ..mailbox.clone()
    };
    encode(&full, Path::new(NAME)).map_or(vec![], |table| table.keys().cloned().collect())
}

fn encode(mailbox: &Mailbox, path: &Path) -> Result<Table, Error> {
    Table::try_from(mailbox)
        .map_err(|error| Error::Unreadable { path: path.to_owned(), why: error.to_string() })
}

fn table(path: &Path) -> Result<Table, Error> {
    let io = |source| Error::Io { doing: "read", path: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(io)?;
    if meta.len() > LARGEST || !meta.is_file() {
        let why = if meta.is_file() { "it is too large" } else { "it is no file" };
        return Err(Error::Unreadable { path: path.to_owned(), why: why.into() });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    text.parse().map_err(|error: toml::de::Error| Error::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    })
}
