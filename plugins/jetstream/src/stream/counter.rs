//! Counter streams: each message adds a number of any size to the total of its subject (JS-180, JS-181).

use super::Stream;
use super::batch::Staged;
use super::checks::store_failed;
use super::headers::{Block, COUNTER_INCREMENT, PublishHeaders, value};
use super::publish::Inbound;
use crate::wire::{ApiError, error};
use serde::Deserialize;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What sources added so far, as carried from message to message (JS-182).
pub const SOURCES: &str = "Nats-Counter-Sources";

/// A whole number of any size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    negative: bool,
    /// The least significant first, none for zero.
    digits: Vec<u8>,
}

/// A body of a counter stream.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    val: Cow<'a, str>,
}

/// What is stored instead of an increment.
pub(super) struct Counted<'a> {
    pub total: Total,
    pub body: Vec<u8>,
    pub headers: Cow<'a, [u8]>,
}

impl Stream {
    /// The increment, which only a counter takes.
    pub(super) fn check_increment(
        &self,
        headers: &PublishHeaders<'_>,
        payload: &[u8],
    ) -> Result<Option<Total>, ApiError> {
        let Some(text) = headers.increment else { return Ok(None) };
        let increment = Total::parse(text).ok_or(error::MESSAGE_INCR_INVALID)?;
        if !self.config.allow_msg_counter {
            return Err(error::MESSAGE_INCR_DISABLED);
        }
        if !payload.is_empty() {
            return Err(error::MESSAGE_INCR_PAYLOAD);
        }
        let expects_subject = headers.expected_last_subject_seq_subject.is_some();
        if headers.rollup.is_some() || headers.expects() || expects_subject {
            return Err(error::MESSAGE_INCR_INVALID);
        }
        Ok(Some(increment))
    }

    /// Adds an increment to the last total of its subject, which may be one that is not stored yet.
    pub(super) fn count<'a>(
        &mut self,
        subject: &[u8],
        headers: &'a [u8],
        increment: &Total,
        staged: Option<&Staged>,
    ) -> Result<Counted<'a>, ApiError> {
        let mut headers = Cow::Borrowed(headers);
        let mut last = Total::default();
        if let Some(total) = staged.and_then(|staged| staged.total(subject)) {
            last = total.clone();
        } else {
            let seq = self.store.subject(subject).map_err(store_failed)?.last_seq;
            if let Some(message) = self.store.load(seq).map_err(store_failed)? {
                let body: Option<Body<'_>> = serde_json::from_slice(&message.payload).ok();
                let total = body.and_then(|body| Total::parse(body.val.as_bytes()));
                last = total.ok_or(error::MESSAGE_COUNTER_BROKEN)?;
                if let Some(sources) = value(&message.headers, SOURCES) {
                    let mut block = Block::from(&headers, |line| line.name != SOURCES.as_bytes());
                    block.add(SOURCES, sources);
                    headers = Cow::Owned(block.finish());
                }
            }
        }
        let total = last.add(increment);
        Ok(Counted { body: format!("{{\"val\":\"{total}\"}}").into_bytes(), total, headers })
    }
}

/// Per stream, per subject there: the total that was taken over last (JS-182).
type Sources = BTreeMap<String, BTreeMap<String, String>>;

impl Stream {
    /// A counter of a source: adds what it counted since its last message that came here (JS-182).
    pub(super) fn count_sourced<'a>(
        &mut self,
        origin: &str,
        message: &Inbound<'_>,
        subject: &[u8],
        headers: &'a [u8],
    ) -> Result<Counted<'a>, ApiError> {
        let parse = |body: &[u8]| {
            let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
            body.and_then(|body| Total::parse(body.val.as_bytes())).ok_or(error::MESSAGE_COUNTER_BROKEN)
        };
        let theirs = parse(message.payload)?;
        let (mut total, mut sources) = (Total::default(), Sources::new());
        let seq = self.store.subject(subject).map_err(store_failed)?.last_seq;
        if let Some(last) = self.store.load(seq).map_err(store_failed)? {
            total = parse(&last.payload)?;
            let known = value(&last.headers, SOURCES).and_then(|text| serde_json::from_slice(text).ok());
            sources = known.unwrap_or_default();
        }
        let their_subject = String::from_utf8_lossy(message.subject).into_owned();
        let known = sources.entry(origin.to_owned()).or_default().entry(their_subject).or_default();
        let mut before = Total::parse(known.as_bytes()).unwrap_or_default();
        before.negative = !before.negative && !before.digits.is_empty();
        let increment = theirs.add(&before);
        *known = theirs.to_string();
        let total = total.add(&increment);
        let mut block = Block::from(headers, |line| line.name != SOURCES.as_bytes());
        block.replace(COUNTER_INCREMENT, increment.to_string());
        block.add(SOURCES, serde_json::to_vec(&sources).unwrap_or_default());
        let body = format!("{{\"val\":\"{total}\"}}").into_bytes();
        Ok(Counted { total, body, headers: Cow::Owned(block.finish()) })
    }
}

impl Total {
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits = digits.iter().rev().map(|digit| digit - b'0').collect();
        Some(Self { negative, digits }.trimmed())
    }

    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            return Self { negative: self.negative, digits: sum(&self.digits, &other.digits) }.trimmed();
        }
        let (large, small) = match compare(&self.digits, &other.digits) {
            Ordering::Less => (other, self),
            _ => (self, other),
        };
        Self { negative: large.negative, digits: difference(&large.digits, &small.digits) }.trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        self.negative &= !self.digits.is_empty();
        self
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().rev().map(|&digit| char::from(b'0' + digit)).collect();
        write!(f, "{sign}{digits}")
    }
}

/// Of numbers without leading zeros.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.iter().rev().cmp(other.iter().rev()))
}

fn sum(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits = Vec::with_capacity(one.len().max(other.len()) + 1);
    for place in 0..one.len().max(other.len()) {
        let digit = carry + one.get(place).unwrap_or(&0) + other.get(place).unwrap_or(&0);
        digits.push(digit % 10);
        carry = digit / 10;
    }
    digits.push(carry);
    digits
}

fn difference(large: &[u8], small: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    let mut digits = Vec::with_capacity(large.len());
    for (place, &digit) in large.iter().enumerate() {
        let taken = borrowed + small.get(place).unwrap_or(&0);
        borrowed = u8::from(digit < taken);
        digits.push(digit + 10 * borrowed - taken);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::Total;

    #[test]
    fn numbers_of_any_size_are_added() {
        for (one, other, total) in [
            ("0", "-0", "0"),
            ("5", "+5", "10"),
            ("999", "1", "1000"),
            ("10", "-123456789012345678901234567890", "-123456789012345678901234567880"),
            ("-7", "7", "0"),
            ("-1000", "1", "-999"),
            ("0012", "-3", "9"),
        ] {
            let (Some(one), Some(other)) = (Total::parse(one.as_bytes()), Total::parse(other.as_bytes()))
            else {
                panic!("{one} {other}");
            };
            assert_eq!(one.add(&other).to_string(), total);
            assert_eq!(other.add(&one).to_string(), total);
        }
        for text in ["", "+", "-", "+-1", "1_0", "7 ", "1.5"] {
            assert_eq!(Total::parse(text.as_bytes()), None, "{text}");
        }
    }
}
