//! Requests that belong to no dialog: RFC 3261 §8.2, in its order.

use std::time::Instant;

use rsip::{Header, Headers};

use super::abilities::{accept, all_abilities, allow, requires, unsupported, unsupported_body};
use super::identifying::Who;
use super::refreshing::means;
use super::{Arrival, CallKey, Door, Endpoint, Failure, Output, retry_after};
use crate::sip::body::{self, Body};
use crate::sip::dialog::Dialog;
use crate::sip::invite::{Call, Offer, Pending, Phase};
use crate::sip::message::{
    ACK, BYE, CANCEL, INVITE, Method, PRACK, Request, SUBSCRIBE, UPDATE, every, other,
};
use crate::sip::name_addr::NameAddr;
use crate::sip::session::{self, Agreed, TooSmall};
use crate::sip::text::{Params, list};
use crate::sip::transaction::Input;
use crate::sip::uri::Scheme;
use crate::sip::via::Via;
use crate::sip::{Flow, Incoming};

impl Endpoint {
    pub(super) fn receive_outside(&mut self, now: Instant, arrival: Arrival) {
        match &arrival.request.method {
            method if *method == ACK => self.drop_silently(arrival.flow, "an ACK for nothing"),
            method if *method == CANCEL => self.receive_cancel(now, &arrival),
            method if *method == INVITE => self.receive_invite(now, arrival),
            // RFC 3261 §15.1.2.
            method if *method == BYE => self.respond(&arrival, 481, Vec::new()),
            method if *method == SUBSCRIBE => self.receive_subscribe(now, arrival),
            Method::Known(rsip::Method::Options) => self.receive_options(&arrival),
            Method::Known(rsip::Method::Refer) => self.decline_refer(&arrival),
            // RFC 3311 §5.2, RFC 3262 §3: they make sense only within a dialog.
            method if *method == UPDATE || *method == PRACK => {
                self.respond(&arrival, 481, Vec::new());
            }
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
        let waits = call.is_some_and(|call| call.waits(id));
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
        self.respond(arrival, 200, all_abilities());
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
        let session = match session::agree(&arrival.request.headers, self.limits.session) {
            Ok(session) => session,
            Err(TooSmall) => return self.respond(&arrival, 422, vec![session::minimum()]),
        };
        match self.replaced(&arrival.request) {
            Ok(replaces) => {
                let opening = Opening { offer, session, replaces, who };
                self.open_call(now, arrival, opening);
            }
            Err(code) => self.respond(&arrival, code, Vec::new()),
        }
    }

    /// The call that an INVITE takes over, or why it cannot: RFC 3891 §3.
    fn replaced(&self, request: &Request) -> Result<Option<CallKey>, u16> {
        let mut values = other(&request.headers, "Replaces");
        let Some(value) = values.next() else { return Ok(None) };
        let (call_id, params) = value.split_once(';').ok_or(400_u16)?;
        let params = Params::read(params);
        let (Some(to), Some(from), None) =
            (params.value("to-tag"), params.value("from-tag"), values.next())
        else {
            return Err(400);
        };
        let key = self.dialogs.get(to).copied().ok_or(481_u16)?;
        let call = self.calls.get(&key).ok_or(481_u16)?;
        if call.dialog.call_id != call_id.trim() || call.dialog.remote_tag != from {
            return Err(481);
        }
        match call.phase {
            // An early dialog that the other side began cannot be replaced.
            Phase::Offered(..) | Phase::Left => Err(481),
            Phase::Answered(_) | Phase::Up if params.has("early-only") => Err(486),
            Phase::Answered(_) | Phase::Up => Ok(Some(key)),
        }
    }

    /// What RFC 3261 §8.2.2 makes us refuse before looking at the body.
    pub(super) fn objection(&self, request: &Request) -> Option<(u16, Vec<Header>)> {
        match request.uri.scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
            Scheme::Other(_) => return Some((416, Vec::new())),
        }
        if self.transactions.is_merged(request) || self.has_looped(request) {
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

    /// A request of ours that has come back: voicemail must not leave messages for itself.
    fn has_looped(&self, request: &Request) -> bool {
        // Nearly always there is nothing that could have.
        if self.placings.is_empty() {
            return false;
        }
        let hops = every!(request.headers, Via).flat_map(list).filter_map(Via::read);
        hops.filter_map(|via| via.branch().map(str::to_owned))
            .any(|branch| self.transactions.client(&branch, &request.method).is_some())
    }

    fn open_call(&mut self, now: Instant, arrival: Arrival, opening: Opening) {
        let Opening { offer, session, replaces, who } = opening;
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
        let mut incoming = incoming(&request, flow, offer, who);
        incoming.certificate = self.certificates.get(&flow.link).cloned();
        let replaced = replaces.and_then(|key| self.calls.get(&key));
        incoming.replaces = replaced.map(|call| call.dialog.call_id.clone());
        let pending = Pending {
            transaction,
            sequence: request.identity.sequence,
            headers: kept(&request),
            reply,
            offer: kind,
            session,
        };
        self.dialogs.insert(tag, key);
        self.transactions.belongs_to(transaction, key);
        let provisional = self.provisional(requires(&request, "100rel"));
        let allowed: Vec<&str> = every!(request.headers, Allow).flat_map(list).collect();
        let phase = Phase::Offered(pending, provisional);
        let mut call = Call::new(dialog, phase, means(&allowed));
        call.party.clone_from(&incoming.asserted);
        call.replaces = replaces;
        self.calls.insert(key, Box::new(call));
        self.post.outputs.push_back(Output::Incoming(key, Box::new(incoming)));
    }

    /// A CANCEL or an early BYE for an INVITE that waits.
    pub(super) fn cancelled(&mut self, now: Instant, key: CallKey) {
        self.drop_asked(now, key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let tag = call.dialog.local_tag.clone();
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Offered(pending, _) => {
                self.conclude(now, &pending, &tag, Failure::plain(487));
                self.remove_call(key);
                self.post.outputs.push_back(Output::Gone(key));
            }
            phase @ (Phase::Answered(_) | Phase::Up | Phase::Left) => call.phase = phase,
        }
    }

    /// An offer within the dialog will have no answer; the session stays as it was (RFC 3261
    /// §14.2).
    pub(super) fn drop_asked(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Some(asked) = call.asked.take() {
            let tag = call.dialog.local_tag.clone();
            self.conclude(now, &asked.pending, &tag, Failure::plain(487));
        }
    }
}

/// What an INVITE that may come in wants.
struct Opening {
    offer: Option<Vec<u8>>,
    session: Option<Agreed>,
    replaces: Option<CallKey>,
    who: Who,
}

fn incoming(request: &Request, flow: Flow, offer: Option<Vec<u8>>, who: Who) -> Incoming {
    let (headers, uri) = (&request.headers, &request.uri);
    let named = |name| other(headers, name).flat_map(NameAddr::list);
    let (asserted, hidden) = party(headers).unzip();
    Incoming {
        target: uri.target(),
        cause: uri.cause(),
        request_uri: uri.clone(),
        from: request.identity.from.clone(),
        to: request.identity.to.clone(),
        asserted,
        privacy: hidden.unwrap_or(false) || is_hidden(headers),
        diversion: named("Diversion").take(MOST_NAMED).collect(),
        history: named("History-Info").take(MOST_NAMED).collect(),
        call_id: request.identity.call_id.clone(),
        source: flow.remote,
        transport: flow.transport,
        authenticated: who.authenticated,
        registration: who.registration,
        certificate: None,
        local: flow.local.ip(),
        offer,
        replaces: None,
    }
}

/// Diversions that are looked at: honest ones are few, and each costs a look into the directory.
const MOST_NAMED: usize = 10;

/// Who the other side is said to be, and whether it wants to be named: P-Asserted-Identity
/// (RFC 3325), or Remote-Party-ID, which older PBXs still send.
pub(super) fn party(headers: &Headers) -> Option<(NameAddr, bool)> {
    let named = |name| other(headers, name).flat_map(NameAddr::list);
    if let Some(asserted) = named("P-Asserted-Identity").next() {
        return Some((asserted, is_hidden(headers)));
    }
    let is = |party: &NameAddr, param: &str, wanted: &str| {
        party.params.value(param).is_none_or(|value| value.eq_ignore_ascii_case(wanted))
    };
    let party = named("Remote-Party-ID").find(|party| is(party, "party", "calling"))?;
    let hidden = !is(&party, "privacy", "off") || is_hidden(headers);
    Some((party, hidden))
}

fn is_hidden(headers: &Headers) -> bool {
    other(headers, "Privacy").any(is_private)
}

/// RFC 3323 §4.2: values are separated by semicolons, and in the wild by commas.
fn is_private(value: &str) -> bool {
    value.split([';', ',']).any(|wish| {
        let wish = wish.trim();
        ["id", "user", "header"].iter().any(|known| wish.eq_ignore_ascii_case(known))
    })
}

/// What later responses to an INVITE copy of it.
pub(super) fn kept(request: &Request) -> Headers {
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

/// RFC 3261 §20.1: without Accept, `application/sdp` is taken.
fn takes_sdp(request: &Request) -> bool {
    let mut kinds = every!(request.headers, Accept).flat_map(list).map(|range| {
        let kind = range.split(';').next().unwrap_or("");
        kind.replace([' ', '\t'], "").to_ascii_lowercase()
    });
    every!(request.headers, Accept).next().is_none()
        || kinds.any(|kind| matches!(kind.as_str(), "application/sdp" | "application/*" | "*/*"))
}
