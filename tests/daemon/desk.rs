//! The office that tells owners, without a daemon round it.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use afterbeep::daemon::WAV;
use afterbeep::directory::Directory;
use afterbeep::mailbox::{CallerId, Envelope, MailboxId, Message};
use afterbeep::notice::calendar::o_clock;
use afterbeep::notice::errand::{Errand, Wishes};
use afterbeep::notice::facts::Style;
use afterbeep::notice::letter::Address;
use afterbeep::notice::mailer::{Mailer, server};
use afterbeep::notice::office::{Attach, Office};
use afterbeep::notice::rounds::Rounds;
use afterbeep::notice::template::{Kind, Own, Templates};
use afterbeep::notice::webhook::Poster;
use afterbeep::spool::Spool;
use afterbeep::state::State;
use serde_json::json;
use tempfile::TempDir;

use crate::voice::{Law, Voice, write_wav};

pub struct Desk {
    pub dir: TempDir,
    pub spool: Spool,
    pub directory: Directory,
    pub state: State,
}

impl Desk {
    /// Another task sends; nothing tells when the last row is gone.
    pub async fn until_sent(&self) {
        let begun = Instant::now();
        while !self.state.outbox(0, 9).await.unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "letters wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// With mailbox 1000, whose owner wants to be told.
    pub async fn new() -> Self {
        let desk = Self::open(tempfile::tempdir().unwrap()).await;
        let settings = json!({
            "email": ["owner@example.com"], "notify_email": "yes", "time_zone": "Europe/Berlin",
        });
        desk.directory.add(&id(), settings.as_object().unwrap(), None, 0).await.unwrap();
        desk
    }

    async fn open(dir: TempDir) -> Self {
        let (root, at) = (dir.path().join("spool"), dir.path().join("state"));
        let state = State::open(&at).await.unwrap();
        let (spool, _) = Spool::open(&root, &state, WAV).await.unwrap();
        let (directory, _) = Directory::open(&root, &state).unwrap();
        Self { dir, spool, directory, state }
    }

    /// As after a restart.
    pub async fn reopened(self) -> Self {
        self.spool.close().await;
        self.state.close().await;
        let Self { dir, spool, directory, state } = self;
        drop((spool, directory, state));
        Self::open(dir).await
    }

    /// Mails to this port.
    pub fn office(&self, port: u16) -> Office {
        let server = server(&format!("smtp://127.0.0.1:{port}"), false, None).unwrap();
        Office {
            spool: self.spool.clone(),
            directory: self.directory.clone(),
            state: self.state.clone(),
            templates: Templates::load(None, &Own::default()).unwrap(),
            mailer: Some(Mailer::new(&server, None).unwrap()),
            poster: Poster::new().unwrap(),
            wishes: Wishes { mail: true, ..Wishes::default() },
            style: Style::default(),
            from: Address { name: "Voicemail".into(), address: "vm@pbx.example".into() },
            hooks: HashMap::new(),
            extern_notify: vec![],
            largest: 1_000_000,
            attach: Attach::AsKept,
            link: None,
            rounds: Rounds { digest_at: o_clock("08:00"), remind_after: Some(24 * 3_600) },
        }
    }

    pub async fn leave(&self, name: &str, received: i64) -> Arc<Message> {
        let caller = CallerId { number: "2001".into(), name: name.into(), ext: String::new() };
        let envelope = Envelope { caller, received, ..Envelope::default() };
        let ms = u64::try_from(received).unwrap() * 1000;
        let draft = self.spool.draft(&id(), 1, envelope, ms).await.unwrap();
        let said = self.dir.path().join("said.wav");
        if !said.exists() {
            write_wav(&said, &Voice::new(Law::Mu, 0.4, 3).samples());
        }
        draft.opener()().unwrap().write_all(&fs::read(said).unwrap()).unwrap();
        self.spool.deliver(draft).await.unwrap()
    }

    /// The letters that wait, and when each was written down.
    pub async fn told(&self) -> Vec<(Kind, i64)> {
        let rows = self.state.outbox(0, 99).await.unwrap();
        let kind = |body: &str| match serde_json::from_str(body).unwrap() {
            Errand::Mail { kind, .. } => kind,
            Errand::Hook { .. } => panic!("a hook"),
        };
        rows.iter().map(|row| (kind(&row.body), row.made)).collect()
    }
}

pub fn id() -> MailboxId {
    "1000".parse().unwrap()
}
