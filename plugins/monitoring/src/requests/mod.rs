//! Requests in the system account, and those that other accounts may ask of themselves (SYS-001 to SYS-032).
//!
//! `subjects` says what is listened to, `options` reads bodies, `answer` answers, `encoding` compresses.

mod answer;
mod encoding;
mod options;
mod subjects;
mod subscribers;
mod user;

use crate::events::Events;
use crate::json;
use answer::{Answer, Answers};
use encoding::Encoding;
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{
    ConnectionEvent, Delivery, Event, EventObserver, Host, MessageRef, PublishRef, Result, SubscribeOptions,
    Subscription, tracing,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use subjects::Topic;

/// More requests at once than this are not answered.
const PENDING_MAX: usize = 256;

/// Listens in all accounts. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    host: Host,
    answers: Answers,
    /// By account; `None` while they are being made. Of the system account too.
    accounts: Arc<Mutex<HashMap<String, Option<Served>>>>,
    pending: Arc<AtomicUsize>,
}

struct Served {
    /// The account was the system account then.
    is_system: bool,
    /// Held for as long as the account is served.
    _subscriptions: Vec<Subscription>,
}

/// One request, kept until it is answered.
struct Request {
    /// Where to answer.
    account: String,
    topic: Topic,
    reply: Vec<u8>,
    encoding: Option<Encoding>,
    body: Vec<u8>,
    /// Who asks through an import (ACC-008); empty: somebody of the system account.
    asker: String,
    origin: u64,
}

impl EventObserver for Requests {
    fn on_event(&self, event: &Event) {
        let served = match event {
            Event::Connected { connection } => self.serve(&connection.account),
            Event::AccountAdded { account } => self.serve(account),
            Event::AccountRemoved { account } => {
                let removed = self.lock().remove(account);
                // Outside of the lock: it ends subscriptions.
                drop(removed);
                Ok(())
            }
            Event::Reloaded { .. } => self.serve_all(),
            _ => Ok(()),
        };
        if let Err(error) = served {
            tracing::warn!("Requests to the server are not answered in some account: {error}");
        }
    }

    fn wants(&self, what: ConnectionEvent, account: &str) -> bool {
        what == ConnectionEvent::Connected && !self.lock().contains_key(account)
    }
}

impl Requests {
    pub fn new(host: Host, events: Events) -> Self {
        let answers = Answers { host: host.clone(), events };
        Self { host, answers, accounts: Arc::default(), pending: Arc::default() }
    }

    /// What `/accountz` shows of these requests; nothing without a system account.
    pub fn borders(&self, account: &str) -> Result<Value> {
        let system = self.host.identity()?.system_account;
        Ok(if system.is_empty() { Value::Null } else { subjects::borders(account, &system) })
    }

    /// Listens in every account there is.
    pub fn serve_all(&self) -> Result<()> {
        let system = self.host.identity()?.system_account;
        // A reload can make another account the system account.
        let changed: Vec<_> = {
            let mut accounts = self.lock();
            let is_other = |(name, served): (&String, &mut Option<Served>)| {
                served.as_ref().is_some_and(|served| served.is_system != (*name == system))
            };
            accounts.extract_if(|name, served| is_other((name, served))).collect()
        };
        drop(changed);
        self.host.accounts()?.iter().try_for_each(|account| self.serve(account))
    }

    fn serve(&self, account: &str) -> Result<()> {
        {
            let mut accounts = self.lock();
            if accounts.contains_key(account) {
                return Ok(());
            }
            accounts.insert(account.to_owned(), None);
        }
        let served = self.listen(account);
        let mut accounts = self.lock();
        match served {
            Ok(served) => {
                accounts.insert(account.to_owned(), served);
                Ok(())
            }
            Err(error) => {
                accounts.remove(account);
                Err(error)
            }
        }
    }

    /// `None` without a system account: then nobody is answered.
    fn listen(&self, account: &str) -> Result<Option<Served>> {
        let identity = self.host.identity()?;
        if identity.system_account.is_empty() {
            return Ok(None);
        }
        let is_system = identity.system_account == account;
        let subjects = if is_system {
            subjects::in_system_account(&identity.id)
        } else {
            subjects::in_other_accounts().map(str::to_owned).collect()
        };
        let subscribe = |subject: String| {
            let delivery = Delivery::queued();
            let options =
                SubscribeOptions { account: account.to_owned(), delivery, ..SubscribeOptions::to(subject) };
            let (own, account) = (self.clone(), account.to_owned());
            self.host.subscribe(&options, move |batch| {
                for message in batch {
                    own.take(&account, is_system, message);
                }
            })
        };
        let subscriptions = subjects.into_iter().map(subscribe).collect::<Result<_>>()?;
        Ok(Some(Served { is_system, _subscriptions: subscriptions }))
    }

    /// A request came: it is answered from a task.
    fn take(&self, account: &str, is_system: bool, message: &MessageRef<'_>) {
        let subject = String::from_utf8_lossy(message.subject());
        let Some(topic) = subjects::topic(&subject, (!is_system).then_some(account)) else { return };
        if message.reply().is_empty() {
            // SYS-004
            if topic == Topic::Server("STATSZ".to_owned()) {
                self.answers.events.broadcast_statsz();
            }
            return;
        }
        let request = Request {
            account: account.to_owned(),
            topic,
            reply: message.reply().to_vec(),
            encoding: Encoding::wanted(message.headers()),
            body: message.payload().to_vec(),
            asker: subscribers::asker(message.headers()),
            origin: message.origin(),
        };
        if self.pending.fetch_add(1, Ordering::Relaxed) >= PENDING_MAX {
            self.pending.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(
                "More than {PENDING_MAX} requests to the server at once: one on {subject} is dropped"
            );
            return;
        }
        let own = self.clone();
        // A task goes on without its handle.
        drop(self.host.spawn("system request", async move {
            let answered = own.answer(request).await;
            own.pending.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = answered {
                tracing::warn!("A request to the server is not answered: {error}");
            }
        }));
    }

    async fn answer(&self, request: Request) -> Result<()> {
        if request.topic == Topic::Server("RELOAD".to_owned()) {
            let outcome = self.host.reload().await;
            return self.send(&request, self.answers.reloaded(outcome)?);
        }
        let own = self.clone();
        // Snapshots of large servers take long; the server's own threads have better things to do.
        let work = move || {
            let answer = match &request.topic {
                Topic::Subscribers => own.answers.subscribers(&request)?,
                topic => own.answers.answer(topic, &request.body, request.origin)?,
            };
            own.send(&request, answer)
        };
        self.host.blocking(work).await?
    }

    fn send(&self, request: &Request, answer: Answer) -> Result<()> {
        let (value, encoding) = match answer {
            Answer::Enveloped(value) => (value, request.encoding),
            Answer::Bare(value) => (value, None),
            Answer::Silence => return Ok(()),
        };
        let body = json::compact(&value).into_bytes();
        let (headers, body) = match encoding {
            None => (&b""[..], body),
            Some(encoding) => (encoding.header(), encoding.encode(body)?),
        };
        self.host.publish(&request.account, PublishRef::new(&request.reply, &body).headers(headers))?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<Served>>> {
        // Each change is one call: a panic leaves nothing half done.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
