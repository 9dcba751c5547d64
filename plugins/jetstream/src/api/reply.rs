//! Replies: the envelope (JS-001), the bodies of section 2, pages (JS-048).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Serialize, Serializer};

use crate::wire::consumer::ConsumerInfo;
use crate::wire::{ApiError, StreamConfig, StreamInfo, StreamState, Time, is_default};

/// Names on a page.
pub const NAMES_LIMIT: usize = 1024;
/// Infos on a page.
pub const LIST_LIMIT: usize = 256;
/// Subjects on a page of `STREAM.INFO` (JS-050).
pub const SUBJECTS_LIMIT: usize = 100_000;

/// A reply of a type ([`super::subject::Request::reply_type`]) that is no error.
pub fn success(kind: &str, body: &impl Serialize) -> Vec<u8> {
    envelope(kind, None, body)
}

/// An error, with the fields that a reply of this type has in any case.
pub fn failure(kind: &str, error: &ApiError) -> Vec<u8> {
    let error = Some(error);
    match kind.rsplit('.').next().unwrap_or_default() {
        "stream_names_response" => envelope(kind, error, &StreamNames::default()),
        "stream_list_response" => envelope(kind, error, &StreamList::default()),
        "stream_info_response" => envelope(kind, error, &Page::default()),
        "stream_purge_response" => envelope(kind, error, &Purged::default()),
        "stream_restore_response" => envelope(kind, error, &Restoring::default()),
        "consumer_names_response" => envelope(kind, error, &ConsumerNames::default()),
        "consumer_list_response" => envelope(kind, error, &ConsumerList::default()),
        "consumer_pause_response" => envelope(kind, error, &Paused::default()),
        "consumer_reset_response" => envelope(kind, error, &NotReset::default()),
        _ => envelope(kind, error, &Done::default()),
    }
}

/// Where no request was recognized or the account may not ask (JS-008).
pub fn system_failure(error: &ApiError) -> Vec<u8> {
    envelope("io.nats.jetstream.api.v1.system_response", Some(error), &Done::default())
}

/// Also for replies that follow the first one, as at the end of a restore (JS-264).
pub fn envelope(kind: &str, error: Option<&ApiError>, body: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a, B> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a ApiError>,
        #[serde(flatten)]
        body: &'a B,
    }
    // Maps with text keys and plain values: nothing that JSON could not hold.
    serde_json::to_vec(&Envelope { kind, error, body }).unwrap_or_default()
}

/// The items of a page, and the offset that the reply names: never below 0, never past the end (JS-048).
pub fn page(offset: i64, total: usize, limit: usize) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(0).min(total);
    start..total.min(start + limit)
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Page {
    pub total: usize,
    pub offset: usize,
    pub limit: usize,
}

impl Page {
    pub fn of(range: &Range<usize>, total: usize, limit: usize) -> Self {
        Self { total, offset: range.start, limit }
    }
}

/// Most replies: that it was done.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Done {
    #[serde(skip_serializing_if = "is_default")]
    pub success: bool,
}

impl Done {
    pub const YES: Self = Self { success: true };
    /// `CONSUMER.UNPIN` says nothing (JC-164).
    pub const SILENT: Self = Self { success: false };
}

/// Of `ACCOUNT.PURGE` (JS-043).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Initiated {
    pub initiated: bool,
}

/// Of `STREAM.CREATE`: without `domain` (JS-130).
#[derive(Clone, Debug, Serialize)]
pub struct Created<'a> {
    #[serde(flatten)]
    pub info: &'a StreamInfo,
    pub did_create: bool,
}

/// Of `STREAM.INFO`. The page is that of `subjects_filter`.
#[derive(Clone, Debug, Serialize)]
pub struct Info<'a> {
    #[serde(flatten)]
    pub page: Page,
    #[serde(flatten)]
    pub info: &'a StreamInfo,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamNames<'a> {
    #[serde(flatten)]
    pub page: Page,
    #[serde(serialize_with = "null_if_empty")]
    pub streams: Vec<&'a str>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct StreamList<'a> {
    #[serde(flatten)]
    pub page: Page,
    pub streams: Vec<StreamInfo>,
    #[serde(skip_serializing_if = "is_default")]
    pub missing: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    pub offline: BTreeMap<&'a str, &'a str>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumerNames<'a> {
    #[serde(flatten)]
    pub page: Page,
    pub consumers: Vec<&'a str>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumerList<'a> {
    #[serde(flatten)]
    pub page: Page,
    pub consumers: Vec<ConsumerInfo>,
    #[serde(skip_serializing_if = "is_default")]
    pub missing: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    pub offline: BTreeMap<&'a str, &'a str>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Purged {
    #[serde(skip_serializing_if = "is_default")]
    pub success: bool,
    pub purged: u64,
}

/// Of `STREAM.MSG.GET`.
#[derive(Clone, Debug, Serialize)]
pub struct Message<'a> {
    pub message: StoredMessage<'a>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StoredMessage<'a> {
    #[serde(serialize_with = "lossy")]
    pub subject: &'a [u8],
    pub seq: u64,
    /// The whole block with its first line.
    #[serde(skip_serializing_if = "is_default", serialize_with = "base64")]
    pub hdrs: &'a [u8],
    #[serde(skip_serializing_if = "is_default", serialize_with = "base64")]
    pub data: &'a [u8],
    pub time: Time,
}

/// Of `STREAM.SNAPSHOT`.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot<'a> {
    pub config: &'a StreamConfig,
    pub state: &'a StreamState,
}

/// Of `STREAM.RESTORE`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Restoring {
    pub deliver_subject: String,
}

/// Of `CONSUMER.PAUSE` (JC-172).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paused {
    pub paused: bool,
    pub pause_until: Time,
    #[serde(skip_serializing_if = "is_default")]
    pub pause_remaining: i64,
}

impl Paused {
    pub fn until(until: Time, now_ns: i64) -> Self {
        let remaining = until.0.saturating_sub(now_ns);
        let paused = !until.is_zero() && remaining > 0;
        Self { paused, pause_until: until, pause_remaining: if paused { remaining } else { 0 } }
    }
}

/// Of `CONSUMER.RESET` (JC-173).
#[derive(Clone, Debug, Serialize)]
pub struct Reset<'a> {
    #[serde(flatten)]
    pub info: &'a ConsumerInfo,
    pub reset_seq: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct NotReset {
    reset_seq: u64,
}

fn null_if_empty<S: Serializer>(names: &Vec<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    Some(names).filter(|names| !names.is_empty()).serialize(serializer)
}

fn lossy<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Done, Message, Paused, StoredMessage, StreamNames, failure, page, success};
    use crate::api::subject::Request;
    use crate::wire::{Time, error};

    fn text(reply: Vec<u8>) -> String {
        String::from_utf8(reply).unwrap()
    }

    #[test]
    fn errors_come_in_the_reply_s_own_type() {
        // JS-001; recorded from nats-server
        for (subject, rest) in [
            ("STREAM.DELETE.S", ""),
            ("STREAM.NAMES", r#","total":0,"offset":0,"limit":0,"streams":null"#),
            ("STREAM.LIST", r#","total":0,"offset":0,"limit":0,"streams":[]"#),
            ("CONSUMER.NAMES.S", r#","total":0,"offset":0,"limit":0,"consumers":[]"#),
            ("STREAM.INFO.S", r#","total":0,"offset":0,"limit":0"#),
            ("STREAM.RESTORE.S", r#","deliver_subject":"""#),
            ("CONSUMER.PAUSE.S.C", r#","paused":false,"pause_until":"0001-01-01T00:00:00Z""#),
            ("CONSUMER.RESET.S.C", r#","reset_seq":0"#),
        ] {
            let subject = format!("$JS.API.{subject}");
            let request = Request::parse(subject.as_bytes()).unwrap();
            let reply = text(failure(request.reply_type(), &error::STREAM_NOT_FOUND));
            let error = r#""error":{"code":404,"err_code":10059,"description":"stream not found"}"#;
            assert_eq!(reply, format!(r#"{{"type":"{}",{error}{rest}}}"#, request.reply_type()));
        }
    }

    #[test]
    fn replies_as_recorded() {
        let delete = Request::StreamDelete { stream: "S" }.reply_type();
        let get = Request::MsgGet { stream: "S" }.reply_type();
        let expected = r#"{"type":"io.nats.jetstream.api.v1.stream_delete_response","success":true}"#;
        assert_eq!(text(success(delete, &Done::YES)), expected);
        assert!(
            text(success(Request::StreamNames.reply_type(), &StreamNames::default()))
                .ends_with(r#""streams":null}"#)
        );
        let message = StoredMessage { subject: b"a", seq: 3, hdrs: b"", data: b"hi", time: Time(1) };
        let reply = text(success(get, &Message { message }));
        let expected =
            r#""message":{"subject":"a","seq":3,"data":"aGk=","time":"1970-01-01T00:00:00.000000001Z"}}"#;
        assert!(reply.ends_with(expected), "{reply}");
    }

    #[test]
    fn pages() {
        // JS-048
        assert_eq!(page(-4, 10, 1024), 0..10);
        assert_eq!(page(7, 10, 2), 7..9);
        assert_eq!(page(11, 10, 2), 10..10);
    }

    #[test]
    fn pauses() {
        // JC-172
        let paused = Paused::until(Time(15), 10);
        assert_eq!((paused.paused, paused.pause_remaining), (true, 5));
        assert!(!Paused::until(Time(10), 10).paused && !Paused::until(Time(0), -5).paused);
    }
}
