//! The HTTP interfaces: listeners, limits, and the table of faces.
//!
//! Every face tells the same messages from the same spool, in its vendor's words.

pub mod guard;

mod dialect {
    pub(super) mod telebroad;
}

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::directory::Directory;
use crate::spool::Spool;
use guard::Guard;

/// What a face may use.
#[derive(Clone)]
pub struct House {
    pub spool: Spool,
    pub directory: Directory,
    pub guard: Guard,
}

/// Which faces are shown, and how.
#[derive(Clone, Debug)]
pub struct Faces {
    pub telebroad: Option<Telebroad>,
}

#[derive(Clone, Copy, Debug)]
pub struct Telebroad {
    /// What `offset` counts from.
    pub offset_base: u8,
}

const LARGEST_BODY: usize = 1024 * 1024;
const SLOWEST: Duration = Duration::from_secs(30);

pub fn router(house: &House, faces: &Faces) -> Router {
    let mut router = Router::new();
    if let Some(telebroad) = faces.telebroad {
        router = router.merge(dialect::telebroad::routes(house.clone(), telebroad));
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

/// Serves until `stop` is ready, then finishes the requests that run.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
