//! Push delivery: to whoever listens on the deliver subject, with heartbeats, flow control and rate limit
//! (JC-115, JC-150 to JC-154).

use super::{Consumer, Position};
use crate::context::{Context, unique_id};
use crate::outbox::{Content, Post};
use crate::wire::{AckPolicy, ConsumerConfig};

/// JC-150.
const WINDOW_MIN: u64 = 2 * 1024 * 1024;
const WINDOW_MAX: u64 = 32 * 1024 * 1024;
const SECOND: u64 = 1_000_000_000;

pub(super) struct Push {
    active: bool,
    flow_control: bool,
    heartbeat_ns: i64,
    rate_bps: u64,
    /// Of the last delivery or heartbeat.
    last_sent_ns: i64,
    /// Bytes sent and not answered for by flow control.
    outstanding: u64,
    window: u64,
    /// The reply subject of the flow control request under way, and how much it answers for.
    asked: Option<(Vec<u8>, u64)>,
    /// Rate limit: nothing before this time.
    next_ns: i64,
    /// The timers were looked at last; what waits for anything else than time since then needs none.
    ticked_ns: i64,
}

impl Push {
    pub fn new(config: &ConsumerConfig) -> Self {
        let mut push = Self {
            active: false,
            flow_control: false,
            heartbeat_ns: 0,
            rate_bps: 0,
            last_sent_ns: 0,
            outstanding: 0,
            window: WINDOW_MIN,
            asked: None,
            next_ns: 0,
            ticked_ns: 0,
        };
        push.configure(config);
        push
    }

    pub fn configure(&mut self, config: &ConsumerConfig) {
        self.flow_control = config.flow_control;
        self.heartbeat_ns = config.idle_heartbeat;
        self.rate_bps = config.rate_limit_bps;
    }

    pub fn is_active(&self) -> bool {
        self.active
    }

    pub fn set_active(&mut self, active: bool) {
        self.active = active;
        if !active {
            self.outstanding = 0;
            self.asked = None;
            self.window = WINDOW_MIN;
        }
    }

    /// What the rate limit allows at once is the largest message (JC-030).
    pub fn sent(&mut self, size: usize, now_ns: i64, burst_bytes: u64) {
        self.last_sent_ns = now_ns;
        self.outstanding += size as u64;
        if self.rate_bps > 0 {
            let takes_ns = |bytes: u64| {
                let ns = u128::from(bytes) * 8 * u128::from(SECOND) / u128::from(self.rate_bps);
                i64::try_from(ns).unwrap_or(i64::MAX)
            };
            let free_ns = self.next_ns.max(now_ns.saturating_sub(takes_ns(burst_bytes)));
            self.next_ns = free_ns.saturating_add(takes_ns(size as u64));
        }
    }

    fn may_send(&self, now_ns: i64) -> bool {
        self.active && self.next_ns <= now_ns && (!self.flow_control || self.outstanding <= self.window)
    }

    pub fn deadline_ns(&self) -> i64 {
        if !self.active {
            return i64::MAX;
        }
        let heartbeat = if self.heartbeat_ns > 0 { self.last_sent_ns + self.heartbeat_ns } else { i64::MAX };
        let is_ahead = self.rate_bps > 0 && self.next_ns > self.last_sent_ns.max(self.ticked_ns);
        if is_ahead { heartbeat.min(self.next_ns) } else { heartbeat }
    }
}

impl Consumer {
    /// Whether anyone would take a message now.
    pub(super) fn has_taker(&self, ctx: &Context<'_>) -> bool {
        match &self.push {
            Some(push) => push.may_send(ctx.now_ns),
            None => !self.pulls.is_empty(),
        }
    }

    /// The interest in the deliver subject, or in the replies of waiting requests, may have changed.
    pub fn interest_changed(&mut self, ctx: &mut Context<'_>) {
        let (subject, group) = (&self.config.deliver_subject, &self.config.deliver_group);
        let Some(push) = &mut self.push else { return };
        let active = ctx.interest.has_exact(subject.as_bytes(), group.as_bytes());
        if active != push.is_active() {
            push.set_active(active);
            push.last_sent_ns = ctx.now_ns;
            self.active_ns = ctx.now_ns;
            if let Some(replay) = self.replay.as_mut().filter(|_| active) {
                replay.begin();
            }
        }
    }

    /// After a turn of deliveries: asks for flow control when enough is under way.
    pub(super) fn end_of_messages(&mut self, ctx: &mut Context<'_>) {
        self.ask_for_flow(false, ctx);
        // While only acknowledgements are missing, those who do not wait may get more (JC-123).
        if self.push.is_none() && !self.is_at_max_ack_pending() {
            self.pulls.nothing_left(self.num_pending, ctx);
        }
    }

    fn ask_for_flow(&mut self, at_end: bool, ctx: &mut Context<'_>) {
        let by_acks = self.config.ack_policy == AckPolicy::FlowControl;
        let full = by_acks && self.pending.len() as i64 >= self.config.max_ack_pending;
        let Some(push) = &mut self.push else { return };
        let due = push.outstanding > push.window / 2 || full || at_end && by_acks && !self.pending.is_empty();
        if !push.flow_control || push.asked.is_some() || !due || !push.active {
            return;
        }
        let id = unique_id(ctx.random);
        let stream = ctx.stream;
        let reply = format!("$JS.FC.{}{}.{}.{}", stream.reply_space, stream.name, self.config.name, &id[..4]);
        let reply = reply.into_bytes();
        ctx.out.push(Post {
            subject: self.config.deliver_subject.as_bytes(),
            reply: &reply,
            headers: Content::Copied(b"NATS/1.0 100 FlowControl Request\r\n\r\n"),
            ..Post::default()
        });
        push.asked = Some((reply, push.outstanding));
    }

    /// The client has taken what was sent before the request (JC-151). With ack policy flow control it
    /// acknowledges (JC-154).
    pub fn flow(&mut self, headers: &[u8], subject: &[u8], ctx: &mut Context<'_>, acked: &mut Vec<u64>) {
        let Some(push) = &mut self.push else { return };
        if push.asked.as_ref().is_none_or(|(reply, _)| reply != subject) {
            return;
        }
        if let Some((_, answered)) = push.asked.take() {
            push.outstanding = push.outstanding.saturating_sub(answered);
            push.window = (push.window * 2).min(WINDOW_MAX);
        }
        self.active_ns = ctx.now_ns;
        if self.config.ack_policy == AckPolicy::FlowControl {
            let last = crate::stream::headers::value(headers, "Nats-Last-Stream");
            let last = last.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<u64>().ok());
            // It may say what a heartbeat told it.
            let seen = self.seen().stream_seq;
            if let Some(seq) = last.filter(|seq| *seq <= seen) {
                self.acknowledge_up_to(seq.min(self.delivered.stream_seq), None, acked);
            }
        }
    }

    pub(super) fn push_tick(&mut self, ctx: &mut Context<'_>) {
        if let Some(push) = &mut self.push {
            push.ticked_ns = ctx.now_ns;
        }
        let due = self.push.as_ref().is_some_and(|push| {
            push.active && push.heartbeat_ns > 0 && push.last_sent_ns + push.heartbeat_ns <= ctx.now_ns
        });
        if !due {
            return;
        }
        self.ask_for_flow(true, ctx);
        let mut headers = idle_heartbeat(self.seen());
        let Some(push) = &mut self.push else { return };
        push.last_sent_ns = ctx.now_ns;
        if let Some((reply, _)) = &push.asked {
            headers.truncate(headers.len() - 2);
            headers.extend_from_slice(b"Nats-Consumer-Stalled: ");
            headers.extend_from_slice(reply);
            headers.extend_from_slice(b"\r\n\r\n");
        }
        ctx.out.push(Post {
            subject: self.config.deliver_subject.as_bytes(),
            headers: Content::Copied(&headers),
            ..Post::default()
        });
        self.look_again(ctx);
    }
}

/// JC-130.
pub(super) fn idle_heartbeat(seen: Position) -> Vec<u8> {
    let Position { consumer_seq, stream_seq } = seen;
    format!(
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {consumer_seq}\r\nNats-Last-Stream: {stream_seq}\r\n\r\n"
    )
    .into_bytes()
}
