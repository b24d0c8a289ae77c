//! `afterbeep trace`: the SIP of a running daemon, as a ladder.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::control::{Command, Operator, Reply, TraceFilter, TraceLine};

/// Show the SIP messages of a running daemon as they pass: a ladder for each call
///
/// Passwords, keys of media and key presses are left out. Ends with Ctrl-C.
#[derive(Args)]
pub(super) struct Trace {
    /// Only calls whose Call-ID begins so
    #[arg(long, value_name = "CALL-ID")]
    call: Option<String>,
    /// Only calls of this caller
    #[arg(long, value_name = "NUMBER")]
    caller: Option<String>,
    /// Only calls for this mailbox: NUMBER or NUMBER@CONTEXT
    #[arg(long, value_name = "MAILBOX")]
    mailbox: Option<String>,
    /// The whole messages too
    #[arg(long)]
    full: bool,
    /// As JSON, one message a line
    #[arg(long, conflicts_with = "full")]
    json: bool,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

impl Trace {
    pub(super) async fn run(self, operator: &mut Operator) -> anyhow::Result<()> {
        let Self { call, caller, mailbox, full, json, seconds } = self;
        let filter = TraceFilter { call, caller, mailbox };
        match operator.ask(Command::Trace { filter }).await? {
            Reply::Done => eprintln!("watching; Ctrl-C ends"),
            _ => bail!("the daemon answered something else"),
        }
        let mut ladder = Ladder { full, last: String::new(), began: HashMap::new() };
        let show = async {
            loop {
                let told = match operator.next().await? {
                    Reply::Traced { message } if json => serde_json::to_string(&message)? + "\n",
                    Reply::Traced { message } => ladder.rung(&message),
                    Reply::Missed { messages } => {
                        eprintln!("{messages} messages passed too fast to be shown");
                        continue;
                    }
                    _ => bail!("the daemon answered something else"),
                };
                let mut out = std::io::stdout().lock();
                out.write_all(told.as_bytes())?;
                out.flush()?;
            }
        };
        match seconds {
            Some(seconds) => {
                tokio::time::timeout(Duration::from_secs(seconds), show).await.unwrap_or(Ok(()))
            }
            None => show.await,
        }
    }
}

struct Ladder {
    full: bool,
    /// The call of the last rung.
    last: String,
    /// When each call was first seen.
    began: HashMap<String, i64>,
}

impl Ladder {
    fn rung(&mut self, message: &TraceLine) -> String {
        let TraceLine { at_ms, call_id, direction, transport, local, remote, summary, text } =
            message;
        let mut told = String::new();
        let here = format!("{call_id} {remote} {local}");
        if here != self.last {
            told += &format!("\ncall {}\n{remote} {transport} | {local}\n", plain(call_id));
            self.last = here;
        }
        if self.began.len() > MOST_CALLS {
            self.began.clear();
        }
        let began = *self.began.entry(call_id.clone()).or_insert(*at_ms);
        let at = Timestamp::from_millisecond(*at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let at = at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string();
        let since = format!(
            "{:+.3}",
            Duration::from_millis(u64::try_from(at_ms - began).unwrap_or(0)).as_secs_f64()
        );
        let summary = plain(summary);
        let (before, after) =
            if direction == "in" { ("──", "─▶") } else { ("◀─", "──") };
        let line = "─".repeat(WIDTH.saturating_sub(summary.chars().count()));
        told += &format!("{at} {since:>9}  {before} {summary} {line}{after}\n");
        if self.full {
            told.extend(text.lines().map(|line| format!("    {}\n", plain(line))));
            told.push('\n');
        }
        told
    }
}

/// A terminal obeys control characters; a caller must not reach it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

const WIDTH: usize = 48;
const MOST_CALLS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_has_its_head_once_and_arrows_for_both_ways() {
        let mut ladder = Ladder { full: true, last: String::new(), began: HashMap::new() };
        let mut rung = |at_ms, direction: &str, summary: &str| {
            ladder.rung(&TraceLine {
                at_ms,
                call_id: "a\u{1b}b".into(),
                direction: direction.into(),
                transport: "UDP".into(),
                local: "192.0.2.9:5060".into(),
                remote: "10.0.0.1:5060".into(),
                summary: summary.into(),
                text: "X: y\r\n\u{7}".into(),
            })
        };
        let first = rung(1_000, "in", "INVITE sip:1000@h");
        assert!(first.starts_with("\ncall a.b\n10.0.0.1:5060 UDP | 192.0.2.9:5060\n"), "{first}");
        assert!(first.contains("+0.000  ── INVITE sip:1000@h ──") && first.contains("─▶\n"));
        assert!(first.contains("    X: y\n    .\n"), "{first}");
        let second = rung(1_250, "out", "100 Trying (INVITE)");
        assert!(second.contains("+0.250  ◀─ 100 Trying (INVITE) ──"), "{second}");
        assert!(!second.contains("call "), "{second}");
    }
}
