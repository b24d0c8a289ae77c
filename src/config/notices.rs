//! Wishes about mail, pages, webhooks and programs.

use std::path::PathBuf;

use serde::Deserialize;

use super::Config;

#[derive(Clone, Debug, PartialEq)]
pub struct Mail {
    /// `smtp://HOST`, `smtps://HOST`, or the path of a sendmail program; unset: no mail.
    pub server: Option<String>,
    /// Nothing is sent over `smtp://` unless the server encrypts.
    pub starttls: bool,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub from: Option<String>,
    pub from_name: String,
    /// What recordings are attached as.
    pub attach: Form,
    pub max_attachment_mb: u32,
    /// Where our HTTP is reached by those who read letters; unset: letters hold no links.
    pub link_url: Option<String>,
    /// How long a link in a letter is good for.
    pub link_hours: u32,
    /// A directory of templates that come before the built-in ones.
    pub templates: Option<PathBuf>,
    pub subject: Option<String>,
    pub body: Option<String>,
    pub pager_subject: Option<String>,
    pub pager_body: Option<String>,
    pub date_format: String,
    pub dkim_selector: Option<String>,
    pub dkim_domain: Option<String>,
    pub dkim_key: Option<PathBuf>,
}

/// The form of an attached recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Wav,
    Mp3,
    Opus,
    /// Nothing: the letter says where to listen.
    Link,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Notices {
    /// Messages that other programs put into the spool are mailed, paged and told to webhooks too.
    pub found: bool,
    /// Asterisk's externnotify: a program and its fixed arguments.
    pub extern_notify: Vec<String>,
    pub webhooks: Vec<Webhook>,
    /// `08:00` by the clock of each mailbox: a letter about all unheard messages; unset: none.
    pub digest_at: Option<String>,
    /// A letter about a message that was not heard for so many hours; 0: none.
    pub remind_after_hours: u32,
    /// What Subscription-State says to lamps that nobody subscribed for.
    pub lamp_state: String,
    /// Whom telephones dial to listen (Message-Account); unset: the mailbox's own number.
    pub voicemail_number: Option<String>,
    /// Who we are where a lamp asks for a password.
    pub lamp_username: Option<String>,
    pub lamp_password_file: Option<PathBuf>,
    /// The realm that may ask for it; unset: the host of the lamp's address.
    pub lamp_realm: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    #[serde(default)]
    pub shape: Shape,
    /// Whose app TeleCMI's shape says it is.
    #[serde(default)]
    pub appid: Option<u64>,
    /// Signs what is posted.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// `new`, `heard`, `deleted`, `full`, `locked`, `transcript`; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// Of mailboxes in these contexts; empty: all.
    #[serde(default)]
    pub contexts: Vec<String>,
    /// It may lie in our own network.
    #[serde(default)]
    pub allow_private: bool,
}

/// In whose words a webhook is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    #[default]
    Cloudevents,
    Telecmi,
    TelecmiIndia,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            server: None,
            starttls: false,
            username: None,
            password_file: None,
            from: None,
            from_name: "Voicemail".into(),
            attach: Form::Wav,
            max_attachment_mb: 20,
            link_url: None,
            link_hours: 24,
            templates: None,
            subject: None,
            body: None,
            pager_subject: None,
            pager_body: None,
            date_format: String::new(),
            dkim_selector: None,
            dkim_domain: None,
            dkim_key: None,
        }
    }
}

impl Default for Notices {
    fn default() -> Self {
        Self {
            found: false,
            extern_notify: vec![],
            webhooks: vec![],
            digest_at: None,
            remind_after_hours: 0,
            lamp_state: "terminated".into(),
            voicemail_number: None,
            lamp_username: None,
            lamp_password_file: None,
            lamp_realm: None,
        }
    }
}

/// Events that a webhook may ask for.
const EVENTS: [&str; 6] = ["new", "heard", "deleted", "full", "locked", "transcript"];

/// What cannot work, by its key.
pub(super) fn problems(config: &Config) -> Vec<(&'static str, String)> {
    let Mail { server, username, password_file, from, .. } = &config.mail;
    let Mail { dkim_selector, dkim_domain, dkim_key, .. } = &config.mail;
    let mut problems = vec![];
    let mut refuse = |wrong: bool, key: &'static str, why: String| {
        if wrong {
            problems.push((key, why));
        }
    };
    refuse(
        server.is_some() && from.is_none(),
        "mail.server",
        "needs mail.from, the address that letters come from".into(),
    );
    refuse(
        username.is_some() != password_file.is_some(),
        "mail.username",
        "and mail.password_file belong together".into(),
    );
    let dkim = [dkim_selector.is_some(), dkim_domain.is_some(), dkim_key.is_some()];
    refuse(
        dkim.contains(&true) && dkim.contains(&false),
        "mail.dkim_key",
        "needs mail.dkim_selector, mail.dkim_domain and mail.dkim_key together".into(),
    );
    refuse(
        !(1..=1_000).contains(&config.mail.max_attachment_mb),
        "mail.max_attachment_mb",
        "is 1 to 1000".into(),
    );
    for (key, why) in problems_of_links_and_rounds(config) {
        refuse(true, key, why.into());
    }
    refuse(
        config.notices.extern_notify.first().is_some_and(|program| !program.starts_with('/')),
        "notices.extern_notify",
        "begins with the whole path of a program, such as [\"/usr/local/bin/vm-notify\"]".into(),
    );
    let Notices { lamp_state, lamp_username, lamp_password_file, .. } = &config.notices;
    refuse(
        lamp_state.is_empty() || lamp_state.chars().any(char::is_control),
        "notices.lamp_state",
        "is a Subscription-State such as \"terminated\" or \"active\"".into(),
    );
    refuse(
        lamp_username.is_some() != lamp_password_file.is_some(),
        "notices.lamp_username",
        "and notices.lamp_password_file belong together".into(),
    );
    refuse(
        config.notices.lamp_realm.is_some() && lamp_username.is_none(),
        "notices.lamp_realm",
        "needs notices.lamp_username, whom it may ask for a password".into(),
    );
    let plain = |number: &String| {
        !number.is_empty()
            && number.chars().all(|c| c.is_ascii_alphanumeric() || "*#+-._".contains(c))
    };
    refuse(
        config.notices.voicemail_number.as_ref().is_some_and(|number| !plain(number)),
        "notices.voicemail_number",
        "is a number that telephones can dial, such as \"*97\"".into(),
    );
    for Webhook { url, events, shape, appid, .. } in &config.notices.webhooks {
        refuse(
            (*shape == Shape::Cloudevents) != appid.is_none(),
            "notices.webhooks",
            "of TeleCMI's shape, and only these, have an appid".into(),
        );
        refuse(
            !(url.starts_with("https://") || url.starts_with("http://")),
            "notices.webhooks",
            format!("`{}` is no address of the web: write https://HOST/PATH", url.escape_debug()),
        );
        for event in events.iter().filter(|event| !EVENTS.contains(&event.as_str())) {
            refuse(
                true,
                "notices.webhooks",
                format!("`{}` is no event: write {}", event.escape_debug(), EVENTS.join(", ")),
            );
        }
    }
    problems
}

fn problems_of_links_and_rounds(config: &Config) -> Vec<(&'static str, &'static str)> {
    let mut problems = vec![];
    let mut refuse = |wrong: bool, key, why| {
        if wrong {
            problems.push((key, why));
        }
    };
    let Mail { link_url, link_hours, attach, .. } = &config.mail;
    let is_url = |url: &String| {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && !"?#\"<>".contains(c))
        })
    };
    refuse(
        link_url.as_ref().is_some_and(|url| !is_url(url)),
        "mail.link_url",
        "is where http.listen is reached from outside, such as \"https://voicemail.example.com\"",
    );
    refuse(
        link_url.is_some() && !config.http.api,
        "mail.link_url",
        "needs http.api, which plays what it leads to",
    );
    refuse(
        *attach == Form::Link && link_url.is_none(),
        "mail.attach",
        "as \"link\" needs mail.link_url, where our HTTP is reached from outside",
    );
    refuse(!(1..=720).contains(link_hours), "mail.link_hours", "is 1 to 720");
    let is_time = |text: &String| jiff::civil::Time::strptime("%H:%M", text).is_ok();
    refuse(
        config.notices.digest_at.as_ref().is_some_and(|text| !is_time(text)),
        "notices.digest_at",
        "is a time of day, such as \"08:00\"",
    );
    refuse(
        config.notices.remind_after_hours > 8_760,
        "notices.remind_after_hours",
        "is 8760, a year, at most",
    );
    problems
}
