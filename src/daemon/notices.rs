//! Who tells owners of their messages, as the configuration wishes it.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{FORMS, read_secret};
use crate::call;
use crate::config::{self, Config};
use crate::control::Stores;
use crate::http;
use crate::notice::calendar;
use crate::notice::errand::{Event, Hook, Shape, Wishes};
use crate::notice::facts::Style;
use crate::notice::lamps::Switchman;
use crate::notice::letter::Address;
use crate::notice::mailer::{self, Dkim, Mailer};
use crate::notice::office::{Attach, Linker, Office};
use crate::notice::rounds::Rounds;
use crate::notice::template::{Own, Templates};
use crate::notice::webhook::Poster;
use crate::sip::{Agent, Credentials};
use crate::spool::Herald;
use crate::state::outbox::Intents;

/// Starts the office and the switchman.
pub(super) fn start(
    config: &Config,
    stores: &Stores,
    agent: &Agent,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let office = office(config, stores)?;
    let (wishes, directory) = (office.wishes.clone(), stores.directory.clone());
    stores.spool.engage(Herald {
        intents: Intents::start(&stores.state),
        wants: Box::new(move |id| directory.find(id).is_some_and(|owner| wishes.wants(&owner))),
    });
    let switchman = switchman(config, stores, agent)?;
    Ok(vec![
        tokio::spawn(office.run(stopped.clone())),
        tokio::spawn(switchman.run(stopped.clone())),
    ])
}

fn office(config: &Config, stores: &Stores) -> anyhow::Result<Office> {
    let config::Mail { from, from_name, .. } = &config.mail;
    let own = Own {
        subject: config.mail.subject.clone(),
        body: config.mail.body.clone(),
        pager_subject: config.mail.pager_subject.clone(),
        pager_body: config.mail.pager_body.clone(),
    };
    let templates = Templates::load(config.mail.templates.as_deref(), &own)
        .map_err(|problems| anyhow!(problems.join("\n")))?;
    let mut hooks = HashMap::new();
    for hook in &config.notices.webhooks {
        let secret = hook.secret_file.as_deref().map(read_secret).transpose()?;
        hooks.insert(hook.url.clone(), (secret, hook.allow_private));
    }
    Ok(Office {
        spool: stores.spool.clone(),
        directory: stores.directory.clone(),
        state: stores.state.clone(),
        templates,
        mailer: mailer(&config.mail)?,
        poster: Poster::new().map_err(|why| anyhow!("webhooks cannot be sent: {why}"))?,
        wishes: wishes(config),
        style: Style { date_format: config.mail.date_format.clone(), zone: None },
        from: Address { name: from_name.clone(), address: from.clone().unwrap_or_default() },
        hooks,
        extern_notify: config.notices.extern_notify.clone(),
        largest: u64::from(config.mail.max_attachment_mb) * 1_000_000,
        attach: attach(config.mail.attach),
        link: config.mail.link_url.as_ref().map(|url| linker(url, &config.mail, stores)),
        rounds: rounds(&config.notices),
    })
}

fn attach(form: config::Form) -> Attach {
    let extension = match form {
        config::Form::Wav => return Attach::AsKept,
        config::Form::Link => return Attach::Link,
        config::Form::Mp3 => "mp3",
        config::Form::Opus => "ogg",
    };
    let known = FORMS.iter().find(|form| form.extension == extension);
    known.map_or(Attach::AsKept, |form| Attach::As(*form))
}

fn linker(url: &str, mail: &config::Mail, stores: &Stores) -> Linker {
    let (base, link) = (url.trim_end_matches('/').to_owned(), http::letter_link(&stores.state));
    let good_for = i64::from(mail.link_hours) * 3_600;
    Arc::new(move |mailbox, id, now| {
        let until = now + good_for;
        (format!("{base}{}", link(mailbox, id, until)), until)
    })
}

fn rounds(notices: &config::Notices) -> Rounds {
    let hours = i64::from(notices.remind_after_hours);
    Rounds {
        digest_at: notices.digest_at.as_deref().and_then(calendar::o_clock),
        remind_after: (hours > 0).then_some(hours * 3_600),
    }
}

fn wishes(config: &Config) -> Wishes {
    let hook = |hook: &config::Webhook| Hook {
        url: hook.url.clone(),
        shape: match (hook.shape, hook.appid) {
            (config::Shape::Cloudevents, _) | (_, None) => Shape::CloudEvents,
            (config::Shape::Telecmi, Some(account)) => {
                Shape::Vendor { tell: http::telecmi_missed_call, account }
            }
            (config::Shape::TelecmiIndia, Some(account)) => {
                Shape::Vendor { tell: http::telecmi_missed_call_in_india, account }
            }
        },
        events: Event::ALL
            .into_iter()
            .filter(|event| hook.events.iter().any(|name| name == event.name()))
            .collect(),
        contexts: hook.contexts.clone(),
    };
    Wishes {
        mail: config.mail.server.is_some(),
        found: config.notices.found,
        hooks: config.notices.webhooks.iter().map(hook).collect(),
    }
}

fn mailer(mail: &config::Mail) -> anyhow::Result<Option<Mailer>> {
    let Some(server) = &mail.server else { return Ok(None) };
    let password = mail.password_file.as_deref().map(read_secret).transpose()?;
    let login = mail.username.clone().zip(password);
    let server = mailer::server(server, mail.starttls, login)
        .map_err(|why| anyhow!("mail.server: {why}"))?;
    let dkim = match (&mail.dkim_selector, &mail.dkim_domain, &mail.dkim_key) {
        (Some(selector), Some(domain), Some(key)) => Some(Dkim {
            selector: selector.clone(),
            domain: domain.clone(),
            key: fs::read_to_string(key)
                .with_context(|| format!("cannot read mail.dkim_key {}", key.display()))?,
        }),
        _ => None,
    };
    Mailer::new(&server, dkim.as_ref()).map(Some).map_err(|why| anyhow!(why))
}

fn switchman(config: &Config, stores: &Stores, agent: &Agent) -> anyhow::Result<Switchman> {
    let (sip, directory) = (config.sip.clone(), stores.directory.clone());
    let trust = move |who: &crate::sip::Subscribing| {
        call::may_subscribe(who, &sip, |context| directory.has_context(context))
    };
    let notices = &config.notices;
    let secret = notices.lamp_password_file.as_deref().map(read_secret).transpose()?;
    let credentials = notices.lamp_username.clone().zip(secret).map(|(username, secret)| {
        Credentials { username, secret, realm: notices.lamp_realm.clone() }
    });
    Ok(Switchman {
        agent: agent.clone(),
        spool: stores.spool.clone(),
        directory: stores.directory.clone(),
        trust: Arc::new(trust),
        state: notices.lamp_state.clone(),
        account: notices.voicemail_number.clone().unwrap_or_default(),
        credentials,
    })
}
