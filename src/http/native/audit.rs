//! `/v1/audit`: who changed what.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::mailboxes::limit;
use super::problem::Problem;
use super::visitor::{Given, Visitor};
use super::wire::time;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only entries before this one.
    before: Option<u64>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Entry {
    seq: u64,
    #[schema(format = DateTime)]
    at: String,
    who: String,
    door: String,
    source: String,
    action: String,
    subject: String,
    detail: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Verdict {
    entries: u64,
    /// The first entry that does not fit, and why; null where all do.
    broken: Option<Misfit>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Misfit {
    seq: u64,
    why: String,
}

/// The audit trail, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "admin", params(Page),
    responses((status = 200, body = Vec<Entry>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn trail(
    visitor: Visitor,
    Given(page): Given<Page>,
) -> Result<Json<Vec<Entry>>, Problem> {
    visitor.administers()?;
    let limit = u32::try_from(limit(page.limit)?).unwrap_or(50);
    if page.before.is_some_and(|seq| i64::try_from(seq).is_err()) {
        return Err(Problem::bad("before is the seq of an entry"));
    }
    let entries = visitor.house.state.trail(page.before, limit).await?.into_iter();
    let entries = entries.map(|entry| Entry {
        seq: entry.seq,
        at: time(entry.at),
        who: entry.who,
        door: entry.door,
        source: entry.source,
        action: entry.action,
        subject: entry.subject,
        detail: entry.detail,
    });
    Ok(Json(entries.collect()))
}

/// Look through the whole trail for what was changed, left out or put in later.
#[utoipa::path(
    get, path = "/audit/verify", tag = "admin",
    responses((status = 200, body = Verdict), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn verify(visitor: Visitor) -> Result<Json<Verdict>, Problem> {
    visitor.administers()?;
    let verdict = visitor.house.state.verify_trail().await?;
    let broken = verdict.broken.map(|(seq, why)| Misfit { seq, why });
    Ok(Json(Verdict { entries: verdict.entries, broken }))
}
