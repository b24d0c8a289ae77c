//! Names and paths below the spool's root. Nothing else turns a name into a path.

use std::path::{Path, PathBuf};

use crate::mailbox::{Folder, MailboxId};

#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn mailbox(&self, id: &MailboxId) -> PathBuf {
        self.root.join(id.path())
    }

    pub(super) fn folder(&self, id: &MailboxId, folder: &Folder) -> PathBuf {
        self.mailbox(id).join(folder.name())
    }

    /// Drafts while callers speak.
    pub(super) fn drafts(&self, id: &MailboxId) -> PathBuf {
        self.mailbox(id).join("tmp")
    }
}
