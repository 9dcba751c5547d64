//! The event that tells what became of a traced message (CORE-295, CORE-296).
//!
//! Not here: when it is made, and to whom it is published.

use crate::proto::info::COMPATIBLE_VERSION;
use crate::proto::json;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{self, Write};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Serialize)]
pub struct Event<'s> {
    pub server: Server<'s>,
    pub request: Request,
    /// The first one is always `In`.
    pub events: Vec<Step>,
}

/// JetStream, with snapshots as bytes and Raft groups in accounts (MON-150).
const JETSTREAM_FLAGS: u64 = 7;

/// Who says so. Without JetStream no capability flag is set.
#[derive(Serialize)]
pub struct Server<'s> {
    name: &'s str,
    host: &'s str,
    id: &'s str,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    ver: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'s [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'s BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: String,
}

#[derive(Default, Serialize)]
pub struct Request {
    header: BTreeMap<String, Vec<String>>,
    /// Headers and payload.
    msgsize: u32,
}

/// One thing that happened to the message.
#[derive(Serialize)]
#[serde(tag = "type")]
pub enum Step {
    /// It came in.
    #[serde(rename = "in")]
    In {
        ts: String,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        acc: String,
        subj: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// It is mapped.
    #[serde(rename = "sm")]
    Sm { ts: String, to: String },
    /// It is exported as a stream.
    #[serde(rename = "se")]
    Se { ts: String, acc: String, to: String },
    /// It goes to a service of another account, or back.
    #[serde(rename = "si")]
    Si { ts: String, acc: String, from: String, to: String },
    /// It went out to a subscription, or why it did not.
    #[serde(rename = "eg")]
    Eg {
        ts: String,
        kind: u8,
        cid: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        /// If it is not the publisher's.
        #[serde(skip_serializing_if = "String::is_empty")]
        acc: String,
        sub: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        queue: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
    },
    /// A plugin says what it did.
    #[serde(untagged)]
    Told(Told),
}

/// A step in the words of whoever took it.
#[derive(Serialize)]
pub struct Told {
    #[serde(rename = "type")]
    pub kind: String,
    pub ts: String,
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// What an event's message is compressed with (CORE-294).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// The framed format of snappy.
    Snappy,
    /// What was asked for is not known here.
    Identity,
}

impl<'s> Server<'s> {
    pub fn new(
        context: &'s crate::conn::Context,
        options: &'s crate::config::options::Options,
        now_unix_ns: u64,
    ) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let domain = context.info.load().domain.clone();
        let jetstream = domain.is_some();
        Server {
            name: &context.server.name,
            host: options.shown_address().0,
            id: &context.server.id,
            domain: domain.unwrap_or_default().into_string(),
            ver: COMPATIBLE_VERSION,
            tags: &options.server_tags,
            metadata: &options.server_metadata,
            feature_flags: options.shown_feature_flags(),
            jetstream,
            flags: if jetstream { JETSTREAM_FLAGS } else { 0 },
            seq: context.server.last_event.fetch_add(1, Relaxed) + 1,
            time: timestamp(now_unix_ns),
        }
    }
}

impl Request {
    pub fn new(fields: &[(&[u8], &[u8])], size_bytes: u32) -> Self {
        let mut header: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in fields {
            header.entry(text(name)).or_default().push(text(value));
        }
        Request { header, msgsize: size_bytes }
    }
}

impl Event<'_> {
    /// The header block and the payload of the event's message.
    pub fn message(&self, encoding: Option<Encoding>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let json = json::to_vec(self)?;
        let Some(encoding) = encoding else { return Ok((Vec::new(), json)) };
        let (name, payload) = match encoding {
            Encoding::Gzip => ("gzip", gzip(&json)?),
            Encoding::Snappy => ("snappy", snappy(&json)?),
            Encoding::Identity => ("identity", json),
        };
        Ok((format!("NATS/1.0\r\nContent-Encoding: {name}\r\n\r\n").into_bytes(), payload))
    }
}

/// RFC 3339 in UTC, with as many digits as are not zero.
pub fn timestamp(unix_ns: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(unix_ns.into())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Bytes from outside as JSON can hold them.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn snappy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes)?;
    encoder.into_inner().map_err(|e| io::Error::other(e.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;

    fn event() -> Event<'static> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let server = Server {
            name: "n",
            host: "h",
            id: "I",
            domain: String::new(),
            ver: "1",
            tags: &[],
            metadata: &NONE,
            feature_flags: BTreeMap::from([("f", true)]),
            jetstream: false,
            flags: 0,
            seq: 7,
            time: timestamp(1_500_000_000_120_000_000),
        };
        let request = Request::new(&[(b"B", b"1"), (b"A", b"<\xff"), (b"B", b"2")], 9);
        let ts = timestamp(1_000_000_000);
        let name = String::new();
        let acc = "$G".to_owned();
        let ingress = Step::In { ts: ts.clone(), kind: 0, cid: 5, name, acc, subj: "a".into(), error: None };
        let (name, queue, error) = ("c".to_owned(), "q".to_owned(), Some("why"));
        let egress =
            Step::Eg { ts, kind: 0, cid: 6, name, acc: String::new(), sub: ">".into(), queue, error };
        Event { server, request, events: vec![ingress, egress] }
    }

    const JSON: &str = concat!(
        r#"{"server":{"name":"n","host":"h","id":"I","ver":"1","feature_flags":{"f":true},"#,
        r#""jetstream":false,"flags":0,"seq":7,"time":"2017-07-14T02:40:00.12Z"},"#,
        r#""request":{"header":{"A":["\u003c"#,
        "\u{fffd}",
        r#""],"B":["1","2"]},"msgsize":9},"events":["#,
        r#"{"type":"in","ts":"1970-01-01T00:00:01Z","kind":0,"cid":5,"acc":"$G","subj":"a"},"#,
        r#"{"type":"eg","ts":"1970-01-01T00:00:01Z","kind":0,"cid":6,"name":"c","sub":"\u003e","#,
        r#""queue":"q","error":"why"}]}"#,
    );

    #[test]
    fn an_event_is_written_as_the_reference_writes_it() {
        // CORE-295, CORE-296
        let (headers, payload) = event().message(None).unwrap();
        assert!(headers.is_empty());
        assert_eq!(String::from_utf8(payload).unwrap(), JSON);
    }

    #[test]
    fn encodings_are_named_and_can_be_undone() {
        // CORE-294
        let (headers, payload) = event().message(Some(Encoding::Gzip)).unwrap();
        assert_eq!(headers, b"NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n");
        let mut json = String::new();
        flate2::read::GzDecoder::new(&payload[..]).read_to_string(&mut json).unwrap();
        assert_eq!(json, JSON);

        let (headers, payload) = event().message(Some(Encoding::Snappy)).unwrap();
        assert_eq!(headers, b"NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n");
        assert!(payload.starts_with(b"\xff\x06\x00\x00sNaPpY"));
        json.clear();
        snap::read::FrameDecoder::new(&payload[..]).read_to_string(&mut json).unwrap();
        assert_eq!(json, JSON);

        let (headers, payload) = event().message(Some(Encoding::Identity)).unwrap();
        assert_eq!(headers, b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n");
        assert_eq!(payload, JSON.as_bytes());
    }
}
