//! Who we are to others and they to us, from the configuration to what SIP wants to know.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::call;
use crate::config::{self, Config};
use crate::pii::Secret;
use crate::sip::{Account, Algorithm, Authentication, Credentials, Demand, Registration, Uri};

/// What we ask callers, and the secrets that prove their answers.
pub(super) fn authentication(config: &Config) -> anyhow::Result<Authentication> {
    let mut accounts = vec![];
    for peer in &config.sip.peers {
        let Some(username) = peer.username.clone() else { continue };
        let secret = secret(peer.secret.as_ref(), peer.secret_file.as_deref())?;
        let secret = secret.with_context(|| format!("sip.peers: {username} has no secret"))?;
        accounts.push(Account { username, secret });
    }
    let mut algorithms = vec![];
    for name in &config.sip.digest {
        let algorithm = Algorithm::read(name);
        algorithms.push(algorithm.with_context(|| {
            format!("sip.digest: `{}` is none of SHA-512-256, SHA-256, MD5", name.escape_debug())
        })?);
    }
    let rules = config.sip.clone();
    let demand = Demand::new(move |source, certificate| {
        call::must_authenticate(source, certificate, &rules)
    });
    Ok(Authentication { realm: config.sip.realm.clone(), algorithms, accounts, demand })
}

pub(super) fn registrations(config: &Config) -> anyhow::Result<Vec<Registration>> {
    let wanted = config.sip.registrations.iter();
    wanted
        .map(|one| registration(one).with_context(|| format!("sip.registrations: {}", one.aor)))
        .collect()
}

fn registration(wanted: &config::Registration) -> anyhow::Result<Registration> {
    let aor = uri(&wanted.aor)?;
    let mut registrar = match &wanted.registrar {
        Some(registrar) => uri(registrar)?,
        None => Uri::sip("", &aor.host, aor.port),
    };
    let mut proxy = wanted.proxy.as_deref().map(uri).transpose()?;
    if let Some(transport) = &wanted.transport {
        let nearest = proxy.as_mut().unwrap_or(&mut registrar);
        nearest.params.set("transport", Some(transport.clone()));
    }
    let secret = secret(wanted.secret.as_ref(), wanted.secret_file.as_deref())?;
    let username = wanted.username.clone().unwrap_or_else(|| aor.user.clone());
    let realm = wanted.realm.clone();
    Ok(Registration {
        contact: wanted.contact.clone().unwrap_or_else(|| aor.user.clone()),
        credentials: secret.map(|secret| Credentials { username, secret, realm }),
        expires: Duration::from_secs(wanted.expires_seconds.into()),
        aor,
        registrar,
        proxy,
    })
}

fn uri(text: &str) -> anyhow::Result<Uri> {
    text.parse().with_context(|| format!("`{}` is no SIP address", text.escape_debug()))
}

fn secret(given: Option<&Secret>, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    match file {
        Some(file) => read_secret(file).map(Some),
        None => Ok(given.cloned()),
    }
}

/// A file that holds a secret and nothing else; the line end that editors add is none of it.
pub fn read_secret(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the secret in {}", file.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(['\r', '\n']) {
        bail!("{} holds no secret: write it on one line", file.display());
    }
    Ok(Secret::new(secret))
}
