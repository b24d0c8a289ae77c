//! What `afterbeep trace` shows, from the wire to the control socket.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::sync::mpsc;

use crate::control::{Reply, TraceFilter, TraceLine, Tracer};
use crate::sip::trace::{Filter, Line, Way};
use crate::sip::{Agent, Trace, Traced};

pub(super) fn tracer(agent: Agent) -> Tracer {
    Arc::new(move |TraceFilter { call, caller, mailbox }| {
        let trace = agent.trace(Filter { call, caller, called: mailbox })?;
        let (told, replies) = mpsc::channel(REPLIES);
        tokio::spawn(pass_on(trace, told));
        Some(replies)
    })
}

/// Until whoever asked goes away.
async fn pass_on(mut trace: Trace, told: mpsc::Sender<Reply>) {
    loop {
        let traced = tokio::select! {
            traced = trace.next() => traced,
            () = told.closed() => return,
        };
        let reply = match traced {
            Some(Traced::Line(line)) => Reply::Traced { message: message(line) },
            Some(Traced::Missed(messages)) => Reply::Missed { messages },
            None => return,
        };
        if told.send(reply).await.is_err() {
            return;
        }
    }
}

fn message(line: Line) -> TraceLine {
    let Line { at, way, transport, local, remote, call_id, summary, text } = line;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let direction = match way {
        Way::In => "in",
        Way::Out => "out",
    };
    TraceLine {
        at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        call_id,
        direction: direction.to_owned(),
        transport: transport.name().to_owned(),
        local: local.to_string(),
        remote: remote.to_string(),
        summary,
        text,
    }
}

/// Messages that may wait for the control socket.
const REPLIES: usize = 64;
