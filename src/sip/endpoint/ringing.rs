//! Responses before the final one, plain or reliable: RFC 3261 §13.3.1.1, RFC 3262.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::abilities::unsupported_body;
use super::answering::record_route;
use super::{Arrival, CallKey, Endpoint, Failure, Output, Owner, contact, sdp_type};
use crate::sip::body::{self, Body};
use crate::sip::invite::{
    Bearer, Carries, Offer, Pending, Phase, Provisional, Reliable, Unpracked,
};
use crate::sip::message::{self, Wire, other, reason};
use crate::sip::timer::{T1, Timer};
use crate::sip::transaction::Input;

impl Endpoint {
    /// 180 Ringing.
    pub fn ring(&mut self, now: Instant, key: CallKey) {
        self.progress_with(now, key, 180, None);
    }

    /// 183 with our answer, or our offer if the INVITE had none: early media may flow.
    pub fn progress(&mut self, now: Instant, key: CallKey, sdp: &str) {
        self.progress_with(now, key, 183, Some(sdp));
    }

    fn progress_with(&mut self, now: Instant, key: CallKey, code: u16, sdp: Option<&str>) {
        let server = self.server();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Offered(pending, provisional) = &mut call.phase else { return };
        let mut more = record_route(pending);
        more.push(contact(&call.dialog.flow, &call.dialog.scheme));
        more.extend(server);
        let tag = &call.dialog.local_tag;
        let print = |pending: &Pending, mut more: Vec<Header>, sdp: Option<&str>| -> Wire {
            more.extend(sdp.map(|_| sdp_type()));
            let body = sdp.unwrap_or("").as_bytes();
            message::print_response(&pending.headers, code, reason(code), tag, &more, body)
        };
        let (id, wire) = match provisional {
            Provisional::Plain => {
                // RFC 3261 §13.2.1: an offer must not go into what may be lost.
                let sdp = sdp.filter(|_| pending.offer == Offer::Early);
                (pending.transaction, print(pending, more, sdp))
            }
            Provisional::Reliable(reliable) => {
                // RFC 3262 §3: one at a time, until its PRACK. §5: the first one has our offer if
                // the INVITE had none, so without one nothing can be said yet.
                let mute = pending.offer == Offer::Late && sdp.is_none();
                if mute || reliable.waiting.is_some() {
                    return;
                }
                let (sdp, carries) = match &pending.offer {
                    Offer::Settled { .. } => (None, Carries::Nothing),
                    Offer::Early if sdp.is_none() => (None, Carries::Nothing),
                    Offer::Early => (sdp, Carries::Answer),
                    Offer::Late => (sdp, Carries::Offer),
                };
                reliable.number += 1;
                more.push(headers::Require::new("100rel").into());
                more.push(Header::Other("RSeq".to_owned(), reliable.number.to_string()));
                let wire = print(pending, more, sdp);
                if let Some(sdp) = sdp {
                    sdp.clone_into(&mut call.described);
                }
                let waiting = Unpracked { wire: wire.clone(), interval: T1, carries };
                reliable.waiting = Some(waiting);
                for timer in [Timer::Repeat18x, Timer::Unpracked] {
                    let at = now + timer.first(false);
                    call.armed.set(timer, at);
                    self.post.agenda.note(at, timer, Owner::Call(key));
                }
                (pending.transaction, wire)
            }
        };
        self.transactions.step(now, id, Input::Provisional, Some(&wire), &mut self.post);
    }

    /// RFC 3262 §3: sent again until its PRACK comes.
    pub(super) fn repeat_18x(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Offered(pending, Provisional::Reliable(reliable)) = &mut call.phase else {
            return;
        };
        let Some(waiting) = &mut reliable.waiting else { return };
        waiting.interval = Timer::Repeat18x.again(waiting.interval);
        let (wire, next) = (waiting.wire.clone(), now + waiting.interval);
        call.armed.set(Timer::Repeat18x, next);
        self.post.agenda.note(next, Timer::Repeat18x, Owner::Call(key));
        let (id, post) = (pending.transaction, &mut self.post);
        self.transactions.step(now, id, Input::Provisional, Some(&wire), post);
    }

    /// RFC 3262 §3: no PRACK for 64·T1, so the INVITE is refused.
    pub(super) fn never_pracked(&mut self, now: Instant, key: CallKey) {
        self.drop_asked(now, key);
        let Some(call) = self.remove_call(key) else { return };
        if let Phase::Offered(pending, _) = call.phase {
            self.conclude(now, &pending, &call.dialog.local_tag, Failure::plain(504));
            self.post.outputs.push_back(Output::Gone(key));
        }
    }

    /// RFC 3262 §3, and §5 for what it may bring.
    pub(super) fn receive_prack(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        let request = &arrival.request;
        let Some(rack) = other(&request.headers, "RAck").next().and_then(rack) else {
            return self.respond(arrival, 400, Vec::new());
        };
        let body = match body::read(&request.headers, &request.body) {
            Body::Unsupported => return self.respond(arrival, 415, unsupported_body()),
            Body::Sdp(sdp) => Some(sdp.to_vec()),
            Body::None => None,
        };
        let Some(call) = self.calls.get_mut(&key) else { return };
        let awaited = match &mut call.phase {
            // The PRACK and our 2xx have crossed.
            Phase::Answered(answered) if answered.prack == Some(rack) && body.is_none() => {
                answered.prack = None;
                return self.confirm(now, arrival);
            }
            Phase::Offered(pending, Provisional::Reliable(reliable))
                if rack == (reliable.number, pending.sequence) =>
            {
                reliable.waiting.take().map(|waiting| (waiting.carries, pending, reliable))
            }
            Phase::Offered(..) | Phase::Answered(_) | Phase::Up | Phase::Left => None,
        };
        let Some((carries, pending, reliable)) = awaited else {
            return self.respond(arrival, 481, Vec::new());
        };
        let answer = reliable.answer.take();
        call.armed.stop(Timer::Repeat18x);
        call.armed.stop(Timer::Unpracked);
        match (carries, body) {
            // An answer that is missing is missed when the call is confirmed.
            (Carries::Offer, answer) => {
                pending.offer = Offer::Settled { answer };
                self.confirm(now, arrival);
            }
            (Carries::Answer, offer) => {
                pending.offer = Offer::Settled { answer: None };
                self.consider(now, arrival, key, offer);
            }
            (Carries::Nothing, None) => self.confirm(now, arrival),
            (Carries::Nothing, offer) => match pending.offer {
                Offer::Settled { .. } => self.consider(now, arrival, key, offer),
                // RFC 3264 §4: no offer while another waits. The 18x is acknowledged all the same.
                Offer::Early | Offer::Late => self.respond(arrival, 488, Vec::new()),
            },
        }
        if let Some(sdp) = answer {
            let _its_call_is_here = self.answer(now, key, &sdp);
        }
    }

    /// Asks the owner about the offer of a PRACK, if there is one.
    fn consider(&mut self, now: Instant, arrival: &Arrival, key: CallKey, offer: Option<Vec<u8>>) {
        match offer {
            Some(offer) => self.ask_owner(now, arrival, key, Bearer::Other, Some(offer), None),
            None => self.confirm(now, arrival),
        }
    }

    /// How responses to this INVITE go out before the final one.
    pub(super) fn provisional(&mut self, required: bool) -> Provisional {
        if !required {
            return Provisional::Plain;
        }
        // RFC 3262 §3: drawn between 1 and 2^31 - 1, with room to count on.
        let number = self.chance.below(1 << 30);
        Provisional::Reliable(Reliable { number, waiting: None, answer: None })
    }
}

/// `RAck: 776656 1 INVITE`.
fn rack(value: &str) -> Option<(u32, u32)> {
    let mut words = value.split_ascii_whitespace();
    let (number, sequence) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next()? == "INVITE").then_some((number, sequence))
}
