//! Who asks, and what of the request is read before its work begins.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use tokio::sync::MutexGuard;

use super::super::House;
use super::super::body;
use super::super::deed::Asker;
use super::super::fault::Fault;
use super::super::form;
use super::super::guard::{Principal, origin};
use super::Face;
use super::problem::Problem;
use super::turns::Turns;
use crate::directory::{Door, Login};
use crate::mailbox::{By, DEFAULT_CONTEXT, Mailbox, MailboxId, pin};
use crate::state::credential::{Kind, Role, Scope};

pub(super) struct Visitor {
    pub(super) principal: Arc<Principal>,
    pub(super) from: IpAddr,
    pub(super) house: House,
    pub(super) turns: Turns,
}

impl FromRequestParts<Face> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        form::check(parts.uri.query()).map_err(|_| Problem::bad("too many parameters"))?;
        let from = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let from = from.map(|ConnectInfo(from)| from.ip());
        let from = from.ok_or_else(|| Problem::broken("nobody said where a request is from"))?;
        let house = face.house.clone();
        let principal = enter(&house, &parts.headers, from).await?;
        Ok(Self { principal, from, house, turns: face.turns.clone() })
    }
}

async fn enter(
    house: &House,
    headers: &HeaderMap,
    from: IpAddr,
) -> Result<Arc<Principal>, Problem> {
    let (claimed, now) = (owner(headers), (house.now)());
    if let Some((id, pin)) = &claimed
        && house.directory.find(id).is_some()
    {
        house.guard.pace(from)?;
        let source = origin(from).to_string();
        return match house.directory.log_in(id, pin, Door::Api, &source, now).await? {
            Login::Right => Ok(Arc::new(Principal {
                context: Some(id.context().to_owned()),
                mailbox: Some(id.number().to_owned()),
                ..Principal::new(Kind::Owner, id.to_string(), Role::Editor)
            })),
            Login::Locked(locked) => {
                house.guard.refuse(pin, from).await?;
                if !locked.source {
                    house.guard.note_failure(from, Door::Api, now).await?;
                }
                Err(Problem::locked(locked.until - now))
            }
            Login::Wrong { .. } | Login::NoPin | Login::NoSuchMailbox => {
                house.guard.refuse(pin, from).await?;
                Err(Fault::Unknown.into())
            }
        };
    }
    let entered = house.guard.enter(headers, from, Door::Api, now).await;
    // Somebody's name may look like a mailbox; where it is nobody's either, it is shut as one is.
    if let (Err(fault), Some((id, _))) = (&entered, claimed) {
        let name = id.to_string();
        if let Some(locked) = house.state.turned_away(&name, Door::Api, now) {
            return Err(Problem::locked(locked.until - now));
        }
        if matches!(fault, Fault::Unknown) {
            house.state.turn_away(&name, Door::Api, now).await?;
        }
    }
    Ok(entered?)
}

/// A mailbox and its PIN, as user name and password.
fn owner(headers: &HeaderMap) -> Option<(MailboxId, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (name, pin) = pair.split_once(':').filter(|(_, pin)| pin.len() <= pin::LONGEST)?;
    let id = name.contains('@').then(|| name.parse().ok()).flatten()?;
    Some((id, pin.to_owned()))
}

impl Visitor {
    /// Where a change of this mailbox depends on how it is, others wait until it is done.
    pub(super) async fn turn(
        &self,
        headers: &HeaderMap,
        mailbox: &MailboxId,
    ) -> Option<MutexGuard<'_, ()>> {
        if !headers.contains_key(header::IF_MATCH) {
            return None;
        }
        Some(self.turns.of(mailbox).await)
    }

    pub(super) fn asker(&self) -> Asker<'_> {
        Asker { principal: &self.principal, door: Door::Api, from: self.from }
    }

    pub(super) fn by(&self) -> By {
        // On the phone an owner is told by the mailbox's number; so he is here.
        let who = match (&self.principal.mailbox, self.principal.kind) {
            (Some(number), Kind::Owner) => number.clone(),
            _ => self.principal.name.clone(),
        };
        By::new(who, (self.house.now)())
    }

    pub(super) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.principal.may(scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the role {} may not do that", self.principal.role)))
    }

    /// Who runs the whole house, and not one organization of it.
    pub(super) fn administers(&self) -> Result<(), Problem> {
        self.needs(Scope::Administer)?;
        if self.principal.context.is_some() || self.principal.mailbox.is_some() {
            return Err(Problem::forbidden("this needs an administrator of all organizations"));
        }
        Ok(())
    }

    /// `NUMBER`, `NUMBER@CONTEXT`, or a UUID, if it is within reach.
    pub(super) fn mailbox(&self, name: &str) -> Result<(MailboxId, Arc<Mailbox>), Problem> {
        let directory = &self.house.directory;
        let found = match self.named(name) {
            Some(id) => directory.find(&id).map(|mailbox| (id, mailbox)),
            None => None,
        };
        let found = found.or_else(|| {
            let uuid: uuid::Uuid = name.parse().ok()?;
            directory.named(&uuid.to_string())
        });
        found
            .filter(|(id, _)| self.principal.reaches(id.context(), id.number()))
            .ok_or_else(|| Problem::missing("mailbox"))
    }

    /// A mailbox's name, whether there is one or not; without a context in the asker's own.
    pub(super) fn named(&self, name: &str) -> Option<MailboxId> {
        if name.contains('@') {
            return name.parse().ok();
        }
        let context = self.principal.context.as_deref().unwrap_or(DEFAULT_CONTEXT);
        MailboxId::new(context, name).ok()
    }

    pub(super) fn boxes(&self, context: Option<&str>) -> Vec<(MailboxId, Arc<Mailbox>)> {
        let directory = &self.house.directory;
        let mut all = match context.or(self.principal.context.as_deref()) {
            Some(context) => directory.within(context),
            None => directory.all(),
        };
        all.retain(|(id, _)| self.principal.reaches(id.context(), id.number()));
        all
    }

    pub(super) async fn record(
        &self,
        action: &str,
        subject: &str,
        detail: &str,
    ) -> Result<(), Problem> {
        Ok(self.house.record(self.asker(), action, subject, detail).await?)
    }
}

/// Parts of the path.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Face> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, face).await;
        path.map(|Path(path)| Self(path)).map_err(|_| Problem::missing("resource"))
    }
}

/// Parameters of the query.
pub(super) struct Given<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Face> for Given<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Face) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|Query(given)| Self(given))
            .map_err(|why| Problem::bad(format!("a parameter makes no sense: {}", why.body_text())))
    }
}

/// A body of JSON.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let bytes = body::read(body, body::WORDS).await?;
    serde_json::from_slice(&bytes)
        .map_err(|why| Problem::bad(format!("the body makes no sense: {why}")))
}

/// RFC 9110 §13.1.1: only if it still is what the asker has seen.
pub(super) fn unchanged(headers: &HeaderMap, tag: &str) -> Result<(), Problem> {
    let Some(wanted) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let wanted = wanted.to_str().unwrap_or_default();
    if wanted.split(',').any(|one| one.trim() == tag || one.trim() == "*") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, "it was changed in the meantime"))
}

/// RFC 9110 §13.1.2: not again what the asker has.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let wanted = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let same = |one: &str| one.trim().trim_start_matches("W/") == tag || one.trim() == "*";
    wanted.is_some_and(|wanted| wanted.split(',').any(same))
}
