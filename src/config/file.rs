//! The TOML as it is written: every problem is told, with its line, and all of them together.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;

/// Something in the file that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 for what concerns no line.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

/// Reads a whole configuration, or tells all that is wrong with it.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| problem(text, error.span().unwrap_or_default(), error.message()))
        .collect();
    let mut config = Config::default();
    let mut lines = vec![];
    let mut top = Section::new("", table.into_inner());
    top.take("spool", &mut config.spool);
    top.take("state", &mut config.state);
    top.take_some("fallback", &mut config.fallback);
    for (name, section) in [
        ("sip", sip as fn(&mut Section, &mut Config)),
        ("media", media),
        ("deposit", deposit),
        ("menus", menus),
        ("messages", messages),
        ("sounds", sounds),
        ("http", http),
        ("mail", mail),
        ("notices", notices),
        ("log", log),
    ] {
        let mut inner = top.section(name);
        section(&mut inner, &mut config);
        inner.finish(text, &mut problems, &mut lines);
    }
    top.finish(text, &mut problems, &mut lines);
    for (key, why) in config.problems() {
        let line = lines.iter().find(|(known, _)| known == key).map_or(0, |(_, line)| *line);
        problems.push(Problem { line, text: format!("{key} {why}") });
    }
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn sip(section: &mut Section, config: &mut Config) {
    let sip = &mut config.sip;
    section.take("udp", &mut sip.udp);
    section.take("tcp", &mut sip.tcp);
    section.take("tls", &mut sip.tls);
    section.take("ws", &mut sip.ws);
    section.take("wss", &mut sip.wss);
    section.take_some("tls_certificate", &mut sip.tls_certificate);
    section.take_some("tls_key", &mut sip.tls_key);
    section.take_some("tls_client_ca", &mut sip.tls_client_ca);
    section.take_some("tls_ca", &mut sip.tls_ca);
    section.take("ws_origins", &mut sip.ws_origins);
    section.take("max_calls", &mut sip.max_calls);
    section.take("retry_after_seconds", &mut sip.retry_after_seconds);
    section.take("ringing", &mut sip.ringing);
    section.take("ring_seconds", &mut sip.ring_seconds);
    section.take("session_expires_seconds", &mut sip.session_expires_seconds);
    section.take("drain_seconds", &mut sip.drain_seconds);
    section.take("domains", &mut sip.domains);
    section.take("prefixes", &mut sip.prefixes);
    section.take("peers", &mut sip.peers);
    section.take("authenticate", &mut sip.authenticate);
    section.take("realm", &mut sip.realm);
    section.take("digest", &mut sip.digest);
    section.take("registrations", &mut sip.registrations);
    section.take("nameservers", &mut sip.nameservers);
    section.take_some("calls_to", &mut sip.calls_to);
}

fn media(section: &mut Section, config: &mut Config) {
    let media = &mut config.media;
    section.take("ports", &mut media.ports);
    section.take("bind", &mut media.bind);
    section.take_some("advertise", &mut media.advertise);
    section.take("threads", &mut media.threads);
    section.take("srtp", &mut media.srtp);
    section.take("srtp_keys_in_clear", &mut media.srtp_keys_in_clear);
    section.take("codecs", &mut media.codecs);
    section.take("codec_preference", &mut media.codec_preference);
}

fn deposit(section: &mut Section, config: &mut Config) {
    let deposit = &mut config.deposit;
    section.take("max_messages", &mut deposit.max_messages);
    section.take("max_seconds", &mut deposit.max_seconds);
    section.take("min_seconds", &mut deposit.min_seconds);
    section.take("silence_seconds", &mut deposit.silence_seconds);
    section.take("silence_level", &mut deposit.silence_level);
    section.take("silence_adapts", &mut deposit.silence_adapts);
    section.take("trim_silence", &mut deposit.trim_silence);
    section.take_some("level_dbfs", &mut deposit.level_dbfs);
    section.take("instructions", &mut deposit.instructions);
    section.take("retries", &mut deposit.retries);
    section.take("review", &mut deposit.review);
    section.take("mark_urgent", &mut deposit.mark_urgent);
    section.take("mark_private", &mut deposit.mark_private);
    section.take("screen", &mut deposit.screen);
    section.take_some("operator", &mut deposit.operator);
    section.take("star_login", &mut deposit.star_login);
    section.take("extensions", &mut deposit.extensions);
}

fn menus(section: &mut Section, config: &mut Config) {
    let menus = &mut config.menus;
    section.take("style", &mut menus.style);
    section.take("keys", &mut menus.keys);
    section.take("language", &mut menus.language);
    section.take("own_calls", &mut menus.own_calls);
    section.take("logins", &mut menus.logins);
    section.take("rounds", &mut menus.rounds);
    section.take("patience_seconds", &mut menus.patience_seconds);
    section.take("skip_seconds", &mut menus.skip_seconds);
    section.take("newest_first", &mut menus.newest_first);
    section.take("next_after", &mut menus.next_after);
    section.take("wrap", &mut menus.wrap);
    section.take("say_duration_from_seconds", &mut menus.say_duration_from_seconds);
    section.take("max_greeting_seconds", &mut menus.max_greeting_seconds);
    section.take("first_visit", &mut menus.first_visit);
    section.take("force_name", &mut menus.force_name);
    section.take("force_greetings", &mut menus.force_greetings);
    section.take("send", &mut menus.send);
    section.take("directory", &mut menus.directory);
    section.take("lists", &mut menus.lists);
    section.take("call_back", &mut menus.call_back);
    section.take("dial_out", &mut menus.dial_out);
    section.take("calls_per_day", &mut menus.calls_per_day);
}

fn messages(section: &mut Section, config: &mut Config) {
    let messages = &mut config.messages;
    section.take("move_heard", &mut messages.move_heard);
    section.take("shred", &mut messages.shred);
    section.take("max_minutes", &mut messages.max_minutes);
    section.take("max_megabytes", &mut messages.max_megabytes);
    section.take("min_free_megabytes", &mut messages.min_free_megabytes);
    let retention = &mut messages.retention;
    section.take("inbox_days", &mut retention.inbox);
    section.take("old_days", &mut retention.old);
    section.take("sent_days", &mut retention.sent);
    section.take("filed_days", &mut retention.filed);
    section.take("trash_days", &mut retention.trash);
    section.take("keep_unheard", &mut retention.keep_unheard);
    section.take("removed_days", &mut retention.removed);
}

fn sounds(section: &mut Section, config: &mut Config) {
    section.take_some("path", &mut config.sounds.path);
}

fn http(section: &mut Section, config: &mut Config) {
    let http = &mut config.http;
    section.take("listen", &mut http.listen);
    section.take("max_connections", &mut http.max_connections);
    section.take("renditions_megabytes", &mut http.renditions_megabytes);
    section.take("telebroad", &mut http.telebroad);
    section.take("telebroad_offset_base", &mut http.telebroad_offset_base);
    section.take_some("tls_certificate", &mut http.tls_certificate);
    section.take_some("tls_key", &mut http.tls_key);
    section.take("acme_names", &mut http.acme_names);
    section.take("acme_directory", &mut http.acme_directory);
    section.take_some("acme_directory_ca", &mut http.acme_directory_ca);
    section.take_some("acme_contact", &mut http.acme_contact);
    section.take("acme_listen", &mut http.acme_listen);
    section.take("trusted_proxies", &mut http.trusted_proxies);
    section.take("requests_per_second", &mut http.requests_per_second);
    section.take("cors_origins", &mut http.cors_origins);
    section.take("reveal_pins", &mut http.reveal_pins);
    section.take("api", &mut http.api);
    section.take("onsip", &mut http.onsip);
    section.take("onsip_session_seconds", &mut http.onsip_session_seconds);
    section.take("telecomx", &mut http.telecomx);
    section.take("yay", &mut http.yay);
    section.take("yay_number_range", &mut http.yay_number_range);
    section.take("yay_delete_with_body", &mut http.yay_delete_with_body);
    section.take("telecmi", &mut http.telecmi);
}

fn mail(section: &mut Section, config: &mut Config) {
    let mail = &mut config.mail;
    section.take_some("server", &mut mail.server);
    section.take("starttls", &mut mail.starttls);
    section.take_some("username", &mut mail.username);
    section.take_some("password_file", &mut mail.password_file);
    section.take_some("from", &mut mail.from);
    section.take("from_name", &mut mail.from_name);
    section.take("attach", &mut mail.attach);
    section.take("max_attachment_mb", &mut mail.max_attachment_mb);
    section.take_some("link_url", &mut mail.link_url);
    section.take("link_hours", &mut mail.link_hours);
    section.take_some("templates", &mut mail.templates);
    section.take_some("subject", &mut mail.subject);
    section.take_some("body", &mut mail.body);
    section.take_some("pager_subject", &mut mail.pager_subject);
    section.take_some("pager_body", &mut mail.pager_body);
    section.take("date_format", &mut mail.date_format);
    section.take_some("dkim_selector", &mut mail.dkim_selector);
    section.take_some("dkim_domain", &mut mail.dkim_domain);
    section.take_some("dkim_key", &mut mail.dkim_key);
}

fn notices(section: &mut Section, config: &mut Config) {
    let notices = &mut config.notices;
    section.take("found", &mut notices.found);
    section.take("extern_notify", &mut notices.extern_notify);
    section.take("webhooks", &mut notices.webhooks);
    section.take_some("digest_at", &mut notices.digest_at);
    section.take("remind_after_hours", &mut notices.remind_after_hours);
    section.take("lamp_state", &mut notices.lamp_state);
    section.take_some("voicemail_number", &mut notices.voicemail_number);
    section.take_some("lamp_username", &mut notices.lamp_username);
    section.take_some("lamp_password_file", &mut notices.lamp_password_file);
    section.take_some("lamp_realm", &mut notices.lamp_realm);
}

fn log(section: &mut Section, config: &mut Config) {
    section.take("level", &mut config.log.level);
    section.take("format", &mut config.log.format);
}

/// One table of the file; what nobody has taken in the end is unknown.
struct Section<'a> {
    name: &'static str,
    table: DeTable<'a>,
    known: Vec<&'static str>,
    problems: Vec<(Range<usize>, String)>,
    taken: Vec<(String, Range<usize>)>,
}

impl<'a> Section<'a> {
    fn new(name: &'static str, table: DeTable<'a>) -> Self {
        Self { name, table, known: vec![], problems: vec![], taken: vec![] }
    }

    fn take<T: DeserializeOwned>(&mut self, key: &'static str, field: &mut T) {
        if let Some(value) = self.read(key) {
            *field = value;
        }
    }

    /// An option without a default: absent is a value of its own.
    fn take_some<T: DeserializeOwned>(&mut self, key: &'static str, field: &mut Option<T>) {
        if let Some(value) = self.read(key) {
            *field = Some(value);
        }
    }

    fn read<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        let span = value.span();
        T::deserialize(value.into_deserializer())
            .inspect_err(|error| {
                self.problems.push((span, format!("{}: {}", self.path(key), error.message())));
            })
            .ok()
    }

    fn section(&mut self, key: &'static str) -> Self {
        let Some(value) = self.value(key) else { return Self::new(key, DeTable::new()) };
        let span = value.span();
        if let DeValue::Table(table) = value.into_inner() {
            return Self::new(key, table);
        }
        self.problems.push((span, format!("{key} is a section: write [{key}]")));
        Self::new(key, DeTable::new())
    }

    fn value(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.taken.push((self.path(key), value.span()));
        Some(value)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn finish(self, text: &str, problems: &mut Vec<Problem>, lines: &mut Vec<(String, usize)>) {
        for (key, _) in &self.table {
            let name = key.get_ref();
            let mut why = format!("unknown option {}", self.path(name).escape_debug());
            if let Some(near) = nearest(name, &self.known) {
                why += &format!("; did you mean {}?", self.path(near));
            }
            problems.push(problem(text, key.span(), &why));
        }
        for (span, why) in self.problems {
            problems.push(problem(text, span, &why));
        }
        lines.extend(self.taken.into_iter().map(|(key, span)| (key, line(text, span.start))));
    }
}

fn problem(text: &str, span: Range<usize>, why: &str) -> Problem {
    Problem { line: line(text, span.start), text: why.replace('\n', " ") }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The known word that a typing error most likely meant.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let (near, edits) = known
        .iter()
        .map(|known| (*known, distance(word, known)))
        .min_by_key(|(_, edits)| *edits)?;
    (edits <= near.len().div_ceil(3)).then_some(near)
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_sample_names_every_option_with_its_default() {
        let sample = include_str!("../../conf/afterbeep.toml");
        assert_eq!(parse(sample), Ok(Config::default()));
        // Options without a default stand there too, commented out.
        let shown: String = sample
            .lines()
            .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let (table, errors) = DeTable::parse_recoverable(&shown);
        assert!(errors.is_empty(), "{errors:?}");
        let mut top = Section::new("", table.into_inner());
        let mut config = Config::default();
        for (name, read) in [
            ("sip", sip as fn(&mut Section, &mut Config)),
            ("media", media),
            ("deposit", deposit),
            ("menus", menus),
            ("sounds", sounds),
            ("http", http),
            ("mail", mail),
            ("notices", notices),
            ("log", log),
        ] {
            let mut section = top.section(name);
            read(&mut section, &mut config);
            assert_eq!(section.taken.len(), section.known.len(), "[{name}] {:?}", section.taken);
            assert!(section.problems.is_empty(), "{:?}", section.problems);
        }
    }

    #[test]
    fn all_problems_are_told_together_with_their_lines() {
        let told = problems(
            "spol = '/x'\n\n[sip]\nudp = ['nowhere']\nmax_cals = 3\n[deposit]\nmax_seconds = 1\n",
        );
        assert_eq!(told.len(), 4, "{told:#?}");
        assert_eq!(told[0], "line 1: unknown option spol; did you mean spool?");
        assert!(told[1].starts_with("line 4: sip.udp:"), "{}", told[1]);
        assert_eq!(told[2], "line 5: unknown option sip.max_cals; did you mean sip.max_calls?");
        assert_eq!(told[3], "line 7: deposit.max_seconds must be more than min_seconds, 2");
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        assert!(problems("[sip]\nudp = [\n")[0].starts_with("line "));
        assert!(problems("sip = 3")[0].contains("[sip]"));
    }

    #[test]
    fn what_cannot_work_is_told() {
        for wrong in [
            "[media]\nports = [10001, 10002]",
            "[media]\nthreads = 100000",
            "[media]\ncodecs = []",
            "[media]\ncodecs = ['g729']",
            "[deposit]\nmax_seconds = 4000000000",
            "[deposit]\nsilence_level = 40000",
            "[http]\nmax_connections = 0",
        ] {
            let told = problems(wrong);
            assert!(told.len() == 1 && told[0].starts_with("line 2: "), "{wrong}: {told:?}");
        }
        assert!(parse("[media]\nports = [10001, 10003]").is_ok());
    }

    #[test]
    fn peers_and_domains_are_read() {
        let config = parse(
            "[sip]\ndomains = { \"a.example\" = \"sales\" }\nprefixes = { \"*\" = \"deposit\" }\n\
             [[sip.peers]]\naddress = '10.0.0.0/8'\ncontext = 'sales'\ntrusted = true\n",
        )
        .unwrap();
        assert!(config.sip.peers[0].trusted);
        assert_eq!(config.sip.domains["a.example"], "sales");
        assert_eq!(problems("[[sip.peers]]\naddress = 'x'\n").len(), 1);
        assert_eq!(problems("[[sip.peers]]\naddress = '10.0.0.1'\ntrust = true\n").len(), 1);
    }
}
