//! `/auth/login` and `/pbx/voicemail`: what a PBX's operator sees of all mailboxes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawPathParams, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use super::super::super::House;
use super::super::super::fault::broken;
use super::super::super::guard::Principal;
use super::super::super::{body, form};
use super::{Refused, answer, map, parameters, text, told, wire};
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
) -> Response {
    told(async {
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
    })
    .await
}

async fn list(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = enter(&house, &headers, from.ip(), Scope::Read).await?;
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
            voicemails.extend(visitor.shown(&house, &message).await?);
        }
        Ok(answer(&wire::PbxList { offset, limit, total, voicemails }))
    })
    .await
}

async fn read(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: RawPathParams,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = enter(&house, &headers, from.ip(), Scope::Read).await?;
        let shown = match visitor.find(&house, &path).await? {
            Some(message) => visitor.shown(&house, &message).await?,
            None => None,
        };
        Ok(answer(&shown))
    })
    .await
}

/// Marks as read, by a GET, as documented.
async fn mark(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: RawPathParams,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = enter(&house, &headers, from.ip(), Scope::Read).await?;
        let found = visitor.find(&house, &path).await?;
        let message = found.ok_or(Refused(StatusCode::NOT_FOUND, "id"))?;
        let by = By::new(visitor.principal.name.clone(), (house.now)());
        house.spool.edit(&message.mailbox, message.id, &Edit::MarkHeard, &by).await?;
        Ok(answer(&wire::Success { success: true }))
    })
    .await
}

async fn count(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    told(async {
        let visitor = enter(&house, &headers, from.ip(), Scope::Read).await?;
        let boxes = house.directory.within(&visitor.context).into_iter();
        let own = boxes.filter(|(id, _)| visitor.principal.reaches(id.context(), id.number()));
        let sum: Counts = own.map(|(id, _)| house.spool.counts(&id)).sum();
        Ok(answer(&wire::Count { new_messages: sum.new, old_messages: sum.old }))
    })
    .await
}

/// Whether a token is good: audio servers ask.
async fn auth(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    told(async {
        let query = parameters(query.as_deref())?;
        let token = text(&query, "token");
        house.guard.token(token, from.ip(), Door::Telecomx, (house.now)()).await?;
        Ok(answer(&wire::Success { success: true }))
    })
    .await
}

/// Who asks, and the organization whose mailboxes are within his reach, if not one alone.
struct Visitor {
    principal: Arc<Principal>,
    context: String,
}

async fn enter(
    house: &House,
    headers: &HeaderMap,
    from: IpAddr,
    scope: Scope,
) -> Result<Visitor, Refused> {
    let entered = house.guard.enter(headers, from, Door::Telecomx, (house.now)()).await;
    let principal = entered?;
    if !principal.may(scope) {
        return Err(Refused(StatusCode::FORBIDDEN, "token"));
    }
    let context = principal.context.clone().unwrap_or_else(|| DEFAULT_CONTEXT.to_owned());
    Ok(Visitor { principal, context })
}

impl Visitor {
    fn mailbox(&self) -> Result<Option<MailboxId>, Refused> {
        let number = self.principal.mailbox.as_deref();
        let id = number.map(|number| MailboxId::new(&self.context, number)).transpose();
        Ok(id.map_err(broken)?)
    }

    async fn find(
        &self,
        house: &House,
        path: &RawPathParams,
    ) -> Result<Option<Arc<Message>>, Refused> {
        let wanted = path.iter().find(|(name, _)| *name == "id").map_or("", |(_, value)| value);
        let wanted = form::segment(wanted);
        let Some(query) = map::around(&wanted) else { return Ok(None) };
        let list = match self.mailbox()? {
            None => house.spool.list_all(&self.context, &query).await?,
            Some(id) => house.spool.list(&id, &query).await?,
        };
        Ok(list.into_iter().find(|message| map::is_called(message, &wanted)))
    }

    async fn shown(
        &self,
        house: &House,
        message: &Message,
    ) -> Result<Option<wire::PbxVoicemail>, Refused> {
        let id = &message.mailbox;
        let Some(mailbox) = house.directory.find(id) else { return Ok(None) };
        let organization = house.state.organization(id.context(), (house.now)()).await?;
        let employee_of = |number: &str| {
            let caller = MailboxId::new(id.context(), number).ok()?;
            Some(hex_id(house.directory.find(&caller)?.uuid))
        };
        Ok(Some(map::pbx_voicemail(message, &mailbox, &organization, employee_of)))
    }
}
