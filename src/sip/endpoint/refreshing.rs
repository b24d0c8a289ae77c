//! Requests of ours within a dialog (RFC 3261 §12.2.1), and the one that refreshes its session
//! (RFC 4028 §10).

use std::time::{Duration, Instant};

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::abilities::abilities;
use super::{CallKey, Endpoint, Owner, contact, sdp_type};
use crate::sip::dialog::our_via;
use crate::sip::invite::{Means, Phase};
use crate::sip::message::{INVITE, Method, Outgoing, Response, UPDATE};
use crate::sip::session::{self, Due};
use crate::sip::timer::Timer;
use crate::sip::transactions::{Purpose, User};
use crate::sip::{Event, Flow};

impl Endpoint {
    /// Sends a request within a dialog; what comes of it is told to `hear_within`.
    pub(super) fn request(
        &mut self,
        now: Instant,
        key: CallKey,
        method: Method,
        (more, body): (Vec<Header>, Vec<u8>),
        user: User,
    ) {
        let branch = self.chance.branch();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let (mut request, flow) = call.dialog.request(method, &branch);
        request.headers.push(contact(&call.dialog.flow, &call.dialog.scheme));
        request.headers.extend(self.user_agent());
        request.headers.extend(more);
        request.body = body;
        self.transactions.open_client(now, request, &branch, flow, user, &mut self.post);
    }

    /// What a request of ours within a dialog was answered.
    pub(super) fn hear_within(
        &mut self,
        now: Instant,
        key: CallKey,
        purpose: Purpose,
        invite: Option<(&Outgoing, Flow)>,
        response: &Response,
    ) {
        match (purpose, response.code) {
            (_, ..200) => {}
            (Purpose::Refresh, 200..300) => self.refreshed(now, key, invite, response),
            (Purpose::Refresh, 300..) => self.not_refreshed(now, key, response),
            (Purpose::Refer, code) => {
                self.tell(key, Event::Referred { accepted: code < 300 });
            }
        }
    }

    /// RFC 3261 §12.2.1.2: a dialog in which nobody answers is over, as with 408 and 481.
    pub(super) fn unheard_within(&mut self, now: Instant, key: CallKey) {
        self.expire(now, key);
    }

    /// Looks whether a session must be refreshed, or has expired.
    pub(super) fn look_at_session(&mut self, now: Instant, key: CallKey) {
        let Some(session) = self.calls.get(&key).and_then(|call| call.session.as_ref()) else {
            return;
        };
        match session.due(now) {
            Due::Nothing => {}
            Due::Refresh => self.refresh(now, key),
            Due::Expired => return self.expire(now, key),
        }
        self.look_again(now, key);
    }

    pub(super) fn look_again(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.armed.stop(Timer::Session);
        if let Some(session) = &call.session {
            let at = session.sooner(now + Timer::Session.first(false));
            call.armed.set(Timer::Session, at);
            self.post.agenda.note(at, Timer::Session, Owner::Call(key));
        }
    }

    fn refresh(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(session) = &mut call.session else { return };
        let idle = matches!(call.phase, Phase::Up) && call.asked.is_none();
        let full = self.transactions.len() >= self.limits.transactions;
        if !idle || full || call.refreshing.is_some() {
            return session.postpone(Some(now + BUSY));
        }
        session.postpone(None);
        let mut more: Vec<Header> = session.request().into();
        more.extend(abilities());
        call.refreshing = Some(call.means);
        let (method, body) = match call.means {
            Means::Update => (UPDATE, Vec::new()),
            // RFC 4028 §7.4: the same description, and the same version of it.
            Means::Invite => {
                more.push(sdp_type());
                (INVITE, call.described.clone().into_bytes())
            }
        };
        let user = User::Within(key, Purpose::Refresh);
        self.request(now, key, method, (more, body), user);
    }

    fn refreshed(
        &mut self,
        now: Instant,
        key: CallKey,
        invite: Option<(&Outgoing, Flow)>,
        response: &Response,
    ) {
        let branch = self.chance.branch();
        let Some(call) = self.calls.get_mut(&key) else {
            // Hung up meanwhile; the 2xx must have its ACK all the same.
            if let Some((invite, flow)) = invite {
                let via = headers::Via::new(our_via(&flow, &branch)).into();
                self.post.transmit(flow, invite.ack_success(via).print());
            }
            return;
        };
        call.dialog.move_to(&response.headers);
        if let Some((invite, _)) = invite {
            // RFC 3261 §13.2.2.4: a copy gets its ACK too.
            let (ack, flow) = call.dialog.ack(invite.sequence(), &branch);
            self.post.transmit(flow, ack.print());
        }
        if call.refreshing.take().is_none() {
            return;
        }
        self.keep_alive(now, key, session::agreed(&response.headers));
        if invite.is_some() {
            let answer = Some(response.body.clone()).filter(|body| !body.is_empty());
            self.tell(key, Event::Confirmed { answer });
        }
    }

    fn not_refreshed(&mut self, now: Instant, key: CallKey, response: &Response) {
        // RFC 3261 §14.1: who did not choose the Call-ID tries again first.
        let wait = Duration::from_millis(u64::from(10 * self.chance.below(200)));
        let Some(call) = self.calls.get_mut(&key) else { return };
        let means = call.refreshing.take();
        let Some(session) = &mut call.session else { return };
        match response.code {
            408 | 481 => return self.expire(now, key),
            422 if session.lengthen(&response.headers) => session.postpone(Some(now)),
            405 | 501 if means == Some(Means::Update) && !call.described.is_empty() => {
                call.means = Means::Invite;
                session.postpone(Some(now));
            }
            491 => session.postpone(Some(now + wait)),
            // Whatever is wrong may pass before the session expires.
            _ => session.postpone(Some(now + BETWEEN + wait)),
        }
        self.look_at_session(now, key);
    }

    fn expire(&mut self, now: Instant, key: CallKey) {
        if self.calls.contains_key(&key) {
            self.hang_up(now, key, Some("SIP;cause=408;text=\"Session Expired\""));
            self.tell(key, Event::Lost);
        }
    }
}

/// How the other side wants to be refreshed: RFC 4028 §7.4.
pub(super) fn means(allow: &[&str]) -> Means {
    if allow.contains(&"UPDATE") { Means::Update } else { Means::Invite }
}

/// How soon to try again when something else is going on.
const BUSY: Duration = Duration::from_secs(1);
/// How soon to try again after a refresh was refused.
const BETWEEN: Duration = Duration::from_secs(10);
