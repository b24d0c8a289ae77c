//! Requests that belong to a dialog, or say so: RFC 3261 §12.2.2, §14.2, §15.1.2.

use std::time::{Duration, Instant};

use rsip::Header;

use super::outside::{kept, unsupported, unsupported_body};
use super::{Arrival, CallKey, Endpoint, abilities, accept, allow, retry_after};
use crate::sip::Event;
use crate::sip::body::{self, Body};
use crate::sip::invite::{Offer, Pending, Phase, Then};
use crate::sip::message::{ACK, BYE, CANCEL, INVITE, Method, Request, first};
use crate::sip::transaction::Input;

impl Endpoint {
    pub(super) fn receive_within(&mut self, now: Instant, arrival: &Arrival) {
        let request = &arrival.request;
        if request.method == CANCEL {
            return self.receive_cancel(now, arrival);
        }
        let tag = request.identity.to.tag().unwrap_or("");
        let key = self.dialogs.get(tag).copied();
        let call = key.and_then(|key| self.calls.get_mut(&key));
        let (Some(key), Some(call)) = (key, call.filter(|call| call.dialog.is_of(request))) else {
            // RFC 3261 §12.2.2; an ACK is never answered.
            if request.method != ACK {
                self.respond(arrival, 481, Vec::new());
            }
            return;
        };
        if request.method == ACK {
            return self.receive_ack(now, key, request);
        }
        if !call.dialog.admit(request.identity.sequence) {
            return self.respond(arrival, 500, Vec::new());
        }
        if let Some(unsupported) = unsupported(request) {
            return self.respond(arrival, 420, vec![unsupported]);
        }
        match &request.method {
            method if *method == BYE => self.receive_bye(now, arrival, key),
            method if *method == INVITE => self.receive_reinvite(now, arrival, key),
            Method::Known(rsip::Method::Info) => self.receive_info(now, arrival, key),
            Method::Known(rsip::Method::Options) => {
                let mut more: Vec<Header> = abilities().into();
                more.push(accept());
                self.respond(arrival, 200, more);
            }
            Method::Known(_) => self.respond(arrival, 405, vec![allow()]),
            Method::Unknown(_) => self.respond(arrival, 501, vec![allow()]),
        }
    }

    /// RFC 3261 §13.3.1.4: the 2xx has arrived.
    fn receive_ack(&mut self, now: Instant, key: CallKey, request: &Request) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Answered(answered) = &call.phase else { return };
        if answered.sequence != request.identity.sequence {
            return;
        }
        let then = answered.then;
        let answer = match (answered.offer, body::read(&request.headers, &request.body)) {
            (Offer::Late, Body::Sdp(sdp)) => Some(sdp.to_vec()),
            (Offer::Late, Body::None | Body::Unsupported) | (Offer::Early, _) => None,
        };
        call.armed.clear();
        call.phase = Phase::Up;
        match then {
            Then::Talk => self.tell(key, Event::Confirmed { answer }),
            Then::HangUp => self.bye(now, key),
        }
    }

    fn receive_bye(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        self.confirm(now, arrival);
        // RFC 3261 §15.1.2: what still waits is answered with 487.
        self.cancelled(now, key);
        if self.remove_call(key).is_some() {
            self.tell(key, Event::Bye);
        }
    }

    fn receive_info(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        self.confirm(now, arrival);
        let request = &arrival.request;
        let content_type = first!(request.headers, ContentType).unwrap_or("").to_owned();
        self.tell(key, Event::Info { content_type, body: request.body.clone() });
    }

    fn receive_reinvite(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        let request = &arrival.request;
        let Some(call) = self.calls.get_mut(&key) else { return };
        match &call.phase {
            Phase::Up => {}
            // RFC 3261 §14.2: the one before has no final response yet.
            Phase::Offered(_) | Phase::Reoffered(_) => {
                let wait = Duration::from_secs(u64::from(self.chance.below(10)));
                return self.respond(arrival, 500, vec![retry_after(wait)]);
            }
            // RFC 5407 §3.1.4: our 2xx and this INVITE have crossed. What it said may wait for an
            // answer in the ACK that is missing, so the other side shall try again.
            Phase::Answered(_) => return self.respond(arrival, 491, Vec::new()),
        }
        let offer = match body::read(&request.headers, &request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp.to_vec()),
            Body::Unsupported => return self.respond(arrival, 415, unsupported_body()),
        };
        let Some(transaction) = self.transactions.open_server(request, arrival.reply) else {
            return self.respond(arrival, 503, vec![retry_after(self.limits.retry_after)]);
        };
        call.dialog.refresh(request, arrival.flow);
        call.phase = Phase::Reoffered(Pending {
            transaction,
            headers: kept(request),
            reply: arrival.reply,
            sequence: request.identity.sequence,
            offer: if offer.is_some() { Offer::Early } else { Offer::Late },
        });
        let trying = self.print(&request.headers, 100, None, "", Vec::new(), &[]);
        self.transactions.step(now, transaction, Input::Provisional, Some(&trying), &mut self.post);
        self.transactions.belongs_to(transaction, key);
        self.tell(key, Event::Offer(offer));
    }
}
