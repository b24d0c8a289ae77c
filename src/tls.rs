//! The certificate that we show to those who connect by HTTPS: read from its files, and read again
//! when they change.

pub mod acme;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

/// Cheap to clone: all listeners show the same.
#[derive(Clone)]
pub struct Shown(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    stamps: [Stamp; 2],
}

/// By what a file is known to be the one that was read: its time, length and inode.
type Stamp = Option<(i64, i64, u64, u64)>;

const WATCH: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Shown {
    /// PEM files: the certificate with its chain, and its key.
    pub fn read(certificate: &Path, key: &Path) -> io::Result<Self> {
        let current = Current {
            stamps: [stamp(certificate), stamp(key)],
            acceptor: acceptor(certificate, key)?,
        };
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self(Arc::new(Inner { certificate, key, current: Mutex::new(current) })))
    }

    /// Shakes hands with somebody who has just connected.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.current().acceptor.clone();
        tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await?
    }

    /// Reads the files again; what they held stays in use if they make no sense now.
    pub fn reload(&self) {
        let stamps = [stamp(&self.0.certificate), stamp(&self.0.key)];
        let read = acceptor(&self.0.certificate, &self.0.key);
        let mut current = self.current();
        // Also of broken files, so that each is told once.
        current.stamps = stamps;
        match read {
            Ok(acceptor) => {
                current.acceptor = acceptor;
                info!("the certificate for HTTPS was read again");
            }
            Err(error) => warn!("HTTPS keeps the certificate it had: {error}"),
        }
    }

    /// Looks from time to time whether the files have changed.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(WATCH).await;
            let own = self.clone();
            let _ends_in_time = tokio::task::spawn_blocking(move || own.reload_if_changed()).await;
        }
    }

    fn reload_if_changed(&self) {
        if [stamp(&self.0.certificate), stamp(&self.0.key)] != self.current().stamps {
            self.reload();
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let naming = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| naming(certificate, &error))?;
    if chain.is_empty() {
        return Err(naming(certificate, &"holds no certificate"));
    }
    let own = PrivateKeyDer::from_pem_file(key).map_err(|error| naming(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, own);
    let mut config = config.map_err(|error| naming(certificate, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn stamp(path: &Path) -> Stamp {
    let known = fs::metadata(path).ok()?;
    Some((known.mtime(), known.mtime_nsec(), known.len(), known.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let renew = || {
            let made = rcgen::generate_simple_self_signed(["here.example".to_owned()]).unwrap();
            let new = dir.path().join("new");
            for (path, text) in
                [(&certificate, made.cert.pem()), (&key, made.signing_key.serialize_pem())]
            {
                fs::write(&new, text).unwrap();
                fs::rename(&new, path).unwrap();
            }
        };
        assert!(Shown::read(&certificate, &key).is_err());
        renew();
        let shown = Shown::read(&certificate, &key).unwrap();
        let own = || Arc::as_ptr(shown.current().acceptor.config());
        let first = own();
        shown.reload_if_changed();
        assert_eq!(own(), first);
        renew();
        shown.reload_if_changed();
        let second = own();
        assert_ne!(second, first);
        fs::write(&key, "no key").unwrap();
        shown.reload_if_changed();
        assert_eq!(own(), second);
    }
}
