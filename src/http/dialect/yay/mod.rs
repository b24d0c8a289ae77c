//! Yay's interface: mailboxes, their messages, and the sounds that greet.

mod map;
mod sound;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use uuid::Uuid;

use super::super::House;
use super::super::body;
use super::super::deed::{self, Asker};
use super::super::fault::{Fault, broken};
use super::super::guard::Principal;
use super::super::link::Links;
use crate::config;
use crate::directory::{self, Door, NewPin};
use crate::mailbox::{DEFAULT_CONTEXT, Folder, Mailbox, MailboxId};
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
        .method_not_allowed_fallback(|| async {
            answer(StatusCode::METHOD_NOT_ALLOWED, wire::Nothing {})
        })
        .fallback(|| async { answer(StatusCode::NOT_FOUND, wire::Nothing {}) })
        .with_state(face);
    Router::new().nest("/voip", inner)
}

/// Why not, by the status that says so.
struct Refused(StatusCode);

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
    principal: Arc<Principal>,
    from: IpAddr,
    context: String,
}

impl Visitor {
    fn asker(&self) -> Asker<'_> {
        Asker { principal: &self.principal, door: Door::Yay, from: self.from }
    }
}

async fn list(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Provision).await?;
        let all = face.house.directory.within(&visitor.context);
        let active = all.iter().filter(|(_, mailbox)| mailbox.enabled);
        let rows: Vec<_> = active.map(|(_, mailbox)| face.shown(mailbox, false)).collect();
        Ok(answer(StatusCode::OK, rows))
    })
    .await
}

async fn read(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(uuid): Path<String>,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Provision).await?;
        let (_, mailbox) = face.mailbox(&visitor, &uuid)?;
        Ok(answer(StatusCode::OK, face.shown(&mailbox, false)))
    })
    .await
}

async fn add(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Provision).await?;
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
    })
    .await
}

async fn replace(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Provision).await?;
        let (id, _) = face.mailbox(&visitor, &uuid)?;
        let wish = map::wish(&body::words(body).await?).ok_or(StatusCode::BAD_REQUEST)?;
        let pin = wish.pin.as_deref().map_or(NewPin::Absent, NewPin::Given);
        let done = face.house.edit_mailbox(visitor.asker(), &id, wish.settings, pin).await;
        done?;
        let mailbox = face.house.directory.find(&id).ok_or(StatusCode::NOT_FOUND)?;
        Ok(answer(StatusCode::OK, face.shown(&mailbox, false)))
    })
    .await
}

async fn remove(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(uuid): Path<String>,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Provision).await?;
        let (id, _) = face.mailbox(&visitor, &uuid)?;
        face.house.remove_mailbox(visitor.asker(), &id).await?;
        Ok(face.gone())
    })
    .await
}

async fn messages(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(uuid): Path<String>,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = face.enter(&headers, from, Scope::Read).await?;
        let (id, _) = face.mailbox(&visitor, &uuid)?;
        let folders = vec![Folder::Inbox, Folder::Urgent, Folder::Old];
        let query = Query { folders, newest_first: true, ..Query::default() };
        let list = face.house.spool.list(&id, &query).await?;
        let rows: Vec<_> = list.iter().map(|message| map::message(message)).collect();
        Ok(answer(StatusCode::OK, rows))
    })
    .await
}

impl Face {
    async fn enter(
        &self,
        headers: &HeaderMap,
        from: SocketAddr,
        scope: Scope,
    ) -> Result<Visitor, Refused> {
        let from = from.ip();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let named = |name: &str| text(name).filter(|value| !value.is_empty());
        named(header::USER_AGENT.as_str()).ok_or(StatusCode::BAD_REQUEST)?;
        let login = named("x-auth-reseller").zip(named("x-auth-user"));
        let (reseller, user) = login.ok_or(StatusCode::UNAUTHORIZED)?;
        let password = named("x-auth-password").ok_or(StatusCode::UNAUTHORIZED)?;
        let name = format!("{reseller}/{user}");
        let now = (self.house.now)();
        let login = (Kind::Yay, name.as_str(), password);
        let principal = self.house.guard.check(login, from, Door::Yay, now).await?;
        let customer = named("x-auth-for").map(str::to_owned);
        let own = principal.context.clone();
        let context = customer.or(own).unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
        if !principal.may(scope) || !principal.reaches_context(&context) {
            return Err(StatusCode::FORBIDDEN.into());
        }
        Ok(Visitor { principal, from, context })
    }

    fn mailbox(&self, visitor: &Visitor, uuid: &str) -> Result<(MailboxId, Arc<Mailbox>), Refused> {
        let uuid: Uuid = uuid.parse().map_err(|_| StatusCode::NOT_FOUND)?;
        let found = self.house.directory.named(&uuid.to_string());
        found
            .filter(|(id, _)| {
                id.context() == visitor.context
                    && visitor.principal.reaches(id.context(), id.number())
            })
            .ok_or(Refused(StatusCode::NOT_FOUND))
    }

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

async fn told(work: impl Future<Output = Result<Response, Refused>>) -> Response {
    work.await.unwrap_or_else(|Refused(status)| answer(status, wire::Nothing {}))
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
