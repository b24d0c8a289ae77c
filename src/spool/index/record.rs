//! A message as the index keeps it: a few bytes before each text, no names.

use std::time::Duration;

use crate::mailbox::{
    CallerId, Deleted, Envelope, Folder, Formats, Forwarded, Heard, MailboxId, Message, MessageId,
    Stem,
};

/// What tells one content of a file from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) struct Stamp {
    pub(in crate::spool) modified: i64,
    pub(in crate::spool) bytes: u64,
    pub(in crate::spool) inode: u64,
}

/// How a message's sidecar and its best audio file looked when they were read. Without sidecar the
/// first is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::spool) struct Seen {
    pub(in crate::spool) sidecar: Stamp,
    pub(in crate::spool) audio: Stamp,
}

impl Seen {
    pub(super) fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        let Self { sidecar, audio } = self;
        let words = [sidecar, audio].map(|s| [s.modified.cast_unsigned(), s.bytes, s.inode]);
        for (to, word) in bytes.chunks_exact_mut(8).zip(words.as_flattened()) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_be_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().unwrap_or_default();
        let mut stamp = || Stamp { modified: next().cast_signed(), bytes: next(), inode: next() };
        Self { sidecar: stamp(), audio: stamp() }
    }
}

/// Begins with its own length, so that many can be read as one piece, and its mailbox's number.
pub(super) fn encode(mailbox: u32, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(448);
    out.extend([0; 4]);
    out.extend(mailbox.to_le_bytes());
    let mut text = |text: &str| {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        out.extend(length.to_le_bytes());
        out.extend(text.as_bytes());
    };
    let Message { envelope, heard, forwarded, deleted, .. } = message;
    text(message.folder.name());
    text(message.stem.as_str());
    text(&envelope.caller.number);
    text(&envelope.caller.name);
    text(&envelope.caller.ext);
    text(&envelope.to);
    text(&envelope.call);
    text(&envelope.sip_call_id);
    text(&message.sha256);
    text(&message.category);
    text(&message.transcript);
    text(heard.as_ref().map_or("", |heard| &heard.by));
    text(forwarded.as_ref().map_or("", |forwarded| &forwarded.by));
    text(deleted.as_ref().map_or("", |deleted| &deleted.by));
    text(deleted.as_ref().map_or("", |deleted| deleted.from.name()));
    out.extend(message.id.bytes());
    out.extend(message.origin.map_or([0; 16], MessageId::bytes));
    let marks = [
        message.urgent,
        message.private,
        message.silent,
        message.origin.is_some(),
        heard.is_some(),
        forwarded.is_some(),
        deleted.is_some(),
        message.filed.is_some(),
    ];
    out.push(marks.iter().rev().fold(0, |byte, mark| byte << 1 | u8::from(*mark)));
    out.extend(message.formats.bits().to_le_bytes());
    out.extend(message.rate.to_le_bytes());
    let millis = u64::try_from(message.duration.as_millis()).unwrap_or(u64::MAX);
    for number in [
        message.number,
        message.bytes,
        millis,
        envelope.received.cast_unsigned(),
        heard.as_ref().map_or(0, |heard| heard.at).cast_unsigned(),
        forwarded.as_ref().map_or(0, |forwarded| forwarded.received).cast_unsigned(),
        deleted.as_ref().map_or(0, |deleted| deleted.at).cast_unsigned(),
        message.filed.unwrap_or(0).cast_unsigned(),
    ] {
        out.extend(number.to_le_bytes());
    }
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

/// The messages of records that lie one behind the other; what is no record is left out.
pub(super) fn decode_all(
    mut bytes: &[u8],
    name: impl Fn(u32) -> Option<MailboxId>,
) -> Vec<Message> {
    let mut found = vec![];
    // Most lists are of one mailbox.
    let mut last: Option<(u32, MailboxId)> = None;
    while let Some((record, rest)) = next(bytes) {
        bytes = rest;
        let Some((number, record)) = record.split_first_chunk() else { continue };
        let number = u32::from_le_bytes(*number);
        if last.as_ref().is_none_or(|(other, _)| *other != number) {
            last = name(number).map(|mailbox| (number, mailbox));
        }
        found.extend(last.as_ref().and_then(|(_, mailbox)| decode_one(record, mailbox.clone())));
    }
    found
}

/// `None` where the bytes are no record.
pub(super) fn decode(bytes: &[u8], mailbox: &MailboxId) -> Option<Message> {
    let (record, _) = next(bytes)?;
    decode_one(record.get(4..)?, mailbox.clone())
}

/// What the first record says, and all behind it.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn decode_one(bytes: &[u8], mailbox: MailboxId) -> Option<Message> {
    let mut rest = bytes;
    let mut text = || {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, after) = after.split_at_checked(length)?;
        rest = after;
        str::from_utf8(text).ok()
    };
    let (folder, stem) = (Folder::named(text()?)?, Stem::found(text()?)?);
    let caller = CallerId { number: text()?.into(), name: text()?.into(), ext: text()?.into() };
    let (to, call, sip_call_id) = (text()?.into(), text()?.into(), text()?.into());
    let (sha256, category, transcript) = (text()?.into(), text()?.into(), text()?.into());
    let (heard_by, forwarded_by, deleted_by, deleted_from) = (text()?, text()?, text()?, text()?);
    let (id, rest) = rest.split_first_chunk()?;
    let (origin, rest) = rest.split_first_chunk()?;
    let (marks, rest) = rest.split_first()?;
    let is = |bit: u8| marks & 1 << bit != 0;
    let (formats, rest) = rest.split_first_chunk()?;
    let (rate, rest) = rest.split_first_chunk()?;
    let mut numbers = rest.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
    let (number, bytes, millis) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let mut time = || numbers.next().map(u64::cast_signed);
    let received = time()?;
    let (heard_at, forwarded_received, deleted_at, filed) = (time()?, time()?, time()?, time()?);
    Some(Message {
        id: MessageId::from_bytes(*id),
        number,
        mailbox,
        folder,
        stem,
        formats: Formats::from_bits(u32::from_le_bytes(*formats))?,
        envelope: Envelope { caller, to, received, call, sip_call_id },
        duration: Duration::from_millis(millis),
        rate: u32::from_le_bytes(*rate),
        bytes,
        sha256,
        heard: is(4).then_some(Heard { at: heard_at, by: heard_by.into() }),
        urgent: is(0),
        private: is(1),
        silent: is(2),
        origin: is(3).then(|| MessageId::from_bytes(*origin)),
        forwarded: is(5)
            .then_some(Forwarded { by: forwarded_by.into(), received: forwarded_received }),
        deleted: if is(6) {
            let from = Folder::named(deleted_from)?;
            Some(Deleted { at: deleted_at, by: deleted_by.into(), from })
        } else {
            None
        },
        filed: is(7).then_some(filed),
        category,
        transcript,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let stem = Stem::found("msg0007").unwrap();
        let new = Message::new(MessageId::new(7, 9), 816, "1000@sales".parse().unwrap(), stem);
        let envelope = Envelope {
            caller: CallerId { number: "+1".into(), name: "Zoë".into(), ext: "2".into() },
            to: "5".into(),
            received: -7,
            call: "17".into(),
            sip_call_id: "x@y".into(),
        };
        Message { envelope, duration: Duration::from_millis(1234), ..new }
    }

    #[test]
    fn a_record_says_all_of_its_message() {
        let plain = message();
        let full = Message {
            folder: Folder::Other("Cust1".into()),
            heard: Some(Heard { at: 5, by: "joe".into() }),
            forwarded: Some(Forwarded { by: "jane".into(), received: 3 }),
            deleted: Some(Deleted { at: 9, by: "x".into(), from: Folder::Work }),
            origin: Some(MessageId::new(1, 2)),
            filed: Some(4),
            urgent: true,
            private: true,
            silent: true,
            category: "c".into(),
            transcript: "words, words".into(),
            ..message()
        };
        for message in [plain, full] {
            let bytes = encode(5, &message);
            assert_eq!(decode(&bytes, &message.mailbox), Some(message.clone()));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut], &message.mailbox), None);
            }
        }
    }

    #[test]
    fn records_are_read_as_one_piece() {
        let [jane, joe]: [MailboxId; 2] =
            ["1000@sales", "1001@sales"].map(|id| id.parse().unwrap());
        let of =
            |mailbox: &MailboxId, number| Message { mailbox: mailbox.clone(), number, ..message() };
        let told = [(0, of(&jane, 1)), (1, of(&joe, 2)), (7, of(&joe, 3)), (0, of(&jane, 4))];
        let mut piece: Vec<u8> =
            told.iter().flat_map(|(at, message)| encode(*at, message)).collect();
        // Another version's, or what a disk has made of one.
        piece.extend([2, 0, 0, 0, 1, 2, 6, 0, 0, 0, 1, 0, 0, 0, 9, 9]);
        piece.extend(encode(1, &of(&joe, 5)));
        let names = |number| [&jane, &joe].get(number as usize).copied().cloned();
        let numbers: Vec<u64> = decode_all(&piece, names).iter().map(|m| m.number).collect();
        assert_eq!(numbers, [1, 2, 4, 5]);
        assert_eq!(decode_all(&piece, names)[1], of(&joe, 2));
        assert_eq!(decode_all(&piece[..9], names), []);
    }

    #[test]
    fn stamps_are_kept() {
        let stamp = |n: i64| Stamp { modified: -n, bytes: 5, inode: 6 };
        let seen = Seen { sidecar: stamp(1), audio: stamp(2) };
        assert_eq!(Seen::from_bytes(&seen.to_bytes()), seen);
        assert_eq!(Seen::from_bytes(&[]), Seen::default());
    }
}
