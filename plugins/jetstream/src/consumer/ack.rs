//! The subject of an acknowledgement: what was delivered, and when (JC-081 to JC-083).

use crate::stream::headers::push_number;

/// A parsed `$JS.ACK.…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckSubject<'a> {
    pub stream: &'a str,
    pub consumer: &'a str,
    pub deliveries: u64,
    pub stream_seq: u64,
    pub consumer_seq: u64,
    /// When the message was stored.
    pub time_ns: i64,
    /// What follows for the consumer.
    pub pending: u64,
}

impl<'a> AckSubject<'a> {
    /// Both forms: nine tokens, or eleven and more with domain and account.
    pub fn parse(subject: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(subject).ok()?;
        let mut tokens = [""; 11];
        let mut count = 0;
        for token in text.split('.') {
            if let Some(place) = tokens.get_mut(count) {
                *place = token;
            }
            count += 1;
        }
        let at = match count {
            9 => 2,
            count if count >= 11 => 4,
            _ => return None,
        };
        if tokens[0] != "$JS" || tokens[1] != "ACK" {
            return None;
        }
        let number = |place: usize| tokens[place].parse::<u64>().ok();
        Some(Self {
            stream: tokens[at],
            consumer: tokens[at + 1],
            deliveries: number(at + 2)?,
            stream_seq: number(at + 3)?,
            consumer_seq: number(at + 4)?,
            time_ns: number(at + 5).and_then(|time| i64::try_from(time).ok()).unwrap_or(0),
            pending: number(at + 6).unwrap_or(0),
        })
    }
}

/// The beginning of all ack subjects of a consumer, and the numbers after it.
pub struct AckWriter {
    text: Vec<u8>,
    prefix_len: usize,
    /// Of the message before, with a dot on both sides: many in a row were stored at the same time.
    time_ns: i64,
    time: Vec<u8>,
}

impl AckWriter {
    /// `space` stands before the stream.
    pub fn new(space: &str, stream: &str, consumer: &str) -> Self {
        let text = format!("$JS.ACK.{space}{stream}.{consumer}.").into_bytes();
        Self { prefix_len: text.len(), text, time_ns: 0, time: b".0.".to_vec() }
    }

    /// The subject of one delivery.
    pub fn write(
        &mut self,
        deliveries: u64,
        stream_seq: u64,
        consumer_seq: u64,
        time_ns: i64,
        pending: u64,
    ) -> &[u8] {
        if time_ns != self.time_ns {
            self.time_ns = time_ns;
            self.time.truncate(1);
            push_number(&mut self.time, time_ns.unsigned_abs());
            self.time.push(b'.');
        }
        self.text.truncate(self.prefix_len);
        push_number(&mut self.text, deliveries);
        self.text.push(b'.');
        push_number(&mut self.text, stream_seq);
        self.text.push(b'.');
        push_number(&mut self.text, consumer_seq);
        self.text.extend_from_slice(&self.time);
        push_number(&mut self.text, pending);
        &self.text
    }
}

/// What an acknowledgement says (JC-090 to JC-095).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Ack,
    /// Again, after so many nanoseconds.
    Nak {
        delay_ns: i64,
    },
    InProgress,
    Term {
        reason: &'a str,
    },
    /// An acknowledgement and a request for more.
    Next {
        request: &'a [u8],
    },
    /// Nothing that has a meaning.
    Other,
}

impl<'a> Answer<'a> {
    pub fn parse(payload: &'a [u8]) -> Self {
        let trimmed = |rest: &'a [u8]| std::str::from_utf8(rest).unwrap_or_default().trim();
        match payload {
            b"" | b"+ACK" | b"+OK" => Self::Ack,
            b"+WPI" => Self::InProgress,
            _ => {
                if let Some(rest) = payload.strip_prefix(b"-NAK") {
                    Self::Nak { delay_ns: delay_ns(trimmed(rest)) }
                } else if let Some(rest) = payload.strip_prefix(b"+TERM") {
                    Self::Term { reason: trimmed(rest) }
                } else if let Some(rest) = payload.strip_prefix(b"+NXT") {
                    Self::Next { request: rest.trim_ascii() }
                } else {
                    Self::Other
                }
            }
        }
    }
}

/// JC-091: what cannot be read means at once.
fn delay_ns(text: &str) -> i64 {
    if text.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        return value["delay"].as_i64().unwrap_or(0).max(0);
    }
    crate::duration::parse(text).unwrap_or(0).max(0)
}

#[cfg(test)]
mod tests {
    use super::{AckSubject, AckWriter, Answer};

    #[test]
    fn subjects_go_both_ways() {
        let mut writer = AckWriter::new("", "S", "C");
        let subject = writer.write(1, 22, 3, 1_700_000_000_000_000_000, 5).to_vec();
        assert_eq!(subject, b"$JS.ACK.S.C.1.22.3.1700000000000000000.5");
        assert_eq!(writer.write(10, 1, 2, 0, 0), b"$JS.ACK.S.C.10.1.2.0.0");
        assert_eq!(writer.write(1, 22, 3, 1_700_000_000_000_000_000, 5), subject);
        let ack = AckSubject::parse(&subject);
        let expected = AckSubject {
            stream: "S",
            consumer: "C",
            deliveries: 1,
            stream_seq: 22,
            consumer_seq: 3,
            time_ns: 1_700_000_000_000_000_000,
            pending: 5,
        };
        assert_eq!(ack, Some(expected));
        let long = b"$JS.ACK._.hash.S.C.1.22.3.7.5";
        assert_eq!(AckWriter::new("_.hash.", "S", "C").write(1, 22, 3, 7, 5), long);
        let long = AckSubject::parse(long);
        assert_eq!(long, Some(AckSubject { time_ns: 7, ..expected }));
        assert_eq!(AckSubject::parse(b"$JS.ACK.x.S.C.1.22.3.7.5"), None);
        assert_eq!(AckSubject::parse(b"$JS.ACK.S.C.x.22.3.7.5"), None);
    }

    #[test]
    fn answers_are_understood() {
        assert_eq!(Answer::parse(b"-NAK {\"delay\": 5}"), Answer::Nak { delay_ns: 5 });
        assert_eq!(Answer::parse(b"-NAK 2s"), Answer::Nak { delay_ns: 2_000_000_000 });
        assert_eq!(Answer::parse(b"-NAK soon"), Answer::Nak { delay_ns: 0 });
        assert_eq!(Answer::parse(b"+TERM  why "), Answer::Term { reason: "why" });
        assert_eq!(Answer::parse(b"+NXT 5"), Answer::Next { request: b"5" });
        assert_eq!(Answer::parse(b"+ACK "), Answer::Other);
    }
}
