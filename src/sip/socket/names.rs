//! Names to addresses, by DNS. Answers are remembered as long as their zones say, found or not,
//! and within bounds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tracing::warn;

use super::lock;
use crate::sip::chance::Chance;
use crate::sip::locate::{self, MOST, Naptr, Search, Srv};
use crate::sip::{Transport, Uri};

pub(super) struct Names {
    /// `None` where the system has no configuration: then only it knows addresses.
    resolver: Option<TokioResolver>,
    chance: Mutex<Chance>,
}

/// Where to send something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub transport: Transport,
    pub remote: SocketAddr,
}

impl Names {
    /// Asks `servers`, or those of the system.
    pub fn new(servers: &[SocketAddr], seed: [u8; 32]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let built = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = REMEMBERED;
            options.timeout = PATIENCE;
            options.attempts = 2;
            options.positive_max_ttl = Some(LONGEST);
            options.negative_max_ttl = Some(LONGEST_MISSING);
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        });
        let resolver = built.inspect_err(|error| {
            warn!(%error, "no SRV records are asked for: the system's name servers are unknown: {error}");
        });
        Self { resolver: resolver.ok(), chance: Mutex::new(Chance::new(seed)) }
    }

    /// Where a URI leads, best first: RFC 3263 §4.
    pub async fn locate(&self, uri: &Uri) -> Vec<Place> {
        let host = uri.host.as_str();
        match locate::search(uri) {
            Search::Host { transport, port } => match uri.ip() {
                Some(ip) => vec![Place { transport, remote: SocketAddr::new(ip, port) }],
                None => self.places(transport, host, port).await,
            },
            Search::Service(transport) => {
                let service = locate::service(transport, host);
                self.services(vec![(transport, service)], host, transport).await
            }
            Search::Anything => {
                let services = locate::services(host, self.naptr(host).await);
                self.services(services, host, Transport::Udp).await
            }
        }
    }

    /// By SRV; where there is none, by address (RFC 3263 §4.2, the last paragraph).
    async fn services(
        &self,
        services: Vec<(Transport, String)>,
        host: &str,
        otherwise: Transport,
    ) -> Vec<Place> {
        let mut places = Vec::new();
        for (transport, service) in services {
            let records = self.srv(&service).await;
            let records = locate::ordered(records, &mut lock(&self.chance));
            for record in records {
                places.extend(self.places(transport, &record.target, record.port).await);
                if places.len() >= MOST {
                    places.truncate(MOST);
                    return places;
                }
            }
        }
        if places.is_empty() {
            self.places(otherwise, host, otherwise.default_port()).await
        } else {
            places
        }
    }

    async fn places(&self, transport: Transport, host: &str, port: u16) -> Vec<Place> {
        let addresses = self.addresses(host).await;
        let place = |ip| Place { transport, remote: SocketAddr::new(ip, port) };
        addresses.into_iter().take(MOST).map(place).collect()
    }

    async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        // The system knows local names by other means than DNS as well.
        if let Some(resolver) = self.resolver.as_ref().filter(|_| host.contains('.')) {
            let found = resolver.lookup_ip(host).await;
            return found.map_or_else(|_| Vec::new(), |found| found.iter().collect());
        }
        let found = tokio::net::lookup_host((host, 0)).await;
        found.map_or_else(|_| Vec::new(), |found| found.map(|address| address.ip()).collect())
    }

    async fn srv(&self, name: &str) -> Vec<Srv> {
        let read = |data: &RData| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            }),
            _ => None,
        };
        self.records(name, RecordType::SRV, read).await
    }

    async fn naptr(&self, host: &str) -> Vec<Naptr> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let read = |data: &RData| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_ascii(),
            }),
            _ => None,
        };
        let name = format!("{}.", host.trim_end_matches('.'));
        self.records(&name, RecordType::NAPTR, read).await
    }

    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Vec<T> {
        let Some(resolver) = &self.resolver else { return Vec::new() };
        let Ok(found) = resolver.lookup(name, kind).await else { return Vec::new() };
        found.answers().iter().filter_map(|record| read(&record.data)).collect()
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connection = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = server.connections.into_iter().map(connection).collect();
    server
}

const REMEMBERED: u64 = 4_096;
const PATIENCE: Duration = Duration::from_secs(2);
/// A zone may not bind us for longer than this.
const LONGEST: Duration = Duration::from_hours(24);
const LONGEST_MISSING: Duration = Duration::from_mins(5);
