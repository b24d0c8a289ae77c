//! `Idempotency-Key`: a POST that is sent again is performed once
//! (draft-ietf-httpapi-idempotency-key-header).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::super::body;
use super::Face;
use super::problem::Problem;
use super::visitor::Visitor;

#[derive(Clone, Default)]
pub(super) struct Remembered(Arc<Mutex<HashMap<Key, Entry>>>);

/// Who asked, and the key he gave.
type Key = [u8; 32];

struct Entry {
    request: [u8; 32],
    since: Instant,
    /// `None` while it is being performed.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

const KEPT: Duration = Duration::from_hours(24);
const MOST: usize = 10_000;
/// A larger answer is given, and not kept.
const LARGEST: usize = 256 * 1024;

pub(super) async fn once(
    State((face, remembered)): State<(Face, Remembered)>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get("idempotency-key").cloned();
    let Some(given) = given.filter(|_| request.method() == Method::POST) else {
        return next.run(request).await;
    };
    if given.is_empty() || given.len() > 255 {
        return Problem::bad("an Idempotency-Key has 1 to 255 characters").into_response();
    }
    let (mut parts, content) = request.into_parts();
    // Nobody fills the memory with recordings who may not come in.
    if let Err(problem) = Visitor::from_request_parts(&mut parts, &face).await {
        return problem.into_response();
    }
    let is_upload = parts.uri.path().ends_with("/messages");
    let most = if is_upload { body::RECORDING } else { body::WORDS };
    let content = match body::read(content, most).await {
        Ok(content) => content,
        Err(why) => return Problem::from(why).into_response(),
    };
    let login = parts.headers.get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
    let key = digest(&[login, given.as_bytes()]);
    let uri = parts.uri.to_string();
    let print = digest(&[uri.as_bytes(), &content]);
    match remembered.begin(key, print) {
        Begun::Now => {}
        Begun::Done(answer) => return answer.into_response(),
        Begun::Refused(status, why) => return Problem::new(status, why).into_response(),
    }
    let turn = Turn { remembered, key };
    let response = next.run(Request::from_parts(parts, Body::from(content))).await;
    turn.keep(response).await
}

enum Begun {
    Now,
    Done(Answer),
    Refused(StatusCode, &'static str),
}

impl Remembered {
    fn begin(&self, key: Key, request: [u8; 32]) -> Begun {
        let mut entries = self.entries();
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.since.elapsed() < KEPT);
            if entries.len() >= MOST {
                let status = StatusCode::TOO_MANY_REQUESTS;
                return Begun::Refused(status, "too many Idempotency-Keys are kept");
            }
        }
        match entries.get(&key).filter(|entry| entry.since.elapsed() < KEPT) {
            Some(entry) if entry.request != request => Begun::Refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key came with another request",
            ),
            Some(Entry { answer: Some(answer), .. }) => Begun::Done(answer.clone()),
            Some(_) => Begun::Refused(StatusCode::CONFLICT, "it is being performed"),
            None => {
                entries.insert(key, Entry { request, since: Instant::now(), answer: None });
                Begun::Now
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever hangs up in the middle leaves no key behind that is for ever being performed.
struct Turn {
    remembered: Remembered,
    key: Key,
}

impl Turn {
    async fn keep(self, response: Response) -> Response {
        let status = response.status();
        // What went wrong with us, or must wait, may be tried again.
        if status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 408 | 429) {
            return response;
        }
        let (parts, content) = response.into_parts();
        let Ok(content) = to_bytes(content, LARGEST).await else {
            return Problem::broken("an answer was too large to be kept").into_response();
        };
        let answer = Answer { status, headers: parts.headers.clone(), body: content.clone() };
        if let Some(entry) = self.remembered.entries().get_mut(&self.key) {
            entry.answer = Some(answer);
        }
        Response::from_parts(parts, Body::from(content))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut entries = self.remembered.entries();
        if entries.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            entries.remove(&self.key);
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        *response.headers_mut() = self.headers;
        response
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
