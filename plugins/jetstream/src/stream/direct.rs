//! Direct gets: messages as they are, without JSON around them (JS-230 to JS-236).

use super::headers::{
    Block, LAST_SEQUENCE, NUM_PENDING, REQUIRED_API_LEVEL, SEQUENCE, STREAM, SUBJECT, TIME_STAMP,
    UP_TO_SEQUENCE, number, value,
};
use super::{Call, GetRequest, Stream};
use crate::api::json::decode_leniently;
use crate::api::shapes::MSG_GET;
use crate::filter::{Filter, is_literal};
use crate::outbox::{Content, Post};
use crate::store::{Loaded, StoreError};
use crate::wire::Time;

/// Subjects that one request may ask for (JS-235).
const SUBJECTS_MAX: usize = 1024;
/// Of one answer, unless the request says less: the reference's default for `max_pending`.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// JS-006.
const API_LEVEL: u64 = 5;

/// What a request comes to when there is nothing to give.
type Status = &'static str;

const EMPTY: Status = "408 Empty Request";
const MALFORMED: Status = "408 Malformed Request";
const CONFLICT: Status = "408 Bad Request";
const NOT_FOUND: Status = "404 Message Not Found";
const NO_RESULTS: Status = "404 No Results";
const TOO_MANY: Status = "413 Too Many Results";
const LEVEL: Status = "412 Required Api Level";

/// Of several messages: what is known of the rest.
struct Progress {
    pending: u64,
    last_seq: u64,
}

impl Stream {
    /// The subject that a request asks for: the fifth token is the stream, the rest is that.
    pub fn asked_directly(subject: &[u8]) -> Option<&[u8]> {
        subject.splitn(6, |&byte| byte == b'.').nth(5)
    }

    /// What comes next is about these subjects.
    pub fn expect<'a>(&mut self, mut subjects: impl Iterator<Item = &'a [u8]>) {
        self.store.expect(&mut subjects);
    }

    /// Answers a request to `$JS.API.DIRECT.GET.<stream>` or `….<stream>.<subject>`.
    pub fn direct_get(
        &mut self,
        subject: &[u8],
        headers: &[u8],
        body: &[u8],
        reply: &[u8],
        call: &mut Call<'_>,
    ) {
        if reply.is_empty() {
            return;
        }
        let asked = Self::asked_directly(subject);
        let mut message = std::mem::take(&mut self.loaded);
        let outcome = match (requires_too_much(headers), asked) {
            (true, _) => Ok(Err(LEVEL)),
            (false, Some(asked)) => self.direct_last(asked, body, reply, &mut message, call),
            (false, None) => self.direct_request(body, reply, &mut message, call),
        };
        self.loaded = message;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(status)) => send_status(reply, status, call),
            Err(why) => send_status(reply, &format!("500 {why}"), call),
        }
    }

    fn direct_last(
        &mut self,
        subject: &[u8],
        body: &[u8],
        reply: &[u8],
        message: &mut Loaded,
        call: &mut Call<'_>,
    ) -> Result<Result<(), Status>, StoreError> {
        let mut no_headers = false;
        if !body.is_empty() {
            let Some(request) = decode(body) else { return Ok(Err(MALFORMED)) };
            no_headers = request.no_hdr;
            if request != (GetRequest { no_hdr: no_headers, ..GetRequest::default() }) {
                return Ok(Err(CONFLICT));
            }
        }
        let is_there = if is_literal(subject) {
            let last_seq = self.store.subject(subject)?.last_seq;
            last_seq > 0 && self.store.load_into(last_seq, message)?
        } else {
            let found = self.store.last(&Filter::new([subject]), u64::MAX)?;
            found.map(|found| message.take(found)).is_some()
        };
        if !is_there {
            return Ok(Err(NOT_FOUND));
        }
        self.send(message, no_headers, None, reply, call);
        Ok(Ok(()))
    }

    fn direct_request(
        &mut self,
        body: &[u8],
        reply: &[u8],
        message: &mut Loaded,
        call: &mut Call<'_>,
    ) -> Result<Result<(), Status>, StoreError> {
        if body.is_empty() {
            return Ok(Err(EMPTY));
        }
        let Some(request) = decode(body) else { return Ok(Err(MALFORMED)) };
        if !request.is_addressed() && request.multi_last.is_empty() {
            return Ok(Err(EMPTY));
        }
        if has_conflict(&request) {
            return Ok(Err(CONFLICT));
        }
        if !request.multi_last.is_empty() {
            return self.direct_multi(&request, reply, message, call);
        }
        if request.batch != 0 {
            return self.direct_batch(&request, reply, message, call);
        }
        let Some(found) = self.find(&request)? else { return Ok(Err(NOT_FOUND)) };
        message.take(found);
        self.send(message, request.no_hdr, None, reply, call);
        Ok(Ok(()))
    }

    /// JS-234.
    fn direct_batch(
        &mut self,
        request: &GetRequest,
        reply: &[u8],
        message: &mut Loaded,
        call: &mut Call<'_>,
    ) -> Result<Result<(), Status>, StoreError> {
        let filter = match &*request.next_by_subj {
            "" => Filter::all(),
            subject => Filter::new([subject]),
        };
        let mut from = match request.start_time {
            Some(time) => self.store.seq_from_time(time.0)?,
            None => request.seq,
        };
        let mut progress = Progress { pending: self.store.count(&filter, from, false)?, last_seq: 0 };
        let mut bytes_left = bytes_max(request);
        for sent in 0..request.batch {
            if !self.store.next_into(&filter, from, message)? {
                if sent == 0 {
                    return Ok(Err(NOT_FOUND));
                }
                break;
            }
            from = message.seq + 1;
            self.send_next(message, request.no_hdr, &mut progress, reply, call);
            bytes_left = bytes_left.saturating_sub(message.size());
            if bytes_left == 0 {
                break;
            }
        }
        send_end(&progress, None, reply, call);
        Ok(Ok(()))
    }

    /// JS-235.
    fn direct_multi(
        &mut self,
        request: &GetRequest,
        reply: &[u8],
        message: &mut Loaded,
        call: &mut Call<'_>,
    ) -> Result<Result<(), Status>, StoreError> {
        let last_seq = self.store.state().last_seq;
        let up_to = match (request.up_to_time, request.up_to_seq) {
            (Some(time), _) => self.store.seq_from_time(time.0)?.saturating_sub(1),
            (None, 0) => last_seq,
            (None, seq) => seq,
        };
        if up_to == 0 {
            return Ok(Err(NO_RESULTS));
        }
        let filter = Filter::new(&request.multi_last);
        let mut seqs = match self.store.last_of_each(&filter, up_to, SUBJECTS_MAX) {
            Err(StoreError::TooMany { .. }) => return Ok(Err(TOO_MANY)),
            seqs => seqs?,
        };
        if seqs.is_empty() {
            return Ok(Err(NO_RESULTS));
        }
        seqs.retain(|&seq| seq >= request.seq);
        let mut progress = Progress { pending: seqs.len() as u64, last_seq: 0 };
        let mut bytes_left = bytes_max(request);
        let count = usize::try_from(request.batch).ok().filter(|&batch| batch > 0).unwrap_or(usize::MAX);
        for seq in seqs.into_iter().take(count) {
            if !self.store.load_into(seq, message)? {
                continue;
            }
            self.send_next(message, false, &mut progress, reply, call);
            bytes_left = bytes_left.saturating_sub(message.size());
            if bytes_left == 0 {
                break;
            }
        }
        send_end(&progress, Some(up_to), reply, call);
        Ok(Ok(()))
    }

    fn send_next(
        &mut self,
        message: &Loaded,
        no_headers: bool,
        progress: &mut Progress,
        reply: &[u8],
        call: &mut Call<'_>,
    ) {
        progress.pending = progress.pending.saturating_sub(1);
        self.send(message, no_headers, Some(progress), reply, call);
        progress.last_seq = message.seq;
    }

    fn send(
        &mut self,
        message: &Loaded,
        no_headers: bool,
        progress: Option<&Progress>,
        reply: &[u8],
        call: &mut Call<'_>,
    ) {
        let mut headers = std::mem::take(&mut self.text);
        headers.clear();
        if !no_headers {
            let mut block = Block::copy_into(headers, message.headers());
            self.describe(message.seq, message.time_ns, message.subject(), &mut block);
            if let Some(progress) = progress {
                block.add_number(NUM_PENDING, progress.pending).add_number(LAST_SEQUENCE, progress.last_seq);
            }
            headers = block.finish();
        }
        call.out.push(Post {
            subject: reply,
            headers: Content::Copied(&headers),
            payload: message.content(),
            ..Post::default()
        });
        self.text = headers;
    }

    /// The lines that say where a message was stored.
    pub(super) fn describe(&self, seq: u64, time_ns: i64, subject: &[u8], block: &mut Block) {
        block
            .add(STREAM, &self.config.name)
            .add(SUBJECT, subject)
            .add_number(SEQUENCE, seq)
            .add_time(TIME_STAMP, Time(time_ns));
    }
}

/// Only an object: a list of values in order is none.
fn decode(body: &[u8]) -> Option<GetRequest> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if !is_object {
        return None;
    }
    // What is not JSON to the letter may still be to Go.
    serde_json::from_slice(body).ok().or_else(|| decode_leniently(body, &MSG_GET).ok())
}

/// JS-233.
fn has_conflict(request: &GetRequest) -> bool {
    let last = !request.last_by_subj.is_empty();
    let multi = !request.multi_last.is_empty();
    request.seq > 0 && (last || request.start_time.is_some())
        || last
            && (request.start_time.is_some()
                || !request.next_by_subj.is_empty()
                || request.batch > 0
                || multi)
        || multi && !request.next_by_subj.is_empty()
        || request.up_to_seq > 0 && request.up_to_time.is_some()
}

fn bytes_max(request: &GetRequest) -> usize {
    usize::try_from(request.max_bytes).ok().filter(|&bytes| bytes > 0).unwrap_or(ANSWER_BYTES_MAX)
}

pub(super) fn requires_too_much(headers: &[u8]) -> bool {
    value(headers, REQUIRED_API_LEVEL)
        .is_some_and(|level| !level.is_empty() && number(level).is_none_or(|level| level > API_LEVEL))
}

fn send_status(reply: &[u8], status: &str, call: &mut Call<'_>) {
    let headers = format!("NATS/1.0 {status}\r\n\r\n");
    let headers = Content::Copied(headers.as_bytes());
    call.out.push(Post { subject: reply, headers, ..Post::default() });
}

fn send_end(progress: &Progress, up_to: Option<u64>, reply: &[u8], call: &mut Call<'_>) {
    let Progress { pending, last_seq } = progress;
    let mut status = format!("204 EOB\r\n{NUM_PENDING}: {pending}\r\n{LAST_SEQUENCE}: {last_seq}");
    if let Some(seq) = up_to {
        status += &format!("\r\n{UP_TO_SEQUENCE}: {seq}");
    }
    send_status(reply, &status, call);
}
