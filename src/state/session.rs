//! Logins that last a while: a random token in the client's hands, its hash in ours.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::attempt::Door;
use super::credential::{Credential, Kind};
use super::{Error, State, seal};

/// Sessions of one user at one door; the oldest gives way.
const MOST: i64 = 100;

/// 26 lower-case letters and digits of a drawn number of 128 bits and a little.
pub fn fresh_token() -> Result<String, Error> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0; 26];
    seal::chance(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

impl State {
    /// Opens a session and answers with its token.
    pub async fn open_session(
        &self,
        credential: &Credential,
        door: Door,
        seconds: i64,
        now: i64,
    ) -> Result<String, Error> {
        let token = fresh_token()?;
        let (kind, name) = (credential.kind.to_string(), &credential.name);
        sqlx::query("DELETE FROM session WHERE expires <= ?1")
            .bind(now)
            .execute(&self.0.pool)
            .await?;
        sqlx::query("INSERT INTO session (hash, door, kind, name, expires) VALUES (?, ?, ?, ?, ?)")
            .bind(digest(&token))
            .bind(door.name())
            .bind(&kind)
            .bind(name)
            .bind(now.saturating_add(seconds))
            .execute(&self.0.pool)
            .await?;
        sqlx::query(
            "DELETE FROM session WHERE rowid IN (SELECT rowid FROM session
             WHERE door = ?1 AND kind = ?2 AND name = ?3 ORDER BY rowid DESC LIMIT -1 OFFSET ?4)",
        )
        .bind(door.name())
        .bind(&kind)
        .bind(name)
        .bind(MOST)
        .execute(&self.0.pool)
        .await?;
        Ok(token)
    }

    /// Whose session this is, as he is now: with a removed user his sessions end. It lasts so many
    /// seconds from now on.
    pub async fn session(
        &self,
        token: &str,
        door: Door,
        prolonged: Option<i64>,
        now: i64,
    ) -> Result<Option<Credential>, Error> {
        let hash = digest(token);
        let row: Option<(String, String, i64)> = sqlx::query_as(
            "SELECT kind, name, expires FROM session
             WHERE hash = ?1 AND door = ?2 AND expires > ?3",
        )
        .bind(&hash)
        .bind(door.name())
        .bind(now)
        .fetch_optional(&self.0.pool)
        .await?;
        let Some((kind, name, expires)) = row else { return Ok(None) };
        let kind: Kind = kind.parse().map_err(Error::Refused)?;
        // Not at every request: a write costs more than it says.
        if let Some(seconds) = prolonged
            && expires - now < seconds - seconds / 10
        {
            sqlx::query("UPDATE session SET expires = ?2 WHERE hash = ?1")
                .bind(&hash)
                .bind(now + seconds)
                .execute(&self.0.pool)
                .await?;
        }
        self.credential(kind, &name).await
    }

    pub async fn close_session(&self, token: &str, door: Door) -> Result<bool, Error> {
        let done = sqlx::query("DELETE FROM session WHERE hash = ?1 AND door = ?2")
            .bind(digest(token))
            .bind(door.name())
            .execute(&self.0.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::credential::Role;

    #[tokio::test]
    async fn a_session_ends_with_its_time_its_owner_or_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let alice = Credential::user("alice", Role::Admin);
        state.set_credential(&alice, "correct horse", 0).await.unwrap();
        let token = state.open_session(&alice, Door::Onsip, 100, 1000).await.unwrap();
        assert!(token.len() == 26 && token.bytes().all(|b| b.is_ascii_alphanumeric()));
        let known = async |token: &str, door, prolonged, now| {
            state.session(token, door, prolonged, now).await.unwrap().map(|c| c.name)
        };
        assert_eq!(known(&token, Door::Onsip, Some(100), 1099).await.as_deref(), Some("alice"));
        assert_eq!(known(&token, Door::Onsip, None, 1198).await.as_deref(), Some("alice"));
        assert_eq!(known(&token, Door::Onsip, None, 1199).await, None);
        assert_eq!(known(&token, Door::Telecomx, None, 1001).await, None);
        assert_eq!(known("x", Door::Onsip, None, 1001).await, None);
        let other = state.open_session(&alice, Door::Onsip, 100, 1000).await.unwrap();
        assert!(state.close_session(&other, Door::Onsip).await.unwrap());
        assert_eq!(known(&other, Door::Onsip, None, 1001).await, None);
        let last = state.open_session(&alice, Door::Onsip, 100, 1000).await.unwrap();
        state.remove_credential(Kind::User, "alice").await.unwrap();
        assert_eq!(known(&last, Door::Onsip, None, 1001).await, None);
    }
}
