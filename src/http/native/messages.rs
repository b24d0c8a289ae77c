//! `/v1/mailboxes/{mailbox}/messages`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::mailboxes::{limit, within};
use super::problem::Problem;
use super::visitor::{At, Given, Visitor, is_known, read as body, unchanged};
use super::wire::{
    self, Action, Bulk, BulkDone, BulkFailure, CopyTo, ForwardTo, Message, MessagePatch,
    MessageQuery, Messages, tag,
};
use crate::mailbox;
use crate::mailbox::{Edit, Folder, MailboxId, MessageId};
use crate::spool::{CopyAs, Order, Query};
use crate::state::credential::Scope;

/// List messages.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/messages", tag = "messages",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID"), MessageQuery),
    responses((status = 200, body = Messages), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn list(
    visitor: Visitor,
    At(name): At<String>,
    Given(asked): Given<MessageQuery>,
) -> Result<Json<Messages>, Problem> {
    visitor.needs(Scope::Read)?;
    let (id, _) = visitor.mailbox(&name)?;
    let limit = limit(asked.limit)?;
    within(asked.q.as_deref(), "q", 200)?;
    let cursor = asked.cursor.as_deref().map(Cursor::read).transpose()?;
    let order = order(asked.order.unwrap_or_default());
    let mut query = Query {
        folders: folders(asked.folder.as_deref())?,
        from: second(asked.from.as_deref())?,
        to: second(asked.to.as_deref())?,
        heard: asked.heard,
        urgent: asked.urgent,
        text: asked.q,
        order,
        newest_first: asked.descending.unwrap_or(true),
        ..Query::default()
    };
    let mut items = match cursor {
        Some(Cursor::Behind { received, number }) if order == Order::Received => {
            behind(&visitor, &id, &mut query, (received, number), limit).await?
        }
        Some(Cursor::Behind { .. }) => {
            return Err(Problem::wrong("the cursor is of another order"));
        }
        cursor => {
            let skip = if let Some(Cursor::Skip(skip)) = cursor { skip } else { 0 };
            (query.skip, query.limit) = (skip, Some(limit + 1));
            visitor.house.spool.list(&id, &query).await?
        }
    };
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| match order {
        Order::Received => {
            Cursor::Behind { received: last.envelope.received, number: last.number }.write()
        }
        Order::Number | Order::Duration => Cursor::Skip(query.skip + limit).write(),
    });
    let counts = visitor.house.spool.counts(&id).into();
    Ok(Json(Messages { items: items.iter().map(|m| (&**m).into()).collect(), next, counts }))
}

/// The page behind a message, whether that is still there or not: what came or went in the
/// meantime neither hides nor repeats any.
async fn behind(
    visitor: &Visitor,
    id: &MailboxId,
    query: &mut Query,
    (received, number): (i64, u64),
    limit: usize,
) -> Result<Vec<Arc<mailbox::Message>>, Problem> {
    let newest_first = query.newest_first;
    let end = if newest_first { &mut query.to } else { &mut query.from };
    *end = Some(match *end {
        Some(known) if newest_first => known.min(received),
        Some(known) => known.max(received),
        None => received,
    });
    // Those of the same second that were told already stand at the beginning.
    let mut same = 64;
    loop {
        query.limit = Some(limit + 1 + same);
        let mut items = visitor.house.spool.list(id, query).await?;
        let all = items.len() < limit + 1 + same;
        items.retain(|message| {
            let place = (message.envelope.received, message.number);
            if newest_first { place < (received, number) } else { place > (received, number) }
        });
        if all || items.len() > limit {
            return Ok(items);
        }
        same *= 8;
    }
}

/// Change many messages at once.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages/bulk", tag = "messages", request_body = Bulk,
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID")),
    responses((status = 200, body = BulkDone), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn bulk(
    visitor: Visitor,
    At(name): At<String>,
    given: Body,
) -> Result<Json<BulkDone>, Problem> {
    let (id, _) = visitor.mailbox(&name)?;
    let bulk: Bulk = body(given).await?;
    if !(1..=1000).contains(&bulk.ids.len()) {
        return Err(Problem::wrong("ids has 1 to 1000 of them"));
    }
    let edit = match bulk.action {
        Action::Heard => Edit::MarkHeard,
        Action::New => Edit::MarkNew,
        Action::Delete => Edit::Delete,
        Action::Restore => Edit::Restore,
        Action::Purge => Edit::Purge,
        Action::File => Edit::File(folder(bulk.folder.as_deref().unwrap_or_default())?),
    };
    let mut done = BulkDone { done: vec![], failed: vec![] };
    for text in bulk.ids {
        let edited = match text.parse() {
            Ok(message) => change(&visitor, &id, message, &edit).await.map(drop),
            Err(_) => Err(Problem::missing("message")),
        };
        match edited {
            Ok(()) => done.done.push(text),
            // All would fail alike.
            Err(problem) if problem.status() == StatusCode::FORBIDDEN.as_u16() => {
                return Err(problem);
            }
            Err(problem) => done.failed.push(BulkFailure { id: text, problem }),
        }
    }
    Ok(Json(done))
}

/// Read a message, without its audio.
#[utoipa::path(
    get, path = "/mailboxes/{mailbox}/messages/{id}", tag = "messages",
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID")),
    responses((status = 200, body = Message), (status = 304), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn read(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Read)?;
    let (_, message) = find(&visitor, &name, &id).await?;
    let message = Message::from(&*message);
    let tag = tag(&message);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag)], Json(message)).into_response())
}

/// Mark a message, or move it to another folder.
#[utoipa::path(
    patch, path = "/mailboxes/{mailbox}/messages/{id}", tag = "messages", request_body = MessagePatch,
    params(
        ("mailbox" = String, Path), ("id" = String, Path, description = "A ULID"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen"),
    ),
    responses((status = 200, body = Message), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn edit(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    headers: HeaderMap,
    given: Body,
) -> Result<Response, Problem> {
    let patch: MessagePatch = body(given).await?;
    let _turn = visitor.turn(&headers, &visitor.mailbox(&name)?.0).await;
    let (mailbox, before) = find(&visitor, &name, &id).await?;
    unchanged(&headers, &tag(&Message::from(&*before)))?;
    let mut edits = vec![];
    if let Some(name) = patch.folder {
        edits.push(Edit::File(folder(&name)?));
    }
    edits.extend(patch.heard.map(|heard| if heard { Edit::MarkHeard } else { Edit::MarkNew }));
    edits.extend(patch.urgent.map(Edit::SetUrgent));
    edits.extend(patch.private.map(Edit::SetPrivate));
    edits.extend(patch.category.map(Edit::Categorize));
    edits.extend(patch.transcript.map(|transcript| Edit::Annotate { transcript }));
    let mut message = before;
    for edit in edits {
        if let Some(edited) = change(&visitor, &mailbox, message.id, &edit).await? {
            message = edited;
        }
    }
    let message = Message::from(&*message);
    Ok(([(header::ETAG, tag(&message))], Json(message)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HowToRemove {
    /// For good, and not into the trash.
    purge: Option<bool>,
}

/// Move a message to the trash, or remove it for good.
#[utoipa::path(
    delete, path = "/mailboxes/{mailbox}/messages/{id}", tag = "messages",
    params(
        ("mailbox" = String, Path), ("id" = String, Path, description = "A ULID"), HowToRemove,
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen"),
    ),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn remove(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    Given(how): Given<HowToRemove>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let _turn = visitor.turn(&headers, &visitor.mailbox(&name)?.0).await;
    let (mailbox, message) = find(&visitor, &name, &id).await?;
    unchanged(&headers, &tag(&Message::from(&*message)))?;
    let edit = if how.purge == Some(true) { Edit::Purge } else { Edit::Delete };
    change(&visitor, &mailbox, message.id, &edit).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Bring a message back from the trash.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages/{id}/restore", tag = "messages",
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID")),
    responses((status = 200, body = Message), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn restore(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
) -> Result<Json<Message>, Problem> {
    let (mailbox, message) = find(&visitor, &name, &id).await?;
    let restored = change(&visitor, &mailbox, message.id, &Edit::Restore).await?;
    let restored = restored.ok_or_else(|| Problem::missing("message"))?;
    Ok(Json((&*restored).into()))
}

/// Copy a message into another folder of its mailbox.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages/{id}/copy", tag = "messages", request_body = CopyTo,
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID")),
    responses((status = 201, body = Message), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn copy(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    given: Body,
) -> Result<(StatusCode, Json<Message>), Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, message) = find(&visitor, &name, &id).await?;
    let wish: CopyTo = body(given).await?;
    let how = CopyAs::Within(folder(&wish.folder)?);
    let owner = visitor.mailbox(&id.to_string())?.1.id;
    let copied = visitor.house.spool.copy(&message, (&id, owner), how, &visitor.by()).await?;
    visitor.record("message.copy", &format!("{} {id}", message.id), &wish.folder).await?;
    Ok((StatusCode::CREATED, Json((&*copied).into())))
}

/// Send a message on to other mailboxes. The sender keeps a copy in SENT.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages/{id}/forward", tag = "messages", request_body = ForwardTo,
    params(("mailbox" = String, Path), ("id" = String, Path, description = "A ULID")),
    responses((status = 201, body = Vec<Message>), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn forward(
    visitor: Visitor,
    At((name, id)): At<(String, String)>,
    given: Body,
) -> Result<(StatusCode, Json<Vec<Message>>), Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, message) = find(&visitor, &name, &id).await?;
    let wish: ForwardTo = body(given).await?;
    if !(1..=100).contains(&wish.to.len()) {
        return Err(Problem::wrong("to has 1 to 100 mailboxes"));
    }
    // All or none: a wrong one is told before anything is sent.
    let mut targets = vec![];
    for name in &wish.to {
        let target = visitor.named(name).filter(|to| {
            // An owner may send to everybody in his organization.
            visitor.principal.reaches_context(to.context())
        });
        let target = target.and_then(|to| Some((visitor.house.directory.find(&to)?.id, to)));
        targets.push(target.ok_or_else(|| Problem::wrong("one of the mailboxes does not exist"))?);
    }
    let (spool, by) = (&visitor.house.spool, visitor.by());
    let mut sent = vec![];
    for (owner, to) in &targets {
        let how = CopyAs::Forward { by: id.number().to_owned(), urgent: wish.urgent, intro: None };
        let copied = spool.copy(&message, (to, *owner), how, &by).await?;
        visitor.record("message.forward", &format!("{} {id}", message.id), &to.to_string()).await?;
        sent.push((&*copied).into());
    }
    let owner = visitor.mailbox(&id.to_string())?.1.id;
    spool.copy(&message, (&id, owner), CopyAs::Sent, &by).await?;
    Ok((StatusCode::CREATED, Json(sent)))
}

pub(super) async fn find(
    visitor: &Visitor,
    name: &str,
    id: &str,
) -> Result<(MailboxId, Arc<mailbox::Message>), Problem> {
    let (mailbox, _) = visitor.mailbox(name)?;
    let id: MessageId = id.parse().map_err(|_| Problem::missing("message"))?;
    let message = visitor.house.spool.get(&mailbox, id).await?;
    Ok((mailbox, message.ok_or_else(|| Problem::missing("message"))?))
}

async fn change(
    visitor: &Visitor,
    mailbox: &MailboxId,
    id: MessageId,
    edit: &Edit,
) -> Result<Option<Arc<mailbox::Message>>, Problem> {
    // To have heard it is part of hearing it.
    let (scope, action) = match edit {
        Edit::MarkHeard | Edit::MarkNew => (Scope::Read, "message.mark"),
        Edit::Delete => (Scope::Edit, "message.delete"),
        Edit::Restore => (Scope::Edit, "message.restore"),
        Edit::Purge => (Scope::Edit, "message.purge"),
        Edit::File(_) => (Scope::Edit, "message.file"),
        Edit::SetUrgent(_)
        | Edit::SetPrivate(_)
        | Edit::SetSilent(_)
        | Edit::Annotate { .. }
        | Edit::Categorize(_) => (Scope::Edit, "message.edit"),
    };
    visitor.needs(scope)?;
    let edited = visitor.house.spool.edit(mailbox, id, edit, &visitor.by()).await?;
    visitor.record(action, &format!("{id} {mailbox}"), "").await?;
    Ok(edited)
}

fn folders(names: Option<&str>) -> Result<Vec<Folder>, Problem> {
    let Some(names) = names else {
        use Folder::{Family, Friends, Inbox, Old, Urgent, Work};
        return Ok(vec![Inbox, Urgent, Old, Work, Family, Friends]);
    };
    let mut folders = vec![];
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        folders.push(folder(name)?);
    }
    if folders.contains(&Folder::Inbox) {
        // Asterisk's own place for the urgent ones of the INBOX.
        folders.push(Folder::Urgent);
    }
    if folders.is_empty() { Err(Problem::wrong("folder names none")) } else { Ok(folders) }
}

fn folder(name: &str) -> Result<Folder, Problem> {
    Folder::named(name).ok_or_else(|| Problem::wrong("that can be no folder"))
}

fn second(text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = text.map(|text| text.parse::<Timestamp>().map(Timestamp::as_second)).transpose();
    read.map_err(|_| Problem::bad("from and to are like 2026-01-31T12:00:00Z"))
}

fn order(named: wire::Order) -> Order {
    match named {
        wire::Order::Received => Order::Received,
        wire::Order::Number => Order::Number,
        wire::Order::Duration => Order::Duration,
    }
}

/// Where a page begins.
#[derive(Debug, PartialEq, Eq)]
enum Cursor {
    Skip(usize),
    Behind { received: i64, number: u64 },
}

impl Cursor {
    fn read(text: &str) -> Result<Self, Problem> {
        let numbers = text.split_once('-').and_then(|(kind, rest)| match kind {
            "s" => rest.parse().ok().map(Self::Skip),
            "r" => {
                let (received, number) = rest.rsplit_once('.')?;
                let (received, number) = (received.parse().ok()?, number.parse().ok()?);
                Some(Self::Behind { received, number })
            }
            _ => None,
        });
        numbers.ok_or_else(|| Problem::wrong("the cursor is none of ours"))
    }

    fn write(&self) -> String {
        match self {
            Self::Skip(skip) => format!("s-{skip}"),
            Self::Behind { received, number } => format!("r-{received}.{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for cursor in [Cursor::Skip(50), Cursor::Behind { received: -5, number: 812 }] {
            assert_eq!(Cursor::read(&cursor.write()).unwrap(), cursor);
        }
        for bad in ["", "s-", "s--1", "r-5", "x-1", "r-a.b"] {
            assert!(Cursor::read(bad).is_err(), "{bad}");
        }
    }
}
