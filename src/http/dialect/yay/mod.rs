//! Yay's interface: mailboxes, their messages, and the sounds that greet.

mod map;
mod sound;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tracing::error;
use uuid::Uuid;

use super::super::House;
use super::super::body::{self, Unread};
use super::super::deed::{self, Asker};
use super::super::guard::{Denied, Principal};
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
        .method_not_allowed_fallback(|| async { refused(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { refused(StatusCode::NOT_FOUND) })
        .with_state(face);
    Router::new().nest("/voip", inner)
}

/// Why not, by the status that says so.
type Refused = StatusCode;

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
        let wish = map::wish(&words(body).await?).ok_or(StatusCode::BAD_REQUEST)?;
        let pin = wish.pin.as_deref().map_or(NewPin::Drawn(4), NewPin::Given);
        // Two that are made at once may draw the same number: the second draws again.
        for _ in 0..10 {
            let free = face.house.directory.free_number(&visitor.context, face.numbers);
            let id = free.ok_or_else(|| broken("http.yay_number_range is used up"))?;
            let made = face.house.add_mailbox(visitor.asker(), &id, &wish.settings, pin).await;
            match made {
                Err(deed::Error::Directory(directory::Error::Exists(_))) => {}
                made => {
                    made.map_err(failed)?;
                    let mailbox = face.house.directory.find(&id).ok_or(StatusCode::NOT_FOUND)?;
                    return Ok(answer(StatusCode::CREATED, face.shown(&mailbox, true)));
                }
            }
        }
        Err(StatusCode::CONFLICT)
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
        let wish = map::wish(&words(body).await?).ok_or(StatusCode::BAD_REQUEST)?;
        let pin = wish.pin.as_deref().map_or(NewPin::Absent, NewPin::Given);
        let done = face.house.edit_mailbox(visitor.asker(), &id, wish.settings, pin).await;
        done.map_err(failed)?;
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
        face.house.remove_mailbox(visitor.asker(), &id).await.map_err(failed)?;
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
        let list = face.house.spool.list(&id, &query).await.map_err(broken)?;
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
        let checked =
            self.house.guard.check((Kind::Yay, &name, password), from, Door::Yay, now).await;
        let principal = checked.map_err(|denied| match denied {
            Denied::Unknown => StatusCode::UNAUTHORIZED,
            Denied::NotFromHere => StatusCode::FORBIDDEN,
            Denied::Locked { .. } | Denied::TooFast | Denied::Busy => StatusCode::TOO_MANY_REQUESTS,
            Denied::Broken(why) => broken(why),
        })?;
        let customer = named("x-auth-for").map(str::to_owned);
        let own = principal.context.clone();
        let context = customer.or(own).unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
        if !principal.may(scope) || !principal.reaches_context(&context) {
            return Err(StatusCode::FORBIDDEN);
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
            .ok_or(StatusCode::NOT_FOUND)
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
        (StatusCode::OK, JSON, body).into_response()
    }
}

const JSON: [(header::HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];

async fn told(work: impl Future<Output = Result<Response, Refused>>) -> Response {
    work.await.unwrap_or_else(refused)
}

fn answer(status: StatusCode, result: impl Serialize) -> Response {
    let message = status.canonical_reason().unwrap_or_default();
    (status, JSON, wire::envelope(status.as_u16(), message, result)).into_response()
}

fn refused(status: Refused) -> Response {
    answer(status, wire::Nothing {})
}

async fn words(body: Body) -> Result<Bytes, Refused> {
    body::read(body, body::WORDS).await.map_err(unread)
}

fn unread(why: Unread) -> Refused {
    match why {
        Unread::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
    }
}

fn failed(error: deed::Error) -> Refused {
    match error {
        deed::Error::Directory(directory::Error::Refused(_) | directory::Error::Taken { .. }) => {
            StatusCode::BAD_REQUEST
        }
        deed::Error::Directory(directory::Error::NoSuchMailbox(_)) => StatusCode::NOT_FOUND,
        deed::Error::Directory(directory::Error::Exists(_)) | deed::Error::Busy => {
            StatusCode::CONFLICT
        }
        deed::Error::Spool(error) => broken(error),
        deed::Error::Directory(error) => broken(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn broken(why: impl ToString) -> Refused {
    error!("a request of the Yay interface failed: {}", why.to_string());
    StatusCode::INTERNAL_SERVER_ERROR
}
