//! On what terms callers and owners are served: from the configuration and the mailbox to what the
//! conversation wants to know.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::time::Duration;

use super::clock;
use super::{Calls, Inner, route};
use crate::config::{self, Config, Menus, StarLogin};
use crate::ivr::keys::{Act, KeyMap, Place, Style};
use crate::ivr::{Callee, Door, Exits, Policy};
use crate::mailbox::greeting::Greeting;
use crate::mailbox::{Level, Limits, Mailbox, MailboxId, MessageId};
use crate::sip::Invite;

/// What is wrong with the keys of a configuration.
pub fn problems(config: &Config) -> Vec<String> {
    let keys = match keys(&config.menus) {
        Ok(keys) => keys,
        Err(problems) => return problems,
    };
    let deposit = &config.deposit;
    let means = |act: &Act| match act {
        Act::Operator => deposit.operator.is_some(),
        Act::LogIn => deposit.star_login != StarLogin::Nobody,
        _ => true,
    };
    // It is told at the end of the greeting, and must not do anything else while that plays.
    let person = keys.key(Place::Screen, Act::LeaveMessage).filter(|_| deposit.screen);
    let taken = person.filter(|key| keys.act(Place::Greeting, *key).as_ref().is_some_and(means));
    let told = |key| format!("screen: {key} does something else while the greeting plays");
    taken.map(told).into_iter().collect()
}

/// The keys as the configuration has them.
pub fn keys(menus: &Menus) -> Result<KeyMap, Vec<String>> {
    let style = match menus.style {
        config::Style::Full => Style::Full,
        config::Style::Short => Style::Short,
    };
    KeyMap::new(style, &menus.keys)
}

/// Mailboxes whose last visit broke off are remembered up to so many.
const REMEMBERED: usize = 10_000;

impl Inner {
    /// And what greets this caller instead of the usual, if a rule of the mailbox says so.
    pub(super) fn callee(
        &self,
        id: &MailboxId,
        mailbox: &Mailbox,
        invite: &Invite,
    ) -> (Callee, Option<PathBuf>) {
        let deposit = &self.config.deposit;
        let recorded = self.directory.recorded(id).at(clock::seconds(), mailbox.temporary_until);
        let busy = route::is_busy(invite);
        let caller = route::caller(invite, &self.config.sip).number;
        let special = (!recorded.temporary && !mailbox.greeting_rules.is_empty())
            .then(|| self.directory.greeting_for(id, mailbox, &caller, clock::moment(mailbox)))
            .flatten();
        let greeting = match (&special, busy) {
            (Some(_), _) => Some(Greeting::Unavailable),
            (None, true) => recorded.for_busy(),
            (None, false) => recorded.for_no_answer(),
        };
        let callee = Callee {
            number: id.number().to_owned(),
            greeting,
            busy,
            beep: mailbox.beep,
            full: self.is_full(id),
            greeting_only: mailbox.greeting_only,
            screen: deposit.screen,
            review: deposit.review,
            may_mark_urgent: deposit.mark_urgent,
            may_mark_private: deposit.mark_private,
            exits: Exits {
                operator: deposit.operator.is_some(),
                log_in: match deposit.star_login {
                    StarLogin::Nobody => false,
                    StarLogin::Trusted => route::is_from_trusted(invite, &self.config.sip),
                    StarLogin::Everybody => true,
                },
                extensions: deposit.extensions,
            },
        };
        (callee, special)
    }

    /// Whether a mailbox takes no further message, by its own limits or for want of room on the
    /// disk. A call that is depositing has its place: it is not yet a message, and counts all the
    /// same.
    pub(super) fn is_full(&self, id: &MailboxId) -> bool {
        let Some(mailbox) = self.directory.find(id) else { return true };
        let others = self.live.depositing(id).saturating_sub(1);
        self.spool.kept(id) + others >= self.limits(&mailbox).max_messages as usize
            || self.spool.level(id) == Level::Full
            || !self.spool.has_room()
    }

    pub(super) fn policy(&self, limits: Limits) -> Policy {
        let (deposit, menus) = (&self.config.deposit, &self.config.menus);
        let seconds = |n: u32| Duration::from_secs(n.into());
        Policy {
            shortest: seconds(limits.min_seconds),
            longest: seconds(limits.max_seconds),
            longest_greeting: seconds(menus.max_greeting_seconds),
            silence: (deposit.silence_seconds > 0).then(|| seconds(deposit.silence_seconds)),
            patience: seconds(menus.patience_seconds),
            rounds: menus.rounds,
            logins: menus.logins,
            retries: deposit.retries,
            instructions: deposit.instructions,
            keys: self.keys.clone(),
        }
    }

    /// How one begins who wants to hear messages: of the mailbox with this number, or of any.
    pub(super) fn door(&self, number: Option<&str>, context: &str, invite: &Invite) -> Door {
        let Some(number) = number else { return Door::Ask };
        let caller = route::caller(invite, &self.config.sip).number;
        let id = MailboxId::new(context, number).ok();
        let found = id.and_then(|id| self.directory.find(&id).map(|mailbox| (id, mailbox)));
        match found {
            Some((id, mailbox))
                if caller == number
                    && mailbox.enabled
                    && route::may_skip_pin(invite, &self.config.sip) =>
            {
                Door::Open(Box::new(self.owner(&id, &mailbox)))
            }
            Some(_) | None => Door::Pin(number.to_owned()),
        }
    }

    pub(super) fn leave_off(&self, id: &MailboxId, message: MessageId, at: Duration) {
        let mut places = self.places();
        if places.len() >= REMEMBERED {
            places.clear();
        }
        places.insert(id.clone(), (message, at));
    }

    pub(super) fn left_off(&self, id: &MailboxId) -> Option<(MessageId, Duration)> {
        self.places().remove(id)
    }

    /// Whether there were fewer calls from the menus today than there may be.
    pub(super) fn may_call(&self, id: &MailboxId, now: i64) -> bool {
        let placed = self.calls_today(now).1.get(id).copied();
        placed.unwrap_or(0) < self.config.menus.calls_per_day
    }

    /// Counts one more, if there may be one: an owner may be on the line more than once.
    pub(super) fn place_call(&self, id: &MailboxId, now: i64) -> bool {
        let mut calls = self.calls_today(now);
        let placed = calls.1.entry(id.clone()).or_default();
        let may = *placed < self.config.menus.calls_per_day;
        *placed += u32::from(may);
        may
    }

    fn calls_today(&self, now: i64) -> MutexGuard<'_, Calls> {
        let (today, mut calls) = (now / 86_400, self.calls());
        if calls.0 != today {
            *calls = (today, HashMap::new());
        }
        calls
    }
}
