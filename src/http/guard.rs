//! Who is asking: credentials in, a [`Principal`] out.
//!
//! A password costs an argon2 the first time; right ones are remembered for a minute under a keyed
//! hash, so that a client that lists every second costs nothing. Wrong ones are never remembered,
//! and counted for their source.

mod pace;

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

use super::crowd::{Crowd, Seat};
pub use super::fault::Fault;
use crate::config::Network;
use crate::state::attempt::Door;
use crate::state::credential::{Credential, Kind};
use crate::state::{self, State};
use pace::Pace;

/// Who is asking, after whichever face's credentials.
pub type Principal = Credential;

#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    state: State,
    key: [u8; 32],
    checks: Arc<Semaphore>,
    /// Logins that are checked or wait for it, by where they come from.
    pending: Crowd,
    known: Mutex<Known>,
    /// Logins that are checked now, by what is shown.
    alike: Mutex<HashMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
    pace: Pace,
}

/// Principals whose credentials were right a moment ago.
#[derive(Default)]
struct Known {
    /// The credentials that they were checked against; see [`State::credentials_version`].
    version: u64,
    until: HashMap<[u8; 32], (Arc<Principal>, Instant)>,
}

/// Many who show the same at once come one after the other: what the first was right with the
/// others need not prove again.
struct Alike {
    guard: Guard,
    digest: [u8; 32],
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A login that is being checked. It goes with the work: a client that hangs up does not end it.
struct Turn {
    _seat: Seat,
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
    /// `pace`: requests a second that one source or one principal may make; 0: any number.
    pub fn new(state: &State, pace: u32) -> Result<Self, state::Error> {
        let mut key = [0; 32];
        state::seal::chance(&mut key)?;
        Ok(Self(Arc::new(Inner {
            state: state.clone(),
            key,
            checks: Arc::new(Semaphore::new(CHECKS)),
            pending: Crowd::new(PENDING, PENDING_PER_ORIGIN),
            known: Mutex::default(),
            alike: Mutex::default(),
            pace: Pace::new(pace),
        })))
    }

    /// HTTP Basic (RFC 7617), a bearer token of ours (RFC 6750), or that of a session at this door.
    pub async fn enter(
        &self,
        headers: &HeaderMap,
        from: IpAddr,
        door: Door,
        now: i64,
    ) -> Result<Arc<Principal>, Fault> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, rest) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
        if scheme.eq_ignore_ascii_case("basic") {
            let (name, password) = pair(rest).ok_or(Fault::Unknown)?;
            return self.check((Kind::User, &name, &password), from, door, now).await;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.token(rest.trim(), from, door, now).await;
        }
        self.pace(from)?;
        Err(Fault::Unknown)
    }

    /// A token, by whatever way it came.
    pub async fn token(
        &self,
        token: &str,
        from: IpAddr,
        door: Door,
        now: i64,
    ) -> Result<Arc<Principal>, Fault> {
        match token.rsplit_once('.') {
            Some((name, secret)) => self.check((Kind::Token, name, secret), from, door, now).await,
            None => self.session(token, None, from, door, now).await,
        }
    }

    /// A session of this door, which lasts so many seconds from now on.
    pub async fn session(
        &self,
        token: &str,
        prolonged: Option<i64>,
        from: IpAddr,
        door: Door,
        now: i64,
    ) -> Result<Arc<Principal>, Fault> {
        self.pace(from)?;
        let attempt = self.attempt(from, door, now)?;
        match self.0.state.session(token, door, prolonged, now).await {
            Ok(Some(principal)) => {
                attempt.right().await?;
                welcome(&principal, from, now)?;
                Ok(Arc::new(principal))
            }
            // An old one is what every client shows some day: nothing is guessed at 128 bits.
            Ok(None) => {
                attempt.void();
                Err(Fault::Unknown)
            }
            Err(error) => {
                attempt.void();
                Err(error.into())
            }
        }
    }

    /// A name and its secret.
    pub async fn check(
        &self,
        (kind, name, secret): (Kind, &str, &str),
        from: IpAddr,
        door: Door,
        now: i64,
    ) -> Result<Arc<Principal>, Fault> {
        self.pace(from)?;
        let digest = self.digest(kind, name, secret);
        if let Some(principal) = self.known(&digest, from, now)? {
            return Ok(principal);
        }
        if name.len() > 128 || secret.len() > 1024 {
            return Err(Fault::Unknown);
        }
        let alike = self.alike(digest);
        let turn = tokio::time::timeout(PATIENCE, alike.turn.lock());
        let _first = turn.await.map_err(|_| Fault::TooFast)?;
        if let Some(principal) = self.known(&digest, from, now)? {
            return Ok(principal);
        }
        let instant = Instant::now();
        let version = self.0.state.credentials_version();
        let attempt = self.attempt(from, door, now)?;
        let Some(turn) = self.turn(origin(from)).await else {
            attempt.void();
            return Err(Fault::TooFast);
        };
        let found = match self.0.state.authenticate(kind, name, secret, turn).await {
            Ok(found) => found,
            Err(error) => {
                attempt.void();
                return Err(error.into());
            }
        };
        let Some(principal) = found else {
            attempt.wrong().await?;
            return Err(Fault::Unknown);
        };
        attempt.right().await?;
        welcome(&principal, from, now)?;
        let principal = Arc::new(principal);
        self.remember(digest, version, principal.clone(), instant);
        Ok(principal)
    }

    /// The work of a check, and nothing else: who showed a wrong PIN waits as long as who named
    /// nobody.
    pub async fn refuse(&self, secret: &str, from: IpAddr) -> Result<(), Fault> {
        let turn = self.turn(origin(from)).await.ok_or(Fault::TooFast)?;
        // Nobody is called so.
        self.0.state.authenticate(Kind::User, "", secret, turn).await?;
        Ok(())
    }

    /// Whose credentials these were a moment ago, if he may use them here and now.
    fn known(
        &self,
        digest: &[u8; 32],
        from: IpAddr,
        now: i64,
    ) -> Result<Option<Arc<Principal>>, Fault> {
        let version = self.0.state.credentials_version();
        let Some(principal) = self.recall(digest, version, Instant::now()) else { return Ok(None) };
        welcome(&principal, from, now)?;
        if !self.0.pace.principal(principal.id) {
            return Err(Fault::TooFast);
        }
        Ok(Some(principal))
    }

    fn alike(&self, digest: [u8; 32]) -> Alike {
        let mut all = self.0.alike.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(all.entry(digest).or_default());
        Alike { guard: self.clone(), digest, turn }
    }

    /// Whether this source may ask now, whatever it asks for.
    pub fn pace(&self, from: IpAddr) -> Result<(), Fault> {
        if self.0.pace.source(origin(from)) { Ok(()) } else { Err(Fault::TooFast) }
    }

    fn attempt(
        &self,
        from: IpAddr,
        door: Door,
        now: i64,
    ) -> Result<state::attempt::Attempt, Fault> {
        let source = origin(from).to_string();
        let begun = self.0.state.attempt(None, &source, door, now);
        begun.map_err(|locked| Fault::Locked { until: locked.until })
    }

    /// Whoever knocks at a door that is shut is counted too.
    pub async fn note_failure(&self, from: IpAddr, door: Door, now: i64) -> Result<(), Fault> {
        if let Ok(attempt) = self.attempt(from, door, now) {
            attempt.wrong().await?;
        }
        Ok(())
    }

    async fn turn(&self, origin: IpAddr) -> Option<Turn> {
        let seat = self.0.pending.enter(origin)?;
        let permit = Arc::clone(&self.0.checks).acquire_owned();
        let permit = tokio::time::timeout(PATIENCE, permit).await.ok()?.ok()?;
        Some(Turn { _seat: seat, _permit: permit })
    }

    fn recall(&self, digest: &[u8; 32], version: u64, now: Instant) -> Option<Arc<Principal>> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, until) = known.until.get(digest)?;
        (known.version == version && now < *until).then(|| principal.clone())
    }

    fn remember(&self, digest: [u8; 32], version: u64, principal: Arc<Principal>, now: Instant) {
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
    fn digest(&self, kind: Kind, name: &str, secret: &str) -> [u8; 32] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0.key) else {
            unreachable!("HMAC takes keys of any length")
        };
        // With the length of the name, so that a pair has one reading.
        mac.update(&[kind as u8]);
        mac.update(&(name.len() as u64).to_be_bytes());
        for part in [name, secret] {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

impl Drop for Alike {
    fn drop(&mut self) {
        let mut all = self.guard.0.alike.lock().unwrap_or_else(PoisonError::into_inner);
        // The last but the table itself.
        if Arc::strong_count(&self.turn) == 2 {
            all.remove(&self.digest);
        }
    }
}

/// Whether right credentials may be used here and now.
fn welcome(principal: &Principal, from: IpAddr, now: i64) -> Result<(), Fault> {
    if principal.expires.is_some_and(|end| end <= now) {
        return Err(Fault::Unknown);
    }
    if is_allowed(principal, from) { Ok(()) } else { Err(Fault::NotFromHere) }
}

/// Whether they may be used from this address.
pub(super) fn is_allowed(principal: &Principal, from: IpAddr) -> bool {
    let allowed = |network: &String| {
        network.parse::<Network>().is_ok_and(|network| network.contains(from.to_canonical()))
    };
    principal.allow.is_empty() || principal.allow.iter().any(allowed)
}

/// One site has a /64 of IPv6 at the least (RFC 6177).
pub(super) fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

fn pair(encoded: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::credential::Role;

    fn basic(pair: &str) -> HeaderMap {
        let value = format!("bAsIc {}", STANDARD.encode(pair));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = format!("Bearer {token}");
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    async fn guard() -> (tempfile::TempDir, Guard, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        (dir, Guard::new(&state, 0).unwrap(), state)
    }

    async fn enter(guard: &Guard, headers: &HeaderMap) -> Result<String, Fault> {
        guard.enter(headers, HERE, Door::Telebroad, 5).await.map(|found| found.name.clone())
    }

    #[tokio::test]
    async fn one_origin_leaves_places_to_others_and_all_together_have_few() {
        let (_dir, guard, _) = guard().await;
        let site = |n: u16| origin(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1).into());
        let all = |n| std::iter::from_fn(|| guard.0.pending.enter(site(n))).collect::<Vec<_>>();
        let (first, second, third) = (all(1), all(2), all(3));
        assert_eq!((first.len(), second.len()), (PENDING_PER_ORIGIN, PENDING_PER_ORIGIN));
        assert_eq!(first.len() + second.len() + third.len(), PENDING);
        assert!(guard.0.pending.enter(site(4)).is_none());
        drop(first);
        assert!(guard.0.pending.enter(site(4)).is_some());
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_until_credentials_change() {
        let (_dir, guard, state) = guard().await;
        let alice = Credential::user("alice", Role::Admin);
        state.set_credential(&alice, "correct:horse", 0).await.unwrap();
        let right = basic("alice:correct:horse");
        assert_eq!(enter(&guard, &right).await.unwrap(), "alice");
        let digest = guard.digest(Kind::User, "alice", "correct:horse");
        assert!(guard.recall(&digest, 1, Instant::now()).is_some());
        assert_eq!(enter(&guard, &right).await.unwrap(), "alice");
        assert!(guard.recall(&digest, 1, Instant::now() + REMEMBERED).is_none());
        state.remove_credential(Kind::User, "alice").await.unwrap();
        assert!(matches!(enter(&guard, &right).await, Err(Fault::Unknown)));
    }

    #[tokio::test]
    async fn many_who_show_the_same_at_once_are_all_let_in() {
        let (_dir, guard, state) = guard().await;
        state
            .set_credential(&Credential::user("alice", Role::Admin), "correct horse", 0)
            .await
            .unwrap();
        let (right, wrong) = (basic("alice:correct horse"), basic("alice:wrong horse"));
        // More than may wait for a check of their own.
        let all = (0..PENDING).map(|_| enter(&guard, &right));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|name| name.as_deref().is_ok_and(|name| name == "alice")));
        let all = futures_util::future::join_all((0..3).map(|_| enter(&guard, &wrong))).await;
        assert!(all.iter().all(|refused| matches!(refused, Err(Fault::Unknown))));
        assert!(guard.0.alike.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn tokens_and_sessions_open_the_door_from_where_they_may() {
        let (_dir, guard, state) = guard().await;
        let token = Credential {
            allow: vec!["192.0.2.0/24".into(), "::1".into()],
            expires: Some(10),
            ..Credential::new(Kind::Token, "portal.1", Role::Reader)
        };
        state.set_credential(&token, "a long secret", 0).await.unwrap();
        let right = bearer("portal.1.a long secret");
        assert_eq!(enter(&guard, &right).await.unwrap(), "portal.1");
        let elsewhere = guard.enter(&right, IpAddr::from([10, 0, 0, 1]), Door::Api, 5).await;
        assert!(matches!(elsewhere, Err(Fault::NotFromHere)));
        let late = guard.enter(&right, HERE, Door::Api, 10).await;
        assert!(matches!(late, Err(Fault::Unknown)));
        let session = state.open_session(&token, Door::Telebroad, 60, 5).await.unwrap();
        assert_eq!(enter(&guard, &bearer(&session)).await.unwrap(), "portal.1");
        let other_door = guard.enter(&bearer(&session), HERE, Door::Api, 5).await;
        assert!(matches!(other_door, Err(Fault::Unknown)));
    }

    #[tokio::test]
    async fn who_guesses_is_shut_out_and_others_are_not() {
        let (_dir, guard, state) = guard().await;
        let alice = Credential::user("alice", Role::Admin);
        state.set_credential(&alice, "correct horse", 0).await.unwrap();
        let evil = IpAddr::from([192, 0, 2, 66]);
        for _ in 0..20 {
            let wrong = guard.enter(&basic("alice:guess guess"), evil, Door::Api, 5).await;
            assert!(matches!(wrong, Err(Fault::Unknown)));
        }
        let right = basic("alice:correct horse");
        let shut = guard.enter(&right, evil, Door::Api, 6).await;
        assert!(matches!(shut, Err(Fault::Locked { until: 65 })), "{shut:?}");
        assert!(guard.enter(&right, HERE, Door::Api, 6).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_no_credential_is_refused() {
        let (_dir, guard, _) = guard().await;
        for value in ["", "Basic", "Basic !!!", "Bearer abc", "Basic YWxpY2U=", "Bearer "] {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert!(matches!(enter(&guard, &headers).await, Err(Fault::Unknown)), "{value}");
        }
        assert!(matches!(enter(&guard, &HeaderMap::new()).await, Err(Fault::Unknown)));
    }
}
