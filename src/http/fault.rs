//! What may go wrong with any request; each face says it in its vendor's words.

use std::io;

use axum::http::StatusCode;
use tracing::error;

use crate::{spool, state};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No credentials came, or wrong ones.
    Unknown,
    /// Right ones, from where they may not be used.
    NotFromHere,
    /// Too many wrong ones came: the door is shut until this Unix second.
    Locked {
        until: i64,
    },
    /// Too many requests at once.
    TooFast,
    TooLarge,
    TooSlow,
    /// What came before the body: too long, or no HTTP.
    LongHead,
    Garbled,
    /// What nobody outside can mend; the log says more.
    Broken,
}

impl Fault {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::NotFromHere => StatusCode::FORBIDDEN,
            Self::Locked { .. } | Self::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Garbled => StatusCode::BAD_REQUEST,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
pub(super) fn broken(why: impl ToString) -> Fault {
    error!("a request over HTTP failed: {}", why.to_string());
    Fault::Broken
}

impl From<spool::Error> for Fault {
    fn from(why: spool::Error) -> Self {
        broken(why)
    }
}

impl From<state::Error> for Fault {
    fn from(why: state::Error) -> Self {
        broken(why)
    }
}

impl From<io::Error> for Fault {
    fn from(why: io::Error) -> Self {
        broken(why)
    }
}
