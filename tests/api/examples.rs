//! Every call that a vendor documents with an example, asked as documented: the answer has the
//! documented members, in their order and of their types.
//!
//! `examples/*.shape`: after each request, `= STATUS` and the shape of the answer. In a shape `<word>`
//! stands for a text or number of that kind, all else for itself; a list of one shape is a list of at
//! least one such thing. A shape of XML is the names of its elements in their order.

use std::fs;
use std::net::SocketAddr;

use super::harness::{Labels, exchange, validate};
use super::house::House;
use super::tree::Tree;

async fn asked(vendor: &str) {
    let path = format!("tests/api/examples/{vendor}.shape");
    let script = fs::read_to_string(&path).unwrap();
    let house = House::furnished(&path, &script).await;
    let address = house.address;
    let asked = tokio::task::spawn_blocking(move || ask(&script, address));
    assert!(asked.await.unwrap() > 0);
}

fn ask(script: &str, address: SocketAddr) -> usize {
    let mut labels = Labels::default();
    let all = script.split("### ").skip(1);
    all.map(|one| {
        let (title, rest) = one.split_once('\n').unwrap();
        let (request, wanted) = rest.split_once("\n= ").unwrap_or_else(|| panic!("{title}: no ="));
        let (status, shape) = wanted.split_once('\n').unwrap_or((wanted, ""));
        labels.asked += request;
        let (head, body) = exchange(&labels.filled(request), address);
        let shape = labels.filled(shape.trim());
        labels.labelled(&body);
        let told = head.lines().next().unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{title}: {told}\n{body}");
        if shape.starts_with('{') {
            let kind = "\ncontent-type: application/json\n";
            assert!(head.contains(kind), "{title}: {head}");
            let shape = Tree::read(&shape).unwrap_or_else(|| panic!("{title}: no JSON: {shape}"));
            let told = Tree::read(&body).unwrap_or_else(|| panic!("{title}: no JSON: {body}"));
            fits(&shape, &told, title);
        } else if shape.is_empty() {
            assert_eq!(body, "", "{title}");
        } else {
            validate(&body, title);
            assert_eq!(elements(&body), shape.split_whitespace().collect::<Vec<_>>(), "{title}");
        }
    })
    .count()
}

/// Panics where it does not, with the way to what does not fit.
fn fits(shape: &Tree, told: &Tree, at: &str) {
    match (shape, told) {
        (Tree::Object(shapes), Tree::Object(members)) => {
            assert_eq!(shape.names(), told.names(), "{at}: members and their order");
            for ((name, shape), (_, told)) in shapes.iter().zip(members) {
                fits(shape, told, &format!("{at}/{name}"));
            }
        }
        (Tree::List(shapes), Tree::List(items)) if shapes.len() == 1 => {
            assert!(!items.is_empty(), "{at} is empty");
            for (n, item) in items.iter().enumerate() {
                fits(&shapes[0], item, &format!("{at}/{n}"));
            }
        }
        (Tree::List(shapes), Tree::List(items)) => {
            assert_eq!(shapes.len(), items.len(), "{at}: {items:?}");
            for (n, (shape, item)) in shapes.iter().zip(items).enumerate() {
                fits(shape, item, &format!("{at}/{n}"));
            }
        }
        (Tree::Text(kind), told) if kind.starts_with('<') => {
            assert!(is_a(kind.trim_matches(['<', '>']), told), "{at} is no {kind}: {told:?}");
        }
        _ => assert_eq!(shape, told, "{at}"),
    }
}

fn is_a(kind: &str, told: &Tree) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let e164 = |text: &str| text.strip_prefix('+').is_some_and(digits);
    // `9` stands for a digit, `f` for a hexadecimal one, all else for itself.
    let like = |text: &str, form: &str| {
        let same = |(c, form): (char, char)| match form {
            '9' => c.is_ascii_digit(),
            'f' => matches!(c, '0'..='9' | 'a'..='f'),
            other => c == other,
        };
        text.chars().count() == form.chars().count() && text.chars().zip(form.chars()).all(same)
    };
    match (kind, told) {
        ("boolean", Tree::Bool(_)) | ("text", Tree::Text(_)) => true,
        ("count", Tree::Number(number)) => digits(number),
        ("milliseconds", Tree::Number(number)) => digits(number) && number.len() == 13,
        ("digits", Tree::Text(text)) => digits(text),
        ("e164", Tree::Text(text)) => e164(text),
        ("caller", Tree::Text(text)) => text.is_empty() || e164(text),
        ("id", Tree::Text(text)) => like(text, &"f".repeat(24)),
        ("uuid", Tree::Text(text)) => like(text, "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("date", Tree::Text(text)) => like(text, "9999-99-99"),
        ("instant", Tree::Text(text)) => like(text, "9999-99-99T99:99:99.999Z"),
        ("datetime", Tree::Text(text)) => like(text, "9999-99-99T99:99:99+99:99"),
        ("pin", Tree::Text(text)) => like(text, "9999"),
        ("session", Tree::Text(text)) => {
            text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        }
        ("base64", Tree::Text(text)) => text.starts_with("UklGR") && text.len() % 4 == 0,
        ("voicename", Tree::Text(text)) => text.strip_suffix(".mp3").is_some_and(|name| {
            name.split_once('_').is_some_and(|(own, who)| like(own, &"9".repeat(24)) && digits(who))
        }),
        _ => false,
    }
}

/// The names of all elements, in the order in which they begin.
fn elements(xml: &str) -> Vec<&str> {
    let begun = xml.split('<').skip(1).filter(|rest| !rest.starts_with(['/', '?']));
    begun.map(|rest| rest.split([' ', '>', '/']).next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telebroads_examples_have_their_shape() {
    asked("telebroad").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn onsips_examples_have_their_shape() {
    asked("onsip").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telecomxs_examples_have_their_shape() {
    asked("telecomx").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yays_examples_have_their_shape() {
    asked("yay").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telecmis_examples_have_their_shape() {
    asked("telecmi").await;
}
