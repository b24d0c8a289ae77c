//! Between OnSIP's words and ours; pure.
//!
//! Odd about this vendor: the default of `NotifyEmail` is documented as `false`, which is none of its
//! own values, and applied as `no`; `Edit` documents defaults but leaves what is omitted unchanged;
//! a PIN is called an integer and is a string of digits; failures are HTTP 200; time zones have four
//! names of its own.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::wire::{Element, Fault, Given, STARS, truth};
use crate::directory::Settings;
use crate::mailbox::{Mailbox, MailboxId, NotifyEmail};
use crate::state::organization::Organization;

pub(super) enum Wish {
    SessionCreate { username: String, password: String },
    SessionDestroy,
    Add { organization: u64, mailbox: String, settings: Settings },
    Read { mailbox: u64 },
    Browse(Browse),
    Delete { mailbox: u64 },
    Edit { mailbox: u64, number: Option<String>, pin: Option<String>, settings: Settings },
}

pub(super) struct Browse {
    pub(super) of: Of,
    pub(super) order: Order,
    pub(super) descending: bool,
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) found: bool,
}

pub(super) enum Of {
    Account(u64),
    Organization(u64),
}

#[derive(Clone, Copy)]
pub(super) enum Order {
    Voicemailbox,
    Organization,
    Mailbox,
}

/// A wish, or what is wrong with it; and the defaults that were applied.
pub(super) struct Checked {
    pub(super) wish: Option<Wish>,
    pub(super) faults: Vec<Fault>,
    pub(super) defaults: Vec<(&'static str, String)>,
}

pub(super) const ACTIONS: [&str; 7] = [
    "SessionCreate",
    "SessionDestroy",
    "VoicemailboxAdd",
    "VoicemailboxRead",
    "VoicemailboxBrowse",
    "VoicemailboxDelete",
    "VoicemailboxEdit",
];

/// What is asked for. `action` is one of [`ACTIONS`].
pub(super) fn wish(action: &str, given: &Given) -> Checked {
    let mut form = Form { given, faults: vec![], defaults: vec![] };
    let wish = match action {
        "SessionCreate" => {
            let (username, password) = (form.required("Username"), form.required("Password"));
            Some(Wish::SessionCreate { username, password })
        }
        "SessionDestroy" => Some(Wish::SessionDestroy),
        "VoicemailboxAdd" => Some(add(&mut form)),
        "VoicemailboxRead" => Some(Wish::Read { mailbox: form.id("VoicemailboxId") }),
        "VoicemailboxDelete" => Some(Wish::Delete { mailbox: form.id("VoicemailboxId") }),
        "VoicemailboxBrowse" => browse(&mut form),
        "VoicemailboxEdit" => Some(edit(&mut form)),
        _ => None,
    };
    let Form { faults, defaults, .. } = form;
    Checked { wish: wish.filter(|_| faults.is_empty()), faults, defaults }
}

fn add(form: &mut Form) -> Wish {
    let organization = form.id("OrganizationId");
    let (username, domain) = (form.required("Username"), form.required("Domain"));
    let mailbox = form.required("Mailbox");
    form.number("Mailbox", &mailbox);
    let name = form.required("Fullname");
    let mut settings = Settings::new();
    settings.insert("name".into(), name.into());
    let address = format!("{username}@{domain}");
    if username.contains('@') || domain.contains('@') || address.contains(char::is_whitespace) {
        form.fault("Username", "Address.Invalid", "Username and Domain are no SIP address");
    }
    settings.insert("sip_address".into(), address.into());
    form.zone(&mut settings, Some("us_eastern"));
    for (parameter, setting) in SAYS {
        form.flag(parameter, setting, &mut settings, Some("false"));
    }
    form.notify(&mut settings, Some("no"));
    form.addresses(&mut settings);
    for (parameter, asked) in
        [("Email", settings["notify_email"] != "no"), ("Pager", settings["notify_pager"] == true)]
    {
        if asked {
            form.required(parameter);
        }
    }
    form.defaults.push(("Name", username));
    Wish::Add { organization, mailbox, settings }
}

fn edit(form: &mut Form) -> Wish {
    let mailbox = form.id("VoicemailboxId");
    let mut settings = Settings::new();
    let given = form.given;
    let number = given.text("Mailbox").map(str::to_owned);
    if let Some(number) = &number {
        form.number("Mailbox", number);
    }
    let pin = given.text("Password").map(str::to_owned);
    if let Some(pin) = &pin {
        form.digits("Password", pin);
    }
    if let Some(name) = given.text("Fullname") {
        settings.insert("name".into(), name.into());
    }
    form.zone(&mut settings, None);
    for (parameter, setting) in SAYS {
        form.flag(parameter, setting, &mut settings, None);
    }
    form.notify(&mut settings, None);
    form.addresses(&mut settings);
    Wish::Edit { mailbox, number, pin, settings }
}

fn browse(form: &mut Form) -> Option<Wish> {
    let given = form.given;
    let of = match (given.text("AccountId"), given.text("OrganizationId")) {
        (Some(_), None) => Of::Account(form.id("AccountId")),
        (None, Some(_)) => Of::Organization(form.id("OrganizationId")),
        (None, None) => {
            form.fault("OrganizationId", "Value.Required", REQUIRED);
            return None;
        }
        (Some(_), Some(_)) => {
            let why = "AccountId and OrganizationId exclude each other";
            form.fault("AccountId", "Value.Conflict", why);
            return None;
        }
    };
    let (order, descending) = match given.text("OrderBy").unwrap_or("VoicemailboxId") {
        order if order.ends_with(" Desc") => (order.trim_end_matches(" Desc"), true),
        order => (order, false),
    };
    let order = match order {
        "VoicemailboxId" => Order::Voicemailbox,
        "OrganizationId" => Order::Organization,
        "Mailbox" => Order::Mailbox,
        _ => {
            let why =
                "OrderBy is VoicemailboxId, OrganizationId or Mailbox, each with or without Desc";
            form.fault("OrderBy", "Value.Invalid", why);
            Order::Mailbox
        }
    };
    let limit = form.whole("Limit", "20", MOST);
    let offset = form.whole("Offset", "0", u64::MAX);
    let found = form.boolean("CalcFound", "true");
    let page = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (limit, offset) = (page(limit), page(offset));
    Some(Wish::Browse(Browse { of, order, descending, limit, offset, found }))
}

const MOST: u64 = 25_000;
const REQUIRED: &str = "A value is required";
const SAYS: [(&str, &str); 3] = [
    ("SayCallerId", "say_caller_id"),
    ("SayDuration", "say_duration"),
    ("SayDatetime", "say_datetime"),
];
const ZONES: [(&str, &str); 4] = [
    ("us_eastern", "America/New_York"),
    ("us_central", "America/Chicago"),
    ("us_mountain", "America/Denver"),
    ("us_pacific", "America/Los_Angeles"),
];

/// Parameters while they are checked: all faults are told together.
struct Form<'g> {
    given: &'g Given,
    faults: Vec<Fault>,
    defaults: Vec<(&'static str, String)>,
}

impl Form<'_> {
    fn fault(&mut self, parameter: &'static str, code: &'static str, message: &str) {
        self.faults.push(Fault { parameter, code, message: message.to_owned() });
    }

    fn required(&mut self, parameter: &'static str) -> String {
        let value = self.given.text(parameter).map(str::to_owned);
        value.unwrap_or_else(|| {
            self.fault(parameter, "Value.Required", REQUIRED);
            String::new()
        })
    }

    fn optional(&mut self, parameter: &'static str, default: &str) -> String {
        if let Some(value) = self.given.text(parameter) {
            return value.to_owned();
        }
        self.defaults.push((parameter, default.to_owned()));
        default.to_owned()
    }

    fn id(&mut self, parameter: &'static str) -> u64 {
        let text = self.required(parameter);
        match text.parse::<u64>() {
            Ok(id) if id > 0 => return id,
            _ if text.is_empty() => {}
            Ok(_) | Err(_) => {
                self.fault(parameter, "Integer.Invalid", "A positive integer is needed");
            }
        }
        0
    }

    fn whole(&mut self, parameter: &'static str, default: &str, most: u64) -> u64 {
        let text = self.optional(parameter, default);
        match text.parse::<u64>() {
            Ok(n) if n <= most => return n,
            Ok(_) => self.fault(parameter, "Integer.TooBig", &format!("At most {most} is allowed")),
            Err(_) => self.fault(parameter, "Integer.Invalid", "A whole number is needed"),
        }
        0
    }

    fn boolean(&mut self, parameter: &'static str, default: &str) -> bool {
        let text = self.optional(parameter, default);
        if !["true", "false"].contains(&text.as_str()) {
            self.fault(parameter, "Boolean.Invalid", "true or false is needed");
        }
        text == "true"
    }

    /// A mailbox's number: a positive integer of up to 7 digits.
    fn number(&mut self, parameter: &'static str, text: &str) {
        self.digits(parameter, text);
        if !text.is_empty() && text.bytes().all(|b| b == b'0') {
            self.fault(parameter, "Integer.Invalid", "A positive integer is needed");
        }
    }

    fn digits(&mut self, parameter: &'static str, text: &str) {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            self.fault(parameter, "Integer.Invalid", "Only digits are allowed");
        } else if text.len() > 7 {
            self.fault(parameter, "Integer.TooBig", "At most 7 digits are allowed");
        }
    }

    /// With a default where one is applied; without, what is omitted stays.
    fn choice(&mut self, parameter: &'static str, default: Option<&str>) -> Option<String> {
        match default {
            Some(default) => Some(self.optional(parameter, default)),
            None => self.given.text(parameter).map(str::to_owned),
        }
    }

    fn zone(&mut self, settings: &mut Settings, default: Option<&str>) {
        let Some(zone) = self.choice("Timezone", default) else { return };
        if let Some((_, iana)) = ZONES.iter().find(|(theirs, _)| *theirs == zone) {
            settings.insert("time_zone".into(), (*iana).into());
        } else {
            let why = "Timezone is us_eastern, us_central, us_mountain or us_pacific";
            self.fault("Timezone", "Value.Invalid", why);
        }
    }

    fn flag(
        &mut self,
        parameter: &'static str,
        setting: &str,
        settings: &mut Settings,
        default: Option<&str>,
    ) {
        let Some(value) = self.choice(parameter, default) else { return };
        if !["true", "false"].contains(&value.as_str()) {
            self.fault(parameter, "Boolean.Invalid", "true or false is needed");
        }
        settings.insert(setting.into(), (value == "true").into());
    }

    fn notify(&mut self, settings: &mut Settings, default: Option<&str>) {
        if let Some(value) = self.choice("NotifyEmail", default) {
            // Clients that believed the table's default send it.
            let value = match value.as_str() {
                "false" => "no",
                "true" => "yes",
                other => other,
            };
            if !["no", "yes", "attach", "delete"].contains(&value) {
                self.fault(
                    "NotifyEmail",
                    "Value.Invalid",
                    "NotifyEmail is no, yes, attach or delete",
                );
            }
            settings.insert("notify_email".into(), value.into());
        }
        if let Some(value) = self.choice("NotifyPager", default) {
            if !["no", "yes"].contains(&value.as_str()) {
                self.fault("NotifyPager", "Value.Invalid", "NotifyPager is no or yes");
            }
            settings.insert("notify_pager".into(), (value == "yes").into());
        }
    }

    fn addresses(&mut self, settings: &mut Settings) {
        let list = |text: &str| -> Value {
            text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
        };
        let plain = |text: &str| {
            text.split(',').all(|one| {
                let one = one.trim().trim_start_matches("sip:");
                let halves = one.split_once('@');
                halves.is_some_and(|(user, host)| {
                    !user.is_empty() && !host.is_empty() && !host.contains('@')
                }) && !one
                    .contains(|c: char| c.is_whitespace() || c.is_control() || "<>;\"".contains(c))
            })
        };
        for (parameter, setting, code) in [
            ("Email", "email", "Email.Invalid"),
            ("Pager", "pager", "Email.Invalid"),
            ("Mwi", "mwi", "Address.Invalid"),
        ] {
            let Some(value) = self.given.raw(parameter) else { continue };
            if !value.is_empty() && !plain(value) {
                self.fault(parameter, code, "An address, user@domain, is needed");
            }
            let value = if setting == "pager" { json!(value) } else { list(value) };
            settings.insert(setting.into(), value);
        }
    }
}

/// What a mailbox is to them. `pin`: in clear, or `None` where it is not told.
pub(super) fn voicemailbox(
    id: &MailboxId,
    mailbox: &Mailbox,
    organization: &Organization,
    pin: Option<&str>,
) -> Element {
    let zone = mailbox.time_zone.as_deref().unwrap_or_default();
    let zone = ZONES.iter().find(|(_, iana)| *iana == zone).map_or(zone, |(theirs, _)| theirs);
    let addresses: Vec<&str> = mailbox.email.iter().map(AsRef::as_ref).collect();
    let lamps: Vec<&str> = mailbox.mwi.iter().map(|mwi| mwi.trim_start_matches("sip:")).collect();
    Element::new(
        "Voicemailbox",
        vec![
            text("VoicemailboxId", mailbox.id.to_string()),
            text("OrganizationId", organization.id.to_string()),
            text("AccountId", organization.account.to_string()),
            text("Status", if mailbox.enabled { "enabled" } else { "disabled" }),
            text("Mailbox", id.number()),
            text("Password", pin.unwrap_or(if mailbox.pin.is_empty() { "" } else { STARS })),
            text("Fullname", &mailbox.name),
            text("Timezone", zone),
            truth("SayCallerId", mailbox.say_caller_id),
            truth("SayDuration", mailbox.say_duration),
            truth("SayDatetime", mailbox.say_datetime),
            text("NotifyEmail", notify_email(mailbox.notify_email)),
            text("NotifyPager", if mailbox.notify_pager { "yes" } else { "no" }),
            text("Email", addresses.join(",")),
            text("Pager", mailbox.pager.as_deref().unwrap_or_default()),
            text("Mwi", lamps.join(",")),
            text("Created", date_time(mailbox.created)),
            text("Modified", date_time(mailbox.modified)),
        ],
    )
}

/// Where calls to it go: told when it is made.
pub(super) fn transfer_address(mailbox: &Mailbox) -> Option<Element> {
    let address = mailbox.sip_address.as_deref()?;
    let (user, domain) = address.split_once('@')?;
    let parts = vec![
        text("Address", address),
        text("Username", user),
        text("Domain", domain),
        text("Type", "voicemail"),
        text("Name", user),
    ];
    Some(Element::new("TransferAddress", parts))
}

fn text(name: &'static str, value: impl Into<String>) -> Element {
    Element::text(name, value)
}

/// ISO 8601 with an offset.
pub(super) fn date_time(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

fn notify_email(wish: NotifyEmail) -> &'static str {
    match wish {
        NotifyEmail::No => "no",
        NotifyEmail::Yes => "yes",
        NotifyEmail::Attach => "attach",
        NotifyEmail::Delete => "delete",
    }
}

pub(super) fn sort(
    boxes: &mut [(MailboxId, std::sync::Arc<Mailbox>, u64)],
    order: Order,
    descending: bool,
) {
    let digits = |id: &MailboxId| id.number().parse::<u64>().unwrap_or(u64::MAX);
    boxes.sort_by(|(a_id, a, a_organization), (b_id, b, b_organization)| {
        let by = match order {
            Order::Voicemailbox => a.id.cmp(&b.id),
            Order::Organization => a_organization.cmp(b_organization),
            Order::Mailbox => (digits(a_id), a_id.number()).cmp(&(digits(b_id), b_id.number())),
        };
        // Equal ones keep an order, so that pages fit.
        let by = if descending { by.reverse() } else { by };
        by.then(a.id.cmp(&b.id))
    });
}
