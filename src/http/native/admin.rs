//! `/v1/health`, `/v1/calls`, `/v1/drain` and `/v1/config`: the daemon itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Face;
use super::problem::Problem;
use super::visitor::{At, Visitor};
use super::wire::time;
use crate::mailbox::call::Call;
use crate::pii::Pii;
use crate::state::credential::Scope;

#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Load {
    /// In progress.
    calls: usize,
    /// Messages in the spool.
    messages: usize,
}

/// What goes on within the asker's reach.
#[derive(Serialize, ToSchema)]
pub(super) struct CallList {
    /// In progress.
    calls: usize,
    /// Messages in the spool.
    messages: usize,
    /// The calls, the oldest first.
    items: Vec<LiveCall>,
}

/// A call in progress.
#[derive(Serialize, ToSchema)]
pub(super) struct LiveCall {
    id: u64,
    /// The SIP Call-ID.
    call_id: String,
    /// Who calls; but to administrators, all but the end of the number is stars.
    caller_number: String,
    /// Told to administrators only.
    caller_name: Option<String>,
    /// `NUMBER@CONTEXT`; null until an owner has said which one is his.
    #[schema(example = "1000@default")]
    mailbox: Option<String>,
    context: String,
    /// `deposit`: to leave a message; `visit`: to hear messages.
    #[schema(example = "deposit")]
    purpose: String,
    /// `ringing`, `answered` or `recording`.
    #[schema(example = "recording")]
    state: String,
    #[schema(format = DateTime)]
    since: String,
    #[schema(example = "PCMU")]
    codec: Option<&'static str>,
}

impl LiveCall {
    fn new(id: u64, call: Call, in_full: bool) -> Self {
        let Call { call_id, caller, mailbox, context, purpose, stage, since, codec } = call;
        let number = if in_full || caller.number.is_empty() {
            caller.number
        } else {
            Pii(&caller.number).to_string()
        };
        Self {
            id,
            call_id,
            caller_number: number,
            caller_name: in_full.then_some(caller.name),
            mailbox: mailbox.map(|id| id.to_string()),
            context,
            purpose: purpose.to_string(),
            state: stage.to_string(),
            since: time(since),
            codec,
        }
    }
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

/// List calls in progress.
#[utoipa::path(
    get, path = "/calls", tag = "admin",
    responses((status = 200, body = CallList), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn calls(visitor: Visitor) -> Result<Json<CallList>, Problem> {
    visitor.needs(Scope::Provision)?;
    let in_full = visitor.principal.may(Scope::Administer);
    let mut calls = (visitor.house.calls.list)();
    calls.retain(|(_, call)| is_within_reach(&visitor, call));
    let items = calls.into_iter().map(|(id, call)| LiveCall::new(id, call, in_full));
    let items: Vec<LiveCall> = items.collect();
    let messages = match visitor.administers() {
        Ok(()) => visitor.house.spool.len(),
        Err(_) => {
            visitor.boxes(None).iter().map(|(id, _)| visitor.house.spool.kept(id)).sum::<usize>()
        }
    };
    Ok(Json(CallList { calls: items.len(), messages, items }))
}

/// Hang up a call. What was recorded until then is kept as if the caller had hung up.
#[utoipa::path(
    delete, path = "/calls/{id}", tag = "admin", params(("id" = u64, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn hang_up(visitor: Visitor, At(id): At<u64>) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Administer)?;
    let calls = &visitor.house.calls;
    let found = (calls.list)().into_iter().find(|(known, _)| *known == id);
    let found = found.filter(|(_, call)| is_within_reach(&visitor, call));
    let (_, call) = found.ok_or_else(|| Problem::missing("call"))?;
    if !(calls.hang_up)(id) {
        return Err(Problem::missing("call"));
    }
    let mailbox = call.mailbox.map(|id| id.to_string()).unwrap_or_default();
    visitor.record("call.hang_up", &mailbox, &call.call_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_within_reach(visitor: &Visitor, call: &Call) -> bool {
    match (&call.mailbox, &visitor.principal.mailbox) {
        (Some(id), _) => visitor.principal.reaches(id.context(), id.number()),
        (None, Some(_)) => false,
        (None, None) => visitor.principal.reaches_context(&call.context),
    }
}

/// Take no new calls; those in progress may end. Until the next start.
#[utoipa::path(
    post, path = "/drain", tag = "admin",
    responses((status = 202, body = Load), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn drain(visitor: Visitor) -> Result<(StatusCode, Json<Load>), Problem> {
    visitor.administers()?;
    let house = &visitor.house;
    visitor.record("daemon.drain", "", "").await?;
    (house.calls.drain)();
    let load = Load { calls: (house.calls.count)(), messages: house.spool.len() };
    Ok((StatusCode::ACCEPTED, Json(load)))
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
