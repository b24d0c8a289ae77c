//! DTLS-SRTP (RFC 5764): one handshake as a machine. Datagrams and the time go in; datagrams, a
//! deadline and, once the other side has shown the certificate of its fingerprint, keys come out.
//!
//! Our certificate is made at the start, of ECDSA P-256. The other side should have one of ECDSA,
//! which alone `dimpl` asks for. Signatures of RSA are verified too, for who shows such a certificate
//! without being asked for its kind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::crypto::{CryptoProvider, SignatureVerifier, SrtpProfile, rust_crypto};
use dimpl::{
    Config, CryptoError, Dtls, DtlsCertificate, HashAlgorithm, Output, SignatureAlgorithm,
};
use ring::signature;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keying::{Fingerprint, Role};
use super::srtp::{Keys, MasterKey, Suite};

/// Who we are in all handshakes.
#[derive(Clone)]
pub(super) struct Identity {
    certificate: DtlsCertificate,
    /// A stranger's hello is first sent back to where it claims to come from.
    careful: Arc<Config>,
    /// ICE has done that already.
    checked: Arc<Config>,
}

/// Why there is nobody to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoIdentity {
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("DTLS cannot be set up: {0}")]
    Setup(#[from] dimpl::Error),
}

impl Identity {
    pub fn new() -> Result<Self, NoIdentity> {
        let key = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(vec![])?;
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "afterbeep");
        let certificate = parameters.self_signed(&key)?;
        let certificate = DtlsCertificate {
            certificate: certificate.der().to_vec(),
            private_key: key.serialize_der(),
        };
        let config = |cookie| {
            let provider = CryptoProvider {
                signature_verification: &EITHER,
                ..rust_crypto::default_provider()
            };
            let builder =
                Config::builder().with_crypto_provider(provider).use_server_cookie(cookie);
            builder.handshake_timeout(PATIENCE).build().map(Arc::new)
        };
        Ok(Self { certificate, careful: config(true)?, checked: config(false)? })
    }

    /// SHA-256 of our certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate.certificate).into()
    }
}

/// One handshake, kept for as long as its call: the other side may ask again for our last words.
pub(super) struct Handshake {
    dtls: Dtls,
    config: Arc<Config>,
    certificate: DtlsCertificate,
    role: Role,
    theirs: Fingerprint,
    stage: Stage,
    deadline: Option<Instant>,
    /// How often nonsense may still make it begin anew.
    patience: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    /// The certificate is the one that was announced.
    Known,
    Done,
    Failed,
}

/// What a handshake came to.
#[derive(Debug)]
pub(super) enum Came {
    Keys(Box<Keys>),
    Failed(Why),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error("the peer's certificate is not the one that its description announced")]
    Certificate,
    #[error("the peer speaks no SRTP by DTLS")]
    NoSrtp,
    #[error("{0}")]
    Dtls(#[from] dimpl::Error),
}

impl Handshake {
    pub fn new(
        identity: &Identity,
        role: Role,
        theirs: Fingerprint,
        checked: bool,
        now: Instant,
    ) -> Self {
        let config = if checked { &identity.checked } else { &identity.careful };
        let (config, certificate) = (Arc::clone(config), identity.certificate.clone());
        Self {
            dtls: begin(&config, &certificate, role, now),
            config,
            certificate,
            role,
            theirs,
            stage: Stage::Begun,
            deadline: Some(now),
            patience: NONSENSE,
        }
    }

    /// When to call [`Handshake::wake`], if nothing comes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes a datagram; tells what it has to send, and what it came to at the end.
    pub fn hear(&mut self, datagram: &[u8], now: Instant, send: impl FnMut(&[u8])) -> Option<Came> {
        self.step(now, Some(datagram), send)
    }

    pub fn wake(&mut self, now: Instant, send: impl FnMut(&[u8])) -> Option<Came> {
        self.step(now, None, send)
    }

    fn step(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        send: impl FnMut(&[u8]),
    ) -> Option<Came> {
        if self.stage == Stage::Failed {
            return None;
        }
        let took = self.dtls.handle_timeout(now);
        let took = match (took, datagram) {
            (Ok(()), Some(datagram)) => self.dtls.handle_packet(datagram),
            (took, _) => took,
        };
        // What it says before it gives up is sent too.
        let came = self.drain(send);
        let came = match (came, took) {
            (Some(came), _) => Some(came),
            (None, Err(_)) if self.forgives() => {
                self.dtls = begin(&self.config, &self.certificate, self.role, now);
                None
            }
            (None, Err(why)) if self.stage != Stage::Done => Some(Came::Failed(why.into())),
            (None, _) => None,
        };
        if let Some(Came::Failed(_)) = came {
            (self.stage, self.deadline) = (Stage::Failed, None);
        }
        came
    }

    /// Whether what went wrong may have come from anybody: until a certificate was shown, nonsense
    /// from elsewhere must not end the call.
    fn forgives(&mut self) -> bool {
        let forgives = self.role == Role::Server && self.stage == Stage::Begun && self.patience > 0;
        self.patience -= u8::from(forgives);
        forgives
    }

    fn drain(&mut self, mut send: impl FnMut(&[u8])) -> Option<Came> {
        let mut buffer = [0; DATAGRAM];
        let mut came = None;
        // Bounded by what it may queue; the last one is always the time.
        for _ in 0..MOST_OUTPUTS {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(datagram) => send(datagram),
                Output::Timeout(at) => {
                    self.deadline = Some(at);
                    break;
                }
                Output::PeerCert(certificate) => {
                    if !self.theirs.fits(certificate) {
                        return Some(Came::Failed(Why::Certificate));
                    }
                    self.stage = Stage::Known;
                }
                Output::Connected if self.stage != Stage::Known => {
                    return Some(Came::Failed(Why::Certificate));
                }
                Output::Connected => self.stage = Stage::Done,
                Output::KeyingMaterial(material, profile) if self.stage == Stage::Done => {
                    let keys = keys(&material, profile, self.role);
                    came =
                        Some(keys.map_or(Came::Failed(Why::NoSrtp), |k| Came::Keys(Box::new(k))));
                }
                Output::BufferTooSmall { .. } => break,
                _ => {}
            }
        }
        came
    }
}

fn begin(config: &Arc<Config>, certificate: &DtlsCertificate, role: Role, now: Instant) -> Dtls {
    let mut dtls = Dtls::new_auto(Arc::clone(config), certificate.clone(), now);
    dtls.set_active(role == Role::Client);
    dtls
}

/// RFC 5764 §4.2: the client's key, the server's, the client's salt, the server's.
fn keys(material: &[u8], profile: SrtpProfile, role: Role) -> Option<Keys> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::AesCm80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::Gcm128,
        SrtpProfile::AEAD_AES_256_GCM => Suite::Gcm256,
        _ => return None,
    };
    let (keys, salts) = material.split_at_checked(2 * suite.key_length())?;
    let master = |n: usize| {
        let key = keys.chunks(suite.key_length()).nth(n)?;
        let salt = salts.chunks(suite.salt_length()).nth(n)?;
        MasterKey::new(suite, &[key, salt].concat())
    };
    let (client, server) = (master(0)?, master(1)?);
    Some(match role {
        Role::Client => Keys { ours: client, theirs: server },
        Role::Server => Keys { ours: server, theirs: client },
    })
}

/// Signatures of both kinds of certificate.
#[derive(Debug)]
struct Either;

static EITHER: Either = Either;

impl SignatureVerifier for Either {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signed: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        if algorithm != SignatureAlgorithm::RSA {
            let usual = rust_crypto::default_provider().signature_verification;
            return usual.verify_signature(certificate, data, signed, hash, algorithm);
        }
        let by = match hash {
            HashAlgorithm::SHA256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            HashAlgorithm::SHA384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            _ => return Err(CryptoError::UnsupportedSignatureAlgorithm(algorithm)),
        };
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|_| CryptoError::CertificateParseFailed)?;
        let key = &certificate.public_key().subject_public_key.data;
        signature::UnparsedPublicKey::new(by, key)
            .verify(data, signed)
            .map_err(|_| CryptoError::InvalidSignatureFormat)
    }
}

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than one of its datagrams ever is.
const DATAGRAM: usize = 2048;
const MOST_OUTPUTS: usize = 64;
const NONSENSE: u8 = 16;

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Two sides and what is on the way between them.
    struct Sides {
        here: Handshake,
        there: Handshake,
        now: Instant,
        came: [Option<Came>; 2],
        /// Which datagrams are lost, counted from the first that is sent.
        lost: Range<usize>,
        sent: usize,
    }

    impl Sides {
        fn new(announced: [[u8; 32]; 2], identities: [&Identity; 2], checked: bool) -> Self {
            let now = Instant::now();
            let side = |identity, role, theirs| {
                Handshake::new(identity, role, Fingerprint::Sha256(theirs), checked, now)
            };
            let here = side(identities[0], Role::Server, announced[1]);
            let there = side(identities[1], Role::Client, announced[0]);
            Self { here, there, now, came: [None, None], lost: 0..0, sent: 0 }
        }

        /// Until nothing happens any more, in a minute at most.
        fn run(&mut self) {
            let mut way: Vec<(usize, Vec<u8>)> = vec![];
            let end = self.now + Duration::from_mins(1);
            while self.now < end {
                let (mut sent, lost) = (vec![], &self.lost);
                let mut count = self.sent;
                for (side, handshake) in [&mut self.here, &mut self.there].into_iter().enumerate() {
                    let mut send = |datagram: &[u8]| {
                        if !lost.contains(&count) {
                            sent.push((1 - side, datagram.to_vec()));
                        }
                        count += 1;
                    };
                    let mut came = None;
                    for (_, datagram) in way.iter().filter(|(to, _)| *to == side) {
                        came = came.or(handshake.hear(datagram, self.now, &mut send));
                    }
                    if handshake.deadline().is_some_and(|at| at <= self.now) {
                        came = came.or(handshake.wake(self.now, &mut send));
                    }
                    if came.is_some() {
                        self.came[side] = came;
                    }
                }
                self.sent = count;
                if sent.is_empty() {
                    let next = [self.here.deadline(), self.there.deadline()];
                    let Some(next) = next.into_iter().flatten().min() else { return };
                    self.now = next.max(self.now + Duration::from_millis(1));
                }
                way = sent;
            }
        }

        fn keys(&self) -> [Option<&Keys>; 2] {
            self.came.each_ref().map(|came| match came {
                Some(Came::Keys(keys)) => Some(&**keys),
                Some(Came::Failed(_)) | None => None,
            })
        }
    }

    fn identities() -> [Identity; 2] {
        [Identity::new().unwrap(), Identity::new().unwrap()]
    }

    #[test]
    fn two_sides_come_to_the_same_keys() {
        let [here, there] = identities();
        for checked in [true, false] {
            let announced = [here.fingerprint(), there.fingerprint()];
            let mut sides = Sides::new(announced, [&here, &there], checked);
            sides.run();
            let [Some(ours), Some(theirs)] = sides.keys() else { panic!("{:?}", sides.came) };
            assert_eq!((&ours.ours, &ours.theirs), (&theirs.theirs, &theirs.ours));
            assert_ne!(ours.ours, ours.theirs);
        }
    }

    #[test]
    fn what_is_lost_is_said_again() {
        let [here, there] = identities();
        let run = |lost: Range<usize>| {
            let announced = [here.fingerprint(), there.fingerprint()];
            let mut sides = Sides::new(announced, [&here, &there], false);
            sides.lost = lost.clone();
            sides.run();
            assert!(sides.keys().iter().all(Option::is_some), "{lost:?}: {:?}", sides.came);
            sides.sent
        };
        // Every datagram of a handshake, and every two and three in a row. To lose one of every two
        // for ever is more than the growing waits of RFC 6347 §4.2.4 can mend in half a minute.
        for first in 0..run(0..0) {
            for many in 1..4 {
                run(first..first + many);
            }
        }
    }

    #[test]
    fn another_certificate_than_was_announced_makes_no_keys() {
        let [here, there] = identities();
        let announced = [here.fingerprint(), [7; 32]];
        let mut sides = Sides::new(announced, [&here, &there], true);
        sides.run();
        assert!(sides.keys()[0].is_none(), "{:?}", sides.came);
        assert!(matches!(sides.came[0], Some(Came::Failed(Why::Certificate))));
    }

    #[test]
    fn nonsense_changes_nothing() {
        let [here, there] = identities();
        let announced = [here.fingerprint(), there.fingerprint()];
        let mut sides = Sides::new(announced, [&here, &there], true);
        for length in 0..200_usize {
            let nonsense: Vec<u8> =
                (0..length).map(|n| if n == 0 { 22 } else { n.to_le_bytes()[0] }).collect();
            let came = sides.here.hear(&nonsense, sides.now, |_| {});
            assert!(came.is_none(), "{length}: {came:?}");
        }
        sides.run();
        assert!(sides.keys().iter().all(Option::is_some));
    }
}
