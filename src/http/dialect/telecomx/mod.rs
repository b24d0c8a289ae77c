//! TelecomX's interfaces: `/mvno/voicemail`, for an owner with his PIN, and `/pbx/voicemail`, for
//! a PBX with a token.

mod map;
mod pbx;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::House;
use super::super::body;
use super::super::deed::{self, Asker};
use super::super::fault::{Fault, broken};
use super::super::form;
use super::super::guard::Principal;
use crate::config;
use crate::directory::{self, Door, Login, NewPin, Settings};
use crate::mailbox::{Mailbox, MailboxId, Message};
use crate::state::credential::{Kind, Role};

pub(in crate::http) fn routes(house: House, _: &config::Http) -> Router {
    Router::new()
        .route("/mvno/voicemail/{number}/{pin}", get(list))
        .route("/mvno/voicemail/{number}/{pin}/pin", get(check_pin).post(set_pin))
        .merge(pbx::routes())
        .method_not_allowed_fallback(|| async { Refused(StatusCode::METHOD_NOT_ALLOWED, "method") })
        .route("/mvno/{*rest}", any(nothing))
        .route("/pbx/{*rest}", any(nothing))
        .with_state(house)
}

pub(in crate::http) fn refuse(_: &House, fault: Fault) -> Response {
    Refused::from(fault).into_response()
}

async fn nothing() -> Refused {
    Refused(StatusCode::NOT_FOUND, "path")
}

/// Status, and the key that says what it is about.
pub(super) struct Refused(StatusCode, &'static str);
pub(super) type Answer = Result<Response, Refused>;

async fn list(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    At(path): At<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let (id, mailbox) = enter(&house, &path, from.ip()).await?;
    let query = parameters(query.as_deref())?;
    let asked = map::named(text(&query, "box")).ok_or(Refused(UNPROCESSABLE, "box"))?;
    let mut messages: Vec<(MailboxId, Arc<Message>)> = vec![];
    for query in map::queries(asked) {
        let list = house.spool.list(&id, &query).await?.into_iter();
        messages.extend(list.map(|message| (id.clone(), message)));
    }
    map::sort(&mut messages);
    let organization = house.state.organization(id.context(), (house.now)());
    let organization = organization.await?;
    let counts = house.spool.counts(&id);
    let kept = u32::try_from(house.spool.kept(&id)).unwrap_or(u32::MAX);
    let rows = messages.iter().map(|(_, m)| map::voicemail(m, &mailbox, &organization));
    Ok(answer(&wire::List {
        new_count: counts.new,
        old_count: counts.old,
        saved_count: kept.saturating_sub(counts.new).saturating_sub(counts.old),
        voicemails: rows.collect(),
    }))
}

async fn check_pin(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    At(path): At<(String, String)>,
) -> Answer {
    enter(&house, &path, from.ip()).await?;
    Ok(answer(&wire::Success { success: true }))
}

async fn set_pin(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    At(path): At<(String, String)>,
    body: Body,
) -> Answer {
    let (id, _) = enter(&house, &path, from.ip()).await?;
    let new: wire::NewPin = serde_json::from_slice(&body::words(body).await?)
        .map_err(|_| Refused(UNPROCESSABLE, "pin"))?;
    if !map::is_pin(&new.pin) {
        return Err(Refused(UNPROCESSABLE, "pin"));
    }
    let owner = Principal::new(Kind::Owner, id.to_string(), Role::Editor);
    let asker = Asker { principal: &owner, door: Door::Telecomx, from: from.ip() };
    // Its owner chose it: the policy binds.
    let pin = NewPin::Chosen(&new.pin);
    let done = house.edit_mailbox(asker, &id, Settings::new(), pin).await;
    done.map_err(|error| match error {
        deed::Error::Directory(directory::Error::Refused(_)) => Refused(UNPROCESSABLE, "pin"),
        other => broken(other).into(),
    })?;
    Ok(answer(&wire::Success { success: true }))
}

/// The mailbox whose number and PIN stand in the path.
async fn enter(
    house: &House,
    (number, pin): &(String, String),
    from: IpAddr,
) -> Result<(MailboxId, Arc<Mailbox>), Refused> {
    house.guard.pace(from)?;
    let found = number.starts_with('+').then(|| house.directory.named(number)).flatten();
    // A number that nobody has counts against who asks for it.
    let nobody = MailboxId::new("-", "-").map_err(broken)?;
    let id = found.as_ref().map_or(&nobody, |(id, _)| id);
    if found.as_ref().is_some_and(|(_, mailbox)| !mailbox.enabled) {
        return Err(Refused(StatusCode::FORBIDDEN, "number"));
    }
    let source = super::super::guard::origin(from).to_string();
    let now = (house.now)();
    let login = house.directory.log_in(id, pin, Door::Telecomx, &source, now).await;
    match login.map_err(broken)? {
        Login::Right => found.ok_or(Refused(StatusCode::NOT_FOUND, "id")),
        Login::Wrong { .. } => Err(Refused(UNPROCESSABLE, "pin")),
        Login::Locked(_) => Err(Refused(StatusCode::FORBIDDEN, "pin")),
        Login::NoPin => Err(Refused(StatusCode::NOT_FOUND, "pin")),
        Login::NoSuchMailbox => Err(Refused(StatusCode::NOT_FOUND, "id")),
    }
}

/// Parts of the path, in which a `+` is a plus; what is no text names nothing.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<House> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refused> {
        let path = Path::<T>::from_request_parts(parts, house).await;
        path.map(|Path(path)| Self(path)).map_err(|_| Refused(StatusCode::NOT_FOUND, "id"))
    }
}

const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

fn parameters(query: Option<&str>) -> Result<Vec<(String, String)>, Refused> {
    form::pairs(query.unwrap_or("")).map_err(|_| Refused(StatusCode::BAD_REQUEST, "query"))
}

/// Of a repeated parameter the first.
fn text<'q>(pairs: &'q [(String, String)], name: &str) -> &'q str {
    pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        let error = wire::Error { code: status.as_u16(), message };
        super::json(status, serde_json::to_string(&error).unwrap_or_default())
    }
}

fn answer(value: &impl Serialize) -> Response {
    super::json(StatusCode::OK, serde_json::to_string(value).unwrap_or_default())
}

impl<E: Into<Fault>> From<E> for Refused {
    fn from(why: E) -> Self {
        let fault = why.into();
        match fault {
            Fault::Unknown | Fault::NotFromHere => Self(fault.status(), "token"),
            Fault::Locked { .. } => Self(StatusCode::FORBIDDEN, "login"),
            Fault::TooFast => Self(fault.status(), "rate"),
            Fault::TooLarge | Fault::TooSlow => Self(fault.status(), "body"),
            Fault::LongHead | Fault::Garbled => Self(fault.status(), "request"),
            Fault::Broken => Self(fault.status(), "internal_error"),
        }
    }
}
