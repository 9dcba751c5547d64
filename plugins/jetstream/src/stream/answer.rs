//! What a publisher is told (JS-140, JS-141). Written by hand: it is said once for every message.

use super::headers::push_number;
use crate::context::StreamFacts;
use crate::wire::ApiError;

/// The texts of one stream's answers.
#[derive(Default)]
pub struct Answers {
    /// Up to the sequence.
    ack: Vec<u8>,
    name: String,
}

/// What a success says besides the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra<'a> {
    None,
    Duplicate,
    /// The new total of a counter.
    Total(&'a str),
    Batch {
        id: &'a [u8],
        count: u64,
    },
}

impl Answers {
    pub fn new(facts: &StreamFacts) -> Self {
        let mut ack = format!("{{\"stream\":{}", json(&facts.name));
        if !facts.domain.is_empty() {
            ack += &format!(",\"domain\":{}", json(&facts.domain));
        }
        ack += ",\"seq\":";
        Self { ack: ack.into_bytes(), name: json(&facts.name) }
    }

    /// Replaces what is in `text`.
    pub fn success(&self, seq: u64, extra: Extra<'_>, text: &mut Vec<u8>) {
        text.clear();
        text.extend_from_slice(&self.ack);
        push_number(text, seq);
        match extra {
            Extra::None => {}
            Extra::Duplicate => text.extend_from_slice(b",\"duplicate\": true"),
            Extra::Total(total) => {
                text.extend_from_slice(b",\"val\":\"");
                text.extend_from_slice(total.as_bytes());
                text.push(b'"');
            }
            Extra::Batch { id, count } => {
                text.extend_from_slice(b",\"batch\":");
                text.extend_from_slice(json(&String::from_utf8_lossy(id)).as_bytes());
                text.extend_from_slice(b",\"count\":");
                push_number(text, count);
            }
        }
        text.push(b'}');
    }

    pub fn failure(&self, why: &ApiError) -> Vec<u8> {
        let why = serde_json::to_string(why).unwrap_or_default();
        format!("{{\"error\":{why},\"stream\":{},\"seq\":0}}", self.name).into_bytes()
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Answers, Extra};
    use crate::context::StreamFacts;
    use crate::wire::error;

    #[test]
    fn answers_look_as_clients_know_them() {
        let mut facts = StreamFacts { name: "S".to_owned(), ..StreamFacts::default() };
        let plain = Answers::new(&facts);
        let mut text = Vec::new();
        let mut say = |answers: &Answers, extra| {
            answers.success(7, extra, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        assert_eq!(say(&plain, Extra::None), r#"{"stream":"S","seq":7}"#);
        assert_eq!(say(&plain, Extra::Duplicate), r#"{"stream":"S","seq":7,"duplicate": true}"#);
        assert_eq!(say(&plain, Extra::Total("-12")), r#"{"stream":"S","seq":7,"val":"-12"}"#);
        assert_eq!(
            say(&plain, Extra::Batch { id: b"b", count: 2 }),
            r#"{"stream":"S","seq":7,"batch":"b","count":2}"#
        );
        facts.domain = "D".to_owned();
        assert_eq!(say(&Answers::new(&facts), Extra::None), r#"{"stream":"S","domain":"D","seq":7}"#);
        assert_eq!(
            String::from_utf8_lossy(&plain.failure(&error::STREAM_SEALED)),
            r#"{"error":{"code":400,"err_code":10109,"description":"invalid operation on sealed stream"},"stream":"S","seq":0}"#
        );
    }
}
