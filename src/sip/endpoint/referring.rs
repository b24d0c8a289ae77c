//! Attended transfer into our call: a REFER within the dialog whose Refer-To carries Replaces
//! (RFC 3515, RFC 3891, RFC 5589 §7).
//!
//! Our INVITE with Replaces opens a second leg. When the owner takes it, the call goes on there
//! under the same key and the first leg is hung up; until then, and whatever goes wrong, the call
//! stays as it was. Whom to call, and whether at all, is for the owner to judge.

use std::time::Instant;

use rsip::Header;
use rsip::headers::{self, UntypedHeader};

use super::outside::{kept, party};
use super::{Arrival, CallKey, Endpoint, Failure, Owner, contact, retry_after};
use crate::sip::invite::{Offer, Pending, Phase, Placing, Stage, Transfer, Wanted};
use crate::sip::message::{NOTIFY, REFER, Request, Response, other, reason};
use crate::sip::name_addr::NameAddr;
use crate::sip::text::{Params, list, unescape, visible};
use crate::sip::timer::Timer;
use crate::sip::transaction::Input;
use crate::sip::transactions::{Purpose, User};
use crate::sip::uri::{Scheme, Uri};
use crate::sip::{Event, Flow, Party, Refer, Ticket};

impl Endpoint {
    /// A voicemail calls nobody because somebody asks it to: whoever can reach it would call at
    /// the expense of its owner. RFC 3515 §2.4.2 leaves us 603, and 400 for one that names not
    /// exactly one target.
    pub(super) fn decline_refer(&mut self, arrival: &Arrival) {
        let one = only_target(&arrival.request).is_some();
        self.respond(arrival, if one { 603 } else { 400 }, Vec::new());
    }

    /// Asks the other side to call somebody else (RFC 3515 §2.4.1): [`Event::Referred`] tells what
    /// it thinks of that. False where there is nobody to ask.
    pub fn refer(&mut self, now: Instant, key: CallKey, target: &Uri) -> bool {
        let Some(call) = self.calls.get(&key) else { return false };
        if !matches!(call.phase, Phase::Up) {
            return false;
        }
        let wish = Header::Other("Refer-To".to_owned(), format!("<{target}>"));
        let user = User::Within(key, Purpose::Refer);
        self.request(now, key, REFER, (vec![wish], Vec::new()), user);
        true
    }

    /// A REFER within a dialog: only one that replaces a call elsewhere is worth asking about.
    pub(super) fn receive_refer(&mut self, arrival: &Arrival, key: CallKey) {
        let request = &arrival.request;
        let Some(wish) = only_target(request).and_then(Wish::read) else {
            return self.decline_refer(arrival);
        };
        let Some(call) = self.calls.get(&key) else { return };
        match (&call.phase, &call.transfer) {
            (Phase::Up, None) => {}
            (Phase::Offered(..) | Phase::Left, None) => return self.decline_refer(arrival),
            // One after the other.
            (Phase::Answered(_), None) | (_, Some(_)) => {
                return self.respond(arrival, 491, Vec::new());
            }
        }
        let Some(transaction) = self.transactions.open_server(request, arrival.reply) else {
            return self.respond(arrival, 503, vec![retry_after(self.limits.retry_after)]);
        };
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let pending = Pending {
            transaction,
            headers: kept(request),
            reply: arrival.reply,
            sequence: request.identity.sequence,
            offer: Offer::Early,
            session: None,
        };
        let by = other(&request.headers, "Referred-By").next().map(str::to_owned);
        let source = arrival.flow.remote.ip();
        let refer = Refer { ticket, target: wish.target.clone(), source };
        let Wish { target, replaces } = wish;
        let stage = Stage::Asked(Box::new(Wanted { pending, target, replaces, by }));
        call.transfer = Some(Transfer { ticket, stage, told: 0 });
        self.tell(key, Event::Refer(Box::new(refer)));
    }

    /// 603: the owner does not want it.
    pub fn decline(&mut self, now: Instant, key: CallKey, ticket: Ticket) {
        if let Some((pending, ..)) = self.asked_transfer(key, ticket) {
            self.conclude_refer(now, key, &pending, Failure::plain(603));
        }
    }

    /// 202, and an INVITE with Replaces to whom the REFER named; [`Event::Reached`] follows if it
    /// is answered. The other side is told how it goes.
    pub fn transfer(
        &mut self,
        now: Instant,
        key: CallKey,
        ticket: Ticket,
        flow: Flow,
        offer: String,
    ) {
        let Some((pending, more, target)) = self.asked_transfer(key, ticket) else { return };
        if !self.has_room() {
            let more = vec![retry_after(self.limits.retry_after)];
            let failure = Failure { code: 503, reason: None, more };
            return self.conclude_refer(now, key, &pending, failure);
        }
        let leg = self.new_key();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let at = now + Timer::Transfer.first(false);
        call.armed.set(Timer::Transfer, at);
        self.post.agenda.note(at, Timer::Transfer, Owner::Call(key));
        call.event = refer_event(call.referred, pending.sequence);
        call.referred = true;
        call.transfer = Some(Transfer { ticket, stage: Stage::Calling(leg), told: 0 });
        let (old, tag) = (call.dialog.flow, call.dialog.local_tag.clone());
        let from = us(&call.dialog.local, flow);
        let contact = contact(&old, &call.dialog.scheme);
        let accepted = self.print(&pending.headers, 202, None, &tag, vec![contact], &[]);
        let (id, post) = (pending.transaction, &mut self.post);
        self.transactions.step(now, id, Input::Success, Some(&accepted), post);
        // RFC 3515 §2.4.4: at once, whatever is known.
        self.tell_progress(now, key, 100, reason(100));
        // A peer that we are connected to already is not connected to anew.
        let same = (old.transport, old.remote) == (flow.transport, flow.remote);
        let flow = if same { old } else { flow };
        let transaction = self.place(now, leg, flow, &target, (&from, offer), more);
        let placing = Placing { on_behalf_of: Some(key), ..Placing::new(transaction) };
        self.placings.insert(leg, placing);
    }

    /// The call goes on over the new leg; false when that is gone already.
    pub fn take(&mut self, now: Instant, key: CallKey, ticket: Ticket) -> bool {
        let Some(leg) = self.reached_leg(key, ticket) else { return false };
        let Some(new) = self.calls.remove(&leg) else {
            self.transfer_failed(now, key, 487, reason(487));
            return false;
        };
        self.tell_progress(now, key, 200, reason(200));
        self.hang_up(now, key, Some("SIP;cause=200;text=\"Transferred\""));
        self.dialogs.insert(new.dialog.local_tag.clone(), key);
        let source = new.dialog.flow.remote.ip();
        let party = new.party.clone();
        self.calls.insert(key, new);
        self.look_again(now, key);
        if let Some(name) = party {
            self.tell(key, Event::Identity(Box::new(Party { name, privacy: false, source })));
        }
        true
    }

    /// The new leg is of no use: it is hung up, and the call stays as it was.
    pub fn leave(&mut self, now: Instant, key: CallKey, ticket: Ticket) {
        if let Some(leg) = self.reached_leg(key, ticket) {
            self.hang_up(now, leg, None);
            self.transfer_failed(now, key, 488, reason(488));
        }
    }

    /// The INVITE of a transfer has a provisional response.
    pub(super) fn transfer_rings(&mut self, now: Instant, key: CallKey, response: &Response) {
        let Some(transfer) = self.calls.get(&key).and_then(|call| call.transfer.as_ref()) else {
            return;
        };
        if response.code > 100 && transfer.told != response.code {
            self.tell_progress(now, key, response.code, &response.reason);
        }
    }

    /// The INVITE of a transfer was taken: `leg` is up. False when nobody wants it any more.
    pub(super) fn transfer_reached(
        &mut self,
        key: CallKey,
        leg: CallKey,
        response: &Response,
    ) -> bool {
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let Some(transfer) = &mut call.transfer else { return false };
        if !matches!(transfer.stage, Stage::Calling(calling) if calling == leg) {
            return false;
        }
        transfer.stage = Stage::Reached(leg);
        let ticket = transfer.ticket;
        let asserted = party(&response.headers).map(|(name, _)| name);
        if let Some(new) = self.calls.get_mut(&leg) {
            let mut named = response.identity.to.clone();
            named.params = Params::default();
            new.party = Some(asserted.unwrap_or(named));
        }
        self.tell(key, Event::Reached { ticket, answer: response.body.clone() });
        true
    }

    /// The transfer came to nothing; the call goes on as before, if its first leg is still there.
    pub(super) fn transfer_failed(&mut self, now: Instant, key: CallKey, code: u16, why: &str) {
        self.tell_progress(now, key, code, why);
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.transfer = None;
        call.armed.stop(Timer::Transfer);
        if let Phase::Left = call.phase {
            self.remove_call(key);
            self.tell(key, Event::Bye);
        }
    }

    /// Nobody has answered for so long that the caller gave up waiting.
    pub(super) fn transfer_too_slow(&mut self, now: Instant, key: CallKey) {
        let Some(transfer) = self.calls.get(&key).and_then(|call| call.transfer.as_ref()) else {
            return;
        };
        if let Stage::Calling(leg) = transfer.stage {
            self.give_up(now, leg);
            self.transfer_failed(now, key, 408, reason(408));
        }
    }

    /// A BYE for the first leg while the second is being called: phones that are sure of their
    /// transfer do not wait for it. True when the call goes on.
    pub(super) fn outlives_bye(&mut self, key: CallKey) -> bool {
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let under_way = call.transfer.as_ref().is_some_and(|transfer| match transfer.stage {
            Stage::Calling(_) | Stage::Reached(_) => true,
            Stage::Asked(_) => false,
        });
        if under_way {
            call.phase = Phase::Left;
            call.session = None;
            self.dialogs.remove(&call.dialog.local_tag);
        }
        under_way
    }

    /// The call is over, and a transfer of it with it.
    pub(super) fn drop_transfer(&mut self, now: Instant, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(transfer) = call.transfer.take() else { return };
        match transfer.stage {
            Stage::Asked(wanted) => {
                self.conclude_refer(now, key, &wanted.pending, Failure::plain(603));
            }
            Stage::Calling(leg) => self.give_up(now, leg),
            // It may be the one that the call goes on with: then it is no longer under this key.
            Stage::Reached(leg) if self.calls.contains_key(&leg) => self.hang_up(now, leg, None),
            Stage::Reached(_) => {}
        }
    }

    /// What the owner was asked, once.
    fn asked_transfer(
        &mut self,
        key: CallKey,
        ticket: Ticket,
    ) -> Option<(Pending, Vec<Header>, Uri)> {
        let call = self.calls.get_mut(&key)?;
        let asked = call.transfer.take_if(|transfer| {
            transfer.ticket == ticket && matches!(transfer.stage, Stage::Asked(_))
        });
        let Stage::Asked(wanted) = asked?.stage else { return None };
        let Wanted { pending, target, replaces, by } = *wanted;
        // RFC 5589 §7.1: whoever does not know Replaces must not take it for a call of its own.
        let mut more: Vec<Header> = vec![
            headers::Require::new("replaces").into(),
            Header::Other("Replaces".to_owned(), replaces),
        ];
        more.extend(by.map(|by| Header::Other("Referred-By".to_owned(), by)));
        Some((pending, more, target))
    }

    fn reached_leg(&self, key: CallKey, ticket: Ticket) -> Option<CallKey> {
        let transfer = self.calls.get(&key)?.transfer.as_ref()?;
        match transfer.stage {
            Stage::Reached(leg) if transfer.ticket == ticket => Some(leg),
            Stage::Reached(_) | Stage::Calling(_) | Stage::Asked(_) => None,
        }
    }

    fn conclude_refer(&mut self, now: Instant, key: CallKey, pending: &Pending, failure: Failure) {
        let tag = self.calls.get(&key).map(|call| call.dialog.local_tag.clone());
        self.conclude(now, pending, &tag.unwrap_or_default(), failure);
    }

    /// NOTIFY with what has become of the INVITE: RFC 3515 §2.4.4–§2.4.5.
    fn tell_progress(&mut self, now: Instant, key: CallKey, code: u16, why: &str) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        // Who has hung up hears no more of it.
        let (Some(transfer), false) = (&mut call.transfer, matches!(call.phase, Phase::Left))
        else {
            return;
        };
        transfer.told = code;
        let state = match code {
            ..200 => format!("active;expires={}", Timer::Transfer.first(false).as_secs()),
            200.. => "terminated;reason=noresource".to_owned(),
        };
        let more = vec![
            Header::Other("Event".to_owned(), call.event.clone()),
            headers::SubscriptionState::new(state).into(),
            headers::ContentType::new("message/sipfrag;version=2.0").into(),
        ];
        let body = format!("SIP/2.0 {code} {}\r\n", visible(why)).into_bytes();
        self.request(now, key, NOTIFY, (more, body), User::Nobody);
    }
}

/// Whom a REFER names.
struct Wish {
    target: Uri,
    /// The value of the Replaces to send.
    replaces: String,
}

impl Wish {
    /// `None` for one that replaces no call. Other headers of the URI are not ours to send
    /// (RFC 3261 §19.1.5).
    fn read(refer_to: &str) -> Option<Self> {
        let mut target = refer_to.parse::<NameAddr>().ok()?.uri;
        match target.scheme {
            Scheme::Sip | Scheme::Sips => {}
            Scheme::Tel | Scheme::Other(_) => return None,
        }
        let headers = std::mem::take(&mut target.headers);
        let mut fields = headers.split('&').filter_map(|field| field.split_once('='));
        let (_, value) =
            fields.find(|(name, _)| unescape(name).eq_ignore_ascii_case("replaces"))?;
        let replaces = unescape(value);
        let (call_id, tags) = replaces.split_once(';')?;
        let tags = Params::read(tags);
        let whole = !call_id.trim().is_empty()
            && tags.value("to-tag").is_some()
            && tags.value("from-tag").is_some();
        // RFC 3515 §2.1: INVITE unless it says otherwise.
        let invites = target.params.value("method").is_none_or(|method| method == "INVITE");
        target.params.remove("method");
        (whole && invites).then_some(Self { target, replaces })
    }
}

/// RFC 3515 §2.4.2: exactly one.
fn only_target(request: &Request) -> Option<&str> {
    let mut targets = other(&request.headers, "Refer-To").flat_map(list);
    let target = targets.next()?;
    targets.next().is_none().then_some(target)
}

/// Who we are in a dialog, without its tag.
fn us(local: &str, flow: Flow) -> NameAddr {
    let named = local.parse::<NameAddr>().ok();
    let mut name = named.unwrap_or_else(|| {
        NameAddr::new(Uri::sip("", &flow.local.ip().to_string(), Some(flow.local.port())))
    });
    name.params = Params::default();
    name
}

/// RFC 3515 §2.4.6: from the second REFER of a dialog on, each is named.
fn refer_event(another: bool, sequence: u32) -> String {
    if another { format!("refer;id={sequence}") } else { "refer".to_owned() }
}
