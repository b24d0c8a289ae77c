//! `/auth/login` and `/pbx/voicemail`: what a PBX's operator sees of all mailboxes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;

use super::super::super::House;
use super::super::super::body;
use super::super::super::deed::Asker;
use super::super::super::fault::broken;
use super::super::super::guard::Principal;
use super::{Answer, At, Refused, answer, map, parameters, text, wire};
use crate::directory::Door;
use crate::mailbox::{By, Counts, DEFAULT_CONTEXT, Edit, MailboxId, Message, hex_id};
use crate::spool::Query;
use crate::state::credential::{Kind, Scope};

pub(super) fn routes() -> Router<House> {
    Router::new()
        .route("/auth/login", get(log_in).post(log_in))
        .route("/pbx/voicemail", get(list))
        .route("/pbx/voicemail/count", get(count))
        .route("/pbx/voicemail/auth", get(auth))
        .route("/pbx/voicemail/{id}", get(read))
        .route("/pbx/voicemail/{id}/read", get(mark))
}

/// Seconds that a token is good for.
const A_WHILE: i64 = 15 * 60;
const FOR_EVER: i64 = 10 * 365 * 86_400;

async fn log_in(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let query = parameters(query.as_deref())?;
    let body = body::words(body).await?;
    let login = if body.is_empty() {
        wire::Login {
            username: text(&query, "username").to_owned(),
            password: text(&query, "password").to_owned(),
            persist: text(&query, "persist") == "true",
        }
    } else {
        serde_json::from_slice(&body).map_err(|_| Refused(StatusCode::BAD_REQUEST, "body"))?
    };
    let now = (house.now)();
    let pair = (Kind::User, login.username.as_str(), login.password.as_str());
    let principal = house.guard.check(pair, from.ip(), Door::Telecomx, now).await;
    let principal = principal.map_err(|why| match why.into() {
        Refused(status, "token") => Refused(status, "login"),
        other => other,
    })?;
    let seconds = if login.persist { FOR_EVER } else { A_WHILE };
    let token = house.state.open_session(&principal, Door::Telecomx, seconds, now).await;
    let token = token?;
    Ok(answer(&wire::Token { token, expires: if login.persist { -1 } else { A_WHILE } }))
}

async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Answer {
    let Visitor { house, .. } = &visitor;
    let query = parameters(query.as_deref())?;
    let number = |name, default: usize| match text(&query, name) {
        "" => Ok(default),
        text => text.parse().map_err(|_| Refused(StatusCode::UNPROCESSABLE_ENTITY, name)),
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", 50)?);
    if !(1..=1000).contains(&limit) {
        return Err(Refused(StatusCode::UNPROCESSABLE_ENTITY, "limit"));
    }
    let filter = Some(text(&query, "filter").to_owned()).filter(|text| !text.is_empty());
    let only_new = text(&query, "new") == "true";
    let query = Query {
        folders: map::owners(only_new),
        heard: only_new.then_some(false),
        newest_first: true,
        text: filter,
        ..Query::default()
    };
    let page = Query { skip: offset, limit: Some(limit), ..query.clone() };
    let spool = &house.spool;
    let (total, messages) = match visitor.mailbox()? {
        None => (
            spool.total_of_all(&visitor.context, &query).await?,
            spool.list_all(&visitor.context, &page).await?,
        ),
        Some(id) => (spool.total(&id, &query).await?, spool.list(&id, &page).await?),
    };
    let mut voicemails = vec![];
    for message in messages {
        voicemails.extend(visitor.shown(&message).await?);
    }
    Ok(answer(&wire::PbxList { offset, limit, total, voicemails }))
}

async fn read(visitor: Visitor, At(id): At<String>) -> Answer {
    let shown = match visitor.find(&id).await? {
        Some(message) => visitor.shown(&message).await?,
        None => None,
    };
    Ok(answer(&shown))
}

/// Marks as read, by a GET, as documented.
async fn mark(visitor: Visitor, At(id): At<String>) -> Answer {
    let Visitor { house, .. } = &visitor;
    let found = visitor.find(&id).await?;
    let message = found.ok_or(Refused(StatusCode::NOT_FOUND, "id"))?;
    let by = By::new(visitor.principal.name.clone(), (house.now)());
    house.spool.edit(&message.mailbox, message.id, &Edit::MarkHeard, &by).await?;
    let asker = Asker { principal: &visitor.principal, door: Door::Telecomx, from: visitor.from };
    let subject = format!("{} {}", message.id, message.mailbox);
    house.record(asker, "message.mark", &subject, "").await.map_err(broken)?;
    Ok(answer(&wire::Success { success: true }))
}

async fn count(visitor: Visitor) -> Answer {
    let Visitor { house, .. } = &visitor;
    let boxes = house.directory.within(&visitor.context).into_iter();
    let own = boxes.filter(|(id, _)| visitor.principal.reaches(id.context(), id.number()));
    let sum: Counts = own.map(|(id, _)| house.spool.counts(&id)).sum();
    Ok(answer(&wire::Count { new_messages: sum.new, old_messages: sum.old }))
}

/// Whether a token is good: audio servers ask.
async fn auth(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = parameters(query.as_deref())?;
    let token = text(&query, "token");
    house.guard.token(token, from.ip(), Door::Telecomx, (house.now)()).await?;
    Ok(answer(&wire::Success { success: true }))
}

/// Who asks, and the organization whose mailboxes are within his reach, if not one alone.
struct Visitor {
    house: House,
    principal: Arc<Principal>,
    from: IpAddr,
    context: String,
}

impl FromRequestParts<House> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, house: &House) -> Result<Self, Refused> {
        let from = ConnectInfo::<SocketAddr>::from_request_parts(parts, house).await;
        let ConnectInfo(from) = from.map_err(broken)?;
        let now = (house.now)();
        let entered = house.guard.enter(&parts.headers, from.ip(), Door::Telecomx, now).await;
        let principal = entered?;
        if !principal.may(Scope::Read) {
            return Err(Refused(StatusCode::FORBIDDEN, "token"));
        }
        let context = principal.context.clone().unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
        Ok(Self { house: house.clone(), principal, from: from.ip(), context })
    }
}

impl Visitor {
    fn mailbox(&self) -> Result<Option<MailboxId>, Refused> {
        let number = self.principal.mailbox.as_deref();
        let id = number.map(|number| MailboxId::new(&self.context, number)).transpose();
        Ok(id.map_err(broken)?)
    }

    async fn find(&self, wanted: &str) -> Result<Option<Arc<Message>>, Refused> {
        let Some(query) = map::around(wanted) else { return Ok(None) };
        let list = match self.mailbox()? {
            None => self.house.spool.list_all(&self.context, &query).await?,
            Some(id) => self.house.spool.list(&id, &query).await?,
        };
        Ok(list.into_iter().find(|message| map::is_called(message, wanted)))
    }

    async fn shown(&self, message: &Message) -> Result<Option<wire::PbxVoicemail>, Refused> {
        let (house, id) = (&self.house, &message.mailbox);
        let Some(mailbox) = house.directory.find(id) else { return Ok(None) };
        let organization = house.state.organization(id.context(), (house.now)()).await?;
        let employee_of = |number: &str| {
            let caller = MailboxId::new(id.context(), number).ok()?;
            Some(hex_id(house.directory.find(&caller)?.uuid))
        };
        Ok(Some(map::pbx_voicemail(message, &mailbox, &organization, employee_of)))
    }
}
