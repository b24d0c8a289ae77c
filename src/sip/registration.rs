//! Being registered elsewhere, so that calls for us find us: RFC 3261 §10.2, pure.
//!
//! An [`Enrolment`] is told what happened and says what to do next; `endpoint/registering` does it.
//!
//! ```text
//!            located              2xx
//!  Seeking ───────────> Asking ─────────> Resting ── time ──> Seeking
//!     ^                 │ ^ └─ 401, 423, next target, 3xx ─┐     (registered, or failed)
//!     └──── time ───────┘ └────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Flow;
use super::chance::Chance;
use super::digest::Answering;
use super::identity::Credentials;
use super::message::{Response, every, first, other};
use super::name_addr::NameAddr;
use super::text::list;
use super::timer::Armed;
use super::uri::Uri;

/// What we want of a registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whom calls are for (To and From of REGISTER).
    pub aor: Uri,
    pub registrar: Uri,
    /// The user part of our Contact: what the Request-URI of calls from there will be.
    pub contact: String,
    pub credentials: Option<Credentials>,
    /// How long one REGISTER should last.
    pub expires: Duration,
    /// Where REGISTER goes instead of the registrar itself, with a Route.
    pub proxy: Option<Uri>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationKey(pub(super) u32);

/// What has become of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Registered {
        aor: Uri,
        expires: Duration,
    },
    /// Tried again after `wait`.
    Failed {
        aor: Uri,
        why: String,
        wait: Duration,
    },
    Left {
        aor: Uri,
    },
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask where this is.
    Locate(Uri),
    /// Send REGISTER.
    Ask(Flow),
    /// Be woken again after this; tell what has become of it.
    Rest(Duration, Standing),
    /// Nothing; it goes on with what is under way.
    Wait,
    /// It is over.
    End(Standing),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seeking,
    Asking,
    Resting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stay,
    /// RFC 3261 §10.2.2.
    Leave,
}

pub(super) struct Enrolment {
    pub wanted: Registration,
    pub armed: Armed<2>,
    /// RFC 3261 §10.2: the same for every REGISTER to one registrar.
    pub call_id: String,
    pub tag: String,
    pub sequence: u32,
    pub answering: Option<Answering>,
    state: State,
    wish: Wish,
    /// Until when the registrar knows us.
    until: Option<Instant>,
    /// How we reach it, and it us.
    flow: Option<Flow>,
    targets: VecDeque<Flow>,
    /// RFC 3261 §8.1.3.4: who shall be asked instead.
    redirected: Option<Uri>,
    redirects: u8,
    /// How often this attempt has sent REGISTER.
    asked: u8,
    expires: Duration,
    /// Attempts in a row in which all targets failed.
    failures: u32,
}

impl Enrolment {
    pub fn new(wanted: Registration, chance: &mut Chance) -> Self {
        let answering = wanted.credentials.clone();
        Self {
            answering: answering.map(|known| Answering::new(known, &wanted.registrar.host)),
            expires: wanted.expires,
            wanted,
            armed: Armed::default(),
            call_id: chance.token(),
            tag: chance.token(),
            sequence: 0,
            state: State::Seeking,
            wish: Wish::Stay,
            until: None,
            flow: None,
            targets: VecDeque::new(),
            redirected: None,
            redirects: 0,
            asked: 0,
            failures: 0,
        }
    }

    /// Begins a new attempt, by the names' present addresses.
    pub fn seek(&mut self) -> Step {
        self.state = State::Seeking;
        self.redirected = None;
        self.redirects = 0;
        self.asked = 0;
        Step::Locate(self.wanted.proxy.as_ref().unwrap_or(&self.wanted.registrar).clone())
    }

    /// Takes the targets in the order in which to try them.
    pub fn located(&mut self, targets: Vec<Flow>, chance: &mut Chance) -> Step {
        if self.state != State::Seeking {
            return Step::Wait;
        }
        self.targets = targets.into();
        // Whoever keeps our binding is asked first, while the name still means it.
        if let Some(flow) = self.flow
            && let Some(at) = self.targets.iter().position(|target| same_place(target, &flow))
        {
            self.targets.swap(0, at);
        }
        self.next("no address was found", Duration::ZERO, chance)
    }

    /// A response to our REGISTER.
    pub fn heard(&mut self, now: Instant, response: &Response, chance: &mut Chance) -> Step {
        if self.state != State::Asking || response.code < 200 {
            return Step::Wait;
        }
        if self.wish == Wish::Leave {
            return match response.code {
                401 | 407 if self.answers(response).is_ok() => self.ask(chance),
                _ => self.end(),
            };
        }
        let said = || format!("{} {}", response.code, response.reason);
        match response.code {
            200..300 => self.welcomed(now, response, chance),
            401 | 407 => match self.answers(response) {
                Ok(()) => self.ask(chance),
                Err(why) => self.rest(&why, SLOW, chance),
            },
            423 => match min_expires(response).filter(|least| *least > self.expires) {
                Some(least) if least <= LONGEST => {
                    self.expires = least;
                    self.begin();
                    self.ask(chance)
                }
                _ => self.rest(&said(), SLOW, chance),
            },
            300..=399 => self.redirected_by(response, chance),
            // RFC 3263 §4.3: another server may do better.
            408 | 430 | 480 | 500..600 => {
                let wait = retry_after(response).unwrap_or_default();
                self.next(&said(), wait, chance)
            }
            // What we ask for is wrong; asking again soon will not make it right.
            _ => self.rest(&said(), SLOW, chance),
        }
    }

    /// Nobody answered, or nobody could be reached.
    pub fn silent(&mut self, chance: &mut Chance) -> Step {
        match (self.state, self.wish) {
            (State::Asking, Wish::Leave) => self.end(),
            (State::Asking, Wish::Stay) => self.next("no answer", Duration::ZERO, chance),
            (State::Seeking | State::Resting, _) => Step::Wait,
        }
    }

    /// Ends it: the registrar is told, if it knows us.
    pub fn leave(&mut self, now: Instant, chance: &mut Chance) -> Step {
        self.wish = Wish::Leave;
        if self.bound(now).is_none() {
            return self.end();
        }
        self.expires = Duration::ZERO;
        self.asked = 0;
        self.begin();
        self.ask(chance)
    }

    /// What REGISTER asks for: none at all to leave.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Whom REGISTER names: RFC 3261 §10.2.
    pub fn registrar(&self) -> &Uri {
        self.redirected.as_ref().unwrap_or(&self.wanted.registrar)
    }

    /// The way over which the registrar knows us at this moment.
    pub fn bound(&self, now: Instant) -> Option<Flow> {
        self.flow.filter(|_| self.until.is_some_and(|until| until > now))
    }

    fn ask(&mut self, chance: &mut Chance) -> Step {
        // A registrar that is never content must not keep us asking.
        if self.asked == MOST_ASKED {
            return self.back_off("no end of questions", Duration::ZERO, chance);
        }
        self.asked += 1;
        self.state = State::Asking;
        self.flow.map_or(Step::Wait, Step::Ask)
    }

    /// The next target; after the last one a pause.
    fn next(&mut self, why: &str, wait: Duration, chance: &mut Chance) -> Step {
        let Some(flow) = self.targets.pop_front() else { return self.back_off(why, wait, chance) };
        self.flow = Some(flow);
        self.begin();
        self.ask(chance)
    }

    /// Every challenge may be answered anew.
    fn begin(&mut self) {
        if let Some(answering) = &mut self.answering {
            answering.begin();
        }
    }

    fn answers(&mut self, response: &Response) -> Result<(), String> {
        let Some(answering) = &mut self.answering else {
            return Err("a password is asked for, and none is configured".to_owned());
        };
        answering.hear(response).map_err(|why| why.to_string())
    }

    fn welcomed(&mut self, now: Instant, response: &Response, chance: &mut Chance) -> Step {
        let granted = self.granted(response);
        // A binding that is over at once is none.
        if granted.is_zero() {
            return self.rest("the registrar let us in for 0 s", SLOW, chance);
        }
        self.state = State::Resting;
        self.failures = 0;
        self.until = Some(now + granted);
        let standing = Standing::Registered { aor: self.wanted.aor.clone(), expires: granted };
        // Between three quarters and nine tenths: many of us must not come at once, and a lost
        // REGISTER must leave time for another.
        let wait = chance.between(granted * 3 / 4, granted * 9 / 10);
        Step::Rest(wait.max(Duration::from_secs(1)), standing)
    }

    /// RFC 3261 §10.2.4: our own Contact says it, else Expires, else as we asked.
    fn granted(&self, response: &Response) -> Duration {
        let contacts = every!(response.headers, Contact).flat_map(list);
        let mut contacts = contacts.filter_map(|contact| contact.parse::<NameAddr>().ok());
        let ours = contacts.find(|contact| contact.uri.user == self.wanted.contact);
        let ours = ours.and_then(|contact| contact.params.value("expires")?.parse().ok());
        let all = || first!(response.headers, Expires)?.parse().ok();
        let seconds: Option<u64> = ours.or_else(all);
        seconds.map_or(self.expires, Duration::from_secs).min(LONGEST)
    }

    fn redirected_by(&mut self, response: &Response, chance: &mut Chance) -> Step {
        let contacts = every!(response.headers, Contact).flat_map(list);
        let mut contacts = contacts.filter_map(|contact| contact.parse::<NameAddr>().ok());
        let (true, Some(contact)) = (self.redirects < MOST_REDIRECTS, contacts.next()) else {
            return self.rest("sent on and on", SLOW, chance);
        };
        self.redirects += 1;
        self.state = State::Seeking;
        self.redirected = Some(contact.uri.clone());
        Step::Locate(contact.uri)
    }

    /// RFC 5626 §4.5: the more failures in a row, the longer, up to a limit, and never all at the
    /// same moment.
    fn back_off(&mut self, why: &str, at_least: Duration, chance: &mut Chance) -> Step {
        let doublings = self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        let upper = (BASE * 2_u32.pow(doublings)).min(SLOWEST);
        let wait = chance.between(upper / 2, upper).max(at_least.min(SLOWEST));
        self.pause(why, wait)
    }

    fn rest(&mut self, why: &str, wait: Duration, chance: &mut Chance) -> Step {
        let wait = chance.between(wait, wait + wait / 5);
        self.pause(why, wait)
    }

    fn pause(&mut self, why: &str, wait: Duration) -> Step {
        self.state = State::Resting;
        self.expires = self.wanted.expires;
        let (aor, why) = (self.wanted.aor.clone(), why.to_owned());
        Step::Rest(wait, Standing::Failed { aor, why, wait })
    }

    fn end(&mut self) -> Step {
        self.until = None;
        Step::End(Standing::Left { aor: self.wanted.aor.clone() })
    }
}

fn same_place(one: &Flow, other: &Flow) -> bool {
    one.transport == other.transport && one.remote == other.remote
}

/// RFC 3261 §20.23.
fn min_expires(response: &Response) -> Option<Duration> {
    let given = other(&response.headers, "Min-Expires").next()?;
    given.trim().parse().ok().map(Duration::from_secs)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = first!(response.headers, RetryAfter)?;
    value.split([' ', ';', '(']).next()?.parse().ok().map(Duration::from_secs)
}

/// RFC 5626 §4.5: the first pause when all targets failed, and the longest.
const BASE: Duration = Duration::from_secs(30);
const SLOWEST: Duration = Duration::from_mins(30);
/// What only an operator can mend, such as a wrong password; asking faster gets us locked out.
const SLOW: Duration = Duration::from_mins(10);
const LONGEST: Duration = Duration::from_hours(24);
const MOST_REDIRECTS: u8 = 3;
const MOST_ASKED: u8 = 32;
