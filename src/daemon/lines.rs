//! Calls in progress, for those who ask over HTTP.

use std::sync::Arc;

use crate::call::live::Live;
use crate::http::calls::Calls;

pub(super) fn calls(live: &Live) -> Calls {
    let [counting, listing, ending, draining] = [(); 4].map(|()| live.clone());
    Calls {
        count: Arc::new(move || counting.count()),
        list: Arc::new(move || listing.calls()),
        hang_up: Arc::new(move |id| ending.hang_up(id)),
        drain: Arc::new(move || {
            let live = draining.clone();
            tokio::spawn(async move { live.drain().await });
        }),
    }
}
