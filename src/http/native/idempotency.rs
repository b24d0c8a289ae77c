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
    login: [u8; 32],
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
/// Of these, one login's.
const MOST_OF_ONE: usize = 1_000;
/// A larger answer is given, and not kept; so is one for which there is no room.
const LARGEST: usize = 256 * 1024;
const ROOM: usize = 32 * 1024 * 1024;

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
    let (login, key) = (digest(&[login]), digest(&[login, given.as_bytes()]));
    let uri = parts.uri.to_string();
    let print = digest(&[uri.as_bytes(), &content]);
    match remembered.begin(key, login, print) {
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
    fn begin(&self, key: Key, login: [u8; 32], request: [u8; 32]) -> Begun {
        let mut entries = self.entries();
        if entries.len() >= MOST_OF_ONE {
            entries.retain(|_, entry| entry.since.elapsed() < KEPT);
            let own = entries.values().filter(|entry| entry.login == login).count();
            if !entries.contains_key(&key) && (entries.len() >= MOST || own >= MOST_OF_ONE) {
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
                let entry = Entry { login, request, since: Instant::now(), answer: None };
                entries.insert(key, entry);
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
        // It is an answer of ours: of a length that we chose.
        let content = match to_bytes(content, usize::MAX).await {
            Ok(content) => content,
            Err(why) => return Problem::broken(why).into_response(),
        };
        let answer = Answer { status, headers: parts.headers.clone(), body: content.clone() };
        let mut entries = self.remembered.entries();
        let kept: usize =
            entries.values().filter_map(|entry| Some(entry.answer.as_ref()?.body.len())).sum();
        if content.len() <= LARGEST
            && kept + content.len() <= ROOM
            && let Some(entry) = entries.get_mut(&self.key)
        {
            entry.answer = Some(answer);
        }
        drop(entries);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_login_leaves_room_for_others() {
        let remembered = Remembered::default();
        let key = |n: usize| digest(&[&n.to_be_bytes()]);
        let begun = |n, login| match remembered.begin(key(n), [login; 32], [0; 32]) {
            Begun::Now => 0,
            Begun::Done(_) => 1,
            Begun::Refused(status, _) => status.as_u16(),
        };
        assert!((0..MOST_OF_ONE).all(|n| begun(n, 1) == 0));
        assert_eq!(begun(MOST_OF_ONE, 1), 429);
        assert_eq!((begun(0, 1), begun(MOST_OF_ONE, 2)), (409, 0));
    }
}
