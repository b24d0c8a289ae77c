//! Where a URI leads: the choices of RFC 3263 and RFC 2782, pure. `socket/names` asks the questions.

use super::Transport;
use super::chance::Chance;
use super::uri::Uri;

/// How a search begins: RFC 3263 §4.1, §4.2.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Only the addresses of the host are missing.
    Host { transport: Transport, port: u16 },
    /// The transport is given, SRV records say where.
    Service(Transport),
    /// NAPTR records say which transports there are.
    Anything,
}

pub(super) fn search(uri: &Uri) -> Search {
    let named = Transport::wanted_by(uri);
    let transport = named.unwrap_or(Transport::Udp);
    // A name without a dot is one of a local network, and nobody keeps SRV records there.
    match (uri.port, named) {
        (Some(port), _) => Search::Host { transport, port },
        (None, _) if uri.ip().is_some() || !uri.host.contains('.') => {
            Search::Host { transport, port: transport.default_port() }
        }
        (None, Some(_)) => Search::Service(transport),
        (None, None) => Search::Anything,
    }
}

/// A NAPTR record, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub replacement: String,
}

/// Which SRV names to ask for, best first; without usable records, those that we would guess.
pub(super) fn services(host: &str, mut records: Vec<Naptr>) -> Vec<(Transport, String)> {
    records.sort_by_key(|record| (record.order, record.preference));
    let usable = records.into_iter().filter_map(|record| {
        let way = WAYS.iter().find(|way| way.service.eq_ignore_ascii_case(&record.service))?;
        record.flags.eq_ignore_ascii_case("s").then_some((way.transport, record.replacement))
    });
    let found: Vec<_> = usable.take(MOST).collect();
    if found.is_empty() {
        // Who wants TLS says so, by NAPTR or in the URI.
        let plain = WAYS.iter().filter(|way| !way.transport.is_secure());
        plain.map(|way| (way.transport, service(way.transport, host))).collect()
    } else {
        found
    }
}

/// The SRV name of a transport at a host.
pub(super) fn service(transport: Transport, host: &str) -> String {
    let way = WAYS.iter().find(|way| way.transport == transport);
    format!("{}.{}.", way.map_or("_sip._udp", |way| way.prefix), host.trim_end_matches('.'))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// RFC 2782: by priority, and among equals drawn by weight, so that each gets its share.
pub(super) fn ordered(mut records: Vec<Srv>, chance: &mut Chance) -> Vec<Srv> {
    // "." says that there is decidedly no such service.
    records.retain(|record| record.target != ".");
    // Among equal priorities those of weight 0 come first, to have a small chance at all.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len().min(MOST));
    while let Some(first) = records.first().filter(|_| ordered.len() < MOST) {
        let priority = first.priority;
        let equals = records.iter().take_while(|record| record.priority == priority);
        let total: u32 = equals.map(|record| u32::from(record.weight)).sum();
        let drawn = chance.below(total + 1);
        let mut sum = 0;
        let chosen = records.iter().position(|record| {
            sum += u32::from(record.weight);
            sum >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

struct Way {
    transport: Transport,
    /// RFC 3263 §4.1.
    service: &'static str,
    prefix: &'static str,
}

/// What we speak, preferred first where the other side has no preference.
const WAYS: [Way; 3] = [
    Way { transport: Transport::Udp, service: "SIP+D2U", prefix: "_sip._udp" },
    Way { transport: Transport::Tcp, service: "SIP+D2T", prefix: "_sip._tcp" },
    Way { transport: Transport::Tls, service: "SIPS+D2T", prefix: "_sips._tcp" },
];

/// Targets that are tried at most: a zone may name thousands.
pub(super) const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn search_for(uri: &str) -> Search {
        search(&uri.parse().expect(uri))
    }

    #[test]
    fn the_ways_to_begin() {
        let host = |transport, port| Search::Host { transport, port };
        let (udp, tcp) = (Transport::Udp, Transport::Tcp);
        assert_eq!(search_for("sip:a@10.0.0.1"), host(udp, 5060));
        assert_eq!(search_for("sip:a@[::1]:5070;transport=tcp"), host(tcp, 5070));
        assert_eq!(search_for("sip:pbx.example.com:5070"), host(udp, 5070));
        assert_eq!(search_for("sip:asterisk"), host(udp, 5060));
        assert_eq!(search_for("sip:a@example.com;transport=TCP"), Search::Service(tcp));
        assert_eq!(search_for("sip:a@example.com"), Search::Anything);
        assert_eq!(search_for("sips:a@example.com"), Search::Service(Transport::Tls));
        assert_eq!(search_for("sips:a@10.0.0.1"), host(Transport::Tls, 5061));
    }

    #[test]
    fn naptr_records_choose_the_transport() {
        let record = |order, preference, flags: &str, service: &str, replacement: &str| Naptr {
            order,
            preference,
            flags: flags.to_owned(),
            service: service.to_owned(),
            replacement: replacement.to_owned(),
        };
        let records = vec![
            record(50, 50, "s", "SIP+D2X", "_x._x.example.com."),
            record(90, 20, "S", "sip+d2u", "_sip._udp.example.com."),
            record(90, 10, "s", "SIP+D2T", "_sip._tcp.example.com."),
            record(10, 10, "u", "SIP+D2U", "!.*!sip:x!"),
        ];
        let found = services("example.com", records);
        assert_eq!(
            found,
            [
                (Transport::Tcp, "_sip._tcp.example.com.".to_owned()),
                (Transport::Udp, "_sip._udp.example.com.".to_owned()),
            ]
        );
        assert_eq!(services("example.com", vec![])[0].1, "_sip._udp.example.com.");
    }

    #[test]
    fn priority_comes_first_and_weight_shares() {
        let srv = |priority, weight, target: &str| Srv {
            priority,
            weight,
            port: 5060,
            target: target.to_owned(),
        };
        let mut chance = Chance::new([3; 32]);
        let mut first = [0; 3];
        for _ in 0..1_000 {
            let records = vec![srv(20, 9, "c"), srv(10, 75, "a"), srv(10, 25, "b"), srv(0, 0, ".")];
            let names: Vec<_> =
                ordered(records, &mut chance).into_iter().map(|r| r.target).collect();
            assert_eq!((names.len(), names[2].as_str()), (3, "c"));
            first[usize::from(names[0] == "b")] += 1;
        }
        assert!((700..800).contains(&first[0]), "{first:?}");
        let many = (0..100).map(|n| srv(n, 1, "x")).collect();
        assert_eq!(ordered(many, &mut chance).len(), MOST);
    }
}
