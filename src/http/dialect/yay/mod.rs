//! Yay's interface: mailboxes, their messages, and the sounds that greet.

mod map;
mod sound;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use uuid::Uuid;

use super::super::House;
use super::super::body;
use super::super::deed::{self, Asker};
use super::super::fault::{Fault, broken};
use super::super::form;
use super::super::guard::Principal;
use super::super::link::Links;
use crate::config;
use crate::directory::{self, Door, NewPin};
use crate::mailbox::{DEFAULT_CONTEXT, Folder, Mailbox, MailboxId, is_plain_name};
use crate::spool::Query;
use crate::state::credential::{Kind, Scope};

#[derive(Clone)]
struct Face {
    house: House,
    links: Links,
    numbers: (u64, u64),
    reveal_pins: bool,
    delete_with_body: bool,
}

pub(in crate::http) fn routes(house: House, options: &config::Http) -> Router {
    let face = Face {
        links: Links::new(&house.state),
        house,
        numbers: options.yay_number_range,
        reveal_pins: options.reveal_pins,
        delete_with_body: options.yay_delete_with_body,
    };
    let inner = Router::new()
        .route("/mailbox", get(list).post(add))
        .route("/mailbox/{uuid}", get(read).put(replace).delete(remove))
        .route("/mailbox/{uuid}/messages", get(messages))
        .merge(sound::routes())
        .method_not_allowed_fallback(|| async { Refused(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { Refused(StatusCode::NOT_FOUND) })
        .with_state(face);
    Router::new().nest("/voip", inner)
}

pub(in crate::http) fn refuse(_: &House, fault: Fault) -> Response {
    Refused::from(fault).into_response()
}

/// Why not, by the status that says so.
struct Refused(StatusCode);
type Answer = Result<Response, Refused>;

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self(status)
    }
}

impl<E: Into<Fault>> From<E> for Refused {
    fn from(why: E) -> Self {
        Self(why.into().status())
    }
}

/// Who asks, and for which customer.
struct Visitor {
    face: Face,
    principal: Arc<Principal>,
    from: IpAddr,
    context: String,
}

impl Visitor {
    /// The face, if he may do that there.
    fn to(&self, scope: Scope) -> Result<&Face, Refused> {
        if self.principal.may(scope) && self.principal.reaches_context(&self.context) {
            return Ok(&self.face);
        }
        Err(Refused(StatusCode::FORBIDDEN))
    }

    /// The face, if he may do that to what belongs to the organization and to no mailbox alone.
    fn to_all(&self, scope: Scope) -> Result<&Face, Refused> {
        match self.principal.mailbox {
            None => self.to(scope),
            Some(_) => Err(Refused(StatusCode::FORBIDDEN)),
        }
    }

    fn mailbox(&self, uuid: Uuid) -> Result<(MailboxId, Arc<Mailbox>), Refused> {
        let found = self.face.house.directory.named(&uuid.to_string());
        found
            .filter(|(id, _)| {
                id.context() == self.context && self.principal.reaches(id.context(), id.number())
            })
            .ok_or(Refused(StatusCode::NOT_FOUND))
    }

    fn asker(&self) -> Asker<'_> {
        Asker { principal: &self.principal, door: Door::Yay, from: self.from }
    }
}

async fn list(visitor: Visitor) -> Answer {
    let face = visitor.to(Scope::Provision)?;
    let all = face.house.directory.within(&visitor.context);
    let active = all.iter().filter(|(id, mailbox)| {
        mailbox.enabled && visitor.principal.reaches(id.context(), id.number())
    });
    let rows: Vec<_> = active.map(|(_, mailbox)| face.shown(mailbox, false)).collect();
    Ok(answer(StatusCode::OK, rows))
}

async fn read(visitor: Visitor, At(uuid): At) -> Answer {
    let face = visitor.to(Scope::Provision)?;
    let (_, mailbox) = visitor.mailbox(uuid)?;
    Ok(answer(StatusCode::OK, face.shown(&mailbox, false)))
}

async fn add(visitor: Visitor, body: Body) -> Answer {
    let face = visitor.to_all(Scope::Provision)?;
    let wish = map::wish(&body::words(body).await?).ok_or(StatusCode::BAD_REQUEST)?;
    let pin = wish.pin.as_deref().map_or(NewPin::Drawn(4), NewPin::Given);
    // Two that are made at once may draw the same number: the second draws again.
    for _ in 0..10 {
        let free = face.house.directory.free_number(&visitor.context, face.numbers);
        let id = free.ok_or_else(|| broken("http.yay_number_range is used up"))?;
        let made = face.house.add_mailbox(visitor.asker(), &id, &wish.settings, pin).await;
        match made {
            Err(deed::Error::Directory(directory::Error::Exists(_))) => {}
            made => {
                made?;
                let mailbox = face.house.directory.find(&id).ok_or(StatusCode::NOT_FOUND)?;
                return Ok(answer(StatusCode::CREATED, face.shown(&mailbox, true)));
            }
        }
    }
    Err(StatusCode::CONFLICT.into())
}

async fn replace(visitor: Visitor, At(uuid): At, body: Body) -> Answer {
    let face = visitor.to(Scope::Provision)?;
    let (id, _) = visitor.mailbox(uuid)?;
    let wish = map::wish(&body::words(body).await?).ok_or(StatusCode::BAD_REQUEST)?;
    let pin = wish.pin.as_deref().map_or(NewPin::Absent, NewPin::Given);
    let done = face.house.edit_mailbox(visitor.asker(), &id, wish.settings, pin).await;
    done?;
    let mailbox = face.house.directory.find(&id).ok_or(StatusCode::NOT_FOUND)?;
    Ok(answer(StatusCode::OK, face.shown(&mailbox, false)))
}

async fn remove(visitor: Visitor, At(uuid): At) -> Answer {
    let face = visitor.to(Scope::Provision)?;
    let (id, _) = visitor.mailbox(uuid)?;
    face.house.remove_mailbox(visitor.asker(), &id).await?;
    Ok(face.gone())
}

async fn messages(visitor: Visitor, At(uuid): At) -> Answer {
    let face = visitor.to(Scope::Read)?;
    let (id, _) = visitor.mailbox(uuid)?;
    let folders = vec![Folder::Inbox, Folder::Urgent, Folder::Old];
    let query = Query { folders, newest_first: true, ..Query::default() };
    let list = face.house.spool.list(&id, &query).await?;
    let rows: Vec<_> = list.iter().map(|message| map::message(message)).collect();
    Ok(answer(StatusCode::OK, rows))
}

impl FromRequestParts<Face> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refused> {
        let from = ConnectInfo::<SocketAddr>::from_request_parts(parts, face).await;
        let from = from.map_err(broken)?.0.ip();
        form::check(parts.uri.query()).map_err(|_| StatusCode::BAD_REQUEST)?;
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let named = |name: &str| text(name).filter(|value| !value.is_empty());
        named(header::USER_AGENT.as_str()).ok_or(StatusCode::BAD_REQUEST)?;
        let login = named("x-auth-reseller").zip(named("x-auth-user"));
        let (reseller, user) = login.ok_or(StatusCode::UNAUTHORIZED)?;
        let password = named("x-auth-password").ok_or(StatusCode::UNAUTHORIZED)?;
        let name = format!("{reseller}/{user}");
        let (login, now) = ((Kind::Yay, name.as_str(), password), (face.house.now)());
        let principal = face.house.guard.check(login, from, Door::Yay, now).await?;
        let customer = named("x-auth-for").map(str::to_owned);
        let own = principal.context.clone();
        let context = customer.or(own).unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
        if !is_plain_name(&context) {
            return Err(Refused(StatusCode::FORBIDDEN));
        }
        Ok(Self { face: face.clone(), principal, from, context })
    }
}

/// What the path names; what is no UUID names nothing.
struct At(Uuid);

impl FromRequestParts<Face> for At {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refused> {
        let path = Path::<String>::from_request_parts(parts, face).await.ok();
        let uuid = path.and_then(|Path(text)| text.parse().ok());
        Ok(Self(uuid.ok_or(StatusCode::NOT_FOUND)?))
    }
}

impl Face {
    fn shown(&self, mailbox: &Mailbox, just_made: bool) -> wire::Mailbox {
        let pin = self.house.directory.reveal_pin(mailbox);
        let pin = if self.reveal_pins { pin } else { pin.map(|_| "****".into()) };
        map::mailbox(mailbox, pin, just_made)
    }

    /// HTTP lets a 204 carry no body (RFC 9110 §15.3.5), though it is documented with one.
    fn gone(&self) -> Response {
        if !self.delete_with_body {
            return StatusCode::NO_CONTENT.into_response();
        }
        let body = wire::envelope(204, "No Content", wire::Nothing {});
        super::json(StatusCode::OK, body)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer(self.0, wire::Nothing {})
    }
}

fn answer(status: StatusCode, result: impl Serialize) -> Response {
    let message = status.canonical_reason().unwrap_or_default();
    super::json(status, wire::envelope(status.as_u16(), message, result))
}

impl From<deed::Error> for Refused {
    fn from(error: deed::Error) -> Self {
        use directory::Error::{Exists, NoSuchMailbox, Refused as Unfit, Taken};
        match error {
            deed::Error::Directory(Unfit(_) | Taken { .. }) => Self(StatusCode::BAD_REQUEST),
            deed::Error::Directory(NoSuchMailbox(_)) => Self(StatusCode::NOT_FOUND),
            deed::Error::Directory(Exists(_)) | deed::Error::Busy => Self(StatusCode::CONFLICT),
            other => broken(other).into(),
        }
    }
}

impl From<directory::Error> for Refused {
    fn from(error: directory::Error) -> Self {
        deed::Error::from(error).into()
    }
}
