//! Calls that we place: RFC 3261 §13.2, §9.1.

use std::time::{Duration, Instant};

use rsip::Header;

use super::abilities::abilities_of_a_caller;
use super::refreshing::means;
use super::{CallKey, Endpoint, Output, contact, sdp_type};
use crate::sip::dialog::{Dialog, Opening, our_via};
use crate::sip::digest::Answering;
use crate::sip::identity::Credentials;
use crate::sip::invite::{Call, Phase, Placing, Wish};
use crate::sip::message::{BYE, Outgoing, Response, every, first, reason};
use crate::sip::name_addr::NameAddr;
use crate::sip::session;
use crate::sip::text::list;
use crate::sip::transaction::Input;
use crate::sip::transactions::{TransactionKey, User};
use crate::sip::uri::Uri;
use crate::sip::via::Via;
use crate::sip::{Flow, Refusal};

impl Endpoint {
    /// Sends an INVITE with an offer.
    pub fn call(
        &mut self,
        now: Instant,
        flow: Flow,
        target: &Uri,
        from: &NameAddr,
        offer: String,
    ) -> Result<CallKey, Refusal> {
        self.call_as(now, flow, target, from, offer, None)
    }

    /// The same, with an answer to whoever asks who we are.
    pub fn call_as(
        &mut self,
        now: Instant,
        flow: Flow,
        target: &Uri,
        from: &NameAddr,
        offer: String,
        credentials: Option<Credentials>,
    ) -> Result<CallKey, Refusal> {
        if !self.has_room() {
            return Err(refusal(503, None));
        }
        let key = self.new_key();
        let transaction = self.place(now, key, flow, target, (from, offer), Vec::new());
        let answering = credentials.map(|known| Answering::new(known, &target.host));
        self.placings.insert(key, Placing { answering, ..Placing::new(transaction) });
        Ok(key)
    }

    /// Whether there may be one more call of ours.
    pub(super) fn has_room(&self) -> bool {
        self.transactions.len() < self.limits.transactions && self.calls() < self.limits.calls
    }

    /// Sends an INVITE, with more headers.
    pub(super) fn place(
        &mut self,
        now: Instant,
        key: CallKey,
        flow: Flow,
        target: &Uri,
        (from, offer): (&NameAddr, String),
        more: Vec<Header>,
    ) -> TransactionKey {
        let branch = self.chance.branch();
        let opening = Opening {
            target,
            from,
            contact: contact(&flow, &target.scheme),
            call_id: self.chance.token(),
            tag: self.chance.token(),
            branch: &branch,
            flow,
        };
        let mut headers = more;
        headers.extend(self.user_agent());
        headers.extend(abilities_of_a_caller());
        headers.push(sdp_type());
        let invite = opening.invite(headers, offer.into_bytes());
        let (user, post) = (User::Call(key), &mut self.post);
        self.transactions.open_client(now, invite, &branch, flow, user, post)
    }

    /// Ends a call that has not been taken yet.
    pub fn give_up(&mut self, now: Instant, key: CallKey) {
        let Some(placing) = self.placings.get_mut(&key) else { return };
        match placing.wish {
            Wish::Calling => placing.wish = Wish::GiveUp,
            Wish::Ringing => self.cancel(now, key),
            Wish::GiveUp | Wish::Cancelled => {}
        }
    }

    fn cancel(&mut self, now: Instant, key: CallKey) {
        let Some(placing) = self.placings.get_mut(&key) else { return };
        placing.wish = Wish::Cancelled;
        let Some((invite, flow)) = self.transactions.outgoing(placing.transaction) else { return };
        let (cancel, id) = (invite.cancel(), placing.transaction);
        // RFC 3261 §9.1: a CANCEL has the branch of what it cancels.
        let branch = first!(cancel.headers, Via).and_then(Via::read);
        let branch = branch.and_then(|via| via.branch().map(str::to_owned)).unwrap_or_default();
        let post = &mut self.post;
        self.transactions.open_client(now, cancel, &branch, flow, User::Nobody, post);
        self.transactions.step(now, id, Input::Cancel, None, post);
    }

    pub(super) fn hear_response(
        &mut self,
        now: Instant,
        key: CallKey,
        invite: &Outgoing,
        flow: Flow,
        response: &Response,
    ) {
        match response.code {
            ..200 => self.hear_provisional(now, key, response),
            200..300 => self.hear_success(now, key, invite, flow, response),
            401 | 407 if self.answer_challenge(now, key, invite, flow, response) => {}
            300.. => {
                self.not_taken(now, key, refusal(response.code, Some(response)));
            }
        }
    }

    /// RFC 3261 §22.2: the INVITE once more, with credentials; false if there is no more to say.
    fn answer_challenge(
        &mut self,
        now: Instant,
        key: CallKey,
        invite: &Outgoing,
        flow: Flow,
        response: &Response,
    ) -> bool {
        let Some(placing) = self.placings.get_mut(&key) else { return false };
        let wanted = matches!(placing.wish, Wish::Calling | Wish::Ringing);
        let Some(answering) = placing.answering.as_mut().filter(|_| wanted) else { return false };
        if let Err(why) = answering.hear(response) {
            let refusal = Refusal { reason: why.to_string(), ..refusal(response.code, None) };
            self.not_taken(now, key, refusal);
            return true;
        }
        let Outgoing { method, target, body, .. } = invite;
        let proof = answering.headers(&mut self.chance, method, target, body);
        let branch = self.chance.branch();
        let number = invite.sequence().saturating_add(1);
        let again = invite.again(&our_via(&flow, &branch), number, proof);
        placing.wish = Wish::Calling;
        let (user, post) = (User::Call(key), &mut self.post);
        placing.transaction = self.transactions.open_client(now, again, &branch, flow, user, post);
        true
    }

    fn hear_provisional(&mut self, now: Instant, key: CallKey, response: &Response) {
        let Some(placing) = self.placings.get_mut(&key) else { return };
        let on_behalf_of = placing.on_behalf_of;
        match placing.wish {
            Wish::Calling => placing.wish = Wish::Ringing,
            Wish::GiveUp => self.cancel(now, key),
            Wish::Ringing | Wish::Cancelled => {}
        }
        if let Some(first) = on_behalf_of {
            self.transfer_rings(now, first, response);
        }
    }

    /// RFC 3261 §13.2.2.4: every 2xx gets its ACK, also a copy, also one that nobody wants.
    fn hear_success(
        &mut self,
        now: Instant,
        key: CallKey,
        invite: &Outgoing,
        flow: Flow,
        response: &Response,
    ) {
        let mut dialog = Dialog::as_client(invite, response, flow);
        let branch = self.chance.branch();
        let (ack, to) = dialog.ack(invite.sequence(), &branch);
        self.post.transmit(to, ack.print());

        // By our tag: a call may have gone on under the key of another.
        let known = self.dialogs.get(&dialog.local_tag).and_then(|key| self.calls.get(key));
        if known.is_some_and(|call| call.dialog.remote_tag == dialog.remote_tag) {
            return;
        }
        let placing = self.placings.remove(&key);
        let first = placing.as_ref().and_then(|placing| placing.on_behalf_of);
        match placing.map(|placing| placing.wish) {
            Some(Wish::Calling | Wish::Ringing) => {
                self.dialogs.insert(dialog.local_tag.clone(), key);
                let allowed: Vec<&str> = every!(response.headers, Allow).flat_map(list).collect();
                let mut call = Call::new(dialog, Phase::Up, means(&allowed));
                call.described = String::from_utf8_lossy(&invite.body).into_owned();
                self.calls.insert(key, Box::new(call));
                self.keep_alive(now, key, session::agreed(&response.headers));
                match first {
                    None => self.post.outputs.push_back(Output::Taken(key, response.body.clone())),
                    Some(first) if self.transfer_reached(first, key, response) => {}
                    Some(_) => self.hang_up(now, key, None),
                }
            }
            // Too late to cancel, or another branch of a fork, or hung up already.
            Some(Wish::GiveUp | Wish::Cancelled) | None => {
                let branch = self.chance.branch();
                let (bye, to) = dialog.request(BYE, &branch);
                let post = &mut self.post;
                self.transactions.open_client(now, bye, &branch, to, User::Nobody, post);
            }
        }
    }

    /// RFC 3261 §8.1.3.1: silence counts as 408.
    pub(super) fn placing_failed(&mut self, now: Instant, key: CallKey) {
        self.not_taken(now, key, refusal(408, None));
    }

    fn not_taken(&mut self, now: Instant, key: CallKey, refusal: Refusal) {
        let Some(placing) = self.placings.remove(&key) else { return };
        match (placing.wish, placing.on_behalf_of) {
            (Wish::Calling | Wish::Ringing, None) => {
                self.post.outputs.push_back(Output::Refused(key, refusal));
            }
            (Wish::Calling | Wish::Ringing, Some(first)) => {
                self.transfer_failed(now, first, refusal.code, &refusal.reason);
            }
            (Wish::GiveUp | Wish::Cancelled, _) => {}
        }
    }
}

pub(super) fn refusal(code: u16, response: Option<&Response>) -> Refusal {
    let given = response.map(|response| response.reason.clone());
    let wait = response.and_then(|response| first!(response.headers, RetryAfter));
    let seconds = wait.and_then(|value| value.split([' ', ';', '(']).next()?.parse().ok());
    Refusal {
        code,
        reason: given.unwrap_or_else(|| reason(code).to_owned()),
        retry_after: seconds.map(Duration::from_secs),
    }
}
