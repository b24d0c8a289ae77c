//! The shell: sockets, the clock and the seed around one [`Endpoint`].
//!
//! The endpoint lies under a `std` mutex that is held for one message or one wish at a time, so
//! a call's owner acts without waiting for a task, and bytes leave in the order they were decided.
//! One task per UDP socket drains it, one task watches the deadline, one task serves each
//! connection.

mod agent;
mod connection;
mod doorman;
mod listen;
mod names;
mod routes;
mod streams;
mod taps;
mod tls;
mod way;
mod websocket;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

pub use agent::{Agent, Dialog, Invite, Subscriber};
use doorman::Doorman;
use listen::{Datagrams, naming};
use names::Names;
use routes::Routes;
use streams::Streams;
use taps::Taps;
pub use taps::{Trace, Traced};
use tls::Tls;

use super::endpoint::announcing::{Announcement, AnnouncementKey};
use super::endpoint::{CallKey, Endpoint, Output};
use super::framing::MAX_MESSAGE;
use super::trace::Way;
use super::{
    Config, Credentials, Event, Flow, Link, NameAddr, Refusal, RegistrationKey, Reject, Standing,
    Transport, Uri,
};

/// Binds the listeners; an error names the address.
pub async fn bind(config: Config) -> io::Result<(Agent, mpsc::Receiver<Invite>)> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let (invites, waiting) = mpsc::channel(config.limits.backlog.max(1));
    let (subscribers, listens) = mpsc::channel(SUBSCRIBERS);

    let mut datagrams = Vec::new();
    let mut receivers = Vec::new();
    for address in &config.udp {
        let (socket, receiver) = listen::udp(*address).map_err(|e| naming("UDP", *address, &e))?;
        datagrams.push(socket);
        receivers.push(receiver);
    }
    let mut listeners = Vec::new();
    for (transport, addresses) in [
        (Transport::Tcp, &config.tcp),
        (Transport::Tls, &config.tls),
        (Transport::Ws, &config.ws),
        (Transport::Wss, &config.wss),
    ] {
        for address in addresses {
            let listener = listen::tcp(*address);
            let listener = listener.map_err(|e| naming(transport.name(), *address, &e))?;
            listeners.push((transport, listener));
        }
    }
    let listening = listeners.iter().map(|(kind, listener)| Ok((*kind, listener.local_addr()?)));
    let listening = listening.collect::<io::Result<Vec<_>>>()?;
    let tls = Tls::read(config.certificates)?;
    if listening.iter().any(|(transport, _)| transport.is_secure()) {
        tls.acceptor()?;
    }

    let mut endpoint = Endpoint::new(&config.user_agent, config.limits.clone(), seed);
    endpoint.authenticate(config.authentication);
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let board = Arc::new_cyclic(|this| Switchboard {
        this: this.clone(),
        board: Mutex::new(Board { endpoint, lines: HashMap::new(), announced: HashMap::new() }),
        datagrams,
        streams: Streams::new(&config.limits, listening),
        routes: Routes::new(config.advertised),
        names: Names::new(&config.nameservers, seed),
        standings: Mutex::default(),
        taps: Taps::default(),
        doorman: Mutex::new(Doorman::new()),
        tls,
        origins: config.origins,
        invites,
        subscribers,
        listens: Mutex::new(Some(listens)),
        rearm: Notify::new(),
        quiet: Notify::new(),
        unregistered: Notify::new(),
        tasks: Mutex::default(),
    });
    for (index, receiver) in receivers.into_iter().enumerate() {
        board.spawn(drain(board.clone(), index, receiver));
    }
    for (transport, listener) in listeners {
        board.spawn(streams::accept(board.clone(), transport, listener));
    }
    board.spawn(tls::watch(board.clone()));
    board.spawn(keep_time(board.clone()));
    for registration in config.registrations {
        board.with(|endpoint, now| endpoint.register(now, registration));
    }
    Ok((Agent::new(board), waiting))
}

/// Where bytes and wishes meet: the endpoint, and who waits for its events.
struct Switchboard {
    this: Weak<Switchboard>,
    board: Mutex<Board>,
    datagrams: Vec<Datagrams>,
    streams: Streams,
    routes: Routes,
    names: Names,
    /// What has become of each registration.
    standings: Mutex<BTreeMap<RegistrationKey, Standing>>,
    taps: Taps,
    doorman: Mutex<Doorman>,
    tls: Tls,
    origins: Vec<String>,
    invites: mpsc::Sender<Invite>,
    /// Subscribers, for whoever tells them; until somebody does, none is let in.
    subscribers: mpsc::Sender<Subscriber>,
    listens: Mutex<Option<mpsc::Receiver<Subscriber>>>,
    /// The deadline has moved forward.
    rearm: Notify,
    /// The last call has ended.
    quiet: Notify,
    /// No registration of ours is left.
    unregistered: Notify,
    tasks: Mutex<Vec<AbortHandle>>,
}

struct Board {
    endpoint: Endpoint,
    lines: HashMap<CallKey, Line>,
    announced: HashMap<AnnouncementKey, oneshot::Sender<Result<(), Refusal>>>,
}

struct Line {
    /// Boxed: the queue holds room for all that it may hold, in each call.
    events: mpsc::Sender<Box<Event>>,
    /// A call of ours: who waits for its answer.
    answer: Option<oneshot::Sender<Result<Vec<u8>, Refusal>>>,
}

/// A call of ours, on its way.
struct Placed {
    key: CallKey,
    answered: oneshot::Receiver<Result<Vec<u8>, Refusal>>,
    events: mpsc::Receiver<Box<Event>>,
}

impl Switchboard {
    /// Does something with the endpoint, then everything that follows from it.
    fn with<R>(&self, act: impl FnOnce(&mut Endpoint, Instant) -> R) -> R {
        self.with_board(|board, now| act(&mut board.endpoint, now))
    }

    fn with_board<R>(&self, act: impl FnOnce(&mut Board, Instant) -> R) -> R {
        let mut board = self.lock();
        let before = board.endpoint.deadline();
        let result = act(&mut board, Instant::now());
        self.flush(&mut board);
        let after = board.endpoint.deadline();
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.rearm.notify_one();
        }
        if board.endpoint.calls() == 0 {
            self.quiet.notify_one();
        }
        if board.endpoint.registrations() == 0 {
            self.unregistered.notify_one();
        }
        result
    }

    fn receive(&self, flow: Flow, bytes: &[u8]) {
        self.taps.saw(Way::In, flow, || bytes.into());
        self.with(|endpoint, now| endpoint.receive(now, flow, bytes));
    }

    /// Sends an INVITE. Its line is there before the INVITE leaves, because the answer may be back
    /// at once.
    fn place(
        &self,
        flow: Flow,
        target: &Uri,
        from: &NameAddr,
        offer: String,
        credentials: Option<Credentials>,
    ) -> Result<Placed, Refusal> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (answer, answered) = oneshot::channel();
        let line = Line { events, answer: Some(answer) };
        let key = self.with_board(|board, now| {
            let key = board.endpoint.call_as(now, flow, target, from, offer, credentials)?;
            board.lines.insert(key, line);
            Ok(key)
        })?;
        Ok(Placed { key, answered, events: receiver })
    }

    /// Sends a NOTIFY; who waits for its answer is there before it leaves.
    fn announce(
        &self,
        flow: Flow,
        announcement: Announcement,
    ) -> Result<oneshot::Receiver<Result<(), Refusal>>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.with_board(|board, now| {
            let key = board.endpoint.announce(now, flow, announcement)?;
            board.announced.insert(key, answer);
            Ok(answered)
        })
    }

    /// Nobody listens to this call any more.
    fn forget(&self, key: CallKey) {
        self.lock().lines.remove(&key);
    }

    fn local_addrs(&self) -> Vec<(Transport, SocketAddr)> {
        let udp = self.datagrams.iter().map(|d| (Transport::Udp, d.local));
        udp.chain(self.streams.listening()).collect()
    }

    async fn locate(self: Arc<Self>, key: RegistrationKey, uri: Uri) {
        let ways = self.ways_to(&uri).await.unwrap_or_default();
        self.with(|endpoint, now| endpoint.located(now, key, ways));
    }

    fn note_standing(&self, key: RegistrationKey, standing: Standing) {
        let mut standings = lock(&self.standings);
        let before = standings.get(&key);
        match &standing {
            Standing::Registered { aor, expires } => {
                let refreshed = matches!(before, Some(Standing::Registered { .. }));
                let seconds = expires.as_secs();
                if refreshed {
                    debug!(%aor, seconds, "still registered as {aor}, for {seconds} s");
                } else {
                    info!(%aor, seconds, "registered as {aor}, for {seconds} s");
                }
            }
            Standing::Failed { aor, why, wait } => {
                let (why, seconds) = (why.escape_debug(), wait.as_secs());
                warn!(%aor, %why, seconds, "not registered as {aor}: {why}; tries again in {seconds} s");
            }
            Standing::Left { aor } => info!(%aor, "no longer registered as {aor}"),
        }
        standings.insert(key, standing);
    }

    /// How we appear to a peer that reached us on `listener`.
    fn local_towards(&self, listener: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.routes.local(listener, remote)
    }

    async fn shut_down(&self, grace: Duration) {
        self.with(|endpoint, _| endpoint.close_door());
        let ended = tokio::time::timeout(grace, self.until_quiet()).await;
        if ended.is_err() {
            self.with(|endpoint, now| {
                for key in endpoint.call_keys() {
                    endpoint.bye(now, key);
                }
            });
            // The BYEs are sent; one round trip lets an unacknowledged call end too.
            let _late_ones_are_left = tokio::time::timeout(PARTING, self.until_quiet()).await;
        }
        self.with(Endpoint::unregister);
        let _late_ones_expire = tokio::time::timeout(PARTING, self.until_unregistered()).await;
        let sent = async {
            while !self.streams.are_idle() {
                tokio::time::sleep(GRAIN).await;
            }
        };
        let _who_does_not_read_is_left = tokio::time::timeout(PARTING, sent).await;
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
        self.lock().lines.clear();
    }

    async fn until_quiet(&self) {
        while self.with(|endpoint, _| endpoint.calls()) > 0 {
            self.quiet.notified().await;
        }
    }

    async fn until_unregistered(&self) {
        while self.with(|endpoint, _| endpoint.registrations()) > 0 {
            self.unregistered.notified().await;
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task).abort_handle());
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    fn flush(&self, board: &mut Board) {
        while let Some(output) = board.endpoint.poll() {
            match output {
                Output::Transmit(flow, bytes) => self.transmit(flow, &bytes),
                Output::Incoming(key, incoming) => {
                    let (events, receiver) = mpsc::channel(EVENTS);
                    board.lines.insert(key, Line { events, answer: None });
                    let Some(this) = self.this.upgrade() else { return };
                    let (source, call_id) = (incoming.source, incoming.call_id.clone());
                    let invite = Invite::new(this, key, *incoming, receiver);
                    if let Err(refused) = self.invites.try_send(invite) {
                        refused.into_inner().forget();
                        board.lines.remove(&key);
                        lock(&self.doorman).tell(source, &call_id, 503);
                        let why = Reject::Overloaded { retry_after: BACKLOG_WAIT };
                        board.endpoint.reject(Instant::now(), key, why);
                    }
                }
                Output::TurnedAway { source, call_id, code } => {
                    lock(&self.doorman).tell(source, &call_id, code);
                }
                Output::Gone(key) => drop(board.lines.remove(&key)),
                Output::Event(key, event) => board.tell(key, event),
                Output::Taken(key, body) => {
                    let line = board.lines.get_mut(&key).and_then(|line| line.answer.take());
                    if line.is_none_or(|answer| answer.send(Ok(body)).is_err()) {
                        board.endpoint.bye(Instant::now(), key);
                    }
                }
                Output::Refused(key, refusal) => {
                    let line = board.lines.remove(&key).and_then(|line| line.answer);
                    if let Some(answer) = line {
                        let _nobody_waits_any_more = answer.send(Err(refusal));
                    }
                }
                Output::Locate(key, uri) => {
                    if let Some(this) = self.this.upgrade() {
                        self.spawn(this.locate(key, uri));
                    }
                }
                Output::Registration(key, standing) => self.note_standing(key, standing),
                Output::Subscribing(key, subscribing) => {
                    let nobody_tells = lock(&self.listens).is_some();
                    let wants = Subscriber::Wants(key, subscribing);
                    if nobody_tells || self.subscribers.try_send(wants).is_err() {
                        let why = Reject::Overloaded { retry_after: BACKLOG_WAIT };
                        board.endpoint.decline_subscription(key, why);
                    }
                }
                Output::Unsubscribed(key) => {
                    if self.subscribers.try_send(Subscriber::Left(key)).is_err() {
                        debug!("a subscription ended, and nobody could be told");
                    }
                }
                Output::Announced(key, outcome) => {
                    if let Some(waits) = board.announced.remove(&key) {
                        let _nobody_waits_any_more = waits.send(outcome);
                    }
                }
                Output::Dropped { source, why } => {
                    debug!(%source, why, "dropped a message from {source}: {why}");
                }
            }
        }
    }

    fn transmit(&self, flow: Flow, bytes: &Arc<[u8]>) {
        self.taps.saw(Way::Out, flow, || bytes.clone());
        match flow.transport {
            Transport::Udp => {
                let fitting = |d: &&Datagrams| d.local.is_ipv4() == flow.remote.is_ipv4();
                let socket = match flow.link {
                    Link::Socket(index) => self.datagrams.get(index),
                    Link::Connection(_) | Link::Any => self.datagrams.iter().find(fitting),
                };
                // A datagram that is lost here is like one lost further on: it is repeated.
                let sent = socket.map(|socket| socket.sender.send_to(bytes, flow.remote));
                if let Some(Err(error)) = sent {
                    debug!(remote = %flow.remote, %error, "cannot send to {}: {error}", flow.remote);
                }
            }
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                if let Some(this) = self.this.upgrade() {
                    self.streams.send(&this, flow, bytes.clone());
                }
            }
        }
    }
}

impl Board {
    fn tell(&mut self, key: CallKey, event: Event) {
        let Some(line) = self.lines.get(&key) else { return };
        let last = matches!(event, Event::Bye | Event::Lost);
        // Whoever does not listen may miss a key press, never the end.
        let spare = matches!(event, Event::Info { .. }) && line.events.capacity() <= EVENTS / 2;
        if spare || line.events.try_send(Box::new(event)).is_err() {
            debug!("an event found nobody listening");
        }
        if last {
            self.lines.remove(&key);
        }
    }
}

impl Refusal {
    fn unavailable(reason: &str) -> Self {
        Self { code: 503, reason: reason.to_owned(), retry_after: None }
    }
}

/// A poisoned lock only says that another thread panicked; calls go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn drain(board: Arc<Switchboard>, index: usize, socket: UdpSocket) {
    let bound = board.datagrams[index].local;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        if let Err(error) = socket.readable().await {
            warn!(%bound, %error, "no more datagrams on {bound}: {error}");
            return;
        }
        let mut taken = 0;
        while taken < BATCH
            && let Ok((length, remote)) = socket.try_recv_from(&mut buffer)
        {
            let local = board.local_towards(bound, remote);
            let link = Link::Socket(index);
            let flow = Flow { transport: Transport::Udp, local, remote, link };
            board.receive(flow, &buffer[..length]);
            taken += 1;
        }
        if taken == BATCH {
            tokio::task::yield_now().await;
        }
    }
}

async fn keep_time(board: Arc<Switchboard>) {
    loop {
        let deadline = board.lock().endpoint.deadline();
        let soonest = Instant::now() + GRAIN;
        let until = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.max(soonest).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = until => board.with(Endpoint::wake),
            () = board.rearm.notified() => {}
        }
    }
}

/// Datagrams taken in one go before others get their turn.
const BATCH: usize = 64;
/// SIP's timers are hundreds of milliseconds: waking less often saves more than it costs.
const GRAIN: Duration = Duration::from_millis(5);
/// Events that may wait for the owner of a call.
const EVENTS: usize = 32;
/// Subscriptions that wait to be looked at, and ends of some to be heard of.
const SUBSCRIBERS: usize = 65_536;
const BACKLOG_WAIT: Duration = Duration::from_secs(2);
const PARTING: Duration = Duration::from_millis(500);
