//! Who may ask over HTTP: users, tokens and vendors' keys, each with a role, a reach, and a hash of
//! its secret.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};

use super::{Error, State};

/// What kind of name and secret somebody shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Name and password.
    User,
    /// A bearer token of ours.
    Token,
    /// Yay's reseller and user, written `reseller/user`.
    Yay,
    /// TeleCMI's appid.
    Telecmi,
    /// A mailbox's owner, by number and PIN. Never kept here.
    Owner,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Lists and plays messages, and marks them as heard.
    Reader,
    /// Reader, and moves, deletes, sends and uploads messages.
    Editor,
    /// Editor, and makes, changes and removes mailboxes.
    Manager,
    /// Everything.
    Admin,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Read,
    Edit,
    Provision,
    Administer,
}

impl Role {
    pub fn may(self, scope: Scope) -> bool {
        self >= match scope {
            Scope::Read => Self::Reader,
            Scope::Edit => Self::Editor,
            Scope::Provision => Self::Manager,
            Scope::Administer => Self::Admin,
        }
    }
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::User, "user"),
    (Kind::Token, "token"),
    (Kind::Yay, "yay"),
    (Kind::Telecmi, "telecmi"),
    (Kind::Owner, "owner"),
];
const ROLES: [(Role, &str); 4] = [
    (Role::Reader, "reader"),
    (Role::Editor, "editor"),
    (Role::Manager, "manager"),
    (Role::Admin, "admin"),
];

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = ROLES.iter().find(|(_, name)| *name == text);
        found
            .map(|(role, _)| *role)
            .ok_or_else(|| "a role is `admin`, `manager`, `editor` or `reader`".into())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROLES.iter().find(|(role, _)| role == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = KINDS.iter().find(|(_, name)| *name == text);
        found
            .map(|(kind, _)| *kind)
            .ok_or_else(|| "a key is of kind `user`, `token`, `yay` or `telecmi`".into())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

/// Somebody who may ask, and how far that reaches. Without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub kind: Kind,
    pub name: String,
    pub role: Role,
    /// The only organization that it reaches; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The only mailbox that it reaches, by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Addresses and networks that it may be used from; everywhere where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Unix seconds; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// What it is called in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(default)]
    pub id: u64,
}

impl Credential {
    pub fn new(kind: Kind, name: impl Into<String>, role: Role) -> Self {
        Self {
            kind,
            name: name.into(),
            role,
            context: None,
            mailbox: None,
            allow: vec![],
            expires: None,
            note: String::new(),
            id: 0,
        }
    }

    pub fn user(name: impl Into<String>, role: Role) -> Self {
        Self::new(Kind::User, name, role)
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.role.may(scope)
    }

    /// Whether this organization's mailbox is within reach.
    pub fn reaches(&self, context: &str, number: &str) -> bool {
        self.reaches_context(context)
            && self.mailbox.as_deref().is_none_or(|mailbox| mailbox == number)
    }

    pub fn reaches_context(&self, context: &str) -> bool {
        self.context.as_deref().is_none_or(|own| own == context)
    }
}

type Row = (
    i64,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    String,
    Option<i64>,
    String,
    String,
);

fn read(row: Row) -> Result<(Credential, String), Error> {
    let (id, kind, name, role, context, mailbox, allow, expires, note, hash) = row;
    let allow = allow.split_whitespace().map(str::to_owned).collect();
    let credential = Credential {
        kind: kind.parse().map_err(Error::Refused)?,
        role: role.parse().map_err(Error::Refused)?,
        id: u64::try_from(id).unwrap_or(0),
        name,
        context,
        mailbox,
        allow,
        expires,
        note,
    };
    Ok((credential, hash))
}

impl State {
    /// Adds a credential, or gives the one of that kind and name a new role, reach and secret. Slow
    /// on purpose.
    pub async fn set_credential(
        &self,
        credential: &Credential,
        secret: &str,
        now: i64,
    ) -> Result<(), Error> {
        check(credential, secret).map_err(Error::Refused)?;
        let hash = hash(secret).await?;
        sqlx::query(
            "INSERT INTO credential
                 (kind, name, role, context, mailbox, allow, expires, note, hash, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (kind, name) DO UPDATE SET role = ?3, context = ?4, mailbox = ?5,
                 allow = ?6, expires = ?7, note = ?8, hash = ?9",
        )
        .bind(credential.kind.to_string())
        .bind(&credential.name)
        .bind(credential.role.to_string())
        .bind(&credential.context)
        .bind(&credential.mailbox)
        .bind(credential.allow.join(" "))
        .bind(credential.expires)
        .bind(&credential.note)
        .bind(hash)
        .bind(now)
        .execute(&self.0.pool)
        .await?;
        self.0.credentials_version.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Changes with every change of a credential.
    pub fn credentials_version(&self) -> u64 {
        self.0.credentials_version.load(Ordering::Acquire)
    }

    pub async fn remove_credential(&self, kind: Kind, name: &str) -> Result<bool, Error> {
        let done = sqlx::query("DELETE FROM credential WHERE kind = ?1 AND name = ?2")
            .bind(kind.to_string())
            .bind(name)
            .execute(&self.0.pool)
            .await?;
        self.0.credentials_version.fetch_add(1, Ordering::AcqRel);
        Ok(done.rows_affected() > 0)
    }

    pub async fn credentials(&self, kind: Kind) -> Result<Vec<Credential>, Error> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, kind, name, role, context, mailbox, allow, expires, note, hash
             FROM credential WHERE kind = ?1 ORDER BY name",
        )
        .bind(kind.to_string())
        .fetch_all(&self.0.pool)
        .await?;
        rows.into_iter().map(|row| Ok(read(row)?.0)).collect()
    }

    pub async fn credential(&self, kind: Kind, name: &str) -> Result<Option<Credential>, Error> {
        Ok(self.kept(kind, name).await?.map(|(credential, _)| credential))
    }

    async fn kept(&self, kind: Kind, name: &str) -> Result<Option<(Credential, String)>, Error> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, kind, name, role, context, mailbox, allow, expires, note, hash
             FROM credential WHERE kind = ?1 AND name = ?2",
        )
        .bind(kind.to_string())
        .bind(name)
        .fetch_optional(&self.0.pool)
        .await?;
        row.map(read).transpose()
    }

    /// Whose name and secret these are. Takes as long for an unknown name as for a wrong secret.
    /// `turn` is kept until the work is done, even where nobody waits for it any more.
    pub async fn authenticate(
        &self,
        kind: Kind,
        name: &str,
        secret: &str,
        turn: impl Send + 'static,
    ) -> Result<Option<Credential>, Error> {
        let (credential, kept) = match self.kept(kind, name).await? {
            Some((credential, kept)) => (Some(credential), kept),
            None => (None, NOBODY.to_owned()),
        };
        let (tried, state) = (secret.to_owned(), self.clone());
        let right = off_the_runtime(move || {
            let _turn = turn;
            state.0.memory.with(|memory| is_right(&kept, tried.as_bytes(), memory)).unwrap_or(false)
        })
        .await?;
        Ok(credential.filter(|_| right))
    }

    /// How many passwords were checked, of those who exist and of those who do not.
    pub fn checks(&self) -> u64 {
        self.0.memory.used.load(Ordering::Relaxed)
    }
}

/// What passwords are checked in, used again and again: given back to the system's allocator it
/// would stay with whichever thread had it, 19 MiB for each.
#[derive(Default)]
pub(super) struct Memory {
    kept: Mutex<Vec<Vec<Block>>>,
    /// How often it was filled.
    used: AtomicU64,
}

impl Memory {
    fn with<T>(&self, check: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = kept().pop().unwrap_or_default();
        self.used.fetch_add(1, Ordering::Relaxed);
        let done = check(&mut memory);
        kept().push(memory);
        done
    }
}

/// `None` where what is kept is no hash of ours.
fn is_right(kept: &str, tried: &[u8], memory: &mut Vec<Block>) -> Option<bool> {
    let kept = PasswordHash::new(kept).ok()?;
    let (salt, wanted) = kept.salt.as_ref().zip(kept.hash.as_ref())?;
    let algorithm = Algorithm::try_from(kept.algorithm.as_str()).ok()?;
    let version = kept.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&kept).ok()?;
    memory.resize(params.block_count(), Block::new());
    let mut found = [0; Output::MAX_LENGTH];
    let found = found.get_mut(..wanted.len())?;
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into_with_memory(tried, salt, found, memory).ok()?;
    // Compared in constant time.
    Some(Output::new(found).ok()? == *wanted)
}

/// The hash that an unknown user's password is held against: of the same cost, and nobody's.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Shorter passwords are refused.
const SHORTEST: usize = 8;

fn check(credential: &Credential, secret: &str) -> Result<(), String> {
    let name = &credential.name;
    // RFC 7617 §2: a colon would end the name.
    if name.is_empty()
        || name.len() > 64
        || name.contains(':')
        || name.chars().any(char::is_control)
    {
        return Err("a user's name has 1 to 64 characters, without a colon".into());
    }
    if credential.kind == Kind::Telecmi && name.parse::<u64>().is_err() {
        return Err("an appid is a number".into());
    }
    if credential.kind == Kind::Yay && !name.contains('/') {
        return Err("write RESELLER/USER".into());
    }
    if credential.kind == Kind::Owner {
        return Err("an owner is known by the mailbox's PIN".into());
    }
    if secret.chars().count() < SHORTEST {
        return Err(format!("a password has at least {SHORTEST} characters"));
    }
    if secret.len() > 1024 {
        return Err("a password has at most 1024 bytes".into());
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
        let alice = Credential {
            context: Some("sales".into()),
            allow: vec!["10.0.0.0/8".into(), "::1".into()],
            ..Credential::user("alice", Role::Admin)
        };
        state.set_credential(&alice, "correct horse", 0).await.unwrap();
        let known = async |kind, name, password| {
            state.authenticate(kind, name, password, ()).await.unwrap().map(|c| c.name)
        };
        assert_eq!(known(Kind::User, "alice", "correct horse").await.as_deref(), Some("alice"));
        assert_eq!(known(Kind::Token, "alice", "correct horse").await, None);
        assert_eq!(known(Kind::User, "alice", "correct hors").await, None);
        assert_eq!(known(Kind::User, "bob", "correct horse").await, None);
        let kept = state.credentials(Kind::User).await.unwrap();
        assert_eq!(kept, [Credential { id: kept[0].id, ..alice }]);
        assert!(state.remove_credential(Kind::User, "alice").await.unwrap());
        assert_eq!(known(Kind::User, "alice", "correct horse").await, None);
    }

    #[tokio::test]
    async fn what_cannot_be_a_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).await.unwrap();
        for (kind, name, password) in [
            (Kind::User, "", "long enough"),
            (Kind::User, "a:b", "long enough"),
            (Kind::User, "alice", "short"),
            (Kind::Telecmi, "x", "long enough"),
            (Kind::Yay, "x", "long enough"),
            (Kind::Owner, "1000", "long enough"),
        ] {
            let credential = Credential::new(kind, name, Role::Reader);
            assert!(state.set_credential(&credential, password, 0).await.is_err(), "{name}");
        }
    }

    #[test]
    fn roles_grow() {
        assert!(Role::Admin.may(Scope::Provision) && Role::Reader.may(Scope::Read));
        assert!(!Role::Reader.may(Scope::Edit) && !Role::Manager.may(Scope::Administer));
    }

    #[test]
    fn nobodys_hash_costs_as_much_as_anybodys() {
        let mut memory = vec![];
        assert_eq!(is_right(NOBODY, b"x", &mut memory), Some(false));
        assert_eq!(is_right("no hash", b"x", &mut memory), None);
        let real = Argon2::default().hash_password(b"x").unwrap().to_string();
        assert_eq!(real.rsplitn(3, '$').last(), NOBODY.rsplitn(3, '$').last());
    }
}
