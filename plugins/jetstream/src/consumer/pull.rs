//! Pull requests: who waits for how much, and how each ends (JC-120 to JC-142, JC-160 to JC-164).

mod pin;

use self::pin::Pin;
use super::deliver::{Due, Target};
use super::push::idle_heartbeat;
use super::{Consumer, Position};
use crate::api::json::decode_leniently;
use crate::api::shapes::CONSUMER_NEXT;
use crate::context::Context;
use crate::duration;
use crate::outbox::{Content, Post};
use crate::store::Loaded;
use crate::stream::headers;
use crate::wire::PriorityPolicy;
use serde::Deserialize;
use std::collections::VecDeque;

/// What natsd's API can do (JS-006).
const API_LEVEL: u64 = 5;
/// After all numbers, which are 0 to 9: a request without a priority (JC-163).
const NO_PRIORITY: i64 = 10;

/// The body of a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    batch: i64,
    expires: i64,
    max_bytes: i64,
    no_wait: bool,
    idle_heartbeat: i64,
    group: String,
    min_pending: i64,
    min_ack_pending: i64,
    id: String,
    priority: i64,
}

struct Request {
    id: u64,
    reply: Box<[u8]>,
    remaining: u64,
    delivered: u64,
    /// `None`: no limit.
    remaining_bytes: Option<u64>,
    /// `i64::MAX`: never.
    expires_ns: i64,
    heartbeat_ns: i64,
    last_sent_ns: i64,
    /// When its client was last seen to listen.
    heard_ns: i64,
    body: Box<Body>,
    no_wait: bool,
    priority: i64,
}

/// The requests that wait, and the pinned client.
#[derive(Default)]
pub(super) struct Pulls {
    waiting: VecDeque<Request>,
    next_id: u64,
    /// The least time at which something happens by itself.
    deadline_ns: Option<i64>,
    pin: Option<Box<Pin>>,
}

impl Request {
    /// It does not wait, or has got something: when nothing more comes it is over.
    fn ends_without_messages(&self) -> bool {
        self.no_wait && (self.delivered > 0 || self.expires_ns == i64::MAX)
    }

    /// What it still wants, as it said itself: none and fewer mean one.
    fn asked_for(&self) -> i64 {
        if self.body.batch < 1 { self.body.batch - self.delivered as i64 } else { self.remaining as i64 }
    }
}

impl Pulls {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn pinned_id(&self) -> &str {
        self.pin.as_ref().map_or("", |pin| &pin.id)
    }

    pub fn pinned_ns(&self) -> i64 {
        self.pin.as_ref().map_or(0, |pin| pin.since_ns)
    }

    pub fn deadline_ns(&self) -> i64 {
        self.deadline_ns.unwrap_or(i64::MAX)
    }

    fn find_deadline(&mut self) {
        let each = self.waiting.iter().map(|request| {
            let heartbeat = match request.heartbeat_ns {
                0 => i64::MAX,
                every => request.last_sent_ns + every,
            };
            request.expires_ns.min(heartbeat)
        });
        self.deadline_ns = each.min().filter(|deadline| *deadline != i64::MAX);
    }

    /// Everyone is told the same.
    pub fn end_all(&mut self, status: &str, ctx: &mut Context<'_>) {
        for request in std::mem::take(&mut self.waiting) {
            let line = format!("409 {status}");
            // JC-137, JC-138.
            let counts = (status == "Server Shutdown").then_some(&request);
            end(&request.reply, &line, counts, ctx);
        }
        self.deadline_ns = None;
    }

    /// Where a request wants its messages, and its number.
    pub fn address(&self, at: usize) -> (&[u8], u64) {
        self.waiting.get(at).map_or((&[], 0), |request| (&request.reply, request.id))
    }

    /// A message of `size` bytes went to the request at that place. Requests take turns with each message, unless they
    /// are in the order of their priorities.
    pub fn sent(&mut self, mut at: usize, size: usize, prioritized: bool, ctx: &mut Context<'_>) {
        if !prioritized && at < self.waiting.len() {
            // Those that were passed over go to the end, too.
            self.waiting.rotate_left(at);
            at = 0;
        }
        let Some(request) = self.waiting.get_mut(at) else { return };
        request.remaining = request.remaining.saturating_sub(1);
        request.delivered += 1;
        request.last_sent_ns = ctx.now_ns;
        if let Some(bytes) = &mut request.remaining_bytes {
            *bytes = bytes.saturating_sub(size as u64);
            if *bytes == 0 {
                request.remaining = 0;
            }
        }
        if request.remaining > 0 {
            if !prioritized && self.waiting.len() > 1 {
                self.waiting.rotate_left(1);
            }
            return;
        }
        if let Some(request) = self.waiting.remove(at) {
            if request.remaining_bytes.is_some_and(|bytes| bytes > 0) {
                end(&request.reply, "409 Batch Completed", Some(&request), ctx);
            }
            self.find_deadline();
        }
    }

    /// Nobody listens for it any more.
    pub fn gone(&mut self, id: u64) {
        self.waiting.retain(|request| request.id != id);
        self.find_deadline();
    }

    /// Those whose clients do not listen.
    fn end_unheard(&mut self, ctx: &Context<'_>) {
        self.waiting.retain(|request| ctx.interest.has(&request.reply, b""));
        self.find_deadline();
    }

    /// Requests that do not wait end when there is nothing for them (JC-123).
    pub fn nothing_left(&mut self, num_pending: u64, ctx: &mut Context<'_>) {
        if num_pending > 0 || !self.waiting.iter().any(|request| request.no_wait) {
            return;
        }
        let mut kept = VecDeque::new();
        for request in std::mem::take(&mut self.waiting) {
            if request.ends_without_messages() {
                end(&request.reply, "404 No Messages", None, ctx);
            } else {
                kept.push_back(request);
            }
        }
        self.waiting = kept;
        self.find_deadline();
    }

    /// Ends what has expired and sends heartbeats. `held`: no message can go now, though there may be some, which ends
    /// requests that do not wait (JC-123). `seen`: what heartbeats tell. Whether the consumer was in use, and whether a
    /// heartbeat was sent.
    fn tick(&mut self, seen: Position, held: bool, ctx: &mut Context<'_>) -> (bool, bool) {
        let (mut used, mut is_heard) = (false, false);
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for mut request in std::mem::take(&mut self.waiting) {
            if request.expires_ns <= ctx.now_ns {
                used = true;
                end(&request.reply, "408 Request Timeout", Some(&request), ctx);
                continue;
            }
            if held && request.ends_without_messages() {
                end(&request.reply, "404 No Messages", None, ctx);
                continue;
            }
            if request.heartbeat_ns > 0 && request.last_sent_ns + request.heartbeat_ns <= ctx.now_ns {
                request.last_sent_ns = ctx.now_ns;
                if !ctx.interest.has(&request.reply, b"") {
                    continue;
                }
                let headers = idle_heartbeat(seen);
                let headers = Content::Copied(&headers);
                ctx.out.push(Post { subject: &request.reply, headers, ..Post::default() });
                is_heard = true;
            }
            kept.push_back(request);
        }
        used |= !kept.is_empty();
        self.waiting = kept;
        self.find_deadline();
        (used, is_heard)
    }
}

/// A status without counts, or with what the request still wanted.
fn end(reply: &[u8], line: &str, counts: Option<&Request>, ctx: &mut Context<'_>) {
    let mut block = format!("NATS/1.0 {line}\r\n");
    if let Some(request) = counts {
        let bytes = request.remaining_bytes.unwrap_or(0);
        let messages = request.asked_for();
        block += &format!("Nats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {bytes}\r\n");
    }
    block += "\r\n";
    ctx.out.push(Post { subject: reply, headers: Content::Copied(block.as_bytes()), ..Post::default() });
}

impl Consumer {
    /// A request for messages; its answers go to `reply`.
    pub fn pull(&mut self, header_block: &[u8], body: &[u8], reply: &[u8], ctx: &mut Context<'_>) {
        if reply.is_empty() {
            return;
        }
        self.active_ns = ctx.now_ns;
        if let Err(line) = self.enqueue(header_block, body, reply, ctx)
            && !line.is_empty()
        {
            end(reply, &line, None, ctx);
        }
    }

    fn enqueue(
        &mut self,
        header_block: &[u8],
        body: &[u8],
        reply: &[u8],
        ctx: &mut Context<'_>,
    ) -> Result<(), String> {
        if self.config.is_push() {
            return Err("409 Consumer is push based".to_owned());
        }
        if let Some(level) = headers::value(header_block, "Nats-Required-Api-Level") {
            let level = std::str::from_utf8(level).ok().and_then(|text| text.trim().parse::<u64>().ok());
            if level.is_none_or(|level| level > API_LEVEL) {
                return Err("412 Required Api Level".to_owned());
            }
        }
        let (body, is_json) = parse(body)?;
        if body.idle_heartbeat > 0 && body.idle_heartbeat > body.expires / 2 {
            return Err("400 Bad Request - heartbeat value too large".to_owned());
        }
        self.check_limits(&body)?;
        self.check_group(&body, is_json, ctx.now_ns)?;
        let batch = u64::try_from(body.batch).unwrap_or(1).max(1);
        if body.no_wait {
            self.end_the_gone(ctx);
            self.check_ready(&body, ctx.now_ns)?;
        }
        let max_waiting = self.config.max_waiting;
        if max_waiting > 0 && self.pulls.waiting.len() as i64 >= max_waiting {
            self.end_the_gone(ctx);
            if self.pulls.waiting.len() as i64 >= max_waiting {
                let silent = body.idle_heartbeat > 0;
                return Err(if silent { String::new() } else { "409 Exceeded MaxWaiting".to_owned() });
            }
        }
        let prioritized = self.config.priority_policy == PriorityPolicy::Prioritized;
        let priority = match (prioritized, is_json) {
            (false, _) => 0,
            (true, false) => NO_PRIORITY,
            (true, true) => body.priority,
        };
        self.pulls.next_id += 1;
        let request = Request {
            id: self.pulls.next_id,
            reply: reply.into(),
            remaining: batch,
            delivered: 0,
            remaining_bytes: u64::try_from(body.max_bytes).ok().filter(|bytes| *bytes > 0),
            expires_ns: if body.expires == 0 { i64::MAX } else { ctx.now_ns.saturating_add(body.expires) },
            heartbeat_ns: body.idle_heartbeat.max(0),
            last_sent_ns: ctx.now_ns,
            heard_ns: 0,
            no_wait: body.no_wait,
            body: Box::new(body),
            priority,
        };
        if request.body.expires < 0 {
            end(reply, "408 Request Timeout", Some(&request), ctx);
            return Ok(());
        }
        // In the order of priorities, and of arrival within one.
        let at = self.pulls.waiting.partition_point(|other| other.priority <= priority);
        self.pulls.waiting.insert(at, request);
        self.pulls.find_deadline();
        Ok(())
    }

    /// JC-123: whether a request that does not wait can be served at all.
    fn check_ready(&self, body: &Body, now_ns: i64) -> Result<(), String> {
        let ready = self.num_pending + self.again.len() as u64;
        let wanted: u64 = self.pulls.waiting.iter().map(|request| request.remaining).sum();
        let stands_by = self.pulls.pin.as_ref().is_some_and(|pin| pin.id != body.id);
        let gets_none = ready == 0 || stands_by || self.paused_until(now_ns).is_some();
        if gets_none && body.expires == 0 {
            return Err("404 No Messages".to_owned());
        }
        match ready > 0 && ready < wanted {
            true => Err("408 Requests Pending".to_owned()),
            false => Ok(()),
        }
    }

    fn check_limits(&self, body: &Body) -> Result<(), String> {
        let config = &self.config;
        if config.max_batch > 0 && body.batch > config.max_batch {
            return Err(format!("409 Exceeded MaxRequestBatch of {}", config.max_batch));
        }
        if config.max_expires > 0 && body.expires > config.max_expires {
            let limit = duration::show(config.max_expires);
            return Err(format!("409 Exceeded MaxRequestExpires of {limit}"));
        }
        if config.max_bytes > 0 && body.max_bytes > config.max_bytes {
            return Err(format!("409 Exceeded MaxRequestMaxBytes of {}", config.max_bytes));
        }
        Ok(())
    }

    /// JC-160 to JC-162.
    fn check_group(&mut self, body: &Body, is_json: bool, now_ns: i64) -> Result<(), String> {
        let policy = self.config.priority_policy;
        if policy != PriorityPolicy::Overflow && (body.min_pending != 0 || body.min_ack_pending != 0) {
            return Err("400 Bad Request - Not a Overflow Priority consumer".to_owned());
        }
        if policy != PriorityPolicy::PinnedClient && !body.id.is_empty() {
            return Err("400 Bad Request - Not a Pinned Client Priority consumer".to_owned());
        }
        // Whatever the policy, and whether there is a group.
        if !(0..=9).contains(&body.priority) {
            return Err("400 Bad Request - Priority must be between 0 and 9".to_owned());
        }
        if policy == PriorityPolicy::None || !is_json {
            return Ok(());
        }
        if body.group.is_empty() {
            return Err("400 Bad Request - Priority Group missing".to_owned());
        }
        if !self.config.priority_groups.contains(&body.group) {
            return Err("400 Bad Request - Invalid Priority Group".to_owned());
        }
        if let Some(pin) = self.pulls.pin.as_mut().filter(|pin| pin.id == body.id) {
            pin.used_ns = now_ns;
        }
        // Who waits for nobody to be pinned any more is told when there is a message (JC-140).
        if !body.id.is_empty() && self.pulls.pin.as_ref().is_some_and(|pin| pin.id != body.id) {
            return Err("423 Nats-Pin-Id mismatch".to_owned());
        }
        Ok(())
    }

    /// Requests that have expired, or whose client is gone, stand in nobody's way: a client that asks again when its
    /// request expires finds no "Requests Pending", and who asks how many wait is not told of them.
    pub fn end_the_gone(&mut self, ctx: &mut Context<'_>) {
        if self.pulls.is_empty() {
            return;
        }
        self.tick_pulls(false, ctx);
        self.pulls.end_unheard(ctx);
    }

    /// Whether requests waited.
    pub(super) fn tick_pulls(&mut self, held: bool, ctx: &mut Context<'_>) -> bool {
        if self.pulls.deadline_ns() > ctx.now_ns {
            return !self.pulls.is_empty();
        }
        let seen = self.seen();
        let (used, is_heard) = self.pulls.tick(seen, held, ctx);
        if is_heard {
            self.look_again(ctx);
        }
        used
    }

    /// The request that gets a message, or the push's subject.
    pub(super) fn taker(&mut self, message: &Loaded, due: Due, ctx: &mut Context<'_>) -> Option<Target> {
        if self.push.is_some() {
            return Some(Target::Push);
        }
        loop {
            let had_pin = self.pulls.pin.is_some();
            let at = self.next_request(ctx)?;
            let request = self.pulls.waiting.get_mut(at)?;
            // JC-129: who does not listen any more gets nothing, and no delivery is counted. Once in a round is often
            // enough; who leaves later is found out when the message goes.
            if request.heard_ns != ctx.now_ns {
                if !ctx.interest.has(&request.reply, b"") {
                    self.pulls.waiting.remove(at);
                    self.pulls.find_deadline();
                    continue;
                }
                request.heard_ns = ctx.now_ns;
            }
            let bytes_max = request.remaining_bytes;
            if bytes_max.is_some_and(|bytes| bytes < self.size_of(message, due, ctx)) {
                let request = self.pulls.waiting.remove(at)?;
                end(&request.reply, "409 Message Size Exceeds MaxBytes", Some(&request), ctx);
                self.pulls.find_deadline();
                if !had_pin {
                    // Who was pinned for this message did not get it.
                    self.pulls.pin = None;
                }
                continue;
            }
            let prioritized = self.config.priority_policy == PriorityPolicy::Prioritized;
            return Some(Target::Request(if prioritized { self.requeue(at) } else { at }));
        }
    }

    /// JC-163: behind those of the same priority. Its new place.
    fn requeue(&mut self, at: usize) -> usize {
        let Some(request) = self.pulls.waiting.remove(at) else { return at };
        let to = self.pulls.waiting.partition_point(|other| other.priority <= request.priority);
        self.pulls.waiting.insert(to, request);
        to
    }

    fn next_request(&mut self, ctx: &mut Context<'_>) -> Option<usize> {
        match self.config.priority_policy {
            PriorityPolicy::None | PriorityPolicy::Prioritized => (!self.pulls.is_empty()).then_some(0),
            PriorityPolicy::Overflow => {
                let (pending, unacked) = (self.num_pending as i64, self.pending.len() as i64);
                self.pulls.waiting.iter().position(|request| {
                    let body = &request.body;
                    let (min, min_acks) = (body.min_pending, body.min_ack_pending);
                    (min <= 0 && min_acks <= 0)
                        || (min > 0 && pending >= min)
                        || (min_acks > 0 && unacked >= min_acks)
                })
            }
            PriorityPolicy::PinnedClient => self.pinned_request(ctx),
        }
    }

    /// What a delivery counts for in a request's bytes (JC-124).
    fn size_of(&self, message: &Loaded, due: Due, ctx: &Context<'_>) -> u64 {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let numbers = [
            due.deliveries,
            message.seq,
            self.delivered.consumer_seq + 1,
            message.time_ns.unsigned_abs(),
            self.num_pending.saturating_sub(u64::from(!due.again)),
        ];
        let names = ctx.stream.reply_space.len() + ctx.stream.name.len() + self.config.name.len();
        let reply = "$JS.ACK...".len() + names + 4;
        let reply: usize = reply + numbers.into_iter().map(digits).sum::<usize>();
        (reply + self.shown_size(message)) as u64
    }
}

/// JC-120: a number, JSON, or one message. Whether it was JSON. `null` is as if absent; errors have Go's words.
fn parse(body: &[u8]) -> Result<(Body, bool), String> {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    if text.starts_with('{') {
        if let Ok(body) = serde_json::from_str(text) {
            return Ok((body, true));
        }
        let body = decode_leniently(text.as_bytes(), &CONSUMER_NEXT);
        return body.map(|body| (body, true)).map_err(|why| format!("400 Bad Request - {why}"));
    }
    let batch = text.parse::<i64>().unwrap_or(1);
    Ok((Body { batch, ..Body::default() }, false))
}
