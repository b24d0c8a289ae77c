//! What went wrong, as RFC 9457 has it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use super::super::deed;
use super::super::fault::{self, Fault};
use crate::directory;
use crate::mailbox::edit::Refused;
use crate::{spool, state};

/// A failure in words: `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What kind of problem it is: always `about:blank`, the status says it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request.
    detail: String,
    #[serde(skip)]
    retry_after: Option<i64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn missing(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn wrong(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// What nobody outside can mend; the log says more.
    pub(super) fn broken(why: impl ToString) -> Self {
        fault::broken(why).into()
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn locked(seconds: i64) -> Self {
        let why = "too many wrong passwords: the door is shut for a while";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, why);
        Self { retry_after: Some(seconds.max(1)), ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static;
        headers.insert(header::CONTENT_TYPE, plain("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, plain("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, plain("Basic realm=\"afterbeep\", Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let why = match fault {
            Fault::Unknown => "no credentials came, or wrong ones",
            Fault::NotFromHere => "these credentials may not be used from here",
            Fault::Locked { until } => {
                return Self::locked(until.saturating_sub(jiff::Timestamp::now().as_second()));
            }
            Fault::TooFast => "too many requests at once: try again in a moment",
            Fault::TooLarge => "the body is too large",
            Fault::TooSlow => "the body is too slow",
            Fault::LongHead => "the address and the header fields are too long",
            Fault::Garbled => "this is no request that can be read",
            Fault::Broken => "something is broken here; the log says what",
        };
        let retry_after = (fault == Fault::TooFast).then_some(1);
        Self { retry_after, ..Self::new(fault.status(), why) }
    }
}

impl From<deed::Error> for Problem {
    fn from(error: deed::Error) -> Self {
        match error {
            deed::Error::Directory(error) => error.into(),
            deed::Error::Spool(error) => error.into(),
            deed::Error::Busy => Self::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

impl From<directory::Error> for Problem {
    fn from(error: directory::Error) -> Self {
        match error {
            directory::Error::NoSuchMailbox(_) => Self::missing("mailbox"),
            directory::Error::Exists(_) | directory::Error::Taken { .. } => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            directory::Error::Refused(why) => Self::wrong(why),
            directory::Error::State(error) => error.into(),
            directory::Error::Unreadable { .. } | directory::Error::Io { .. } => {
                Self::broken(error)
            }
        }
    }
}

impl From<state::Error> for Problem {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::Refused(why) => Self::wrong(why),
            other => Self::broken(other),
        }
    }
}

impl From<spool::Error> for Problem {
    fn from(error: spool::Error) -> Self {
        match error {
            spool::Error::NoSuchMessage(_) => Self::missing("message"),
            spool::Error::Refused(why @ Refused::Private) => Self::forbidden(why.to_string()),
            spool::Error::Refused(why) => Self::wrong(why.to_string()),
            full if full.says_full() => {
                error!("{full}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "there is no room on the disk")
            }
            other => Self::broken(other),
        }
    }
}
