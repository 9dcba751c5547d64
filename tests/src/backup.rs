//! A client of backups for tests: takes one of a stream, restores one, and tells what a stream and its consumers hold.

use crate::jetstream::{JetStream, Lost, Received};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A backup as a client keeps it.
#[derive(Clone, Debug)]
pub struct Backup {
    pub config: Value,
    pub state: Value,
    pub bytes: Vec<u8>,
    pub chunks: usize,
    /// Headers of the message that ends it.
    pub end: String,
}

/// What [`Backup::restore`] does differently from a proper client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Proper,
    /// The last chunks are missing, and the end is said nevertheless.
    Half,
}

/// Chunks that a restore sends.
const CHUNK_BYTES: usize = 32 * 1024;

impl Backup {
    /// Takes a backup, with the request's other fields in `options`, and acknowledges every chunk.
    pub fn take(js: &mut JetStream, stream: &str, options: &Value) -> Result<Self, Lost> {
        let (deliver, mut request) = (format!("backups{}", js.reply()), options.clone());
        request["deliver_subject"] = json!(deliver);
        let answer = js.api(&format!("STREAM.SNAPSHOT.{stream}"), &request)?;
        assert!(answer["error"].is_null(), "{answer}");
        // As the command-line tool does: it listens only now, and has to miss nothing.
        js.send(format!("SUB {deliver} 9\r\n").as_bytes())?;
        let (config, state) = (answer["config"].clone(), answer["state"].clone());
        let mut backup = Self { config, state, bytes: Vec::new(), chunks: 0, end: String::new() };
        loop {
            let Received { subject, reply, headers, payload, .. } = js.next_message()?;
            if subject != deliver {
                continue;
            }
            if payload.is_empty() {
                js.send(b"UNSUB 9\r\n")?;
                backup.end = headers;
                return Ok(backup);
            }
            backup.bytes.extend_from_slice(&payload);
            backup.chunks += 1;
            if !reply.is_empty() {
                js.publish(&reply, &deliver_nothing(&deliver), b"")?;
            }
        }
    }

    /// Restores it and gives the last answer.
    pub fn restore(&self, js: &mut JetStream, manner: Manner) -> Result<Value, Lost> {
        let stream = self.config["name"].as_str().unwrap_or_default();
        let answer = self.begin(js, stream)?;
        let Some(subject) = answer["deliver_subject"].as_str().filter(|subject| !subject.is_empty()) else {
            return Ok(answer);
        };
        let subject = subject.to_owned();
        let end = match manner {
            Manner::Proper => self.bytes.len(),
            Manner::Half => self.bytes.len() / 2,
        };
        for chunk in self.bytes[..end].chunks(CHUNK_BYTES) {
            let answer = js.request(&subject, chunk)?;
            if !answer.payload.is_empty() {
                return Ok(serde_json::from_slice(&answer.payload).unwrap_or_default());
            }
        }
        let answer = js.request(&subject, b"")?;
        serde_json::from_slice(&answer.payload).map_err(|_| Lost)
    }

    /// Asks for the restore and sends nothing yet.
    pub fn begin(&self, js: &mut JetStream, stream: &str) -> Result<Value, Lost> {
        js.api(&format!("STREAM.RESTORE.{stream}"), &json!({"config": self.config, "state": self.state}))
    }
}

/// Nobody answers an acknowledgement: any subject of the own inbox will do.
fn deliver_nothing(deliver: &str) -> String {
    format!("{deliver}.acked")
}

/// All that a stream holds, as the API tells it; what is missing is missing.
pub fn messages(js: &mut JetStream, stream: &str) -> Result<BTreeMap<u64, Value>, Lost> {
    let state = state(js, stream)?;
    let (first, last) = (state["first_seq"].as_u64().unwrap_or(0), state["last_seq"].as_u64().unwrap_or(0));
    let mut found = BTreeMap::new();
    for seq in first..=last {
        let answer = js.api(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq}))?;
        if answer["error"].is_null() {
            found.insert(seq, answer["message"].clone());
        }
    }
    Ok(found)
}

/// The state of a stream, with what is deleted between.
pub fn state(js: &mut JetStream, stream: &str) -> Result<Value, Lost> {
    let info = js.api(&format!("STREAM.INFO.{stream}"), &json!({"deleted_details": true}))?;
    assert!(info["error"].is_null(), "{info}");
    let mut state = info["state"].clone();
    // How much that is depends on the store.
    drop(state.as_object_mut().and_then(|fields| fields.remove("bytes")));
    Ok(state)
}

/// What is kept of each consumer, by name.
pub fn consumers(js: &mut JetStream, stream: &str) -> Result<BTreeMap<String, Value>, Lost> {
    let list = js.api(&format!("CONSUMER.LIST.{stream}"), &Value::Null)?;
    let list = list["consumers"].as_array().cloned().unwrap_or_default();
    Ok(list
        .into_iter()
        .map(|info| (info["name"].as_str().unwrap_or_default().to_owned(), kept(&info)))
        .collect())
}

fn kept(info: &Value) -> Value {
    let mut config = info["config"].clone();
    // Which server made it, and what it can do.
    drop(config.as_object_mut().and_then(|fields| fields.remove("metadata")));
    let position =
        |name: &str| json!({"consumer": info[name]["consumer_seq"], "stream": info[name]["stream_seq"]});
    json!({
        "config": config,
        "delivered": position("delivered"),
        "ack_floor": position("ack_floor"),
        "num_ack_pending": info["num_ack_pending"],
        "num_redelivered": info["num_redelivered"],
        "num_pending": info["num_pending"],
    })
}
