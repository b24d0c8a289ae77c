//! Requests that belong to no dialog: RFC 3261 §8.2, in its order.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::identifying::Who;
use super::{
    Arrival, CallKey, Door, Endpoint, Failure, Output, abilities, accept, allow, retry_after,
};
use crate::sip::body::{self, Body};
use crate::sip::dialog::Dialog;
use crate::sip::invite::{Call, Offer, Pending, Phase};
use crate::sip::message::{ACK, BYE, CANCEL, INVITE, Method, Request, every, other};
use crate::sip::name_addr::NameAddr;
use crate::sip::text::list;
use crate::sip::timer::Armed;
use crate::sip::transaction::Input;
use crate::sip::uri::Scheme;
use crate::sip::{Flow, Incoming};

impl Endpoint {
    pub(super) fn receive_outside(&mut self, now: Instant, arrival: Arrival) {
        match &arrival.request.method {
            method if *method == ACK => self.drop_silently(arrival.flow, "an ACK for nothing"),
            method if *method == CANCEL => self.receive_cancel(now, &arrival),
            method if *method == INVITE => self.receive_invite(now, arrival),
            // RFC 3261 §15.1.2.
            method if *method == BYE => self.respond(&arrival, 481, Vec::new()),
            Method::Known(rsip::Method::Options) => self.receive_options(&arrival),
            // RFC 3261 §8.2.1, §21.5.2: 405 for what we know and do not do, 501 for the rest.
            Method::Known(_) => self.respond(&arrival, 405, vec![allow()]),
            Method::Unknown(_) => self.respond(&arrival, 501, vec![allow()]),
        }
    }

    /// RFC 3261 §9.2. The answer is the same for every copy, so it needs no transaction.
    pub(super) fn receive_cancel(&mut self, now: Instant, arrival: &Arrival) {
        let found = self.transactions.cancelled_by(&arrival.request);
        let Some(id) = found else {
            return self.respond(arrival, 481, Vec::new());
        };
        let key = self.transactions.call(id);
        let call = key.and_then(|key| self.calls.get(&key));
        let waits = call.is_some_and(|call| call.pending().is_some_and(|p| p.transaction == id));
        let tag = call.map(|call| call.dialog.local_tag.clone());
        let tag = tag.unwrap_or_else(|| self.chance.token_for(&arrival.request.identity.call_id));
        self.respond_as(arrival, 200, &tag, Vec::new());
        // After the final response a CANCEL changes nothing: the caller gets its 2xx and hangs up.
        if let Some(key) = key.filter(|_| waits) {
            self.cancelled(now, key);
        }
    }

    /// RFC 3261 §11.2.
    fn receive_options(&mut self, arrival: &Arrival) {
        if let Some((code, more)) = self.objection(&arrival.request) {
            return self.respond(arrival, code, more);
        }
        let mut more: Vec<Header> = abilities().into();
        more.push(accept());
        self.respond(arrival, 200, more);
    }

    fn receive_invite(&mut self, now: Instant, arrival: Arrival) {
        // A flood is shed here, before anything is kept.
        let peer = arrival.flow.remote.ip();
        if self.calls() >= self.limits.calls || !self.gate.lets_in(now, peer) {
            return self.respond(&arrival, 503, vec![retry_after(self.limits.retry_after)]);
        }
        let Ok(who) = self.identify(now, &arrival) else { return };
        if let Some((code, more)) = self.objection(&arrival.request) {
            return self.respond(&arrival, code, more);
        }
        let offer = match body::read(&arrival.request.headers, &arrival.request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp.to_vec()),
            Body::Unsupported => return self.respond(&arrival, 415, unsupported_body()),
        };
        // RFC 4475 §3.3.15: who does not take a session description cannot be answered.
        if !takes_sdp(&arrival.request) {
            return self.respond(&arrival, 406, vec![accept()]);
        }
        self.open_call(now, arrival, offer, who);
    }

    /// What RFC 3261 §8.2.2 makes us refuse before looking at the body.
    fn objection(&self, request: &Request) -> Option<(u16, Vec<Header>)> {
        match request.uri.scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
            Scheme::Other(_) => return Some((416, Vec::new())),
        }
        if self.transactions.is_merged(request) {
            return Some((482, Vec::new()));
        }
        if let Some(unsupported) = unsupported(request) {
            return Some((420, vec![unsupported]));
        }
        match self.door {
            Door::Open => None,
            Door::Closed => Some((503, vec![retry_after(self.limits.retry_after)])),
        }
    }

    fn open_call(&mut self, now: Instant, arrival: Arrival, offer: Option<Vec<u8>>, who: Who) {
        let Arrival { request, flow, reply } = arrival;
        let tag = self.chance.token();
        let Some(dialog) = Dialog::as_server(&request, tag.clone(), flow) else {
            let arrival = Arrival { request, flow, reply };
            return self.respond(&arrival, 400, Vec::new());
        };
        let Some(transaction) = self.transactions.open_server(&request, reply) else {
            let arrival = Arrival { request, flow, reply };
            return self.respond(&arrival, 503, vec![retry_after(self.limits.retry_after)]);
        };
        // RFC 3261 §8.2.6.1: 100 needs no tag.
        let trying = self.print(&request.headers, 100, None, "", Vec::new(), &[]);
        self.transactions.step(now, transaction, Input::Provisional, Some(&trying), &mut self.post);

        let key = self.new_key();
        let kind = if offer.is_some() { Offer::Early } else { Offer::Late };
        let incoming = incoming(&request, flow, offer, who);
        let pending = Pending {
            transaction,
            sequence: request.identity.sequence,
            headers: kept(&request),
            reply,
            offer: kind,
        };
        self.dialogs.insert(tag, key);
        self.transactions.belongs_to(transaction, key);
        let phase = Phase::Offered(pending);
        self.calls.insert(key, Call { dialog, phase, armed: Armed::default() });
        self.post.outputs.push_back(Output::Incoming(key, Box::new(incoming)));
    }

    /// A CANCEL or an early BYE for an INVITE that waits.
    pub(super) fn cancelled(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let tag = call.dialog.local_tag.clone();
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Offered(pending) => {
                self.conclude(now, &pending, &tag, Failure::plain(487));
                self.remove_call(key);
                self.post.outputs.push_back(Output::Gone(key));
            }
            // RFC 3261 §14.2: the session stays as it was.
            Phase::Reoffered(pending) => self.conclude(now, &pending, &tag, Failure::plain(487)),
            phase @ (Phase::Answered(_) | Phase::Up) => call.phase = phase,
        }
    }
}

fn incoming(request: &Request, flow: Flow, offer: Option<Vec<u8>>, who: Who) -> Incoming {
    let (headers, uri) = (&request.headers, &request.uri);
    let named = |name| other(headers, name).flat_map(NameAddr::list);
    Incoming {
        target: uri.target(),
        cause: uri.cause(),
        request_uri: uri.clone(),
        from: request.identity.from.clone(),
        to: request.identity.to.clone(),
        asserted: named("P-Asserted-Identity").next(),
        privacy: other(headers, "Privacy").any(is_private),
        diversion: named("Diversion").collect(),
        history: named("History-Info").collect(),
        call_id: request.identity.call_id.clone(),
        source: flow.remote,
        transport: flow.transport,
        authenticated: who.authenticated,
        registration: who.registration,
        local: flow.local.ip(),
        offer,
    }
}

/// RFC 3323 §4.2: values are separated by semicolons, and in the wild by commas.
fn is_private(value: &str) -> bool {
    value.split([';', ',']).any(|wish| {
        let wish = wish.trim();
        ["id", "user", "header"].iter().any(|known| wish.eq_ignore_ascii_case(known))
    })
}

/// What later responses to an INVITE copy of it.
pub(super) fn kept(request: &Request) -> rsip::Headers {
    let copied = request.headers.iter().filter(|header| {
        matches!(
            header,
            Header::Via(_)
                | Header::From(_)
                | Header::To(_)
                | Header::CallId(_)
                | Header::CSeq(_)
                | Header::RecordRoute(_)
        )
    });
    copied.cloned().collect::<Vec<_>>().into()
}

/// RFC 3261 §8.2.2.3: we know no extension that a request could require.
pub(super) fn unsupported(request: &Request) -> Option<Header> {
    let wanted: Vec<&str> = every!(request.headers, Require).flat_map(list).collect();
    (!wanted.is_empty()).then(|| headers::Unsupported::new(wanted.join(", ")).into())
}

/// RFC 3261 §20.1: without Accept, `application/sdp` is taken.
fn takes_sdp(request: &Request) -> bool {
    let mut kinds = every!(request.headers, Accept).flat_map(list).map(|range| {
        let kind = range.split(';').next().unwrap_or("");
        kind.replace([' ', '\t'], "").to_ascii_lowercase()
    });
    every!(request.headers, Accept).next().is_none()
        || kinds.any(|kind| matches!(kind.as_str(), "application/sdp" | "application/*" | "*/*"))
}

/// RFC 3261 §8.2.3.
pub(super) fn unsupported_body() -> Vec<Header> {
    vec![accept(), headers::AcceptEncoding::new("identity").into()]
}
