//! The words of the control socket: commands, replies, and the lines in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::directory::{Settings, Sound};
use crate::mailbox::retention::Retention;
use crate::spool::Progress;
use crate::state::audit::{Entry, Verdict};
use crate::state::credential::{Credential, Kind};
use crate::state::organization::Organization;
use crate::state::outbox::Posted;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    AddMailbox {
        mailbox: String,
        settings: Settings,
        pin: Option<String>,
    },
    EditMailbox {
        mailbox: String,
        settings: Settings,
        pin: Option<String>,
    },
    RemoveMailbox {
        mailbox: String,
    },
    UnlockMailbox {
        mailbox: String,
    },
    ListMailboxes {
        context: Option<String>,
    },
    ShowMailbox {
        mailbox: String,
    },
    AddCredential {
        credential: Credential,
        secret: String,
    },
    RemoveCredential {
        kind: Kind,
        name: String,
    },
    ListCredentials {
        kind: Kind,
    },
    ListLocks,
    OpenLock {
        source: String,
    },
    AddSound {
        context: String,
        uuid: Option<Uuid>,
        name: String,
        file: PathBuf,
    },
    RemoveSound {
        context: String,
        uuid: Uuid,
    },
    ListSounds {
        context: String,
    },
    AddOrganization {
        context: String,
        name: String,
        account: String,
    },
    ListOrganizations,
    VerifyAudit,
    ShowAudit {
        limit: u32,
    },
    ListOutbox {
        after: i64,
        limit: u32,
    },
    RetryOutbox {
        id: Option<i64>,
    },
    DropOutbox {
        id: Option<i64>,
    },
    ListMessages {
        mailbox: String,
        folder: Option<String>,
    },
    /// Answered by `Done`, then by messages until whoever asks goes away.
    Trace {
        filter: TraceFilter,
    },
    /// A mailbox of another program's.
    ImportMailbox {
        mailbox: String,
        settings: Settings,
        pin: Option<String>,
        /// Options that mean nothing here.
        kept: BTreeMap<String, String>,
        dry_run: bool,
    },
    /// What lies in a mailbox's directory of Asterisk's spool.
    ImportMessages {
        mailbox: String,
        from: PathBuf,
        dry_run: bool,
        /// The mailbox would be made by now if this were not a dry run.
        planned: bool,
    },
    /// A copy of the state's database.
    Snapshot,
    RenameMailbox {
        mailbox: String,
        to: String,
    },
    SweepSpool {
        retention: Retention,
        force: bool,
    },
    ReindexSpool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    Done,
    /// Told this once.
    Pin {
        pin: String,
    },
    Mailboxes {
        mailboxes: Vec<MailboxLine>,
    },
    Mailbox {
        settings: Settings,
    },
    Credentials {
        credentials: Vec<Credential>,
    },
    Locks {
        locks: Vec<LockLine>,
    },
    Sounds {
        sounds: Vec<Sound>,
    },
    Organizations {
        organizations: Vec<Organization>,
    },
    Audit {
        verdict: Verdict,
    },
    Trail {
        entries: Vec<Entry>,
    },
    Outbox {
        posted: Vec<Posted>,
    },
    Count {
        count: u64,
    },
    Messages {
        messages: Vec<MessageLine>,
    },
    Traced {
        message: TraceLine,
    },
    /// So many passed too fast.
    Missed {
        messages: u64,
    },
    MailboxImported {
        made: bool,
        /// Told this once, where one was drawn.
        pin: Option<String>,
        weak: bool,
    },
    MessagesImported {
        messages: usize,
        known: usize,
        greetings: usize,
        problems: Vec<String>,
    },
    Snapshot {
        file: PathBuf,
    },
    Swept {
        expired: usize,
        purged: usize,
        /// Removed mailboxes that went for good.
        mailboxes: usize,
        /// Why nothing was.
        halted: Option<String>,
    },
    /// More follows.
    Reading {
        progress: Progress,
    },
    Reindexed {
        messages: usize,
        differ: usize,
    },
    Refused {
        why: String,
    },
}

/// Which SIP messages are told; what is unset fits all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TraceFilter {
    /// The beginning of a Call-ID.
    pub call: Option<String>,
    pub caller: Option<String>,
    pub mailbox: Option<String>,
}

/// A SIP message as it passed, without secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct TraceLine {
    pub at_ms: i64,
    pub call_id: String,
    /// `in` or `out`.
    pub direction: String,
    pub transport: String,
    pub local: String,
    pub remote: String,
    pub summary: String,
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct MailboxLine {
    pub mailbox: String,
    pub name: String,
    pub enabled: bool,
    pub new: u32,
    pub old: u32,
}

/// Who is shut out after too many wrong PINs or passwords.
#[derive(Debug, Serialize, Deserialize)]
pub struct LockLine {
    pub who: String,
    pub door: String,
    /// Unix seconds.
    pub until: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct MessageLine {
    pub id: String,
    pub number: u64,
    pub folder: String,
    pub received: i64,
    pub seconds: f64,
    pub caller_number: String,
    pub caller_name: String,
    pub heard: bool,
    #[serde(default)]
    pub urgent: bool,
    #[serde(default)]
    pub private: bool,
    pub file: PathBuf,
}

fn number(id: Option<i64>) -> String {
    id.map_or_else(|| "all".into(), |id| id.to_string())
}

impl Command {
    /// What it changes, for the audit trail; `None` where it only looks.
    pub(super) fn deed(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::AddMailbox { mailbox, .. } => ("mailbox.add", mailbox.clone()),
            Self::EditMailbox { mailbox, .. } => ("mailbox.edit", mailbox.clone()),
            Self::RemoveMailbox { mailbox } => ("mailbox.remove", mailbox.clone()),
            Self::UnlockMailbox { mailbox } => ("mailbox.unlock", mailbox.clone()),
            Self::RenameMailbox { mailbox, to } => ("mailbox.rename", format!("{mailbox} {to}")),
            Self::SweepSpool { force, .. } => ("spool.sweep", format!("force: {force}")),
            Self::AddCredential { credential, .. } => {
                ("credential.set", format!("{} {}", credential.kind, credential.name))
            }
            Self::OpenLock { source } => ("lock.open", source.clone()),
            Self::RemoveCredential { kind, name } => {
                ("credential.remove", format!("{kind} {name}"))
            }
            Self::ImportMailbox { mailbox, dry_run: false, .. } => {
                ("mailbox.import", mailbox.clone())
            }
            Self::ImportMessages { mailbox, dry_run: false, .. } => {
                ("messages.import", mailbox.clone())
            }
            Self::Snapshot => ("state.backup", String::new()),
            Self::AddSound { context, name, .. } => ("sound.add", format!("{name}@{context}")),
            Self::RemoveSound { context, uuid } => ("sound.remove", format!("{uuid}@{context}")),
            Self::AddOrganization { context, .. } => ("organization.set", context.clone()),
            Self::RetryOutbox { id } => ("outbox.retry", number(*id)),
            Self::DropOutbox { id } => ("outbox.drop", number(*id)),
            Self::ImportMailbox { dry_run: true, .. }
            | Self::ImportMessages { dry_run: true, .. }
            | Self::ListMailboxes { .. }
            | Self::ShowMailbox { .. }
            | Self::ListCredentials { .. }
            | Self::ListLocks
            | Self::ListSounds { .. }
            | Self::ListOrganizations
            | Self::VerifyAudit
            | Self::ShowAudit { .. }
            | Self::Trace { .. }
            | Self::ReindexSpool
            | Self::ListOutbox { .. }
            | Self::ListMessages { .. } => return None,
        })
    }
}
