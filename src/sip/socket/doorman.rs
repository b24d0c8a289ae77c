//! Tells the log who was turned away, and in a flood only how many.

use std::net::SocketAddr;
use std::time::Instant;

use tracing::info;

use crate::sip::gate::Bucket;

pub(super) struct Doorman {
    lines: Bucket,
    /// Turned away since the last line without one of their own.
    untold: u64,
}

impl Doorman {
    pub fn new() -> Self {
        Self { lines: Bucket::new(LINES_A_SECOND), untold: 0 }
    }

    pub fn tell(&mut self, source: SocketAddr, call_id: &str, status: u16) {
        if !self.lines.take(Instant::now()) {
            self.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        let id: String = call_id.chars().take(LONGEST).collect();
        info!(
            record = "call", id = %id.escape_debug(), %source, end = "refused", status, untold,
            "a call from {source} is over: refused with {status}"
        );
    }
}

/// A line costs more than the answer that it tells of.
const LINES_A_SECOND: u32 = 20;
const LONGEST: usize = 256;
