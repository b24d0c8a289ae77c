//! Mailboxes in memory, and the ways to find one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::mailbox::{Mailbox, MailboxId};

#[derive(Default)]
pub(super) struct Table {
    mailboxes: BTreeMap<MailboxId, Arc<Mailbox>>,
    /// SIP address, E.164 digits or UUID, in lower case.
    by_name: HashMap<String, BTreeSet<MailboxId>>,
    by_number: HashMap<String, BTreeSet<MailboxId>>,
    by_owner: HashMap<u64, MailboxId>,
}

/// What a caller dialled, within the organization that the call came to.
#[derive(Clone, Debug)]
pub struct Dialled {
    pub context: String,
    pub user: String,
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    Nobody,
    Ambiguous(Vec<MailboxId>),
}

impl Table {
    pub(super) fn insert(&mut self, id: MailboxId, mailbox: Mailbox) {
        self.remove(&id);
        for name in names(&mailbox) {
            self.by_name.entry(name).or_default().insert(id.clone());
        }
        self.by_number.entry(id.number().to_owned()).or_default().insert(id.clone());
        // Of two directories with one integer, copied by hand, the first keeps it.
        self.by_owner.entry(mailbox.id).or_insert_with(|| id.clone());
        self.mailboxes.insert(id, Arc::new(mailbox));
    }

    pub(super) fn remove(&mut self, id: &MailboxId) {
        let Some(mailbox) = self.mailboxes.remove(id) else { return };
        for name in names(&mailbox) {
            take(&mut self.by_name, &name, id);
        }
        take(&mut self.by_number, id.number(), id);
        if self.by_owner.get(&mailbox.id) == Some(id) {
            self.by_owner.remove(&mailbox.id);
        }
    }

    pub(super) fn owned_by(&self, owner: u64) -> Option<(MailboxId, Arc<Mailbox>)> {
        let id = self.by_owner.get(&owner)?;
        Some((id.clone(), self.get(id)?))
    }

    /// The one mailbox with this UUID, SIP address or outside number.
    pub(super) fn named(&self, name: &str) -> Option<(MailboxId, Arc<Mailbox>)> {
        let ids = self.by_name.get(&name.to_lowercase()).filter(|ids| ids.len() == 1)?;
        let id = ids.first()?;
        Some((id.clone(), self.get(id)?))
    }

    pub(super) fn within(&self, context: &str) -> Vec<(MailboxId, Arc<Mailbox>)> {
        let Ok(first) = MailboxId::new(context, "0") else { return vec![] };
        self.mailboxes
            .range(lowest(&first)..)
            .take_while(|(id, _)| id.context() == context)
            .map(|(id, mailbox)| (id.clone(), mailbox.clone()))
            .collect()
    }

    pub(super) fn get(&self, id: &MailboxId) -> Option<Arc<Mailbox>> {
        self.mailboxes.get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<(MailboxId, Arc<Mailbox>)> {
        self.mailboxes.iter().map(|(id, mailbox)| (id.clone(), mailbox.clone())).collect()
    }

    pub(super) fn numbered(&self, number: &str) -> Vec<MailboxId> {
        self.by_number.get(number).map_or(vec![], |ids| ids.iter().cloned().collect())
    }

    pub(super) fn has_context(&self, context: &str) -> bool {
        MailboxId::new(context, "0").is_ok_and(|first| {
            self.mailboxes
                .range(lowest(&first)..)
                .next()
                .is_some_and(|(id, _)| id.context() == context)
        })
    }

    /// A name that this mailbox would take from another one, and that one.
    pub(super) fn taken(&self, id: &MailboxId, mailbox: &Mailbox) -> Option<(String, MailboxId)> {
        names(mailbox).find_map(|name| {
            let owners = self.by_name.get(&name)?;
            let owner = owners.first().filter(|_| !owners.contains(id))?.clone();
            Some((name, owner))
        })
    }

    /// By number within the context, then by SIP address, outside number or UUID.
    pub(super) fn resolve(&self, dialled: &Dialled) -> Result<(MailboxId, Arc<Mailbox>), NotFound> {
        let Dialled { context, user, host } = dialled;
        if let Ok(id) = MailboxId::new(context, user)
            && let Some(mailbox) = self.get(&id)
        {
            return Ok((id, mailbox));
        }
        let address = format!("{user}@{host}").to_lowercase();
        for name in [address, e164_key(user), user.to_lowercase()] {
            let Some(ids) = self.by_name.get(&name) else { continue };
            let mut found = ids.iter();
            return match (found.next(), found.next()) {
                (Some(id), None) => {
                    self.get(id).map(|mailbox| (id.clone(), mailbox)).ok_or(NotFound::Nobody)
                }
                (Some(_), Some(_)) => Err(NotFound::Ambiguous(ids.iter().cloned().collect())),
                (None, _) => Err(NotFound::Nobody),
            };
        }
        Err(NotFound::Nobody)
    }
}

fn take(names: &mut HashMap<String, BTreeSet<MailboxId>>, name: &str, id: &MailboxId) {
    if let Some(ids) = names.get_mut(name) {
        ids.remove(id);
        if ids.is_empty() {
            names.remove(name);
        }
    }
}

/// Nothing in this context sorts before it: `-` is the least byte that begins a number.
fn lowest(any: &MailboxId) -> MailboxId {
    MailboxId::new(any.context(), "-").unwrap_or_else(|_| any.clone())
}

fn names(mailbox: &Mailbox) -> impl Iterator<Item = String> {
    let address = mailbox.sip_address.as_ref().map(|address| address.to_lowercase());
    let number = mailbox.e164.as_deref().map(e164_key);
    [Some(mailbox.uuid.to_string()), address, number].into_iter().flatten()
}

/// Trunks send numbers with and without the `+`.
fn e164_key(number: &str) -> String {
    format!("+{}", number.trim_start_matches('+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn table() -> Table {
        let mut table = Table::default();
        let mut add = |id: &str, n: u128, address: Option<&str>, number: Option<&str>| {
            let mut mailbox = Mailbox::new(Uuid::from_u128(n), 1, 0);
            mailbox.sip_address = address.map(Into::into);
            mailbox.e164 = number.map(Into::into);
            table.insert(id.parse().unwrap(), mailbox);
        };
        add("1000", 1, Some("Jane@Example.com"), Some("+12125550100"));
        add("1000@sales", 2, Some("joe@example.com"), None);
        add("1001@sales", 3, Some("joe@example.com"), None);
        table
    }

    fn resolve(context: &str, user: &str) -> Result<String, NotFound> {
        let dialled =
            Dialled { context: context.into(), user: user.into(), host: "example.com".into() };
        table().resolve(&dialled).map(|(id, _)| id.to_string())
    }

    #[test]
    fn a_number_is_found_in_its_context() {
        assert_eq!(resolve("sales", "1000").unwrap(), "1000@sales");
        assert_eq!(resolve("default", "1000").unwrap(), "1000@default");
        assert_eq!(resolve("default", "1001"), Err(NotFound::Nobody));
    }

    #[test]
    fn an_address_a_number_and_a_uuid_are_found_from_anywhere() {
        assert_eq!(resolve("x", "jane").unwrap(), "1000@default");
        assert_eq!(resolve("x", "+12125550100").unwrap(), "1000@default");
        assert_eq!(resolve("x", "12125550100").unwrap(), "1000@default");
        let uuid = Uuid::from_u128(3).to_string().to_uppercase();
        assert_eq!(resolve("x", &uuid).unwrap(), "1001@sales");
    }

    #[test]
    fn two_owners_of_one_address_are_ambiguous() {
        assert!(matches!(resolve("x", "joe"), Err(NotFound::Ambiguous(ids)) if ids.len() == 2));
    }

    #[test]
    fn contexts_are_known() {
        let table = table();
        assert!(table.has_context("sales") && table.has_context("default"));
        assert!(!table.has_context("sale") && !table.has_context("../x"));
    }

    #[test]
    fn a_removed_mailbox_leaves_no_name() {
        let mut table = table();
        table.remove(&"1000".parse().unwrap());
        assert!(!table.by_name.contains_key("jane@example.com"));
    }
}
