//! RELAX NG schemas of the answers, as clients fetch them: `/rng/VoicemailboxAdd.rng`.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const SCHEMAS: [(&str, &str); 9] = [
    ("Response.rng", include_str!("rng/Response.rng")),
    ("Voicemailbox.rng", include_str!("rng/Voicemailbox.rng")),
    ("SessionCreate.rng", include_str!("rng/SessionCreate.rng")),
    ("SessionDestroy.rng", include_str!("rng/SessionDestroy.rng")),
    ("VoicemailboxAdd.rng", include_str!("rng/VoicemailboxAdd.rng")),
    ("VoicemailboxRead.rng", include_str!("rng/VoicemailboxRead.rng")),
    ("VoicemailboxBrowse.rng", include_str!("rng/VoicemailboxBrowse.rng")),
    ("VoicemailboxDelete.rng", include_str!("rng/VoicemailboxDelete.rng")),
    ("VoicemailboxEdit.rng", include_str!("rng/VoicemailboxEdit.rng")),
];

pub(super) async fn schema(Path(name): Path<String>) -> Response {
    match SCHEMAS.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => ([(header::CONTENT_TYPE, "application/xml")], *text).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such schema\n").into_response(),
    }
}
