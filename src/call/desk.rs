//! What an owner asks for by telephone: to be let in, the messages, other mailboxes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::clock;
use super::driver::Conversation;
use crate::config::Menus;
use crate::directory::{Dialled, Directory, Door, Login};
use crate::ivr::{self, Found, Item, May, Owner, SetUp, Target, Wishes};
use crate::mailbox::{By, Edit, Folder, Mailbox, MailboxId, Message, MessageId};
use crate::pii::Pii;
use crate::say::Shelf;
use crate::spool::{Glance, Query};

/// Wrong PINs are answered after so long, whether there is such a mailbox or not.
const CONSIDERED: Duration = Duration::from_millis(400);

/// So few messages are read when their folder is opened; of more only what is told.
const READ_AT_ONCE: usize = 32;

impl Conversation<'_> {
    pub(super) async fn identify(&mut self, number: &str, pin: &str) -> Option<Owner> {
        let began = Instant::now();
        let context = self.id.context().to_owned();
        let dialled = Dialled { context, user: number.to_owned(), host: String::new() };
        let found = self.house.directory.resolve(&dialled).ok();
        let found =
            found.filter(|(id, mailbox)| mailbox.enabled && id.context() == self.id.context());
        let id = match &found {
            Some((id, _)) => id.clone(),
            None => MailboxId::new(self.id.context(), "nobody").unwrap_or(self.id.clone()),
        };
        let now = clock::seconds();
        let login = self.house.directory.log_in(&id, pin, Door::Phone, &self.source, now).await;
        if let (Ok(Login::Right), Some((id, mailbox))) = (&login, found) {
            info!(mailbox = %id, "the owner of {id} has logged in by telephone");
            self.line.tell(|call| call.mailbox = Some(id.clone()));
            (self.id, self.mailbox, self.special) = (id, mailbox, None);
            return Some(self.house.owner(&self.id, &self.mailbox));
        }
        match login {
            Ok(Login::Wrong { shut: Some(_) }) => {
                warn!(mailbox = %id, "wrong PINs have locked {id} on the telephone");
            }
            Ok(_) => info!("a wrong PIN or mailbox from {}", Pii(&self.source)),
            Err(error) => warn!(mailbox = %id, "a PIN cannot be checked: {error}"),
        }
        tokio::time::sleep_until((began + CONSIDERED).into()).await;
        None
    }

    pub(super) async fn load(&self, shelf: &Shelf) -> Vec<Item> {
        let inbox = vec![Folder::Inbox, Folder::Urgent];
        let queries = match shelf {
            Shelf::New => {
                vec![Query { folders: inbox, heard: Some(false), ..Query::default() }]
            }
            Shelf::Old => vec![
                Query { folders: inbox, heard: Some(true), ..Query::default() },
                Query { folders: vec![Folder::Old], ..Query::default() },
            ],
            Shelf::Filed(folder) => {
                vec![Query { folders: vec![folder.clone()], ..Query::default() }]
            }
        };
        let glances: Vec<Glance> =
            queries.iter().flat_map(|query| self.house.spool.glance(&self.id, query)).collect();
        if glances.len() <= READ_AT_ONCE {
            let numbers: Vec<u64> = glances.iter().map(|glance| glance.number).collect();
            return self.messages(&numbers).await.into_iter().map(Item::new).collect();
        }
        glances
            .into_iter()
            .map(|Glance { number, received, urgent, folder, heard }| Item {
                number,
                received,
                urgent,
                folder,
                heard,
                message: None,
            })
            .collect()
    }

    pub(super) async fn messages(&self, numbers: &[u64]) -> Vec<Arc<Message>> {
        match self.house.spool.read(&self.id, numbers).await {
            Ok(messages) => messages,
            Err(error) => {
                warn!(mailbox = %self.id, "messages cannot be read: {error}");
                vec![]
            }
        }
    }

    pub(super) async fn edit(&self, numbers: &[u64], edit: &ivr::Edit) -> bool {
        let edits = match edit {
            ivr::Edit::New => vec![Edit::File(Folder::Inbox), Edit::MarkNew],
            ivr::Edit::File(folder) => vec![Edit::MarkHeard, Edit::File(folder.clone())],
            ivr::Edit::Delete => vec![Edit::Delete],
            ivr::Edit::Restore => vec![Edit::Restore],
        };
        for some in numbers.chunks(READ_AT_ONCE) {
            let ids: Vec<MessageId> =
                self.messages(some).await.iter().map(|message| message.id).collect();
            // Together they wait for the disk once.
            let all = ids.iter().map(|id| self.apply_all(*id, &edits));
            let done = futures_util::future::join_all(all).await;
            if done.len() < some.len() || done.contains(&false) {
                return false;
            }
        }
        true
    }

    async fn apply_all(&self, id: MessageId, edits: &[Edit]) -> bool {
        for edit in edits {
            if !self.apply(id, edit).await {
                return false;
            }
        }
        true
    }

    async fn apply(&self, id: MessageId, edit: &Edit) -> bool {
        let by = By::new(self.id.number(), clock::seconds());
        match self.house.spool.edit(&self.id, id, edit, &by).await {
            Ok(_) => true,
            Err(error) => {
                warn!(mailbox = %self.id, message_id = %id, "a message cannot be edited: {error}");
                false
            }
        }
    }

    /// Written down while the message plays already.
    pub(super) fn heard(&self, id: MessageId) {
        let (spool, mailbox) = (self.house.spool.clone(), self.id.clone());
        let by = By::new(mailbox.number(), clock::seconds());
        tokio::spawn(async move {
            if let Err(error) = spool.edit(&mailbox, id, &Edit::MarkHeard, &by).await {
                warn!(%mailbox, message_id = %id, "a message cannot be marked as heard: {error}");
            }
        });
    }

    /// What is too easy to guess is refused.
    pub(super) async fn change_pin(&self, pin: String) -> bool {
        let change = move |directory: &Directory, id: &MailboxId| {
            directory.change_pin(id, &pin, clock::seconds())
        };
        self.on_disk("ask for another PIN", change).await.unwrap_or(false)
    }

    pub(super) async fn set_up(&self) -> bool {
        let set_up = |directory: &Directory, id: &MailboxId| directory.set_up(id, clock::seconds());
        self.on_disk("set up the mailbox", set_up).await.is_some()
    }

    /// The mailboxes of a list, or the one with this number.
    pub(super) fn find(&self, number: &str) -> Found {
        let context = self.id.context();
        let listed = self.house.config.menus.lists.get(number);
        let is_there =
            |id: &MailboxId| self.house.directory.find(id).is_some_and(|mailbox| mailbox.enabled);
        let found: Vec<MailboxId> = if let Some(members) = listed {
            let ids = members.iter().filter_map(|member| MailboxId::new(context, member).ok());
            ids.filter(is_there).collect()
        } else {
            let (context, user) = (context.to_owned(), number.to_owned());
            let dialled = Dialled { context, user, host: String::new() };
            let found = self.house.directory.resolve(&dialled).ok().map(|(id, _)| id);
            let own = |id: &MailboxId| id.context() == self.id.context() && is_there(id);
            found.filter(own).into_iter().collect()
        };
        self.by_room(found)
    }

    pub(super) fn search(&self, keys: &str) -> Found {
        let found = self.house.directory.search(self.id.context(), keys);
        self.by_room(found.into_iter().filter(|id| *id != self.id).collect())
    }

    fn by_room(&self, ids: Vec<MailboxId>) -> Found {
        let (full, open) = ids.into_iter().partition(|id| self.house.is_full(id));
        Found { open, full }
    }

    /// Whether the owner may call there now.
    pub(super) fn may_call(&self, target: &Target) -> bool {
        self.permitted(target).is_some()
            && self.has_calls_left(self.house.may_call(&self.id, clock::seconds()))
    }

    /// Whether the call goes on elsewhere.
    pub(super) async fn transfer(&mut self, target: &Target) -> bool {
        let config = &self.house.config;
        let Some(number) = self.permitted(target) else { return false };
        let counted = matches!(target, Target::CallBack(_) | Target::Number(_));
        if counted && !self.has_calls_left(self.house.place_call(&self.id, clock::seconds())) {
            return false;
        }
        let Some(to) = &config.sip.calls_to else { return false };
        let uri = to.replace("{number}", &number.replace('#', "%23"));
        info!(mailbox = %self.id, to = %Pii(&number), "the caller is referred elsewhere");
        self.refer_to(&uri).await
    }

    fn permitted(&self, target: &Target) -> Option<String> {
        let config = &self.house.config;
        let number = permitted(target, config.deposit.operator.as_ref(), &config.menus);
        if number.is_none() {
            info!(mailbox = %self.id, "a call from the menus is not allowed");
        }
        number
    }

    fn has_calls_left(&self, may: bool) -> bool {
        if !may {
            warn!(mailbox = %self.id, "{} has placed as many calls today as it may", self.id);
        }
        may
    }
}

/// What may be called.
fn permitted(target: &Target, operator: Option<&String>, menus: &Menus) -> Option<String> {
    let allowed = |patterns: &[String], number: &String| {
        Menus::permits(patterns, number).then(|| number.clone())
    };
    match target {
        Target::Operator => operator.cloned(),
        Target::Extension(number) => {
            let dialled = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            dialled.then(|| number.clone())
        }
        Target::CallBack(number) => allowed(&menus.call_back, number),
        Target::Number(number) => allowed(&menus.dial_out, number),
    }
}

impl super::Inner {
    /// What the menus need to know of an owner.
    pub(super) fn owner(&self, id: &MailboxId, mailbox: &Mailbox) -> Owner {
        let menus = &self.config.menus;
        let now = clock::seconds();
        let recorded = self.directory.recorded(id).at(now, mailbox.temporary_until);
        let first = mailbox.pin_weak || menus.first_visit && !mailbox.set_up;
        let least = Duration::from_secs(menus.say_duration_from_seconds.into());
        Owner {
            id: id.clone(),
            counts: self.spool.counts(id),
            recorded,
            set_up: SetUp {
                name: first && menus.force_name,
                unavailable: first && menus.force_greetings,
                busy: first && menus.force_greetings,
                // Who has none logs in without one.
                pin: first && !mailbox.pin.is_empty(),
            },
            wishes: Wishes {
                caller: mailbox.say_caller_id,
                datetime: mailbox.say_datetime,
                duration: mailbox.say_duration.then_some(least),
                newest_first: menus.newest_first,
                next_after: menus.next_after,
                wrap: menus.wrap,
            },
            may: May {
                send: menus.send,
                call_back: !menus.call_back.is_empty(),
                dial_out: !menus.dial_out.is_empty(),
                directory: menus.directory,
            },
            left_off: self.left_off(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_number_is_an_extension() {
        for (dialled, called) in [("200", true), ("0", true), ("", false), ("2*", false)] {
            let target = Target::Extension(dialled.to_owned());
            assert_eq!(permitted(&target, None, &Menus::default()).is_some(), called, "{dialled}");
        }
    }
}
