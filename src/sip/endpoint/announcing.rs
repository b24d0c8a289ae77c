//! NOTIFY to whom nobody subscribed: the lamp of a telephone or PBX that is configured here, out of
//! any dialog. RFC 3842 does not know it; nearly every PBX does.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::placing::refusal;
use super::subscribing::said;
use super::{Endpoint, Output, contact};
use crate::sip::dialog::our_via;
use crate::sip::digest::Answering;
use crate::sip::identity::Credentials;
use crate::sip::message::{NOTIFY, Outgoing, Response};
use crate::sip::name_addr::NameAddr;
use crate::sip::transactions::User;
use crate::sip::uri::Uri;
use crate::sip::{Flow, Refusal};

/// One NOTIFY, until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnouncementKey(pub(in crate::sip) u64);

/// What to tell, and how.
#[derive(Debug, Clone)]
pub struct Announcement {
    pub target: Uri,
    pub from: NameAddr,
    /// Subscription-State: `terminated`, or what a particular telephone wants to read.
    pub state: String,
    pub body: String,
    pub credentials: Option<Credentials>,
}

#[derive(Debug)]
pub(in crate::sip) struct Announcing {
    request: Outgoing,
    flow: Flow,
    answering: Option<Answering>,
}

impl Endpoint {
    pub fn announce(
        &mut self,
        now: Instant,
        flow: Flow,
        announcement: Announcement,
    ) -> Result<AnnouncementKey, Refusal> {
        if self.transactions.len() >= self.limits.transactions {
            return Err(refusal(503, None));
        }
        let Announcement { target, mut from, state, body, credentials } = announcement;
        self.last_announcement += 1;
        let key = AnnouncementKey(self.last_announcement);
        let branch = self.chance.branch();
        from.params.set("tag", Some(self.chance.token()));
        let to = target.to_string();
        let mut sent: Vec<Header> = vec![
            headers::Via::new(our_via(&flow, &branch)).into(),
            headers::MaxForwards::new("70").into(),
            headers::From::new(from.to_string()).into(),
            headers::To::new(format!("<{to}>")).into(),
            headers::CallId::new(self.chance.token()).into(),
            headers::CSeq::new("1 NOTIFY").into(),
            contact(&flow, &target.scheme),
        ];
        sent.extend(said(None, &state));
        sent.extend(self.user_agent());
        let answering = credentials.map(|known| Answering::new(known, &target.host));
        let request =
            Outgoing { method: NOTIFY, target: to, headers: sent, body: body.into_bytes() };
        let (user, post) = (User::Announcement(key), &mut self.post);
        self.transactions.open_client(now, request.clone(), &branch, flow, user, post);
        self.announcements.insert(key, Announcing { request, flow, answering });
        Ok(key)
    }

    pub(super) fn hear_announced(
        &mut self,
        now: Instant,
        key: AnnouncementKey,
        response: &Response,
    ) {
        match response.code {
            ..200 => {}
            200..300 => self.announced(key, Ok(())),
            401 | 407 if self.prove(now, key, response) => {}
            code => self.announced(key, Err(refusal(code, Some(response)))),
        }
    }

    pub(super) fn announcement_lost(&mut self, key: AnnouncementKey) {
        self.announced(key, Err(refusal(408, None)));
    }

    fn announced(&mut self, key: AnnouncementKey, outcome: Result<(), Refusal>) {
        if self.announcements.remove(&key).is_some() {
            self.post.outputs.push_back(Output::Announced(key, outcome));
        }
    }

    /// RFC 3261 §22.2: once more, with credentials; false if there is no more to say.
    fn prove(&mut self, now: Instant, key: AnnouncementKey, response: &Response) -> bool {
        let Some(announcing) = self.announcements.get_mut(&key) else { return false };
        let Some(answering) = &mut announcing.answering else { return false };
        if answering.hear(response).is_err() {
            return false;
        }
        let Outgoing { method, target, body, .. } = &announcing.request;
        let proof = answering.headers(&mut self.chance, method, target, body);
        let branch = self.chance.branch();
        let number = response.identity.sequence.saturating_add(1);
        let again = announcing.request.again(&our_via(&announcing.flow, &branch), number, proof);
        let (user, post) = (User::Announcement(key), &mut self.post);
        self.transactions.open_client(now, again, &branch, announcing.flow, user, post);
        true
    }
}
