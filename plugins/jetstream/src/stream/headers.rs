//! Header blocks of messages: what publishing reads in them, and how a block is changed before it is stored.
//!
//! A block is `NATS/1.0` with an optional status, lines `Name: value`, and an empty line, all ending in CR LF. Names
//! are case sensitive; of several lines of one name the first counts.

use crate::wire::Time;

const VERSION: &[u8] = b"NATS/1.0";
const EMPTY: &[u8] = b"NATS/1.0\r\n\r\n";

pub const MSG_ID: &str = "Nats-Msg-Id";
pub const ROLLUP: &str = "Nats-Rollup";
pub const STREAM_SOURCE: &str = "Nats-Stream-Source";
pub const STREAM_IDENTITY: &str = "Nats-Stream-Identity";
pub const TTL: &str = "Nats-TTL";
pub const MARKER_REASON: &str = "Nats-Marker-Reason";
pub const STREAM: &str = "Nats-Stream";
pub const SUBJECT: &str = "Nats-Subject";
pub const SEQUENCE: &str = "Nats-Sequence";
pub const LAST_SEQUENCE: &str = "Nats-Last-Sequence";
pub const TIME_STAMP: &str = "Nats-Time-Stamp";
pub const NUM_PENDING: &str = "Nats-Num-Pending";
pub const UP_TO_SEQUENCE: &str = "Nats-UpTo-Sequence";
pub const MSG_SIZE: &str = "Nats-Msg-Size";
pub const SCHEDULE: &str = "Nats-Schedule";
pub const SCHEDULE_NEXT: &str = "Nats-Schedule-Next";
pub const SCHEDULER: &str = "Nats-Scheduler";
pub const BATCH_ID: &str = "Nats-Batch-Id";
pub const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
pub const BATCH_COMMIT: &str = "Nats-Batch-Commit";
pub const REQUIRED_API_LEVEL: &str = "Nats-Required-Api-Level";
pub const COUNTER_INCREMENT: &str = "Nats-Incr";
pub const EXPECTED_LAST_MSG_ID: &str = "Nats-Expected-Last-Msg-Id";
pub const REQUEST_INFO: &str = "Nats-Request-Info";
pub const TRACE_DEST: &str = "Nats-Trace-Dest";

/// The lines that mean something to a stream when a message is published (JS-150 to JS-160).
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishHeaders<'a> {
    pub increment: Option<&'a [u8]>,
    pub expected_stream: Option<&'a [u8]>,
    pub ttl: Option<&'a [u8]>,
    pub expected_last_seq: Option<&'a [u8]>,
    pub expected_last_subject_seq: Option<&'a [u8]>,
    pub expected_last_subject_seq_subject: Option<&'a [u8]>,
    pub expected_last_msg_id: Option<&'a [u8]>,
    pub schedule: Option<&'a [u8]>,
    pub schedule_ttl: Option<&'a [u8]>,
    pub schedule_target: Option<&'a [u8]>,
    pub schedule_source: Option<&'a [u8]>,
    pub schedule_time_zone: Option<&'a [u8]>,
    pub schedule_rollup: Option<&'a [u8]>,
    pub schedule_next: Option<&'a [u8]>,
    pub scheduler: Option<&'a [u8]>,
    pub stream_source: Option<&'a [u8]>,
    pub msg_id: Option<&'a [u8]>,
    pub rollup: Option<&'a [u8]>,
    pub batch_id: Option<&'a [u8]>,
    pub batch_sequence: Option<&'a [u8]>,
    pub batch_commit: Option<&'a [u8]>,
    pub required_api_level: Option<&'a [u8]>,
    pub request_info: bool,
}

impl<'a> PublishHeaders<'a> {
    pub fn read(block: &'a [u8]) -> Self {
        let mut headers = Self::default();
        let mut some_empty = false;
        for line in lines(block) {
            let Some(name) = line.name.strip_prefix(b"Nats-") else { continue };
            let place = match name {
                b"Msg-Id" => &mut headers.msg_id,
                b"Incr" => &mut headers.increment,
                b"TTL" => &mut headers.ttl,
                b"Rollup" => &mut headers.rollup,
                b"Expected-Stream" => &mut headers.expected_stream,
                b"Expected-Last-Sequence" => &mut headers.expected_last_seq,
                b"Expected-Last-Subject-Sequence" => &mut headers.expected_last_subject_seq,
                b"Expected-Last-Subject-Sequence-Subject" => &mut headers.expected_last_subject_seq_subject,
                b"Expected-Last-Msg-Id" => &mut headers.expected_last_msg_id,
                b"Schedule" => &mut headers.schedule,
                b"Schedule-TTL" => &mut headers.schedule_ttl,
                b"Schedule-Target" => &mut headers.schedule_target,
                b"Schedule-Source" => &mut headers.schedule_source,
                b"Schedule-Time-Zone" => &mut headers.schedule_time_zone,
                b"Schedule-Rollup" => &mut headers.schedule_rollup,
                b"Schedule-Next" => &mut headers.schedule_next,
                b"Scheduler" => &mut headers.scheduler,
                b"Stream-Source" => &mut headers.stream_source,
                b"Batch-Id" => &mut headers.batch_id,
                b"Batch-Sequence" => &mut headers.batch_sequence,
                b"Batch-Commit" => &mut headers.batch_commit,
                b"Required-Api-Level" => &mut headers.required_api_level,
                b"Request-Info" => {
                    headers.request_info = true;
                    continue;
                }
                _ => continue,
            };
            place.get_or_insert(line.value);
            some_empty |= line.value.is_empty();
        }
        if some_empty { headers.without_empty() } else { headers }
    }

    /// An empty value is as good as no line, but for two that must say something where they are.
    fn without_empty(mut self) -> Self {
        for value in [
            &mut self.increment,
            &mut self.expected_stream,
            &mut self.ttl,
            &mut self.expected_last_seq,
            &mut self.expected_last_subject_seq,
            &mut self.expected_last_subject_seq_subject,
            &mut self.expected_last_msg_id,
            &mut self.schedule,
            &mut self.schedule_ttl,
            &mut self.schedule_target,
            &mut self.schedule_source,
            &mut self.schedule_rollup,
            &mut self.schedule_next,
            &mut self.scheduler,
            &mut self.stream_source,
            &mut self.msg_id,
            &mut self.rollup,
            &mut self.batch_id,
            &mut self.batch_sequence,
            &mut self.required_api_level,
        ] {
            if value.is_some_and(<[u8]>::is_empty) {
                *value = None;
            }
        }
        self
    }

    /// Whether any of the checks against what is stored is asked for.
    pub fn expects(&self) -> bool {
        self.expected_stream.is_some()
            || self.expected_last_seq.is_some()
            || self.expected_last_subject_seq.is_some()
            || self.expected_last_msg_id.is_some()
    }
}

/// One line of a block. The value is without the spaces before it, as the reference reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// The whole line with its end.
    pub raw: &'a [u8],
}

/// The lines after the first.
pub fn lines(block: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = memchr::memchr(b'\n', block).map_or(&[][..], |end| &block[end + 1..]);
    std::iter::from_fn(move || {
        loop {
            let end = memchr::memchr(b'\n', rest)?;
            let (raw, after) = rest.split_at(end + 1);
            rest = after;
            let text = raw.strip_suffix(b"\r\n").unwrap_or(&raw[..end]);
            if let Some(colon) = memchr::memchr(b':', text) {
                let value = &text[colon + 1..];
                let spaces = value.iter().take_while(|&&byte| byte == b' ').count();
                return Some(Line { name: &text[..colon], value: &value[spaces..], raw });
            }
        }
    })
}

/// The first value of a name.
pub fn value<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    lines(block).find(|line| line.name == name.as_bytes()).map(|line| line.value)
}

/// The block without a status, as it is stored (JS-145); nothing when only a status was there.
pub fn without_status(block: &[u8]) -> Stripped<'_> {
    let Some(after) = block.strip_prefix(VERSION) else { return Stripped::Same(block) };
    if after.starts_with(b"\r\n") {
        return Stripped::Same(block);
    }
    match memchr::memchr(b'\n', after) {
        Some(end) if after[end + 1..] != *b"\r\n" => Stripped::Lines(&after[end + 1..]),
        _ => Stripped::Same(&[]),
    }
}

/// What [`without_status`] left.
#[derive(Debug, PartialEq, Eq)]
pub enum Stripped<'a> {
    Same(&'a [u8]),
    /// Lines that need a new first line.
    Lines(&'a [u8]),
}

/// A block being written.
#[derive(Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// A copy of `block` without some lines; a new block when it is empty.
    pub fn from(block: &[u8], keep: impl Fn(&Line<'_>) -> bool) -> Self {
        let mut copy = Vec::with_capacity(block.len() + 64);
        copy.extend_from_slice(b"NATS/1.0\r\n");
        for line in lines(block).filter(keep) {
            copy.extend_from_slice(line.raw);
        }
        Self(copy)
    }

    /// A copy with everything in it.
    pub fn copy(block: &[u8]) -> Self {
        Self::copy_into(Vec::with_capacity(block.len() + 160), block)
    }

    /// The same in a buffer that is used again.
    pub fn copy_into(mut buffer: Vec<u8>, block: &[u8]) -> Self {
        buffer.clear();
        match block.strip_suffix(b"\r\n").filter(|_| block.len() >= EMPTY.len()) {
            Some(lines) => buffer.extend_from_slice(lines),
            None => buffer.extend_from_slice(b"NATS/1.0\r\n"),
        }
        Self(buffer)
    }

    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub fn add_number(&mut self, name: &str, value: u64) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        push_number(&mut self.0, value);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub fn add_time(&mut self, name: &str, time: Time) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        time.write(&mut self.0);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// Gives the first line of that name another value, where it is; adds it when there is none.
    pub fn replace(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        let text = std::mem::take(&mut self.0);
        let place = lines(&text).find(|line| line.name == name.as_bytes());
        let Some(place) = place.map(|line| line.raw) else {
            self.0 = text;
            return self.add(name, value);
        };
        let start = place.as_ptr() as usize - text.as_ptr() as usize;
        self.0.extend_from_slice(&text[..start]);
        self.add(name, value);
        self.0.extend_from_slice(&text[start + place.len()..]);
        self
    }

    pub fn add_and_finish(mut self, name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
        self.add(name, value);
        self.finish()
    }

    /// Nothing when no line is in it.
    pub fn finish(mut self) -> Vec<u8> {
        if self.0.len() == EMPTY.len() - 2 {
            return Vec::new();
        }
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

/// Appends a number in decimal, two digits at a time.
pub fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    while value >= 10 {
        let pair = (value % 100) as u8;
        value /= 100;
        start -= 2;
        digits[start] = b'0' + pair / 10;
        digits[start + 1] = b'0' + pair % 10;
    }
    if value > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// A whole number without sign or spaces; anything else is `None`.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::{Block, PublishHeaders, Stripped, lines, number, push_number, value, without_status};

    const BLOCK: &[u8] = b"NATS/1.0\r\nNats-Msg-Id:  a \r\nX:y\r\nNats-Msg-Id: b\r\n\r\n";

    #[test]
    fn the_first_line_of_a_name_counts_and_keeps_spaces_at_its_end() {
        assert_eq!(PublishHeaders::read(BLOCK).msg_id, Some(&b"a "[..]));
        assert_eq!(value(BLOCK, "X"), Some(&b"y"[..]));
        assert_eq!(value(BLOCK, "x"), None);
        assert_eq!(lines(BLOCK).count(), 3);
        assert_eq!(lines(b"").count() + lines(b"NATS/1.0\r\n\r\n").count() + lines(b"garbage").count(), 0);
    }

    #[test]
    fn a_status_is_taken_off() {
        assert_eq!(without_status(BLOCK), Stripped::Same(BLOCK));
        assert_eq!(without_status(b"NATS/1.0 503\r\n\r\n"), Stripped::Same(b""));
        assert_eq!(without_status(b"NATS/1.0 503 x\r\nA: b\r\n\r\n"), Stripped::Lines(b"A: b\r\n\r\n"));
        assert_eq!(without_status(b"NATS/1.0\r\n\r\n"), Stripped::Same(b"NATS/1.0\r\n\r\n"));
    }

    #[test]
    fn blocks_are_rewritten() {
        let mut block = Block::from(BLOCK, |line| line.name != b"Nats-Msg-Id");
        block.add("Z", "1").add_number("N", 120);
        assert_eq!(block.finish(), b"NATS/1.0\r\nX:y\r\nZ: 1\r\nN: 120\r\n\r\n");
        assert_eq!(Block::copy(BLOCK).finish(), BLOCK);
        assert_eq!(Block::copy(b"").finish(), b"");
    }

    #[test]
    fn numbers_go_both_ways() {
        for value in [0, 9, 10, 11, 99, 100, 101, 999, 1000, 123_456_789, u64::MAX] {
            let mut text = Vec::new();
            push_number(&mut text, value);
            assert_eq!(number(&text), Some(value));
        }
        assert_eq!(number(b"18446744073709551616").or(number(b"-1")).or(number(b"")).or(number(b"1x")), None);
    }
}
