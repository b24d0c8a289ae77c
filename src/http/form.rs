//! `application/x-www-form-urlencoded`, in queries and in bodies.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// More parameters than this nobody means.
const MOST: usize = 1000;

/// What looks like more than anybody means, before any of it is read.
pub(super) fn check(query: Option<&str>) -> Result<(), TooMany> {
    let many = query.is_some_and(|query| query.bytes().filter(|b| *b == b'&').count() >= MOST);
    if many { Err(TooMany) } else { Ok(()) }
}

/// All pairs in their order.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, TooMany> {
    let mut pairs = vec![];
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MOST {
            return Err(TooMany);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decoded(name), decoded(value)));
    }
    Ok(pairs)
}

/// What is not UTF-8 becomes a replacement character.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = tail;
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.extend(u8::try_from(high * 16 + low));
                rest = &tail[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_their_order() {
        let read = pairs("a=1+2&b=%2B%zz&&c&a=%C3%A9%ff").unwrap();
        let wanted = [("a", "1 2"), ("b", "+%zz"), ("c", ""), ("a", "\u{e9}\u{fffd}")];
        assert_eq!(read, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(pairs(&"x&".repeat(1001)), Err(TooMany));
        assert_eq!(check(Some(&"x&".repeat(1001))), Err(TooMany));
        assert_eq!((check(None), check(Some("a=1&b"))), (Ok(()), Ok(())));
    }
}
