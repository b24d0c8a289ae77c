//! The other side of a transcript: what it sends, and whether it believes our answers.

use std::fmt::Write;

use super::{SDP, Stage};
use crate::proof::{Fields, Proof};

impl Stage {
    pub fn peer_sends(&mut self, rest: &str, lines: &[&str]) {
        let mut words = rest.split(' ');
        let first = words.next().expect("a method or a code");
        let words: Vec<&str> = words.collect();
        let value = |key: &str, default: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or(default).to_owned()
        };
        let message = match first.parse::<u16>() {
            Ok(code) => self.response(code, &words, &value),
            Err(_) => self.request(first, &words, &value),
        };
        let mut head: Vec<String> = message.split("\r\n").map(str::to_owned).collect();
        for line in lines {
            if let Some(name) = line.strip_prefix('-') {
                head.retain(|known| !known.starts_with(&format!("{name}:")));
                continue;
            }
            let line = line.replace("$tag", &self.our_tag).replace("$rseq", &self.our_rseq);
            head.insert(2, line.replace("$branch", &self.our_branch()));
        }
        let body = if words.contains(&"sdp") { SDP } else { "" };
        let body = if words.contains(&"text") { "hello" } else { body };
        let body = if words.contains(&"key") { "Signal=5\r\n" } else { body };
        let proof = self.proof(&value("as", ""), &message, body, &value);
        if let Some(proof) = proof {
            head.insert(2, proof);
        }
        let message = format!("{}Content-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len());
        self.endpoint.receive(self.now, self.flow, message.as_bytes());
        self.collect();
    }

    fn request(
        &self,
        method: &str,
        words: &[&str],
        value: &dyn Fn(&str, &str) -> String,
    ) -> String {
        let uri = value("uri", "sip:401@vm.example.com");
        let to_tag =
            if words.contains(&"tag") { format!(";tag={}", self.our_tag) } else { value("to", "") };
        let earlier = words.contains(&"earlier").then(|| format!(";tag={}", self.earlier_tag));
        let to_tag = earlier.unwrap_or(to_tag);
        let transport = self.flow.transport.name();
        let mut message = String::new();
        write!(
            message,
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {via};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\n\
             From: \"Alice\" <sip:alice@example.com>;tag={from}\r\n\
             To: <sip:401@vm.example.com>{to_tag}\r\n\
             Call-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@{remote}>\r\n",
            via = value("via", &self.flow.remote.to_string()),
            branch = value("branch", "a"),
            from = value("from", "alice"),
            call = self.call_id(&value("call", "call-1")),
            cseq = value("cseq", "1"),
            remote = self.flow.remote,
        )
        .expect("a String takes all");
        if words.contains(&"sdp") {
            message.push_str("Content-Type: application/sdp\r\n");
        }
        if words.contains(&"text") {
            message.push_str("Content-Type: text/plain\r\n");
        }
        if words.contains(&"key") {
            message.push_str("Content-Type: application/dtmf-relay\r\n");
        }
        message
    }

    /// What answers the last challenge: `alg=`, `qop=`, `nc=` and `duri=` say how.
    fn proof(
        &self,
        who: &str,
        message: &str,
        body: &str,
        value: &dyn Fn(&str, &str) -> String,
    ) -> Option<String> {
        let (username, secret) = who.split_once(':')?;
        let (method, rest) = message.split_once(' ')?;
        let uri = rest.split(' ').next()?;
        let algorithm = value("alg", "SHA-512-256");
        let offer = format!("algorithm={}", value("offer", &algorithm));
        let asked = Fields::find(&self.last_challenge, "WWW-Authenticate:", &offer);
        let asked = asked.expect("a challenge with this algorithm");
        let (qop, count) = (value("qop", "auth"), value("nc", "00000001"));
        let qop = if qop == "none" { "" } else { &qop };
        let proof = Proof {
            username,
            secret,
            algorithm: &algorithm,
            realm: asked.value("realm"),
            nonce: asked.value("nonce"),
            qop,
            count: &count,
            cnonce: "c",
            method,
            uri: &value("duri", uri),
            body,
        };
        Some(proof.header())
    }

    /// Sums up again what we answered.
    pub fn check_answer(&self, message: &str) {
        let Some(credentials) = &self.credentials else { return };
        let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        let mut words = head.split(' ');
        let (method, uri) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        for header in ["Authorization:", "Proxy-Authorization:"] {
            let Some(said) = Fields::find(head, header, "") else { continue };
            let proof = Proof {
                username: &credentials.username,
                secret: credentials.secret.expose(),
                algorithm: said.value("algorithm"),
                realm: said.value("realm"),
                nonce: said.value("nonce"),
                qop: said.value("qop"),
                count: said.value("nc"),
                cnonce: said.value("cnonce"),
                method,
                uri,
                body,
            };
            assert_eq!(said.value("response"), proof.response(), "{message}");
            assert_eq!((said.value("username"), said.value("uri")), (proof.username, uri));
        }
    }

    fn our_branch(&self) -> String {
        let found = self.last_request.split("branch=").nth(1);
        found.and_then(|rest| rest.split("\r\n").next()).unwrap_or_default().to_owned()
    }

    /// `ours` is the Call-ID of the call that we placed.
    fn call_id(&self, given: &str) -> String {
        let placed = self.last_invite.split("\r\n").find_map(|line| line.strip_prefix("Call-ID: "));
        placed.filter(|_| given == "ours").unwrap_or(given).to_owned()
    }

    /// Answers our last request, or our last INVITE.
    fn response(&self, code: u16, words: &[&str], value: &dyn Fn(&str, &str) -> String) -> String {
        let request =
            if words.contains(&"INVITE") { &self.last_invite } else { &self.last_request };
        let mut message = format!("SIP/2.0 {code} Whatever\r\n");
        for line in request.split("\r\n") {
            let copied = ["Via:", "From:", "Call-ID:", "CSeq:"];
            if copied.iter().any(|name| line.starts_with(name)) {
                message.push_str(line);
                message.push_str("\r\n");
            } else if line.starts_with("To:") {
                let tag = value("to", "");
                let tag = if tag.is_empty() { tag } else { format!(";tag={tag}") };
                message.push_str(line);
                message.push_str(&tag);
                message.push_str("\r\n");
            }
        }
        message.push_str("Contact: <sip:bob@10.0.0.1:5060>\r\n");
        if words.contains(&"sdp") {
            message.push_str("Content-Type: application/sdp\r\n");
        }
        message
    }
}
