//! The transports: what each promises, and what a URI asks for.

use super::uri::{Scheme, Uri};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    /// RFC 7118, which browsers speak.
    Ws,
    Wss,
}

impl Transport {
    /// As `Via` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// What is sent arrives, or the connection breaks: nothing is repeated (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// A browser takes no connections: what leads to it is the one that it opened.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// RFC 3261 §18.2.2, §19.1.2; RFC 7118 §5.2 by way of RFC 6455 §3.
    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// What a URI asks for; `None` leaves it to us.
    pub(super) fn wanted_by(uri: &Uri) -> Option<Self> {
        let named = uri.params.value("transport");
        let is = |name: &str| named.is_some_and(|named| named.eq_ignore_ascii_case(name));
        // RFC 7118 §5.2: a URI says `ws` for both. Some phones say `wss`.
        let web = is("ws") || is("wss");
        match uri.scheme {
            // RFC 3261 §26.2.2: no hop of a SIPS URI goes without TLS, whatever it says besides.
            Scheme::Sips if web => Some(Self::Wss),
            Scheme::Sips => Some(Self::Tls),
            _ if is("wss") => Some(Self::Wss),
            _ if is("ws") => Some(Self::Ws),
            _ if is("tls") => Some(Self::Tls),
            _ if is("tcp") => Some(Self::Tcp),
            _ if is("udp") => Some(Self::Udp),
            _ => None,
        }
    }

    /// What a URI of ours says, so that answers come back by it.
    pub(super) fn param(self, scheme: &Scheme) -> &'static str {
        match self {
            Self::Udp => "",
            // RFC 5630 §3.1.4: `sips` has said it already.
            Self::Tls if *scheme == Scheme::Sips => "",
            Self::Tls => ";transport=tls",
            Self::Tcp => ";transport=tcp",
            Self::Ws | Self::Wss => ";transport=ws",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_uri_asks_for() {
        for (uri, wanted) in [
            ("sip:a@h", None),
            ("sip:a@h;transport=UDP", Some(Transport::Udp)),
            ("sip:a@h;transport=tcp", Some(Transport::Tcp)),
            ("sip:a@h;transport=TLS", Some(Transport::Tls)),
            ("sip:a@h;transport=ws", Some(Transport::Ws)),
            ("sip:a@h;transport=sctp", None),
            ("sips:a@h", Some(Transport::Tls)),
            ("sips:a@h;transport=tcp", Some(Transport::Tls)),
            ("sips:a@h;transport=udp", Some(Transport::Tls)),
            ("sips:a@h;transport=ws", Some(Transport::Wss)),
        ] {
            let uri: Uri = uri.parse().expect(uri);
            assert_eq!(Transport::wanted_by(&uri), wanted, "{uri}");
        }
    }
}
