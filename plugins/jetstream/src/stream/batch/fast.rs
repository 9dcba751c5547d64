//! Fast batches: each message is stored as it comes, and acknowledged with many others (JS-210 to JS-213).
//!
//! The reply subject says everything: `<prefix>.<id>.<flow>.<gap>.<seq>.<operation>.$FI`.

use crate::outbox::{Content, Post};
use crate::stream::direct::requires_too_much;
use crate::stream::headers::number;
use crate::stream::publish::{Inbound, Published};
use crate::stream::{Call, Stream};
use crate::wire::{ApiError, error};

pub(in crate::stream) const SUFFIX: &[u8] = b".$FI";
const ID_LEN_MAX: usize = 64;
const FLOW_DEFAULT: u64 = 10;
const FLOW_MAX: u64 = 65_535;
/// Messages between two acknowledgements, for all batches of a stream together.
const INTERVAL_MAX: u64 = 500;

/// A batch that is being published.
pub struct Fast {
    /// The sequence in the batch that comes next.
    expected: u64,
    flow: u64,
    /// Messages between two acknowledgements.
    interval: u64,
    acked: u64,
    /// Where its last message went.
    stored_seq: u64,
    pub(super) idle_until_ns: i64,
}

impl Fast {
    /// Everything up to `seq` is done, while so many batches are open: whether that is acknowledged now, in whole
    /// intervals.
    fn go_on_to(&mut self, seq: u64, open: u64) -> bool {
        let intervals = seq.saturating_sub(self.acked) / self.interval;
        if intervals == 0 {
            return false;
        }
        self.acked += intervals * self.interval;
        let most = (INTERVAL_MAX / open.max(1)).min(self.flow).max(1);
        self.interval =
            if self.interval < most { (self.interval * 2).min(most) } else { (self.interval / 2).max(most) };
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Start,
    Append,
    /// The end, with this message.
    Commit,
    /// The end, without this message.
    End,
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step<'a> {
    id: &'a [u8],
    flow: u64,
    /// Whether a gap ends the batch.
    strict: bool,
    seq: u64,
    operation: Operation,
}

impl<'a> Step<'a> {
    fn parse(reply: &'a [u8]) -> Option<Self> {
        let mut tokens = reply.strip_suffix(SUFFIX)?.rsplit(|&byte| byte == b'.');
        let operation = match tokens.next()? {
            b"0" => Operation::Start,
            b"1" => Operation::Append,
            b"2" => Operation::Commit,
            b"3" => Operation::End,
            b"4" => Operation::Ping,
            _ => return None,
        };
        let seq = number(tokens.next()?).filter(|&seq| seq < u64::MAX)?;
        let fits = match operation {
            Operation::Start => seq == 1,
            Operation::Append | Operation::End => seq > 1,
            Operation::Commit | Operation::Ping => seq > 0,
        };
        if !fits {
            return None;
        }
        let strict = match tokens.next()? {
            b"ok" => false,
            b"fail" => true,
            _ => return None,
        };
        let flow = number(tokens.next()?).filter(|&flow| flow > 0).unwrap_or(FLOW_DEFAULT).min(FLOW_MAX);
        let id = tokens.next()?;
        // Whoever waits for the answers has a subject before all this.
        tokens.next()?;
        Some(Self { id, flow, strict, seq, operation })
    }
}

impl Stream {
    /// A message whose reply subject, as its publisher gave it, makes it part of a fast batch.
    pub(in crate::stream) fn take_in_fast(
        &mut self,
        reply: &[u8],
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        let step = Step::parse(reply).ok_or(error::BATCH_PUBLISH_INVALID_PATTERN)?;
        if step.id.len() > ID_LEN_MAX {
            return Err(error::BATCH_PUBLISH_INVALID_BATCH_ID);
        }
        if !self.config.allow_batched {
            return Err(error::BATCH_PUBLISH_DISABLED);
        }
        if requires_too_much(block) {
            self.batches.close_fast(step.id);
            return Err(error::REQUIRED_API_LEVEL);
        }
        match self.batches.fast.get(step.id) {
            None => self.begin(&step, message, block, call),
            Some(batch) => {
                let expected = batch.expected;
                self.go_on(&step, expected, message, block, call)
            }
        }
    }

    fn begin(
        &mut self,
        step: &Step<'_>,
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        match step.operation {
            Operation::Ping => return Err(error::BATCH_PUBLISH_UNKNOWN_BATCH_ID),
            _ if step.seq != 1 => return Err(error::BATCH_PUBLISH_UNKNOWN_BATCH_ID),
            Operation::Append | Operation::End => return Err(error::BATCH_PUBLISH_INVALID_PATTERN),
            Operation::Commit => {
                let seq = self.take_in_one(message, block, call)?.seq();
                return Ok(Published::Batch { id: step.id.into(), seq, count: 1, refused: None });
            }
            Operation::Start => {}
        }
        let idle_until_ns = self.batches.idle_until_ns(call.now_ns);
        let batches = &mut self.batches;
        if !batches.limits.may_open_fast(batches.fast.len()) {
            return Err(error::BATCH_PUBLISH_TOO_MANY_INFLIGHT);
        }
        let interval = if batches.fast.is_empty() { INTERVAL_MAX.min(step.flow) } else { 1 };
        let (expected, acked, stored_seq) = (1, 0, 0);
        let batch = Fast { expected, flow: step.flow, interval, acked, stored_seq, idle_until_ns };
        batches.fast.insert(step.id.into(), batch);
        notify(message.reply, &flow_ack(0, interval), call);
        self.go_on_without_gap(step, message, block, call)
    }

    fn go_on(
        &mut self,
        step: &Step<'_>,
        expected: u64,
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        let idle_until_ns = self.batches.idle_until_ns(call.now_ns);
        if let Some(batch) = self.batches.fast.get_mut(step.id) {
            batch.idle_until_ns = idle_until_ns;
        }
        let is_ping = step.operation == Operation::Ping;
        // A ping names the last sequence that was sent.
        let seq = step.seq + u64::from(is_ping);
        let backwards = seq < expected && !is_ping;
        if backwards || seq > expected || step.operation == Operation::Start {
            let gap = format!("{{\"type\":\"gap\",\"last_seq\":{expected},\"seq\":{seq}}}");
            notify(message.reply, gap.as_bytes(), call);
            if backwards || step.strict || step.operation == Operation::Start {
                return Ok(self.finish(step.id, expected - 1, None));
            }
        }
        if is_ping {
            let open = self.batches.fast.len() as u64;
            if let Some(batch) = self.batches.fast.get_mut(step.id) {
                if seq > batch.expected {
                    batch.expected = seq;
                    batch.go_on_to(step.seq, open);
                }
                let text = flow_ack(batch.acked, batch.interval);
                call.out.answer(message.reply, b"", &text);
            }
            return Ok(Published::Told);
        }
        self.go_on_without_gap(step, message, block, call)
    }

    fn go_on_without_gap(
        &mut self,
        step: &Step<'_>,
        message: &Inbound<'_>,
        block: &[u8],
        call: &mut Call<'_>,
    ) -> Result<Published, ApiError> {
        if step.operation == Operation::End {
            return Ok(self.finish(step.id, step.seq - 1, None));
        }
        let outcome = self.take_in_one(message, block, call);
        let is_first = self.batches.fast.get(step.id).is_some_and(|batch| batch.expected == 1);
        if let Err(why) = &outcome {
            if step.strict && is_first {
                self.batches.close_fast(step.id);
                return outcome;
            }
            let why = serde_json::to_string(why).unwrap_or_default();
            let text = format!("{{\"type\":\"err\",\"seq\":{},\"error\":{why}}}", step.seq);
            notify(message.reply, text.as_bytes(), call);
            if step.strict {
                return Ok(self.finish(step.id, step.seq - 1, outcome.err()));
            }
        }
        let open = self.batches.fast.len() as u64;
        if let Some(batch) = self.batches.fast.get_mut(step.id) {
            batch.expected = step.seq + 1;
            // What was not stored is acknowledged with what is stored after it.
            let stored =
                outcome.as_ref().ok().filter(|published| !matches!(published, Published::Duplicate(_)));
            if let Some(published) = stored {
                batch.stored_seq = published.seq();
                if step.operation != Operation::Commit && batch.go_on_to(step.seq, open) {
                    let text = flow_ack(batch.acked, batch.interval);
                    call.out.answer(message.reply, b"", &text);
                }
            }
        }
        match step.operation {
            Operation::Commit => Ok(self.finish(step.id, step.seq, outcome.err())),
            _ => Ok(outcome.map_or_else(|why| Published::Refused(Box::new(why)), |_| Published::Told)),
        }
    }

    fn finish(&mut self, id: &[u8], count: u64, refused: Option<ApiError>) -> Published {
        let seq = self.batches.fast.get(id).map_or(0, |batch| batch.stored_seq);
        self.batches.close_fast(id);
        Published::Batch { id: id.into(), seq, count, refused: refused.map(Box::new) }
    }
}

fn flow_ack(seq: u64, messages: u64) -> Vec<u8> {
    format!("{{\"type\":\"ack\",\"seq\":{seq},\"msgs\":{messages}}}").into_bytes()
}

/// What promises nothing.
fn notify(reply: &[u8], text: &[u8], call: &mut Call<'_>) {
    call.out.push(Post { subject: reply, payload: Content::Copied(text), ..Post::default() });
}

#[cfg(test)]
mod tests {
    use super::{Operation, Step};

    #[test]
    fn the_reply_subject_is_read_from_its_end() {
        let step = |reply: &'static str| Step::parse(reply.as_bytes());
        let expected = Step { id: b"id", flow: 50, strict: true, seq: 7, operation: Operation::Commit };
        assert_eq!(step("_INBOX.a.b.id.50.fail.7.2.$FI"), Some(expected));
        assert_eq!(step("p.id.x.ok.1.0.$FI").map(|step| step.flow), Some(10));
        for reply in [
            "p.id.1.bad.1.0.$FI",
            "p.id.1.ok.x.0.$FI",
            "p.id.1.ok.0.0.$FI",
            "p.id.1.ok.1.9.$FI",
            "p.$FI",
            "id.10.ok.1.0.$FI",
        ] {
            assert_eq!(step(reply), None, "{reply}");
        }
    }
}
