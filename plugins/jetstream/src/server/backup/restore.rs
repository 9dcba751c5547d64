//! Takes a backup from a client and makes a stream of it. A chunk is acknowledged once it was taken over, so a fast
//! client does not fill the memory.

use super::{PATIENCE, Scene};
use crate::api::advisory::{Action, Advisory};
use crate::api::limits::ServerLimits;
use crate::api::reply::{envelope, failure};
use crate::api::validate::consumer::{self, ConsumerRules};
use crate::backup::BackupError;
use crate::backup::restore::{Plan, Restored, restore};
use crate::server::Server;
use crate::server::account::Account;
use crate::server::queue::Request;
use crate::server::usage::Share;
use crate::wire::{ApiError, ConsumerConfig, Storage, StreamConfig, StreamInfo, error};
use bytes::Bytes;
use natsd_plugin_api::{MessageRef, PublishRef, SubscribeOptions, Subscription, tracing};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// What a client may send ahead of the acknowledgements.
const AHEAD_BYTES_MAX: usize = 64 * 1024 * 1024;
const REPLY: &str = "io.nats.jetstream.api.v1.stream_create_response";

/// A restore that waits for its chunks.
pub struct Restore {
    scene: Scene,
    config: StreamConfig,
    chunks: Arc<Chunks>,
    /// Where the client sends to.
    pub subject: String,
    subscription: Subscription,
    /// Keeps the name for this restore.
    _reservation: Reservation,
}

struct Reservation {
    account: Arc<Account>,
    name: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.restoring.lock().remove(&self.name);
    }
}

#[derive(Default)]
struct Chunks {
    waiting: Mutex<(VecDeque<Chunk>, usize)>,
    wake: Notify,
}

struct Chunk {
    content: Bytes,
    reply: Bytes,
}

impl Chunks {
    fn push(&self, messages: &[MessageRef<'_>]) {
        let mut waiting = self.waiting.lock();
        let (queue, bytes) = &mut *waiting;
        for message in messages {
            // The one too many is noticed when it is taken.
            if *bytes <= AHEAD_BYTES_MAX {
                *bytes += message.payload().len();
                let reply = Bytes::copy_from_slice(message.reply());
                queue.push_back(Chunk { content: message.payload_bytes(), reply });
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// `None`: the client sent too much ahead.
    async fn next(&self) -> Option<Chunk> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if waiting.1 > AHEAD_BYTES_MAX {
                    return None;
                }
                if let Some(chunk) = waiting.0.pop_front() {
                    waiting.1 -= chunk.content.len();
                    return Some(chunk);
                }
            }
            self.wake.notified().await;
        }
    }
}

/// How the chunks ended: where to answer, and why it was too early.
struct End {
    reply: Bytes,
    bytes: u64,
    outcome: Result<Restored, ApiError>,
}

impl Restore {
    /// `config` is one that may be restored.
    pub fn begin(
        server: &Arc<Server>,
        account: &Arc<Account>,
        request: &Request,
        config: StreamConfig,
    ) -> Result<Self, ApiError> {
        let name = config.name.clone();
        if account.damaged.lock().contains_key(&name) || !account.restoring.lock().insert(name.clone()) {
            return Err(error::STREAM_NAME_EXIST_RESTORE_FAILED);
        }
        let reservation = Reservation { account: account.clone(), name };
        let scene = Scene::new(server, account, &config.name, request);
        let subject = format!("$JS.SNAPSHOT.RESTORE.{}.{}", config.name, scene.unique_id());
        let options =
            SubscribeOptions { account: account.name.to_string(), ..SubscribeOptions::to(&subject) };
        let chunks = Arc::<Chunks>::default();
        let incoming = chunks.clone();
        let subscription = scene
            .host()
            .subscribe(&options, move |messages| incoming.push(messages))
            .map_err(|why| error::RESTORE_SUBSCRIBE_FAILED.with(&subject).with(why))?;
        Ok(Self { scene, config, chunks, subject, subscription, _reservation: reservation })
    }

    /// Takes the chunks, makes the stream, and answers.
    pub async fn run(self) {
        let scene = self.scene.clone();
        scene.advise(&Advisory::restore_create(&scene.stream, &scene.client));
        let End { reply, bytes, outcome } = self.receive().await;
        drop(self.subscription);
        let outcome = match outcome {
            Ok(restored) => {
                let installed = scene.server.install(&scene.account, restored).await;
                if installed.is_ok() {
                    scene.account.retry_origins(Some(&scene.stream));
                    scene.advise(&Advisory::stream(Action::Create, &scene.stream));
                }
                installed
            }
            Err(why) => Err(why),
        };
        // One that stalled is not complete.
        if !reply.is_empty() {
            let (start, end) = (scene.started, scene.now());
            scene.advise(&Advisory::restore_complete(&scene.stream, start, end, bytes, &scene.client));
        }
        let text = match &outcome {
            Ok(info) => {
                tracing::info!("Stream '{}' restored in {:.3}s", scene.full_name(), scene.seconds());
                envelope(REPLY, None, info)
            }
            Err(why) => {
                tracing::warn!("Stream '{}' was not restored: {}", scene.full_name(), why.description);
                failure(REPLY, why)
            }
        };
        if !reply.is_empty() {
            scene.publish(PublishRef::new(&reply, &text));
        }
    }

    async fn receive(&self) -> End {
        let host = self.scene.host().clone();
        let (feed, input) = mpsc::channel(1);
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(why) => return End { reply: Bytes::new(), bytes: 0, outcome: Err(why) },
        };
        let blocking = host.clone();
        let job = host.spawn("restore", async move {
            let input = Input { chunks: input, chunk: Bytes::new() };
            blocking.blocking(move || restore(input, plan)).await
        });
        let (mut feed, mut bytes) = (Some(feed), 0);
        let mut job = Some(job);
        let mut done = None;
        let reply = loop {
            let chunk = match host.timeout(PATIENCE, self.chunks.next()).await {
                Ok(Some(chunk)) if !chunk.reply.is_empty() => chunk,
                early => {
                    let why = match early {
                        Ok(Some(_)) => "a chunk came without a reply subject",
                        Ok(None) => "too much came before it was acknowledged",
                        Err(_) => "it stalled: no chunk came for 5s",
                    };
                    if let Some(feed) = feed.take() {
                        let _ = feed.send(Err(io::Error::other(why))).await;
                    }
                    done.get_or_insert(Err(error::STREAM_RESTORE.with(why)));
                    break Bytes::new();
                }
            };
            if chunk.content.is_empty() {
                break chunk.reply;
            }
            bytes += chunk.content.len() as u64;
            if let Some(open) = &feed
                && open.send(Ok(chunk.content)).await.is_err()
            {
                // It came to an end already: well, and the rest does not matter, or not.
                feed = None;
                let outcome = match job.take() {
                    Some(job) => finished(job.await),
                    None => Err(error::STREAM_RESTORE.with(BackupError::Truncated)),
                };
                let failed = outcome.is_err();
                done = Some(outcome);
                if failed {
                    break chunk.reply;
                }
            }
            self.scene.publish(PublishRef::new(&chunk.reply, b""));
        };
        drop(feed);
        let outcome = match (job.take(), done) {
            (Some(job), None) => finished(job.await),
            (job, Some(done)) => {
                if let Some(job) = job {
                    discard(&host, finished(job.await)).await;
                }
                done
            }
            (None, None) => Err(error::STREAM_RESTORE.with(BackupError::Truncated)),
        };
        End { reply, bytes, outcome }
    }

    fn plan(&self) -> Result<Plan, ApiError> {
        let Scene { server, account, .. } = &self.scene;
        let storage = self.config.storage;
        let engine = server.engine_of(&self.config)?;
        let mut share = Share::new(account.usage.clone(), server.usage.clone(), storage);
        let mut most = 0;
        let (limits, account_of, config) =
            (server.config().limits.clone(), account.clone(), self.config.clone());
        Ok(Plan {
            engine,
            account: account.name.to_string(),
            config: self.config.clone(),
            now_ns: self.scene.now().0,
            check_consumer: Box::new(move |consumer| check_consumer(consumer, &config, &limits, &account_of)),
            check_bytes: Box::new(move |bytes| {
                most = bytes.max(most);
                match share.set(most) {
                    Some(room) if most > room.bytes_max => Err(match storage {
                        Storage::Memory => error::MEMORY_RESOURCES_EXCEEDED,
                        Storage::File => error::STORAGE_RESOURCES_EXCEEDED,
                    }),
                    _ => Ok(()),
                }
            }),
        })
    }
}

fn check_consumer(
    consumer: &mut ConsumerConfig,
    stream: &StreamConfig,
    server: &ServerLimits,
    account: &Account,
) -> Result<(), ApiError> {
    let tiers = account.tiers.read();
    let account = tiers.select(stream.num_replicas).ok_or(error::NO_LIMITS)?;
    consumer::check(consumer, &ConsumerRules { server, account, stream, is_pedantic: false })
}

fn finished(
    outcome: natsd_plugin_api::Result<natsd_plugin_api::Result<Result<Restored, BackupError>>>,
) -> Result<Restored, ApiError> {
    match outcome.and_then(|outcome| outcome) {
        Ok(outcome) => outcome.map_err(|why| why.to_api()),
        Err(why) => Err(error::STREAM_RESTORE.with(why)),
    }
}

/// Removes what is not wanted any more.
async fn discard(host: &natsd_plugin_api::Host, outcome: Result<Restored, ApiError>) {
    if let Ok(Restored { mut store, .. }) = outcome {
        // What stays says that it is unfinished, and goes with the next start.
        let _ = host.blocking(move || store.destroy()).await;
    }
}

/// Chunks as they come, on a thread that may wait.
struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.chunk.len());
        buffer[..len].copy_from_slice(&self.chunk.split_to(len));
        Ok(len)
    }
}

impl Server {
    /// Gives a restored stream its place among the others.
    async fn install(
        self: &Arc<Self>,
        account: &Arc<Account>,
        restored: Restored,
    ) -> Result<StreamInfo, ApiError> {
        let _changing = account.changing.clone().lock_owned().await;
        if let Err(why) = self.has_place(account, &restored.config) {
            discard(&self.host, Ok(restored)).await;
            return Err(why);
        }
        self.take_over(account, restored).await
    }
}
