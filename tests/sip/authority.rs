//! Certificates of a test's own, as PEM files.

use std::path::{Path, PathBuf};

use afterbeep::sip::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority, and a directory for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = tempfile::tempdir().expect("a directory");
        // Unlike any other's.
        params.distinguished_name.push(DnType::CommonName, dir.path().to_string_lossy());
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, dir }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for these names; under the same file name it takes the place of the last.
    pub fn sign(&self, file: &str, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = key();
        let params = CertificateParams::new(names).expect("names");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        let place = |kind: &str| self.dir.path().join(format!("{file}-{kind}.pem"));
        let identity = Identity { certificate: place("cert"), key: place("key") };
        replace(&identity.certificate, &signed.pem());
        replace(&identity.key, &key.serialize_pem());
        identity
    }
}

/// As a tool that renews certificates does it.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(beside, path).expect("renamed");
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
