//! What time it is, for those who write it down.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::mailbox::Mailbox;
use crate::mailbox::greeting::Moment;

/// The owner's; the host's where none is set.
pub(super) fn zone(mailbox: &Mailbox) -> TimeZone {
    let named = mailbox.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
    named.unwrap_or_else(TimeZone::system)
}

pub(super) fn moment(mailbox: &Mailbox) -> Moment {
    let now = Zoned::now().with_time_zone(zone(mailbox));
    let part = |value: i8| u16::try_from(value).unwrap_or(0);
    Moment {
        day: u8::try_from(now.weekday().to_monday_zero_offset()).unwrap_or(0),
        minute: part(now.hour()) * 60 + part(now.minute()),
    }
}

pub(super) fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
