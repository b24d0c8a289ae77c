//! Telebroad's REST interface: messages, their audio, marks, and mailboxes' settings.
//!
//! Failures of the application are HTTP 200 with an `error` object, as that vendor's clients expect.

mod map;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::stream;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::super::House;
use super::super::audio;
use super::super::body;
use super::super::deed::{self, Asker};
use super::super::fault::{Fault, broken};
use super::super::guard::Principal;
use crate::config;
use crate::directory::{self, Door, NewPin};
use crate::mailbox::{By, Counts, Edit, Folder, MailboxId, Message, Stem};
use crate::spool::Query;
use crate::state::credential::{Kind, Scope};
use map::{Dir, Refusal};

/// Files that are read at one time, and how large each may be: more than an hour of audio.
const READS: usize = 4;
const LARGEST: u64 = 64 * 1024 * 1024;

const BASE: &str = "/api/teleconsole/rest";

#[derive(Clone)]
struct Face {
    house: House,
    offset_base: u8,
    reveal_pins: bool,
    /// Files that are read.
    reads: Arc<Semaphore>,
}

pub(in crate::http) fn routes(house: House, options: &config::Http) -> Router {
    let (offset_base, reveal_pins) = (options.telebroad_offset_base, options.reveal_pins);
    let face = Router::new()
        .route("/voicemail", get(list))
        .route("/voicemail/file", get(file).delete(delete))
        .route("/voicemail/call", post(call))
        .route("/messages/unread", get(unread))
        .route("/messages/read", put(mark))
        .route("/mailbox", get(settings).put(change))
        .route("/login", post(log_in))
        .method_not_allowed_fallback(|| async { Refusal::NoSuchMethod })
        .fallback(|| async { Refusal::NoSuchCall })
        .with_state(Face {
            house,
            offset_base,
            reveal_pins,
            reads: Arc::new(Semaphore::new(READS)),
        });
    Router::new().nest(BASE, face)
}

pub(in crate::http) fn refuse(_: &House, fault: Fault) -> Response {
    Refusal::from(fault).into_response()
}

type Answer = Result<Response, Refusal>;

/// Who asks, and what the query and the header fields say.
struct Asked {
    face: Face,
    principal: Arc<Principal>,
    from: IpAddr,
    query: String,
    headers: HeaderMap,
}

impl FromRequestParts<Face> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, Refusal> {
        let from = ConnectInfo::<SocketAddr>::from_request_parts(parts, face).await;
        let from = from.map_err(broken)?.0.ip();
        let (headers, now) = (std::mem::take(&mut parts.headers), (face.house.now)());
        let principal = face.house.guard.enter(&headers, from, Door::Telebroad, now).await?;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Ok(Self { face: face.clone(), principal, from, query, headers })
    }
}

impl Asked {
    fn given(&self) -> Result<wire::Given<'_>, Refusal> {
        wire::Given::new(&self.query, &self.headers)
            .map_err(|_| Refusal::Wrong { parameter: "mailbox", why: "comes with too many others" })
    }
}

async fn list(asked: Asked) -> Answer {
    let Asked { face, principal, .. } = &asked;
    let wish = map::list_wish(&asked.given()?, face.offset_base)?;
    let mut ids = vec![];
    for number in &wish.mailboxes {
        let id = face.mailbox(principal, number)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if let [id] = &ids[..] {
        return Ok(json(streamed(face.messages(id, &wish.query).await?, wish.dir)));
    }
    // The page of a merge lies within the first `skip + limit` of each.
    let page = wish.query.limit.map(|limit| wish.query.skip.saturating_add(limit));
    let each = Query { skip: 0, limit: page, ..wish.query.clone() };
    let mut lists = vec![];
    for id in &ids {
        lists.push(face.messages(id, &each).await?);
    }
    Ok(json(streamed(map::merge(lists, &wish.query), wish.dir)))
}

async fn file(asked: Asked) -> Answer {
    let Asked { face, principal, .. } = &asked;
    let wish = map::file_wish(&asked.given()?)?;
    let id = face.mailbox(principal, &wish.mailbox)?;
    let message = face.message(&id, &wish.folders, &wish.file).await?;
    Ok(json(face.read(&id, message).await?))
}

async fn delete(asked: Asked) -> Answer {
    let Asked { face, principal, .. } = &asked;
    let (mailbox, folders, files) = map::files_wish(&asked.given()?)?;
    may(principal, Scope::Edit)?;
    let id = face.mailbox(principal, &mailbox)?;
    // All or none: a name that is wrong is told before anything is gone.
    let mut messages = vec![];
    for file in &files {
        messages.push(face.message(&id, &folders, file).await?);
    }
    let Some(first) = messages.first().cloned() else { return Err(Refusal::NoSuchFile) };
    // Oddly, the answer is the audio that was deleted.
    let told = face.read(&id, first).await?;
    let by = By::new(principal.name.clone(), (face.house.now)());
    for message in messages {
        face.house.spool.edit(&id, message.id, &Edit::Delete, &by).await?;
        let asker = Asker { principal, door: Door::Telebroad, from: asked.from };
        let subject = format!("{} {id}", message.id);
        face.house.record(asker, "message.delete", &subject, "").await?;
    }
    Ok(json(told))
}

async fn unread(asked: Asked) -> Answer {
    let Asked { face, principal, .. } = &asked;
    let boxes = face.reached(principal);
    let sum: Counts = boxes.iter().map(|id| face.house.spool.counts(id)).sum();
    Ok(json(wire::result(&wire::Unread { sms: 0, vox: sum.new, fax: 0, phn: 0 })))
}

async fn mark(asked: Asked, body: Body) -> Answer {
    let Asked { face, principal, .. } = &asked;
    let read: wire::Read = words(body).await?;
    let wanted = map::read_wish(&read)?;
    let phone = match read.phone.as_str() {
        "" => None,
        number => Some(face.mailbox(principal, number)?),
    };
    // All or none: a wrong one is told before any is marked.
    let mut messages = vec![];
    for number in wanted {
        let found = face.house.spool.numbered(number).await?;
        let found = found.filter(|message| {
            let id = &message.mailbox;
            principal.reaches(id.context(), id.number())
                && phone.as_ref().is_none_or(|phone| phone == id)
        });
        messages.push(found.ok_or(Refusal::NoSuchMessage)?);
    }
    let by = By::new(principal.name.clone(), (face.house.now)());
    for message in messages {
        let (id, edit) = (&message.mailbox, Edit::MarkHeard);
        face.house.spool.edit(id, message.id, &edit, &by).await?;
        let asker = Asker { principal, door: Door::Telebroad, from: asked.from };
        face.house.record(asker, "message.mark", &format!("{} {id}", message.id), "").await?;
    }
    Ok(json(wire::result(&true)))
}

async fn settings(asked: Asked) -> Answer {
    let Asked { face, principal, .. } = &asked;
    may(principal, Scope::Provision)?;
    let given = asked.given()?;
    let Some(number) = given.text("mailbox") else {
        let all: Vec<_> = face.reached(principal).iter().filter_map(|id| face.shown(id)).collect();
        return Ok(json(wire::result(&all)));
    };
    let id = face.mailbox(principal, number)?;
    Ok(json(wire::result(&face.shown(&id).ok_or(Refusal::NoSuchMailbox)?)))
}

async fn change(asked: Asked, body: Body) -> Answer {
    let Asked { face, principal, .. } = &asked;
    may(principal, Scope::Provision)?;
    let body: Map<String, Value> = words(body).await?;
    let given = asked.given()?;
    let number = given.text("mailbox").or_else(|| body.get("mailbox")?.as_str());
    let id = face.mailbox(principal, number.ok_or(Refusal::Missing("mailbox"))?)?;
    let mailbox = face.house.directory.find(&id).ok_or(Refusal::NoSuchMailbox)?;
    let (settings, pin) = map::mailbox_wish(&body, &mailbox)?;
    let pin = pin.as_deref().map_or(NewPin::Unchanged, NewPin::Given);
    let asker = Asker { principal, door: Door::Telebroad, from: asked.from };
    face.house.edit_mailbox(asker, &id, settings, pin).await?;
    Ok(json(wire::result(&face.shown(&id).ok_or(Refusal::NoSuchMailbox)?)))
}

/// Calls come to us only to leave a message: there is none that could be sent here.
async fn call(_: Asked, body: Body) -> Answer {
    let call: wire::Call = words(body).await?;
    if call.uniqueid.is_empty() {
        return Err(Refusal::Missing("uniqueid"));
    }
    Err(Refusal::NoSuchPhoneCall)
}

/// A token that stands in for the password for a day.
async fn log_in(
    State(Face { house, .. }): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    body: Body,
) -> Answer {
    let login: wire::Login = words(body).await?;
    let now = (house.now)();
    let pair = (Kind::User, login.username.as_str(), login.password.as_str());
    let principal = house.guard.check(pair, from.ip(), Door::Telebroad, now).await?;
    let token = house.state.open_session(&principal, Door::Telebroad, A_DAY, now).await?;
    Ok(json(wire::result(&wire::Token { token })))
}

impl Face {
    async fn messages(&self, id: &MailboxId, query: &Query) -> Result<Vec<Arc<Message>>, Refusal> {
        Ok(self.house.spool.list(id, query).await?)
    }

    /// A name that is no name of a file is simply not found; it is never joined to a path.
    async fn message(
        &self,
        id: &MailboxId,
        folders: &[Folder],
        file: &str,
    ) -> Result<Arc<Message>, Refusal> {
        let stem = Stem::found(file).ok_or(Refusal::NoSuchFile)?;
        let found = self.house.spool.find(id, folders, &stem).await;
        found?.ok_or(Refusal::NoSuchFile)
    }

    async fn read(&self, id: &MailboxId, message: Arc<Message>) -> Result<String, Refusal> {
        let zone = self.house.directory.find(id).and_then(|mailbox| mailbox.time_zone.clone());
        let _turn = self.reads.acquire().await.map_err(broken)?;
        // Another program's audio may be of another kind; this vendor's clients know one.
        let audio = audio::wav(&self.house, id, &message, LARGEST).await;
        let audio = audio.map_err(|why| match why.kind() {
            io::ErrorKind::FileTooLarge => Refusal::TooLarge,
            _ => why.into(),
        })?;
        Ok(wire::result(&map::file(&message, &audio, zone.as_deref())))
    }

    fn shown(&self, id: &MailboxId) -> Option<wire::Mailbox> {
        let mailbox = self.house.directory.find(id)?;
        let pin = self.house.directory.reveal_pin(&mailbox);
        let pin = if self.reveal_pins { pin } else { pin.map(|_| "****".into()) };
        Some(map::mailbox_settings(id, &mailbox, pin.unwrap_or_default()))
    }

    fn mailbox(&self, principal: &Principal, number: &str) -> Result<MailboxId, Refusal> {
        map::mailbox(number, |number| {
            let mut ids = self.house.directory.numbered(number);
            ids.retain(|id| principal.reaches(id.context(), id.number()));
            ids
        })
    }

    fn reached(&self, principal: &Principal) -> Vec<MailboxId> {
        let all = match &principal.context {
            Some(context) => self.house.directory.within(context),
            None => self.house.directory.all(),
        };
        let ids = all.into_iter().map(|(id, _)| id);
        ids.filter(|id| principal.reaches(id.context(), id.number())).collect()
    }
}

const A_DAY: i64 = 86_400;

fn may(principal: &Principal, scope: Scope) -> Result<(), Refusal> {
    if principal.may(scope) { Ok(()) } else { Err(Refusal::NotAllowed) }
}

async fn words<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    serde_json::from_slice(&body::words(body).await?).map_err(|_| Refusal::NoBody)
}

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(why: E) -> Self {
        match why.into() {
            Fault::Unknown | Fault::NotFromHere => Self::Login,
            Fault::Locked { .. } => Self::Blocked,
            Fault::TooFast => Self::Busy,
            Fault::TooLarge => Self::TooLarge,
            Fault::TooSlow => Self::TooSlow,
            Fault::LongHead => Self::LongHead,
            Fault::Garbled => Self::Garbled,
            Fault::Broken => Self::Broken,
        }
    }
}

impl From<deed::Error> for Refusal {
    fn from(error: deed::Error) -> Self {
        match error {
            deed::Error::Directory(
                error @ (directory::Error::Refused(_) | directory::Error::Taken { .. }),
            ) => Self::Settings(error.to_string()),
            deed::Error::Directory(directory::Error::NoSuchMailbox(_)) => Self::NoSuchMailbox,
            other => broken(other).into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        json(wire::error(&map::error(&self)))
    }
}

fn json(body: impl Into<Body>) -> Response {
    super::json(StatusCode::OK, body)
}

/// An unpaged list may be long: it is written as it is read.
fn streamed(messages: Vec<Arc<Message>>, dir: Dir) -> Body {
    let pieces = messages.len().div_ceil(PIECE).max(1);
    if pieces == 1 {
        return piece(&messages, 0, dir).into();
    }
    let pieces =
        (0..pieces).map(move |at| Ok::<_, Infallible>(Bytes::from(piece(&messages, at, dir))));
    Body::from_stream(stream::iter(pieces))
}

/// Messages in one piece of a list.
const PIECE: usize = 256;
/// Bytes of an item, as a rule.
const USUAL: usize = 256;

fn piece(messages: &[Arc<Message>], at: usize, dir: Dir) -> Vec<u8> {
    let (from, to) = (at * PIECE, messages.len().min((at + 1) * PIECE));
    let mut json = Vec::with_capacity((to - from + 1) * USUAL);
    if from == 0 {
        json.extend(wire::LIST_HEAD.as_bytes());
    }
    for (at, message) in messages[from..to].iter().enumerate() {
        if from + at > 0 {
            json.push(b',');
        }
        wire::write(&map::item(message, dir), &mut json);
    }
    if to == messages.len() {
        json.extend(wire::LIST_TAIL.as_bytes());
    }
    json
}
