//! `/v1/mailboxes`.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use super::visitor::{At, Given, Visitor, is_known, read as body, unchanged};
use super::wire::{Counts, MadeMailbox, Mailbox, MailboxPatch, Mailboxes, NewMailbox, tag};
use crate::directory::NewPin;
use crate::mailbox::MailboxId;
use crate::state::credential::{Kind, Scope};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only this organization.
    context: Option<String>,
    /// Part of the number, the name, the SIP address or the outside number.
    #[param(max_length = 200)]
    q: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// What the page before said in `next`.
    cursor: Option<String>,
}

/// List mailboxes.
#[utoipa::path(
    get, path = "/mailboxes", tag = "mailboxes", params(Which),
    responses((status = 200, body = Mailboxes), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn list(
    visitor: Visitor,
    Given(which): Given<Which>,
) -> Result<Json<Mailboxes>, Problem> {
    visitor.needs(Scope::Read)?;
    let limit = limit(which.limit)?;
    within(which.q.as_deref(), "q", 200)?;
    let mut all = visitor.boxes(which.context.as_deref());
    if let Some(wanted) = which.q.map(|q| q.to_lowercase()) {
        all.retain(|(id, mailbox)| {
            let address = mailbox.sip_address.as_deref().unwrap_or_default();
            let number = mailbox.e164.as_deref().unwrap_or_default();
            let told = [id.number(), &mailbox.name, address, number];
            told.iter().any(|text| text.to_lowercase().contains(&wanted))
        });
    }
    // The next page begins behind the last mailbox of this one, wherever that is by then.
    if let Some(cursor) = which.cursor {
        let after: MailboxId =
            cursor.parse().map_err(|_| Problem::wrong("the cursor is none of ours"))?;
        all.retain(|(id, _)| *id > after);
    }
    let next = all.get(limit).and(all.get(limit - 1)).map(|(id, _)| id.to_string());
    all.truncate(limit);
    let items = all.iter().map(|(id, mailbox)| shown(&visitor, id, mailbox)).collect();
    Ok(Json(Mailboxes { items, next }))
}

/// Make a mailbox.
#[utoipa::path(
    post, path = "/mailboxes", tag = "mailboxes", request_body = NewMailbox,
    responses((status = 201, body = MadeMailbox), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn add(visitor: Visitor, given: Body) -> Result<Response, Problem> {
    visitor.needs(Scope::Provision)?;
    let new: NewMailbox = body(given).await?;
    let name = match &new.context {
        Some(context) => format!("{}@{context}", new.number),
        None => new.number.clone(),
    };
    let id =
        visitor.named(&name).ok_or_else(|| Problem::wrong("number and context are no mailbox"))?;
    if !visitor.principal.reaches(id.context(), id.number()) {
        return Err(Problem::forbidden("that organization is out of your reach"));
    }
    let pin = new.pin.as_deref().map_or(NewPin::Unchanged, NewPin::Chosen);
    let house = &visitor.house;
    let pin = house.add_mailbox(visitor.asker(), &id, &new.settings.by_name(), pin).await?;
    let (_, mailbox) = visitor.mailbox(&id.to_string())?;
    let mailbox = shown(&visitor, &id, &mailbox);
    let place = [(header::LOCATION, format!("/v1/mailboxes/{id}"))];
    Ok((StatusCode::CREATED, place, Json(MadeMailbox { pin, mailbox })).into_response())
}

/// Read a mailbox.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}", tag = "mailboxes",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID")),
    responses((status = 200, body = Mailbox), (status = 304), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn read(
    visitor: Visitor,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, mailbox) = visitor.mailbox(&name)?;
    let tag = tag(&*mailbox);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(shown(&visitor, &id, &mailbox))).into_response())
}

/// Change a mailbox; an owner may change what concerns only himself.
#[utoipa::path(
    patch, path = "/mailboxes/{mailbox}", tag = "mailboxes", request_body = MailboxPatch,
    params(
        ("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen"),
    ),
    responses((status = 200, body = Mailbox), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn edit(
    visitor: Visitor,
    At(name): At<String>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let patch: MailboxPatch = body(given).await?;
    let _turn = visitor.turn(&headers, &visitor.mailbox(&name)?.0).await;
    let (mut id, mailbox) = visitor.mailbox(&name)?;
    let own = visitor.principal.kind == Kind::Owner
        && patch.settings.is_owners_own()
        && patch.number.is_none();
    if !own {
        visitor.needs(Scope::Provision)?;
    }
    unchanged(&headers, &tag(&*mailbox))?;
    let house = &visitor.house;
    if let Some(number) = patch.number.filter(|number| number != id.number()) {
        let to =
            MailboxId::new(id.context(), &number).map_err(|why| Problem::wrong(why.to_string()))?;
        if !visitor.principal.reaches(to.context(), to.number()) {
            return Err(Problem::forbidden("that number is out of your reach"));
        }
        house.renumber_mailbox(visitor.asker(), &id, &to).await?;
        id = to;
    }
    let pin = patch.pin.as_deref().map_or(NewPin::Unchanged, NewPin::Chosen);
    house.edit_mailbox(visitor.asker(), &id, patch.settings.by_name(), pin).await?;
    let mailbox = house.directory.find(&id).ok_or_else(|| Problem::missing("mailbox"))?;
    let tag = tag(&*mailbox);
    Ok(([(header::ETAG, tag)], Json(shown(&visitor, &id, &mailbox))).into_response())
}

/// Remove a mailbox with all that it holds; it is kept aside for a while.
#[utoipa::path(
    delete, path = "/mailboxes/{mailbox}", tag = "mailboxes",
    params(
        ("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen"),
    ),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove(
    visitor: Visitor,
    At(name): At<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Provision)?;
    let _turn = visitor.turn(&headers, &visitor.mailbox(&name)?.0).await;
    let (id, mailbox) = visitor.mailbox(&name)?;
    unchanged(&headers, &tag(&*mailbox))?;
    visitor.house.remove_mailbox(visitor.asker(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many messages a mailbox holds.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/counts", tag = "mailboxes",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID")),
    responses((status = 200, body = Counts), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn counts(
    visitor: Visitor,
    At(name): At<String>,
) -> Result<Json<Counts>, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, _) = visitor.mailbox(&name)?;
    Ok(Json(visitor.house.spool.counts(&id).into()))
}

/// Let the owner log in again after too many wrong PINs.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/unlock", tag = "mailboxes",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID")),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn unlock(visitor: Visitor, At(name): At<String>) -> Result<StatusCode, Problem> {
    visitor.needs(Scope::Provision)?;
    let (id, _) = visitor.mailbox(&name)?;
    visitor.house.directory.unlock(&id).await?;
    visitor.record("mailbox.unlock", &id.to_string(), "").await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(50) {
        limit @ 1..=1000 => Ok(limit),
        _ => Err(Problem::bad("limit is 1 to 1000")),
    }
}

pub(super) fn within(text: Option<&str>, name: &str, most: usize) -> Result<(), Problem> {
    if text.is_none_or(|text| text.chars().count() <= most) {
        return Ok(());
    }
    Err(Problem::bad(format!("{name} has {most} characters at most")))
}

fn shown(visitor: &Visitor, id: &MailboxId, mailbox: &crate::mailbox::Mailbox) -> Mailbox {
    let house = &visitor.house;
    let locks = house.directory.locks(mailbox, (house.now)());
    Mailbox::new(id, mailbox, house.spool.counts(id), locks)
}
