//! Who is asking: credentials in, a [`Principal`] out.
//!
//! A password costs an argon2 the first time; right ones are remembered for a minute under a keyed
//! hash, so that a client that lists every second costs nothing. Wrong ones are never remembered.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::state::user::User;
use crate::state::{self, State};

/// Who is asking, after whichever face's credentials.
pub type Principal = User;

#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("no credentials, or wrong ones")]
    Unknown,
    #[error("too many logins are being checked")]
    Busy,
    #[error(transparent)]
    Broken(#[from] state::Error),
}

#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    state: State,
    key: [u8; 32],
    checks: Arc<Semaphore>,
    /// Logins that are checked or wait for it, by where they come from.
    pending: Mutex<HashMap<IpAddr, usize>>,
    known: Mutex<Known>,
}

/// Principals whose credentials were right a moment ago.
#[derive(Default)]
struct Known {
    /// The users that they were checked against; see [`State::users_version`].
    version: u64,
    until: HashMap<[u8; 32], (Principal, Instant)>,
}

/// A login's place in the queue; dropped, it is free again.
struct Place {
    guard: Guard,
    origin: IpAddr,
}

/// A login that is being checked. It goes with the work: a client that hangs up does not end it.
struct Turn {
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

const REMEMBERED: Duration = Duration::from_secs(60);
const MOST_KNOWN: usize = 1000;
/// Checks at once: each fills 19 MiB and a core.
const CHECKS: usize = 2;
/// Logins that are checked or wait for it, and how many of them from one origin: a stranger who
/// fills his share leaves the rest to others. All that come through one proxy share one.
const PENDING: usize = 64;
const PENDING_PER_ORIGIN: usize = 24;
/// How long a login may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

impl Guard {
    pub fn new(state: &State) -> Result<Self, state::Error> {
        let mut key = [0; 32];
        state::seal::chance(&mut key)?;
        Ok(Self(Arc::new(Inner {
            state: state.clone(),
            key,
            checks: Arc::new(Semaphore::new(CHECKS)),
            pending: Mutex::default(),
            known: Mutex::default(),
        })))
    }

    /// HTTP Basic, RFC 7617.
    pub async fn basic(&self, headers: &HeaderMap, from: IpAddr) -> Result<Principal, Denied> {
        let (name, password) = credentials(headers).ok_or(Denied::Unknown)?;
        let digest = self.digest(&name, &password);
        let now = Instant::now();
        let version = self.0.state.users_version();
        if let Some(principal) = self.recall(&digest, version, now) {
            return Ok(principal);
        }
        let turn = self.turn(origin(from)).await.ok_or(Denied::Busy)?;
        let user = self.0.state.authenticate(&name, &password, turn).await?;
        let user = user.ok_or(Denied::Unknown)?;
        self.remember(digest, version, user.clone(), now);
        Ok(user)
    }

    async fn turn(&self, origin: IpAddr) -> Option<Turn> {
        let place = self.place(origin)?;
        let permit = Arc::clone(&self.0.checks).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, permit).await.ok()?.ok()?;
        Some(Turn { _place: place, _permit: permit })
    }

    fn place(&self, origin: IpAddr) -> Option<Place> {
        self.pending(|pending| {
            let all: usize = pending.values().sum();
            let of_origin = pending.get(&origin).copied().unwrap_or(0);
            let free = all < PENDING && of_origin < PENDING_PER_ORIGIN;
            free.then(|| {
                pending.insert(origin, of_origin + 1);
                Place { guard: self.clone(), origin }
            })
        })
    }

    fn pending<T>(&self, with: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        with(&mut self.0.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn recall(&self, digest: &[u8; 32], version: u64, now: Instant) -> Option<Principal> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, until) = known.until.get(digest)?;
        (known.version == version && now < *until).then(|| principal.clone())
    }

    fn remember(&self, digest: [u8; 32], version: u64, principal: Principal, now: Instant) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            *known = Known { version, ..Known::default() };
        }
        if known.until.len() >= MOST_KNOWN {
            known.until.retain(|_, (_, until)| now < *until);
        }
        if known.until.len() < MOST_KNOWN {
            known.until.insert(digest, (principal, now + REMEMBERED));
        }
    }

    /// Under a key of this process, so that a memory dump tells no password.
    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0.key) else {
            unreachable!("HMAC takes keys of any length")
        };
        // RFC 7617: a name has no colon, so the pair has one reading.
        for part in [name, ":", password] {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guard.pending(|pending| {
            if let Some(count) = pending.get_mut(&self.origin) {
                *count -= 1;
                if *count == 0 {
                    pending.remove(&self.origin);
                }
            }
        });
    }
}

/// One site has a /64 of IPv6 at the least (RFC 6177).
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::user::Role;

    fn basic(pair: &str) -> HeaderMap {
        let value = format!("bAsIc {}", STANDARD.encode(pair));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    async fn guard() -> (tempfile::TempDir, Guard) {
        let dir = tempfile::tempdir().unwrap();
        let guard = Guard::new(&State::open(dir.path()).await.unwrap()).unwrap();
        (dir, guard)
    }

    #[tokio::test]
    async fn one_origin_leaves_places_to_others_and_all_together_have_few() {
        let (_dir, guard) = guard().await;
        let site = |n: u16| origin(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1).into());
        let all = |n| std::iter::from_fn(|| guard.place(site(n))).collect::<Vec<_>>();
        let (first, second, third) = (all(1), all(2), all(3));
        assert_eq!((first.len(), second.len()), (PENDING_PER_ORIGIN, PENDING_PER_ORIGIN));
        assert_eq!(first.len() + second.len() + third.len(), PENDING);
        assert!(guard.place(site(4)).is_none());
        drop(first);
        assert!(guard.place(site(4)).is_some());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_until_the_users_change() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let guard = Guard::new(&state).unwrap();
        let alice = User { name: "alice".into(), role: Role::Admin };
        state.set_user(&alice, "correct:horse", 0).await.unwrap();
        let right = basic("alice:correct:horse");
        assert_eq!(guard.basic(&right, HERE).await.unwrap(), alice);
        assert!(guard.recall(&guard.digest("alice", "correct:horse"), 1, Instant::now()).is_some());
        assert_eq!(guard.basic(&right, HERE).await.unwrap(), alice);
        let later = Instant::now() + REMEMBERED;
        assert!(guard.recall(&guard.digest("alice", "correct:horse"), 1, later).is_none());
        state.remove_user("alice").await.unwrap();
        assert!(matches!(guard.basic(&right, HERE).await, Err(Denied::Unknown)));
    }

    #[tokio::test]
    async fn what_is_no_credential_is_refused() {
        let (_dir, guard) = guard().await;
        for value in ["", "Basic", "Basic !!!", "Bearer abc", "Basic YWxpY2U="] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert!(matches!(guard.basic(&headers, HERE).await, Err(Denied::Unknown)), "{value}");
        }
        assert!(matches!(guard.basic(&HeaderMap::new(), HERE).await, Err(Denied::Unknown)));
    }
}
