//! `/v1/events`: what happens to mailboxes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::{IntoParams, ToSchema};

use super::super::guard::Principal;
use super::problem::Problem;
use super::visitor::{Given, Visitor};
use super::wire::{Counts, Message};
use crate::mailbox::{Change, MailboxId};
use crate::state::credential::{Kind, Scope};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only this mailbox.
    mailbox: Option<String>,
}

/// The data of an event; its name says what happened: `delivered`, `found`, `copied`, `edited`,
/// `moved`, `removed`, `counts`, `filled`, `renamed`, `closed`, or `missed` where the listener was
/// too slow and should read the lists again.
#[derive(Serialize, ToSchema)]
pub(super) struct Happened {
    mailbox: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

/// Listeners at one time: each has a connection of its own.
static LISTENERS: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(256)));

/// Listen to what happens. The stream ends when the login does.
#[utoipa::path(
    get, path = "/events", tag = "events", params(Which),
    responses(
        (status = 200, content_type = "text/event-stream", body = Happened),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn stream(
    visitor: Visitor,
    Given(which): Given<Which>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    visitor.needs(Scope::Read)?;
    let only = match &which.mailbox {
        Some(name) => Some(visitor.mailbox(name)?.0),
        None => None,
    };
    let place = Arc::clone(&LISTENERS).try_acquire_owned();
    let place = place.map_err(|_| {
        let status = axum::http::StatusCode::TOO_MANY_REQUESTS;
        Problem::new(status, "as many listen already as may")
    })?;
    let changes = visitor.house.spool.changes();
    let version = visitor.house.state.credentials_version();
    let pin = pin(&visitor);
    let listener = Listener { visitor, only, changes, version, pin, _place: place };
    let events = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

struct Listener {
    visitor: Visitor,
    only: Option<MailboxId>,
    changes: broadcast::Receiver<Change>,
    /// Of the credentials that he was known by; see [`crate::state::State::credentials_version`].
    version: u64,
    /// An owner's, sealed.
    pin: Option<String>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let change = match self.changes.recv().await {
                Ok(change) => change,
                Err(RecvError::Lagged(_)) => {
                    return Some(Event::default().event("missed").data("{}"));
                }
                Err(RecvError::Closed) => return None,
            };
            let mailbox = change.mailbox();
            let principal = &self.visitor.principal;
            if principal.reaches(mailbox.context(), mailbox.number())
                && self.only.as_ref().is_none_or(|only| only == mailbox)
            {
                return self.is_still_welcome().await.then(|| told(&change));
            }
        }
    }

    /// What he came in with may have been taken away since.
    async fn is_still_welcome(&mut self) -> bool {
        let Visitor { principal, house, .. } = &self.visitor;
        if principal.kind == Kind::Owner {
            return pin(&self.visitor) == self.pin;
        }
        if principal.expires.is_some_and(|end| end <= (house.now)()) {
            return false;
        }
        let version = house.state.credentials_version();
        if version != self.version {
            let now = house.state.credential(principal.kind, &principal.name).await;
            if !matches!(now, Ok(Some(now)) if now == **principal) {
                return false;
            }
            self.version = version;
        }
        true
    }
}

fn pin(visitor: &Visitor) -> Option<String> {
    let Principal { kind, context, mailbox, .. } = &*visitor.principal;
    let id = MailboxId::new(context.as_deref()?, mailbox.as_deref()?).ok()?;
    let mailbox = (*kind == Kind::Owner).then(|| visitor.house.directory.find(&id)).flatten();
    mailbox.map(|mailbox| mailbox.pin.clone())
}

fn told(change: &Change) -> Event {
    let (name, message) = match change {
        Change::Delivered { message, .. } => ("delivered", Some(message)),
        Change::Found { message, .. } => ("found", Some(message)),
        Change::Copied { message, .. } => ("copied", Some(message)),
        Change::Edited { message, .. } => ("edited", Some(message)),
        Change::Moved { message, .. } => ("moved", Some(message)),
        Change::Removed { message, .. } => ("removed", Some(message)),
        Change::Counts { .. } => ("counts", None),
        Change::Filled { .. } => ("filled", None),
        Change::Renamed { .. } => ("renamed", None),
        Change::Closed { .. } => ("closed", None),
    };
    let happened = Happened {
        mailbox: change.mailbox().to_string(),
        message: message.map(|message| (&**message).into()),
        counts: change.counts().map(Into::into),
    };
    let event = Event::default().event(name);
    event.json_data(&happened).unwrap_or_else(|_| Event::default().event("missed").data("{}"))
}
