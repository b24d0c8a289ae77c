//! OnSIP's Web API: one address, an `Action`, and mailboxes that it makes, reads and changes.
//!
//! Failures are HTTP 200; the truth is in `IsCompleted` and `IsValid`.

mod map;
mod rng;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::super::House;
use super::super::body;
use super::super::deed::{self, Asker};
use super::super::fault::{Fault, broken};
use super::super::guard::Principal;
use crate::config;
use crate::directory::{self, Door, NewPin};
use crate::mailbox::{Mailbox, MailboxId};
use crate::state::credential::{Kind, Scope};
use crate::state::organization::Organization;
use map::{Browse, Of, Wish};
use wire::{Context, Element, Given};

#[derive(Clone)]
struct Face {
    house: House,
    session_seconds: i64,
    reveal_pins: bool,
}

pub(in crate::http) fn routes(house: House, options: &config::Http) -> Router {
    let face = Face {
        house,
        session_seconds: options.onsip_session_seconds.into(),
        reveal_pins: options.reveal_pins,
    };
    Router::new()
        .route("/api", any(answer))
        .route("/webapi", any(answer))
        .route("/rng/{name}", get(rng::schema))
        .with_state(face)
}

/// Why there is no result.
enum Failure {
    Request(wire::Fault),
    Action(&'static str, String),
    Broken,
}

impl Failure {
    fn request(parameter: &'static str, code: &'static str, message: &str) -> Self {
        Self::Request(wire::Fault { parameter, code, message: message.into() })
    }
}

async fn answer(
    State(face): State<Face>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let begun = Instant::now();
    let query = query.as_deref().unwrap_or("");
    let given = match body::words(body).await {
        Ok(body) => Given::read(query, &String::from_utf8_lossy(&body)).map_err(|_| {
            Failure::request("Action", "Parameter.TooMany", "There are too many parameters")
        }),
        Err(fault) => Err(fault.into()),
    };
    let (given, known) = match given {
        Ok(given) if ![Method::GET, Method::HEAD, Method::POST].contains(&method) => {
            (given, Some(Failure::request("Action", "Method.Unknown", "GET or POST is needed")))
        }
        Ok(given) => (given, None),
        Err(why) => (Given::nothing(), Some(why)),
    };
    let mut context = context(&given, &face.house);
    let result = match known {
        None => face.perform(&given, &headers, from.ip(), &mut context).await,
        Some(why) => Err(why),
    };
    context.milliseconds = begun.elapsed().as_millis();
    told(context, result)
}

pub(in crate::http) fn refuse(house: &House, fault: Fault) -> Response {
    told(context(&Given::nothing(), house), Err(fault.into()))
}

fn context<'g>(given: &'g Given, house: &House) -> Context<'g> {
    Context {
        given,
        defaults: vec![],
        valid: true,
        request_faults: vec![],
        action_fault: None,
        date_time: map::date_time((house.now)()),
        milliseconds: 0,
        session: None,
    }
}

fn told(mut context: Context, result: Result<Element, Failure>) -> Response {
    let given = context.given;
    let callback = given.text("Callback");
    let callback = match callback.map(|name| (name, wire::is_callback(name))) {
        Some((_, false)) => {
            let why = "Callback is letters, digits, and . _ [ ]";
            context.request_faults.push(wire::Fault {
                parameter: "Callback",
                code: "Value.Invalid",
                message: why.into(),
            });
            None
        }
        Some((name, true)) => Some(name),
        None => None,
    };
    let result = match result {
        Ok(result) => Some(result),
        Err(Failure::Request(fault)) => {
            context.request_faults.push(fault);
            None
        }
        Err(Failure::Action(code, message)) => {
            context.action_fault = Some((code, message));
            None
        }
        Err(Failure::Broken) => {
            let body = wire::exception("Internal error");
            return ([(header::CONTENT_TYPE, XML)], body).into_response();
        }
    };
    // A locked login is a valid request all the same: clients test for that.
    let locked = context.request_faults.iter().any(|fault| fault.code == LOCKED);
    context.valid = context.request_faults.is_empty() || locked;
    let response = wire::response(&context, result.filter(|_| context.request_faults.is_empty()));
    let json = given.text("Output") == Some("json");
    let (kind, body) = match (json, callback) {
        (false, _) => (XML, response.xml()),
        (true, None) => ("application/json", response.json()),
        // The comment keeps old plug-ins from taking the answer for something of theirs.
        (true, Some(name)) => {
            ("application/javascript", format!("/**/{name}({});", response.json()))
        }
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

const XML: &str = "text/xml; charset=utf-8";
const LOCKED: &str = "Accessor.LoginLocked";

impl Face {
    async fn perform(
        &self,
        given: &Given,
        headers: &HeaderMap,
        from: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Element, Failure> {
        let action = given
            .text("Action")
            .ok_or_else(|| Failure::request("Action", "Value.Required", "A value is required"))?;
        let Some(action) = map::ACTIONS.iter().find(|known| **known == action) else {
            return Err(Failure::request(
                "Action",
                "Action.Unknown",
                "There is no such Action here",
            ));
        };
        let checked = map::wish(action, given);
        context.defaults = checked.defaults;
        context.request_faults.extend(checked.faults);
        if *action == "SessionCreate" {
            let Some(Wish::SessionCreate { username, password }) = checked.wish else {
                return Err(refused(context));
            };
            return self.log_in(&username, &password, from, context).await;
        }
        let principal = self.enter(given, headers, from, context).await?;
        let Some(wish) = checked.wish else { return Err(refused(context)) };
        if *action == "SessionDestroy" {
            let token = given.text("SessionId").unwrap_or_default();
            self.house.state.close_session(token, Door::Onsip).await?;
            context.session = None;
            return Ok(Element::new("SessionDestroy", vec![]));
        }
        if !principal.may(Scope::Provision) || principal.mailbox.is_some() {
            let why = "The role Account Admin is needed".into();
            return Err(Failure::Action("AccountAuthorization.Required", why));
        }
        let asker = Asker { principal: &principal, door: Door::Onsip, from };
        self.provision(asker, wish).await
    }

    async fn log_in(
        &self,
        username: &str,
        password: &str,
        from: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Element, Failure> {
        let now = (self.house.now)();
        let login = (Kind::User, username, password);
        let checked = self.house.guard.check(login, from, Door::Onsip, now).await;
        let principal = checked.map_err(|denied| match denied {
            Fault::Unknown | Fault::NotFromHere => Failure::Action(
                "Accessor.LoginFailed",
                "The username or the password is wrong".into(),
            ),
            other => other.into(),
        })?;
        let opened =
            self.house.state.open_session(&principal, Door::Onsip, self.session_seconds, now);
        let token = opened.await?;
        context.session = Some(session(&principal, Some(token)));
        Ok(Element::new("SessionCreate", vec![]))
    }

    async fn enter(
        &self,
        given: &Given,
        headers: &HeaderMap,
        from: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Arc<Principal>, Failure> {
        let now = (self.house.now)();
        let guard = &self.house.guard;
        let entered = match given.text("SessionId") {
            Some(token) => {
                guard.session(token, Some(self.session_seconds), from, Door::Onsip, now).await
            }
            None if headers.contains_key(header::AUTHORIZATION) => {
                guard.enter(headers, from, Door::Onsip, now).await
            }
            None => {
                return Err(Failure::request("SessionId", "Value.Required", "A value is required"));
            }
        };
        let principal = entered?;
        context.session = Some(session(&principal, given.text("SessionId").map(str::to_owned)));
        Ok(principal)
    }

    async fn provision(&self, asker: Asker<'_>, wish: Wish) -> Result<Element, Failure> {
        let action = |name, mailbox| Element::new(name, vec![mailbox]);
        match wish {
            Wish::SessionCreate { .. } | Wish::SessionDestroy => {
                Err(broken("a session is no mailbox").into())
            }
            Wish::Add { organization, mailbox, settings } => {
                let organization = self.organization(asker.principal, organization).await?;
                let id = MailboxId::new(&organization.context, &mailbox).map_err(|why| {
                    Failure::request("Mailbox", "Integer.Invalid", &why.to_string())
                })?;
                // Its customers expect four digits.
                let made = self.house.add_mailbox(asker, &id, &settings, NewPin::Drawn(4)).await;
                made?;
                let mut element = self.shown(&id, &organization)?;
                let mailbox = self.house.directory.find(&id);
                if let Some(address) = mailbox.and_then(|m| map::transfer_address(&m)) {
                    element.push(address);
                }
                Ok(action("VoicemailboxAdd", element))
            }
            Wish::Read { mailbox } => {
                let (id, _) = self.mailbox(asker.principal, mailbox)?;
                let organization = self.organization_of(&id).await?;
                Ok(action("VoicemailboxRead", self.shown(&id, &organization)?))
            }
            Wish::Delete { mailbox } => {
                let (id, _) = self.mailbox(asker.principal, mailbox)?;
                self.house.remove_mailbox(asker, &id).await?;
                Ok(Element::new("VoicemailboxDelete", vec![]))
            }
            Wish::Edit { mailbox, number, pin, settings } => {
                let (mut id, _) = self.mailbox(asker.principal, mailbox)?;
                let pin = pin.as_deref().map_or(NewPin::Unchanged, NewPin::Given);
                if let Some(number) = number.filter(|number| number != id.number()) {
                    let to = MailboxId::new(id.context(), &number).map_err(|why| {
                        Failure::request("Mailbox", "Integer.Invalid", &why.to_string())
                    })?;
                    self.house.renumber_mailbox(asker, &id, &to).await?;
                    id = to;
                }
                self.house.edit_mailbox(asker, &id, settings, pin).await?;
                let organization = self.organization_of(&id).await?;
                Ok(action("VoicemailboxEdit", self.shown(&id, &organization)?))
            }
            Wish::Browse(browse) => self.browse(asker.principal, &browse).await,
        }
    }

    async fn browse(&self, principal: &Principal, browse: &Browse) -> Result<Element, Failure> {
        let organizations = match browse.of {
            Of::Organization(id) => vec![self.organization(principal, id).await?],
            Of::Account(account) => {
                let mut all = self.organizations(principal).await?;
                all.retain(|organization| organization.account == account);
                if all.is_empty() {
                    return Err(missing("Account"));
                }
                all
            }
        };
        let mut boxes: Vec<(MailboxId, Arc<Mailbox>, u64)> = vec![];
        for organization in &organizations {
            let within = self.house.directory.within(&organization.context).into_iter();
            boxes.extend(within.map(|(id, mailbox)| (id, mailbox, organization.id)));
        }
        map::sort(&mut boxes, browse.order, browse.descending);
        let found = boxes.len();
        let page = boxes.iter().skip(browse.offset).take(browse.limit);
        let page = page.filter_map(|(id, mailbox, organization)| {
            let organization = organizations.iter().find(|known| known.id == *organization)?;
            Some(self.element(id, mailbox, organization))
        });
        let mut list = Element::new("Voicemailboxes", page.collect())
            .with("Limit", &browse.limit)
            .with("Offset", &browse.offset);
        if browse.found {
            list = list.with("Found", &found);
        }
        Ok(Element::new("VoicemailboxBrowse", vec![list]))
    }

    fn mailbox(
        &self,
        principal: &Principal,
        id: u64,
    ) -> Result<(MailboxId, Arc<Mailbox>), Failure> {
        let found = self.house.directory.owned_by(id);
        found
            .filter(|(id, _)| principal.reaches_context(id.context()))
            .ok_or_else(|| missing("Voicemailbox"))
    }

    async fn organizations(&self, principal: &Principal) -> Result<Vec<Organization>, Failure> {
        let mut all = self.house.organizations().await?;
        all.retain(|organization| principal.reaches_context(&organization.context));
        Ok(all)
    }

    async fn organization(&self, principal: &Principal, id: u64) -> Result<Organization, Failure> {
        let all = self.organizations(principal).await?;
        all.into_iter().find(|known| known.id == id).ok_or_else(|| missing("Organization"))
    }

    async fn organization_of(&self, id: &MailboxId) -> Result<Organization, Failure> {
        let now = (self.house.now)();
        Ok(self.house.state.organization(id.context(), now).await?)
    }

    fn shown(&self, id: &MailboxId, organization: &Organization) -> Result<Element, Failure> {
        let mailbox = self.house.directory.find(id).ok_or_else(|| missing("Voicemailbox"))?;
        Ok(self.element(id, &mailbox, organization))
    }

    fn element(&self, id: &MailboxId, mailbox: &Mailbox, organization: &Organization) -> Element {
        let pin = self.reveal_pins.then(|| self.house.directory.reveal_pin(mailbox)).flatten();
        map::voicemailbox(id, mailbox, organization, pin.as_deref())
    }
}

fn session(principal: &Principal, token: Option<String>) -> wire::Session {
    let role = if principal.may(Scope::Provision) { "Account Admin" } else { "User" };
    wire::Session { id: token, user: principal.id.to_string(), roles: vec![role] }
}

/// The faults are in the context already; this one is taken from there.
fn refused(context: &mut Context) -> Failure {
    match context.request_faults.pop() {
        Some(fault) => Failure::Request(fault),
        None => broken("a wish without fault was refused").into(),
    }
}

impl<E: Into<Fault>> From<E> for Failure {
    fn from(why: E) -> Self {
        match why.into() {
            Fault::Unknown | Fault::NotFromHere => Self::request(
                "SessionId",
                "Session.Authentication",
                "The session is unknown, or it has ended",
            ),
            Fault::Locked { .. } => {
                Self::request("Action", LOCKED, "Too many failed logins: try again later")
            }
            Fault::TooFast => {
                Self::Action("Request.TooMany", "Too many requests at once: try again".into())
            }
            Fault::TooSlow => Self::request("Action", "Request.TooSlow", "The request is too slow"),
            Fault::TooLarge | Fault::LongHead => {
                Self::request("Action", "Request.TooLarge", "The request is too large")
            }
            Fault::Garbled => {
                Self::request("Action", "Request.Invalid", "The request cannot be read")
            }
            Fault::Broken => Self::Broken,
        }
    }
}

fn missing(what: &str) -> Failure {
    let code = match what {
        "Account" => "Account.NotFound",
        "Organization" => "Organization.NotFound",
        _ => "Voicemailbox.NotFound",
    };
    Failure::Action(code, format!("There is no such {what}"))
}

impl From<deed::Error> for Failure {
    fn from(error: deed::Error) -> Self {
        use directory::Error::{Exists, NoSuchMailbox, Refused, Taken};
        match error {
            deed::Error::Directory(Exists(_)) => {
                Self::Action("Mailbox.Unavailable", "The mailbox's number is taken".into())
            }
            deed::Error::Directory(Taken { name, .. }) => {
                Self::Action("Address.Unavailable", format!("{name} belongs to another mailbox"))
            }
            deed::Error::Directory(NoSuchMailbox(_)) => missing("Voicemailbox"),
            deed::Error::Directory(Refused(why)) => Self::Action("Voicemailbox.Invalid", why),
            deed::Error::Busy => Self::Action("Voicemailbox.Busy", error.to_string()),
            other => broken(other).into(),
        }
    }
}
