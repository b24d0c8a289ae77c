//! Hands letters to a mail server, or to the system's sendmail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::dkim::{
    DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm,
    DkimSigningKey,
};
use lettre::message::header::HeaderName;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSendmailTransport, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::pii::Secret;

/// Where letters go.
#[derive(Clone, Debug, PartialEq)]
pub enum Server {
    Smtp {
        host: String,
        port: u16,
        security: Security,
        login: Option<(String, Secret)>,
    },
    /// A program that takes a letter on standard input, called without a shell.
    Sendmail(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// STARTTLS, or nothing is sent.
    StartTls,
    /// STARTTLS where the server offers it: for a server on the same host.
    Opportunistic,
    /// TLS from the first byte (RFC 8314).
    Tls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    pub selector: String,
    pub domain: String,
    /// PKCS #1 RSA key in PEM.
    pub key: String,
}

/// Why a letter was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This letter never will be: its address is refused.
    Letter(String),
    /// This letter may be later.
    Later(String),
    /// No letter is for now: the server cannot be reached, or does not let us in.
    Server(String),
}

pub struct Mailer {
    carrier: Carrier,
    dkim: Option<std::sync::Arc<DkimConfig>>,
}

enum Carrier {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Sendmail(AsyncSendmailTransport<Tokio1Executor>),
}

/// A server that says nothing for so long is hanging. RFC 5321 §4.5.3.2 grants minutes; a letter
/// that was taken all the same is then sent twice.
const PATIENCE: Duration = Duration::from_secs(60);
/// Letters on their way at one time.
pub const AT_ONCE: u32 = 8;

impl Mailer {
    pub fn new(server: &Server, dkim: Option<&Dkim>) -> Result<Self, String> {
        let dkim = dkim.map(signer).transpose()?.map(std::sync::Arc::new);
        let carrier = match server {
            Server::Sendmail(program) => Carrier::Sendmail(
                AsyncSendmailTransport::new_with_command(program.as_os_str().to_owned()),
            ),
            Server::Smtp { host, port, security, login } => {
                let parameters = |anybody| {
                    let builder = TlsParameters::builder(host.clone());
                    let built = builder
                        .dangerous_accept_invalid_certs(anybody)
                        .dangerous_accept_invalid_hostnames(anybody)
                        .build();
                    built.map_err(|error| error.to_string())
                };
                let tls = match security {
                    Security::StartTls => Tls::Required(parameters(false)?),
                    // RFC 7435 §3: where a server without encryption is taken, one with a
                    // certificate of its own making is too. Debian's mail servers have one.
                    Security::Opportunistic => Tls::Opportunistic(parameters(true)?),
                    Security::Tls => Tls::Wrapper(parameters(false)?),
                };
                let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
                    .port(*port)
                    .tls(tls)
                    .timeout(Some(PATIENCE))
                    .pool_config(PoolConfig::new().max_size(AT_ONCE));
                if let Some((user, password)) = login {
                    builder = builder
                        .credentials(Credentials::new(user.clone(), password.expose().to_owned()));
                }
                Carrier::Smtp(builder.build())
            }
        };
        Ok(Self { carrier, dkim })
    }

    /// Returns when the server has taken the letter for its one recipient.
    pub async fn send(&self, mut letter: Message) -> Result<(), Failure> {
        if let Some(dkim) = &self.dkim {
            letter.sign(dkim);
        }
        match &self.carrier {
            Carrier::Smtp(transport) => {
                transport.send(letter).await.map(|_| ()).map_err(|error| failure(&error))
            }
            Carrier::Sendmail(transport) => {
                let sent = tokio::time::timeout(PATIENCE, transport.send(letter)).await;
                let sent = sent.map_err(|_| Failure::Server("sendmail hangs".into()))?;
                sent.map_err(|error| Failure::Later(told(&error)))
            }
        }
    }
}

/// Header fields that a signature covers. Not Content-Type: lettre counts it to the body, and would
/// sign the letter as if it had none.
const SIGNED: [&str; 6] = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"];

/// What a refusal says about the server, and what about the letter.
fn failure(error: &smtp::Error) -> Failure {
    let text = told(error);
    let code = error.status().map(u16::from);
    match code {
        // RFC 4954 §6, and 421 "closing": they would meet every letter.
        Some(421 | 454 | 530 | 534 | 535 | 538) | None => Failure::Server(text),
        Some(_) if error.is_permanent() => Failure::Letter(text),
        Some(_) => Failure::Later(text),
    }
}

/// An error with its causes, on one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

fn signer(dkim: &Dkim) -> Result<DkimConfig, String> {
    let key = DkimSigningKey::new(&dkim.key, DkimSigningAlgorithm::Rsa)
        .map_err(|error| format!("mail.dkim_key: {error}"))?;
    // RFC 6376 §3.4: header fields are folded on their way, the signature's own already here.
    let relaxed = DkimCanonicalizationType::Relaxed;
    let signed = SIGNED.map(HeaderName::new_from_ascii_str).to_vec();
    let canonical = DkimCanonicalization { header: relaxed, body: relaxed };
    Ok(DkimConfig::new(dkim.selector.clone(), dkim.domain.clone(), key, signed, canonical))
}

/// `smtp://host:25`, `smtps://host`, or the path of a sendmail program.
pub fn server(
    text: &str,
    starttls_required: bool,
    login: Option<(String, Secret)>,
) -> Result<Server, String> {
    let wrong = || {
        format!(
            "`{}` is no mail server: write smtp://HOST, smtps://HOST or the path of sendmail",
            text.escape_debug()
        )
    };
    if text.starts_with('/') {
        return Ok(Server::Sendmail(Path::new(text).to_owned()));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let rest = rest.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, Some(port.parse::<u16>().map_err(|_| wrong())?))
        }
        _ => (rest, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    let (security, usual) = match scheme {
        "smtps" => (Security::Tls, 465),
        "smtp" if starttls_required => (Security::StartTls, 587),
        "smtp" => (Security::Opportunistic, 25),
        _ => return Err(wrong()),
    };
    Ok(Server::Smtp { host: host.to_owned(), port: port.unwrap_or(usual), security, login })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
    use sha2::{Digest, Sha256};

    use super::super::letter::{Address, Letter};
    use super::super::template::Words;
    use super::*;

    /// RFC 6376 §3.4.2 and §3.4.4, told apart from who signs.
    fn relaxed(line: &str) -> String {
        line.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_signature_holds_for_the_letter_as_it_is_sent() {
        let pem = include_str!("../../tests/daemon/dkim.pem");
        let dkim = Dkim { selector: "vm".into(), domain: "pbx.example".into(), key: pem.into() };
        let long = "Grüße aus Köln 😀 =?x ".repeat(8);
        let from = Address { name: "Zoë".into(), address: "vm@pbx.example".into() };
        let words = Words { subject: long.trim().into(), text: "Hi  there \n\n\n".into() };
        let letter = Letter {
            from: &from,
            to: &from,
            words: &words,
            html: "<p>Hi</p>".into(),
            enclosure: None,
            key: "k",
            date: 1_700_000_000,
        };
        let mut letter = letter.message().unwrap();
        letter.sign(&signer(&dkim).unwrap());
        let sent = String::from_utf8(letter.formatted()).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let field = |name: &str| {
            let line = head.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
            let (_, value) = line.split_once(':').unwrap();
            format!("{}:{}", name.to_lowercase(), relaxed(value))
        };
        let signature = field("DKIM-Signature");
        let tag = |name: &str| {
            let tags = signature.split_once(':').unwrap().1.split(';');
            let value = tags.map(str::trim).find_map(|tag| tag.strip_prefix(name)).unwrap();
            value.replace(' ', "")
        };
        let lines: Vec<String> = body
            .split("\r\n")
            .map(|line| {
                let space = if line.starts_with([' ', '\t']) { " " } else { "" };
                format!("{space}{}", relaxed(line))
            })
            .collect();
        let body = format!("{}\r\n", lines.join("\r\n").trim_end_matches("\r\n"));
        assert_eq!(STANDARD.encode(Sha256::digest(body)), tag("bh="));
        let fields = tag("h=");
        let named = |name: &str| SIGNED.iter().find(|known| known.eq_ignore_ascii_case(name));
        let mut signed: String =
            fields.split(':').map(|name| field(named(name).unwrap()) + "\r\n").collect();
        assert_eq!(signed.lines().count(), SIGNED.len());
        signed += signature.split_once(" b=").unwrap().0;
        signed += " b=";
        let pem: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = RsaKeyPair::from_der(&STANDARD.decode(pem).unwrap()).unwrap();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref());
        key.verify(signed.as_bytes(), &STANDARD.decode(tag("b=")).unwrap()).unwrap();
    }

    #[test]
    fn a_server_is_written_as_a_url() {
        let smtp = |host: &str, port, security| {
            Ok(Server::Smtp { host: host.into(), port, security, login: None })
        };
        for (text, required, read) in [
            ("smtp://localhost", false, smtp("localhost", 25, Security::Opportunistic)),
            ("smtp://mx.example/", true, smtp("mx.example", 587, Security::StartTls)),
            ("smtps://mx.example:4650", false, smtp("mx.example", 4650, Security::Tls)),
            ("smtp://[::1]:2525", false, smtp("::1", 2525, Security::Opportunistic)),
            ("/usr/sbin/sendmail", false, Ok(Server::Sendmail("/usr/sbin/sendmail".into()))),
        ] {
            assert_eq!(server(text, required, None), read, "{text}");
        }
        for bad in ["", "localhost", "http://x", "smtp://", "smtp://x:y", "smtp://a b"] {
            assert!(server(bad, false, None).is_err(), "{bad}");
        }
    }
}
