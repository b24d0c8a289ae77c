//! Webhooks: a signed POST, and an address that is not inside our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, StatusCode, Url, redirect};
use sha2::Sha256;

use super::mailer::{Failure, told};
use crate::pii::Secret;

const PATIENCE: Duration = Duration::from_secs(10);

/// Posts events; cheap to clone.
#[derive(Clone)]
pub struct Poster {
    open: Client,
    guarded: Client,
}

impl Poster {
    pub fn new() -> Result<Self, String> {
        // Somebody else may have chosen one before: any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .no_proxy()
                .timeout(PATIENCE)
                .user_agent(concat!("Afterbeep/", env!("CARGO_PKG_VERSION")))
        };
        let open = builder().build().map_err(|error| error.to_string())?;
        let guarded = builder().dns_resolver(Arc::new(Public)).build();
        Ok(Self { open, guarded: guarded.map_err(|error| error.to_string())? })
    }

    /// Returns when the receiver has answered 2xx. `private` allows addresses of our own network.
    pub async fn post(
        &self,
        url: &str,
        (key, secret, private): (&str, Option<&Secret>, bool),
        body: &serde_json::Value,
        now: i64,
    ) -> Result<(), Failure> {
        let target = Url::parse(url).map_err(|error| Failure::Letter(error.to_string()))?;
        if !private
            && let Some(address) = literal(&target)
            && !is_public(address)
        {
            return Err(Failure::Letter(format!(
                "{address} is an address of a private network: allow it with allow_private"
            )));
        }
        let client = if private { &self.open } else { &self.guarded };
        let is_event = body.get("specversion").is_some();
        let kind = if is_event { "application/cloudevents+json" } else { "application/json" };
        let body = body.to_string();
        let mut request = client
            .post(target)
            .header("Content-Type", kind)
            .header("Idempotency-Key", key)
            .header("X-Afterbeep-Timestamp", now.to_string());
        if let Some(secret) = secret {
            let signature = signature(secret, now, &body);
            request = request.header("X-Afterbeep-Signature", format!("v1={signature}"));
        }
        // The URL may hold a token: it stays out of what is logged.
        let answer = request
            .body(body)
            .send()
            .await
            .map_err(|error| Failure::Server(told(&error.without_url())))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // Gone: the receiver wants no more of it.
            StatusCode::GONE => Err(Failure::Letter("410 Gone".into())),
            status => Err(Failure::Later(status.to_string())),
        }
    }
}

/// HMAC-SHA-256 over `timestamp.body`, in hexadecimal: a replayed body has an old timestamp.
pub fn signature(secret: &Secret, now: i64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        // HMAC takes a key of any length.
        return String::new();
    };
    mac.update(format!("{now}.{body}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Looks names up, and forgets the addresses of private networks: a name that leads inside leads
/// nowhere.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                return Err(
                    "the name leads into a private network: allow it with allow_private".into()
                );
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// An address of the open internet (RFC 6890 lists the others).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3. Of it, 6to4 and NAT64 hide an IPv4 address, and 2001:db8::/32
    // is for documents.
    first & 0xe000 == 0x2000
        && first != 0x2002
        && !(first == 0x2001 && (second == 0x0db8 || second == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_our_own_network_are_known() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "::",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["9.9.9.9", "172.32.0.1", "2620:fe::fe", "::ffff:9.9.9.9"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_signature_covers_time_and_body() {
        let secret = Secret::new("key");
        let signed = signature(&secret, 5, "{}");
        assert_eq!(signed.len(), 64);
        assert_ne!(signed, signature(&secret, 6, "{}"));
        assert_ne!(signed, signature(&secret, 5, "{ }"));
    }
}
