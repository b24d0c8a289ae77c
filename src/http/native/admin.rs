//! `/v1/health`, `/v1/calls`, `/v1/drain` and `/v1/config`: the daemon itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Face;
use super::problem::Problem;
use super::visitor::Visitor;
use crate::state::credential::Scope;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Calls {
    /// In progress.
    calls: usize,
    /// Messages in the spool.
    messages: usize,
}

/// Whether it answers. Needs no login.
#[utoipa::path(
    get, path = "/health", tag = "admin", security(()),
    responses((status = 200, body = Health)),
)]
pub(super) async fn health(State(face): State<Face>) -> Json<Health> {
    // Nothing is told of the house but that somebody is in.
    let _ = &face.house;
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// How many calls are in progress.
#[utoipa::path(
    get, path = "/calls", tag = "admin",
    responses((status = 200, body = Calls), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn calls(visitor: Visitor) -> Result<Json<Calls>, Problem> {
    visitor.needs(Scope::Administer)?;
    let house = &visitor.house;
    Ok(Json(Calls { calls: (house.calls)(), messages: house.spool.len() }))
}

/// Take no new calls; those in progress may end. Until the next start.
#[utoipa::path(
    post, path = "/drain", tag = "admin",
    responses((status = 202, body = Calls), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn drain(visitor: Visitor) -> Result<(StatusCode, Json<Calls>), Problem> {
    visitor.administers()?;
    let house = &visitor.house;
    visitor.record("daemon.drain", "", "").await?;
    (house.drain)();
    let calls = Calls { calls: (house.calls)(), messages: house.spool.len() };
    Ok((StatusCode::ACCEPTED, Json(calls)))
}

/// The configuration as it is in force, without secrets.
#[utoipa::path(
    get, path = "/config", tag = "admin",
    responses((status = 200, body = Value), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn config(visitor: Visitor) -> Result<Json<Value>, Problem> {
    visitor.administers()?;
    Ok(Json((*visitor.house.options).clone()))
}
