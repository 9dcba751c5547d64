//! Reads one origin: asks for a consumer there, checks that nothing is missing in what it delivers, and begins anew
//! after a while if something is, or if nothing comes any more (JS-244, JS-246).

use super::position::Copied;
use crate::consumer::AckSubject;
use crate::context::{StreamFacts, unique_id};
use crate::filter::{is_literal, matches};
use crate::outbox::{Content, Post};
use crate::stream::Call;
use crate::stream::headers::{Block, REQUIRED_API_LEVEL, STREAM_IDENTITY, push_number, value};
use crate::stream::publish::Inbound;
use crate::transform::Transform;
use crate::wire::stream::{StreamSource, StreamSourceInfo};
use crate::wire::{AckPolicy, ApiError, ConsumerConfig, ConsumerInfo, DeliverPolicy, error};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

const SECOND_NS: i64 = 1_000_000_000;
/// JS-246.
const REQUEST_TIMEOUT_NS: i64 = 10 * SECOND_NS;
const STALL_NS: i64 = 10 * SECOND_NS;
const RETRY_MIN_NS: i64 = SECOND_NS / 2;
const RETRY_MAX_NS: i64 = 30 * SECOND_NS;
/// JS-230.
const CAUGHT_UP_LAG: u64 = 10;
/// Of the API that consumers for mirrors and sources belong to.
const SOURCING_API_LEVEL: u64 = 4;

/// An origin and the consumer on it.
pub struct Reader {
    source: StreamSource,
    is_mirror: bool,
    /// Origin, filters and destinations: by this a source is known in headers of stored messages (JS-247).
    index_name: String,
    transforms: Vec<(Box<[u8]>, Option<Transform>)>,
    state: State,
    /// Failures since something came.
    fails: u32,
    /// The origin does not know consumers of kind `sourcing`.
    is_plain: bool,
    lag: u64,
    /// 0: never.
    last_seen_ns: i64,
    error: Option<ApiError>,
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
    pub fn new(source: &StreamSource, is_mirror: bool) -> Result<Self, ApiError> {
        let mut transforms = Vec::new();
        for transform in &source.subject_transforms {
            let compiled = Transform::new(&transform.src, &transform.dest)
                .map_err(|why| error::STREAM_TRANSFORM_INVALID_DESTINATION.with(why))?;
            transforms.push((transform.src.as_bytes().into(), compiled));
        }
        Ok(Self {
            source: source.clone(),
            is_mirror,
            index_name: index_name(source),
            transforms,
            state: State::Waiting { until_ns: 0 },
            fails: 0,
            is_plain: false,
            lag: 0,
            last_seen_ns: 0,
            error: None,
        })
    }

    pub fn reads(&self, source: &StreamSource, is_mirror: bool) -> bool {
        self.source == *source && self.is_mirror == is_mirror
    }

    pub fn is_mirror(&self) -> bool {
        self.is_mirror
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

/// Asking for the consumer.
impl Reader {
    /// `copied`: what is here already.
    pub fn start(&mut self, number: u32, copied: &Copied, facts: &StreamFacts, call: &mut Call<'_>) {
        let kind = if self.is_mirror { "M" } else { "S" };
        let prefix = match &self.source.external {
            Some(external) if !external.deliver.is_empty() => external.deliver.as_str(),
            _ => "$JS",
        };
        let durable = self.source.consumer.clone().filter(|consumer| !consumer.name.is_empty());
        let deliver = match &durable {
            Some(consumer) => consumer.deliver_subject.clone(),
            None => format!("{prefix}.{kind}.{}", unique_id(call.random)),
        };
        let attempt = Attempt {
            number,
            deliver,
            answers: format!("$JSC.R.{}", unique_id(call.random)),
            until_ns: call.now_ns + REQUEST_TIMEOUT_NS,
            is_answered: false,
            acknowledges: durable.is_some(),
            copied_seq: copied.seq,
            consumer_seq: 0,
        };
        match durable {
            Some(consumer) => self.reset(&consumer.name, &attempt, call),
            None => self.create(&attempt, &copied.identity, facts, call),
        }
        self.state = State::Attempting(attempt);
    }

    /// A consumer that is there goes on after what is here (JS-246).
    fn reset(&self, name: &str, attempt: &Attempt, call: &mut Call<'_>) {
        let body = json!({"seq": attempt.copied_seq + 1});
        let subject = format!("CONSUMER.RESET.{}.{name}", self.source.name);
        self.ask(&subject, b"", &body, attempt, call);
    }

    fn create(&self, attempt: &Attempt, identity: &str, facts: &StreamFacts, call: &mut Call<'_>) {
        let place = format!("{} {} {}", facts.account, facts.name, self.index_name);
        let kind = if self.is_mirror { "MIRROR" } else { "SRC" };
        let mut name = format!("JS_{kind}_{}", hash(&place));
        if self.is_plain {
            name = format!("{name}-{}", &unique_id(call.random)[..8]);
        }
        let mut config = ConsumerConfig {
            name,
            deliver_subject: attempt.deliver.clone(),
            ack_wait: 22 * 3600 * SECOND_NS,
            max_deliver: 1,
            flow_control: true,
            idle_heartbeat: SECOND_NS,
            inactive_threshold: 10 * SECOND_NS,
            direct: true,
            sourcing: !self.is_plain,
            ..ConsumerConfig::default()
        };
        let what = if self.is_mirror { "mirror" } else { "src" };
        for (key, value) in [("stream", &facts.name), ("acc", &facts.account), ("domain", &facts.domain)] {
            if !value.is_empty() {
                config.metadata.insert(format!("_nats.{what}.{key}"), value.clone());
            }
        }
        self.set_start(&mut config, attempt.copied_seq);
        self.set_filter(&mut config);
        let mut subject = format!("CONSUMER.CREATE.{}.{}", self.source.name, config.name);
        // The server publishes to no wildcard; the body says it anyway.
        if !config.filter_subject.is_empty() && is_literal(config.filter_subject.as_bytes()) {
            subject = format!("{subject}.{}", config.filter_subject);
        }
        let mut headers = Block::copy(b"");
        if !self.is_plain {
            headers.add_number(REQUIRED_API_LEVEL, SOURCING_API_LEVEL);
        }
        if !identity.is_empty() {
            headers.add(STREAM_IDENTITY, identity);
        }
        let headers = headers.finish();
        let body = json!({"stream_name": self.source.name, "config": config});
        self.ask(&subject, &headers, &body, attempt, call);
    }

    fn set_start(&self, config: &mut ConsumerConfig, copied_seq: u64) {
        if copied_seq > 0 {
            config.deliver_policy = DeliverPolicy::ByStartSequence;
            config.opt_start_seq = copied_seq + 1;
        } else if self.source.opt_start_seq > 0 {
            config.deliver_policy = DeliverPolicy::ByStartSequence;
            config.opt_start_seq = self.source.opt_start_seq;
        } else if self.source.opt_start_time.is_some() {
            config.deliver_policy = DeliverPolicy::ByStartTime;
            config.opt_start_time = self.source.opt_start_time;
        }
    }

    fn set_filter(&self, config: &mut ConsumerConfig) {
        let mut filters: Vec<String> = self
            .source
            .subject_transforms
            .iter()
            .map(|transform| transform.src.clone())
            .filter(|src| !src.is_empty())
            .collect();
        if !self.source.filter_subject.is_empty() {
            filters = vec![self.source.filter_subject.clone()];
        }
        filters.retain(|filter| filter != ">" || self.source.subject_transforms.len() > 1);
        match filters.len() {
            0 => {}
            1 => config.filter_subject = filters.swap_remove(0),
            _ => config.filter_subjects = filters,
        }
    }

    fn ask(
        &self,
        subject: &str,
        headers: &[u8],
        body: &serde_json::Value,
        attempt: &Attempt,
        call: &mut Call<'_>,
    ) {
        let api = match &self.source.external {
            Some(external) if !external.api.is_empty() => external.api.trim_end_matches('.'),
            _ => "$JS.API",
        };
        call.out.push(Post {
            subject: format!("{api}.{subject}").as_bytes(),
            reply: attempt.answers.as_bytes(),
            headers: Content::Copied(headers),
            payload: Content::Copied(body.to_string().as_bytes()),
            ..Post::default()
        });
    }
}

/// What comes.
impl Reader {
    pub fn receive<'a>(&mut self, message: &Inbound<'a>, call: &mut Call<'_>) -> Arrival<'a> {
        let State::Attempting(attempt) = &mut self.state else { return Arrival::Nothing };
        if let Some(ack) = AckSubject::parse(message.reply) {
            let expected = attempt.consumer_seq + 1;
            if attempt.consumer_seq > 0 && ack.consumer_seq < expected {
                // Sent again, or to an earlier attempt on the same subject.
                return Arrival::Nothing;
            }
            if attempt.consumer_seq > 0 && ack.consumer_seq != expected {
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
        if message.headers.starts_with(b"NATS/1.0 100") {
            self.control(message, call);
        } else if message.headers.starts_with(b"NATS/1.0 ") && !message.headers.starts_with(b"NATS/1.0 2") {
            // Nobody there, or the consumer is gone.
            self.failed(error::STREAM_NOT_FOUND, call);
        } else if !attempt.is_answered && !message.payload.is_empty() {
            return self.answered(message, call);
        }
        Arrival::Nothing
    }

    fn answered<'a>(&mut self, message: &Inbound<'a>, call: &mut Call<'_>) -> Arrival<'a> {
        let State::Attempting(attempt) = &mut self.state else { return Arrival::Nothing };
        let Ok(Answer { error: why, info }) = serde_json::from_slice(message.payload) else {
            return Arrival::Nothing;
        };
        if let Some(why) = why {
            let is_unknown = [error::REQUIRED_API_LEVEL.err_code, error::INVALID_JSON.err_code];
            self.is_plain |= is_unknown.contains(&why.err_code);
            let is_other = why.err_code == error::CONSUMER_STREAM_IDENTITY_MISMATCH.err_code;
            self.failed(why, call);
            return if is_other { Arrival::Recreated } else { Arrival::Nothing };
        }
        attempt.is_answered = true;
        attempt.until_ns = call.now_ns + STALL_NS;
        attempt.acknowledges = info.config.ack_policy == AckPolicy::FlowControl;
        self.lag = info.num_pending;
        self.last_seen_ns = call.now_ns;
        self.error = None;
        let is_mine = self.source.consumer.is_none();
        if !is_mine && !attempt.acknowledges {
            self.failed(error::MIRROR_CONSUMER_REQUIRES_ACK_FC, call);
            return Arrival::Nothing;
        }
        // A durable one of an earlier life knows only what was acknowledged.
        if is_mine && attempt.acknowledges && info.delivered.consumer_seq > 0 {
            let State::Attempting(attempt) = &self.state else { return Arrival::Nothing };
            self.reset(&info.name, attempt, call);
        }
        let identity = value(message.headers, STREAM_IDENTITY).unwrap_or_default();
        std::str::from_utf8(identity).map_or(Arrival::Nothing, Arrival::Identity)
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
            && attempt.consumer_seq > 0
            && last > attempt.consumer_seq
        {
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
        attempt.is_answered = true;
        self.last_seen_ns = now_ns;
        self.lag = place.pending;
        self.fails = 0;
        self.error = None;
    }

    /// Nothing came in time.
    pub fn stalled(&mut self, call: &mut Call<'_>) {
        let is_answered = matches!(&self.state, State::Attempting(attempt) if attempt.is_answered);
        if is_answered {
            return self.retry(call);
        }
        self.failed(error::STREAM_NOT_FOUND, call);
    }

    pub fn failed(&mut self, why: ApiError, call: &mut Call<'_>) {
        self.error = Some(why);
        self.retry(call);
    }

    fn retry(&mut self, call: &mut Call<'_>) {
        let wait_ns = (RETRY_MIN_NS << self.fails.min(8)).min(RETRY_MAX_NS);
        self.fails = self.fails.saturating_add(1);
        let jitter_ns = ((call.random)() % 100_000_000) as i64;
        self.state = State::Waiting { until_ns: call.now_ns + wait_ns + jitter_ns };
    }
}

/// JS-247: `<stream>[:<hash of the API prefix>] <filters> <destinations>`.
fn index_name(source: &StreamSource) -> String {
    let mut name = source.name.clone();
    if let Some(external) = &source.external {
        name = format!("{name}:{}", hash(&external.api));
    }
    let or_all = |subject: &str| if subject.is_empty() { ">".to_owned() } else { subject.to_owned() };
    if source.subject_transforms.is_empty() {
        return format!("{name} {} >", or_all(&source.filter_subject));
    }
    let joined = |parts: Vec<String>| parts.join("\u{c}");
    let filters = source.subject_transforms.iter().map(|transform| or_all(&transform.src)).collect();
    let destinations = source.subject_transforms.iter().map(|transform| or_all(&transform.dest)).collect();
    format!("{name} {} {}", joined(filters), joined(destinations))
}

/// Eight letters and digits, as the reference makes them.
pub fn hash(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| char::from(DIGITS[usize::from(byte % 62)])).collect()
}
