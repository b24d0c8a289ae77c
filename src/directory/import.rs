//! Asterisk's `voicemail.conf`, and what its mailboxes become here.
//!
//! Pure: files are handed in, and a [`Plan`] comes out, which says of each mailbox what can be
//! carried over and of the rest why not.

pub mod conf;
pub mod csv;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Settings;
use crate::mailbox::{self, MailboxId};
use conf::{Conf, Section};

/// What an import would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub mailboxes: Vec<Planned>,
    /// What could not be carried over, in words for the operator.
    pub report: Vec<String>,
    /// Lines for `afterbeep.toml`, which mean what `[general]` said.
    pub advice: Vec<String>,
}

/// A mailbox as it will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub id: MailboxId,
    pub settings: Settings,
    pub pin: Pin,
    /// The PIN lies beside the messages, in `secret.conf`: that one counts.
    pub pin_in_spool: bool,
    /// Options that mean nothing here; they are kept in `mailbox.toml`.
    pub kept: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    Given(String),
    /// None was asked for, or nobody could have typed it: one is drawn.
    Drawn,
}

/// A mailbox as Asterisk has it, from a file or from a table.
#[derive(Clone, Debug, Default)]
struct Line {
    context: String,
    number: String,
    password: String,
    name: String,
    email: String,
    pager: String,
    options: Vec<(String, String)>,
    place: String,
}

/// What the import must know of the house.
pub struct House<'a> {
    /// Names of the settings that a mailbox has here.
    pub settings: &'a [String],
    pub is_time_zone: &'a dyn Fn(&str) -> bool,
}

impl Plan {
    pub fn of(conf: &Conf, house: &House<'_>) -> Self {
        let empty = Section::default();
        let general = conf.section("general").unwrap_or(&empty);
        let mut planner = Planner::new(general, conf.section("zonemessages"), house);
        planner.plan.report.splice(0..0, conf.problems.iter().cloned());
        planner.general();
        let aliases = general.last("aliasescontext");
        for section in conf.sections.iter().filter(|section| !section.template) {
            match section.name.as_str() {
                "general" | "zonemessages" => {}
                name if Some(name) == aliases => planner.aliases(section),
                _ => section.entries.iter().for_each(|entry| {
                    // The dial-by-name directory's, in the same section.
                    if entry.key.eq_ignore_ascii_case("directoryintro") {
                        planner.note("directoryintro", &section.name.escape_debug().to_string());
                    } else {
                        planner.mailbox(&Line::parse(&section.name, entry));
                    }
                }),
            }
        }
        planner.finish()
    }

    /// Rows of the realtime table `voicemail`, by the names of their columns.
    pub fn of_rows(rows: &[Vec<(String, String)>], general: &Conf, house: &House<'_>) -> Self {
        let empty = Section::default();
        let section = general.section("general").unwrap_or(&empty);
        let mut planner = Planner::new(section, general.section("zonemessages"), house);
        for (n, row) in rows.iter().enumerate() {
            planner.mailbox(&Line::of_row(row, n + 2));
        }
        planner.finish()
    }

    pub fn and(mut self, other: Self) -> Self {
        let known: BTreeSet<MailboxId> = self.mailboxes.iter().map(|m| m.id.clone()).collect();
        let (new, twice): (Vec<_>, Vec<_>) =
            other.mailboxes.into_iter().partition(|mailbox| !known.contains(&mailbox.id));
        self.mailboxes.extend(new);
        self.report.extend(other.report);
        self.report.extend(
            twice.iter().map(|m| format!("{} is in several places: the first counts", m.id)),
        );
        self
    }
}

impl Line {
    /// `1234 => password,name,mail|mail,pager,option=value|option=value`.
    fn parse(context: &str, entry: &conf::Entry) -> Self {
        let mut fields = entry.value.splitn(5, ',');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (password, name, email, pager, rest) = (field(), field(), field(), field(), field());
        let mut line = Self {
            context: context.to_owned(),
            number: entry.key.clone(),
            password,
            name,
            email,
            pager,
            options: vec![],
            place: entry.place.clone(),
        };
        line.options(&rest, 0);
        line
    }

    /// `options=` holds further options.
    fn options(&mut self, text: &str, depth: usize) {
        for option in text.split('|') {
            let Some((key, value)) = option.split_once('=') else { continue };
            let key = key.trim().to_ascii_lowercase();
            if key == "options" && depth < 4 {
                self.options(value, depth + 1);
            } else {
                self.options.push((key, value.trim().to_owned()));
            }
        }
    }

    fn of_row(row: &[(String, String)], line: usize) -> Self {
        let mut made = Self { place: format!("row {line}"), ..Self::default() };
        let mut secret = None;
        for (column, value) in row {
            let column = column.trim().to_ascii_lowercase();
            let value = value.clone();
            match column.as_str() {
                _ if value.is_empty() || value == "NULL" || value == "\\N" => {}
                "mailbox" => made.number = value,
                "context" => made.context = value,
                "vmsecret" => secret = Some(value),
                "password" | "secret" => made.password = value,
                "fullname" => made.name = value,
                "email" => made.email = value,
                "pager" => made.pager = value,
                "uniqueid" | "stamp" | "customer_id" => {}
                _ => made.options.push((column, value)),
            }
        }
        made.password = secret.unwrap_or(made.password);
        if made.context.is_empty() {
            mailbox::DEFAULT_CONTEXT.clone_into(&mut made.context);
        }
        made
    }
}

struct Planner<'a> {
    general: &'a Section,
    zones: BTreeMap<String, String>,
    house: &'a House<'a>,
    plan: Plan,
    seen: BTreeSet<String>,
    /// What has no counterpart, and which mailboxes or sections wanted it.
    missing: BTreeMap<String, Vec<String>>,
}

impl<'a> Planner<'a> {
    fn new(general: &'a Section, zones: Option<&Section>, house: &'a House<'a>) -> Self {
        let mut planner = Self {
            general,
            zones: BTreeMap::new(),
            house,
            plan: Plan::default(),
            seen: BTreeSet::new(),
            missing: BTreeMap::new(),
        };
        for entry in zones.map_or(&[][..], |section| &section.entries) {
            let (zone, format) =
                entry.value.split_once(['|', ',']).unwrap_or((&entry.value, STANDARD_TIME));
            let (zone, format) = (zone.trim(), format.trim());
            if !(house.is_time_zone)(zone) {
                let zone = zone.escape_debug();
                planner.plan.report.push(format!("{}: {zone} is no time zone", entry.place));
                continue;
            }
            if !format.eq_ignore_ascii_case(STANDARD_TIME) {
                let zone = entry.key.escape_debug().to_string();
                planner.note("a way of its own to say date and time", &zone);
            }
            planner.zones.insert(entry.key.clone(), zone.to_owned());
        }
        planner
    }

    fn mailbox(&mut self, line: &Line) {
        let Line { context, number, .. } = line;
        let told = |text: &str| text.escape_debug().to_string();
        let Ok(id) = MailboxId::new(context, number) else {
            let report = format!(
                "{}: {}@{} cannot be a mailbox here: letters, digits, `-`, `_` and `.` only",
                line.place,
                told(number),
                told(context)
            );
            return self.plan.report.push(report);
        };
        if !self.seen.insert(id.to_string().to_lowercase()) {
            let report = format!("{}: {id} stands twice: the first counts", line.place);
            return self.plan.report.push(report);
        }
        let (pin, pin_in_spool) = self.pin(&id, line);
        let mut settings = Settings::new();
        settings.insert("name".into(), line.name.trim().into());
        self.addresses(&id, line, &mut settings);
        self.wishes(&id, line, &mut settings);
        let mut kept = BTreeMap::new();
        for (key, value) in &line.options {
            if !CARRIED.contains(&key.as_str()) {
                self.note(&format!("the option {}", told(key)), &id.to_string());
                kept.insert(key.clone(), value.clone());
            }
        }
        settings.retain(|key, _| self.house.settings.contains(key));
        self.plan.mailboxes.push(Planned { id, settings, pin, pin_in_spool, kept });
    }

    fn pin(&mut self, id: &MailboxId, line: &Line) -> (Pin, bool) {
        let in_spool = self.wish(line, "passwordlocation").is_some_and(|at| at == "spooldir");
        let password = line.password.trim();
        let (locked, password) = match password.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, password),
        };
        if locked && !password.is_empty() {
            self.note("a PIN that its owner may not change", &id.to_string());
        }
        if is_pin(password) {
            return (Pin::Given(password.to_owned()), in_spool);
        }
        if password.is_empty() {
            self.note("no PIN at all: one is drawn", &id.to_string());
        } else {
            self.note("a PIN that is not digits: one is drawn", &id.to_string());
        }
        (Pin::Drawn, in_spool)
    }

    fn addresses(&mut self, id: &MailboxId, line: &Line, settings: &mut Settings) {
        let (email, wrong): (Vec<&str>, Vec<&str>) = line
            .email
            .split('|')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .partition(|address| mailbox::is_mail_address(address));
        for address in wrong {
            let address = address.escape_debug();
            self.plan.report.push(format!("{}: {id}: `{address}` is no mail address", line.place));
        }
        let delete = ["delete", "deletevoicemail"].map(|key| self.is(line, key, false));
        let wanted = match (email.is_empty(), delete.contains(&true)) {
            (true, false) => "no",
            (true, true) => {
                let report = format!(
                    "{}: {id} deletes messages after mail, but has no mail address: they are kept",
                    line.place
                );
                self.plan.report.push(report);
                "no"
            }
            (false, true) => "delete",
            (false, false) if self.is(line, "attach", true) => "attach",
            (false, false) => "yes",
        };
        settings.insert("notify_email".into(), wanted.into());
        settings.insert("email".into(), email.into_iter().map(Value::from).collect());
        let pager = line.pager.trim();
        if mailbox::is_mail_address(pager) {
            settings.insert("pager".into(), pager.into());
            settings.insert("notify_pager".into(), true.into());
        } else if !pager.is_empty() {
            let pager = pager.escape_debug();
            self.plan.report.push(format!("{}: {id}: `{pager}` is no mail address", line.place));
        }
    }

    fn wishes(&mut self, id: &MailboxId, line: &Line, settings: &mut Settings) {
        if let Some(zone) = self.wish(line, "tz").map(str::to_owned) {
            if let Some(name) = self.zones.get(&zone) {
                settings.insert("time_zone".into(), name.clone().into());
            } else {
                let zone = zone.escape_debug();
                self.plan.report.push(format!("{}: {id}: no zone {zone}", line.place));
            }
        }
        let language = self.wish(line, "language").map(|text| text.replace('_', "-"));
        match language.filter(|text| !text.is_empty()) {
            Some(text) if mailbox::is_language(&text) => {
                settings.insert("language".into(), text.into());
            }
            Some(text) => {
                let text = text.escape_debug();
                self.plan.report.push(format!("{}: {id}: no language {text}", line.place));
            }
            None => {}
        }
        for (theirs, ours, default) in [
            ("saycid", "say_caller_id", false),
            ("sayduration", "say_duration", true),
            ("envelope", "say_datetime", true),
        ] {
            settings.insert(ours.into(), self.is(line, theirs, default).into());
        }
        for (theirs, ours) in
            [("maxmsg", "max_messages"), ("maxsecs", "max_seconds"), ("minsecs", "min_seconds")]
        {
            let Some(text) = self.wish(line, theirs) else { continue };
            match text.parse::<u32>() {
                Ok(0) if theirs == "maxsecs" => {
                    self.note("messages of any length (maxsecs=0)", &id.to_string());
                }
                Ok(number) => {
                    if number == 0 && theirs == "maxmsg" {
                        self.note("only a greeting (maxmsg=0)", &id.to_string());
                    }
                    settings.insert(ours.into(), json!(number));
                }
                Err(_) => {
                    let report = format!(
                        "{}: {id}: {theirs} is no number: {}",
                        line.place,
                        text.escape_debug()
                    );
                    self.plan.report.push(report);
                }
            }
        }
        let number = |key: &str| settings.get(key).and_then(Value::as_u64);
        if let (Some(least), Some(most)) = (number("min_seconds"), number("max_seconds"))
            && least >= most
        {
            settings.remove("min_seconds");
            let report = format!("{}: {id}: minsecs is not less than maxsecs", line.place);
            self.plan.report.push(report);
        }
    }

    /// The mailbox's own wish, else everybody's.
    fn wish<'b>(&'b self, line: &'b Line, key: &str) -> Option<&'b str> {
        let own = line.options.iter().rev().find(|(known, _)| known == key);
        own.map(|(_, value)| value.as_str()).or_else(|| self.general.last(key))
    }

    fn is(&self, line: &Line, key: &str, default: bool) -> bool {
        self.wish(line, key).map_or(default, is_true)
    }

    fn aliases(&mut self, section: &Section) {
        for entry in &section.entries {
            let (alias, of) = (entry.key.escape_debug(), entry.value.escape_debug());
            self.plan
                .report
                .push(format!("{}: the alias {alias} of {of}: send its calls there", entry.place));
        }
    }

    /// What the house as a whole can do too.
    fn general(&mut self) {
        for (theirs, ours) in [
            ("maxsilence", "deposit.silence_seconds"),
            ("silencethreshold", "deposit.silence_level"),
        ] {
            if let Some(value) = self.general.last(theirs) {
                match value.parse::<u32>() {
                    Ok(number) => self.plan.advice.push(format!("{ours} = {number}")),
                    Err(_) => self.note(&format!("{theirs} in [general]"), "general"),
                }
            }
        }
        let keys: BTreeSet<String> =
            self.general.entries.iter().map(|entry| entry.key.to_ascii_lowercase()).collect();
        for key in keys {
            let known = CARRIED.contains(&key.as_str()) || GENERAL.contains(&key.as_str());
            if !known {
                self.note(&format!("{} in [general]", key.escape_debug()), "general");
            }
        }
    }

    fn note(&mut self, what: &str, whose: &str) {
        self.missing.entry(what.to_owned()).or_default().push(whose.to_owned());
    }

    fn finish(mut self) -> Plan {
        for (what, whose) in &self.missing {
            let told = match whose.as_slice() {
                [only] if only == "general" => format!("no counterpart: {what}"),
                few @ ([_] | [_, _] | [_, _, _]) => {
                    format!("no counterpart: {what} ({})", few.join(", "))
                }
                [first, .., last] => {
                    format!("no counterpart: {what} ({first} … {last}, {} in all)", whose.len())
                }
                [] => continue,
            };
            self.plan.report.push(told);
        }
        self.plan
    }
}

/// A PIN that a telephone can send.
pub fn is_pin(text: &str) -> bool {
    (1..=mailbox::pin::LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// As Asterisk reads a switch.
fn is_true(text: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

/// Options of a mailbox that have a counterpart here.
const CARRIED: [&str; 14] = [
    "attach",
    "delete",
    "deletevoicemail",
    "tz",
    "language",
    "saycid",
    "sayduration",
    "envelope",
    "maxmsg",
    "maxsecs",
    "minsecs",
    "passwordlocation",
    "email",
    "pager",
];
/// Settings of the house that are answered otherwise, or need no answer.
const GENERAL: [&str; 7] = [
    "format",
    "maxsilence",
    "silencethreshold",
    "aliasescontext",
    "pollmailboxes",
    "pollfreq",
    "searchcontexts",
];
/// How Asterisk says date and time unless it is told.
const STANDARD_TIME: &str = "'vm-received' q 'digits/at' IMp";

#[cfg(test)]
mod tests;
