//! A stream with its consumers, as its task knows them (MON-096).

use crate::server::account::StreamHandle;
use crate::server::worker::Worker;
use crate::stream::InfoOptions;
use natsd_plugin_api::{Host, tracing};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// All streams together have this long to answer: a scraper will not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to tell of a stream.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub consumers: bool,
    /// Those that mirrors and sources made.
    pub direct_consumers: bool,
    pub config: bool,
    /// The server's name.
    pub leader: String,
}

/// The details of groups of streams. All are asked at once; one that does not answer in time is left out.
pub fn details(host: &Host, groups: Vec<Vec<Arc<StreamHandle>>>, wanted: &Wanted) -> Vec<Vec<Value>> {
    let ask = |stream: Arc<StreamHandle>| {
        let wanted = wanted.clone();
        let answer = asked(&stream, move |worker| detail(worker, &wanted));
        (stream, answer)
    };
    let asked: Vec<Vec<_>> = groups.into_iter().map(|group| group.into_iter().map(ask).collect()).collect();
    let deadline_ns = host.monotonic_ns() + PATIENCE.as_nanos() as u64;
    let answer = |(stream, answer): (Arc<StreamHandle>, Receiver<Value>)| {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(host.monotonic_ns()));
        let detail = answer.recv_timeout(left);
        if detail.is_err() {
            tracing::warn!("JetStream: monitoring shows nothing of stream {}: it is too busy", stream.name);
        }
        detail.ok()
    };
    asked.into_iter().map(|group| group.into_iter().filter_map(answer).collect()).collect()
}

/// Whether the stream has the consumer; `None` if it does not say in time.
pub fn has_consumer(stream: &StreamHandle, name: &str) -> Option<bool> {
    let name = name.to_owned();
    let answer = asked(stream, move |worker| worker.stream.consumers().get(&name).is_some());
    answer.recv_timeout(PATIENCE).ok()
}

/// Lets the task of a stream answer. If it has ended, nothing comes.
fn asked<T: Send + 'static>(
    stream: &StreamHandle,
    question: impl FnOnce(&mut Worker) -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    stream.inbox.command(move |worker: &mut Worker| {
        // Who asked may have given up.
        let _ = sender.send(question(worker));
    });
    receiver
}

fn detail(worker: &mut Worker, wanted: &Wanted) -> Value {
    let info = worker.stream.info(&InfoOptions::default(), worker.now_ns).info;
    let mut detail = json!({
        "name": info.config.name,
        "created": info.created,
        "cluster": { "leader": wanted.leader },
    });
    if wanted.config {
        detail["config"] = json!(info.config);
    }
    detail["state"] = json!(info.state);
    for (name, is_wanted, direct) in [
        ("consumer_detail", wanted.consumers, false),
        ("direct_consumer_detail", wanted.direct_consumers, true),
    ] {
        let consumers = if is_wanted { consumers(worker, direct, wanted.config) } else { Vec::new() };
        if !consumers.is_empty() {
            detail[name] = consumers.into();
        }
    }
    if let Some(mirror) = info.mirror {
        detail["mirror"] = json!(mirror);
    }
    if !info.sources.is_empty() {
        detail["sources"] = json!(info.sources);
    }
    detail
}

fn consumers(worker: &mut Worker, direct: bool, with_config: bool) -> Vec<Value> {
    let all = worker.stream.consumers().iter();
    let names: Vec<String> = all
        .filter(|consumer| consumer.config().direct == direct)
        .map(|consumer| consumer.name().to_owned())
        .collect();
    let infos =
        names.iter().filter_map(|name| worker.call(|stream, call| stream.consumer_info(name, call)).ok());
    infos
        .map(|info| {
            let mut info = json!(info);
            if let (false, Some(fields)) = (with_config, info.as_object_mut()) {
                fields.shift_remove("config");
            }
            info
        })
        .collect()
}
