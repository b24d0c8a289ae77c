//! Requests that belong to a dialog, or say so: RFC 3261 §12.2.2, §14.2, §15.1.2, RFC 3311.

use std::time::{Duration, Instant};

use super::abilities::{
    abilities, all_abilities, allow, objection_to_info, unsupported, unsupported_body,
};
use super::outside::{kept, party};
use super::{Arrival, CallKey, Endpoint, contact, retry_after};
use crate::sip::body::{self, Body};
use crate::sip::invite::{
    Asked, Bearer, Call, Carries, Means, Offer, Pending, Phase, Provisional, Then,
};
use crate::sip::message::{
    ACK, BYE, CANCEL, INVITE, Method, NOTIFY, PRACK, Request, SUBSCRIBE, UPDATE, first,
};
use crate::sip::session::{self, Agreed, TooSmall};
use crate::sip::timer::Timer;
use crate::sip::transaction::Input;
use crate::sip::{Event, Party, Ticket};

impl Endpoint {
    pub(super) fn receive_within(&mut self, now: Instant, arrival: &Arrival) {
        let request = &arrival.request;
        if request.method == CANCEL {
            return self.receive_cancel(now, arrival);
        }
        let tag = request.identity.to.tag().unwrap_or("");
        // A call's dialog is no place for a subscription (RFC 6665 §4.5.1): there it gets 405.
        if request.method == SUBSCRIBE && !self.dialogs.contains_key(tag) {
            return self.receive_resubscribe(now, arrival);
        }
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
            method if *method == UPDATE => self.receive_update(now, arrival, key),
            method if *method == PRACK => self.receive_prack(now, arrival, key),
            Method::Known(rsip::Method::Info) => self.receive_info(now, arrival, key),
            Method::Known(rsip::Method::Options) => self.respond(arrival, 200, all_abilities()),
            Method::Known(rsip::Method::Refer) => self.receive_refer(arrival, key),
            // RFC 3515 §2.4.4: how a call that we asked for goes on; nobody here waits for that.
            method if *method == NOTIFY && is_about_refer(request) => self.confirm(now, arrival),
            Method::Known(_) => self.respond(arrival, 405, vec![allow()]),
            Method::Unknown(_) => self.respond(arrival, 501, vec![allow()]),
        }
    }

    /// RFC 3261 §13.3.1.4: the 2xx has arrived.
    fn receive_ack(&mut self, now: Instant, key: CallKey, request: &Request) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Answered(answered) = &mut call.phase else { return };
        if answered.sequence != request.identity.sequence {
            return;
        }
        let then = answered.then;
        let answer = match (&mut answered.offer, body::read(&request.headers, &request.body)) {
            (Offer::Settled { answer }, _) => answer.take(),
            (Offer::Late, Body::Sdp(sdp)) => Some(sdp.to_vec()),
            (Offer::Late, Body::None | Body::Unsupported) | (Offer::Early, _) => None,
        };
        call.armed.stop(Timer::Repeat2xx);
        call.armed.stop(Timer::Unacknowledged);
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
        if self.outlives_bye(key) {
            return;
        }
        self.drop_transfer(now, key);
        if self.remove_call(key).is_some() {
            self.tell(key, Event::Bye);
        }
    }

    fn receive_info(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        let request = &arrival.request;
        if let Some((code, more)) = objection_to_info(request) {
            return self.respond(arrival, code, more);
        }
        self.confirm(now, arrival);
        if !request.body.is_empty() {
            let content_type = first!(request.headers, ContentType).unwrap_or("").to_owned();
            self.tell(key, Event::Info { content_type, body: request.body.clone() });
        }
    }

    fn receive_reinvite(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        match (&call.phase, &call.asked, call.refreshing) {
            // RFC 3261 §14.2: our own has no final response yet. RFC 5407 §3.1.4: our 2xx and this
            // INVITE have crossed; what it said may wait for an answer in the ACK that is
            // missing. In both cases the other side shall try again.
            (_, _, Some(Means::Invite)) | (Phase::Answered(_), None, _) => {
                return self.respond(arrival, 491, Vec::new());
            }
            // RFC 3261 §14.2: the one before has no final response yet.
            (_, Some(_), _) | (Phase::Offered(..), ..) => return self.later(arrival),
            // Who has left is in no dialog.
            (Phase::Left, None, _) => return self.respond(arrival, 481, Vec::new()),
            (Phase::Up, None, Some(Means::Update) | None) => {}
        }
        let request = &arrival.request;
        let offer = match body::read(&request.headers, &request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp.to_vec()),
            Body::Unsupported => return self.respond(arrival, 415, unsupported_body()),
        };
        match session::agree(&request.headers, self.limits.session) {
            Ok(agreed) => self.ask_owner(now, arrival, key, Bearer::Invite, offer, agreed),
            Err(TooSmall) => self.respond(arrival, 422, vec![session::minimum()]),
        }
    }

    /// RFC 3311 §5.2.
    fn receive_update(&mut self, now: Instant, arrival: &Arrival, key: CallKey) {
        let request = &arrival.request;
        let offer = match body::read(&request.headers, &request.body) {
            Body::None => None,
            Body::Sdp(sdp) => Some(sdp.to_vec()),
            Body::Unsupported => return self.respond(arrival, 415, unsupported_body()),
        };
        let agreed = match session::agree(&request.headers, self.limits.session) {
            Ok(agreed) => agreed,
            Err(TooSmall) => return self.respond(arrival, 422, vec![session::minimum()]),
        };
        let Some(call) = self.calls.get_mut(&key) else { return };
        if offer.is_some() {
            return match open_offer(call) {
                Open::Nobodys => self.ask_owner(now, arrival, key, Bearer::Other, offer, agreed),
                Open::Ours => self.respond(arrival, 491, Vec::new()),
                Open::Theirs => self.later(arrival),
            };
        }
        call.dialog.refresh(request, arrival.flow);
        let confirmed = !matches!(call.phase, Phase::Offered(..));
        let mut more = vec![contact(&arrival.flow, &call.dialog.scheme)];
        more.extend(abilities());
        // RFC 4028 §9: an early dialog has no session yet.
        let agreed = agreed.filter(|_| confirmed);
        more.extend(agreed.map(Agreed::answer).into_iter().flatten());
        self.confirm_with(now, arrival, more);
        if confirmed {
            self.keep_alive(now, key, agreed);
        }
        self.notice_party(arrival, key);
    }

    /// Gives an offer within the dialog to the owner of the call.
    pub(super) fn ask_owner(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        key: CallKey,
        bearer: Bearer,
        offer: Option<Vec<u8>>,
        session: Option<Agreed>,
    ) {
        let request = &arrival.request;
        let Some(transaction) = self.transactions.open_server(request, arrival.reply) else {
            return self.respond(arrival, 503, vec![retry_after(self.limits.retry_after)]);
        };
        let trying = self.print(&request.headers, 100, None, "", Vec::new(), &[]);
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let pending = Pending {
            transaction,
            headers: kept(request),
            reply: arrival.reply,
            sequence: request.identity.sequence,
            offer: if offer.is_some() { Offer::Early } else { Offer::Late },
            session,
        };
        call.asked = Some(Asked { ticket, bearer, pending });
        // RFC 3262 §4: a PRACK refreshes no target.
        if request.method != PRACK {
            call.dialog.refresh(request, arrival.flow);
        }
        if bearer == Bearer::Invite {
            let post = &mut self.post;
            self.transactions.step(now, transaction, Input::Provisional, Some(&trying), post);
        }
        self.transactions.belongs_to(transaction, key);
        self.notice_party(arrival, key);
        self.tell(key, Event::Offer { ticket, sdp: offer });
    }

    /// Tells when a request within the dialog names somebody else than before.
    fn notice_party(&mut self, arrival: &Arrival, key: CallKey) {
        let Some((name, privacy)) = party(&arrival.request.headers) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.party.as_ref() != Some(&name) {
            call.party = Some(name.clone());
            let source = arrival.flow.remote.ip();
            self.tell(key, Event::Identity(Box::new(Party { name, privacy, source })));
        }
    }

    /// 500 with Retry-After: an offer waits for its answer already (RFC 3261 §14.2, RFC 3311 §5.2).
    fn later(&mut self, arrival: &Arrival) {
        let wait = Duration::from_secs(u64::from(self.chance.below(10)));
        self.respond(arrival, 500, vec![retry_after(wait)]);
    }
}

fn is_about_refer(request: &Request) -> bool {
    let event = first!(request.headers, Event).unwrap_or("");
    event.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("refer")
}

/// Whose offer waits for an answer.
enum Open {
    Nobodys,
    Ours,
    Theirs,
}

fn open_offer(call: &Call) -> Open {
    match (&call.phase, &call.asked, call.refreshing) {
        (_, Some(_), _) => Open::Theirs,
        (_, None, Some(Means::Invite)) => Open::Ours,
        (Phase::Answered(answered), None, _) if answered.offer == Offer::Late => Open::Ours,
        (Phase::Offered(pending, provisional), None, _) => match (&pending.offer, provisional) {
            (Offer::Settled { .. }, _) => Open::Nobodys,
            (Offer::Late, Provisional::Reliable(reliable))
                if reliable.waiting.as_ref().is_some_and(|w| w.carries == Carries::Offer) =>
            {
                Open::Ours
            }
            (Offer::Early | Offer::Late, _) => Open::Theirs,
        },
        (Phase::Answered(_) | Phase::Up | Phase::Left, None, _) => Open::Nobodys,
    }
}
