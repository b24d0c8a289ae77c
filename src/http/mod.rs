//! The HTTP interfaces: listeners, limits, and the table of faces.
//!
//! Every face tells the same messages from the same spool, in its vendor's words.

pub mod calls;
pub mod guard;

mod audio;
mod body;
mod crowd;
mod deed;
mod fault;
mod form;
mod head;
mod link;
#[allow(unused_qualifications, reason = "utoipa's macros name all in full")]
mod native;
mod site;

mod dialect {
    use axum::body::Body;
    use axum::http::{StatusCode, header};
    use axum::response::{IntoResponse, Response};

    pub(super) mod onsip;
    pub(super) mod telebroad;
    pub(super) mod telecmi;
    pub(super) mod telecomx;
    pub(super) mod yay;

    /// What is told of messages and mailboxes stays in nobody's cache.
    fn json(status: StatusCode, body: impl Into<Body>) -> Response {
        let kind = (header::CONTENT_TYPE, "application/json");
        (status, [kind, (header::CACHE_CONTROL, "no-store")], body.into()).into_response()
    }
}

pub use dialect::telecmi::{
    missed_call as telecmi_missed_call, missed_call_in_india as telecmi_missed_call_in_india,
};

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::timeout::TimeoutLayer;

use crate::accept::accept;
use crate::config::{self, Network};
use crate::directory::Directory;
use crate::mailbox::{MailboxId, MessageId};
use crate::spool::{Renditions, Spool};
use crate::state::State;
use crate::tls;
use crowd::{Crowd, Seat};
use fault::Fault;
use guard::Guard;
use head::Heard;

/// Makes path and query of a message's audio for a letter: good without a login, until this Unix
/// second.
pub fn letter_link(
    state: &State,
) -> impl Fn(&MailboxId, MessageId, i64) -> String + Send + Sync + 'static {
    let links = link::Links::in_letters(state);
    move |mailbox, id, expires| native::in_letter(&links, mailbox, id, expires)
}

/// What a face may use.
#[derive(Clone)]
pub struct House {
    pub spool: Spool,
    pub directory: Directory,
    pub guard: Guard,
    pub state: State,
    pub media: Media,
    /// Unix seconds.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Whether somebody is leaving a message in a mailbox now.
    pub busy: Arc<dyn Fn(&MailboxId) -> bool + Send + Sync>,
    pub calls: calls::Calls,
    /// The configuration in force, without secrets.
    pub options: Arc<Value>,
}

/// What can be done with audio. Each of these blocks.
#[derive(Clone)]
pub struct Media {
    /// Whether a file is audio that callers can hear.
    pub playable: fn(&path::Path) -> io::Result<()>,
    /// A recording, in whatever format, as a WAV of ours.
    pub wav: fn(Vec<u8>) -> io::Result<Vec<u8>>,
    /// The same, made as loud as the prompts.
    pub greeting: fn(Vec<u8>) -> io::Result<Vec<u8>>,
    /// A file of whatever kind as a WAV.
    pub whole: fn(&path::Path) -> io::Result<Vec<u8>>,
    /// The loudest sample of each of so many columns.
    pub peaks: fn(&path::Path, usize) -> io::Result<Vec<u8>>,
    /// Recordings in other forms: each is made once.
    pub renditions: Renditions,
}

/// Longer than the slowest upload that is waited for.
const SLOWEST: Duration = Duration::from_secs(600);

type Routes = fn(House, &config::Http) -> Router;
/// How a face says what is wrong with a request that never came to it.
type Refuse = fn(&House, Fault) -> Response;

/// Every vendor's interface: whether it is shown, and what its addresses begin with. Where several
/// fit the first counts.
fn faces(options: &config::Http) -> [(bool, &'static [&'static str], Routes, Refuse); 5] {
    use dialect::{onsip, telebroad, telecmi, telecomx, yay};
    let calls: &[_] = &["/v2/", "/v1/voicemail", "/v1/play"];
    [
        (options.telebroad, &["/api/teleconsole/"], telebroad::routes, telebroad::refuse),
        (options.onsip, &["/api", "/webapi"], onsip::routes, onsip::refuse),
        (options.telecomx, &["/mvno/", "/pbx/", "/auth/"], telecomx::routes, telecomx::refuse),
        (options.yay, &["/voip/"], yay::routes, yay::refuse),
        (options.telecmi, calls, telecmi::routes, telecmi::refuse),
    ]
}

fn router(house: &House, options: &config::Http) -> Router {
    let mut router = Router::new();
    for (_, _, routes, _) in faces(options).into_iter().filter(|(shown, ..)| *shown) {
        router = router.merge(routes(house.clone(), options));
    }
    if options.api {
        router = router.merge(native::routes(house.clone()));
    }
    router = router.fallback(|| async {
        (StatusCode::NOT_FOUND, "there is nothing at this address\n").into_response()
    });
    if !options.cors_origins.is_empty() {
        router = router.layer(cors(&options.cors_origins));
    }
    let own = site::Own::new(&options.cors_origins);
    router
        .layer(middleware::from_fn_with_state(own, site::only_own_pages))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, SLOWEST))
        .layer(CatchPanicLayer::new())
}

/// What the face at a path says of a request that never came to it.
fn refusals(house: &House, options: &config::Http) -> Refusals {
    let (house, faces) = (house.clone(), faces(options));
    Arc::new(move |path, fault| {
        let mut shown = faces.iter().filter(|(shown, ..)| *shown);
        let asked = shown.find(|(_, at, ..)| at.iter().any(|at| path.starts_with(at)));
        let refuse = asked.map_or(native::refuse as Refuse, |(_, _, _, refuse)| *refuse);
        let mut response = refuse(&house, fault);
        // RFC 9110 §6.6.1.
        let now = Timestamp::from_second((house.now)()).unwrap_or_default();
        let now = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok();
        let now = now.and_then(|now| HeaderValue::try_from(now).ok());
        response.headers_mut().extend(now.map(|now| (header::DATE, now)));
        response
    })
}

type Refusals = Arc<dyn Fn(&str, Fault) -> Response + Send + Sync>;

/// What an authority asks on port 80 before it signs a certificate (RFC 8555 §8.3), and nothing else.
pub fn challenges(challenges: tls::acme::Challenges) -> Router {
    let answer = |Path(token): Path<String>| async move {
        challenges.answer(&token).ok_or(StatusCode::NOT_FOUND)
    };
    Router::new().route("/.well-known/acme-challenge/{token}", routing::get(answer))
}

/// What pages of these origins may do from a browser.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let headers = ["authorization", "content-type", "if-match", "if-none-match", "idempotency-key"];
    let headers = headers.map(header::HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods(methods)
        .allow_headers(headers)
        .expose_headers([header::ETAG, header::LOCATION, header::CONTENT_RANGE])
}

/// Work on the disk or with audio, away from the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What takes a core and much memory for a while, such as reading a recording whole: few at a time.
async fn heavy<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let turn = heavy_turn().await?;
    blocking(move || {
        let _turn = turn;
        work()
    })
    .await
}

/// It goes with the work: a client that hangs up does not end it.
async fn heavy_turn() -> io::Result<OwnedSemaphorePermit> {
    static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(4)));
    Arc::clone(&TURNS).acquire_owned().await.map_err(io::Error::other)
}

/// Binds one address; the error names it.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen for HTTP on {address}: {e}")))
}

/// What keeps clients from wearing the server out.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; further ones wait. Half of them at most from one origin, but from
    /// this host and from proxies.
    pub connections: usize,
    /// How long a connection may take to say what it wants, at first and between two requests.
    pub patience: Duration,
    /// How long a request's body may take to come; a long one more.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let body = Duration::from_secs(20);
        Self { connections: 512, patience: Duration::from_secs(15), body }
    }
}

/// Connections of all listeners.
#[derive(Clone)]
pub struct Server {
    router: Router,
    limits: Limits,
    places: Arc<Semaphore>,
    crowd: Crowd,
    tls: Option<tls::Shown>,
    proxies: Arc<[Network]>,
    refusals: Refusals,
}

impl Server {
    pub fn new(router: Router, limits: Limits) -> Self {
        let limits =
            Limits { connections: limits.connections.min(Semaphore::MAX_PERMITS), ..limits };
        let places = Arc::new(Semaphore::new(limits.connections));
        let crowd = Crowd::new(usize::MAX, limits.connections.div_ceil(2));
        let refusals: Refusals = Arc::new(|_, fault| fault.status().into_response());
        Self { router, limits, places, crowd, tls: None, proxies: Arc::default(), refusals }
    }

    /// All faces that are shown.
    pub fn of_faces(house: &House, options: &config::Http, limits: Limits) -> Self {
        Self { refusals: refusals(house, options), ..Self::new(router(house, options), limits) }
    }

    /// Speaks HTTPS.
    pub fn with_tls(self, tls: tls::Shown) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Believes these proxies who asks.
    pub fn behind(self, proxies: &[Network]) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// Serves until `stopped` says so or its sender is gone, then finishes the requests that run.
    pub async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let stop = stopped.clone();
        loop {
            // A place is taken only once somebody is there: listeners share them.
            let next = async {
                let (stream, from, seat) = self.welcomed(&listener).await;
                (stream, from, (seat, Arc::clone(&self.places).acquire_owned().await))
            };
            tokio::select! {
                (stream, from, place) = next => {
                    connections.spawn(self.clone().greet(stream, from, stop.clone(), place));
                }
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// The next connection of an origin that has not too many.
    async fn welcomed(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Option<Seat>) {
        loop {
            let (stream, from) = accept("HTTP", || listener.accept()).await;
            let address = from.ip().to_canonical();
            let is_near = address.is_loopback()
                || self.proxies.iter().any(|network| network.contains(address));
            if is_near {
                return (stream, from, None);
            }
            if let Some(seat) = self.crowd.enter(guard::origin(address)) {
                return (stream, from, Some(seat));
            }
        }
    }

    async fn greet<P>(
        self,
        stream: TcpStream,
        from: SocketAddr,
        stopped: watch::Receiver<bool>,
        _place: P,
    ) {
        // An answer goes out in few pieces: none should wait for another.
        let _ = stream.set_nodelay(true);
        match self.tls.clone() {
            None => self.converse(stream, from, stopped).await,
            // Who cannot shake hands is told so by TLS, and by nobody else.
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.converse(stream, from, stopped).await;
                }
            }
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        from: SocketAddr,
        mut stopped: watch::Receiver<bool>,
    ) {
        let Self { router, limits, proxies, refusals, .. } = self;
        let service = service_fn(move |mut request: Request<Incoming>| {
            let from = source(from, request.headers(), &proxies);
            request.extensions_mut().insert(ConnectInfo(from));
            let request = request.map(|body| body::paced(Body::new(body), limits.body));
            TowerToHyperService::new(router.clone()).call(request)
        });
        let mut heard = Heard::new(stream);
        {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.patience)
                .max_buf_size(head::LONGEST)
                .serve_connection(TokioIo::new(&mut heard), service);
            let mut connection = pin!(connection);
            let is_over = tokio::select! {
                // What a client does wrong is its own affair.
                _ = &mut connection => true,
                _ = stopped.wait_for(|stopped| *stopped) => false,
            };
            if !is_over {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
        if let Some((path, fault)) = heard.refused() {
            let answer = refusals(path, fault);
            // Who does not listen is not waited for.
            let _ = timeout(limits.patience, heard.answer(answer)).await;
        }
    }
}

/// Who asks: the last address that no proxy of ours has added.
fn source(from: SocketAddr, headers: &HeaderMap, proxies: &[Network]) -> SocketAddr {
    let ours = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
    if !ours(from.ip()) {
        return from;
    }
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .collect();
    let mut told = lines.iter().rev().map(|one| one.trim().parse::<IpAddr>());
    let foreign = told.find(|one| one.as_ref().map_or(true, |address| !ours(*address)));
    match foreign {
        Some(Ok(address)) => SocketAddr::new(address, 0),
        Some(Err(_)) | None => from,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use tokio::task::JoinHandle;

    async fn server(limits: Limits) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().fallback(|| async { "here" });
        let serving = tokio::spawn(Server::new(router, limits).serve(listener, stopped));
        (address, stop, serving)
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let size = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..size]).into_owned()
    }

    #[tokio::test]
    async fn who_never_says_what_he_wants_makes_room_for_others() {
        let limits =
            Limits { connections: 2, patience: Duration::from_millis(200), ..Limits::default() };
        let (address, _stop, _serving) = server(limits).await;
        let mut slow = vec![];
        for begun in ["", "GET / HTTP/1.1\r\nX: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            slow.push(stream);
        }
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late).await.ends_with("here"));
        for stream in &mut slow {
            stream.read_to_end(&mut vec![]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_stops_ends_idle_connections() {
        let (address, stop, serving) = server(Limits::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream).await.ends_with("here"));
        stop.send(true).unwrap();
        serving.await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    }

    #[test]
    fn only_our_proxies_are_believed_who_asks() {
        let proxies: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let told = |from: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            source(format!("{from}:5").parse().unwrap(), &headers, &proxies).ip().to_string()
        };
        assert_eq!(told("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(told("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, 203.0.113.9", "10.0.0.2"]), "203.0.113.9");
        assert_eq!(told("10.0.0.1", &["203.0.113.9, rubbish"]), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
    }
}
