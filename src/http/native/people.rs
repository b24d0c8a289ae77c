//! `/v1/organizations`, `/v1/users` and `/v1/tokens`.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::guard::is_allowed;
use super::problem::Problem;
use super::visitor::{At, Visitor, read as body};
use super::wire::time;
use crate::mailbox::is_plain_name;
use crate::state;
use crate::state::credential::{Credential, Kind, Role, Scope};
use crate::state::session::fresh_token;

/// A context of the spool, as other interfaces number it.
#[derive(Serialize, ToSchema)]
pub(super) struct Organization {
    id: u64,
    #[schema(value_type = String, format = "uuid")]
    uuid: uuid::Uuid,
    account: u64,
    context: String,
    name: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<state::organization::Organization> for Organization {
    fn from(one: state::organization::Organization) -> Self {
        Self {
            id: one.id,
            uuid: one.uuid,
            account: one.account,
            context: one.context,
            name: one.name,
            created_at: time(one.created),
        }
    }
}

#[derive(Deserialize, ToSchema)]
pub(super) struct OrganizationWish {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Whose organizations it belongs to: `main` where absent.
    account: Option<String>,
}

/// List organizations.
#[utoipa::path(
    get, path = "/organizations", tag = "people",
    responses((status = 200, body = Vec<Organization>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn organizations(visitor: Visitor) -> Result<Json<Vec<Organization>>, Problem> {
    visitor.needs(Scope::Provision)?;
    let all = visitor.house.organizations().await?.into_iter();
    let within = all.filter(|one| visitor.principal.reaches_context(&one.context));
    Ok(Json(within.map(Into::into).collect()))
}

/// Make an organization, or give it another name or account.
#[utoipa::path(
    put, path = "/organizations/{context}", tag = "people", request_body = OrganizationWish,
    params(("context" = String, Path)),
    responses((status = 200, body = Organization), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn set_organization(
    visitor: Visitor,
    At(context): At<String>,
    given: Body,
) -> Result<Json<Organization>, Problem> {
    visitor.administers()?;
    let wish: OrganizationWish = body(given).await?;
    if !is_plain_name(&context) {
        return Err(Problem::wrong("that can be no context"));
    }
    let account = wish.account.as_deref().unwrap_or("main");
    for text in [wish.name.as_str(), account] {
        if text.is_empty() || text.chars().count() > 200 || text.contains(char::is_control) {
            return Err(Problem::wrong("a name has 1 to 200 characters"));
        }
    }
    let (state, now) = (&visitor.house.state, (visitor.house.now)());
    state.make_organization(&context, &wish.name, account, now).await?;
    visitor.record("organization.set", &context, "").await?;
    Ok(Json(state.organization(&context, now).await?.into()))
}

/// Somebody who may ask. Without the password.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    name: String,
    #[schema(example = "reader")]
    role: String,
    context: Option<String>,
    mailbox: Option<String>,
    allow: Vec<String>,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    note: String,
}

impl From<Credential> for User {
    fn from(one: Credential) -> Self {
        Self {
            name: one.name,
            role: one.role.to_string(),
            context: one.context,
            mailbox: one.mailbox,
            allow: one.allow,
            expires_at: one.expires.map(time),
            note: one.note,
        }
    }
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewUser {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// At least 8 characters.
    #[schema(min_length = 8, max_length = 1024)]
    password: String,
    #[serde(flatten)]
    reach: Reach,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct UserWish {
    #[schema(min_length = 8, max_length = 1024)]
    password: String,
    #[serde(flatten)]
    reach: Reach,
}

#[derive(Deserialize, ToSchema)]
pub(super) struct NewToken {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    #[serde(flatten)]
    reach: Reach,
}

/// What somebody may do, and where.
#[derive(Deserialize, ToSchema)]
pub(super) struct Reach {
    #[schema(value_type = String, pattern = "^(reader|editor|manager|admin)$")]
    role: Role,
    /// Only this organization.
    context: Option<String>,
    /// Only the mailbox of this number.
    mailbox: Option<String>,
    /// Only from these addresses and networks.
    #[serde(default)]
    allow: Vec<String>,
    /// RFC 3339.
    expires_at: Option<String>,
    #[serde(default)]
    note: String,
}

impl Reach {
    fn of(self, kind: Kind, name: String) -> Result<Credential, Problem> {
        for name in self.context.iter().chain(&self.mailbox) {
            if !is_plain_name(name) {
                return Err(Problem::wrong("context and mailbox are plain names"));
            }
        }
        for network in &self.allow {
            network.parse::<crate::config::Network>().map_err(Problem::wrong)?;
        }
        let expires = self.expires_at.map(|at| at.parse::<jiff::Timestamp>()).transpose();
        let expires =
            expires.map_err(|_| Problem::wrong("expires_at is like 2026-01-31T12:00:00Z"))?;
        Ok(Credential {
            context: self.context,
            mailbox: self.mailbox,
            allow: self.allow,
            expires: expires.map(jiff::Timestamp::as_second),
            note: self.note.chars().filter(|c| !c.is_control()).take(200).collect(),
            ..Credential::new(kind, name, self.role)
        })
    }
}

/// A token, told this once.
#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    token: String,
    user: User,
}

/// List users.
#[utoipa::path(
    get, path = "/users", tag = "people",
    responses((status = 200, body = Vec<User>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn users(visitor: Visitor) -> Result<Json<Vec<User>>, Problem> {
    of_kind(&visitor, Kind::User).await
}

/// Make a user.
#[utoipa::path(
    post, path = "/users", tag = "people", request_body = NewUser,
    responses((status = 201, body = User), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn add_user(
    visitor: Visitor,
    given: Body,
) -> Result<(StatusCode, Json<User>), Problem> {
    visitor.administers()?;
    let new: NewUser = body(given).await?;
    let user = new.reach.of(Kind::User, new.name)?;
    set(&visitor, &user, &new.password, true).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Give a user another role, reach and password.
#[utoipa::path(
    put, path = "/users/{name}", tag = "people", request_body = UserWish,
    params(("name" = String, Path)),
    responses((status = 200, body = User), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn edit_user(
    visitor: Visitor,
    At(name): At<String>,
    given: Body,
) -> Result<Json<User>, Problem> {
    visitor.administers()?;
    let wish: UserWish = body(given).await?;
    let user = wish.reach.of(Kind::User, name)?;
    set(&visitor, &user, &wish.password, false).await?;
    Ok(Json(user.into()))
}

/// Remove a user; his sessions end.
#[utoipa::path(
    delete, path = "/users/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove_user(
    visitor: Visitor,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    remove(&visitor, Kind::User, &name).await
}

/// List tokens.
#[utoipa::path(
    get, path = "/tokens", tag = "people",
    responses((status = 200, body = Vec<User>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn tokens(visitor: Visitor) -> Result<Json<Vec<User>>, Problem> {
    of_kind(&visitor, Kind::Token).await
}

/// Make a bearer token.
#[utoipa::path(
    post, path = "/tokens", tag = "people", request_body = NewToken,
    responses((status = 201, body = Token), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn add_token(
    visitor: Visitor,
    given: Body,
) -> Result<(StatusCode, Json<Token>), Problem> {
    visitor.administers()?;
    let new: NewToken = body(given).await?;
    if !is_plain_name(&new.name) {
        return Err(Problem::wrong("a token's name is letters, digits, - _ and ."));
    }
    let secret = fresh_token()?;
    let token = new.reach.of(Kind::Token, new.name)?;
    set(&visitor, &token, &secret, true).await?;
    let shown = Token { token: format!("{}.{secret}", token.name), user: token.into() };
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Remove a token.
#[utoipa::path(
    delete, path = "/tokens/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove_token(
    visitor: Visitor,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    remove(&visitor, Kind::Token, &name).await
}

async fn of_kind(visitor: &Visitor, kind: Kind) -> Result<Json<Vec<User>>, Problem> {
    visitor.administers()?;
    let all = visitor.house.state.credentials(kind).await?;
    Ok(Json(all.into_iter().map(Into::into).collect()))
}

async fn set(
    visitor: &Visitor,
    credential: &Credential,
    secret: &str,
    new: bool,
) -> Result<(), Problem> {
    let _turn = visitor.turns.of("credentials").await;
    let state = &visitor.house.state;
    let known = state.credential(credential.kind, &credential.name).await?.is_some();
    match (new, known) {
        (true, true) => {
            return Err(Problem::new(StatusCode::CONFLICT, "that name is taken"));
        }
        (false, false) => return Err(Problem::missing("user")),
        (true, false) => {}
        (false, true) => {
            let who = (credential.kind, credential.name.as_str());
            somebody_is_left(visitor, who, Some(credential)).await?;
        }
    }
    state.set_credential(credential, secret, (visitor.house.now)()).await?;
    let subject = format!("{} {}", credential.kind, credential.name);
    visitor.record("credential.set", &subject, &credential.role.to_string()).await
}

async fn remove(visitor: &Visitor, kind: Kind, name: &str) -> Result<StatusCode, Problem> {
    visitor.administers()?;
    let _turn = visitor.turns.of("credentials").await;
    somebody_is_left(visitor, (kind, name), None).await?;
    if !visitor.house.state.remove_credential(kind, name).await? {
        return Err(Problem::missing(if kind == Kind::Token { "token" } else { "user" }));
    }
    visitor.record("credential.remove", &format!("{kind} {name}"), "").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Somebody must be left who can let others in. `then`: who he will be whom this is about.
async fn somebody_is_left(
    visitor: &Visitor,
    (kind, name): (Kind, &str),
    then: Option<&Credential>,
) -> Result<(), Problem> {
    let (state, now) = (&visitor.house.state, (visitor.house.now)());
    let mut running = state.credentials(Kind::User).await?;
    running.extend(state.credentials(Kind::Token).await?);
    running.retain(|one| runs_the_house(one, now));
    let (he, others): (Vec<_>, Vec<_>) =
        running.iter().partition(|one| one.kind == kind && one.name == name);
    let stays =
        then.is_some_and(|then| runs_the_house(then, now) && is_allowed(then, visitor.from));
    if he.is_empty() || !others.is_empty() || stays {
        return Ok(());
    }
    let why = "nobody would be left who administers all organizations: make another one first";
    Err(Problem::new(StatusCode::CONFLICT, why))
}

fn runs_the_house(one: &Credential, now: i64) -> bool {
    one.may(Scope::Administer)
        && one.context.is_none()
        && one.mailbox.is_none()
        && one.expires.is_none_or(|end| end > now)
}
