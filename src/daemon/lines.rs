//! Calls in progress, in the words of those who ask over HTTP.

use std::sync::Arc;

use crate::call::live::{self, Live};
use crate::http::calls::{Call, Calls, Purpose, Stage};

pub(super) fn calls(live: &Live) -> Calls {
    let [counting, listing, ending, draining] = [(); 4].map(|()| live.clone());
    Calls {
        count: Arc::new(move || counting.count()),
        list: Arc::new(move || {
            listing.calls().into_iter().map(|(id, call)| told(id, call)).collect()
        }),
        hang_up: Arc::new(move |id| ending.hang_up(id)),
        drain: Arc::new(move || {
            let live = draining.clone();
            tokio::spawn(async move { live.drain().await });
        }),
    }
}

fn told(id: u64, call: live::Call) -> Call {
    let live::Call { call_id, caller, mailbox, context, purpose, stage, since, codec } = call;
    Call {
        id,
        call_id,
        caller,
        mailbox,
        context,
        purpose: match purpose {
            live::Purpose::Deposit => Purpose::Deposit,
            live::Purpose::Visit => Purpose::Visit,
        },
        stage: match stage {
            live::Stage::Ringing => Stage::Ringing,
            live::Stage::Answered => Stage::Answered,
            live::Stage::Recording => Stage::Recording,
        },
        since,
        codec,
    }
}
