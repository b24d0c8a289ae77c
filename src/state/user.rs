//! Users of the HTTP faces: name, role, and a hash of the password.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::Ordering;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde::{Deserialize, Serialize};

use super::{Error, State};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, on every mailbox.
    Admin,
    /// Reads messages of every mailbox.
    Reader,
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "admin" => Ok(Self::Admin),
            "reader" => Ok(Self::Reader),
            _ => Err("a role is `admin` or `reader`".into()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Reader => "reader",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub role: Role,
}

/// Shorter passwords are refused.
const SHORTEST: usize = 8;

impl State {
    /// Adds a user, or gives the one of that name a new role and password. Slow on purpose.
    pub async fn set_user(&self, user: &User, password: &str, now: i64) -> Result<(), Error> {
        check(user, password).map_err(Error::Refused)?;
        let hash = hash(password).await?;
        sqlx::query(
            "INSERT INTO user VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET role = ?2, hash = ?3",
        )
        .bind(&user.name)
        .bind(user.role.to_string())
        .bind(hash)
        .bind(now)
        .execute(&self.0.pool)
        .await?;
        self.0.users_version.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Changes with every change of a user.
    pub fn users_version(&self) -> u64 {
        self.0.users_version.load(Ordering::Acquire)
    }

    pub async fn remove_user(&self, name: &str) -> Result<bool, Error> {
        let done = sqlx::query("DELETE FROM user WHERE name = ?1")
            .bind(name)
            .execute(&self.0.pool)
            .await?;
        self.0.users_version.fetch_add(1, Ordering::AcqRel);
        Ok(done.rows_affected() > 0)
    }

    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, role FROM user ORDER BY name")
                .fetch_all(&self.0.pool)
                .await?;
        rows.into_iter()
            .map(|(name, role)| Ok(User { role: role.parse().map_err(Error::Refused)?, name }))
            .collect()
    }

    /// The user whose name and password these are. Takes as long for an unknown name as for a
    /// wrong password. `turn` is kept until the work is done, even where nobody waits for it any more.
    pub async fn authenticate(
        &self,
        name: &str,
        password: &str,
        turn: impl Send + 'static,
    ) -> Result<Option<User>, Error> {
        let row: Option<(String, String)> =
            sqlx::query_as("SELECT role, hash FROM user WHERE name = ?1")
                .bind(name)
                .fetch_optional(&self.0.pool)
                .await?;
        let (role, kept) = match row {
            Some((role, kept)) => (Some(role), kept),
            None => (None, NOBODY.to_owned()),
        };
        let tried = password.to_owned();
        let right = off_the_runtime(move || {
            let _turn = turn;
            PasswordHash::new(&kept).is_ok_and(|kept| {
                Argon2::default().verify_password(tried.as_bytes(), &kept).is_ok()
            })
        })
        .await?;
        match role {
            Some(role) if right => Ok(Some(User {
                name: name.to_owned(),
                role: role.parse().map_err(Error::Refused)?,
            })),
            Some(_) | None => Ok(None),
        }
    }
}

/// The hash that an unknown user's password is held against: of the same cost, and nobody's.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn check(user: &User, password: &str) -> Result<(), String> {
    let name = &user.name;
    // RFC 7617 §2: a colon would end the name.
    if name.is_empty()
        || name.len() > 64
        || name.contains(':')
        || name.chars().any(char::is_control)
    {
        return Err("a user's name has 1 to 64 characters, without a colon".into());
    }
    if password.chars().count() < SHORTEST {
        return Err(format!("a password has at least {SHORTEST} characters"));
    }
    Ok(())
}

async fn hash(password: &str) -> Result<String, Error> {
    let password = password.to_owned();
    off_the_runtime(move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
    })
    .await?
    .map_err(|error| Error::Refused(format!("the password cannot be hashed: {error}")))
}

/// Argon2 fills 19 MiB and takes tens of milliseconds: never on a thread that serves calls.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Refused(format!("the password was not checked: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_is_known_by_name_and_password() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        let user = User { name: "alice".into(), role: Role::Admin };
        state.set_user(&user, "correct horse", 0).await.unwrap();
        let known = async |name, password| state.authenticate(name, password, ()).await.unwrap();
        assert_eq!(known("alice", "correct horse").await, Some(user.clone()));
        assert_eq!(known("alice", "correct hors").await, None);
        assert_eq!(known("bob", "correct horse").await, None);
        assert_eq!(state.users().await.unwrap(), [user]);
        assert!(state.remove_user("alice").await.unwrap());
        assert_eq!(known("alice", "correct horse").await, None);
    }

    #[tokio::test]
    async fn what_cannot_be_a_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        for (name, password) in [("", "long enough"), ("a:b", "long enough"), ("alice", "short")] {
            let user = User { name: name.into(), role: Role::Reader };
            assert!(state.set_user(&user, password, 0).await.is_err(), "{name} {password}");
        }
    }

    #[test]
    fn nobodys_hash_costs_as_much_as_anybodys() {
        let hash = PasswordHash::new(NOBODY).unwrap();
        assert!(Argon2::default().verify_password(b"x", &hash).is_err());
        let real = Argon2::default().hash_password(b"x").unwrap().to_string();
        assert_eq!(real.rsplitn(3, '$').last(), NOBODY.rsplitn(3, '$').last());
    }
}
