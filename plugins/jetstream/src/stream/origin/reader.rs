//! Reads one origin: asks for a consumer there, checks that nothing is missing in what it delivers, and begins anew
//! after a while if something is, or if nothing comes any more (JS-244, JS-246).

mod asking;

pub use asking::hash;
use asking::index_name;

use crate::consumer::AckSubject;
use crate::filter::matches;
use crate::outbox::Post;
use crate::stream::Call;
use crate::stream::headers::{STREAM_IDENTITY, push_number, value};
use crate::stream::publish::Inbound;
use crate::transform::{self, Transform};
use crate::wire::stream::{StreamSource, StreamSourceInfo};
use crate::wire::{AckPolicy, ApiError, ConsumerInfo, error};
use serde::Deserialize;

const SECOND_NS: i64 = 1_000_000_000;
/// JS-246.
const STALL_NS: i64 = 10 * SECOND_NS;
/// From one request to the next.
const SPACING_NS: i64 = 2 * SECOND_NS;
/// More for each time that the origin said no.
const REFUSED_NS: i64 = 10 * SECOND_NS;
const REFUSED_MAX_NS: i64 = 120 * SECOND_NS;
/// An origin that nobody answers for is back with its connection: the first wait, which doubles, and the longest.
const UNHEARD_NS: i64 = SECOND_NS / 2;
const UNHEARD_MAX_NS: i64 = 30 * SECOND_NS;
/// Readers of one origin do not ask all at once.
const JITTER_MIN_NS: i64 = SECOND_NS / 10;
/// JS-230.
const CAUGHT_UP_LAG: u64 = 10;

/// An origin and the consumer on it.
pub struct Reader {
    source: StreamSource,
    kind: Kind,
    /// Origin, filters and destinations: by this a source is known in headers of stored messages (JS-247).
    index_name: String,
    transforms: Vec<(Box<[u8]>, Option<Transform>)>,
    state: State,
    /// Failures since something came.
    fails: u32,
    /// What the origin knows.
    level: Level,
    /// When it was last asked; 0: never.
    asked_ns: i64,
    lag: u64,
    /// 0: never.
    last_seen_ns: i64,
    error: Option<ApiError>,
}

/// What may be asked of an origin, which may be older (JS-244).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Newest,
    /// It cannot say whether it is another one than before.
    Anonymous,
    /// It knows no consumers of kind `sourcing`.
    Plain,
}

/// By this its consumer has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mirror,
    Source,
    /// Of several sources with the same origin.
    OneOfMany,
}

enum State {
    /// For the next attempt.
    Waiting {
        until_ns: i64,
    },
    Attempting(Attempt),
}

struct Attempt {
    number: u32,
    /// Where messages arrive, and where answers of the API do.
    deliver: String,
    answers: String,
    /// When it is given up, unless something comes.
    until_ns: i64,
    is_answered: bool,
    /// A message came.
    is_heard: bool,
    /// The consumer acknowledges by flow control.
    acknowledges: bool,
    /// The origin's sequence up to which everything is here.
    copied_seq: u64,
    /// The consumer's sequence of the last message; 0: none yet.
    consumer_seq: u64,
}

/// A message's place in its origin.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub seq: u64,
    pub time_ns: i64,
    consumer_seq: u64,
    pending: u64,
}

pub enum Arrival<'a> {
    /// What it was is done.
    Nothing,
    Message(Place),
    /// The origin is there, and this is who it is.
    Identity(&'a str),
    /// The origin is not the one that was read before.
    Recreated,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Option<ApiError>,
    #[serde(flatten)]
    info: ConsumerInfo,
}

impl Reader {
    pub fn new(source: &StreamSource, kind: Kind) -> Result<Self, ApiError> {
        let mut transforms = Vec::new();
        for transform in &source.subject_transforms {
            let compiled = transform::compile(&transform.src, &transform.dest)
                .map_err(|why| error::STREAM_TRANSFORM_INVALID_DESTINATION.with(why))?;
            transforms.push((transform.src.as_bytes().into(), compiled));
        }
        Ok(Self {
            source: source.clone(),
            kind,
            index_name: index_name(source),
            transforms,
            state: State::Waiting { until_ns: 0 },
            fails: 0,
            level: Level::Newest,
            asked_ns: 0,
            lag: 0,
            last_seen_ns: 0,
            error: None,
        })
    }

    pub fn reads(&self, source: &StreamSource, kind: Kind) -> bool {
        self.source == *source && self.kind == kind
    }

    /// Whether both read by the same consumer, which the stream has made.
    pub fn shares_consumer(&self, other: &Self) -> bool {
        let origin = |reader: &Self| reader.index_name.split(' ').next().map(str::to_owned);
        self.is_mine()
            && self.kind == other.kind
            && origin(self) == origin(other)
            && (self.kind != Kind::OneOfMany || self.index_name == other.index_name)
    }

    /// The consumer is made here, and not by whoever runs the origin.
    fn is_mine(&self) -> bool {
        self.source.consumer.is_none()
    }

    pub fn is_mirror(&self) -> bool {
        self.kind == Kind::Mirror
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    pub fn index_name(&self) -> &str {
        &self.index_name
    }

    /// In the account of the stream that reads it.
    pub fn is_local(&self) -> bool {
        self.source.external.is_none()
    }

    pub fn try_now(&mut self, now_ns: i64) {
        self.fails = 0;
        self.state = State::Waiting { until_ns: now_ns };
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    pub fn is_caught_up(&self) -> bool {
        self.lag < CAUGHT_UP_LAG && self.last_seen_ns > 0
    }

    pub fn attempt(&self) -> Option<u32> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Attempting(attempt) => Some(attempt.number),
        }
    }

    pub fn inboxes(&self) -> Option<[(u32, &str); 2]> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Attempting(attempt) => {
                Some([(attempt.number, &attempt.deliver), (attempt.number, &attempt.answers)])
            }
        }
    }

    pub fn deadline_ns(&self) -> i64 {
        match &self.state {
            State::Waiting { until_ns } => *until_ns,
            State::Attempting(attempt) => attempt.until_ns,
        }
    }

    pub fn info(&self, now_ns: i64) -> StreamSourceInfo {
        StreamSourceInfo {
            name: self.source.name.clone(),
            external: self.source.external.clone(),
            lag: self.lag,
            seq: 0,
            active: if self.last_seen_ns == 0 { -1 } else { now_ns - self.last_seen_ns },
            error: self.error.clone(),
            filter_subject: self.source.filter_subject.clone(),
            subject_transforms: self.source.subject_transforms.clone(),
        }
    }

    /// The subject that a message gets by the first transform that is for it.
    pub fn transform(&self, subject: &[u8], random: &mut dyn FnMut() -> u64, out: &mut Vec<u8>) {
        for (source, transform) in &self.transforms {
            if source.is_empty() || matches(source, subject) {
                if let Some(transform) = transform
                    && transform.apply(subject, random, out)
                {
                    return;
                }
                break;
            }
        }
        out.extend_from_slice(subject);
    }

    /// The value of `Nats-Stream-Source` (JS-247).
    pub fn source_header(&self, seq: u64, subject: &[u8], identity: &str) -> Vec<u8> {
        let (name, filters) = self.index_name.split_once(' ').unwrap_or((&self.index_name, ""));
        let mut text = name.as_bytes().to_vec();
        text.push(b' ');
        push_number(&mut text, seq);
        for part in [filters.as_bytes(), subject] {
            text.push(b' ');
            text.extend_from_slice(part);
        }
        if !identity.is_empty() {
            text.push(b' ');
            text.extend_from_slice(identity.as_bytes());
        }
        text
    }
}

/// What comes.
impl Reader {
    pub fn receive<'a>(&mut self, message: &Inbound<'a>, call: &mut Call<'_>) -> Arrival<'a> {
        let is_mine = self.is_mine();
        let State::Attempting(attempt) = &mut self.state else { return Arrival::Nothing };
        let ack = AckSubject::parse(message.reply);
        let is_control = message.headers.starts_with(b"NATS/1.0 100");
        if !is_mine && !attempt.is_answered && (ack.is_some() || is_control) {
            // What it sends before it is set back is from where it was. If it was made only now it is asked again.
            if call.now_ns >= self.asked_ns + SPACING_NS {
                self.retry(call);
            }
            return Arrival::Nothing;
        }
        if let Some(ack) = ack {
            let (is_first, expected) = (attempt.consumer_seq == 0, attempt.consumer_seq + 1);
            if !is_first && ack.consumer_seq < expected {
                // Sent again, or to an earlier attempt on the same subject.
                return Arrival::Nothing;
            }
            if is_first && is_mine && ack.consumer_seq != expected {
                // From before the consumer was set back: it counts from 1, or else a heartbeat tells.
                return Arrival::Nothing;
            }
            if ack.consumer_seq != expected {
                self.retry(call);
                return Arrival::Nothing;
            }
            return Arrival::Message(Place {
                seq: ack.stream_seq,
                time_ns: ack.time_ns,
                consumer_seq: ack.consumer_seq,
                pending: ack.pending,
            });
        }
        if is_control {
            self.control(message, call);
        } else if message.headers.starts_with(b"NATS/1.0 ") && !message.headers.starts_with(b"NATS/1.0 2") {
            // Nobody there, or the consumer is gone.
            self.unheard(call);
        } else if !attempt.is_answered && !message.payload.is_empty() {
            return self.answered(message, call);
        }
        Arrival::Nothing
    }

    fn answered<'a>(&mut self, message: &Inbound<'a>, call: &mut Call<'_>) -> Arrival<'a> {
        let is_mine = self.is_mine();
        let State::Attempting(attempt) = &mut self.state else { return Arrival::Nothing };
        let Ok(Answer { error: why, info }) = serde_json::from_slice(message.payload) else {
            return Arrival::Nothing;
        };
        if let Some(why) = why {
            return self.denied(why, call);
        }
        attempt.is_answered = true;
        attempt.until_ns = call.now_ns + STALL_NS;
        attempt.acknowledges = info.config.ack_policy == AckPolicy::FlowControl;
        if !is_mine && !attempt.acknowledges {
            let why = match self.is_mirror() {
                true => error::MIRROR_CONSUMER_REQUIRES_ACK_FC,
                false => error::SOURCE_CONSUMER_REQUIRES_ACK_FC,
            };
            self.failed(why, call);
            return Arrival::Nothing;
        }
        self.lag = info.num_pending;
        self.last_seen_ns = call.now_ns;
        self.fails = 0;
        self.error = None;
        // A durable one of an earlier life knows only what was acknowledged.
        if is_mine && attempt.acknowledges && info.delivered.consumer_seq > 0 {
            let State::Attempting(attempt) = &self.state else { return Arrival::Nothing };
            self.reset(&info.name, b"", attempt, call);
        }
        let identity = value(message.headers, STREAM_IDENTITY).unwrap_or_default();
        std::str::from_utf8(identity).map_or(Arrival::Nothing, Arrival::Identity)
    }

    fn denied<'a>(&mut self, why: ApiError, call: &mut Call<'_>) -> Arrival<'a> {
        if why.err_code == error::CONSUMER_STREAM_IDENTITY_MISMATCH.err_code {
            self.retry(call);
            return Arrival::Recreated;
        }
        let is_too_new = [error::REQUIRED_API_LEVEL.err_code, error::INVALID_JSON.err_code];
        if is_too_new.contains(&why.err_code) && self.level != Level::Plain {
            let is_anonymous = self.is_mirror() || self.level == Level::Anonymous;
            self.level = if is_anonymous { Level::Plain } else { Level::Anonymous };
            self.state = State::Waiting { until_ns: call.now_ns };
        } else {
            self.failed(why, call);
        }
        Arrival::Nothing
    }

    /// Heartbeats and flow control.
    fn control(&mut self, message: &Inbound<'_>, call: &mut Call<'_>) {
        let State::Attempting(attempt) = &mut self.state else { return };
        attempt.until_ns = call.now_ns + STALL_NS;
        self.last_seen_ns = call.now_ns;
        let last = value(message.headers, "Nats-Last-Consumer")
            .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
        if message.reply.is_empty()
            && let Some(last) = last
            && (attempt.consumer_seq > 0 || attempt.is_answered)
            && last > 0
            && last != attempt.consumer_seq
        {
            // Something is missing, or the consumer is another one of the same name.
            return self.retry(call);
        }
        let reply = match message.reply {
            b"" => value(message.headers, "Nats-Consumer-Stalled").unwrap_or_default(),
            reply => reply,
        };
        if attempt.acknowledges {
            let headers = format!(
                "NATS/1.0\r\nNats-Last-Consumer: {}\r\nNats-Last-Stream: {}\r\n\r\n",
                attempt.consumer_seq, attempt.copied_seq
            );
            // The origin may forget what is acknowledged: it has to be durable here.
            call.out.answer(reply, headers.as_bytes(), b"");
        } else if !reply.is_empty() {
            call.out.push(Post { subject: reply, ..Post::default() });
        }
        if message.reply.is_empty() {
            self.lag = if last == Some(self.consumer_seq()) { 0 } else { self.lag };
        }
    }

    fn consumer_seq(&self) -> u64 {
        match &self.state {
            State::Waiting { .. } => 0,
            State::Attempting(attempt) => attempt.consumer_seq,
        }
    }

    /// The message is stored.
    pub fn copied(&mut self, place: &Place, now_ns: i64) {
        let State::Attempting(attempt) = &mut self.state else { return };
        attempt.consumer_seq = place.consumer_seq;
        attempt.copied_seq = place.seq;
        attempt.until_ns = now_ns + STALL_NS;
        attempt.is_heard = true;
        self.last_seen_ns = now_ns;
        self.lag = place.pending;
        self.fails = 0;
        self.error = None;
    }

    /// Nothing came in time.
    pub fn stalled(&mut self, call: &mut Call<'_>) {
        if matches!(&self.state, State::Attempting(attempt) if attempt.is_answered || attempt.is_heard) {
            return self.retry(call);
        }
        self.unheard(call);
    }

    /// The stream could not store what came.
    pub fn refused(&mut self, why: ApiError, call: &mut Call<'_>) {
        // A full stream is nothing unusual: there is room again when its consumers have read (JS-249).
        let is_full = why.err_code == error::STREAM_STORE_FAILED.err_code;
        self.error = (!is_full).then_some(why);
        self.retry(call);
    }

    fn unheard(&mut self, call: &mut Call<'_>) {
        self.error = Some(error::STREAM_NOT_FOUND);
        let wait_ns = (UNHEARD_NS << self.fails.min(8)).min(UNHEARD_MAX_NS);
        self.fails = self.fails.saturating_add(1);
        self.wait(wait_ns, call);
    }

    fn failed(&mut self, why: ApiError, call: &mut Call<'_>) {
        self.error = Some(why);
        self.fails = self.fails.saturating_add(1);
        let wait_ns = REFUSED_NS.saturating_mul(self.fails.into()).min(REFUSED_MAX_NS);
        self.wait(self.spacing_ns(call.now_ns) + wait_ns, call);
    }

    /// As soon as may be.
    pub fn retry(&mut self, call: &mut Call<'_>) {
        self.wait(self.spacing_ns(call.now_ns), call);
    }

    fn spacing_ns(&self, now_ns: i64) -> i64 {
        self.asked_ns.saturating_add(SPACING_NS).saturating_sub(now_ns).clamp(0, SPACING_NS)
    }

    fn wait(&mut self, wait_ns: i64, call: &mut Call<'_>) {
        let jitter_ns = ((call.random)() % 100_000_000) as i64;
        self.state = State::Waiting { until_ns: call.now_ns + wait_ns + JITTER_MIN_NS + jitter_ns };
    }
}
