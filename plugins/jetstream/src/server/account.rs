//! An account with JetStream: its streams by name, and the way of its messages to them.

use super::Server;
use super::inbox::{Inbox, Kind};
use super::queue::Request;
use super::usage::Usage;
use super::worker::Worker;
use crate::api::assets::Assets;
use crate::api::limits::{AccountLimits, Tiers};
use crate::filter::matches;
use crate::store::StoredStream;
use crate::wire::StreamConfig;
use bytes::Bytes;
use natsd_plugin_api::serde_json::Value;
use natsd_plugin_api::{Host, MessageRef, Result, SubscribeOptions, Subscription, Task};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

pub const API_PREFIX: &[u8] = b"$JS.API.";

/// An account of the server. Accounts without JetStream are here too, to be answered that (JS-007).
pub struct Account {
    pub name: Arc<str>,
    enabled: AtomicBool,
    /// What it may have.
    pub tiers: RwLock<Tiers>,
    pub(super) usage: Arc<Usage>,
    /// The configurations of its streams.
    pub assets: RwLock<Assets>,
    /// Held while a stream is made, changed or deleted: what one request found must still be so when it is done.
    pub changing: Arc<tokio::sync::Mutex<()>>,
    pub is_system: bool,
    /// Streams that cannot run, and why: they are left alone (SD-126).
    pub damaged: Mutex<BTreeMap<String, String>>,
    pub streams: RwLock<BTreeMap<String, Arc<StreamHandle>>>,
    /// What the store has of it while it has no JetStream; a reload may give it that.
    pub parked: Mutex<Vec<StoredStream>>,
    /// Names of streams that are being restored.
    pub restoring: Mutex<BTreeSet<String>>,
    pub api_total: AtomicU64,
    pub api_errors: AtomicU64,
    /// The subjects of services that it imports.
    imported: RwLock<Vec<String>>,
    /// To the API.
    api: Mutex<Vec<Subscription>>,
    /// To what consumers are answered.
    subscriptions: Mutex<Vec<Subscription>>,
    hears_acks: AtomicBool,
}

/// A running stream, from outside its task.
pub struct StreamHandle {
    pub name: String,
    pub inbox: Arc<Inbox<Worker>>,
    pub config: RwLock<Arc<StreamConfig>>,
    pub gauges: Arc<Gauges>,
    task: Mutex<Option<Task<Option<Box<Worker>>>>>,
    /// By subject.
    subscriptions: Mutex<BTreeMap<String, Subscription>>,
}

impl Account {
    /// `tiers`: None without JetStream.
    pub fn new(name: &str, tiers: Option<Tiers>, is_system: bool) -> Arc<Self> {
        let account = Self {
            name: name.into(),
            usage: Usage::of_account(),
            enabled: AtomicBool::new(false),
            tiers: RwLock::default(),
            assets: RwLock::default(),
            changing: Arc::default(),
            is_system,
            damaged: Mutex::default(),
            parked: Mutex::default(),
            streams: RwLock::default(),
            restoring: Mutex::default(),
            api_total: AtomicU64::new(0),
            api_errors: AtomicU64::new(0),
            imported: RwLock::default(),
            api: Mutex::default(),
            subscriptions: Mutex::default(),
            hears_acks: AtomicBool::new(false),
        };
        account.set_tiers(tiers);
        Arc::new(account)
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// What it may have from now on; None: no JetStream.
    pub fn set_tiers(&self, tiers: Option<Tiers>) {
        let unlimited = AccountLimits::default();
        let limits = tiers.as_ref().and_then(|tiers| tiers.select(1)).unwrap_or(&unlimited);
        self.usage.limit(limits.max_memory, limits.max_storage);
        self.enabled.store(tiers.is_some(), Relaxed);
        *self.tiers.write() = tiers.unwrap_or_default();
    }

    pub fn stream(&self, name: &str) -> Option<Arc<StreamHandle>> {
        self.streams.read().get(name).cloned()
    }

    /// Subscribes to requests and acknowledgements. `domain` gives the API's second name (JS-060).
    pub fn open(self: &Arc<Self>, host: &Host, server: &Weak<Server>, domain: &str) -> Result<()> {
        self.offer_api(host, server, domain)?;
        if self.is_enabled() { self.hear_acks(host, server) } else { Ok(()) }
    }

    /// Answers requests, or leaves them to the account whose API this one imports: nobody answers then what it does not
    /// import.
    pub fn offer_api(self: &Arc<Self>, host: &Host, server: &Weak<Server>, domain: &str) -> Result<()> {
        let facts = host.account(&self.name).unwrap_or_default();
        let imported = facts.extra.get("service_imports").and_then(Value::as_array).into_iter().flatten();
        *self.imported.write() = imported.filter_map(Value::as_str).map(str::to_owned).collect();
        let mut subscriptions = self.api.lock();
        if self.is_served_elsewhere(b"$JS.API.INFO") {
            subscriptions.clear();
            return Ok(());
        }
        if !subscriptions.is_empty() {
            return Ok(());
        }
        let mut prefixes = vec!["$JS.API.".to_owned()];
        if !domain.is_empty() {
            prefixes.push(format!("$JS.{domain}.API."));
        }
        for prefix in prefixes {
            let (account, server, prefix_len) = (Arc::downgrade(self), server.clone(), prefix.len());
            subscriptions.push(host.subscribe(&self.inline(format!("{prefix}>")), move |messages| {
                if let (Some(account), Some(server)) = (account.upgrade(), server.upgrade()) {
                    account.requests(&server, prefix_len, messages);
                }
            })?);
        }
        Ok(())
    }

    /// Subscribes to what consumers are answered, once.
    pub fn hear_acks(self: &Arc<Self>, host: &Host, server: &Weak<Server>) -> Result<()> {
        if self.hears_acks.swap(true, Relaxed) {
            return Ok(());
        }
        for (subject, kind, token) in [("$JS.ACK.>", Kind::Ack, 2), ("$JS.FC.>", Kind::Flow, 2)] {
            let (account, server) = (Arc::downgrade(self), server.clone());
            let subscription = host.subscribe(&self.inline(subject.to_owned()), move |messages| {
                let account = account.upgrade().filter(|account| account.is_enabled());
                if let (Some(account), Some(server)) = (account, server.upgrade()) {
                    account.to_streams(&server, kind, token, messages);
                }
            })?;
            self.subscriptions.lock().push(subscription);
        }
        Ok(())
    }

    /// Streams that read others try at once: all of them, or those that read the stream of that name here.
    pub fn retry_origins(&self, name: Option<&str>) {
        let assets = self.assets.read();
        for config in assets.readers() {
            let mut origins = config.sources.iter().chain(&config.mirror);
            let is_meant = origins.any(|origin| name.is_none_or(|name| origin.name == name));
            if let Some(stream) = self.stream(&config.name).filter(|_| is_meant) {
                let name = name.map(str::to_owned);
                stream.inbox.command(move |worker: &mut Worker| {
                    worker.stream.retry_origins(name.as_deref(), worker.now_ns);
                });
            }
        }
    }

    /// Takes no more requests.
    pub fn close(&self) {
        self.api.lock().clear();
        self.subscriptions.lock().clear();
        for stream in self.streams.read().values() {
            stream.subscriptions.lock().clear();
        }
    }

    fn inline(&self, subject: String) -> SubscribeOptions {
        SubscribeOptions { account: self.name.to_string(), ..SubscribeOptions::to(subject) }
    }

    /// What is asked of one stream all the time goes straight to its task, the rest to the API's queue.
    fn requests(self: &Arc<Self>, server: &Server, prefix_len: usize, messages: &[MessageRef<'_>]) {
        let mut rest = messages;
        while let Some((message, after)) = rest.split_first() {
            let all = std::mem::replace(&mut rest, after);
            if self.is_served_elsewhere(message.subject()) {
                continue;
            }
            let request = &message.subject()[prefix_len..];
            let straight = [(&b"CONSUMER.MSG.NEXT."[..], Kind::Pull), (b"DIRECT.GET.", Kind::DirectGet)]
                .into_iter()
                .find_map(|(start, kind)| Some((request.strip_prefix(start)?, kind)));
            if let Some((place, kind)) = straight.filter(|_| self.is_enabled())
                && let Some(name) = token(place, 0)
                && let Some(stream) = (match kind {
                    // Without direct gets nobody listens (JS-143): the queue tells that.
                    Kind::DirectGet => self.read_directly(name),
                    _ => self.stream_named(name),
                })
            {
                // What goes the same way goes together: the stream's task is woken once.
                let way_len = message.subject().len() - place.len() + name.len();
                let (way, _) = message.subject().split_at(way_len);
                let is_same = |other: &&MessageRef<'_>| {
                    let end = other.subject().strip_prefix(way);
                    end.is_some_and(|end| end.is_empty() || end.starts_with(b"."))
                };
                let (together, after) = all.split_at(all.iter().take_while(is_same).count());
                stream.inbox.letters(kind, together);
                rest = after;
                continue;
            }
            let mut subject = API_PREFIX.to_vec();
            subject.extend_from_slice(request);
            self.queue(server, &subject, message);
        }
    }

    fn queue(self: &Arc<Self>, server: &Server, subject: &[u8], message: &MessageRef<'_>) {
        server.queue.push(Request {
            account: self.clone(),
            subject: Bytes::copy_from_slice(subject),
            reply: Bytes::copy_from_slice(message.reply()),
            headers: message.headers_bytes(),
            body: message.payload_bytes(),
            connection: message.origin(),
        });
    }

    /// An account without JetStream that imports this of another (ACC-017): that one answers.
    fn is_served_elsewhere(&self, subject: &[u8]) -> bool {
        let is_imported = || self.imported.read().iter().any(|import| matches(import.as_bytes(), subject));
        !self.is_enabled() && !self.is_system && is_imported()
    }

    /// Hands messages to the streams that their subjects name.
    fn to_streams(self: &Arc<Self>, server: &Server, kind: Kind, at: usize, messages: &[MessageRef<'_>]) {
        let name_of = |message: &MessageRef<'_>| {
            let subject = message.subject();
            // The longer form has domain and account hash before the stream's name (JC-082, JC-150).
            let long = subject.iter().filter(|&&byte| byte == b'.').count()
                >= LONG_DOTS[usize::from(kind == Kind::Flow)];
            token_range(subject, at + if long { 2 } else { 0 })
        };
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let Some(name) = name_of(first).map(|range| &first.subject()[range]) else {
                rest = &rest[1..];
                continue;
            };
            let same = |message: &&MessageRef<'_>| {
                name_of(message).is_some_and(|range| &message.subject()[range] == name)
            };
            let len = rest.iter().take_while(same).count();
            match self.stream_named(name) {
                Some(stream) => stream.inbox.letters(kind, &rest[..len]),
                None => rest[..len].iter().for_each(|message| self.queue(server, message.subject(), message)),
            }
            rest = &rest[len..];
        }
    }

    /// Who answers direct gets of a stream: itself, or where it is not, a mirror that has nearly all (JS-230).
    fn read_directly(&self, name: &[u8]) -> Option<Arc<StreamHandle>> {
        if let Some(stream) = self.stream_named(name) {
            let allows = stream.config.read().allow_direct;
            return allows.then_some(stream);
        }
        let streams = self.streams.read();
        let mirror = streams.values().find(|stream| {
            let config = stream.config.read();
            let origin = config.mirror.as_ref().filter(|_| config.mirror_direct);
            origin.is_some_and(|origin| origin.name.as_bytes() == name)
                && stream.gauges.caught_up.load(Relaxed)
        });
        mirror.cloned()
    }

    fn stream_named(&self, name: &[u8]) -> Option<Arc<StreamHandle>> {
        self.stream(std::str::from_utf8(name).ok()?)
    }
}

/// What a stream's task lets others see, as of its last turn.
#[derive(Default)]
pub struct Gauges {
    pub stored_bytes: AtomicU64,
    pub messages: AtomicU64,
    /// As clients see them.
    pub consumers: AtomicU64,
    /// With those of mirrors and sources that read from here.
    pub all_consumers: AtomicU64,
    pub failed: AtomicBool,
    /// Of a mirror: it has nearly all that its origin has.
    pub caught_up: AtomicBool,
}

/// Dots of the longer forms of ack and flow control subjects.
const LONG_DOTS: [usize; 2] = [10, 6];

impl StreamHandle {
    pub fn new(inbox: Arc<Inbox<Worker>>, config: StreamConfig) -> Arc<Self> {
        Arc::new(Self {
            name: config.name.clone(),
            inbox,
            config: RwLock::new(Arc::new(config)),
            gauges: Arc::default(),
            task: Mutex::default(),
            subscriptions: Mutex::default(),
        })
    }

    /// Subscribes to what the stream's configuration wants, and to nothing else.
    pub fn listen(&self, host: &Host, account: &str) -> Result<()> {
        let config = self.config.read().clone();
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.retain(|subject, _| config.subjects.contains(subject));
        for subject in &config.subjects {
            if subscriptions.contains_key(subject) {
                continue;
            }
            let inbox = self.inbox.clone();
            let options = SubscribeOptions {
                account: account.to_owned(),
                traces: true,
                ..SubscribeOptions::to(subject)
            };
            let tracer = host.clone();
            let subscription = host.subscribe(&options, move |messages| match messages {
                // A traced message comes by itself.
                [message] if message.is_traced() => inbox.traced(message, tracer.trace_of(message)),
                messages => inbox.letters(Kind::Publish, messages),
            })?;
            subscriptions.insert(subject.clone(), subscription);
        }
        Ok(())
    }

    /// Hears no more messages.
    pub fn deafen(&self) {
        self.subscriptions.lock().clear();
    }

    pub(super) fn started(&self, task: Task<Option<Box<Worker>>>) {
        *self.task.lock() = Some(task);
    }

    pub(super) fn take_task(&self) -> Option<Task<Option<Box<Worker>>>> {
        self.task.lock().take()
    }

    pub fn has_failed(&self) -> bool {
        self.gauges.failed.load(Relaxed)
    }
}

/// The token at a place.
pub fn token(subject: &[u8], at: usize) -> Option<&[u8]> {
    token_range(subject, at).map(|range| &subject[range])
}

fn token_range(subject: &[u8], at: usize) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for _ in 0..at {
        start += memchr::memchr(b'.', &subject[start..])? + 1;
    }
    let end = memchr::memchr(b'.', &subject[start..]).map_or(subject.len(), |len| start + len);
    Some(start..end)
}
