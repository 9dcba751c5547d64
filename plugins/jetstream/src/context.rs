//! What the state machines of streams and consumers get with every call: time, store, a way out, interest.

use crate::outbox::{Content, Outbox, Post};
use crate::store::StreamStore;
use crate::wire::{Retention, Storage, Time};
use serde_json::{Map, Value};

/// Of a call into a consumer; the stream owns all of it.
pub struct Context<'a> {
    /// Nanoseconds since 1970.
    pub now_ns: i64,
    pub store: &'a mut dyn StreamStore,
    pub out: &'a mut Outbox,
    pub interest: &'a dyn Interest,
    pub random: &'a mut dyn FnMut() -> u64,
    pub stream: &'a StreamFacts,
}

/// What consumers need to know of their stream.
#[derive(Clone, Debug, Default)]
pub struct StreamFacts {
    pub account: String,
    pub name: String,
    /// Empty: none.
    pub domain: String,
    /// Before the stream's name in the subjects of acknowledgements and of flow control: nothing, or with
    /// `js_ack_fc_v2` domain and account, with a dot behind each (JC-082, JC-150).
    pub reply_space: String,
    pub retention: Retention,
    pub storage: Storage,
    /// The largest message that there can be.
    pub message_bytes_max: u64,
}

/// Who listens in the stream's account.
pub trait Interest {
    /// Whether a message on the subject would reach anyone; with a queue name, whether a member of that group.
    fn has(&self, subject: &[u8], queue: &[u8]) -> bool;

    /// Whether someone listens to exactly this subject: who listens to everything does not take what a consumer
    /// pushes (JC-115). Without a queue name only who is in no group counts.
    fn has_exact(&self, subject: &[u8], queue: &[u8]) -> bool {
        self.has(subject, queue)
    }
}

impl Context<'_> {
    /// An advisory or a metric (JS-270 to JS-282), if anyone listens. `kind` is the whole type.
    pub fn advise(&mut self, subject: &str, kind: &str, fields: Map<String, Value>) {
        if !self.interest.has(subject.as_bytes(), b"") {
            return;
        }
        let mut advisory = Map::new();
        advisory.insert("type".to_owned(), kind.into());
        advisory.insert("id".to_owned(), unique_id(self.random).into());
        advisory.insert("timestamp".to_owned(), Time(self.now_ns).to_string().into());
        advisory.extend(fields);
        if !self.stream.domain.is_empty() {
            advisory.insert("domain".to_owned(), self.stream.domain.clone().into());
        }
        let text = Value::Object(advisory).to_string();
        self.out.push(Post {
            subject: subject.as_bytes(),
            payload: Content::Copied(text.as_bytes()),
            ..Post::default()
        });
    }
}

/// 22 random letters and digits, as NATS's ids look.
pub fn unique_id(random: &mut dyn FnMut() -> u64) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(22);
    while text.len() < 22 {
        let mut bits = random();
        for _ in 0..10 {
            text.push(char::from(DIGITS[(bits % 62) as usize]));
            bits /= 62;
        }
    }
    text.truncate(22);
    text
}
