//! Digest sums for the other side of a transcript, made independently of what they test.

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// The fields of a challenge or of credentials.
pub struct Fields<'t>(&'t str);

impl<'t> Fields<'t> {
    /// In the first line of a message that starts like this and holds `with`.
    pub fn find(message: &'t str, header: &str, with: &str) -> Option<Self> {
        let mut lines = message.split("\r\n");
        lines.find(|line| line.starts_with(header) && line.contains(with)).map(Self)
    }

    pub fn value(&self, name: &str) -> &'t str {
        let Some(at) = self.0.find(&format!(" {name}=")) else { return "" };
        let value = &self.0[at + name.len() + 2..];
        match value.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or(""),
            None => value.split(',').next().unwrap_or(""),
        }
    }
}

/// What proves to know a secret for a request.
pub struct Proof<'t> {
    pub username: &'t str,
    pub secret: &'t str,
    pub algorithm: &'t str,
    pub realm: &'t str,
    pub nonce: &'t str,
    pub qop: &'t str,
    pub count: &'t str,
    pub cnonce: &'t str,
    pub method: &'t str,
    pub uri: &'t str,
    pub body: &'t str,
}

impl Proof<'_> {
    pub fn response(&self) -> String {
        let hash = |text: String| match self.algorithm {
            "" | "MD5" => hex(&Md5::digest(text)),
            "SHA-256" => hex(&Sha256::digest(text)),
            "SHA-512-256" => hex(&Sha512_256::digest(text)),
            other => panic!("{other} is no algorithm"),
        };
        let Self { nonce, qop, count, cnonce, method, uri, .. } = self;
        let one = hash(format!("{}:{}:{}", self.username, self.realm, self.secret));
        let two = match *qop {
            "auth-int" => hash(format!("{method}:{uri}:{}", hash(self.body.to_owned()))),
            _ => hash(format!("{method}:{uri}")),
        };
        match *qop {
            "" => hash(format!("{one}:{nonce}:{two}")),
            qop => hash(format!("{one}:{nonce}:{count}:{cnonce}:{qop}:{two}")),
        }
    }

    pub fn header(&self) -> String {
        let Self { username, algorithm, realm, nonce, qop, count, cnonce, uri, .. } = self;
        let qop = match *qop {
            "" => String::new(),
            qop => format!(", qop={qop}, nc={count}, cnonce=\"{cnonce}\""),
        };
        format!(
            "Authorization: Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", algorithm={algorithm}, response=\"{}\"{qop}",
            self.response()
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
