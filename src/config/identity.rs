//! Who may call, who is believed, and where we let ourselves be called.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Network, Sip, Srtp};
use crate::pii::Secret;

/// Whose calls must prove by a password who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authenticate {
    /// Those from the address of a peer that has a username.
    Peers,
    /// Also those from an address that no peer has.
    Strangers,
    /// All.
    All,
}

/// A PBX, proxy or trunk that we know: by address, certificate or password; by all that are given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    pub address: Option<Network>,
    /// A name in its TLS certificate.
    pub certificate: Option<String>,
    pub username: Option<String>,
    pub secret: Option<Secret>,
    /// A file that holds the secret and nothing else.
    pub secret_file: Option<PathBuf>,
    /// The context of calls from there, unless the dialled host names one.
    pub context: Option<String>,
    /// What it says is believed, unless the two below say otherwise.
    pub trusted: bool,
    /// Who calls: P-Asserted-Identity.
    pub may_assert: Option<bool>,
    /// Whom the caller meant: Diversion, History-Info, `target`.
    pub may_divert: Option<bool>,
    /// Whether its audio is protected; unset: as `media.srtp` says.
    pub srtp: Option<Srtp>,
    /// Who calls from there hears the own messages without a PIN.
    pub skip_pin: bool,
}

impl Peer {
    pub fn may_assert(&self) -> bool {
        self.may_assert.unwrap_or(self.trusted)
    }

    pub fn may_divert(&self) -> bool {
        self.may_divert.unwrap_or(self.trusted)
    }
}

/// A place that we register at, so that calls for us find us.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// `sip:300@pbx.example.com`: whom the registrar shall send us calls for.
    pub aor: String,
    /// `sip:pbx.example.com` or `sip:10.0.0.5:5070`; unset, the host of `aor`.
    #[serde(default)]
    pub registrar: Option<String>,
    /// Where to send REGISTER instead.
    #[serde(default)]
    pub proxy: Option<String>,
    #[serde(default)]
    pub transport: Option<String>,
    /// Unset, the user part of `aor`.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub secret: Option<Secret>,
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The only realm whose questions are answered; unset, the registrar's host.
    #[serde(default)]
    pub realm: Option<String>,
    #[serde(default = "an_hour")]
    pub expires_seconds: u32,
    /// The user part of our Contact; unset, that of `aor`.
    #[serde(default)]
    pub contact: Option<String>,
    #[serde(default)]
    pub context: Option<String>,
    /// Where all calls for the contact go; unset, whom they were diverted from or are to.
    #[serde(default)]
    pub mailbox: Option<String>,
}

fn an_hour() -> u32 {
    3600
}

/// What cannot work, each in a sentence that says what to do.
pub(super) fn problems(sip: &Sip) -> Vec<(&'static str, String)> {
    let peers = sip.peers.iter().filter_map(|peer| flaw_of_peer(peer, sip.authenticate));
    let registrations = sip.registrations.iter().filter_map(flaw_of_registration);
    let mut problems: Vec<_> = peers.map(|why| ("sip.peers", why)).collect();
    problems.extend(registrations.map(|why| ("sip.registrations", why)));
    if !is_plain(&sip.realm) {
        problems.push(("sip.realm", "is a name without quotes, colons and backslashes".into()));
    }
    if sip.digest.is_empty() {
        problems.push(("sip.digest", "names at least one algorithm".into()));
    }
    problems
}

/// What would break a quoted string or a sum: RFC 7616 §3.4 joins by colons.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_control() || "\":\\".contains(c))
}

/// Why a peer cannot work.
fn flaw_of_peer(peer: &Peer, authenticate: Authenticate) -> Option<String> {
    let Peer { address, certificate, username, secret, secret_file, .. } = peer;
    let secrets = usize::from(secret.is_some()) + usize::from(secret_file.is_some());
    if address.is_none() && certificate.is_none() && username.is_none() {
        return Some("a peer needs an address, a certificate or a username".into());
    }
    if peer.skip_pin && certificate.is_none() && username.is_none() {
        return Some(
            "skip_pin needs a certificate or a username: an address proves too little".into(),
        );
    }
    let Some(username) = username else {
        return (secrets > 0).then(|| "a secret needs a username".into());
    };
    let name = username.escape_debug();
    if !is_plain(username) {
        return Some(format!("`{name}` is no username: leave out quotes, colons and backslashes"));
    }
    if secrets != 1 {
        return Some(format!("`{name}` needs one of secret and secret_file"));
    }
    if address.is_none() && authenticate == Authenticate::Peers {
        return Some(format!(
            "`{name}` has no address, so nobody would ask for the password: set \
             sip.authenticate = \"strangers\""
        ));
    }
    None
}

/// Why a registration cannot work.
fn flaw_of_registration(registration: &Registration) -> Option<String> {
    let Registration { aor, secret, secret_file, expires_seconds, .. } = registration;
    let name = aor.escape_debug();
    if !aor.starts_with("sip:") || !aor.contains('@') {
        return Some(format!("aor is `{name}`: write sip:USER@HOST"));
    }
    if secret.is_some() && secret_file.is_some() {
        return Some(format!("{name} needs one of secret and secret_file, not both"));
    }
    if !(60..=86_400).contains(expires_seconds) {
        return Some(format!("expires_seconds of {name} is 60 to 86400"));
    }
    let names = [&registration.username, &registration.realm, &registration.contact];
    let odd = names.into_iter().flatten().find(|name| !is_plain(name))?;
    Some(format!("`{}` of {name}: leave out quotes, colons and backslashes", odd.escape_debug()))
}
