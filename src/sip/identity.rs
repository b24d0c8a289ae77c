//! Who someone is: what we ask of others, and what we say of ourselves.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::digest::Algorithm;
use crate::pii::Secret;

/// How others prove to us who they are (RFC 3261 §22, RFC 8760).
#[derive(Debug, Clone)]
pub struct Authentication {
    pub realm: String,
    /// What a challenge offers, the first preferred.
    pub algorithms: Vec<Algorithm>,
    pub accounts: Vec<Account>,
    pub demand: Demand,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            realm: "afterbeep".to_owned(),
            algorithms: Algorithm::STRONGEST_FIRST.to_vec(),
            accounts: Vec::new(),
            demand: Demand::new(|_, _| false),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub username: String,
    pub secret: Secret,
}

/// Whose calls are challenged; the rule belongs to whoever knows the peers.
#[derive(Clone)]
pub struct Demand(Arc<Rule>);

/// By the source, and by the names in the certificate that it has shown.
type Rule = dyn Fn(IpAddr, Option<&str>) -> bool + Send + Sync;

impl Demand {
    pub fn new(rule: impl Fn(IpAddr, Option<&str>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    pub(super) fn is_on(&self, source: IpAddr, certificate: Option<&str>) -> bool {
        (self.0)(source, certificate)
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demand")
    }
}

/// What we answer challenges with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub secret: Secret,
    /// The only realm that is answered; unset, it is the host that we turned to. A stranger's
    /// challenge would else buy him a sum to guess the password from.
    pub realm: Option<String>,
}
