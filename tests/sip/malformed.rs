//! A table of what should not be sent, and what comes back: many rows are RFC 4475's.

use std::time::Instant;

use afterbeep::sip::endpoint::{Endpoint, Output};
use afterbeep::sip::{Flow, Limits, Link, Transport};

#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Answer(&'static str),
    Silence,
}

use Reaction::{Answer, Silence};

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_malformed_message_has_its_reaction() {
    let good = OPTIONS;
    let head = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let rows: Vec<(&str, Vec<u8>, Reaction)> = vec![
        ("the model itself", head("", ""), Answer("200")),
        ("nothing", Vec::new(), Silence),
        ("keep-alive", b"\r\n\r\n".to_vec(), Silence),
        ("keep-alive of zeros", vec![0; 4], Silence),
        ("noise", (0..=255).collect(), Silence),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Silence),
        ("STUN", b"\x00\x01\x00\x00\x21\x12\xa4\x42aaaaaaaaaaaa".to_vec(), Silence),
        ("a head only", b"OPTIONS sip:h SIP/2.0\r\n\r\n".to_vec(), Silence),
        ("leading blank lines", head("OPTIONS sip:401", "\r\n\r\nOPTIONS sip:401"), Answer("200")),
        ("bare LF", head("\r\n", "\n"), Answer("200")),
        ("no end of the head", good.trim_end().as_bytes().to_vec(), Answer("200")),
        ("folded header", head("Call-ID: 1", "Call-ID:\r\n 1"), Answer("200")),
        ("compact names", head("Via:", "v :").into_iter().collect(), Answer("200")),
        (
            "unknown header with odd bytes",
            head("Call-ID", "X-Odd: \u{1}\u{7f}é\r\nCall-ID"),
            Answer("200"),
        ),
        ("version 7", head("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Answer("505")),
        (
            "unknown version in Via",
            head("SIP/2.0/UDP", "SIP/7.0/UDP"),
            Answer("400 Bad Or Missing Via"),
        ),
        ("unknown protocol in Via", head("SIP/2.0/UDP", "HTTP/2.0/UDP"), Silence),
        ("no Via", head("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n", ""), Silence),
        ("no From", head("From: <sip:a@h>;tag=1\r\n", ""), Answer("400 Bad Or Missing From")),
        ("no To", head("To: <sip:401@h>\r\n", ""), Answer("400 Bad Or Missing To")),
        ("no Call-ID", head("Call-ID: 1\r\n", ""), Answer("400 Bad Or Missing Call-ID")),
        ("no CSeq", head("CSeq: 1 OPTIONS\r\n", ""), Answer("400 Bad Or Missing CSeq")),
        (
            "two Froms",
            head("To:", "From: <sip:b@h>;tag=2\r\nTo:"),
            Answer("400 Bad Or Missing From"),
        ),
        ("two CSeqs", head("To:", "CSeq: 2 OPTIONS\r\nTo:"), Answer("400 Bad Or Missing CSeq")),
        (
            "CSeq of another method",
            head("1 OPTIONS", "1 INVITE"),
            Answer("400 CSeq Method Differs"),
        ),
        ("CSeq too large", head("1 OPTIONS", "36893488147419103232 OPTIONS"), Answer("400")),
        ("negative CSeq", head("1 OPTIONS", "-1 OPTIONS"), Answer("400")),
        ("From without its bracket", head("<sip:a@h>", "<sip:a@h"), Answer("400")),
        ("open quote in To", head("<sip:401@h>\r\n", "\"Mr <sip:401@h>\r\n"), Answer("400")),
        (
            "blank before Request-URI",
            head("OPTIONS sip", "OPTIONS  sip"),
            Answer("400 Bad Request-URI"),
        ),
        (
            "blank in Request-URI",
            head("sip:401@h SIP", "sip:401@h; lr SIP"),
            Answer("400 Bad Request-URI"),
        ),
        (
            "brackets around Request-URI",
            head("sip:401@h SIP", "<sip:401@h> SIP"),
            Answer("400 Bad Request-URI"),
        ),
        (
            "blank after version",
            head("SIP/2.0\r\nVia", "SIP/2.0  \r\nVia"),
            Answer("400 Bad Request-URI"),
        ),
        ("Request-URI without host", head("sip:401@h SIP", "sip:401@ SIP"), Answer("400")),
        (
            "Max-Forwards too large",
            head("Call-ID", "Max-Forwards: 256\r\nCall-ID"),
            Answer("400 Bad Max-Forwards"),
        ),
        (
            "Max-Forwards in words",
            head("Call-ID", "Max-Forwards: many\r\nCall-ID"),
            Answer("400 Bad Max-Forwards"),
        ),
        (
            "header without colon",
            head("Call-ID", "Nonsense\r\nCall-ID"),
            Answer("400 Malformed Header"),
        ),
        (
            "header name with a blank",
            head("Call-ID", "My Header: x\r\nCall-ID"),
            Answer("400 Malformed Header"),
        ),
        ("fold before any header", head("Via", " x\r\nVia"), Answer("400")),
        (
            "negative Content-Length",
            head("\r\n\r\n", "\r\nContent-Length: -1\r\n\r\n"),
            Answer("400 Bad Content-Length"),
        ),
        (
            "signed Content-Length",
            head("\r\n\r\n", "\r\nContent-Length: +0\r\n\r\n"),
            Answer("400 Bad Content-Length"),
        ),
        (
            "body cut short",
            head("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\n"),
            Answer("400 Body Shorter"),
        ),
        (
            "Content-Length twice",
            head("\r\n\r\n", "\r\nl: 0\r\nContent-Length: 1\r\n\r\nx"),
            Answer("400 Content-Length Differs"),
        ),
        ("more than the body", head("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nxyz"), Answer("200")),
        (
            "a thousand headers",
            head("Call-ID", &format!("{}Call-ID", "X: y\r\n".repeat(1000))),
            Answer("400 Too Many Headers"),
        ),
        ("a malformed ACK", head("OPTIONS", "ACK").into_iter().chain(*b"x").collect(), Silence),
        (
            "an ACK with no Call-ID",
            good.replace("OPTIONS", "ACK").replace("Call-ID: 1\r\n", "").into(),
            Silence,
        ),
        (
            "a response to nothing",
            good.replace("OPTIONS sip:401@h SIP/2.0", "SIP/2.0 200 OK").into(),
            Silence,
        ),
        (
            "a response with code 99",
            good.replace("OPTIONS sip:401@h SIP/2.0", "SIP/2.0 99 Low").into(),
            Silence,
        ),
        (
            "a response with code 4294967301",
            good.replace("OPTIONS sip:401@h SIP/2.0", "SIP/2.0 4294967301 No").into(),
            Silence,
        ),
        (
            "a response without a reason",
            good.replace("OPTIONS sip:401@h SIP/2.0", "SIP/2.0 200").into(),
            Silence,
        ),
        (
            "escaped line break in the user",
            head("sip:401@h SIP", "sip:4%0d%0aEvil:%20x@h SIP"),
            Answer("200"),
        ),
        ("rport that is no port", head(";branch", ";rport=x;branch"), Answer("200")),
        ("no branch", head(";branch=z9hG4bK1", ""), Answer("200")),
        ("RFC 4475 wsinv", WSINV.as_bytes().to_vec(), Answer("481")),
        (
            "RFC 4475 intmeth",
            good.replace("OPTIONS", "!interesting-Method0123456789_*+`.%indeed'~")
                .replace("sip:401@h SIP", "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP")
                .replace("<sip:401@h>", "\"BEL:\\\u{7} NUL:\\\u{0} DEL:\\\u{7f}\" <sip:401@h>")
                .into(),
            Answer("501"),
        ),
        ("RFC 4475 esc02", good.replace("OPTIONS", "RE%47IST%45R").into(), Answer("501")),
        ("RFC 4475 escnull", good.replace("OPTIONS", "REGISTER").replace("sip:a@h", "sip:%00@h").into(), Answer("405")),
        ("RFC 4475 lwsdisp", head("From: <", "From: caller<"), Answer("200")),
        ("RFC 4475 semiuri", head("sip:401@h SIP", "sip:user;par=u%40example.net@example.com SIP"), Answer("200")),
        ("RFC 4475 transports", head("SIP/2.0/UDP", "SIP/2.0/UNKNOWN"), Answer("200")),
        ("RFC 4475 badaspec", head("<sip:401@h>\r", "\"Watson, Thomas\" < t.watson@example.org >\r"), Answer("400")),
        ("RFC 4475 unkscm", head("sip:401@h SIP", "nobodyKnowsThisScheme:totallyopaquecontent SIP"), Answer("416")),
        ("RFC 4475 novelsc", head("sip:401@h SIP", "soap.beep://192.0.2.103:3002 SIP"), Answer("416")),
        ("RFC 4475 bext01", head("Call-ID", "Require: nothingSupportsThis\r\nCall-ID"), Answer("420")),
        ("RFC 4475 badbranch", head("z9hG4bK1", "z9hG4bK"), Answer("200")),
        ("IPv6 without its bracket", head("sip:401@h SIP", "sip:401@[2001:db8::1 SIP"), Answer("400")),
        ("IPv6 everywhere", head("10.0.0.1", "[2001:db8::1]").into_iter().collect(), Answer("200")),
        ("tel everywhere", good.replace("sip:401@h", "tel:+1;ext=4").replace("sip:a@h", "tel:+2").into(), Answer("200")),
        ("empty branch", head("z9hG4bK1", ""), Answer("200")),
    ];
    for (name, bytes, wanted) in rows {
        let said = reaction(&bytes);
        let fits = match (&said, &wanted) {
            (Some(said), Answer(start)) => said.starts_with(&format!("SIP/2.0 {start}")),
            (None, Silence) => true,
            (Some(_), Silence) | (None, Answer(_)) => false,
        };
        assert!(fits, "{name}: wanted {wanted:?}, got {said:?}");
    }
}

/// What comes back; checked to be one well-formed head.
fn reaction(bytes: &[u8]) -> Option<String> {
    let mut endpoint = Endpoint::new("Afterbeep", Limits::default(), [3; 32]);
    endpoint.receive(Instant::now(), flow(), bytes);
    let mut said = None;
    while let Some(output) = endpoint.poll() {
        match output {
            Output::Transmit(to, bytes) => {
                assert_eq!(to.remote.ip(), flow().remote.ip(), "an answer to somebody else");
                let text = String::from_utf8(bytes.to_vec()).expect("we write UTF-8");
                assert!(!text.contains("\r\nEvil"), "a line was smuggled in: {text}");
                assert!(said.replace(text).is_none(), "two answers");
            }
            Output::Dropped { .. } | Output::TurnedAway { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    said
}

pub fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.9:5060".parse().expect("an address"),
        remote: "10.0.0.1:5060".parse().expect("an address"),
        link: Link::Socket(0),
    }
}

const OPTIONS: &str = "OPTIONS sip:401@h SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:401@h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";

/// RFC 4475 §3.1.1.1, a short tortuous INVITE.
const WSINV: &str = "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\nTO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\nfrom   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\nMaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 0\r\ncseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\nUnknownHeaderWithUnusualValue: ;;,,;;,;\r\nContent-Type: application/sdp\r\nRoute:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\nm:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\r\n";
