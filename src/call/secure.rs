//! What two sides agree on for a call's keys and ways; pure.

use std::net::SocketAddr;

use crate::config::Srtp;
use crate::media::{self, Keying, Keys, MasterKey, Role, Secrets, Security};
use crate::sip::sdp::{Audio, Crypto, Fingerprint, Hash, Ice, Profile, Protection, Setup, Suite};

/// What one call may do, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub demand: Srtp,
    /// Keys in a description are worth what carries it: whether these may be used.
    pub sdes: bool,
    /// The other side is a browser: if we offer, then what browsers understand.
    pub browser: bool,
    pub secrets: Secrets,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
}

/// One side's part in protecting a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Guarded {
    /// `None`: nothing is protected.
    rules: Option<Rules>,
    offered: Vec<Crypto>,
    agreed: Security,
}

/// How a stream can be protected.
enum How<'a> {
    Clear,
    Sdes(&'a Crypto),
    Dtls(&'a Fingerprint),
}

impl Guarded {
    pub fn new(rules: Rules) -> Self {
        Self { rules: Some(rules), ..Self::default() }
    }

    /// The same towards another party: a browser cannot be called.
    pub fn elsewhere(&self, sdes: bool) -> Self {
        let rules = self.rules.clone();
        Self {
            rules: rules.map(|rules| Rules { sdes, browser: false, ..rules }),
            ..Self::default()
        }
    }

    /// What was agreed last.
    pub fn agreed(&self) -> &Security {
        &self.agreed
    }

    /// How much a stream is liked; `None` for one that cannot be.
    pub fn like(&self, audio: &Audio) -> Option<u8> {
        Some(match self.how(audio)? {
            How::Clear => 1,
            How::Sdes(_) => 2,
            How::Dtls(_) => 3,
        })
    }

    fn how<'a>(&self, audio: &'a Audio) -> Option<How<'a>> {
        let secured = &audio.secured;
        let demand = self.rules.as_ref().map_or(Srtp::Off, |rules| rules.demand);
        let crypto = secured.crypto.first();
        let sdes = crypto.filter(|_| self.rules.as_ref().is_some_and(|rules| rules.sdes));
        let dtls = secured.fingerprint.as_ref();
        match (demand, audio.transport) {
            (Srtp::Off, Profile::Plain) => Some(How::Clear),
            (Srtp::Off, _) => None,
            // Keys beside a plain stream are how many telephones say that they could.
            (Srtp::Optional, Profile::Plain) => Some(sdes.map_or(How::Clear, How::Sdes)),
            (Srtp::Required, Profile::Plain) => sdes.map(How::Sdes),
            (_, Profile::Secure) => dtls.map(How::Dtls).or(sdes.map(How::Sdes)),
            (_, Profile::Dtls) => dtls.map(How::Dtls),
        }
    }

    /// Agrees to an offer that is liked, and says how.
    pub fn answer(&mut self, audio: &Audio, local: SocketAddr) -> Option<Protection> {
        let how = self.how(audio)?;
        let mut protection = Protection::default();
        let rules = self.rules.as_ref();
        self.agreed = match how {
            How::Clear => Security::default(),
            How::Sdes(theirs) => {
                let ours = Crypto { key: key(rules?, theirs.suite), ..theirs.clone() };
                let agreed = sdes(&ours, theirs)?;
                protection.crypto.push(ours);
                agreed
            }
            How::Dtls(theirs) => {
                let rules = rules?;
                // RFC 5763 §5: whoever answers begins if it may choose; who has asked us to begin
                // waits, and all others are more easily reached by waiting for them.
                let (setup, role) = match audio.secured.setup {
                    Some(Setup::Passive) => (Setup::Active, Role::Client),
                    Some(Setup::Active | Setup::ActPass) | None => (Setup::Passive, Role::Server),
                };
                protection.dtls = Some((rules.own(), setup));
                let ice = rules.ice(audio);
                if let Some(ice) = &ice {
                    protection.ice = Some(ours(ice));
                    protection.candidates = candidates(local, audio.rtcp_mux);
                }
                Security { keying: Keying::Dtls { theirs: print(theirs)?, role }, ice }
            }
        };
        Some(protection)
    }

    /// Our offer: its profile, whether reports go with the audio, and what protects it.
    pub fn offer(&mut self, local: SocketAddr) -> (&'static str, bool, Protection) {
        let mut protection = Protection::default();
        self.offered.clear();
        let Some(rules) = self.rules.as_ref().filter(|rules| rules.demand != Srtp::Off) else {
            return ("RTP/AVP", false, protection);
        };
        if rules.browser {
            protection.dtls = Some((rules.own(), Setup::ActPass));
            let (ufrag, pwd) = rules.secrets.ice();
            protection.ice = Some(Ice { ufrag, pwd, lite: true });
            protection.candidates = candidates(local, true);
            return ("UDP/TLS/RTP/SAVPF", true, protection);
        }
        if rules.sdes {
            let suites = (1..).zip([Suite::AesCm80, Suite::Gcm128, Suite::AesCm32]);
            let crypto = suites.map(|(tag, suite)| Crypto { tag, suite, key: key(rules, suite) });
            self.offered = crypto.collect();
            protection.crypto.clone_from(&self.offered);
        } else if rules.demand == Srtp::Required {
            protection.dtls = Some((rules.own(), Setup::ActPass));
            return ("UDP/TLS/RTP/SAVP", false, protection);
        }
        let required = rules.demand == Srtp::Required;
        (if required { "RTP/SAVP" } else { "RTP/AVP" }, false, protection)
    }

    /// Takes the answer to our offer; `None` if it does not fit.
    pub fn answered(&mut self, audio: &Audio) -> Option<()> {
        self.agreed = match self.how(audio)? {
            How::Clear => Security::default(),
            How::Sdes(theirs) => {
                let same = |ours: &&Crypto| (ours.tag, ours.suite) == (theirs.tag, theirs.suite);
                sdes(self.offered.iter().find(same)?, theirs)?
            }
            How::Dtls(theirs) => {
                let role = match audio.secured.setup {
                    Some(Setup::Passive) => Role::Client,
                    Some(Setup::Active | Setup::ActPass) | None => Role::Server,
                };
                let ice = self.rules.as_ref().and_then(|rules| rules.ice(audio));
                Security { keying: Keying::Dtls { theirs: print(theirs)?, role }, ice }
            }
        };
        Some(())
    }
}

impl Rules {
    fn own(&self) -> Fingerprint {
        Fingerprint { hash: Hash::Sha256, octets: self.fingerprint.to_vec() }
    }

    /// Checks are answered for whoever makes them; a lite agent makes none.
    fn ice(&self, audio: &Audio) -> Option<media::Ice> {
        let theirs = audio.secured.ice.as_ref().filter(|ice| !ice.lite)?;
        let (ufrag, pwd) = self.secrets.ice();
        Some(media::Ice { ufrag, pwd, theirs: theirs.ufrag.clone() })
    }
}

fn ours(ice: &media::Ice) -> Ice {
    Ice { ufrag: ice.ufrag.clone(), pwd: ice.pwd.clone(), lite: true }
}

fn candidates(local: SocketAddr, mux: bool) -> Vec<SocketAddr> {
    let reports = local.port().checked_add(1).filter(|_| !mux);
    let reports = reports.map(|port| SocketAddr::new(local.ip(), port));
    [local].into_iter().chain(reports).collect()
}

/// Our key for a suite: the same for the whole call.
fn key(rules: &Rules, suite: Suite) -> Vec<u8> {
    let number = match suite {
        Suite::AesCm80 => 0,
        Suite::AesCm32 => 1,
        Suite::Gcm128 => 2,
        Suite::Gcm256 => 3,
    };
    rules.secrets.key(number, suite.length()).to_vec()
}

fn sdes(ours: &Crypto, theirs: &Crypto) -> Option<Security> {
    let suite = match ours.suite {
        Suite::AesCm80 => media::Suite::AesCm80,
        Suite::AesCm32 => media::Suite::AesCm32,
        Suite::Gcm128 => media::Suite::Gcm128,
        Suite::Gcm256 => media::Suite::Gcm256,
    };
    let master = |crypto: &Crypto| MasterKey::new(suite, &crypto.key);
    let keys = Keys { ours: master(ours)?, theirs: master(theirs)? };
    Some(Security { keying: Keying::Sdes(Box::new(keys)), ice: None })
}

fn print(theirs: &Fingerprint) -> Option<media::Fingerprint> {
    let octets = theirs.octets.as_slice();
    Some(match theirs.hash {
        Hash::Sha1 => media::Fingerprint::Sha1(octets.try_into().ok()?),
        Hash::Sha256 => media::Fingerprint::Sha256(octets.try_into().ok()?),
        Hash::Sha384 => media::Fingerprint::Sha384(octets.try_into().ok()?),
        Hash::Sha512 => media::Fingerprint::Sha512(octets.try_into().ok()?),
    })
}

/// The name of what protects a call, for its log.
pub(super) fn name(security: &Security) -> &'static str {
    match &security.keying {
        Keying::Clear => "none",
        Keying::Sdes(_) => "SDES",
        Keying::Dtls { .. } => "DTLS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::talk::{Disagreement, Talk};

    const KEY: &str =
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";

    fn rules(demand: Srtp) -> Rules {
        let secrets = Secrets::new().unwrap();
        Rules { demand, sdes: true, browser: false, secrets, fingerprint: [0xab; 32] }
    }

    fn talk(rules: Rules) -> Talk {
        Talk::new("198.51.100.9".parse().unwrap(), 10_000, 7).guarded(rules)
    }

    fn offer(streams: &[(&str, &str)]) -> Vec<u8> {
        let mut text =
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_owned();
        for (profile, attributes) in streams {
            text += &format!("m=audio 4000 {profile} 0\r\n{attributes}");
        }
        text.into_bytes()
    }

    fn print() -> String {
        format!("a=fingerprint:sha-256 {}\r\n", ["0A"; 32].join(":"))
    }

    /// `-` for a refusal, else how it is protected.
    fn comes_to(rules: Rules, streams: &[(&str, &str)]) -> &'static str {
        let mut talk = talk(rules);
        match talk.answer(&offer(streams)) {
            Ok(_) => name(talk.security()),
            Err(Disagreement::NothingInCommon) => "-",
            Err(Disagreement::Malformed) => "malformed",
        }
    }

    #[test]
    fn policy_and_profile() {
        let print = print();
        let plain: (&str, &str) = ("RTP/AVP", "");
        let keys = ("RTP/SAVP", KEY);
        for (streams, expected) in [
            (&[plain][..], ["none", "none", "-"]),
            (&[("RTP/AVPF", "")], ["none", "none", "-"]),
            (&[("RTP/AVP", KEY)], ["none", "SDES", "SDES"]),
            (&[keys], ["-", "SDES", "SDES"]),
            (&[("RTP/SAVPF", KEY)], ["-", "SDES", "SDES"]),
            (&[("RTP/SAVP", "")], ["-", "-", "-"]),
            (&[("RTP/SAVPF", &print)], ["-", "DTLS", "DTLS"]),
            (&[("UDP/TLS/RTP/SAVP", &print)], ["-", "DTLS", "DTLS"]),
            (&[("UDP/TLS/RTP/SAVPF", &print)], ["-", "DTLS", "DTLS"]),
            (&[("UDP/TLS/RTP/SAVPF", KEY)], ["-", "-", "-"]),
            // The better of two, wherever it stands.
            (&[plain, keys], ["none", "SDES", "SDES"]),
            (&[keys, plain], ["none", "SDES", "SDES"]),
        ] {
            let demands = [Srtp::Off, Srtp::Optional, Srtp::Required];
            let came = demands.map(|demand| comes_to(rules(demand), streams));
            assert_eq!(came, expected, "{streams:?}");
        }
        // Keys that anybody could read, where that does not do.
        let private = |demand| Rules { sdes: false, ..rules(demand) };
        assert_eq!(comes_to(private(Srtp::Optional), &[keys, plain]), "none");
        assert_eq!(comes_to(private(Srtp::Optional), &[("RTP/AVP", KEY)]), "none");
        assert_eq!(comes_to(private(Srtp::Required), &[keys]), "-");
    }

    #[test]
    fn keys_are_answered_with_ours_of_the_same_suite_and_tag() {
        let mut talk = talk(rules(Srtp::Optional));
        let gcm = "a=crypto:7 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==\r\n";
        let (first, _) = talk.answer(&offer(&[("RTP/SAVP", gcm)])).unwrap();
        assert!(first.contains("m=audio 10000 RTP/SAVP 0\r\n"), "{first}");
        assert!(first.contains("a=crypto:7 AEAD_AES_128_GCM inline:"), "{first}");
        assert!(!first.contains("AAECAwQF"), "{first}");
        let before = talk.security().clone();
        // A refresh changes neither description nor keys.
        let (again, _) = talk.answer(&offer(&[("RTP/SAVP", gcm)])).unwrap();
        assert_eq!((again, talk.security()), (first, &before));
    }

    #[test]
    fn our_offer_and_what_may_come_back() {
        for (demand, browser, sdes, profile, back, expected) in [
            (Srtp::Off, false, true, "RTP/AVP", ("RTP/AVP", ""), "none"),
            (Srtp::Optional, false, true, "RTP/AVP", ("RTP/AVP", ""), "none"),
            (Srtp::Optional, false, true, "RTP/AVP", ("RTP/AVP", KEY), "SDES"),
            (Srtp::Required, false, true, "RTP/SAVP", ("RTP/SAVP", KEY), "SDES"),
            (Srtp::Required, false, true, "RTP/SAVP", ("RTP/AVP", ""), "-"),
            (Srtp::Required, false, false, "UDP/TLS/RTP/SAVP", ("UDP/TLS/RTP/SAVP", "P"), "DTLS"),
            (Srtp::Optional, true, true, "UDP/TLS/RTP/SAVPF", ("UDP/TLS/RTP/SAVPF", "P"), "DTLS"),
        ] {
            let mut talk = talk(Rules { sdes, browser, ..rules(demand) });
            let ours = talk.offer();
            assert!(ours.contains(&format!("m=audio 10000 {profile} ")), "{ours}");
            let attributes = if back.1 == "P" { print() } else { back.1.to_owned() };
            let came = match talk.answered(&offer(&[(back.0, &attributes)])) {
                Ok(_) => name(talk.security()),
                Err(_) => "-",
            };
            assert_eq!(came, expected, "{demand:?} {back:?}");
        }
    }

    #[test]
    fn a_key_for_what_we_did_not_offer_is_none() {
        let mut talk = talk(rules(Srtp::Required));
        talk.offer();
        let other = KEY.replace("crypto:1", "crypto:2");
        assert!(talk.answered(&offer(&[("RTP/SAVP", &other)])).is_err());
    }

    #[test]
    fn a_browser_is_answered_in_its_own_words() {
        let mut talk = talk(rules(Srtp::Optional));
        let text = format!(
            "v=0\r\no=- 46117 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS x\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111 0 110\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:CS6k\r\na=ice-pwd:aRVYY2gSrVDKWLtNw3s8eJb7\r\na=ice-options:trickle\r\n{}\
             a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtpmap:110 telephone-event/8000\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n",
            print()
        );
        let (answer, stream) = talk.answer(text.as_bytes()).unwrap();
        for line in [
            "a=group:BUNDLE 0\r\n",
            "a=ice-lite\r\n",
            "m=audio 10000 UDP/TLS/RTP/SAVPF ",
            "a=sendrecv\r\n",
            "a=rtcp-mux\r\n",
            "a=setup:passive\r\n",
            "a=fingerprint:sha-256 AB:AB:AB",
            "a=candidate:1 1 UDP 2130706431 198.51.100.9 10000 typ host\r\n",
            "a=mid:0\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
        ] {
            assert!(answer.contains(line), "{line} in {answer}");
        }
        assert_eq!((stream.remote, stream.rtcp), (None, media::Rtcp::Mux));
        let Security { keying, ice } = talk.security();
        assert!(matches!(keying, Keying::Dtls { role: Role::Server, .. }), "{keying:?}");
        let ice = ice.as_ref().unwrap();
        assert_eq!(ice.theirs, "CS6k");
        assert!(
            answer.contains(&format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.ufrag, ice.pwd))
        );
    }

    #[test]
    fn a_transfer_takes_keys_along_only_where_nobody_reads_them_and_changes_nothing_here() {
        let mut here = talk(Rules { browser: true, ..rules(Srtp::Required) });
        here.answer(&offer(&[("RTP/SAVP", KEY)])).map(|_| ()).unwrap();
        let before = here.security().clone();
        let readable = here.elsewhere(false).offer();
        assert!(!readable.contains("a=crypto"), "{readable}");
        assert!(
            readable.contains("UDP/TLS/RTP/SAVP ") && !readable.contains("a=ice"),
            "{readable}"
        );
        let mut there = here.elsewhere(true);
        assert!(there.offer().contains(" RTP/SAVP "));
        there.answered(&offer(&[("RTP/SAVP", KEY)])).map(|_| ()).unwrap();
        assert_eq!(name(there.security()), "SDES");
        assert_ne!(there.security(), &Security::default());
        assert_eq!(here.security(), &before);
    }
}
