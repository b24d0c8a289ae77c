//! What the rest of the house holds of SIP: an agent, invites, dialogs.
//!
//! Nothing here waits for a lock or a queue: a wish is done at once, on the thread that has it,
//! and its bytes are on their way when the method returns.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Placed, Switchboard, Trace, lock};
use crate::sip::endpoint::CallKey;
use crate::sip::trace::Filter;
use crate::sip::{
    Announcement, Credentials, Event, Flow, Gone, Incoming, NameAddr, Reason, Refer, Refusal,
    Reject, Standing, Subscribing, SubscriptionKey, Ticket, Transport, Uri,
};

/// A handle to the listeners and all that goes on behind them.
#[derive(Clone)]
pub struct Agent {
    board: Arc<Switchboard>,
}

impl Agent {
    pub(super) fn new(board: Arc<Switchboard>) -> Self {
        Self { board }
    }

    /// Where we listen, with the ports that the system chose for port 0.
    pub fn local_addrs(&self) -> Vec<(Transport, SocketAddr)> {
        self.board.local_addrs()
    }

    /// Reads the certificates again. Connections that stand keep what they began with.
    pub async fn reload(&self) {
        let board = self.board.clone();
        let _it_tells_the_log = tokio::task::spawn_blocking(move || board.tls.reload()).await;
    }

    /// Calls in progress, either way.
    pub fn calls(&self) -> usize {
        self.board.with(|endpoint, _| endpoint.calls())
    }

    /// Calls `target` with an offer and waits for the final answer; the answer is the dialog's
    /// `remote_body`. Dropping the future cancels the call.
    pub async fn call(
        &self,
        target: &Uri,
        from: &NameAddr,
        offer: String,
    ) -> Result<Dialog, Refusal> {
        self.call_as(target, from, offer, None).await
    }

    /// The same, with an answer to whoever asks who we are.
    pub async fn call_as(
        &self,
        target: &Uri,
        from: &NameAddr,
        offer: String,
        credentials: Option<&Credentials>,
    ) -> Result<Dialog, Refusal> {
        let mut refusal = Refusal::unavailable("Unknown Host");
        for place in self.board.places(target).await? {
            let flow = match self.board.way_to(place, target).await {
                Ok(flow) => flow,
                Err(refused) => {
                    refusal = refused;
                    continue;
                }
            };
            match self.try_call(flow, target, from, offer.clone(), credentials).await {
                // RFC 3263 §4.3: the next server may be there, or have room.
                Err(refused) if matches!(refused.code, 408 | 503) => refusal = refused,
                done => return done,
            }
        }
        Err(refusal)
    }

    /// Shows messages as they pass; `None` where as many watch as may.
    pub fn trace(&self, filter: Filter) -> Option<Trace> {
        Trace::new(self.board.clone(), filter)
    }

    /// What has become of our registrations elsewhere.
    pub fn registrations(&self) -> Vec<Standing> {
        lock(&self.board.standings).values().cloned().collect()
    }

    async fn try_call(
        &self,
        flow: Flow,
        target: &Uri,
        from: &NameAddr,
        offer: String,
        credentials: Option<&Credentials>,
    ) -> Result<Dialog, Refusal> {
        let placed = self.board.place(flow, target, from, offer, credentials.cloned());
        let Placed { key, answered, events } = placed?;
        let mut attempt = Attempt { line: Some(Line { board: self.board.clone(), key }) };
        let body = match answered.await {
            Ok(answer) => answer.inspect_err(|_| attempt.line = None)?,
            Err(_the_agent_is_shut_down) => return Err(Refusal::unavailable("Shut Down")),
        };
        let line = attempt.line.take().ok_or_else(|| Refusal::unavailable("Shut Down"))?;
        Ok(Dialog::new(line, events, Some(body)))
    }

    /// Who subscribes, and whose subscription has ended; the first who asks hears of them.
    pub fn subscribers(&self) -> Option<mpsc::Receiver<Subscriber>> {
        lock(&self.board.listens).take()
    }

    /// 200, and a NOTIFY with this body.
    pub fn grant(&self, key: SubscriptionKey, body: String) {
        self.board.with(|endpoint, now| endpoint.grant(now, key, body.into_bytes()));
    }

    pub fn decline(&self, key: SubscriptionKey, why: Reject) {
        self.board.with(|endpoint, _| endpoint.decline_subscription(key, why));
    }

    /// This is now so: told at once, or as soon as a second has passed.
    pub fn notify(&self, key: SubscriptionKey, body: String) {
        self.board.with(|endpoint, now| endpoint.notify(now, key, body.into_bytes()));
    }

    pub fn end(&self, key: SubscriptionKey, reason: Reason) {
        self.board.with(|endpoint, now| endpoint.end_subscription(now, key, reason));
    }

    /// Tells somebody who has not subscribed, and waits for the answer. What to say may depend on
    /// where we are reached from there.
    pub async fn announce(
        &self,
        target: &Uri,
        say: impl Fn(SocketAddr) -> Announcement,
    ) -> Result<(), Refusal> {
        let mut refusal = Refusal::unavailable("Unknown Host");
        for place in self.board.places(target).await? {
            let told = match self.board.way_to(place, target).await {
                Ok(flow) => self.board.announce(flow, say(flow.local)),
                Err(refused) => Err(refused),
            };
            let answer = match told {
                Ok(answered) => answered.await,
                Err(refused) => Ok(Err(refused)),
            };
            match answer.unwrap_or_else(|_| Err(Refusal::unavailable("Shut Down"))) {
                // RFC 3263 §4.3.
                Err(refused) if matches!(refused.code, 408 | 503) => refusal = refused,
                done => return done,
            }
        }
        Err(refusal)
    }

    /// Lets no new call in, waits for the others up to `grace`, then hangs up.
    pub async fn shutdown(self, grace: Duration) {
        self.board.shut_down(grace).await;
    }
}

/// What whoever tells subscribers hears of them.
#[derive(Debug)]
pub enum Subscriber {
    /// Waits for `grant` or `decline`.
    Wants(SubscriptionKey, Box<Subscribing>),
    /// There is nobody to tell any more.
    Left(SubscriptionKey),
}

/// One call on the board.
struct Line {
    board: Arc<Switchboard>,
    key: CallKey,
}

impl Line {
    fn accept(&self, ticket: Ticket, sdp: &str) {
        self.board.with(|endpoint, now| endpoint.accept(now, self.key, ticket, sdp));
    }

    fn refuse(&self, ticket: Ticket) {
        self.board.with(|endpoint, now| endpoint.refuse(now, self.key, ticket));
    }
}

/// A call of ours that has no answer yet; dropped, it is cancelled.
struct Attempt {
    line: Option<Line>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(Line { board, key }) = self.line.take() {
            board.forget(key);
            board.with(|endpoint, now| endpoint.bye(now, key));
        }
    }
}

/// A new call, 100 sent. It derefs to what the INVITE says. Dropped unanswered, it gets 500.
pub struct Invite {
    incoming: Incoming,
    waiting: Option<(Line, mpsc::Receiver<Box<Event>>)>,
    /// The offer that was told last.
    ticket: Option<Ticket>,
}

impl Invite {
    pub(super) fn new(
        board: Arc<Switchboard>,
        key: CallKey,
        incoming: Incoming,
        events: mpsc::Receiver<Box<Event>>,
    ) -> Self {
        Self { incoming, waiting: Some((Line { board, key }, events)), ticket: None }
    }

    /// For those who watch: who calls, and whom the call is for.
    pub fn is_for(&self, caller: &str, called: &str) {
        if let Some((Line { board, .. }, _)) = &self.waiting {
            board.taps.learn(&self.incoming.call_id, caller, called);
        }
    }

    /// 180 Ringing.
    pub fn ring(&self) {
        if let Some((Line { board, key }, _)) = &self.waiting {
            board.with(|endpoint, now| endpoint.ring(now, *key));
        }
    }

    /// 183 with our answer, or our offer if the INVITE had none; audio may flow before the 200. To
    /// a caller who lacks RFC 3262 an offer of ours is not sent.
    pub fn progress(&self, sdp: &str) {
        if let Some((Line { board, key }, _)) = &self.waiting {
            board.with(|endpoint, now| endpoint.progress(now, *key, sdp));
        }
    }

    /// What happens while it rings: an offer by UPDATE or PRACK, or another identity.
    pub async fn next(&mut self) -> Result<Event, Gone> {
        let Some((_, events)) = &mut self.waiting else { return Err(Gone) };
        let event = *events.recv().await.ok_or(Gone)?;
        if let Event::Offer { ticket, .. } = &event {
            self.ticket = Some(*ticket);
        }
        Ok(event)
    }

    /// 200 for the offer that came last.
    pub fn accept(&mut self, sdp: &str) {
        if let (Some((line, _)), Some(ticket)) = (&self.waiting, self.ticket.take()) {
            line.accept(ticket, sdp);
        }
    }

    /// 488 for it.
    pub fn refuse_offer(&mut self) {
        if let (Some((line, _)), Some(ticket)) = (&self.waiting, self.ticket.take()) {
            line.refuse(ticket);
        }
    }

    /// 200 with this description, unless a reliable 183 has settled it before; [`Event::Confirmed`] follows when the ACK comes.
    #[expect(clippy::unused_async, reason = "a transport that must wait may come")]
    pub async fn answer(mut self, sdp: String) -> Result<Dialog, Gone> {
        let (line, events) = self.waiting.take().ok_or(Gone)?;
        let offer = self.incoming.offer.take();
        line.board.with(|endpoint, now| endpoint.answer(now, line.key, &sdp))?;
        let mut dialog = Dialog::new(line, events, offer);
        dialog.ticket = self.ticket.take();
        Ok(dialog)
    }

    pub fn reject(mut self, why: Reject) {
        self.refuse(why);
    }

    /// Waits until the caller hangs up; for whoever lets a call ring.
    pub async fn gone(&mut self) -> Gone {
        while let Ok(event) = self.next().await {
            if let Event::Offer { .. } = event {
                self.refuse_offer();
            }
        }
        Gone
    }

    /// Gives the invite up without a word: for who holds the board's lock.
    pub(super) fn forget(mut self) {
        self.waiting = None;
    }

    fn refuse(&mut self, why: Reject) {
        if let Some((Line { board, key }, _)) = self.waiting.take() {
            board.forget(key);
            board.with(|endpoint, now| endpoint.reject(now, key, why));
        }
    }
}

impl Deref for Invite {
    type Target = Incoming;

    fn deref(&self) -> &Incoming {
        &self.incoming
    }
}

impl Drop for Invite {
    fn drop(&mut self) {
        self.refuse(Reject::ServerError);
    }
}

/// A call that was answered. Dropped, it is hung up.
pub struct Dialog {
    state: State,
    remote_body: Option<Vec<u8>>,
    /// The offer that was told last.
    ticket: Option<Ticket>,
}

enum State {
    Up(Line, mpsc::Receiver<Box<Event>>),
    Over,
}

impl Dialog {
    fn new(line: Line, events: mpsc::Receiver<Box<Event>>, remote_body: Option<Vec<u8>>) -> Self {
        Self { state: State::Up(line, events), remote_body, ticket: None }
    }

    /// What happens next. After [`Event::Bye`], [`Event::Lost`] or our own `bye` it waits for
    /// ever. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        let State::Up(_, events) = &mut self.state else { return pending().await };
        // Only a shut-down closes the queue of a call that lasts.
        let event = events.recv().await.map_or(Event::Lost, |event| *event);
        match &event {
            Event::Bye | Event::Lost => self.state = State::Over,
            Event::Confirmed { answer } => {
                self.remote_body = answer.clone().or(self.remote_body.take());
            }
            Event::Offer { ticket, sdp } => {
                self.ticket = Some(*ticket);
                self.remote_body = sdp.clone().or(self.remote_body.take());
            }
            Event::Info { .. }
            | Event::Identity(_)
            | Event::Refer(_)
            | Event::Reached { .. }
            | Event::Referred { .. } => {}
        }
        event
    }

    /// The last description that the other side sent, offer or answer.
    pub fn remote_body(&self) -> Option<&[u8]> {
        self.remote_body.as_deref()
    }

    /// 200 for the [`Event::Offer`] that was told last: our answer, or our offer if it brought
    /// none. If it was cancelled meanwhile, nothing happens, whatever has come since.
    pub fn accept(&mut self, sdp: &str) {
        if let (State::Up(line, _), Some(ticket)) = (&self.state, self.ticket.take()) {
            line.accept(ticket, sdp);
        }
    }

    /// 488 for it.
    pub fn refuse(&mut self) {
        if let (State::Up(line, _), Some(ticket)) = (&self.state, self.ticket.take()) {
            line.refuse(ticket);
        }
    }

    /// Lets the call go on where a REFER names, if that is at an address that it may be at:
    /// [`Event::Reached`] follows when it is answered there. Else the REFER is declined.
    pub fn transfer(
        &self,
        refer: &Refer,
        offer: String,
        may_be_at: impl Fn(IpAddr) -> bool + Send + 'static,
    ) {
        let State::Up(line, _) = &self.state else { return };
        let (board, key) = (line.board.clone(), line.key);
        let Refer { ticket, target, .. } = refer.clone();
        line.board.spawn(async move {
            let way = board.way_within(&target, may_be_at).await;
            board.with(|endpoint, now| match way {
                Some(flow) => endpoint.transfer(now, key, ticket, flow, offer),
                None => endpoint.decline(now, key, ticket),
            });
        });
    }

    /// Asks the other side to call somebody else: [`Event::Referred`] follows. False where that
    /// cannot even be asked.
    pub fn refer(&self, target: &str) -> bool {
        let (State::Up(Line { board, key }, _), Ok(target)) = (&self.state, target.parse::<Uri>())
        else {
            return false;
        };
        board.with(|endpoint, now| endpoint.refer(now, *key, &target))
    }

    /// 603 for a REFER.
    pub fn decline(&self, refer: &Refer) {
        if let State::Up(Line { board, key }, _) = &self.state {
            board.with(|endpoint, now| endpoint.decline(now, *key, refer.ticket));
        }
    }

    /// The call goes on with whom [`Event::Reached`] told of; false when that has hung up already.
    pub fn take(&self, ticket: Ticket) -> bool {
        match &self.state {
            State::Up(Line { board, key }, _) => {
                board.with(|endpoint, now| endpoint.take(now, *key, ticket))
            }
            State::Over => false,
        }
    }

    /// It does not, and stays as it was.
    pub fn leave(&self, ticket: Ticket) {
        if let State::Up(Line { board, key }, _) = &self.state {
            board.with(|endpoint, now| endpoint.leave(now, *key, ticket));
        }
    }

    pub fn bye(&mut self) {
        if let State::Up(Line { board, key }, _) = std::mem::replace(&mut self.state, State::Over) {
            board.forget(key);
            board.with(|endpoint, now| endpoint.bye(now, key));
        }
    }
}

impl Drop for Dialog {
    fn drop(&mut self) {
        self.bye();
    }
}
