//! What the owner of a call wants of it. A call that is over by then is left in peace: the wish
//! and the BYE of the other side have crossed.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::abilities::abilities;
use super::{CallKey, Endpoint, Failure, Owner, contact, retry_after, sdp_type};
use crate::sip::invite::{
    Answered, Bearer, Carries, Offer, Pending, Phase, Provisional, Reliable, Then,
};
use crate::sip::message::BYE;
use crate::sip::session::{Agreed, Session};
use crate::sip::timer::{T1, Timer};
use crate::sip::transaction::Input;
use crate::sip::transactions::User;
use crate::sip::{Event, Gone, Reject, Ticket};

impl Endpoint {
    /// 200 with our answer, or our offer if the INVITE had none.
    pub fn answer(&mut self, now: Instant, key: CallKey, sdp: &str) -> Result<(), Gone> {
        let call = self.calls.get_mut(&key).ok_or(Gone)?;
        if let Phase::Offered(_, Provisional::Reliable(reliable)) = &mut call.phase
            && reliable.waiting.as_ref().is_some_and(|w| w.carries != Carries::Nothing)
        {
            // RFC 3262 §3: no 2xx while a description has no PRACK.
            reliable.answer = Some(sdp.to_owned());
            return Ok(());
        }
        match std::mem::replace(&mut call.phase, Phase::Up) {
            Phase::Offered(pending, provisional) => {
                call.armed.stop(Timer::Repeat18x);
                call.armed.stop(Timer::Unpracked);
                let prack = match provisional {
                    Provisional::Reliable(Reliable { number, waiting: Some(_), .. }) => {
                        Some((number, pending.sequence))
                    }
                    Provisional::Reliable(_) | Provisional::Plain => None,
                };
                self.succeed(now, key, pending, sdp, prack);
                self.take_over(now, key);
            }
            phase @ (Phase::Answered(_) | Phase::Up | Phase::Left) => call.phase = phase,
        }
        Ok(())
    }

    /// The final response of a call that is not taken.
    pub fn reject(&mut self, now: Instant, key: CallKey, why: Reject) {
        if !self.calls.get(&key).is_some_and(|call| matches!(call.phase, Phase::Offered(..))) {
            return;
        }
        self.drop_asked(now, key);
        let Some(call) = self.remove_call(key) else { return };
        let Phase::Offered(pending, _) = call.phase else { return };
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
            | Reject::ServerError => (None, Vec::new()),
        };
        let tag = call.dialog.local_tag;
        self.conclude(now, &pending, &tag, Failure { code, reason, more });
    }

    /// 200 for a re-INVITE, UPDATE or PRACK that brought or wants an offer.
    pub fn accept(&mut self, now: Instant, key: CallKey, ticket: Ticket, sdp: &str) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(asked) = call.asked.take_if(|asked| asked.ticket == ticket) else { return };
        match asked.bearer {
            Bearer::Invite => self.succeed(now, key, asked.pending, sdp, None),
            Bearer::Other => self.settle(now, key, &asked.pending, sdp),
        }
    }

    /// 488 for it; the session stays as it was (RFC 3261 §14.2, RFC 3311 §5.2).
    pub fn refuse(&mut self, now: Instant, key: CallKey, ticket: Ticket) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let tag = call.dialog.local_tag.clone();
        if let Some(asked) = call.asked.take_if(|asked| asked.ticket == ticket) {
            self.conclude(now, &asked.pending, &tag, Failure::plain(488));
        }
    }

    /// Hangs up, as soon as RFC 3261 §15 lets us.
    pub fn bye(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return self.give_up(now, key) };
        match &mut call.phase {
            Phase::Offered(..) => self.reject(now, key, Reject::TemporarilyUnavailable),
            Phase::Answered(answered) => answered.then = Then::HangUp,
            Phase::Up | Phase::Left => self.hang_up(now, key, None),
        }
    }

    /// BYE at once, unless the other side was first; `why` is a value for Reason (RFC 3326).
    pub(super) fn hang_up(&mut self, now: Instant, key: CallKey, why: Option<&str>) {
        self.drop_asked(now, key);
        self.drop_transfer(now, key);
        let Some(mut call) = self.remove_call(key) else { return };
        if let Phase::Left = call.phase {
            return;
        }
        let branch = self.chance.branch();
        let (mut bye, flow) = call.dialog.request(BYE, &branch);
        bye.headers.extend(self.user_agent());
        bye.headers.extend(why.map(|why| Header::Other("Reason".to_owned(), why.to_owned())));
        self.transactions.open_client(now, bye, &branch, flow, User::Nobody, &mut self.post);
    }

    /// Sends a 2xx to an INVITE and sees to it until its ACK comes.
    fn succeed(
        &mut self,
        now: Instant,
        key: CallKey,
        pending: Pending,
        sdp: &str,
        prack: Option<(u32, u32)>,
    ) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let mut more = record_route(&pending);
        more.push(contact(&call.dialog.flow, &call.dialog.scheme));
        more.extend(abilities());
        more.extend(pending.session.map(Agreed::answer).into_iter().flatten());
        // RFC 3262 §5, RFC 6337 §3.1.1: what was settled before is not said again.
        let sdp = if let Offer::Settled { .. } = pending.offer { "" } else { sdp };
        if !sdp.is_empty() {
            more.push(sdp_type());
            sdp.clone_into(&mut call.described);
        }
        let tag = call.dialog.local_tag.clone();
        let wire = self.print(&pending.headers, 200, None, &tag, more, sdp.as_bytes());
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
            prack,
        });
        // RFC 3261 §13.3.1.4: also over TCP, because a proxy may lose it further on.
        for timer in [Timer::Repeat2xx, Timer::Unacknowledged] {
            let at = now + timer.first(false);
            call.armed.set(timer, at);
            self.post.agenda.note(at, timer, Owner::Call(key));
        }
        self.keep_alive(now, key, pending.session);
    }

    /// Sends a 2xx to an UPDATE or PRACK with our answer.
    fn settle(&mut self, now: Instant, key: CallKey, pending: &Pending, sdp: &str) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        sdp.clone_into(&mut call.described);
        let mut more = vec![contact(&call.dialog.flow, &call.dialog.scheme)];
        more.extend(abilities());
        more.extend(pending.session.map(Agreed::answer).into_iter().flatten());
        more.push(sdp_type());
        let tag = call.dialog.local_tag.clone();
        let wire = self.print(&pending.headers, 200, None, &tag, more, sdp.as_bytes());
        let (id, post) = (pending.transaction, &mut self.post);
        self.transactions.step(now, id, Input::Success, Some(&wire), post);
        self.keep_alive(now, key, pending.session);
    }

    /// RFC 4028 §10: from each 2xx on, the session lives so long.
    pub(super) fn keep_alive(&mut self, now: Instant, key: CallKey, agreed: Option<Agreed>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.session = agreed.map(|agreed| Session::start(now, agreed));
        self.look_again(now, key);
    }

    /// RFC 3891 §3: the call that this one replaces ends now that this one is answered.
    fn take_over(&mut self, now: Instant, key: CallKey) {
        let replaced = self.calls.get_mut(&key).and_then(|call| call.replaces.take());
        let Some((old, call)) = replaced.and_then(|old| Some((old, self.calls.get_mut(&old)?)))
        else {
            return;
        };
        match &mut call.phase {
            Phase::Answered(answered) => answered.then = Then::HangUp,
            Phase::Offered(..) | Phase::Up | Phase::Left => {
                self.hang_up(now, old, Some("SIP;cause=200;text=\"Replaced\""));
            }
        }
        self.tell(old, Event::Bye);
    }

    pub(super) fn fire_call(&mut self, now: Instant, key: CallKey, timer: Timer, at: Instant) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if !call.armed.take(timer, at) {
            return;
        }
        match timer {
            Timer::Repeat18x => self.repeat_18x(now, key),
            Timer::Unpracked => self.never_pracked(now, key),
            Timer::Session => self.look_at_session(now, key),
            Timer::Transfer => self.transfer_too_slow(now, key),
            Timer::Unacknowledged => self.never_acknowledged(now, key),
            _ => self.repeat_2xx(now, key),
        }
    }

    fn repeat_2xx(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Answered(answered) = &mut call.phase else { return };
        answered.interval = Timer::Repeat2xx.again(answered.interval);
        let next = now + answered.interval;
        self.post.transmit(answered.reply, answered.wire.clone());
        call.armed.set(Timer::Repeat2xx, next);
        self.post.agenda.note(next, Timer::Repeat2xx, Owner::Call(key));
    }

    fn never_acknowledged(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Phase::Answered(Answered { then, .. }) = &call.phase else { return };
        let then = *then;
        self.hang_up(now, key, Some("SIP;cause=408;text=\"No ACK\""));
        match then {
            Then::Talk => self.tell(key, Event::Lost),
            Then::HangUp => {}
        }
    }

    pub(super) fn user_agent(&self) -> Vec<Header> {
        let named = !self.user_agent.is_empty();
        named.then(|| headers::UserAgent::new(&*self.user_agent).into()).into_iter().collect()
    }
}

/// RFC 3261 §12.1.1: copied into every response that opens a dialog.
pub(super) fn record_route(pending: &Pending) -> Vec<Header> {
    let routes = pending.headers.iter().filter(|header| matches!(header, Header::RecordRoute(_)));
    routes.cloned().collect()
}
