//! Whose mailbox a call is for, who calls, and who must prove it; pure.
//!
//! Anybody may name a mailbox in the Request-URI: that is what an address is for. Diversion,
//! History-Info and `target` name one beside it, past whatever let the call through to us, so they
//! count only from peers and registrars that are trusted with it, and lead into no other
//! organization than theirs.

use std::net::IpAddr;

use crate::config::{Authenticate, Config, Network, Peer, Registration, Service, Sip, Srtp};
use crate::directory::Dialled;
use crate::mailbox::{CallerId, DEFAULT_CONTEXT, MailboxId};
use crate::sip::{Incoming, NameAddr, Party, Refer, Subscribing, Uri};

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

/// What an owner who dials a service's prefix wants to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Messages {
    /// Of the mailbox with this number.
    Of(String),
    /// Of the caller's own.
    Own,
    /// Of a mailbox that is asked for.
    Ask,
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

/// Whether a call is for somebody who wants to hear messages.
pub(super) fn messages(call: &Incoming, sip: &Sip) -> Option<Messages> {
    let user = &call.request_uri.user;
    let fitting = sip.prefixes.iter().filter_map(|(prefix, service)| {
        let rest = user.strip_prefix(prefix.as_str())?;
        let whole = match service {
            Service::Deposit => !rest.is_empty(),
            Service::Messages => true,
            Service::Own => rest.is_empty(),
        };
        whole.then_some((*service, rest))
    });
    match fitting.min_by_key(|(_, rest)| rest.len())? {
        (Service::Deposit, _) => None,
        (Service::Messages, "") => Some(Messages::Ask),
        (Service::Messages, number) => Some(Messages::Of(number.to_owned())),
        (Service::Own, _) => Some(Messages::Own),
    }
}

/// The organization of whoever calls a service.
pub(super) fn home(call: &Incoming, sip: &Sip, has_context: impl Fn(&str) -> bool) -> String {
    let own = match origin(call, sip) {
        Origin::Registrar(registration) => registration.context.as_deref(),
        Origin::Peer(peer) => peer.context.as_deref(),
        Origin::Stranger => None,
    };
    context(call, sip, has_context, own)
}

/// Whether the Request-URI itself names this mailbox: the call was not diverted to it.
pub(super) fn is_dialled(call: &Incoming, number: &str) -> bool {
    call.request_uri.user == number
        && call.diversion.is_empty()
        && call.history.is_empty()
        && call.target.is_none()
}

/// Whether whom the caller wanted was talking already: RFC 4458 `cause`, or Diversion's reason.
pub(super) fn is_busy(call: &Incoming) -> bool {
    call.cause == Some(486)
}

/// Whether the call comes from a peer that vouches for who calls, and may let owners in without a
/// PIN. Such a peer has proved itself by more than an address: `check-config` sees to that.
pub(super) fn may_skip_pin(call: &Incoming, sip: &Sip) -> bool {
    matches!(origin(call, sip), Origin::Peer(peer) if peer.skip_pin)
}

/// Who tries a PIN, so that wrong ones are counted for whoever enters them: behind a PBX that vouches
/// for its callers each of them, and not all for one.
pub(super) fn guesser(call: &Incoming, sip: &Sip) -> String {
    let address = call.source.ip();
    let vouched = match origin(call, sip) {
        Origin::Registrar(_) => true,
        Origin::Peer(peer) => peer.may_assert(),
        Origin::Stranger => false,
    };
    let number = caller(call, sip).number;
    if vouched && !number.is_empty() {
        format!("{number} by {address}")
    } else {
        address.to_string()
    }
}

pub(super) fn is_from_trusted(call: &Incoming, sip: &Sip) -> bool {
    match origin(call, sip) {
        Origin::Registrar(_) => true,
        Origin::Peer(peer) => peer.trusted,
        Origin::Stranger => false,
    }
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
    let deposits = prefixes.filter(|(_, service)| **service == Service::Deposit);
    let fitting = deposits
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
    of_host(&call.request_uri.host, sip, has_context)
        .unwrap_or_else(|| of_peer.unwrap_or(DEFAULT_CONTEXT).to_owned())
}

fn of_host(host: &str, sip: &Sip, has_context: impl Fn(&str) -> bool) -> Option<String> {
    let host = host.to_lowercase();
    sip.domains.get(&host).cloned().or_else(|| has_context(&host).then_some(host))
}

fn origin<'s>(call: &Incoming, sip: &'s Sip) -> Origin<'s> {
    if let Some(aor) = &call.registration {
        let is_it = |known: &&Registration| known.aor.parse::<Uri>().as_ref() == Ok(aor);
        if let Some(registration) = sip.registrations.iter().find(is_it) {
            return Origin::Registrar(registration);
        }
    }
    let marks = Marks {
        source: call.source.ip(),
        authenticated: call.authenticated.as_deref(),
        certificate: call.certificate.as_deref(),
    };
    peer_of(&marks, sip).map_or(Origin::Stranger, Origin::Peer)
}

/// What is proven of who speaks.
struct Marks<'m> {
    source: IpAddr,
    authenticated: Option<&'m str>,
    certificate: Option<&'m str>,
}

fn peer_of<'s>(marks: &Marks, sip: &'s Sip) -> Option<&'s Peer> {
    sip.peers.iter().find(|peer| fits(peer, marks))
}

/// In which organization a subscriber may ask for the state of mailboxes, if in any: only peers
/// that are trusted may, for it tells who has mail.
pub fn may_subscribe(
    who: &Subscribing,
    sip: &Sip,
    has_context: impl Fn(&str) -> bool,
) -> Option<String> {
    let marks = Marks {
        source: who.source.ip(),
        authenticated: who.authenticated.as_deref(),
        certificate: who.certificate.as_deref(),
    };
    let peer = peer_of(&marks, sip).filter(|peer| peer.trusted || peer.username.is_some())?;
    match &peer.context {
        Some(own) => Some(own.clone()),
        None => Some(
            of_host(&who.request_uri.host, sip, has_context)
                .unwrap_or_else(|| DEFAULT_CONTEXT.to_owned()),
        ),
    }
}

/// Whether somebody has all marks of a peer.
fn fits(peer: &Peer, marks: &Marks) -> bool {
    let Peer { address, certificate, username, .. } = peer;
    address.is_none_or(|address| address.contains(marks.source))
        && username.as_deref().is_none_or(|name| marks.authenticated == Some(name))
        && certificate.as_deref().is_none_or(|name| shows(marks.certificate, name))
}

/// Whether a name is one of those in a certificate.
fn shows(certificate: Option<&str>, name: &str) -> bool {
    certificate.unwrap_or("").split(' ').any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether calls from there must prove by a password who they are.
pub fn must_authenticate(source: IpAddr, certificate: Option<&str>, sip: &Sip) -> bool {
    let mut known = sip.peers.iter().filter(|peer| {
        (peer.address.is_some() || peer.certificate.is_some())
            && peer.address.is_none_or(|net| net.contains(source))
            && peer.certificate.as_deref().is_none_or(|name| shows(certificate, name))
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

/// Whether a call's audio may, or must, be protected: what its peer wants, else what all want.
pub(super) fn srtp(call: &Incoming, config: &Config) -> Srtp {
    match origin(call, &config.sip) {
        Origin::Peer(peer) => peer.srtp.unwrap_or(config.media.srtp),
        Origin::Registrar(_) | Origin::Stranger => config.media.srtp,
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
    named(party, call.privacy || call.from.is_anonymous())
}

/// Who calls after a transfer, if whoever says so is trusted.
pub(super) fn transferred(party: &Party, sip: &Sip) -> Option<CallerId> {
    is_trusted(party.source, sip).then(|| named(&party.name, party.privacy))
}

/// Where a REFER may let a call go on: with the trusted peer that sends it, and nowhere else, so
/// that nobody can make us call at our owner's expense.
pub(super) fn may_refer(refer: &Refer, sip: &Sip) -> Option<Network> {
    let peer = by_address(refer.source, sip)?;
    peer.address.filter(|_| peer.may_assert())
}

fn is_trusted(source: IpAddr, sip: &Sip) -> bool {
    by_address(source, sip).is_some_and(Peer::may_assert)
}

/// Only an address is known of who speaks within a call, so peers of which more is asked do not
/// count here.
fn by_address(source: IpAddr, sip: &Sip) -> Option<&Peer> {
    let by_address = |peer: &&Peer| {
        peer.username.is_none()
            && peer.certificate.is_none()
            && peer.address.is_some_and(|net| net.contains(source))
    };
    sip.peers.iter().find(by_address)
}

fn named(party: &NameAddr, privacy: bool) -> CallerId {
    if privacy || party.is_anonymous() {
        return CallerId::default();
    }
    let clean = |text| clean(text, 128);
    CallerId { number: clean(&party.uri.user), name: clean(display(party)), ext: String::new() }
}

fn display(party: &NameAddr) -> &str {
    party.display.as_deref().unwrap_or("")
}

/// What is kept of what a caller says: no control characters, and no more than anyone reads.
pub(super) fn clean(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::sip::Transport;

    /// `target`, `diversion`, `history`, `asserted`, `from`, `to`, `auth` and `registered` say
    /// what a call has.
    fn call(source: &str, uri: &str, says: &[(&str, &str)]) -> Incoming {
        let value = |key: &str| says.iter().find(|(known, _)| *known == key).map(|(_, v)| *v);
        let party = |key: &str| value(key).map(|text| text.parse::<NameAddr>().expect(text));
        Incoming {
            request_uri: uri.parse().expect(uri),
            from: party("from").unwrap_or_else(|| "<sip:+1555@x>".parse().expect("a name")),
            to: party("to").unwrap_or_else(|| "<sip:402@pbx>".parse().expect("a name")),
            asserted: party("asserted"),
            privacy: false,
            diversion: party("diversion").into_iter().collect(),
            history: party("history").into_iter().collect(),
            target: value("target").map(str::to_owned),
            cause: None,
            call_id: "1".to_owned(),
            source: format!("{source}:5060").parse().expect(source),
            transport: Transport::Udp,
            certificate: value("certificate").map(str::to_owned),
            authenticated: value("auth").map(str::to_owned),
            registration: value("registered").map(|aor| aor.parse().expect(aor)),
            local: "192.0.2.9".parse().expect("an address"),
            offer: None,
            replaces: None,
        }
    }

    fn rules(text: &str) -> Sip {
        config::parse(&format!("[sip]\n{text}")).expect("a configuration").sip
    }

    /// `number@context`, with a `*` where an outside number may lead elsewhere.
    fn found(call: &Incoming, sip: &Sip) -> String {
        let choices = dialled(call, sip, |context| context == "sales");
        let told = choices.iter().map(|choice| {
            let far = if choice.reach == Reach::Anywhere { "*" } else { "" };
            format!("{}@{}{far}", choice.dialled.user, choice.dialled.context)
        });
        told.collect::<Vec<_>>().join(" ")
    }

    const PEERS: &str = "[[sip.peers]]\naddress = '10.0.0.1'\n\
        [[sip.peers]]\naddress = '10.0.0.2'\ntrusted = true\n\
        [[sip.peers]]\naddress = '10.0.0.3'\ncontext = 'acme'\nmay_divert = true\n\
        [[sip.peers]]\naddress = '10.0.0.4'\nusername = 'box'\nsecret = 's'\ntrusted = true\n\
        [[sip.peers]]\naddress = '10.0.0.5'\ntrusted = true\nmay_assert = false\n";

    #[test]
    fn only_who_is_trusted_diverts_and_not_into_other_organizations() {
        let sip = rules(PEERS);
        let diverted: &[_] =
            &[("target", "sip:1@h"), ("diversion", "<sip:2@h>"), ("history", "<sip:3@h>")];
        let proven: Vec<_> = [diverted, &[("auth", "box")]].concat();
        let rows: [(&str, &str, &[_], &str); 9] = [
            // A stranger reaches what he dials, and no more.
            ("203.0.113.1", "sip:vm@h", diverted, "vm@default*"),
            ("203.0.113.1", "sip:1000@sales", diverted, "1000@sales*"),
            // A peer that is only known is a stranger with a context.
            ("10.0.0.1", "sip:vm@h", diverted, "vm@default*"),
            ("10.0.0.2", "sip:vm@h", diverted, "vm@default* 1@default* 2@default* 3@default*"),
            ("10.0.0.2", "sip:vm@sales", diverted, "vm@sales* 1@sales* 2@sales* 3@sales*"),
            ("10.0.0.3", "sip:vm@h", diverted, "vm@acme* 1@acme 2@acme 3@acme"),
            // The dialled host opens another organization to what was dialled, not to a diversion.
            ("10.0.0.3", "sip:vm@sales", diverted, "vm@sales* 1@acme 2@acme 3@acme"),
            // An address alone does not make a peer that has a password.
            ("10.0.0.4", "sip:vm@h", diverted, "vm@default*"),
            ("10.0.0.4", "sip:vm@h", &proven, "vm@default* 1@default* 2@default* 3@default*"),
        ];
        for (source, uri, says, expected) in rows {
            assert_eq!(found(&call(source, uri, says), &sip), expected, "{source} {uri}");
        }
    }

    #[test]
    fn calls_from_a_registrar_are_for_whom_it_says() {
        let text = "[[sip.registrations]]\naor = 'sip:300@pbx'\ncontext = 'acme'\n\
            [[sip.registrations]]\naor = 'sip:301@pbx'\nmailbox = '1000'\n";
        let sip = rules(text);
        let rows: [(&[_], &str); 4] = [
            (&[("registered", "sip:300@pbx")], "402@acme vm@acme"),
            (
                &[("registered", "sip:300@pbx"), ("diversion", "<sip:2@h>")],
                "2@acme 402@acme vm@acme",
            ),
            (&[("registered", "sip:301@pbx"), ("diversion", "<sip:2@h>")], "1000@default"),
            (&[("diversion", "<sip:2@h>")], "vm@default*"),
        ];
        for (says, expected) in rows {
            assert_eq!(found(&call("10.0.0.1", "sip:vm@h", says), &sip), expected, "{says:?}");
        }
    }

    #[test]
    fn who_calls_is_believed_of_those_who_may_say_so() {
        let sip = rules(PEERS);
        let says: &[_] = &[("asserted", "\"Ada\" <sip:+1777@x>")];
        let number = |source| caller(&call(source, "sip:vm@h", says), &sip).number;
        assert_eq!(number("203.0.113.1"), "+1555");
        assert_eq!(number("10.0.0.1"), "+1555");
        assert_eq!(number("10.0.0.2"), "+1777");
        assert_eq!(number("10.0.0.5"), "+1555");
        let hidden = call("10.0.0.2", "sip:vm@h", &[("from", "<sip:anonymous@anonymous.invalid>")]);
        assert_eq!(caller(&hidden, &sip), CallerId::default());
    }

    #[test]
    fn wrong_pins_behind_a_pbx_are_each_callers_own() {
        let sip = rules(PEERS);
        let says: &[_] = &[("asserted", "<sip:2001@x>")];
        let guesser = |source| guesser(&call(source, "sip:*98@h", says), &sip);
        assert_eq!(guesser("10.0.0.2"), "2001 by 10.0.0.2");
        // Whoever may call himself anything would begin anew with every name.
        for source in ["203.0.113.1", "10.0.0.1", "10.0.0.5"] {
            assert_eq!(guesser(source), source);
        }
        let hidden = &[("from", "<sip:anonymous@anonymous.invalid>")];
        assert_eq!(super::guesser(&call("10.0.0.2", "sip:*98@h", hidden), &sip), "10.0.0.2");
    }

    #[test]
    fn who_must_prove_who_he_is() {
        let asked = |mode: &str, source: &str| {
            let sip = rules(&format!("authenticate = '{mode}'\n{PEERS}"));
            must_authenticate(source.parse().expect(source), None, &sip)
        };
        // A peer by address, one with a password, a stranger.
        let asks = |mode| ["10.0.0.1", "10.0.0.4", "203.0.113.1"].map(|source| asked(mode, source));
        assert_eq!(asks("peers"), [false, true, false]);
        assert_eq!(asks("strangers"), [false, true, true]);
        assert_eq!(asks("all"), [true, true, true]);
        let text = "authenticate = 'strangers'\n[[sip.peers]]\ncertificate = 'pbx.example'\n";
        let sip = rules(text);
        let stranger = "203.0.113.1".parse().expect("an address");
        assert!(!must_authenticate(stranger, Some("a.example PBX.example"), &sip));
        assert!(must_authenticate(stranger, Some("pbx.example.org"), &sip));
        let shown = &[("certificate", "pbx.example")];
        assert!(is_welcome(&call("203.0.113.1", "sip:1@h", shown), &sip));
        let strict = rules(&format!("authenticate = 'strangers'\n{PEERS}"));
        let proven = &[("auth", "box")];
        assert!(is_welcome(&call("10.0.0.4", "sip:1@h", proven), &strict));
        assert!(!is_welcome(&call("203.0.113.1", "sip:1@h", proven), &strict));
    }

    #[test]
    fn peers_that_cannot_work_are_told() {
        for (text, why) in [
            ("[[sip.peers]]\ntrusted = true", "needs an address"),
            ("[[sip.peers]]\nusername = 'a'\nsecret = 's'", "strangers"),
            ("[[sip.peers]]\naddress = '10.0.0.1'\nusername = 'a'", "needs one of"),
            ("[[sip.peers]]\naddress = '10.0.0.1'\nsecret = 's'", "needs a username"),
            ("[[sip.peers]]\naddress = '10.0.0.1'\nusername = 'a:b'\nsecret = 's'", "no username"),
            ("[[sip.registrations]]\naor = '300@pbx'", "write sip:"),
            ("[[sip.registrations]]\naor = 'sip:3@p'\nexpires_seconds = 5", "60 to 86400"),
            ("realm = 'a\"b'", "without quotes"),
        ] {
            let told = config::parse(&format!("[sip]\n{text}")).expect_err(text);
            assert!(told.iter().any(|problem| problem.text.contains(why)), "{text}: {told:?}");
        }
    }

    #[test]
    fn what_a_caller_says_is_kept_short_and_printable() {
        assert_eq!(clean(" a\0\n\u{1b}[2J\u{85}b ", 256), "a[2Jb");
        assert_eq!(clean(&"\u{e9}".repeat(5_000), 256), "\u{e9}".repeat(256));
    }
}
