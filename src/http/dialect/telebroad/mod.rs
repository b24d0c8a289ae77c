//! Telebroad's REST interface: `GET /voicemail` and `GET /voicemail/file`.
//!
//! Failures of the application are HTTP 200 with an `error` object, as that vendor's clients expect.

mod map;
mod wire;

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::Semaphore;
use tracing::error;

use super::super::House;
use super::super::guard::Denied;
use crate::config;
use crate::directory::Door;
use crate::mailbox::{MailboxId, Message, Stem};
use crate::spool::Query;
use map::Refusal;

/// Files that are read at one time, and how large each may be: more than an hour of audio.
const READS: usize = 4;
const LARGEST: u64 = 64 * 1024 * 1024;

const BASE: &str = "/api/teleconsole/rest";

#[derive(Clone)]
struct Face {
    house: House,
    offset_base: u8,
    /// Files that are read.
    reads: Arc<Semaphore>,
}

pub(in crate::http) fn routes(house: House, options: &config::Http) -> Router {
    let offset_base = options.telebroad_offset_base;
    let face = Router::new()
        .route("/voicemail", get(list))
        .route("/voicemail/file", get(file))
        .method_not_allowed_fallback(|| async { refused(&Refusal::NoSuchMethod) })
        .fallback(|| async { refused(&Refusal::NoSuchCall) })
        .with_state(Face { house, offset_base, reads: Arc::new(Semaphore::new(READS)) });
    Router::new().nest(BASE, face)
}

async fn list(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match face.list(query.as_deref().unwrap_or(""), &headers, from.ip()).await {
        Ok(items) => json(streamed(items)),
        Err(refusal) => refused(&refusal),
    }
}

async fn file(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match face.file(query.as_deref().unwrap_or(""), &headers, from.ip()).await {
        Ok(file) => json(Body::from(file)),
        Err(refusal) => refused(&refusal),
    }
}

impl Face {
    async fn list(
        &self,
        query: &str,
        headers: &HeaderMap,
        from: IpAddr,
    ) -> Result<Vec<Arc<Message>>, Refusal> {
        self.enter(headers, from).await?;
        let wish = map::list_wish(&wire::Given::new(query, headers), self.offset_base)?;
        let mut ids = vec![];
        for number in &wish.mailboxes {
            let id = map::mailbox(number, |number| self.house.directory.numbered(number))?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        if let [id] = &ids[..] {
            return self.messages(id, &wish.query).await;
        }
        // The page of a merge lies within the first `skip + limit` of each.
        let page = wish.query.limit.map(|limit| wish.query.skip.saturating_add(limit));
        let each = Query { skip: 0, limit: page, ..wish.query.clone() };
        let mut lists = vec![];
        for id in &ids {
            lists.push(self.messages(id, &each).await?);
        }
        Ok(map::merge(lists, &wish.query))
    }

    async fn messages(&self, id: &MailboxId, query: &Query) -> Result<Vec<Arc<Message>>, Refusal> {
        self.house.spool.list(id, query).await.map_err(|why| broken(&why.to_string()))
    }

    async fn file(
        &self,
        query: &str,
        headers: &HeaderMap,
        from: IpAddr,
    ) -> Result<String, Refusal> {
        self.enter(headers, from).await?;
        let wish = map::file_wish(&wire::Given::new(query, headers))?;
        let id = map::mailbox(&wish.mailbox, |number| self.house.directory.numbered(number))?;
        // A name that is no name of a file is simply not found; it is never joined to a path.
        let stem = Stem::found(&wish.file).ok_or(Refusal::NoSuchFile)?;
        let found = self.house.spool.find(&id, &wish.folders, &stem).await;
        let message = found.map_err(|why| broken(&why.to_string()))?.ok_or(Refusal::NoSuchFile)?;
        let zone = self.house.directory.find(&id).and_then(|mailbox| mailbox.time_zone.clone());
        let turn = Arc::clone(&self.reads).acquire_owned().await;
        let turn = turn.map_err(|why| broken(&why.to_string()))?;
        let spool = self.house.spool.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let file = spool.open_audio(&message).map_err(|why| broken(&why.to_string()))?;
            let audio = whole(file, LARGEST)?;
            Ok(wire::result(&map::file(&message, &audio, zone.as_deref())))
        });
        read.await.unwrap_or_else(|why| Err(broken(&why.to_string())))
    }

    async fn enter(&self, headers: &HeaderMap, from: IpAddr) -> Result<(), Refusal> {
        let now = (self.house.now)();
        match self.house.guard.enter(headers, from, Door::Telebroad, now).await {
            // Every role may read.
            Ok(_) => Ok(()),
            Err(Denied::Unknown | Denied::NotFromHere) => Err(Refusal::Login),
            Err(Denied::Locked { .. }) => Err(Refusal::Blocked),
            Err(Denied::Busy | Denied::TooFast) => Err(Refusal::Busy),
            Err(Denied::Broken(why)) => Err(broken(&why.to_string())),
        }
    }
}

/// All of a file, if it is not too large: an answer holds it in memory, and more than once.
fn whole(file: impl Read, largest: u64) -> Result<Vec<u8>, Refusal> {
    let mut audio = Vec::new();
    let read = file.take(largest + 1).read_to_end(&mut audio);
    read.map_err(|why| broken(&why.to_string()))?;
    if audio.len() as u64 > largest { Err(Refusal::TooLarge) } else { Ok(audio) }
}

fn broken(why: &str) -> Refusal {
    error!("a request of the Telebroad interface failed: {why}");
    Refusal::Broken
}

fn refused(refusal: &Refusal) -> Response {
    json(Body::from(wire::error(&map::error(refusal))))
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
        .into_response()
}

/// An unpaged list may be long: it is written as it is read.
fn streamed(messages: Vec<Arc<Message>>) -> Body {
    const PIECE: usize = 256;
    let pieces = messages.len().div_ceil(PIECE);
    let bodies = (0..pieces).map(move |piece| {
        let from = piece * PIECE;
        let to = messages.len().min(from + PIECE);
        let mut text = String::new();
        for (at, message) in messages[from..to].iter().enumerate() {
            if from + at > 0 {
                text.push(',');
            }
            text.push_str(&wire::text(&map::item(message)));
        }
        text
    });
    let whole = std::iter::once(wire::LIST_HEAD.to_owned())
        .chain(bodies)
        .chain(std::iter::once(wire::LIST_TAIL.to_owned()))
        .map(|text| Ok::<_, std::convert::Infallible>(Bytes::from(text)));
    Body::from_stream(stream::iter(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_refused() {
        assert!(matches!(whole(&b"12345"[..], 5), Ok(audio) if audio == b"12345"));
        assert!(matches!(whole(&b"123456"[..], 5), Err(Refusal::TooLarge)));
    }
}
