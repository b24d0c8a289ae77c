//! The HTTP interfaces: listeners, limits, and the table of faces.
//!
//! Every face tells the same messages from the same spool, in its vendor's words.

pub mod guard;

mod dialect {
    pub(super) mod telebroad;
}

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::accept::accept;
use crate::config;
use crate::directory::Directory;
use crate::mailbox::MailboxId;
use crate::spool::Spool;
use crate::state::State;
use guard::Guard;

/// What a face may use.
#[derive(Clone)]
pub struct House {
    pub spool: Spool,
    pub directory: Directory,
    pub guard: Guard,
    pub state: State,
    /// Unix seconds.
    pub now: fn() -> i64,
    /// Whether somebody is leaving a message in a mailbox now.
    pub busy: Busy,
    /// Whether a file is audio that callers can hear.
    pub playable: fn(&Path) -> io::Result<()>,
}

pub type Busy = Arc<dyn Fn(&MailboxId) -> bool + Send + Sync>;

const LARGEST_BODY: usize = 1024 * 1024;
const SLOWEST: Duration = Duration::from_secs(30);

type Face = fn(House, &config::Http) -> Router;

/// Every vendor's interface, and whether it is shown.
fn faces(options: &config::Http) -> [(bool, Face); 1] {
    [(options.telebroad, dialect::telebroad::routes)]
}

pub fn router(house: &House, options: &config::Http) -> Router {
    let mut router = Router::new();
    for (_, routes) in faces(options).into_iter().filter(|(shown, _)| *shown) {
        router = router.merge(routes(house.clone(), options));
    }
    router
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there is nothing at this address\n").into_response()
        })
        .layer(RequestBodyLimitLayer::new(LARGEST_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, SLOWEST))
        .layer(CatchPanicLayer::new())
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
    /// Connections at one time; further ones wait.
    pub connections: usize,
    /// How long a connection may take to say what it wants, at first and between two requests.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 512, patience: Duration::from_secs(15) }
    }
}

/// Connections of all listeners.
#[derive(Clone)]
pub struct Server {
    router: Router,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Server {
    pub fn new(router: Router, limits: Limits) -> Self {
        let limits =
            Limits { connections: limits.connections.min(Semaphore::MAX_PERMITS), ..limits };
        Self { router, limits, places: Arc::new(Semaphore::new(limits.connections)) }
    }

    /// Serves until `stopped` says so or its sender is gone, then finishes the requests that run.
    pub async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let stop = stopped.clone();
        loop {
            // A place is taken only once somebody is there: listeners share them.
            let next = async {
                let (stream, from) = accept("HTTP", || listener.accept()).await;
                (stream, from, Arc::clone(&self.places).acquire_owned().await)
            };
            tokio::select! {
                (stream, from, place) = next => {
                    connections.spawn(self.clone().converse(stream, from, stop.clone(), place));
                }
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn converse<P>(
        self,
        stream: TcpStream,
        from: SocketAddr,
        mut stopped: watch::Receiver<bool>,
        _place: P,
    ) {
        // An answer goes out in few pieces: none should wait for another.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(from));
            TowerToHyperService::new(self.router.clone()).call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.patience)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // What a client does wrong is its own affair.
            _ = &mut connection => return,
            _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
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
        let limits = Limits { connections: 2, patience: Duration::from_millis(200) };
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
}
