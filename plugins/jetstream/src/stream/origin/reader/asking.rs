//! Asks an origin for the consumer that reads it (JS-244), and how the origin is named (JS-247).

use super::{Attempt, Kind, Level, Reader, SECOND_NS, State};
use crate::context::{StreamFacts, unique_id};
use crate::outbox::{Content, Post};
use crate::stream::Call;
use crate::stream::headers::{Block, REQUIRED_API_LEVEL, STREAM_IDENTITY};
use crate::stream::origin::position::Copied;
use crate::wire::stream::StreamSource;
use crate::wire::{ConsumerConfig, DeliverPolicy};
use serde_json::json;
use sha2::{Digest, Sha256};

/// JS-246.
const REQUEST_TIMEOUT_NS: i64 = 10 * SECOND_NS;
/// Of the API that consumers for mirrors and sources belong to.
const SOURCING_API_LEVEL: u64 = 4;
/// Of the API that says which of several streams of one name it is.
const IDENTITY_API_LEVEL: u64 = 5;

impl Reader {
    /// `copied`: what is here already.
    pub fn start(&mut self, number: u32, copied: &Copied, facts: &StreamFacts, call: &mut Call<'_>) {
        let kind = if self.is_mirror() { "M" } else { "S" };
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
            answers: answers_subject(call),
            until_ns: call.now_ns + REQUEST_TIMEOUT_NS,
            is_answered: false,
            is_heard: false,
            acknowledges: durable.is_some(),
            copied_seq: copied.seq,
            consumer_seq: 0,
        };
        self.asked_ns = call.now_ns;
        match durable {
            Some(consumer) => {
                let headers = if self.is_mirror() { Vec::new() } else { self.headers(&copied.identity) };
                self.reset(&consumer.name, &headers, &attempt, call);
            }
            None => self.create(&attempt, &copied.identity, facts, call),
        }
        self.state = State::Attempting(attempt);
    }

    /// A consumer that is there goes on after what is here (JS-246), and one of somebody else's where it was: what it
    /// acknowledged is here, and what it may go back to is not for this one to say.
    pub(super) fn reset(&self, name: &str, headers: &[u8], attempt: &Attempt, call: &mut Call<'_>) {
        let body = match self.is_mine() {
            true => json!({"seq": attempt.copied_seq + 1}).to_string(),
            false => String::new(),
        };
        let subject = format!("CONSUMER.RESET.{}.{name}", self.source.name);
        self.ask(&subject, headers, &body, &attempt.answers, call);
    }

    /// Nothing is read any more. Where messages wait for their readers the consumer is durable (JS-245), and they
    /// would wait for ever; elsewhere there is none of that name.
    pub fn leave(&self, facts: &StreamFacts, call: &mut Call<'_>) {
        if !self.is_mine() {
            return;
        }
        let subject = format!("CONSUMER.DELETE.{}.{}", self.source.name, self.consumer_name(facts));
        let answers = answers_subject(call);
        // An origin that forgets what is not read yet must not do so for one who reads on after a crash.
        call.out.promise();
        self.ask(&subject, b"", "", &answers, call);
    }

    /// The same over restarts and changes of filters, so that a durable one is found again: the name that nats-server
    /// would give it.
    fn consumer_name(&self, facts: &StreamFacts) -> String {
        let mut place = format!("{} {}", facts.name, facts.account);
        if !facts.domain.is_empty() {
            place = format!("{place} {}", facts.domain);
        }
        let place = hash(&place);
        match self.kind {
            Kind::Mirror => format!("JS_MIRROR_{place}"),
            Kind::Source => format!("JS_SRC_{}", hash(&place)),
            Kind::OneOfMany => format!("JS_SRC_{}", hash(&format!("{place} {}", self.index_name))),
        }
    }

    fn create(&self, attempt: &Attempt, identity: &str, facts: &StreamFacts, call: &mut Call<'_>) {
        let mut name = self.consumer_name(facts);
        let is_plain = self.level == Level::Plain;
        if is_plain {
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
            sourcing: !is_plain,
            ..ConsumerConfig::default()
        };
        let what = if self.is_mirror() { "mirror" } else { "src" };
        for (key, value) in [("stream", &facts.name), ("acc", &facts.account), ("domain", &facts.domain)] {
            if !value.is_empty() {
                config.metadata.insert(format!("_nats.{what}.{key}"), value.clone());
            }
        }
        self.set_start(&mut config, attempt.copied_seq);
        self.set_filter(&mut config);
        let mut subject = format!("CONSUMER.CREATE.{}", self.source.name);
        if !config.filter_subject.is_empty() {
            subject = format!("{subject}.{}.{}", config.name, config.filter_subject);
        }
        let headers = self.headers(identity);
        let body = json!({"stream_name": self.source.name, "config": config}).to_string();
        self.ask(&subject, &headers, &body, &attempt.answers, call);
    }

    /// What the origin must know, and which one it was before.
    fn headers(&self, identity: &str) -> Vec<u8> {
        let mut headers = Block::copy(b"");
        match self.level {
            Level::Newest if !self.is_mirror() => {
                headers.add_number(REQUIRED_API_LEVEL, IDENTITY_API_LEVEL).add(STREAM_IDENTITY, identity)
            }
            Level::Newest | Level::Anonymous => headers.add_number(REQUIRED_API_LEVEL, SOURCING_API_LEVEL),
            Level::Plain => return Vec::new(),
        };
        headers.finish()
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

    fn ask(&self, subject: &str, headers: &[u8], body: &str, answers: &str, call: &mut Call<'_>) {
        let api = match &self.source.external {
            Some(external) if !external.api.is_empty() => external.api.trim_end_matches('.'),
            _ => "$JS.API",
        };
        call.out.push(Post {
            subject: format!("{api}.{subject}").as_bytes(),
            reply: answers.as_bytes(),
            headers: Content::Copied(headers),
            payload: Content::Copied(body.as_bytes()),
            ..Post::default()
        });
    }
}

fn answers_subject(call: &mut Call<'_>) -> String {
    format!("$JSC.R.{}", unique_id(call.random))
}

/// JS-247: `<stream>[:<hash of the API prefix>] <filters> <destinations>`.
pub(super) fn index_name(source: &StreamSource) -> String {
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
