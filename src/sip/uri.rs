//! SIP and tel URIs: RFC 3261 §19.1, RFC 3966.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::text::{Params, unescape, write_escaped, write_visible};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Lower-case; such a URI is kept whole in `host`.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    pub scheme: Scheme,
    /// Unescaped; the number of a `tel:` URI. Empty where there is none.
    pub user: String,
    /// As written; IPv6 with its brackets. Empty for `tel:`.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
    /// What follows `?`, as written.
    pub headers: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URI: {0}")]
pub struct BadUri(pub &'static str);

impl Uri {
    pub fn sip(user: &str, host: &str, port: Option<u16>) -> Self {
        Self {
            scheme: Scheme::Sip,
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            params: Params::default(),
            headers: String::new(),
        }
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        ip_of(&self.host)
    }

    /// RFC 4458 `target=`, unescaped: the mailbox that a retargeting server wants.
    pub fn target(&self) -> Option<String> {
        self.params.value("target").map(unescape)
    }

    /// RFC 4458 `cause=`: why the call was retargeted.
    pub fn cause(&self) -> Option<u16> {
        self.params.value("cause")?.parse().ok()
    }

    /// RFC 3323 §4.1.1.3 and what gateways make of it.
    pub fn is_anonymous(&self) -> bool {
        self.user.eq_ignore_ascii_case("anonymous")
            || self.host.eq_ignore_ascii_case("anonymous.invalid")
    }
}

impl FromStr for Uri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"".contains(c)) {
            return Err(BadUri("a character that no URI may have"));
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadUri("no scheme"))?;
        if !is_scheme(scheme) {
            return Err(BadUri("no scheme"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => hierarchical(Scheme::Sip, rest),
            "sips" => hierarchical(Scheme::Sips, rest),
            "tel" => telephone(rest),
            other => Ok(Self {
                scheme: Scheme::Other(other.to_owned()),
                host: rest.to_owned(),
                ..Self::sip("", "", None)
            }),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn hierarchical(scheme: Scheme, rest: &str) -> Result<Uri, BadUri> {
    // RFC 3261 §25.1: a user part may hold `;`, `?` and `/`, but `@` only escaped, so the first
    // `@` ends it, before anything else is looked for.
    let (userinfo, rest) = rest.split_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    // A password (RFC 3261 §19.1.1: "not recommended") is read over and never kept.
    let user = userinfo.split_once(':').map_or(userinfo, |(user, _)| user);
    // Behind it an `@` must be escaped, and is not always: written out again without a user, it
    // would make one of the host.
    let rest = &*rest.replace('@', "%40");
    let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
    let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, port) = host_and_port(hostport)?;
    Ok(Uri {
        scheme,
        user: unescape(user),
        host: host.to_owned(),
        port,
        params: Params::read(params),
        headers: headers.to_owned(),
    })
}

fn telephone(rest: &str) -> Result<Uri, BadUri> {
    let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
    let number = unescape(number);
    if number.is_empty() {
        return Err(BadUri("no number"));
    }
    Ok(Uri { scheme: Scheme::Tel, params: Params::read(params), ..Uri::sip(&number, "", None) })
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), BadUri> {
    let text = text.trim();
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(BadUri("no end of an IPv6 address"))?;
        let (host, rest) = text.split_at(end + 1);
        reference(&host[1..end]).ok_or(BadUri("not an IPv6 address"))?;
        let rest = rest.trim_start();
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(BadUri("text after an IPv6 address")),
        }
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
        (host.trim_end(), port)
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    if host.is_empty() || !(host.starts_with('[') || host.bytes().all(named)) {
        return Err(BadUri("no host"));
    }
    let port = port.map(|p| p.trim().parse().map_err(|_| BadUri("not a port"))).transpose()?;
    Ok((host, port))
}

/// A host as an address, if it is one. RFC 5118 §4.9: an IPv4 address in IPv6 clothes is that IPv4
/// address.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => Some(IpAddr::V6(reference(inner)?).to_canonical()),
        None => host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
    }
}

/// What stands in the brackets of an IPv6 reference. RFC 5118 §4.10: by a slip in its grammar,
/// RFC 3261 allows three colons where two are meant. A zone (RFC 4007 §11, RFC 6874) means
/// something to the sender only.
fn reference(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(a, zone)| (a, Some(zone)));
    let zoned = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
    if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(zoned)) {
        return None;
    }
    address.parse().or_else(|_| address.replacen(":::", "::", 1).parse()).ok()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            Scheme::Sip => f.write_str("sip:")?,
            Scheme::Sips => f.write_str("sips:")?,
            Scheme::Tel => f.write_str("tel:")?,
            Scheme::Other(name) => write!(f, "{name}:")?,
        }
        let tel = self.scheme == Scheme::Tel;
        write_escaped(f, &self.user, if tel { NUMBER } else { USER })?;
        if !(self.user.is_empty() || tel) {
            f.write_char('@')?;
        }
        write_visible(f, &self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        if !self.headers.is_empty() {
            f.write_char('?')?;
            write_visible(f, &self.headers)?;
        }
        Ok(())
    }
}

/// RFC 3261 §25.1 `mark` and `user-unreserved`: what a user part shows unescaped.
const USER: &[u8] = b"-_.!~*'()&=+$,;?/";

/// RFC 3966 §3: what a number shows unescaped; a semicolon would end it.
const NUMBER: &[u8] = b"-_.!~*'()&=+$,";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Uri {
        text.parse().expect(text)
    }

    #[test]
    fn the_parts_of_a_uri() {
        let uri = read("sip:%3401:pw@[2001:db8::1]:5070;transport=tcp;lr?Replaces=x%40y");
        assert_eq!((uri.user.as_str(), uri.host.as_str()), ("401", "[2001:db8::1]"));
        assert_eq!((uri.port, uri.headers.as_str()), (Some(5070), "Replaces=x%40y"));
        assert_eq!(uri.ip(), Some("2001:db8::1".parse().expect("an address")));
        assert_eq!(uri.to_string(), "sip:401@[2001:db8::1]:5070;transport=tcp;lr?Replaces=x%40y");
    }

    #[test]
    fn a_semicolon_before_the_at_belongs_to_the_user() {
        let uri = read("sip:+1555;phone-context=x@h;user=phone");
        assert_eq!(uri.user, "+1555;phone-context=x");
        assert!(uri.params.has("user"));
        assert_eq!(read("tel:+1-201-555-0123;ext=3").user, "+1-201-555-0123");
        assert_eq!(read("tel:+1201;ext=3").to_string(), "tel:+1201;ext=3");
        assert_eq!(read("nobodyKnows:totally/opaque").scheme, Scheme::Other("nobodyknows".into()));
    }

    #[test]
    fn voicemail_parameters_of_rfc_4458() {
        let uri = read("sip:vm@h;target=sip:%2B15551001%40example.com;cause=486");
        assert_eq!(uri.target().as_deref(), Some("sip:+15551001@example.com"));
        assert_eq!(uri.cause(), Some(486));
    }

    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            "sip:",
            "401",
            "sip:a@",
            "sip:a@h:99999",
            "sip:a@[::1",
            "sip:a b@h",
            "<sip:a@h>",
            "tel:",
            "tel:%0d%0a;ext=2",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_at_in_a_parameter_makes_no_other_host() {
        let uri = read("sip::pw@vm;target=sip:402@h?x=a@b");
        assert_eq!((uri.host.as_str(), uri.target().as_deref()), ("vm", Some("sip:402@h")));
        assert_eq!(uri.to_string(), "sip:vm;target=sip:402%40h?x=a%40b");
        assert!("sip:a@b@c".parse::<Uri>().is_err());
    }

    #[test]
    fn what_is_escaped_in_a_number_stays_in_it() {
        assert_eq!(read("tel:1%3Bext=2").to_string(), "tel:1%3Bext=2");
        assert_eq!(read("tel:1%3Bext=2").params, Params::default());
    }

    #[test]
    fn nothing_breaks_out_of_a_printed_uri() {
        let uri = Uri::sip("a\r\nX: y@<>\"", "h\r\n", None);
        assert_eq!(uri.to_string(), "sip:a%0D%0AX%3A%20y%40%3C%3E%22@h");
    }
}
