//! Saying who we are: answers to challenges.

use rsip::Header;

use super::{Algorithm, Fields, Quality, Sum, ha1};
use crate::sip::chance::Chance;
use crate::sip::identity::Credentials;
use crate::sip::message::{Method, Response, other};

/// Credentials, and the challenges that they answer. A challenge is kept for later requests
/// (RFC 7616 §3.3), which then need not be refused first.
#[derive(Debug)]
pub(in crate::sip) struct Answering {
    credentials: Credentials,
    /// Whom we turned to, as written.
    host: String,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    asks: Asks,
    challenge: Challenge,
    count: u32,
    standing: Standing,
}

/// Who asks: the server itself, or a proxy on the way (RFC 3261 §22.2, §22.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Server,
    Proxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// From an earlier request.
    Kept,
    Answered,
    /// Answered again because the nonce was stale.
    Renewed,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::sip) enum Unanswered {
    #[error("asked for realm \"{0}\", which is not ours to answer")]
    UnknownRealm(String),
    #[error("asked for an algorithm that we do not know")]
    UnknownAlgorithm,
    #[error("the credentials are wrong")]
    Wrong,
}

#[derive(Debug, Clone)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whether the server named one: old servers stumble over what they did not say.
    named: bool,
    qop: Qop,
    stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qop {
    None,
    Auth,
    AuthInt,
}

impl Answering {
    pub fn new(credentials: Credentials, host: &str) -> Self {
        Self { credentials, host: host.to_owned(), sessions: Vec::new() }
    }

    /// A new request begins: each challenge may be answered anew.
    pub fn begin(&mut self) {
        for session in &mut self.sessions {
            session.standing = Standing::Kept;
        }
    }

    /// Takes the challenges of a 401 or 407; afterwards `headers` answers them.
    pub fn hear(&mut self, response: &Response) -> Result<(), Unanswered> {
        let mut why = Unanswered::UnknownAlgorithm;
        let mut heard = false;
        for (asks, name) in
            [(Asks::Server, "WWW-Authenticate"), (Asks::Proxy, "Proxy-Authenticate")]
        {
            let fields: Vec<Fields> =
                other(&response.headers, name).flat_map(Fields::read).collect();
            let mut challenges: Vec<Challenge> =
                fields.iter().filter_map(Challenge::read).collect();
            // RFC 8760 §2.4 lets us choose; the strongest of each realm it is, whatever its place.
            challenges.sort_by(|a, b| (&a.realm, b.algorithm).cmp(&(&b.realm, a.algorithm)));
            challenges.dedup_by(|later, first| later.realm == first.realm);
            if let Some(stranger) = challenges.iter().find(|c| !self.knows(&c.realm)) {
                why = Unanswered::UnknownRealm(stranger.realm.clone());
            }
            for challenge in challenges {
                if self.knows(&challenge.realm) {
                    self.take(asks, challenge)?;
                    heard = true;
                }
            }
        }
        if heard { Ok(()) } else { Err(why) }
    }

    /// What a request says in answer to all challenges so far.
    pub fn headers(
        &mut self,
        chance: &mut Chance,
        method: &Method,
        uri: &str,
        body: &[u8],
    ) -> Vec<Header> {
        let Credentials { username, secret, .. } = &self.credentials;
        let answer = |session: &mut Session| {
            session.count += 1;
            let value = session.challenge.answer(
                (username, secret.expose()),
                session.count,
                &chance.token(),
                (method.as_str(), uri, body),
            );
            let name = match session.asks {
                Asks::Server => "Authorization",
                Asks::Proxy => "Proxy-Authorization",
            };
            Header::Other(name.to_owned(), value)
        };
        self.sessions.iter_mut().map(answer).collect()
    }

    fn knows(&self, realm: &str) -> bool {
        match &self.credentials.realm {
            Some(known) => known == realm,
            None => self.host.eq_ignore_ascii_case(realm),
        }
    }

    fn take(&mut self, asks: Asks, challenge: Challenge) -> Result<(), Unanswered> {
        let same = |s: &&mut Session| s.asks == asks && s.challenge.realm == challenge.realm;
        let Some(session) = self.sessions.iter_mut().find(same) else {
            let standing = Standing::Answered;
            self.sessions.push(Session { asks, challenge, count: 0, standing });
            return Ok(());
        };
        let standing = match session.standing {
            Standing::Kept => Standing::Answered,
            // RFC 7616 §3.3: the secret is right, only the nonce is too old.
            Standing::Answered if challenge.stale => Standing::Renewed,
            Standing::Answered | Standing::Renewed => return Err(Unanswered::Wrong),
        };
        *session = Session { asks, challenge, count: 0, standing };
        Ok(())
    }
}

impl Challenge {
    fn read(fields: &Fields) -> Option<Self> {
        let qop = match fields.value("qop") {
            None => Qop::None,
            Some(list) => {
                let offers = |name: &str| {
                    list.split(',').any(|offered| offered.trim().eq_ignore_ascii_case(name))
                };
                match (offers("auth"), offers("auth-int")) {
                    (true, _) => Qop::Auth,
                    (false, true) => Qop::AuthInt,
                    (false, false) => return None,
                }
            }
        };
        Some(Self {
            realm: fields.value("realm")?.to_owned(),
            nonce: fields.value("nonce")?.to_owned(),
            opaque: fields.value("opaque").map(str::to_owned),
            algorithm: fields.algorithm()?,
            named: fields.value("algorithm").is_some(),
            qop,
            stale: fields.value("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    fn answer(
        &self,
        (username, secret): (&str, &str),
        count: u32,
        cnonce: &str,
        (method, uri, body): (&str, &str, &[u8]),
    ) -> String {
        let Self { realm, nonce, algorithm, .. } = self;
        let count = format!("{count:08x}");
        let quality = match self.qop {
            Qop::None => Quality::None,
            Qop::Auth => Quality::Auth { count: &count, cnonce },
            Qop::AuthInt => Quality::AuthInt { count: &count, cnonce, body },
        };
        let ha1 = ha1(*algorithm, username, realm, secret);
        let sum = Sum { algorithm: *algorithm, ha1: &ha1, nonce, method, uri, quality };
        let mut value = format!(
            "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{}\"",
            sum.response()
        );
        if self.named {
            value += &format!(", algorithm={}", algorithm.name());
        }
        if let Some(opaque) = &self.opaque {
            value += &format!(", opaque=\"{opaque}\"");
        }
        let qop = match self.qop {
            Qop::None => return value,
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        };
        value + &format!(", qop={qop}, nc={count}, cnonce=\"{cnonce}\"")
    }
}
