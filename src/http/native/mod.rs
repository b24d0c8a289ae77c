//! Our own interface, `/v1`: all that the product is.
//!
//! Described by `/v1/openapi.json`, and for people at `/docs`. Failures are problems of RFC 9457;
//! what can be changed has an `ETag`, and a change may be made to depend on it by `If-Match`.

mod admin;
mod audit;
mod events;
mod greetings;
mod idempotency;
mod mailboxes;
mod messages;
mod people;
mod problem;
mod sound;
mod turns;
mod upload;
mod visitor;
mod wire;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::House;
use super::fault::Fault;
use super::link::Links;
use idempotency::Remembered;
use problem::Problem;
use turns::Turns;

#[derive(Clone)]
pub(super) struct Face {
    house: House,
    links: Links,
    /// Links in letters.
    letters: Links,
    turns: Turns,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Afterbeep",
        description = "Mailboxes and their messages. Log in by HTTP Basic as a user, or as a mailbox's \
                       owner with NUMBER@CONTEXT and the PIN; or by a bearer token. A POST with an \
                       Idempotency-Key is performed once, however often it is sent within a day.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    modifiers(&Login),
    security(("basic" = []), ("bearer" = [])),
    tags(
        (name = "mailboxes", description = "Who has a mailbox, and how it behaves"),
        (name = "messages", description = "What callers have left"),
        (name = "greetings", description = "What callers hear"),
        (name = "events", description = "What happens, as it happens"),
        (name = "people", description = "Organizations, users and tokens"),
        (name = "admin", description = "The daemon itself"),
    ),
)]
struct Description;

struct Login;

impl Modify for Login {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        for (name, scheme) in [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)]
        {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}

pub(super) use sound::in_letter;

pub(super) fn refuse(_: &House, fault: Fault) -> Response {
    Problem::from(fault).into_response()
}

pub(super) fn routes(house: House) -> Router {
    let (links, letters) = (Links::new(&house.state), Links::in_letters(&house.state));
    let face = Face { house, links, letters, turns: Turns::default() };
    let (router, description) =
        OpenApiRouter::with_openapi(Description::openapi()).nest("/v1", calls()).split_for_parts();
    let router = router
        .layer(middleware::from_fn_with_state(
            (face.clone(), Remembered::default()),
            idempotency::once,
        ))
        .method_not_allowed_fallback(|| async {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "this does not take that method")
        })
        .layer(middleware::from_fn(in_our_words))
        .with_state(face)
        .route("/v1/{*rest}", axum::routing::any(|| async { Problem::missing("resource") }));
    let described = serde_json::to_value(&description).unwrap_or(Value::Null);
    router.merge(SwaggerUi::new("/docs").external_url_unchecked("/v1/openapi.json", described))
}

fn calls() -> OpenApiRouter<Face> {
    OpenApiRouter::new()
        .routes(routes!(mailboxes::list, mailboxes::add))
        .routes(routes!(mailboxes::read, mailboxes::edit, mailboxes::remove))
        .routes(routes!(mailboxes::counts))
        .routes(routes!(mailboxes::unlock))
        .routes(routes!(messages::list, upload::add))
        .routes(routes!(messages::bulk))
        .routes(routes!(messages::read, messages::edit, messages::remove))
        .routes(routes!(messages::restore))
        .routes(routes!(messages::copy))
        .routes(routes!(messages::forward))
        .routes(routes!(sound::play))
        .routes(routes!(sound::link))
        .routes(routes!(sound::waveform))
        .routes(routes!(greetings::list))
        .routes(routes!(greetings::play, greetings::record, greetings::remove))
        .routes(routes!(events::stream))
        .routes(routes!(people::organizations))
        .routes(routes!(people::set_organization))
        .routes(routes!(people::users, people::add_user))
        .routes(routes!(people::edit_user, people::remove_user))
        .routes(routes!(people::tokens, people::add_token))
        .routes(routes!(people::remove_token))
        .routes(routes!(audit::trail))
        .routes(routes!(audit::verify))
        .routes(routes!(admin::health))
        .routes(routes!(admin::calls))
        .routes(routes!(admin::hang_up))
        .routes(routes!(admin::drain))
        .routes(routes!(admin::config))
}

/// What the framework refuses by itself it says in plain text.
async fn in_our_words(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if (status.is_client_error() || status.is_server_error()) && plain {
        let mut problem = Problem::new(status, "this request cannot be answered").into_response();
        for name in [header::ALLOW, header::CONTENT_RANGE] {
            if let Some(value) = response.headers().get(&name) {
                problem.headers_mut().insert(name, value.clone());
            }
        }
        return problem;
    }
    response
}
