//! Whose mailbox a call is for, and who calls; pure.

use std::net::IpAddr;

use crate::config::{Peer, Service, Sip};
use crate::directory::Dialled;
use crate::mailbox::{CallerId, DEFAULT_CONTEXT};
use crate::sip::{Incoming, NameAddr, Party, Uri};

/// The mailboxes that a call may be for, most likely first.
///
/// The Request-URI says whom the caller reached; where a PBX diverts to one common number, what it
/// says of the diversion names the mailbox: RFC 4458 `target`, then Diversion (RFC 5806), then
/// History-Info (RFC 7044), of which the oldest is whom the caller dialled first.
pub(super) fn dialled(
    call: &Incoming,
    sip: &Sip,
    has_context: impl Fn(&str) -> bool,
) -> Vec<Dialled> {
    let context = context(call, sip, has_context);
    let host = call.request_uri.host.clone();
    let at = |user: &str, host: &str| Dialled {
        context: context.clone(),
        user: user.to_owned(),
        host: host.to_owned(),
    };
    let mut users = vec![at(&call.request_uri.user, &host)];
    if let Some((_, number)) = service(&call.request_uri.user, sip) {
        users.insert(0, at(number, &host));
    }
    if let Some(target) = &call.target {
        users.push(match target.parse::<Uri>() {
            Ok(uri) => at(&uri.user, &uri.host),
            Err(_) => at(target, &host),
        });
    }
    let diverted = call.diversion.iter().rev().chain(&call.history);
    users.extend(diverted.map(|party| at(&party.uri.user, &party.uri.host)));
    users.retain(|dialled| !dialled.user.is_empty());
    users
}

/// The service of the longest prefix that was dialled, and what was dialled after it.
fn service<'u>(user: &'u str, sip: &Sip) -> Option<(Service, &'u str)> {
    let prefixes = sip.prefixes.iter();
    let fitting = prefixes
        .filter_map(|(prefix, service)| Some((*service, user.strip_prefix(prefix.as_str())?)));
    fitting.filter(|(_, rest)| !rest.is_empty()).min_by_key(|(_, rest)| rest.len())
}

/// The organization: by the dialled host, then by the peer.
fn context(call: &Incoming, sip: &Sip, has_context: impl Fn(&str) -> bool) -> String {
    let host = call.request_uri.host.to_lowercase();
    if let Some(context) = sip.domains.get(&host) {
        return context.clone();
    }
    if has_context(&host) {
        return host;
    }
    peer(call.source.ip(), sip)
        .and_then(|peer| peer.context.clone())
        .unwrap_or_else(|| DEFAULT_CONTEXT.to_owned())
}

fn peer(address: IpAddr, sip: &Sip) -> Option<&Peer> {
    sip.peers.iter().find(|peer| peer.address.contains(address))
}

/// Who calls. P-Asserted-Identity counts only from a trusted peer (RFC 3325 §5); who wishes to be
/// unknown stays so.
pub(super) fn caller(call: &Incoming, sip: &Sip) -> CallerId {
    let trusted = is_trusted(call.source.ip(), sip);
    let party = call.asserted.as_ref().filter(|_| trusted).unwrap_or(&call.from);
    named(party, call.privacy || call.from.is_anonymous())
}

/// Who calls after a transfer, if whoever says so is trusted.
pub(super) fn transferred(party: &Party, sip: &Sip) -> Option<CallerId> {
    is_trusted(party.source, sip).then(|| named(&party.name, party.privacy))
}

fn is_trusted(address: IpAddr, sip: &Sip) -> bool {
    peer(address, sip).is_some_and(|peer| peer.trusted)
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

    #[test]
    fn what_a_caller_says_is_kept_short_and_printable() {
        assert_eq!(clean(" a\0\n\u{1b}[2J\u{85}b ", 256), "a[2Jb");
        assert_eq!(clean(&"\u{e9}".repeat(5_000), 256), "\u{e9}".repeat(256));
    }
}
