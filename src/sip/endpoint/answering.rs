//! What the owner of a call wants of it. A call that is over by then is left in peace: the wish
//! and the BYE of the other side have crossed.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::{CallKey, Endpoint, Failure, Owner, abilities, contact, retry_after, sdp_type};
use crate::sip::invite::{Answered, Pending, Phase, Then};
use crate::sip::message::{self, BYE, reason};
use crate::sip::timer::{T1, Timer};
use crate::sip::transaction::Input;
use crate::sip::transactions::User;
use crate::sip::{Event, Gone, Reject};

impl Endpoint {
    /// 180 Ringing.
    pub fn ring(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let Phase::Offered(pending) = &call.phase else { return };
        let mut more = record_route(pending);
        more.push(contact(&call.dialog.flow, &call.dialog.scheme));
        let wire = self.print(&pending.headers, 180, None, &call.dialog.local_tag, more, &[]);
        let (id, post) = (pending.transaction, &mut self.post);
        self.transactions.step(now, id, Input::Provisional, Some(&wire), post);
    }

    /// 200 with our answer, or our offer if the INVITE had none.
    pub fn answer(&mut self, now: Instant, key: CallKey, sdp: &str) -> Result<(), Gone> {
        let call = self.calls.get_mut(&key).ok_or(Gone)?;
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Offered(pending) => self.succeed(now, key, &pending, sdp),
            phase @ (Phase::Answered(_) | Phase::Up | Phase::Reoffered(_)) => call.phase = phase,
        }
        Ok(())
    }

    /// The final response of a call that is not taken.
    pub fn reject(&mut self, now: Instant, key: CallKey, why: Reject) {
        if !self.calls.get(&key).is_some_and(|call| matches!(call.phase, Phase::Offered(_))) {
            return;
        }
        let Some(call) = self.remove_call(key) else { return };
        let Phase::Offered(pending) = call.phase else { return };
        let code = why.code();
        let (reason, more) = match why {
            Reject::BadRequest(reason) => (Some(reason), Vec::new()),
            Reject::Overloaded { retry_after: wait } => (None, vec![retry_after(wait)]),
            // RFC 3261 §20.43: 305 is "incompatible media format".
            Reject::NotAcceptableHere => {
                let warning = "305 afterbeep \"No common audio format\"";
                (None, vec![headers::Warning::new(warning).into()])
            }
            Reject::Forbidden
            | Reject::NotFound
            | Reject::TemporarilyUnavailable
            | Reject::BusyHere
            | Reject::ServerError
            | Reject::Decline => (None, Vec::new()),
        };
        let tag = call.dialog.local_tag;
        self.conclude(now, &pending, &tag, Failure { code, reason, more });
    }

    /// 200 for a re-INVITE.
    pub fn accept(&mut self, now: Instant, key: CallKey, sdp: &str) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Reoffered(pending) => self.succeed(now, key, &pending, sdp),
            phase @ (Phase::Offered(_) | Phase::Answered(_) | Phase::Up) => call.phase = phase,
        }
    }

    /// 488 for a re-INVITE; the session stays as it was (RFC 3261 §14.2).
    pub fn refuse(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let tag = call.dialog.local_tag.clone();
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Reoffered(pending) => self.conclude(now, &pending, &tag, Failure::plain(488)),
            phase @ (Phase::Offered(_) | Phase::Answered(_) | Phase::Up) => call.phase = phase,
        }
    }

    /// Hangs up, as soon as RFC 3261 §15 lets us.
    pub fn bye(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return self.give_up(now, key) };
        match &mut call.phase {
            Phase::Offered(_) => self.reject(now, key, Reject::TemporarilyUnavailable),
            Phase::Answered(answered) => answered.then = Then::HangUp,
            Phase::Reoffered(_) => {
                self.cancelled(now, key);
                self.send_bye(now, key);
            }
            Phase::Up => self.send_bye(now, key),
        }
    }

    fn send_bye(&mut self, now: Instant, key: CallKey) {
        let Some(mut call) = self.remove_call(key) else { return };
        let branch = self.chance.branch();
        let (mut bye, flow) = call.dialog.request(BYE, &branch);
        bye.headers.extend(self.user_agent());
        self.transactions.open_client(now, bye, &branch, flow, User::Nobody, &mut self.post);
    }

    /// Sends a 2xx and sees to it until its ACK comes.
    fn succeed(&mut self, now: Instant, key: CallKey, pending: &Pending, sdp: &str) {
        let Some(call) = self.calls.get(&key) else { return };
        let mut more = record_route(pending);
        more.push(contact(&call.dialog.flow, &call.dialog.scheme));
        more.extend(abilities());
        more.push(sdp_type());
        more.extend(self.server());
        let tag = &call.dialog.local_tag;
        let wire =
            message::print_response(&pending.headers, 200, reason(200), tag, &more, sdp.as_bytes());
        let (id, post) = (pending.transaction, &mut self.post);
        self.transactions.step(now, id, Input::Success, Some(&wire), post);
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.phase = Phase::Answered(Answered {
            wire,
            reply: pending.reply,
            sequence: pending.sequence,
            interval: T1,
            offer: pending.offer,
            then: Then::Talk,
        });
        // RFC 3261 §13.3.1.4: also over TCP, because a proxy may lose it further on.
        for timer in [Timer::Repeat2xx, Timer::Unacknowledged] {
            let at = now + timer.first(false);
            call.armed.set(timer, at);
            self.post.agenda.note(at, timer, Owner::Call(key));
        }
    }

    pub(super) fn fire_call(&mut self, now: Instant, key: CallKey, timer: Timer, at: Instant) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if !call.armed.take(timer, at) {
            return;
        }
        let Phase::Answered(answered) = &mut call.phase else { return };
        if timer == Timer::Unacknowledged {
            let then = answered.then;
            call.armed.clear();
            call.phase = Phase::Up;
            self.send_bye(now, key);
            match then {
                Then::Talk => self.tell(key, Event::Lost),
                Then::HangUp => {}
            }
            return;
        }
        answered.interval = timer.again(answered.interval);
        let next = now + answered.interval;
        self.post.transmit(answered.reply, answered.wire.clone());
        call.armed.set(timer, next);
        self.post.agenda.note(next, timer, Owner::Call(key));
    }

    pub(super) fn user_agent(&self) -> Vec<Header> {
        let named = !self.user_agent.is_empty();
        named.then(|| headers::UserAgent::new(&*self.user_agent).into()).into_iter().collect()
    }
}

/// RFC 3261 §12.1.1: copied into every response that opens a dialog.
fn record_route(pending: &Pending) -> Vec<Header> {
    let routes = pending.headers.iter().filter(|header| matches!(header, Header::RecordRoute(_)));
    routes.cloned().collect()
}
