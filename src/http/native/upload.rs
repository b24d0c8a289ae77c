//! `POST /v1/mailboxes/{mailbox}/messages`: a recording becomes a message as if a caller had left it.

use std::io::Write;

use axum::Json;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::{blocking, body, heavy};
use super::mailboxes::within;
use super::problem::Problem;
use super::visitor::{At, Given, Visitor};
use super::wire::{Message, Recording};
use crate::mailbox::{CallerId, Envelope};
use crate::spool::Marks;
use crate::state::credential::Scope;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct About {
    /// Who left it.
    #[param(max_length = 64)]
    caller_number: Option<String>,
    #[param(max_length = 200)]
    caller_name: Option<String>,
    urgent: Option<bool>,
    private: Option<bool>,
}

/// Leave a message: WAV, MP3, Ogg, FLAC or M4A.
#[utoipa::path(
    post, path = "/mailboxes/{mailbox}/messages", tag = "messages",
    params(("mailbox" = String, Path, description = "NUMBER, NUMBER@CONTEXT, or a UUID"), About),
    request_body(content = Recording, content_type = "audio/wav"),
    responses((status = 201, body = Message), (status = "4XX", body = Problem, content_type = "application/problem+json")),
)]
pub(super) async fn add(
    visitor: Visitor,
    At(name): At<String>,
    Given(about): Given<About>,
    request: Request,
) -> Result<Response, Problem> {
    visitor.needs(Scope::Edit)?;
    let (id, mailbox) = visitor.mailbox(&name)?;
    within(about.caller_number.as_deref(), "caller_number", 64)?;
    within(about.caller_name.as_deref(), "caller_name", 200)?;
    let bytes = body::read(request.into_body(), body::RECORDING).await?;
    let plain = |text: Option<String>| -> String {
        text.unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
    };
    let house = &visitor.house;
    let import = house.media.wav;
    let recording = heavy(move || import(bytes.to_vec())).await;
    let recording = recording.map_err(|why| {
        Problem::wrong(format!("this is no audio that a caller could have left: {why}"))
    })?;
    let now = (house.now)();
    let envelope = Envelope {
        caller: CallerId {
            number: plain(about.caller_number),
            name: plain(about.caller_name),
            ext: String::new(),
        },
        to: id.number().to_owned(),
        received: now,
        ..Envelope::default()
    };
    let now_ms = u64::try_from(now).unwrap_or(0).saturating_mul(1000);
    let mut draft = house.spool.draft(&id, mailbox.id, envelope, now_ms).await?;
    draft.mark(Marks {
        urgent: about.urgent.unwrap_or(false),
        private: about.private.unwrap_or(false),
        silent: false,
    });
    let opener = draft.opener();
    let written = blocking(move || opener()?.write_all(&recording)).await;
    if let Err(why) = written {
        house.spool.discard(draft).await?;
        return Err(Problem::broken(why));
    }
    let message = house.spool.deliver(draft).await?;
    visitor.record("message.add", &format!("{} {id}", message.id), "").await?;
    let place = [(header::LOCATION, format!("/v1/mailboxes/{id}/messages/{}", message.id))];
    Ok((StatusCode::CREATED, place, Json(Message::from(&*message))).into_response())
}
