//! Who calls, as far as that is proven: RFC 3261 §22.

use std::time::Instant;

use super::{Arrival, Endpoint};
use crate::sip::digest::Verdict;
use crate::sip::uri::Uri;

/// What is known of a caller beyond what it says.
pub(super) struct Who {
    pub authenticated: Option<String>,
    pub registration: Option<Uri>,
}

/// A final response is on its way already.
pub(super) struct Answered;

impl Endpoint {
    /// RFC 3261 §22.1. The answers of those who fail are sent, and nothing of them is kept.
    pub(super) fn identify(&mut self, now: Instant, arrival: &Arrival) -> Result<Who, Answered> {
        let source = arrival.flow.remote.ip();
        let registration = self.registered_as(now, &arrival.request.uri, source);
        let certificate = self.certificates.get(&arrival.flow.link).map(String::as_str);
        // Whom we asked to call us need not prove who he is.
        if registration.is_some() || !self.guard.asks(source, certificate) {
            return Ok(Who { authenticated: None, registration });
        }
        let (code, more) = match self.guard.judge(now, source, &arrival.request) {
            Verdict::Proven(username) => {
                return Ok(Who { authenticated: Some(username), registration });
            }
            Verdict::Challenge(challenges) => (401, challenges),
            Verdict::Barred => (403, Vec::new()),
            Verdict::Malformed => (400, Vec::new()),
        };
        self.respond(arrival, code, more);
        Err(Answered)
    }
}
