//! Telling lamps: who subscribed, and whom mailboxes name.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::mwi::{Answer, Lamps, summary};
use crate::directory::{Dialled, Directory, Happening};
use crate::mailbox::{Change, Counts, Mailbox, MailboxId};
use crate::sip::{
    Agent, Announcement, Credentials, Reason, Refusal, Reject, Subscriber, Subscribing,
    SubscriptionKey, Uri,
};
use crate::spool::Spool;

/// In which organization a subscriber may ask, if in any.
pub type Trust = Arc<dyn Fn(&Subscribing) -> Option<String> + Send + Sync>;

pub struct Switchman {
    pub agent: Agent,
    pub spool: Spool,
    pub directory: Directory,
    pub trust: Trust,
    /// What Subscription-State says out of a dialog.
    pub state: String,
    /// Whom telephones dial to listen; the mailbox's own number where empty.
    pub account: String,
    pub credentials: Option<Credentials>,
}

/// Who watches which mailboxes.
#[derive(Default)]
struct Watchers {
    subscriptions: HashMap<SubscriptionKey, Watcher>,
    by_mailbox: HashMap<MailboxId, BTreeSet<SubscriptionKey>>,
}

struct Watcher {
    mailboxes: Vec<MailboxId>,
    /// Where it knows us.
    local: SocketAddr,
}

type Told = (String, Result<(), Refusal>);

impl Switchman {
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.spool.changes();
        let Some(mut subscribers) = self.agent.subscribers() else { return };
        let mut watchers = Watchers::default();
        let mut lamps = Lamps::default();
        let mut known: HashMap<MailboxId, Vec<String>> = HashMap::new();
        let mut telling: JoinSet<Told> = JoinSet::new();
        let mut happenings = self.directory.happenings();
        self.look(&mut known, &mut lamps);
        loop {
            for (address, owner, counts) in lamps.next(Instant::now()) {
                self.tell(&mut telling, address, &owner, counts);
            }
            let deadline = lamps.deadline();
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => self.changed(&change, &mut lamps, &mut watchers),
                    Err(RecvError::Lagged(_)) => self.catch_up(&known, &mut lamps, &watchers),
                    Err(RecvError::Closed) => return,
                },
                subscriber = subscribers.recv() => match subscriber {
                    Some(Subscriber::Wants(key, who)) => self.admit(key, &who, &mut watchers),
                    Some(Subscriber::Left(key)) => watchers.remove(key),
                    None => return,
                },
                Some(told) = telling.join_next() => {
                    if let Ok((address, outcome)) = told {
                        lamps.answered(&address, answer(&address, outcome), Instant::now());
                    }
                }
                happening = happenings.recv() => match happening {
                    Ok(Happening::Settings { mailbox, is, .. }) => {
                        self.set(&mailbox, is.as_deref(), &mut known, &mut lamps);
                    }
                    Ok(Happening::Shut { .. } | Happening::Greeting { .. }) => {}
                    Err(RecvError::Lagged(_)) => self.look(&mut known, &mut lamps),
                    Err(RecvError::Closed) => return,
                },
                () = due => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    fn changed(&self, change: &Change, lamps: &mut Lamps, watchers: &mut Watchers) {
        let mailbox = change.mailbox();
        let counts = match change {
            Change::Renamed { from, to } => {
                watchers.rename(from, to);
                // Its settings were there before its messages: until now it seemed empty.
                Some(self.spool.counts(to))
            }
            change => change.counts(),
        };
        let Some(counts) = counts else { return };
        lamps.changed(mailbox, counts, Instant::now());
        self.tell_watchers(mailbox, watchers);
        if let Change::Closed { mailbox } = change {
            for key in watchers.lose(mailbox) {
                self.agent.end(key, Reason::NoResource);
            }
        }
    }

    fn tell_watchers(&self, mailbox: &MailboxId, watchers: &Watchers) {
        for key in watchers.by_mailbox.get(mailbox).into_iter().flatten() {
            if let Some(watcher) = watchers.subscriptions.get(key) {
                self.agent.notify(*key, self.summary_for(watcher));
            }
        }
    }

    fn summary_for(&self, Watcher { mailboxes, local }: &Watcher) -> String {
        let user = mailboxes.first().map_or_else(String::new, |mailbox| self.account(mailbox));
        summary(&at(&user, *local).to_string(), self.sum(mailboxes))
    }

    /// Changes came too fast to be heard one by one.
    fn catch_up(
        &self,
        known: &HashMap<MailboxId, Vec<String>>,
        lamps: &mut Lamps,
        watchers: &Watchers,
    ) {
        for mailbox in known.keys() {
            lamps.changed(mailbox, self.spool.counts(mailbox), Instant::now());
        }
        for mailbox in watchers.by_mailbox.keys() {
            self.tell_watchers(mailbox, watchers);
        }
    }

    /// Finds lamps that came or went with the settings of all mailboxes.
    fn look(&self, known: &mut HashMap<MailboxId, Vec<String>>, lamps: &mut Lamps) {
        let all: HashMap<_, _> = self.directory.all().into_iter().collect();
        let gone: Vec<_> = known.keys().filter(|id| !all.contains_key(*id)).cloned().collect();
        for id in gone {
            self.set(&id, None, known, lamps);
        }
        for (id, mailbox) in &all {
            self.set(id, Some(mailbox), known, lamps);
        }
    }

    /// A mailbox has these settings now, or is gone.
    fn set(
        &self,
        id: &MailboxId,
        mailbox: Option<&Mailbox>,
        known: &mut HashMap<MailboxId, Vec<String>>,
        lamps: &mut Lamps,
    ) {
        let wanted = mailbox.filter(|mailbox| mailbox.enabled).map_or(&[][..], |m| &m.mwi);
        if known.get(id).map_or(&[][..], Vec::as_slice) == wanted {
            return;
        }
        let counts = if wanted.is_empty() { Counts::default() } else { self.spool.counts(id) };
        lamps.set(id, wanted, counts, Instant::now());
        if wanted.is_empty() {
            known.remove(id);
        } else {
            known.insert(id.clone(), wanted.to_vec());
        }
    }

    fn tell(
        &self,
        telling: &mut JoinSet<Told>,
        address: String,
        owner: &MailboxId,
        counts: Counts,
    ) {
        let Ok(target) = full(&address).parse::<Uri>() else {
            let refused = Refusal { code: 400, reason: "no SIP address".into(), retry_after: None };
            telling.spawn(async move { (address, Err(refused)) });
            return;
        };
        let (agent, state) = (self.agent.clone(), self.state.clone());
        let (account, credentials) = (self.account(owner), self.credentials.clone());
        telling.spawn(async move {
            let say = |local| {
                let account = at(&account, local);
                Announcement {
                    target: target.clone(),
                    state: state.clone(),
                    body: summary(&account.to_string(), counts),
                    from: account.into(),
                    credentials: credentials.clone(),
                }
            };
            let outcome = agent.announce(&target, say).await;
            (address, outcome)
        });
    }

    fn admit(&self, key: SubscriptionKey, who: &Subscribing, watchers: &mut Watchers) {
        let Some(context) = (self.trust)(who) else {
            info!(source = %who.source, "a stranger at {} asked for somebody's messages: 403", who.source);
            return self.agent.decline(key, Reject::Forbidden);
        };
        let mailboxes = self.wanted(who, &context);
        if mailboxes.is_empty() {
            return self.agent.decline(key, Reject::NotFound);
        }
        let watcher = Watcher { mailboxes, local: who.local };
        let body = self.summary_for(&watcher);
        watchers.insert(key, watcher);
        self.agent.grant(key, body);
    }

    /// One mailbox, or several with commas between.
    fn wanted(&self, who: &Subscribing, context: &str) -> Vec<MailboxId> {
        let host = &who.request_uri.host;
        let users = who.request_uri.user.split(',').take(MOST);
        let found = users.filter_map(|user| {
            let dialled =
                Dialled { context: context.into(), user: user.into(), host: host.clone() };
            self.directory.resolve(&dialled).ok()
        });
        found.filter(|(id, _)| id.context() == context).map(|(id, _)| id).collect()
    }

    /// Whom a telephone dials to listen.
    fn account(&self, mailbox: &MailboxId) -> String {
        if self.account.is_empty() { mailbox.number().to_owned() } else { self.account.clone() }
    }

    fn sum(&self, mailboxes: &[MailboxId]) -> Counts {
        mailboxes.iter().map(|mailbox| self.spool.counts(mailbox)).sum()
    }
}

/// Mailboxes in one subscription.
const MOST: usize = 100;

impl Watchers {
    fn insert(&mut self, key: SubscriptionKey, watcher: Watcher) {
        for mailbox in &watcher.mailboxes {
            self.by_mailbox.entry(mailbox.clone()).or_default().insert(key);
        }
        self.subscriptions.insert(key, watcher);
    }

    fn remove(&mut self, key: SubscriptionKey) {
        let Some(watcher) = self.subscriptions.remove(&key) else { return };
        for mailbox in &watcher.mailboxes {
            if let Some(keys) = self.by_mailbox.get_mut(mailbox) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_mailbox.remove(mailbox);
                }
            }
        }
    }

    /// Nobody watches this mailbox any more; who watched nothing else.
    fn lose(&mut self, mailbox: &MailboxId) -> Vec<SubscriptionKey> {
        let mut keys: Vec<_> =
            self.by_mailbox.remove(mailbox).unwrap_or_default().into_iter().collect();
        keys.retain(|key| {
            let Some(watcher) = self.subscriptions.get_mut(key) else { return false };
            watcher.mailboxes.retain(|watched| watched != mailbox);
            watcher.mailboxes.is_empty()
        });
        keys
    }

    fn rename(&mut self, from: &MailboxId, to: &MailboxId) {
        let Some(keys) = self.by_mailbox.remove(from) else { return };
        for key in &keys {
            let Some(watcher) = self.subscriptions.get_mut(key) else { continue };
            for mailbox in watcher.mailboxes.iter_mut().filter(|mailbox| *mailbox == from) {
                mailbox.clone_from(to);
            }
        }
        self.by_mailbox.entry(to.clone()).or_default().extend(keys);
    }
}

/// What an answer means for the lamp: RFC 3261 §21.
fn answer(address: &str, outcome: Result<(), Refusal>) -> Answer {
    match outcome {
        Ok(()) => Answer::Told,
        Err(Refusal { code: 408 | 480 | 500..=599, retry_after, reason }) => {
            debug!(lamp = address, "a lamp was not told, and is again: {reason}");
            Answer::Later(retry_after)
        }
        Err(Refusal { code, reason, .. }) => {
            info!(lamp = address, "the lamp {address} takes no notice: {code} {reason}");
            Answer::Refused
        }
    }
}

/// A user of ours, where the other side reaches us.
fn at(user: &str, local: SocketAddr) -> Uri {
    let host = match local.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Uri::sip(user, &host, Some(local.port()))
}

fn full(address: &str) -> String {
    let has_scheme = address.starts_with("sip:") || address.starts_with("sips:");
    if has_scheme { address.to_owned() } else { format!("sip:{address}") }
}
