//! Dialogs: who talks with whom, by which route, in which order (RFC 3261 §12).

use std::net::SocketAddr;

use rsip::headers::{self, UntypedHeader};
use rsip::{Header, Headers};

use super::message::{ACK, INVITE, Method, Outgoing, Request, Response, every, first};
use super::name_addr::NameAddr;
use super::text::{find_outside_quotes, list};
use super::uri::{Scheme, Uri};
use super::{Flow, Link, Transport};

#[derive(Debug, Clone)]
pub(super) struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// From of our requests, as a header value with its tag.
    pub local: String,
    /// To of our requests.
    remote: String,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    /// Route of our requests, next hop first: as written, parameters and all.
    routes: Vec<String>,
    /// RFC 3261 §12.1.1: the Contact of the other side, as written.
    target: String,
    /// RFC 3261 §12.1.1: `sips` where the whole way is to be secure.
    pub scheme: Scheme,
    /// How the other side was last heard.
    pub flow: Flow,
    behind_nat: bool,
}

impl Dialog {
    /// RFC 3261 §12.1.1. `None` without a Contact that we could write to.
    pub fn as_server(request: &Request, local_tag: String, flow: Flow) -> Option<Self> {
        let identity = &request.identity;
        let to = first!(request.headers, To).unwrap_or_default();
        let from = first!(request.headers, From).unwrap_or_default();
        let routes = record_route(every!(request.headers, RecordRoute));
        let target = contact(first!(request.headers, Contact)).or_else(|| older(request))?;
        let back = routes.first().map_or(target.as_str(), |route| between_brackets(route));
        let secure = is_sips(&request.target) || is_sips(back);
        Some(Self {
            call_id: identity.call_id.clone(),
            remote_tag: identity.from.tag().unwrap_or("").to_owned(),
            local: format!("{to};tag={local_tag}"),
            remote: from.to_owned(),
            local_tag,
            local_sequence: 0,
            remote_sequence: Some(identity.sequence),
            routes,
            target,
            scheme: if secure { Scheme::Sips } else { Scheme::Sip },
            behind_nat: identity.via.behind_nat(flow.remote),
            flow,
        })
    }

    /// RFC 3261 §12.1.2: the dialog that a 2xx to our INVITE opens. What is ours in it is taken
    /// from what we said, not from what came back of it.
    pub fn as_client(invite: &Outgoing, response: &Response, flow: Flow) -> Self {
        let local = first!(invite.headers, From).unwrap_or_default().to_owned();
        let named = local.parse::<NameAddr>().ok();
        let mut routes = record_route(every!(response.headers, RecordRoute));
        routes.reverse();
        // A 2xx without Contact breaks RFC 3261 §12.1.1, but the callee waits for its ACK.
        let target = contact(first!(response.headers, Contact));
        Self {
            call_id: first!(invite.headers, CallId).unwrap_or_default().to_owned(),
            local_tag: named.and_then(|name| Some(name.tag()?.to_owned())).unwrap_or_default(),
            remote_tag: response.identity.to.tag().unwrap_or("").to_owned(),
            local,
            remote: first!(response.headers, To).unwrap_or_default().to_owned(),
            local_sequence: invite.sequence(),
            remote_sequence: None,
            routes,
            target: target.unwrap_or_else(|| invite.target.clone()),
            scheme: if is_sips(&invite.target) { Scheme::Sips } else { Scheme::Sip },
            flow,
            behind_nat: false,
        }
    }

    pub fn is_of(&self, request: &Request) -> bool {
        let identity = &request.identity;
        self.call_id == identity.call_id
            && self.remote_tag == identity.from.tag().unwrap_or("")
            && identity.to.tag() == Some(&self.local_tag)
    }

    /// RFC 3261 §12.2.2: false for a request that comes out of order.
    pub fn admit(&mut self, sequence: u32) -> bool {
        let in_order = self.remote_sequence.is_none_or(|last| sequence >= last);
        if in_order {
            self.remote_sequence = Some(sequence);
        }
        in_order
    }

    /// RFC 3261 §12.2.2, RFC 3311 §5.2: a re-INVITE or UPDATE may move the other side.
    pub fn refresh(&mut self, request: &Request, flow: Flow) {
        self.move_to(&request.headers);
        self.behind_nat = request.identity.via.behind_nat(flow.remote);
        self.flow = flow;
    }

    /// RFC 3261 §12.2.1.2: and so may the 2xx to one of ours.
    pub fn move_to(&mut self, headers: &Headers) {
        if let Some(target) = contact(first!(headers, Contact)) {
            self.target = target;
        }
    }

    /// A new request within the dialog: RFC 3261 §12.2.1.1.
    pub fn request(&mut self, method: Method, branch: &str) -> (Outgoing, Flow) {
        self.local_sequence += 1;
        self.assemble(method, self.local_sequence, branch)
    }

    /// The ACK for a 2xx: RFC 3261 §13.2.2.4.
    pub fn ack(&self, sequence: u32, branch: &str) -> (Outgoing, Flow) {
        self.assemble(ACK, sequence, branch)
    }

    fn assemble(&self, method: Method, sequence: u32, branch: &str) -> (Outgoing, Flow) {
        let (target, routes) = self.way();
        let flow = self.next_hop();
        let cseq = format!("{sequence} {}", method.as_str());
        let mut headers: Vec<Header> = vec![
            headers::Via::new(our_via(&flow, branch)).into(),
            headers::MaxForwards::new("70").into(),
        ];
        headers.extend(routes.into_iter().map(|route| headers::Route::new(route).into()));
        headers.extend([
            Header::From(headers::From::new(&*self.local)),
            headers::To::new(&*self.remote).into(),
            headers::CallId::new(&*self.call_id).into(),
            headers::CSeq::new(cseq).into(),
        ]);
        (Outgoing { method, target, headers, body: Vec::new() }, flow)
    }

    /// Request-URI and Route: loose if the first route says `lr`, else strict, where the first
    /// route becomes the Request-URI and the target goes last.
    fn way(&self) -> (String, Vec<String>) {
        match self.routes.split_first() {
            Some((first, rest)) if !is_loose(first) => {
                let mut routes = rest.to_vec();
                routes.push(format!("<{}>", self.target));
                (between_brackets(first).to_owned(), routes)
            }
            Some(_) | None => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Where a request goes: the first route, else the target, if that is an address. Names are
    /// not looked up here: a peer that calls itself by name is written to where it was heard, and
    /// so is one behind a translator, whose Contact leads nowhere (RFC 5626 §1 has the story).
    fn next_hop(&self) -> Flow {
        let hop = self.routes.first().map_or(self.target.as_str(), |route| between_brackets(route));
        let Ok(uri) = hop.parse::<Uri>() else { return self.flow };
        let Some(ip) = uri.ip() else { return self.flow };
        if (self.behind_nat && self.routes.is_empty()) || ip.is_ipv4() != self.flow.local.is_ipv4()
        {
            return self.flow;
        }
        let transport = Transport::wanted_by(&uri).unwrap_or(self.flow.transport);
        // RFC 7118 §5: a browser's Contact leads nowhere, and we open no WebSocket.
        if transport.is_web() || (self.flow.transport.is_web() && self.routes.is_empty()) {
            return self.flow;
        }
        let remote = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
        // A connection that is open already is the best way back to the host at its other end.
        let open = transport.is_reliable() && ip == self.flow.remote.ip();
        match (transport == self.flow.transport, open) {
            // Should it be gone by then, the address leads on.
            (true, true) => Flow { remote, ..self.flow },
            (true, false) if transport == Transport::Udp => Flow { remote, ..self.flow },
            _ => Flow { transport, remote, link: Link::Any, ..self.flow },
        }
    }
}

pub(super) fn our_via(flow: &Flow, branch: &str) -> String {
    format!("SIP/2.0/{} {};rport;branch={branch}", flow.transport.name(), flow.local)
}

fn record_route<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    values.flat_map(list).map(str::to_owned).collect()
}

fn is_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

fn contact(value: Option<&str>) -> Option<String> {
    let element = list(value?).next()?;
    let uri = element.parse::<NameAddr>().ok()?.uri;
    // Kept as written; escaping it anew might make it another URI.
    let written = between_brackets(element);
    let bare = !element.contains('<');
    Some(if bare { uri.to_string() } else { written.to_owned() })
}

/// RFC 4475 §3.4.1: a caller of RFC 2543 need not say Contact; it is reached at its From.
fn older(request: &Request) -> Option<String> {
    let old = !request.identity.via.branch().is_some_and(|b| b.starts_with("z9hG4bK"));
    let silent = first!(request.headers, Contact).is_none();
    (old && silent).then(|| request.identity.from.uri.to_string())
}

fn between_brackets(element: &str) -> &str {
    let inner = find_outside_quotes(element, '<').map_or(element, |open| &element[open + 1..]);
    inner.split('>').next().unwrap_or(inner)
}

/// Read from the text: a route that says `lr` in a URI that we would not accept is loose all the
/// same.
fn is_loose(route: &str) -> bool {
    let params = between_brackets(route).split(';').skip(1);
    params
        .map(|param| param.split('=').next().unwrap_or("").trim())
        .any(|name| name.eq_ignore_ascii_case("lr"))
}

/// Our first request of a dialog to be.
pub(super) struct Opening<'a> {
    pub target: &'a Uri,
    pub from: &'a NameAddr,
    pub contact: Header,
    pub call_id: String,
    pub tag: String,
    pub branch: &'a str,
    pub flow: Flow,
}

impl Opening<'_> {
    /// RFC 3261 §8.1.1 and §13.2.1.
    pub fn invite(self, more: Vec<Header>, body: Vec<u8>) -> Outgoing {
        let target = self.target.to_string();
        let mut from = self.from.clone();
        from.params.set("tag", Some(self.tag));
        let mut headers: Vec<Header> = vec![
            headers::Via::new(our_via(&self.flow, self.branch)).into(),
            headers::MaxForwards::new("70").into(),
            headers::From::new(from.to_string()).into(),
            headers::To::new(format!("<{target}>")).into(),
            headers::CallId::new(self.call_id).into(),
            headers::CSeq::new("1 INVITE").into(),
            self.contact,
        ];
        headers.extend(more);
        Outgoing { method: INVITE, target, headers, body }
    }
}
