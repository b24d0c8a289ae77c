//! TLS: which certificate we show, whose we believe, and how both change while we run.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Switchboard, lock};
use crate::sip::{Certificates, Identity};

pub(super) struct Tls {
    files: Certificates,
    current: Mutex<Current>,
}

struct Current {
    loaded: Loaded,
    stamps: Vec<Stamp>,
}

/// What the files hold.
#[derive(Default)]
struct Loaded {
    acceptor: Option<TlsAcceptor>,
    web_acceptor: Option<TlsAcceptor>,
    /// Made when it is first needed, where it takes the system's roots, which are many.
    connector: Option<TlsConnector>,
}

/// By what a file is known to be the one that was read: its time, length and inode.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Tls {
    pub fn read(files: Certificates) -> io::Result<Self> {
        let stamps = stamps(&files);
        let loaded = load(&files)?;
        files.own.iter().for_each(tell_validity);
        Ok(Self { files, current: Mutex::new(Current { loaded, stamps }) })
    }

    pub fn acceptor(&self) -> io::Result<TlsAcceptor> {
        lock(&self.current).loaded.acceptor.clone().ok_or_else(no_certificate)
    }

    /// Asks for no certificate: a browser would ask its user which one.
    pub fn web_acceptor(&self) -> io::Result<TlsAcceptor> {
        lock(&self.current).loaded.web_acceptor.clone().ok_or_else(no_certificate)
    }

    pub async fn connector(&self) -> io::Result<TlsConnector> {
        if let Some(connector) = &lock(&self.current).loaded.connector {
            return Ok(connector.clone());
        }
        let files = self.files.clone();
        let made = tokio::task::spawn_blocking(move || connector(&files)).await;
        let made = made.map_err(io::Error::other)??;
        lock(&self.current).loaded.connector = Some(made.clone());
        Ok(made)
    }

    /// Reads the files again; what they held stays in use if they make no sense now.
    pub fn reload(&self) {
        let stamps = stamps(&self.files);
        let loaded = load(&self.files);
        let mut current = lock(&self.current);
        // Also of broken files, so that each is told once.
        current.stamps = stamps;
        match loaded {
            Ok(loaded) => {
                current.loaded = loaded;
                self.files.own.iter().for_each(tell_validity);
                info!("the certificates for TLS were read again");
            }
            Err(error) => warn!(%error, "keeps the certificates it had: {error}"),
        }
    }

    fn reload_if_changed(&self) {
        if stamps(&self.files) != lock(&self.current).stamps {
            self.reload();
        }
    }

    fn has_files(&self) -> bool {
        paths(&self.files).next().is_some()
    }
}

impl Certificates {
    /// Reads all files as for use, and says what is wrong with them.
    pub fn check(&self) -> io::Result<()> {
        load(self).map(drop)
    }
}

/// Looks from time to time whether the files have changed.
pub(super) async fn watch(board: Arc<Switchboard>) {
    while board.tls.has_files() {
        tokio::time::sleep(WATCH).await;
        let board = board.clone();
        let _ends_in_time =
            tokio::task::spawn_blocking(move || board.tls.reload_if_changed()).await;
    }
}

/// Whose certificate must be shown where we call.
pub(super) fn server_name(name: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(io::Error::other)
}

/// What a peer's certificate says of its owner: the domains of RFC 5922 §7.1, and addresses.
pub(super) fn names(chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
    let mut names: Vec<String> = match certificate.subject_alternative_name() {
        Ok(Some(others)) => others.value.general_names.iter().filter_map(alternative).collect(),
        Ok(None) => {
            let common = certificate.subject().iter_common_name();
            common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
        }
        Err(_) => return None,
    };
    // What is joined must come apart again as it was.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_*:".contains(&b);
    names.retain(|name| !name.is_empty() && name.bytes().all(plain));
    Some(names.join(" ").to_ascii_lowercase()).filter(|names| !names.is_empty())
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        // One with a user is a person's, not a domain's.
        GeneralName::URI(uri) => uri.strip_prefix("sip:").map(str::to_owned),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn load(files: &Certificates) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    if let Some(own) = &files.own {
        loaded.web_acceptor = Some(acceptor(own, None)?);
        loaded.acceptor = Some(acceptor(own, files.client_ca.as_deref())?);
    }
    if files.ca.is_some() {
        loaded.connector = Some(connector(files)?);
    }
    Ok(loaded)
}

fn acceptor(own: &Identity, client_ca: Option<&Path>) -> io::Result<TlsAcceptor> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| naming(ca, error))?)
        }
    };
    let (chain, key) = identity(own)?;
    let config = builder.with_single_cert(chain, key);
    Ok(Arc::new(config.map_err(|error| naming(&own.certificate, error))?).into())
}

fn connector(files: &Certificates) -> io::Result<TlsConnector> {
    let roots = match &files.ca {
        Some(ca) => roots(ca)?,
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let config = match &files.own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = identity(own)?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| naming(&own.certificate, error))?
        }
    };
    Ok(Arc::new(config).into())
}

fn identity(own: &Identity) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&own.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|error| naming(&own.key, error))?;
    Ok((chain, key))
}

fn roots(ca: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| naming(ca, error))?;
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        warn!("the system trusts no certificate authority; calls by TLS need tls_ca");
    }
    roots
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| naming(path, error))?;
    if read.is_empty() { Err(naming(path, "holds no certificate")) } else { Ok(read) }
}

/// One that has ended is shown all the same: some peers take it, and the others say why not.
fn tell_validity(own: &Identity) {
    let path = own.certificate.display();
    let Ok(chain) = certificates(&own.certificate) else { return };
    let read = chain.first().and_then(|first| X509Certificate::from_der(first).ok());
    let Some((_, certificate)) = read else { return };
    let end = certificate.validity().not_after;
    match certificate.validity().time_to_expiration() {
        None => warn!("the certificate {path} is not valid now; it ends {end}"),
        Some(left) if left.whole_seconds() < SOON => {
            warn!("the certificate {path} ends soon: {end}");
        }
        Some(_) => info!("the certificate {path} is valid until {end}"),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn no_certificate() -> io::Error {
    io::Error::other("no certificate of ours")
}

fn naming(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

fn paths(files: &Certificates) -> impl Iterator<Item = &Path> {
    let own = files.own.iter().flat_map(|own| [&own.certificate, &own.key]);
    own.chain(&files.client_ca).chain(&files.ca).map(AsRef::as_ref)
}

fn stamps(files: &Certificates) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let known = fs::metadata(path).ok()?;
        Some((known.mtime(), known.mtime_nsec(), known.len(), known.ino()))
    };
    paths(files).map(stamp).collect()
}

const WATCH: Duration = Duration::from_mins(1);
const SOON: i64 = 14 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::names as names_in;
    use super::*;

    #[test]
    fn files_are_read_again_when_they_change_and_kept_when_they_break() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str| dir.path().join(name);
        let own = Identity { certificate: place("cert.pem"), key: place("key.pem") };
        let renew = || {
            let made = rcgen::generate_simple_self_signed(["here.example".to_owned()]);
            let made = made.expect("a certificate");
            for (path, text) in
                [(&own.certificate, made.cert.pem()), (&own.key, made.signing_key.serialize_pem())]
            {
                fs::write(place("new"), text).expect("written");
                fs::rename(place("new"), path).expect("renamed");
            }
        };
        renew();
        let files = Certificates { own: Some(own.clone()), ..Certificates::default() };
        let tls = Tls::read(files).expect("certificates");
        let shown = || Arc::as_ptr(tls.acceptor().expect("an acceptor").config());
        let first = shown();
        tls.reload_if_changed();
        assert_eq!(shown(), first);
        renew();
        tls.reload_if_changed();
        let second = shown();
        assert_ne!(second, first);
        fs::remove_file(&own.key).expect("removed");
        tls.reload_if_changed();
        assert_eq!(shown(), second);
        assert!(tls.files.check().is_err());
    }

    #[test]
    fn names_of_a_certificate() {
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(names).expect("names");
            params.distinguished_name.push(rcgen::DnType::CommonName, "Common.Example");
            let made = params.self_signed(&key).expect("a certificate");
            names_in(Some(&[made.der().clone()]))
        };
        assert_eq!(named(&["A.Example", "::1"]).as_deref(), Some("a.example ::1"));
        // RFC 5922 §7.1: the common name counts only where nothing else is said.
        assert_eq!(named(&[]).as_deref(), Some("common.example"));
        assert_eq!(names_in(None), None);
    }
}
