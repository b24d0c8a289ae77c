//! What is to be sent, to whom: from a change to the rows of the outbox. Pure.
//!
//! A message that a caller left, or a colleague sent, is mailed, paged and told to hooks. One that
//! was merely found is told only where the house wishes it so, and never deleted for having been
//! mailed: it may be another program's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::facts::caller;
use super::template::Kind;
use crate::mailbox::change::Level;
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{Change, Counts, Mailbox, Message, NotifyEmail, Recipient};
use crate::state::outbox::Posting;

/// One thing to send to one receiver: the body of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "errand", rename_all = "snake_case")]
pub enum Errand {
    Mail {
        to: String,
        kind: Kind,
        /// With its recording.
        #[serde(default)]
        attach: bool,
        /// The message is deleted once every recipient's server has accepted it.
        #[serde(default)]
        delete: bool,
        /// What was changed, until when it is locked: what the letter says beside the message.
        #[serde(default)]
        about: String,
    },
    Hook {
        url: String,
        event: Value,
    },
}

/// Where mail goes out; one lane, for there is one server.
pub const MAIL: &str = "mail";
/// Pages and reminders go there too, but no message waits for them to be deleted.
pub const PAGE: &str = "page";

/// What hooks may hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    New,
    Heard,
    Deleted,
    Full,
    Locked,
    Transcript,
}

impl Event {
    pub const ALL: [Self; 6] =
        [Self::New, Self::Heard, Self::Deleted, Self::Full, Self::Locked, Self::Transcript];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Heard => "heard",
            Self::Deleted => "deleted",
            Self::Full => "full",
            Self::Locked => "locked",
            Self::Transcript => "transcript",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Hook {
    pub url: String,
    pub shape: Shape,
    /// Empty: all.
    pub events: Vec<Event>,
    /// Mailboxes of these contexts; empty: all.
    pub contexts: Vec<String>,
}

/// In whose words a hook is told.
#[derive(Clone, Debug)]
pub enum Shape {
    /// CloudEvents 1.0.
    CloudEvents,
    /// A vendor's, who has some for new messages alone.
    Vendor { tell: fn(&Message, account: u64) -> Value, account: u64 },
}

/// The house's wishes.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Mail goes out at all.
    pub mail: bool,
    /// Messages of other programs are mailed and paged too.
    pub found: bool,
    pub hooks: Vec<Hook>,
}

impl Wishes {
    /// Whether anything but the lamp follows from a message to this mailbox.
    pub fn wants(&self, mailbox: &Mailbox) -> bool {
        !self.hooks.is_empty()
            || (self.mail && (mailbox.notify_email != NotifyEmail::No || mailbox.notify_pager))
    }
}

/// A message was delivered; or found, where the house wishes to tell of that.
pub fn of_message(
    (mailbox, message): (&Mailbox, &Message),
    counts: Counts,
    delivered: bool,
    wishes: &Wishes,
) -> Vec<Posting> {
    let mut postings = vec![];
    if !delivered && !wishes.found {
        return postings;
    }
    let id = message.id.to_string();
    let post = |receiver: &str, errand: &Errand| Posting {
        key: key(&id, receiver),
        ..posting(mailbox, Some(message), errand)
    };
    if wishes.mail {
        let attach = matches!(mailbox.notify_email, NotifyEmail::Attach | NotifyEmail::Delete);
        let delete = delivered && mailbox.notify_email == NotifyEmail::Delete;
        let letter = |to: &str, kind| Errand::Mail {
            to: to.to_owned(),
            kind,
            attach: attach && kind == Kind::New,
            delete: delete && kind == Kind::New,
            about: String::new(),
        };
        if mailbox.notify_email != NotifyEmail::No {
            for to in &mailbox.email {
                postings.push(post(&to.address, &letter(&to.address, Kind::New)));
            }
        }
        if let (true, Some(to)) = (mailbox.notify_pager, &mailbox.pager) {
            postings.push(post(&format!("page {to}"), &letter(to, Kind::Page)));
        }
    }
    let told = event(Event::New, mailbox, Some(message), counts, &id, message.envelope.received);
    for hook in hearers(wishes, Event::New, message.mailbox.context()) {
        let event = match &hook.shape {
            Shape::CloudEvents => told.clone(),
            Shape::Vendor { tell, account } => tell(message, *account),
        };
        postings.push(post(&hook.url, &Errand::Hook { url: hook.url.clone(), event }));
    }
    postings
}

/// What hooks and letters hear of a change that is no new message.
pub fn of_change(
    change: &Change,
    mailbox: &Mailbox,
    counts: Counts,
    (now, chance): (i64, &str),
    wishes: &Wishes,
) -> Vec<Posting> {
    let (event, message) = match change {
        Change::Edited { was, message, .. } | Change::Moved { was, message, .. } => {
            let is_new = |had: bool, has: bool| !had && has;
            if is_new(was.deleted.is_some(), message.deleted.is_some()) {
                (Event::Deleted, Some(message))
            } else if is_new(was.heard.is_some(), message.heard.is_some()) {
                (Event::Heard, Some(message))
            } else if was.transcript != message.transcript && !message.transcript.is_empty() {
                (Event::Transcript, Some(message))
            } else {
                return vec![];
            }
        }
        Change::Removed { message, .. } if message.deleted.is_none() => {
            (Event::Deleted, Some(message))
        }
        Change::Filled { level, mailbox: id } => {
            let mut postings = match level {
                Level::Room => vec![],
                Level::NearlyFull => letters(mailbox, Kind::NearlyFull, "80", chance, wishes),
                Level::Full => letters(mailbox, Kind::Full, "", chance, wishes),
            };
            if *level == Level::Full {
                let event = event(Event::Full, mailbox, None, counts, chance, now);
                postings.extend(hooks(
                    mailbox,
                    id.context(),
                    Event::Full,
                    &event,
                    None,
                    chance,
                    wishes,
                ));
            }
            return postings;
        }
        Change::Delivered { .. }
        | Change::Found { .. }
        | Change::Copied { .. }
        | Change::Removed { .. }
        | Change::Counts { .. }
        | Change::Renamed { .. }
        | Change::Closed { .. } => return vec![],
    };
    let told = self::event(event, mailbox, message.map(AsRef::as_ref), counts, chance, now);
    let context = change.mailbox().context();
    hooks(mailbox, context, event, &told, message.map(AsRef::as_ref), chance, wishes)
}

/// A mailbox was locked after wrong PINs, until Unix second `until` (in words: `words`).
pub fn of_lock(
    (mailbox, context): (&Mailbox, &str),
    (words, counts): (&str, Counts),
    (now, chance): (i64, &str),
    wishes: &Wishes,
) -> Vec<Posting> {
    let mut postings = letters(mailbox, Kind::Locked, words, chance, wishes);
    let event = event(Event::Locked, mailbox, None, counts, chance, now);
    postings.extend(hooks(mailbox, context, Event::Locked, &event, None, chance, wishes));
    postings
}

/// Settings that matter for security were changed: the addresses from before hear of it too.
pub fn of_settings(was: &Mailbox, is: &Mailbox, chance: &str, wishes: &Wishes) -> Vec<Posting> {
    let mut changed = vec![];
    for (differs, name) in [
        (addresses(was) != addresses(is), "email"),
        (was.notify_email != is.notify_email, "notify_email"),
        (was.pager != is.pager || was.notify_pager != is.notify_pager, "pager"),
        (was.pin != is.pin, "PIN"),
        (was.mwi != is.mwi, "mwi"),
        (was.greeting != is.greeting, "greeting"),
    ] {
        if differs {
            changed.push(name);
        }
    }
    // Who had no address is only being set up.
    if changed.is_empty() || was.email.is_empty() || !wishes.mail {
        return vec![];
    }
    let what = changed.join(", ");
    let mut both = is.clone();
    let is_new = |old: &&Recipient| !addresses(is).contains(&old.address.as_str());
    both.email.extend(was.email.iter().filter(is_new).cloned());
    letters(&both, Kind::Changed, &what, chance, wishes)
}

/// The owner's recording is another one, or gone.
pub fn of_greeting(
    mailbox: &Mailbox,
    greeting: Greeting,
    chance: &str,
    wishes: &Wishes,
) -> Vec<Posting> {
    let what = match greeting {
        Greeting::Temporary => "temporary greeting",
        Greeting::Unavailable => "greeting",
        Greeting::Busy => "busy greeting",
        Greeting::Name => "recorded name",
    };
    letters(mailbox, Kind::Changed, what, chance, wishes)
}

/// What is unheard when a day's hour has struck, at this Unix second.
pub fn of_digest(mailbox: &Mailbox, struck: i64, wishes: &Wishes) -> Vec<Posting> {
    letters(mailbox, Kind::Digest, "", &format!("{}-{struck}", mailbox.uuid), wishes)
}

/// A message that nobody has heard for long.
pub fn of_reminder((mailbox, message): (&Mailbox, &Message), wishes: &Wishes) -> Vec<Posting> {
    let mut postings = letters(mailbox, Kind::Reminder, "", &message.id.to_string(), wishes);
    for posting in &mut postings {
        posting.message = Some(message.id.to_string());
    }
    postings
}

fn addresses(mailbox: &Mailbox) -> Vec<&str> {
    mailbox.email.iter().map(|to| to.address.as_str()).collect()
}

/// A letter to all of the owner's addresses.
pub fn letters(
    mailbox: &Mailbox,
    kind: Kind,
    about: &str,
    chance: &str,
    wishes: &Wishes,
) -> Vec<Posting> {
    if !wishes.mail {
        return vec![];
    }
    let letter = |to: &Recipient| {
        let to = &to.address;
        let errand = Errand::Mail {
            to: to.clone(),
            kind,
            attach: false,
            delete: false,
            about: about.to_owned(),
        };
        let key = key(chance, &format!("{} {to}", kind.name()));
        Posting { key, ..posting(mailbox, None, &errand) }
    };
    mailbox.email.iter().map(letter).collect()
}

fn hooks(
    mailbox: &Mailbox,
    context: &str,
    event: Event,
    told: &Value,
    message: Option<&Message>,
    chance: &str,
    wishes: &Wishes,
) -> Vec<Posting> {
    let post = |hook: &Hook| {
        let errand = Errand::Hook { url: hook.url.clone(), event: told.clone() };
        let key = key(chance, &format!("{} {}", event.name(), hook.url));
        Posting { key, ..posting(mailbox, message, &errand) }
    };
    let has_words = |hook: &&Hook| matches!(hook.shape, Shape::CloudEvents);
    hearers(wishes, event, context).filter(has_words).map(post).collect()
}

fn hearers<'w>(
    wishes: &'w Wishes,
    event: Event,
    context: &'w str,
) -> impl Iterator<Item = &'w Hook> {
    let hears = move |hook: &&Hook| {
        (hook.events.is_empty() || hook.events.contains(&event))
            && (hook.contexts.is_empty() || hook.contexts.iter().any(|known| known == context))
    };
    wishes.hooks.iter().filter(hears)
}

fn posting(mailbox: &Mailbox, message: Option<&Message>, errand: &Errand) -> Posting {
    let lane = match errand {
        Errand::Mail { kind: Kind::Page | Kind::Reminder, .. } => PAGE.to_owned(),
        Errand::Mail { .. } => MAIL.to_owned(),
        Errand::Hook { url, .. } => host(url).to_owned(),
    };
    Posting {
        key: String::new(),
        mailbox: mailbox.uuid.to_string(),
        message: message.map(|message| message.id.to_string()),
        lane,
        body: serde_json::to_string(errand).unwrap_or_default(),
    }
}

/// The part of a URL that may be down alone.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// What tells one notice from another: what it is about, and a short digest of who receives it.
fn key(about: &str, receiver: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(receiver.as_bytes());
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{about}.{short}")
}

/// CloudEvents 1.0, in its JSON form.
fn event(
    event: Event,
    mailbox: &Mailbox,
    message: Option<&Message>,
    counts: Counts,
    id: &str,
    at: i64,
) -> Value {
    let time = jiff::Timestamp::from_second(at).unwrap_or_default().to_string();
    let message = message.map(|message| {
        json!({
            "id": message.id.to_string(),
            "number": message.number,
            "folder": message.folder.name(),
            "caller": {
                "number": message.envelope.caller.number,
                "name": message.envelope.caller.name,
                "display": caller(&message.envelope.caller),
            },
            "received": message.envelope.received,
            "duration_ms": u64::try_from(message.duration.as_millis()).unwrap_or(u64::MAX),
            "urgent": message.urgent,
            "private": message.private,
            "heard": message.heard.as_ref().map(|heard| json!({"at": heard.at, "by": heard.by})),
            "transcript": message.transcript,
        })
    });
    json!({
        "specversion": "1.0",
        "id": format!("{id}.{}", event.name()),
        "source": format!("/v1/mailboxes/{}", mailbox.uuid),
        "type": format!("afterbeep.voicemail.{}", event.name()),
        "time": time,
        "datacontenttype": "application/json",
        "data": {
            "mailbox": { "uuid": mailbox.uuid.to_string(), "id": mailbox.id, "name": mailbox.name },
            "message": message,
            "counts": {
                "new": counts.new, "old": counts.old,
                "urgent_new": counts.urgent_new, "urgent_old": counts.urgent_old,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mailbox::{Deleted, Folder, Heard, MailboxId, MessageId, Stem};

    fn owner() -> Mailbox {
        let mut mailbox = Mailbox::new(uuid::Uuid::nil(), 1, 0);
        mailbox.email = ["a@x.example", "b@x.example"].map(Recipient::bare).into();
        mailbox.pager = Some("p@x.example".into());
        (mailbox.notify_email, mailbox.notify_pager) = (NotifyEmail::Delete, true);
        mailbox
    }

    fn message() -> Message {
        let id: MailboxId = "1000@sales".parse().unwrap();
        Message::new(MessageId::LEAST, 1, id, Stem::found("msg0000").unwrap())
    }

    fn wishes() -> Wishes {
        let hook = |url: &str, events: &[Event], contexts: &[&str]| Hook {
            url: url.into(),
            shape: Shape::CloudEvents,
            events: events.to_vec(),
            contexts: contexts.iter().map(|&context| context.to_owned()).collect(),
        };
        Wishes {
            mail: true,
            found: false,
            hooks: vec![
                hook("https://all.example:8443/x", &[], &[]),
                hook("https://heard.example", &[Event::Heard], &[]),
                hook("https://other.example", &[], &["default"]),
            ],
        }
    }

    fn errands(postings: &[Posting]) -> Vec<Errand> {
        postings.iter().map(|posting| serde_json::from_str(&posting.body).unwrap()).collect()
    }

    #[test]
    fn a_vendors_hook_hears_of_new_messages_in_its_words_and_of_nothing_else() {
        let tell = |_: &Message, account| json!({ "appid": account });
        let hook = Hook {
            url: "https://cmi.example".into(),
            shape: Shape::Vendor { tell, account: 7 },
            events: vec![],
            contexts: vec![],
        };
        let wishes = Wishes { hooks: vec![hook], ..Wishes::default() };
        let new = errands(&of_message((&owner(), &message()), Counts::default(), true, &wishes));
        let told = Errand::Hook { url: "https://cmi.example".into(), event: json!({"appid": 7}) };
        assert_eq!(new, [told]);
        let lock = ("noon", Counts::default());
        assert!(of_lock((&owner(), "sales"), lock, (0, "x"), &wishes).is_empty());
    }

    #[test]
    fn a_delivered_message_goes_to_everybody_who_asked() {
        let postings = of_message((&owner(), &message()), Counts::default(), true, &wishes());
        let lanes: Vec<_> = postings.iter().map(|posting| posting.lane.as_str()).collect();
        assert_eq!(lanes, ["mail", "mail", "page", "all.example:8443"]);
        let keys: std::collections::BTreeSet<_> =
            postings.iter().map(|posting| posting.key.clone()).collect();
        assert_eq!(keys.len(), 4, "each is told from the others");
        let again = of_message((&owner(), &message()), Counts::default(), true, &wishes());
        assert_eq!(again, postings, "and is the same when it is posted again");
        let errands = errands(&postings);
        assert!(
            matches!(&errands[1], Errand::Mail { to, kind: Kind::New, attach: true, delete: true, .. } if to == "b@x.example")
        );
        assert!(matches!(
            &errands[2],
            Errand::Mail { kind: Kind::Page, attach: false, delete: false, .. }
        ));
    }

    #[test]
    fn a_found_message_is_told_only_on_request_and_never_deleted() {
        let tell = |found| {
            let wishes = Wishes { found, ..wishes() };
            of_message((&owner(), &message()), Counts::default(), false, &wishes)
        };
        assert_eq!(tell(false), []);
        let told = errands(&tell(true));
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|errand| !matches!(errand, Errand::Mail { delete: true, .. })));
    }

    #[test]
    fn every_event_tells_how_many_messages_there_are() {
        let counts = Counts { new: 3, old: 1, ..Counts::default() };
        let full = Change::Filled { mailbox: message().mailbox, level: Level::Full };
        let mut told = of_lock((&owner(), "sales"), ("noon", counts), (0, "x"), &wishes());
        told.extend(of_change(&full, &owner(), counts, (0, "x"), &wishes()));
        told.extend(of_message((&owner(), &message()), counts, true, &wishes()));
        let events = errands(&told).into_iter().filter_map(|errand| match errand {
            Errand::Hook { event, .. } => Some(event["data"]["counts"]["new"].clone()),
            Errand::Mail { .. } => None,
        });
        assert_eq!(events.collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[test]
    fn hooks_hear_of_what_they_asked_for() {
        let was = Arc::new(message());
        let mut heard = message();
        heard.heard = Some(Heard { at: 5, by: "1000".into() });
        let mut deleted = heard.clone();
        deleted.deleted = Some(Deleted { at: 6, by: "1000".into(), from: Folder::Inbox });
        let counts = Counts::default();
        let told = |was: &Arc<Message>, is: Message| {
            let change = Change::Edited { was: was.clone(), message: Arc::new(is), counts };
            let postings = of_change(&change, &owner(), counts, (9, "chance"), &wishes());
            errands(&postings)
                .iter()
                .map(|errand| match errand {
                    Errand::Hook { url, event } => format!("{url} {}", event["type"]),
                    Errand::Mail { .. } => "mail".into(),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told(&was, heard.clone()),
            [
                "https://all.example:8443/x \"afterbeep.voicemail.heard\"",
                "https://heard.example \"afterbeep.voicemail.heard\""
            ]
        );
        assert_eq!(
            told(&Arc::new(heard), deleted),
            ["https://all.example:8443/x \"afterbeep.voicemail.deleted\""]
        );
        assert_eq!(told(&was, message()), Vec::<String>::new());
    }

    #[test]
    fn a_changed_address_is_told_to_the_old_one_too() {
        let was = owner();
        let mut is = owner();
        assert_eq!(of_settings(&was, &is, "c", &wishes()), []);
        is.email = ["new@x.example", "b@x.example"].map(Recipient::bare).into();
        let told = errands(&of_settings(&was, &is, "c", &wishes()));
        let to: Vec<_> = told
            .iter()
            .map(|errand| match errand {
                Errand::Mail { to, about, .. } => (to.as_str(), about.as_str()),
                Errand::Hook { .. } => ("", ""),
            })
            .collect();
        assert_eq!(
            to,
            [("new@x.example", "email"), ("b@x.example", "email"), ("a@x.example", "email")]
        );
    }
}
