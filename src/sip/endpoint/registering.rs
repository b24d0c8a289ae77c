//! Keeping us registered: what an [`Enrolment`] decides is done here.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::abilities::allow;
use super::{Endpoint, Output, Owner};
use crate::sip::dialog::our_via;
use crate::sip::message::{Outgoing, REGISTER, Response};
use crate::sip::registration::{Enrolment, Registration, RegistrationKey, Step};
use crate::sip::timer::{Armed, Timer};
use crate::sip::transactions::User;
use crate::sip::uri::Uri;
use crate::sip::{Flow, Transport};

impl Endpoint {
    /// Registers, and stays so until [`Endpoint::unregister`].
    pub fn register(&mut self, now: Instant, wanted: Registration) -> RegistrationKey {
        let last = self.registrations.keys().next_back().map_or(0, |key| key.0);
        let key = RegistrationKey(last + 1);
        let mut enrolment = Enrolment::new(wanted, &mut self.chance);
        let step = enrolment.seek();
        self.registrations.insert(key, enrolment);
        self.take_step(now, key, step);
        key
    }

    /// Answers [`Output::Locate`]: the ways to try, best first; none if nothing was found.
    pub fn located(&mut self, now: Instant, key: RegistrationKey, targets: Vec<Flow>) {
        self.step(now, key, |enrolment, chance| enrolment.located(targets, chance));
    }

    /// Gives all registrations back: RFC 3261 §10.2.2.
    pub fn unregister(&mut self, now: Instant) {
        for key in self.registrations.keys().copied().collect::<Vec<_>>() {
            self.step(now, key, |enrolment, chance| {
                enrolment.armed = Armed::default();
                enrolment.leave(now, chance)
            });
        }
    }

    /// How many have not ended.
    pub fn registrations(&self) -> usize {
        self.registrations.len()
    }

    pub(super) fn hear_registrar(
        &mut self,
        now: Instant,
        key: RegistrationKey,
        response: &Response,
    ) {
        self.step(now, key, |enrolment, chance| enrolment.heard(now, response, chance));
    }

    pub(super) fn registrar_silent(&mut self, now: Instant, key: RegistrationKey) {
        self.step(now, key, Enrolment::silent);
    }

    /// RFC 5626 §4.5: a registrar that reaches us over a connection loses us with it.
    pub(super) fn flow_lost(&mut self, now: Instant, flow: &Flow) {
        let lost = |bound: Flow| {
            bound.transport == flow.transport
                && bound.remote == flow.remote
                && bound.transport.is_reliable()
        };
        for (key, enrolment) in &mut self.registrations {
            if enrolment.bound(now).is_some_and(lost) {
                let at = now + self.chance.between(SOON, 5 * SOON);
                enrolment.armed.set(Timer::Refresh, at);
                self.post.agenda.note(at, Timer::Refresh, Owner::Registration(*key));
            }
        }
    }

    pub(super) fn fire_registration(
        &mut self,
        now: Instant,
        key: RegistrationKey,
        timer: Timer,
        at: Instant,
    ) {
        let Some(enrolment) = self.registrations.get_mut(&key) else { return };
        if !enrolment.armed.take(timer, at) {
            return;
        }
        if timer != Timer::KeepAlive {
            return self.step(now, key, |enrolment, _| enrolment.seek());
        }
        if let Some(flow) = enrolment.bound(now) {
            self.post.transmit(flow, PING.into());
            self.keep_open(now, key);
        }
    }

    /// The registration whose contact a call came for. Only the registrar itself is believed:
    /// anyone may know, or guess, what we are called there.
    pub(super) fn registered_as(
        &self,
        now: Instant,
        request_uri: &Uri,
        source: IpAddr,
    ) -> Option<Uri> {
        let fitting = |enrolment: &&Enrolment| {
            enrolment.wanted.contact == request_uri.user
                && enrolment.bound(now).is_some_and(|flow| flow.remote.ip() == source)
        };
        self.registrations.values().find(fitting).map(|enrolment| enrolment.wanted.aor.clone())
    }

    fn step(
        &mut self,
        now: Instant,
        key: RegistrationKey,
        act: impl FnOnce(&mut Enrolment, &mut crate::sip::chance::Chance) -> Step,
    ) {
        let Some(enrolment) = self.registrations.get_mut(&key) else { return };
        let step = act(enrolment, &mut self.chance);
        self.take_step(now, key, step);
    }

    fn take_step(&mut self, now: Instant, key: RegistrationKey, step: Step) {
        match step {
            Step::Locate(uri) => self.post.outputs.push_back(Output::Locate(key, uri)),
            Step::Ask(flow) => self.send_register(now, key, flow),
            Step::Rest(wait, standing) => {
                let Some(enrolment) = self.registrations.get_mut(&key) else { return };
                let at = now + wait;
                enrolment.armed.set(Timer::Refresh, at);
                self.post.agenda.note(at, Timer::Refresh, Owner::Registration(key));
                self.post.outputs.push_back(Output::Registration(key, standing));
                self.keep_open(now, key);
            }
            Step::Wait => {}
            Step::End(standing) => {
                self.registrations.remove(&key);
                self.post.outputs.push_back(Output::Registration(key, standing));
            }
        }
    }

    /// RFC 5626 §4.4: a translator forgets a datagram's way within half a minute, a connection's
    /// within some.
    fn keep_open(&mut self, now: Instant, key: RegistrationKey) {
        let Some(enrolment) = self.registrations.get_mut(&key) else { return };
        let Some(flow) = enrolment.bound(now) else {
            return enrolment.armed.stop(Timer::KeepAlive);
        };
        let (least, most) = match flow.transport {
            Transport::Udp => (24, 29),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => (95, 120),
        };
        let wait = self.chance.between(Duration::from_secs(least), Duration::from_secs(most));
        enrolment.armed.set(Timer::KeepAlive, now + wait);
        self.post.agenda.note(now + wait, Timer::KeepAlive, Owner::Registration(key));
    }

    /// RFC 3261 §10.2.
    fn send_register(&mut self, now: Instant, key: RegistrationKey, flow: Flow) {
        let user_agent = self.user_agent();
        let branch = self.chance.branch();
        let Some(enrolment) = self.registrations.get_mut(&key) else { return };
        enrolment.sequence += 1;
        let Registration { aor, contact, proxy, .. } = &enrolment.wanted;
        let target = enrolment.registrar().to_string();
        let mut here = Uri::sip(contact, "", None);
        here.host = match flow.local.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        here.port = Some(flow.local.port());
        if flow.transport != Transport::Udp {
            let name = flow.transport.name().to_ascii_lowercase();
            here.params.set("transport", Some(name));
        }
        let mut sent: Vec<Header> = vec![
            headers::Via::new(our_via(&flow, &branch)).into(),
            headers::MaxForwards::new("70").into(),
        ];
        if let Some(proxy) = proxy {
            let mut proxy = proxy.clone();
            proxy.params.set("lr", None);
            sent.push(headers::Route::new(format!("<{proxy}>")).into());
        }
        sent.extend([
            headers::From::new(format!("<{aor}>;tag={}", enrolment.tag)).into(),
            headers::To::new(format!("<{aor}>")).into(),
            headers::CallId::new(&*enrolment.call_id).into(),
            headers::CSeq::new(format!("{} REGISTER", enrolment.sequence)).into(),
            headers::Contact::new(format!("<{here}>")).into(),
            headers::Expires::new(enrolment.expires().as_secs().to_string()).into(),
            allow(),
        ]);
        sent.extend(user_agent);
        if let Some(answering) = &mut enrolment.answering {
            sent.extend(answering.headers(&mut self.chance, &REGISTER, &target, b""));
        }
        let request = Outgoing { method: REGISTER, target, headers: sent, body: Vec::new() };
        let (user, post) = (User::Registration(key), &mut self.post);
        self.transactions.open_client(now, request, &branch, flow, user, post);
    }
}

/// RFC 5626 §3.5.1.
const PING: &[u8] = b"\r\n\r\n";
const SOON: Duration = Duration::from_secs(1);
