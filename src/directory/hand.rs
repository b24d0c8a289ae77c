//! What people write into the settings by hand.

use std::sync::Arc;

use super::{Directory, Error, file, mailboxes, read_all};
use crate::mailbox::{Mailbox, MailboxId};

impl Directory {
    /// The settings as their file has them now: a change of ours undoes nobody else's.
    pub(super) fn latest(&self, id: &MailboxId) -> Result<Arc<Mailbox>, Error> {
        let known = self.find(id).ok_or_else(|| Error::NoSuchMailbox(id.clone()))?;
        match file::read(&self.dir(id)) {
            Ok((written, _)) if is_same(&written, &known) => Ok(Arc::new(written)),
            Ok(_) => Ok(known),
            Err(error) if error.is_missing() => Ok(known),
            Err(error) => Err(error),
        }
    }

    /// Reads all files again, and says how many mailboxes were changed by hand or are new, and what
    /// is wrong with them. What cannot be read stays as it was known.
    pub fn reread(&self) -> (usize, Vec<String>) {
        let (ids, mut problems) = match mailboxes(&self.0.root) {
            Ok(found) => found,
            Err(error) => return (0, vec![error.to_string()]),
        };
        let mut changed = 0;
        for (id, read) in read_all(&self.0.root, &ids) {
            let is_new = |written: &Mailbox| self.find(id).is_none_or(|known| *known != *written);
            if read.as_ref().is_ok_and(|(written, _)| !is_new(written)) {
                continue;
            }
            let _turn = self.turn();
            // Perhaps we have changed it since.
            match file::read(&self.dir(id)) {
                Ok((written, _)) if !is_new(&written) => {}
                Ok((written, _))
                    if self.find(id).is_some_and(|known| !is_same(&written, &known)) =>
                {
                    problems.push(format!("mailbox {id}: uuid and id are not for you to change"));
                }
                Ok((written, unknown)) => {
                    problems.extend(super::told(id, &written, &unknown));
                    self.holds(id, written);
                    changed += 1;
                }
                Err(error) if error.is_missing() => {}
                Err(error) => problems.push(format!("mailbox {id} stays as it was: {error}")),
            }
        }
        (changed, problems)
    }
}

fn is_same(one: &Mailbox, other: &Mailbox) -> bool {
    (one.uuid, one.id) == (other.uuid, other.id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::tests::settings;
    use super::*;
    use crate::state::State;

    #[tokio::test]
    async fn what_is_written_by_hand_is_taken_when_asked_and_undone_by_no_change_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state")).await.unwrap();
        let root = dir.path().join("spool");
        fs::create_dir_all(&root).unwrap();
        let (directory, _) = Directory::open(&root, &state).unwrap();
        let [jane, joe]: [MailboxId; 2] = ["1000", "1001"].map(|id| id.parse().unwrap());
        for id in [&jane, &joe] {
            directory.add(id, &settings(&json!({"name": "X"})), None, 7).await.unwrap();
        }
        let write = |id: &MailboxId, from: &str, to: &str| {
            let path = root.join(id.path()).join("mailbox.toml");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replace(from, to)).unwrap();
        };
        let name = |id| directory.find(id).unwrap().name.clone();

        write(&jane, "name = \"X\"", "name = \"Jane\"");
        assert_eq!(name(&jane), "X");
        assert_eq!(directory.reread(), (1, vec![]));
        assert_eq!(name(&jane), "Jane");
        assert_eq!(directory.reread(), (0, vec![]));

        write(&joe, "name = \"X\"", "name = \"Joe\"");
        directory.edit(&joe, &settings(&json!({"say_duration": true})), None, 8).unwrap();
        assert_eq!(name(&joe), "Joe");
        assert!(directory.find(&joe).unwrap().say_duration);

        write(&joe, "name = \"Joe\"", "name = [");
        write(&jane, "name = \"Jane\"", "colour = \"red\"");
        let (changed, problems) = directory.reread();
        assert_eq!((changed, problems.len()), (1, 2), "{problems:?}");
        assert_eq!((name(&joe).as_str(), name(&jane).as_str()), ("Joe", ""));

        let new: MailboxId = "1002".parse().unwrap();
        let (from, to) = (root.join(jane.path()), root.join(new.path()));
        fs::create_dir_all(&to).unwrap();
        fs::copy(from.join("mailbox.toml"), to.join("mailbox.toml")).unwrap();
        write(
            &new,
            &directory.find(&jane).unwrap().uuid.to_string(),
            &uuid::Uuid::from_u128(9).to_string(),
        );
        assert_eq!(directory.reread().0, 1);
        assert!(directory.find(&new).is_some());

        write(&new, &uuid::Uuid::from_u128(9).to_string(), &uuid::Uuid::from_u128(8).to_string());
        assert_eq!(directory.reread().0, 0);
        assert_eq!(directory.find(&new).unwrap().uuid, uuid::Uuid::from_u128(9));
    }
}
