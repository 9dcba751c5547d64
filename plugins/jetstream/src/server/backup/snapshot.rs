//! Sends a stream to a client. The stream goes on meanwhile: what the backup has is what was there at its beginning
//! and not removed since.

use super::{PATIENCE, Scene};
use crate::api::advisory::Advisory;
use crate::backup::archive::{self, CONSUMERS, Head, MAGIC, STATE};
use crate::backup::consumers::ConsumerBackup;
use crate::backup::s2::Compressor;
use crate::server::Server;
use crate::server::account::{Account, StreamHandle};
use crate::server::queue::Request;
use crate::server::worker::Worker;
use crate::store::{Message, StoreError};
use crate::wire::requests::SnapshotRequest;
use crate::wire::{ApiError, StreamConfig, StreamState, error};
use natsd_plugin_api::{PublishRef, SubscribeOptions, tracing};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

const CHUNK_BYTES: i64 = 128 * 1024;
const CHUNK_BYTES_MAX: i64 = 1024 * 1024;
const WINDOW_BYTES: i64 = 8 * 1024 * 1024;
const WINDOW_BYTES_MAX: i64 = 32 * 1024 * 1024;
const BYTES_MIN: i64 = 1024;
/// Messages that the stream's task hands over in one go.
const TURN_BYTES: usize = 256 * 1024;
/// For someone to listen.
const LISTENER_PATIENCE: Duration = Duration::from_secs(2);

/// What the stream was when its backup began.
pub struct Beginning {
    pub config: StreamConfig,
    pub state: StreamState,
    consumers: Vec<ConsumerBackup>,
}

/// A backup that is ready to be sent.
pub struct Snapshot {
    scene: Scene,
    stream: Arc<StreamHandle>,
    request: SnapshotRequest,
    pub beginning: Beginning,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no interest")]
    NoInterest,
    #[error("no flow response")]
    NoFlow,
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the stream is gone")]
    Gone,
    #[error("{0}")]
    Host(#[from] natsd_plugin_api::Error),
}

impl Failure {
    fn status(&self) -> String {
        match self {
            Self::NoInterest => "408 No Interest".to_owned(),
            Self::NoFlow => "408 No Flow Response".to_owned(),
            other => format!("500 {}", other.to_string().replace(['\r', '\n'], " ")),
        }
    }
}

impl Snapshot {
    /// Asks the stream what it is.
    pub async fn begin(
        server: &Arc<Server>,
        account: &Arc<Account>,
        stream: Arc<StreamHandle>,
        asked: &Request,
        request: SnapshotRequest,
    ) -> Result<Self, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let with_consumers = !request.no_consumers;
        stream.inbox.command(move |worker: &mut Worker| {
            let stream = &worker.stream;
            let consumers = if with_consumers { stream.backup_consumers() } else { Vec::new() };
            let beginning = Beginning { config: stream.config().clone(), state: stream.state(), consumers };
            // Who asked may be gone.
            let _ = sender.send(beginning);
        });
        let beginning = receiver.await.map_err(|_| error::STREAM_NOT_FOUND)?;
        let scene = Scene::new(server, account, &stream.name, asked);
        Ok(Self { scene, stream, request, beginning })
    }

    /// Sends it, and then says how it ended.
    pub async fn send(self) {
        let Self { scene, .. } = &self;
        scene.advise(&Advisory::snapshot_create(&scene.stream, &self.beginning.state, &scene.client));
        let (mut sent, outcome) = (0, Window::open(scene, &self.request));
        let outcome = match outcome {
            Ok(mut window) => {
                let outcome = self.stream_out(&mut window).await;
                sent = window.sent;
                outcome
            }
            Err(why) => Err(why),
        };
        let status = match &outcome {
            Ok(()) if sent == 0 => String::new(),
            Ok(()) => "NATS/1.0 204\r\n\r\n".to_owned(),
            Err(why) => format!("NATS/1.0 {}\r\n\r\n", why.status()),
        };
        let subject = self.request.deliver_subject.as_bytes();
        scene.publish(PublishRef::new(subject, b"").headers(status.as_bytes()));
        let why = match outcome {
            Ok(()) => {
                tracing::info!("Backup of stream '{}' sent in {:.3}s", scene.full_name(), scene.seconds());
                String::new()
            }
            Err(why) => {
                tracing::warn!("Backup of stream '{}' was not sent: {why}", scene.full_name());
                why.to_string()
            }
        };
        scene.advise(&Advisory::snapshot_complete(
            &scene.stream,
            scene.started,
            scene.now(),
            &scene.client,
            &why,
        ));
    }

    async fn stream_out(&self, window: &mut Window<'_>) -> Result<(), Failure> {
        window.await_listener().await;
        let Beginning { state, consumers, .. } = &self.beginning;
        let mut packed = Compressor::default();
        packed.write(MAGIC);
        let state = StreamState { consumer_count: consumers.len() as u64, ..state.clone() };
        let now_ns = self.scene.started.0;
        // Plain data: it can always be written.
        document(&mut packed, STATE, &serde_json::to_vec(&state).unwrap_or_default(), now_ns);
        for consumer in consumers {
            let name = format!("{CONSUMERS}{}", consumer.config.name);
            document(&mut packed, &name, &serde_json::to_vec(consumer).unwrap_or_default(), now_ns);
            window.push(&mut packed.out).await?;
        }
        let mut from = state.first_seq;
        loop {
            let messages = self.messages(from, state.last_seq).await?;
            let Some(last) = messages.last() else { break };
            from = last.seq + 1;
            messages.iter().for_each(|message| entry(&mut packed, message));
            window.push(&mut packed.out).await?;
        }
        let mut end = Vec::new();
        archive::head(&mut end, &Head::default());
        packed.write(&end);
        packed.flush();
        window.push(&mut packed.out).await?;
        window.finish(&packed.out);
        Ok(())
    }

    /// Some messages, from the stream's task. Reading them checks them.
    async fn messages(&self, from: u64, up_to: u64) -> Result<Vec<Message>, Failure> {
        let (sender, receiver) = oneshot::channel();
        self.stream.inbox.command(move |worker: &mut Worker| {
            let _ = sender.send(worker.stream.backup_messages(from, up_to, TURN_BYTES));
        });
        Ok(receiver.await.map_err(|_| Failure::Gone)??)
    }
}

fn document(packed: &mut Compressor, name: &str, text: &[u8], time_ns: i64) {
    let mut head = Vec::new();
    let name = name.as_bytes().to_vec();
    archive::head(&mut head, &Head { name, time_ns, payload_len: text.len() as u64, ..Head::default() });
    packed.write(&head);
    packed.write(text);
}

fn entry(packed: &mut Compressor, message: &Message) {
    let mut head = Vec::new();
    archive::head(
        &mut head,
        &Head {
            name: message.subject.to_vec(),
            time_ns: message.time_ns,
            seq: message.seq,
            headers_len: message.headers.len() as u64,
            payload_len: message.payload.len() as u64,
        },
    );
    for part in [&head, &message.headers[..], &message.payload[..]] {
        packed.write(part);
    }
}

fn sibling(subject: &str, token: &str) -> String {
    match subject.rsplit_once('.') {
        Some((parent, _)) => format!("{parent}.{token}"),
        None => token.to_owned(),
    }
}

/// Chunks on their way, of which only so many may be without an acknowledgement.
struct Window<'a> {
    scene: &'a Scene,
    deliver_subject: &'a str,
    /// Differs from it in the last token, which nobody knows.
    sibling_subject: String,
    chunk_bytes: usize,
    in_flight_max: usize,
    shared: Arc<Shared>,
    ack_subject: String,
    /// Whole chunks.
    sent: u64,
    had_listener: bool,
    _acks: natsd_plugin_api::Subscription,
    _watch: natsd_plugin_api::InterestWatch,
}

#[derive(Default)]
struct Shared {
    in_flight: Mutex<usize>,
    /// An acknowledgement came, or a listener came or went.
    changed: Notify,
}

impl<'a> Window<'a> {
    fn open(scene: &'a Scene, request: &'a SnapshotRequest) -> Result<Self, Failure> {
        let sized = |wanted: i64, usual: i64, max: i64| match wanted {
            0 => usual,
            wanted => wanted.clamp(BYTES_MIN, max),
        };
        let chunk_bytes = sized(request.chunk_size, CHUNK_BYTES, CHUNK_BYTES_MAX);
        let window_bytes = sized(request.window_size, WINDOW_BYTES, WINDOW_BYTES_MAX).max(chunk_bytes);
        let shared = Arc::<Shared>::default();
        let ack_subject = format!("$JS.SNAPSHOT.ACK.{}.{}", scene.stream, scene.unique_id());
        let account = scene.account.name.to_string();
        let options = SubscribeOptions { account, ..SubscribeOptions::to(format!("{ack_subject}.>")) };
        let (acked, listening) = (shared.clone(), shared.clone());
        let acks = scene.host().subscribe(&options, move |messages| {
            let mut in_flight = acked.in_flight.lock();
            *in_flight = in_flight.saturating_sub(messages.len());
            drop(in_flight);
            acked.changed.notify_one();
        })?;
        let watch = scene.host().watch_interest(
            &scene.account.name,
            request.deliver_subject.as_bytes(),
            move || listening.changed.notify_one(),
        )?;
        Ok(Self {
            scene,
            deliver_subject: &request.deliver_subject,
            sibling_subject: sibling(&request.deliver_subject, &scene.unique_id()),
            chunk_bytes: chunk_bytes as usize,
            in_flight_max: (window_bytes / chunk_bytes) as usize,
            shared,
            ack_subject,
            sent: 0,
            had_listener: false,
            _acks: acks,
            _watch: watch,
        })
    }

    /// Whether someone listens to the very subject. A wildcard does not count, as in nats-server: clients have one
    /// for all answers, and subscribe to the subject itself only after the answer, so chunks sent before are lost.
    fn has_listener(&self) -> bool {
        let (host, account) = (self.scene.host(), &self.scene.account.name);
        let count = |subject: &str| host.interest(account, subject.as_bytes(), b"").unwrap_or(0);
        let has_listener = || {
            let wildcards = count(&self.sibling_subject);
            count(self.deliver_subject) > wildcards
        };
        // A wildcard may go between the two counts.
        has_listener() || has_listener()
    }

    async fn await_listener(&mut self) {
        let listening = async {
            while !self.has_listener() {
                self.shared.changed.notified().await;
            }
        };
        self.had_listener = self.scene.host().timeout(LISTENER_PATIENCE, listening).await.is_ok();
    }

    /// Sends what fills whole chunks.
    async fn push(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let mut at = 0;
        while bytes.len() - at >= self.chunk_bytes {
            self.await_room().await?;
            let chunk = &bytes[at..at + self.chunk_bytes];
            self.sent += 1;
            *self.shared.in_flight.lock() += 1;
            let reply = format!("{}.{}.{}", self.ack_subject, chunk.len(), self.sent);
            self.scene
                .publish(PublishRef::new(self.deliver_subject.as_bytes(), chunk).reply(reply.as_bytes()));
            at += self.chunk_bytes;
        }
        bytes.drain(..at);
        Ok(())
    }

    /// Sends the rest, which nobody acknowledges.
    fn finish(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.scene.publish(PublishRef::new(self.deliver_subject.as_bytes(), bytes));
        }
    }

    async fn await_room(&self) -> Result<(), Failure> {
        loop {
            if self.had_listener && !self.has_listener() {
                return Err(Failure::NoInterest);
            }
            if *self.shared.in_flight.lock() < self.in_flight_max {
                return Ok(());
            }
            let changed = self.scene.host().timeout(PATIENCE, self.shared.changed.notified());
            changed.await.map_err(|_| Failure::NoFlow)?;
        }
    }
}
