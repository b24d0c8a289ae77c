//! A certificate by ACME (RFC 8555): proven by HTTP-01 (§8.3), and ordered again before it ends.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Shown;

/// What is asked for, and of whom.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The authority's directory, a URL.
    pub directory: String,
    /// A certificate with the CA that signs the directory's own, where the system does not know it.
    pub directory_ca: Option<PathBuf>,
    /// Host names that the certificate is for.
    pub names: Vec<String>,
    /// A mail address.
    pub contact: Option<String>,
    /// The directory that account and certificate are kept in.
    pub place: PathBuf,
}

/// What the authority finds at `/.well-known/acme-challenge/` while it checks.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Mutex<HashMap<String, String>>>);

impl Challenges {
    pub fn answer(&self, token: &str) -> Option<String> {
        self.known().get(token).cloned()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the certificate that is shown from growing old.
pub struct Keeper {
    wish: Wish,
    challenges: Challenges,
    shown: Shown,
}

#[derive(Serialize, Deserialize)]
struct Member {
    directory: String,
    credentials: AccountCredentials,
}

/// How often it is asked whether the certificate is due.
const LOOK: Duration = Duration::from_secs(3600);
/// After a failure; doubled each time. An authority counts the failures of an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// How long the authority may take to check, and to sign.
const PATIENCE: Duration = Duration::from_secs(120);

impl Keeper {
    /// Shows what was kept; before the first certificate is there, one that we signed ourselves.
    pub fn open(wish: Wish, challenges: Challenges) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&wish.place)?;
        let path = certificate(&wish.place);
        let shown = Shown::read(&path, &path).or_else(|_| {
            let made =
                rcgen::generate_simple_self_signed(wish.names.clone()).map_err(io::Error::other)?;
            keep(&path, &(made.signing_key.serialize_pem() + &made.cert.pem()))?;
            Shown::read(&path, &path)
        })?;
        Ok(Self { wish, challenges, shown })
    }

    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Orders a certificate whenever it is due, for as long as the daemon runs.
    pub async fn run(self) {
        // Somebody else may have chosen one before: any will do.
        let _ = ring::default_provider().install_default();
        let path = certificate(&self.wish.place);
        let mut pause = FIRST_PAUSE;
        loop {
            let kept = fs::read_to_string(&path).unwrap_or_default();
            if !is_due(&kept, &self.wish.names, now()) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let names = self.wish.names.join(", ");
            let ordered = self.order().await;
            self.challenges.known().clear();
            match ordered.and_then(|pem| keep(&path, &pem).map_err(|e| Error::Other(e.into()))) {
                Ok(()) => {
                    info!("{} has signed a certificate for {names}", self.wish.directory);
                    self.shown.reload();
                    pause = FIRST_PAUSE;
                }
                Err(why) => {
                    let minutes = pause.as_secs() / 60;
                    warn!("no certificate for {names}: {why}; tried again in {minutes} minutes");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// A new key and its certificate with the chain, as one PEM.
    async fn order(&self) -> Result<String, Error> {
        let account = self.account().await?;
        let names: Vec<_> = self.wish.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // Else it was proven a while ago.
            if authorization.status == AuthorizationStatus::Pending {
                let challenge = authorization.challenge(ChallengeType::Http01);
                let mut challenge = challenge.ok_or(Error::Unsupported("HTTP-01"))?;
                let answer = challenge.key_authorization().as_str().to_owned();
                self.challenges.known().insert(challenge.token.clone(), answer);
                challenge.set_ready().await?;
            }
        }
        let retries = RetryPolicy::default().timeout(PATIENCE);
        if order.poll_ready(&retries).await? != OrderStatus::Ready {
            return Err(refusal(&mut order).await);
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&retries).await?;
        Ok(key + &chain)
    }

    async fn account(&self) -> Result<Account, Error> {
        let Wish { directory, directory_ca, contact, place, .. } = &self.wish;
        let builder = || match directory_ca {
            Some(path) => Account::builder_with_root(path),
            None => Account::builder(),
        };
        let path = place.join("account.json");
        let known = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(Member { credentials, .. }) =
            known.filter(|known: &Member| known.directory == *directory)
        {
            return builder()?.from_credentials(credentials).await;
        }
        let contact = contact.as_ref().map(|address| format!("mailto:{address}"));
        let new = NewAccount {
            contact: &contact.iter().map(String::as_str).collect::<Vec<_>>(),
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder()?.create(&new, directory.clone(), None).await?;
        let member = Member { directory: directory.clone(), credentials };
        keep(&path, &serde_json::to_string(&member)?).map_err(|why| Error::Other(why.into()))?;
        Ok(account)
    }
}

/// Why the authority did not believe us: it says so of each name.
async fn refusal(order: &mut instant_acme::Order) -> Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|one| one.error.clone()) {
            return Error::Api(problem);
        }
    }
    Error::Str("the authority did not say why it refuses")
}

/// Whether this PEM holds no certificate, our own stand-in, one for other names, or one of whose
/// time two thirds are over.
fn is_due(pem: &str, names: &[String], now: i64) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return true };
    let Ok((_, own)) = X509Certificate::from_der(&der) else { return true };
    let (from, end) = (own.validity().not_before.timestamp(), own.validity().not_after.timestamp());
    let told = own.subject_alternative_name().ok().flatten();
    let told = |name: &String| {
        let is_it = |one: &GeneralName| matches!(one, GeneralName::DNSName(dns) if *dns == name);
        told.as_ref().is_some_and(|told| told.value.general_names.iter().any(is_it))
    };
    own.issuer() == own.subject() || !names.iter().all(told) || now >= end - (end - from) / 3
}

fn certificate(place: &Path) -> PathBuf {
    place.join("certificate.pem")
}

/// Key and certificate change in one step.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_certificate_is_due_when_two_thirds_of_its_time_are_over() {
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let mut own = CertificateParams::new(vec![]).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap();
        let mut wish = CertificateParams::new(names.clone()).unwrap();
        wish.not_before = date_time_ymd(2026, 1, 1);
        wish.not_after = date_time_ymd(2026, 4, 1);
        let signed = wish.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap().pem();
        let begins = 1_767_225_600;
        assert!(!is_due(&signed, &names, begins));
        assert!(!is_due(&signed, &names[..1], begins + 59 * DAY));
        assert!(is_due(&signed, &names, begins + 60 * DAY));
        assert!(is_due(&signed, &["c.example".to_owned()], begins));
        assert!(is_due("", &names, begins));
        let stand_in = rcgen::generate_simple_self_signed(names.clone()).unwrap().cert.pem();
        assert!(is_due(&stand_in, &names, begins));
    }
}
