//! Whose mailbox a call is for, who calls, and who must prove it; pure.
//!
//! Anybody may name a mailbox in the Request-URI: that is what an address is for. Diversion,
//! History-Info and `target` name one beside it, past whatever let the call through to us, so they
//! count only from peers and registrars that are trusted with it, and lead into no other
//! organization than theirs.

use std::net::IpAddr;

use crate::config::{Authenticate, Peer, Registration, Service, Sip};
use crate::directory::Dialled;
use crate::mailbox::{CallerId, DEFAULT_CONTEXT, MailboxId};
use crate::sip::{Incoming, NameAddr, Uri};

/// A mailbox that a call may be for.
#[derive(Debug)]
pub(super) struct Choice {
    pub dialled: Dialled,
    reach: Reach,
}

/// How far a name may lead: an outside number or SIP address may belong to any organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Anywhere,
    Context,
}

impl Choice {
    pub fn permits(&self, found: &MailboxId) -> bool {
        match self.reach {
            Reach::Anywhere => true,
            Reach::Context => found.context() == self.dialled.context,
        }
    }
}

/// Where a call comes from, as far as that is proven.
enum Origin<'s> {
    Registrar(&'s Registration),
    Peer(&'s Peer),
    Stranger,
}

/// The mailboxes that a call may be for, most likely first.
///
/// The Request-URI says whom the caller reached; where a PBX diverts to one common number, what it
/// says of the diversion names the mailbox: RFC 4458 `target`, then Diversion (RFC 5806), then
/// History-Info (RFC 7044), of which the oldest is whom the caller dialled first.
pub(super) fn dialled(
    call: &Incoming,
    sip: &Sip,
    has_context: impl Fn(&str) -> bool,
) -> Vec<Choice> {
    let uri = &call.request_uri;
    let mut choices = match origin(call, sip) {
        Origin::Registrar(registration) => from_registrar(call, registration),
        Origin::Peer(peer) => {
            let context = context(call, sip, has_context, peer.context.as_deref());
            let mut choices = from_request_uri(uri, sip, &context);
            if peer.may_divert() {
                // The dialled host may have named another context; a diversion must not.
                let (context, reach) = match &peer.context {
                    Some(own) => (own.as_str(), Reach::Context),
                    None => (context.as_str(), Reach::Anywhere),
                };
                choices.extend(diverted(call, context, reach));
            }
            choices
        }
        Origin::Stranger => {
            let context = context(call, sip, has_context, None);
            from_request_uri(uri, sip, &context)
        }
    };
    choices.retain(|choice| !choice.dialled.user.is_empty());
    choices
}

fn from_request_uri(uri: &Uri, sip: &Sip, context: &str) -> Vec<Choice> {
    let plain = choice(context, &uri.user, &uri.host, Reach::Anywhere);
    let served = service(&uri.user, sip);
    let served = served.map(|(_, number)| choice(context, number, &uri.host, Reach::Anywhere));
    served.into_iter().chain([plain]).collect()
}

/// The Request-URI is our own contact and names nobody. A hosted PBX leaves whom the caller
/// dialled in To, or tells the diversion.
fn from_registrar(call: &Incoming, registration: &Registration) -> Vec<Choice> {
    let context = registration.context.as_deref().unwrap_or(DEFAULT_CONTEXT);
    if let Some(mailbox) = &registration.mailbox {
        return vec![choice(context, mailbox, "", Reach::Context)];
    }
    let mut choices = diverted(call, context, Reach::Context);
    for uri in [&call.to.uri, &call.request_uri] {
        choices.push(choice(context, &uri.user, &uri.host, Reach::Context));
    }
    choices
}

fn diverted(call: &Incoming, context: &str, reach: Reach) -> Vec<Choice> {
    let target = call.target.as_deref().map(|target| match target.parse::<Uri>() {
        Ok(uri) => choice(context, &uri.user, &uri.host, reach),
        Err(_) => choice(context, target, &call.request_uri.host, reach),
    });
    let parties = call.diversion.iter().rev().chain(&call.history);
    let parties = parties.map(|party| choice(context, &party.uri.user, &party.uri.host, reach));
    target.into_iter().chain(parties).collect()
}

fn choice(context: &str, user: &str, host: &str, reach: Reach) -> Choice {
    let (context, user, host) = (context.to_owned(), user.to_owned(), host.to_owned());
    Choice { dialled: Dialled { context, user, host }, reach }
}

/// The service of the longest prefix that was dialled, and what was dialled after it.
fn service<'u>(user: &'u str, sip: &Sip) -> Option<(Service, &'u str)> {
    let prefixes = sip.prefixes.iter();
    let fitting = prefixes
        .filter_map(|(prefix, service)| Some((*service, user.strip_prefix(prefix.as_str())?)));
    fitting.filter(|(_, rest)| !rest.is_empty()).min_by_key(|(_, rest)| rest.len())
}

/// The organization: by the dialled host, then by the peer.
fn context(
    call: &Incoming,
    sip: &Sip,
    has_context: impl Fn(&str) -> bool,
    of_peer: Option<&str>,
) -> String {
    let host = call.request_uri.host.to_lowercase();
    if let Some(context) = sip.domains.get(&host) {
        return context.clone();
    }
    if has_context(&host) {
        return host;
    }
    of_peer.unwrap_or(DEFAULT_CONTEXT).to_owned()
}

fn origin<'s>(call: &Incoming, sip: &'s Sip) -> Origin<'s> {
    if let Some(aor) = &call.registration {
        let is_it = |known: &&Registration| known.aor.parse::<Uri>().as_ref() == Ok(aor);
        if let Some(registration) = sip.registrations.iter().find(is_it) {
            return Origin::Registrar(registration);
        }
    }
    sip.peers.iter().find(|peer| fits(peer, call)).map_or(Origin::Stranger, Origin::Peer)
}

/// Whether a call has all marks of a peer.
fn fits(peer: &Peer, call: &Incoming) -> bool {
    let Peer { address, certificate, username, .. } = peer;
    address.is_none_or(|address| address.contains(call.source.ip()))
        && username.as_ref().is_none_or(|name| call.authenticated.as_ref() == Some(name))
        && certificate.as_deref().is_none_or(|name| shows(call, name))
}

/// Whether the other end of a call's connection has proved to own a name.
fn shows(_call: &Incoming, _name: &str) -> bool {
    false
}

/// Whether calls from there must prove by a password who they are.
pub fn must_authenticate(source: IpAddr, sip: &Sip) -> bool {
    let mut known = sip.peers.iter().filter(|peer| {
        peer.certificate.is_none() && peer.address.is_some_and(|net| net.contains(source))
    });
    match (sip.authenticate, known.next()) {
        (Authenticate::All, _) | (Authenticate::Strangers, None) => true,
        (Authenticate::Peers, None) => false,
        (Authenticate::Strangers | Authenticate::Peers, Some(peer)) => peer.username.is_some(),
    }
}

/// Whether a call may be taken at all: with the right password, but from a place where that peer
/// is not, it is nobody's.
pub(super) fn is_welcome(call: &Incoming, sip: &Sip) -> bool {
    match (sip.authenticate, origin(call, sip)) {
        (_, Origin::Registrar(_) | Origin::Peer(_)) | (Authenticate::Peers, _) => true,
        (Authenticate::Strangers | Authenticate::All, Origin::Stranger) => false,
    }
}

/// Who calls. P-Asserted-Identity counts only from whom we trust with it (RFC 3325 §5); who wishes
/// to be unknown stays so.
pub(super) fn caller(call: &Incoming, sip: &Sip) -> CallerId {
    let trusted = match origin(call, sip) {
        Origin::Registrar(_) => true,
        Origin::Peer(peer) => peer.may_assert(),
        Origin::Stranger => false,
    };
    let party = call.asserted.as_ref().filter(|_| trusted).unwrap_or(&call.from);
    if call.privacy || party.is_anonymous() || call.from.is_anonymous() {
        return CallerId::default();
    }
    CallerId { number: clean(&party.uri.user), name: clean(display(party)), ext: String::new() }
}

fn display(party: &NameAddr) -> &str {
    party.display.as_deref().unwrap_or("")
}

/// What is kept of a name or number: no control characters, and no more than anyone reads.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect::<String>().trim().to_owned()
}
