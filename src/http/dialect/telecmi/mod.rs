//! TeleCMI's interface: the messages of an app, and their audio. `/v2` is the global form,
//! `/v1/voicemail` and `/v1/play` the Indian one.

mod map;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde::Serialize;
use serde_json::Value;

use super::super::House;
use super::super::audio::{self, Format};
use super::super::body;
use super::super::fault::{Fault, broken};
use super::super::form;
use super::super::guard::Principal;
use crate::config;
use crate::directory::Door;
use crate::mailbox::{DEFAULT_CONTEXT, MailboxId, Message};
use crate::spool::Query;
use crate::state::credential::{Kind, Scope};
use map::Form;
use wire::Given;

pub(in crate::http) fn routes(house: House, _: &config::Http) -> Router {
    let global = |state, from, body| list(state, from, body, Form::Global);
    let india = |state, from, body| list(state, from, body, Form::India);
    Router::new()
        .route("/v2/voicemail", post(global).fallback(wrong_method))
        .route("/v2/play", get(play).fallback(wrong_method))
        .route("/v2/token", post(token).fallback(wrong_method))
        .route("/v1/voicemail", post(india).fallback(wrong_method))
        .route("/v1/play", get(play).fallback(wrong_method))
        .route("/v2/{*rest}", any(nothing))
        .with_state(house)
}

pub(in crate::http) fn refuse(_: &House, fault: Fault) -> Response {
    Refused::from(fault).into_response()
}

/// A message as the global form's webhook tells a missed call.
pub fn missed_call(message: &Message, appid: u64) -> Value {
    serde_json::to_value(map::missed_call(message, appid, Form::Global)).unwrap_or_default()
}

/// The same in the Indian form.
pub fn missed_call_in_india(message: &Message, appid: u64) -> Value {
    serde_json::to_value(map::missed_call(message, appid, Form::India)).unwrap_or_default()
}

struct Refused(u16, &'static str);
type Answer = Result<Response, Refused>;

const MISSING: Refused = Refused(400, "parameter missing or invalid");
const LASTS: i64 = 30 * 86_400;
/// What a secret of `/v2/token` begins with.
const LENT: &str = "t30.";

async fn list(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Body,
    form: Form,
) -> Answer {
    let given = words(body).await?;
    let (appid, secret) = login(&given, form)?;
    let visitor = enter(&house, &appid, &secret, from.ip()).await?;
    let wish = map::wish(&given, form, (house.now)()).map_err(|()| MISSING)?;
    let (all, messages) = visitor.page(&house, &wish).await?;
    let voicemail = messages.iter().map(|message| map::voicemail(message, &appid, form));
    let voicemail = voicemail.collect();
    let (count, total) = match form {
        Form::Global => (Some(all), None),
        Form::India => (None, Some(all)),
    };
    Ok(answer(200, &wire::List { count, total, voicemail, code: 200 }))
}

async fn token(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Body,
) -> Answer {
    let given = words(body).await?;
    let (appid, secret) = login(&given, Form::Global)?;
    // Here the vendor says 404 where it says 401 elsewhere.
    let visitor = enter(&house, &appid, &secret, from.ip())
        .await
        .map_err(|refused| if refused.0 == 401 { Refused(404, "no such app") } else { refused })?;
    let now = (house.now)();
    let opened = house.state.open_session(&visitor.principal, Door::Telecmi, LASTS, now);
    let secret = format!("{LENT}{}", opened.await?);
    Ok(answer(200, &wire::Token { secret, expires_in: "30d", code: 200 }))
}

async fn play(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let pairs = form::pairs(query.as_deref().unwrap_or("")).map_err(|_| MISSING)?;
    let text = |name: &str| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let appid = text("appid").ok_or(MISSING)?;
    let secret = text("secret").or_else(|| text("token")).ok_or(MISSING)?;
    let file = text("file").ok_or(MISSING)?;
    let visitor = enter(&house, appid, secret, from.ip()).await.map_err(|refused| {
        if refused.0 == 401 { Refused(407, "authentication failed") } else { refused }
    })?;
    let none = || Refused(404, "no such file");
    let query = map::around(file).ok_or_else(none)?;
    let (_, messages) = visitor.page(&house, &query).await?;
    let found = messages.iter().find(|message| map::voicename(message, appid) == file);
    if let Some(message) = found {
        let id = &message.mailbox;
        return Ok(audio::play(&house, id, message, Format::Mp3, &headers).await?);
    }
    Err(none())
}

/// An app, which reaches an organization or one mailbox of it.
struct Visitor {
    principal: Arc<Principal>,
}

async fn enter(house: &House, appid: &str, secret: &str, from: IpAddr) -> Result<Visitor, Refused> {
    let now = (house.now)();
    let entered = match secret.strip_prefix(LENT) {
        Some(token) => house.guard.session(token, None, from, Door::Telecmi, now).await,
        None => house.guard.check((Kind::Telecmi, appid, secret), from, Door::Telecmi, now).await,
    };
    let principal = entered?;
    if principal.name != appid || !principal.may(Scope::Read) {
        return Err(UNKNOWN);
    }
    Ok(Visitor { principal })
}

const UNKNOWN: Refused = Refused(401, "invalid user token, authentication failed");

impl Visitor {
    /// How many messages there are in all, and those of the page that is asked for.
    async fn page(
        &self,
        house: &House,
        query: &Query,
    ) -> Result<(usize, Vec<Arc<Message>>), Refused> {
        let (spool, principal) = (&house.spool, &self.principal);
        let context = principal.context.as_deref().unwrap_or(DEFAULT_CONTEXT);
        let Some(number) = &principal.mailbox else {
            let all = spool.total_of_all(context, query).await?;
            return Ok((all, spool.list_all(context, query).await?));
        };
        let id = MailboxId::new(context, number).map_err(broken)?;
        Ok((spool.total(&id, query).await?, spool.list(&id, query).await?))
    }
}

fn login(given: &Given, form: Form) -> Result<(String, String), Refused> {
    let appid = given.number("appid").ok().flatten().ok_or(MISSING)?;
    let secret = match form {
        Form::Global => given.text("secret"),
        Form::India => given.text("token").or_else(|| given.text("secret")),
    };
    Ok((appid.to_string(), secret.ok_or(MISSING)?.to_owned()))
}

async fn words(body: Body) -> Result<Given, Refused> {
    Given::read(&body::words(body).await?).ok_or(MISSING)
}

async fn nothing() -> Refused {
    Refused(404, "there is nothing at this address")
}

async fn wrong_method() -> Refused {
    Refused(405, "method not allowed")
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(code, msg) = self;
        answer(code, &wire::Error { code, msg })
    }
}

fn answer(code: u16, value: &impl Serialize) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    super::json(status, serde_json::to_string(value).unwrap_or_default())
}

impl<E: Into<Fault>> From<E> for Refused {
    fn from(why: E) -> Self {
        match why.into() {
            Fault::Unknown | Fault::NotFromHere => UNKNOWN,
            Fault::Locked { .. } | Fault::TooFast => Self(429, "too many requests"),
            Fault::TooLarge => Self(413, "the body is too large"),
            Fault::TooSlow => Self(408, "the body is too slow"),
            Fault::LongHead => Self(431, "the request is too long"),
            Fault::Garbled => Self(400, "the request cannot be read"),
            Fault::Broken => Self(500, "internal error"),
        }
    }
}
