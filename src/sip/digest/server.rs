//! Asking others who they are: challenges, nonces, verdicts.
//!
//! A challenge costs no memory: its nonce holds the time, a number and a seal over both and the
//! source. Only who has proved to know a secret is written down, so that nothing can be replayed
//! and no stranger can fill a table. Whether an account exists is told by nothing: an unknown
//! name is judged by a secret that nobody knows, in the same steps.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rsip::Header;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Algorithm, Fields, Quality, Sum, ha1, hex};
use crate::sip::identity::{Account, Authentication, Demand};
use crate::sip::message::{Request, every};
use crate::sip::text::unquote;
use crate::sip::uri::{Scheme, Uri};

pub(in crate::sip) struct Guard {
    realm: String,
    algorithms: Vec<Algorithm>,
    accounts: HashMap<String, Sums>,
    /// What an unknown name is judged by.
    decoy: Sums,
    demand: Demand,
    nonces: Nonces,
    failures: Failures,
}

/// HA1 for each algorithm: the secret itself is not kept.
type Sums = [String; 3];

#[derive(Debug, PartialEq, Eq)]
pub(in crate::sip) enum Verdict {
    /// The name is proven.
    Proven(String),
    /// 401 with these.
    Challenge(Vec<Header>),
    /// 403: too many wrong answers came from there.
    Barred,
    /// 400: credentials that make no sense.
    Malformed,
}

impl Guard {
    /// `failures` is how many wrong answers a source may give in a minute.
    pub fn new(authentication: Authentication, failures: u32, seed: &[u8; 32]) -> Self {
        let Authentication { realm, algorithms, accounts, demand } = authentication;
        let key = mac(seed, &[b"nonce key"]);
        let nobody = hex(&mac(seed, &[b"nobody"]));
        let sums = |Account { username, secret }: &Account| {
            Algorithm::STRONGEST_FIRST.map(|a| ha1(a, username, &realm, secret.expose()))
        };
        Self {
            accounts: accounts.iter().map(|a| (a.username.clone(), sums(a))).collect(),
            decoy: [0, 1, 2].map(|_| nobody.clone()),
            realm,
            algorithms,
            demand,
            nonces: Nonces { key, origin: None, drawn: 0, floor: 0, used: BTreeMap::new() },
            failures: Failures { limit: failures, sources: HashMap::new() },
        }
    }

    pub fn asks(&self, source: IpAddr, certificate: Option<&str>) -> bool {
        self.demand.is_on(source, certificate)
    }

    /// Judges what a request says of its sender.
    pub fn judge(&mut self, now: Instant, source: IpAddr, request: &Request) -> Verdict {
        if self.failures.bar(now, source) {
            return Verdict::Barred;
        }
        let fields = every!(request.headers, Authorization).flat_map(Fields::read);
        let mut ours = fields.filter(|fields| fields.value("realm") == Some(&self.realm));
        let Some(fields) = ours.next() else {
            return self.challenge(now, source, Freshness::First);
        };
        drop(ours);
        let Some(proof) = Proof::read(&fields, &request.body) else { return Verdict::Malformed };
        // Only what was offered counts: a weaker sum than we asked for proves too little.
        let offered = |algorithm: &Algorithm| self.algorithms.contains(algorithm);
        let Some(algorithm) = fields.algorithm().filter(offered) else {
            return self.challenge(now, source, Freshness::First);
        };
        // A nonce that was sealed for another source counts for nothing, so that nobody can use
        // up the patience for an address that he only pretends to have.
        let Some(number) = self.nonces.open(now, source, proof.nonce) else {
            return self.challenge(now, source, Freshness::Stale);
        };
        if !means(proof.uri, &request.target) {
            return Verdict::Malformed;
        }
        let known = self.accounts.get(&proof.username);
        let sums = known.unwrap_or(&self.decoy);
        let Proof { nonce, uri, quality, .. } = proof;
        let method = request.method.as_str();
        let ha1 = &sums[place(algorithm)];
        let expected = Sum { algorithm, ha1, nonce, method, uri, quality }.response();
        let right = expected.as_bytes().ct_eq(proof.response.to_ascii_lowercase().as_bytes());
        if !bool::from(right) || known.is_none() {
            self.failures.note(now, source);
            return self.challenge(now, source, Freshness::First);
        }
        if !self.nonces.spend(number, proof.count) {
            return self.challenge(now, source, Freshness::Stale);
        }
        Verdict::Proven(proof.username)
    }

    /// RFC 8760 §2.4: one header for each algorithm, the preferred one first.
    fn challenge(&mut self, now: Instant, source: IpAddr, freshness: Freshness) -> Verdict {
        let nonce = self.nonces.draw(now, source);
        let stale = match freshness {
            Freshness::First => "",
            Freshness::Stale => ", stale=true",
        };
        let header = |algorithm: &Algorithm| {
            // Some that know only MD5 know only `auth`, and stumble over a list.
            let qop = if *algorithm == Algorithm::Md5 { "auth" } else { "auth,auth-int" };
            let value = format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"{qop}\"{stale}",
                self.realm,
                algorithm.name(),
            );
            Header::Other("WWW-Authenticate".to_owned(), value)
        };
        Verdict::Challenge(self.algorithms.iter().map(header).collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    First,
    /// The nonce was too old, used up or not ours: nothing is said of the secret.
    Stale,
}

/// Credentials whose parts are all there.
struct Proof<'a> {
    username: String,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    quality: Quality<'a>,
    count: u32,
}

impl<'a> Proof<'a> {
    fn read(fields: &'a Fields, body: &'a [u8]) -> Option<Self> {
        let nonce_count = || {
            let text = fields.value("nc")?;
            let cnonce = fields.value("cnonce")?;
            let count = u32::from_str_radix(text, 16).ok().filter(|_| text.len() == 8)?;
            Some((text, cnonce, count))
        };
        let (quality, number) = match fields.value("qop") {
            // RFC 3261 §22.4: clients of RFC 2543 know no qop. Their nonce counts once.
            None => (Quality::None, 1),
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let (count, cnonce, number) = nonce_count()?;
                (Quality::Auth { count, cnonce }, number)
            }
            Some(qop) if qop.eq_ignore_ascii_case("auth-int") => {
                let (count, cnonce, number) = nonce_count()?;
                (Quality::AuthInt { count, cnonce, body }, number)
            }
            Some(_) => return None,
        };
        Some(Self {
            username: unquote(&format!("\"{}\"", fields.value("username")?)),
            nonce: fields.value("nonce")?,
            uri: fields.value("uri")?,
            response: fields.value("response")?,
            quality,
            count: number,
        })
    }
}

/// RFC 7616 §3.4.6: the credentials are for this request and no other. A proxy may have written
/// the same URI in another way. Some clients (`SIPp` is one) sum over our host alone; a proof counts
/// once, so that this helps only who can change a request on its way.
fn means(uri: &str, target: &str) -> bool {
    let port = |uri: &Uri| uri.port.unwrap_or(if uri.scheme == Scheme::Sips { 5061 } else { 5060 });
    uri == target
        || match (uri.parse::<Uri>(), target.parse::<Uri>()) {
            (Ok(one), Ok(other)) => {
                one.scheme == other.scheme
                    && (one.user == other.user || one.user.is_empty())
                    && one.host.eq_ignore_ascii_case(&other.host)
                    && port(&one) == port(&other)
            }
            _ => false,
        }
}

fn place(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Sha512_256 => 0,
        Algorithm::Sha256 => 1,
        Algorithm::Md5 => 2,
    }
}

struct Nonces {
    key: [u8; 32],
    /// When the first one was drawn; their times count from there.
    origin: Option<Instant>,
    drawn: u64,
    /// Nonces up to this number are over.
    floor: u64,
    used: BTreeMap<u64, Counts>,
}

/// Which nonce counts came: the highest, and the 64 up to it as bits, because requests by UDP may
/// overtake each other.
#[derive(Default)]
struct Counts {
    highest: u32,
    seen: u64,
}

impl Nonces {
    /// `<seconds><number><seal>` in hexadecimal.
    fn draw(&mut self, now: Instant, source: IpAddr) -> String {
        self.drawn += 1;
        let mut nonce = [0; 28];
        nonce[..4].copy_from_slice(&self.seconds(now).to_be_bytes());
        nonce[4..12].copy_from_slice(&self.drawn.to_be_bytes());
        let seal = self.seal(&nonce[..12], source);
        nonce[12..].copy_from_slice(&seal[..16]);
        hex(&nonce)
    }

    /// The number of a nonce that we gave to this source not long ago.
    fn open(&mut self, now: Instant, source: IpAddr, nonce: &str) -> Option<u64> {
        let bytes = unhex(nonce)?;
        let seal = self.seal(&bytes[..12], source);
        if !bool::from(seal[..16].ct_eq(&bytes[12..])) {
            return None;
        }
        let drawn = u32::from_be_bytes(bytes[..4].try_into().ok()?);
        let number = u64::from_be_bytes(bytes[4..12].try_into().ok()?);
        let age = self.seconds(now).saturating_sub(drawn);
        (number > self.floor && Duration::from_secs(age.into()) <= NONCE_LIFETIME).then_some(number)
    }

    /// Takes a nonce count once, and never again.
    fn spend(&mut self, number: u64, count: u32) -> bool {
        let counts = self.used.entry(number).or_default();
        let fresh = counts.take(count);
        if self.used.len() > MOST_NONCES
            && let Some((oldest, _)) = self.used.pop_first()
        {
            // What is forgotten must not come back: it and all before it are over.
            self.floor = oldest;
        }
        fresh
    }

    fn seconds(&mut self, now: Instant) -> u32 {
        let origin = *self.origin.get_or_insert(now);
        u32::try_from(now.saturating_duration_since(origin).as_secs()).unwrap_or(u32::MAX)
    }

    fn seal(&self, nonce: &[u8], source: IpAddr) -> [u8; 32] {
        let source = match source.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        mac(&self.key, &[nonce, &source.octets()])
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        if count == 0 || behind > 63 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// Wrong answers, by where they came from.
struct Failures {
    limit: u32,
    sources: HashMap<IpAddr, (u32, Instant)>,
}

impl Failures {
    /// Whether a source has been wrong too often in the last minute.
    fn bar(&self, now: Instant, source: IpAddr) -> bool {
        self.sources.get(&network(source)).is_some_and(|(count, since)| {
            *count >= self.limit && now.saturating_duration_since(*since) < MINUTE
        })
    }

    fn note(&mut self, now: Instant, source: IpAddr) {
        let recent = |since: &Instant| now.saturating_duration_since(*since) < MINUTE;
        if self.sources.len() >= MOST_SOURCES && !self.sources.contains_key(&network(source)) {
            self.sources.retain(|_, (_, since)| recent(since));
            if self.sources.len() >= MOST_SOURCES {
                self.sources.clear();
            }
        }
        let entry = self.sources.entry(network(source)).or_insert((0, now));
        if !recent(&entry.1) {
            *entry = (0, now);
        }
        entry.0 += 1;
        // The minute begins anew when it is full, so that guessing on and on gains nothing.
        if entry.0 >= self.limit {
            entry.1 = now;
        }
    }
}

/// Whoever has an IPv6 address has at least 2^64 of them.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 §2: a key shorter than a block is filled up with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn unhex(text: &str) -> Option<[u8; 28]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 28];
    if digits.len() != 56 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

const NONCE_LIFETIME: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);
const MOST_NONCES: usize = 16_384;
const MOST_SOURCES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces() -> Nonces {
        Nonces { key: [7; 32], origin: None, drawn: 0, floor: 0, used: BTreeMap::new() }
    }

    #[test]
    fn a_nonce_is_good_for_its_source_and_for_five_minutes() {
        let (mut nonces, now) = (nonces(), Instant::now());
        let here: IpAddr = "10.0.0.1".parse().expect("an address");
        let nonce = nonces.draw(now, here);
        assert_eq!(nonces.open(now, here, &nonce), Some(1));
        assert_eq!(
            nonces.open(now, "::ffff:10.0.0.1".parse().expect("an address"), &nonce),
            Some(1)
        );
        assert_eq!(nonces.open(now, "10.0.0.2".parse().expect("an address"), &nonce), None);
        assert_eq!(nonces.open(now + Duration::from_secs(300), here, &nonce), Some(1));
        assert_eq!(nonces.open(now + Duration::from_secs(301), here, &nonce), None);
        let forged = nonce.replacen('0', "1", 1);
        for bad in ["", "x", &forged, &nonce[..55], &format!("{nonce}0"), &"é".repeat(28)] {
            assert_eq!(nonces.open(now, here, bad), None, "{bad}");
        }
    }

    #[test]
    fn each_count_is_taken_once_in_any_order() {
        let mut counts = Counts::default();
        let taken: Vec<u32> = [1, 1, 3, 2, 2, 0, 70, 3, 7, 6, 69, 69, u32::MAX, 70]
            .into_iter()
            .filter(|count| counts.take(*count))
            .collect();
        assert_eq!(taken, [1, 3, 2, 70, 7, 69, u32::MAX]);
    }

    #[test]
    fn a_forgotten_nonce_stays_forgotten() {
        let (mut nonces, now) = (nonces(), Instant::now());
        let here: IpAddr = "10.0.0.1".parse().expect("an address");
        let first = nonces.draw(now, here);
        assert!(nonces.spend(1, 1));
        for number in 2..=MOST_NONCES as u64 + 1 {
            nonces.spend(number, 1);
        }
        assert_eq!(nonces.used.len(), MOST_NONCES);
        assert_eq!(nonces.open(now, here, &first), None);
    }

    #[test]
    fn a_source_that_guesses_is_barred_and_its_network_with_it() {
        let mut failures = Failures { limit: 3, sources: HashMap::new() };
        let (now, source) = (Instant::now(), "2001:db8::1".parse().expect("an address"));
        let neighbour = "2001:db8::2".parse().expect("an address");
        for _ in 0..3 {
            assert!(!failures.bar(now, source));
            failures.note(now, source);
        }
        assert!(failures.bar(now, neighbour));
        assert!(!failures.bar(now + MINUTE, neighbour));
        for n in 0..=4_096_u32 {
            failures.note(now, IpAddr::from(n.to_be_bytes()));
        }
        assert!(failures.sources.len() <= MOST_SOURCES);
    }

    #[test]
    fn the_uri_fits_the_request() {
        assert!(means("sip:401@h", "sip:401@H:5060;transport=udp"));
        assert!(means("sip:h:5060", "sip:401@h"));
        assert!(means("tel:+1", "tel:+1"));
        for uri in ["sip:402@h", "sip:401@g", "sip:401@h:5070", "sips:401@h", "", "/x"] {
            assert!(!means(uri, "sip:401@h"), "{uri}");
        }
    }
}
