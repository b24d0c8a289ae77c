//! Pages of other sites: what a browser remembers of a login by HTTP Basic it lends to whichever page
//! asks, and that page may be anybody's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

/// Origins whose pages may ask as if they were our own.
#[derive(Clone)]
pub(super) struct Own(Arc<[String]>);

impl Own {
    pub(super) fn new(origins: &[String]) -> Self {
        Self(origins.into())
    }
}

/// Takes no login by HTTP Basic from a page that is not ours: it is as if none had come. Tokens are
/// taken, because no browser adds one by itself.
pub(super) async fn only_own_pages(
    State(own): State<Own>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_foreign(request.headers(), &own.0) && !is_followed_link(&request) {
        let is_basic = request.headers().get(header::AUTHORIZATION).is_some_and(|value| {
            value.as_bytes().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
        });
        if is_basic {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
    }
    next.run(request).await
}

/// Who follows a link to our own interface only reads.
fn is_followed_link(request: &Request) -> bool {
    let mode = request.headers().get("sec-fetch-mode");
    request.method() == Method::GET
        && request.uri().path().starts_with("/v1/")
        && mode.is_some_and(|mode| mode == "navigate")
}

/// Whether a browser says that a page of another site asks (Fetch Metadata; RFC 6454). Browsers that
/// say nothing of that name the page's origin at least where something is posted.
fn is_foreign(headers: &HeaderMap, own: &[String]) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let origin = text("origin");
    if origin.is_some_and(|origin| own.iter().any(|own| own == origin)) {
        return false;
    }
    match (text("sec-fetch-site"), origin) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let place = origin.split_once("://").map(|(_, place)| place);
            // A proxy tells so what the browser had asked for; a page cannot.
            let here = [text("host"), text("x-forwarded-host")];
            place.is_none() || !here.contains(&place)
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_known() {
        let own = ["https://portal.example".to_owned()];
        let foreign = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
            });
            is_foreign(&headers.collect::<HeaderMap>(), &own)
        };
        assert!(!foreign(&[]), "no browser");
        assert!(
            !foreign(&[("sec-fetch-site", "none")])
                && !foreign(&[("sec-fetch-site", "same-origin")])
        );
        assert!(
            foreign(&[("sec-fetch-site", "cross-site")])
                && foreign(&[("sec-fetch-site", "same-site")])
        );
        let (portal, evil) =
            (("origin", "https://portal.example"), ("origin", "https://evil.example"));
        assert!(!foreign(&[portal, ("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[evil, ("sec-fetch-site", "cross-site")]));
        assert!(foreign(&[evil, ("host", "vm.example")]) && foreign(&[("origin", "null")]));
        let here = ("origin", "http://vm.example:8080");
        assert!(
            !foreign(&[here, ("host", "vm.example:8080")])
                && foreign(&[here, ("host", "vm.example")])
        );
        assert!(!foreign(&[here, ("host", "10.0.0.1"), ("x-forwarded-host", "vm.example:8080")]));
    }
}
