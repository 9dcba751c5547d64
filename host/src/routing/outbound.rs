//! What goes out to one receiver: written at once while the socket takes it, queued when it does not.
//!
//! Under the receiver's lock. No buffer exists while nothing waits.

use super::layer::{Layer, LayerError, Progress};
use super::places::{Behind, Places, Queue};
use crate::auth::ResponseTracker;
use crate::proto::error::ClosedReason;
use crate::runtime::Wire;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::task::Waker;

/// Queued bytes are gathered in chunks of at most this size.
const CHUNK_BYTES: usize = 64 << 10;
/// A new chunk starts with this capacity.
const CHUNK_BYTES_MIN: usize = 4 << 10;
/// Pieces handed to one write: a whole read of large messages, each a head and a payload.
const SLICES: usize = 256;
/// Chunks handed to one write.
const WRITE_CHUNKS: usize = 32;
/// A producer waits while a receiver has more pending than this (or 3/4 of its max_pending).
pub const STALL_BYTES: usize = 1 << 20;

#[derive(Default)]
pub struct Outbound {
    wire: Option<Wire>,
    layer: Option<Box<dyn Layer>>,
    queue: Queue,
    /// Behind the queue.
    places: Places,
    /// Bytes of the first chunk that are gone already.
    offset: usize,
    pending_bytes: usize,
    pub max_pending_bytes: usize,
    /// Bytes the socket ever took: tells a slow reader from a dead one.
    pub sent_bytes: u64,
    /// Messages delivered, by subscription.
    counts: Vec<u32>,
    /// UNSUB max, by subscription.
    // Boxed: nearly no connection has any, and an idle one is to be small.
    #[allow(clippy::box_collection)]
    limits: Option<Box<HashMap<u32, u32>>>,
    /// Texts of long subscription ids.
    pub long_sids: Vec<Box<[u8]>>,
    /// The client takes headers.
    pub headers: bool,
    /// With no_fast_producer_stall: what comes while it is stalled is dropped (CORE-213).
    pub drop_when_stalled: bool,
    /// Replies it may publish to (PERM-005).
    pub responses: Option<Box<ResponseTracker>>,
    pub msgs: u64,
    pub bytes: u64,
    pub stalls: u64,
    waker: Option<Waker>,
    waiting: Vec<Waker>,
    closed: Option<ClosedReason>,
    /// Took nothing while a producer waited for it: nobody waits again until it does.
    pub hopeless: bool,
}

/// The socket takes no more for now; any other error ends the connection.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Outbound {
    pub fn new(wire: Wire, max_pending_bytes: usize) -> Self {
        Outbound { wire: Some(wire), max_pending_bytes, ..Outbound::default() }
    }

    /// For the log: empty once the socket is gone.
    pub fn local_address(&self) -> String {
        let address = self.wire.as_ref().and_then(|wire| wire.local_addr().ok());
        address.map(|address| address.to_string()).unwrap_or_default()
    }

    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What is sent now goes out at once.
    pub fn is_free(&self) -> bool {
        self.queue.is_empty() && self.places.is_empty()
    }

    /// Others are to send something first.
    pub fn is_reserved(&self) -> bool {
        !self.places.is_empty()
    }

    /// Takes a place for what `owner` will send soon; false if nothing may be sent any more.
    pub fn reserve(&mut self, owner: u64) -> bool {
        if self.closed.is_none() {
            self.places.take(owner);
        }
        self.closed.is_none()
    }

    /// Others are to send something before `owner`.
    pub fn is_preceded(&self, owner: u64) -> bool {
        self.places.is_preceded(owner)
    }

    /// What is sent from now on, until `resume`, comes to the place that `owner` took.
    pub fn fill(&mut self, owner: u64) -> Behind {
        self.places.fill(owner)
    }

    pub fn resume(&mut self, mut behind: Behind) {
        if self.places.is_empty() && !behind.queue.is_empty() {
            self.queue.append(&mut behind.queue);
            self.flush();
        }
        self.places.follow(behind);
    }

    /// The connection ends: places that are still to be filled are given up.
    pub fn end_places(&mut self) {
        let mut left = self.places.end();
        self.queue.append(&mut left);
    }

    pub fn closed(&self) -> Option<ClosedReason> {
        self.closed
    }

    pub fn layer(&mut self) -> Option<&mut Box<dyn Layer>> {
        self.layer.as_mut()
    }

    pub fn set_layer(&mut self, layer: Box<dyn Layer>) {
        self.layer = Some(layer);
    }

    pub fn take_layer(&mut self) -> Option<Box<dyn Layer>> {
        self.layer.take()
    }

    pub fn has_layer(&self) -> bool {
        self.layer.is_some()
    }

    pub fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }

    pub fn wake(&self) {
        if let Some(w) = &self.waker {
            w.wake_by_ref();
        }
    }

    /// Whether the receiver's own task has to go on writing, or has a close to notice.
    pub fn needs_writer(&self) -> bool {
        !self.queue.is_empty() || self.closed.is_some()
    }

    /// Pending bytes from which producers wait.
    pub fn stall_bytes(&self) -> usize {
        STALL_BYTES.min(self.max_pending_bytes / 4 * 3)
    }

    pub fn is_stalled(&self) -> bool {
        self.pending_bytes > self.stall_bytes()
    }

    /// Decodes bytes that came from the wire, and sends what the layer answers.
    pub fn decode(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<Progress, LayerError> {
        let Some(layer) = &mut self.layer else { return Ok(Progress::Open) };
        let mut answer = Vec::new();
        let result = layer.on_read(input, plain, &mut answer);
        if !answer.is_empty() {
            self.send_raw(&answer);
        }
        result
    }

    /// The peer will not do; the connection is about to be closed.
    pub fn refuse(&mut self) {
        if let Some(layer) = self.layer.take() {
            let mut wire = Vec::new();
            layer.refuse(&mut wire);
            self.send_raw(&wire);
        }
    }

    /// Sends plain bytes, through the layer if there is one.
    pub fn send(&mut self, plain: &[u8]) {
        if self.closed.is_some() {
            return;
        }
        match &mut self.layer {
            None => self.send_raw(plain),
            Some(layer) => {
                let mut wire = Vec::with_capacity(plain.len() + plain.len() / 64 + 64);
                match layer.on_write(plain, &mut wire) {
                    Ok(()) if wire.len() >= CHUNK_BYTES_MIN && !self.is_free() => self.enqueue_whole(wire),
                    Ok(()) => self.send_raw(&wire),
                    Err(e) => self.fail(e.kind.reason()),
                }
            }
        }
    }

    /// Writes bytes of the wire now, or queues what the socket does not take.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let mut sent = 0;
        if self.is_free()
            && let Some(wire) = &self.wire
        {
            while sent < bytes.len() {
                match wire.try_write(&bytes[sent..]) {
                    Ok(n) => sent += n,
                    Err(e) if is_full(&e) => break,
                    Err(_) => return self.fail(ClosedReason::WriteError),
                }
            }
        }
        self.sent_bytes += sent as u64;
        if sent < bytes.len() {
            self.enqueue(&bytes[sent..]);
        }
    }

    /// Writes several pieces at once, queueing what the socket does not take. It must be free, and no layer present.
    pub fn send_slices<'a>(&mut self, count: usize, piece: impl Fn(usize) -> &'a [u8]) {
        let (mut k, mut offset) = (0, 0);
        if let Some(wire) = &self.wire {
            while k < count {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let n = (count - k).min(SLICES);
                for (i, s) in slices[..n].iter_mut().enumerate() {
                    *s = IoSlice::new(&piece(k + i)[if i == 0 { offset } else { 0 }..]);
                }
                let mut sent = match wire.try_write_vectored(&slices[..n]) {
                    Ok(sent) => sent,
                    Err(e) if is_full(&e) => break,
                    Err(_) => return self.fail(ClosedReason::WriteError),
                };
                self.sent_bytes += sent as u64;
                while k < count && sent >= piece(k).len() - offset {
                    sent -= piece(k).len() - offset;
                    (k, offset) = (k + 1, 0);
                }
                offset += sent;
            }
        }
        for i in k..count {
            self.enqueue(&piece(i)[if i == k { offset } else { 0 }..]);
        }
    }

    /// Appends to the queue.
    pub fn enqueue(&mut self, bytes: &[u8]) {
        self.pending_bytes += bytes.len();
        let queue = self.places.last().unwrap_or(&mut self.queue);
        if let Some(last) = queue.back_mut()
            && last.len() + bytes.len() <= last.capacity().max(CHUNK_BYTES)
        {
            last.extend_from_slice(bytes);
            return;
        }
        let mut chunk = Vec::with_capacity(bytes.len().max(CHUNK_BYTES_MIN));
        chunk.extend_from_slice(bytes);
        queue.push_back(chunk);
    }

    fn enqueue_whole(&mut self, bytes: Vec<u8>) {
        self.pending_bytes += bytes.len();
        self.places.last().unwrap_or(&mut self.queue).push_back(bytes);
    }

    /// Writes what the socket takes; true if nothing is left.
    pub fn flush(&mut self) -> bool {
        while !self.queue.is_empty() {
            let Some(wire) = &self.wire else { return false };
            let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS];
            let n = self.queue.len().min(WRITE_CHUNKS);
            for (i, (slice, chunk)) in slices.iter_mut().zip(&self.queue).enumerate() {
                *slice = IoSlice::new(&chunk[if i == 0 { self.offset } else { 0 }..]);
            }
            match wire.try_write_vectored(&slices[..n]) {
                Ok(sent) => self.forget_sent(sent),
                Err(e) if is_full(&e) => break,
                Err(_) => {
                    self.fail(ClosedReason::WriteError);
                    break;
                }
            }
        }
        if self.queue.is_empty() {
            self.queue = Queue::new();
        }
        if self.pending_bytes < self.stall_bytes() / 2 {
            self.release_waiting();
        }
        self.queue.is_empty()
    }

    fn forget_sent(&mut self, mut sent: usize) {
        self.pending_bytes -= sent;
        self.sent_bytes += sent as u64;
        self.hopeless &= sent == 0;
        while sent > 0 {
            let left = self.queue[0].len() - self.offset;
            if sent < left {
                self.offset += sent;
                return;
            }
            sent -= left;
            self.offset = 0;
            self.queue.pop_front();
        }
    }

    /// Registers a producer that waits for room; false if there is room, or none to wait for.
    pub fn wait_for_room(&mut self, waker: &Waker) -> bool {
        if self.closed.is_some() || self.pending_bytes < self.stall_bytes() / 2 {
            return false;
        }
        if !self.waiting.iter().any(|w| w.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
        true
    }

    fn release_waiting(&mut self) {
        for w in std::mem::take(&mut self.waiting) {
            w.wake();
        }
    }

    /// Asks for the end of the connection: its task flushes what it can and closes.
    pub fn close(&mut self, reason: ClosedReason) {
        self.closed.get_or_insert(reason);
        self.release_waiting();
        self.wake();
    }

    /// Ends the connection at once, without what is queued.
    pub fn fail(&mut self, reason: ClosedReason) {
        self.closed.get_or_insert(reason);
        self.drop_queue();
        if let Some(wire) = self.wire.take() {
            wire.shutdown();
        }
        self.release_waiting();
        self.wake();
    }

    /// The connection is over: the layer's last words, then the socket goes.
    pub fn finish(&mut self, reason: ClosedReason) {
        self.closed.get_or_insert(reason);
        if let Some(mut layer) = self.layer.take() {
            let mut wire = Vec::new();
            layer.on_close(reason, &mut wire);
            if self.queue.is_empty()
                && let Some(w) = &self.wire
            {
                let _ = w.try_write(&wire);
            }
        }
        self.drop_queue();
        self.wire = None;
        self.waker = None;
        self.release_waiting();
    }

    fn drop_queue(&mut self) {
        self.places.end();
        self.queue = Queue::new();
        self.offset = 0;
        self.pending_bytes = 0;
    }

    /// How many of `count` messages subscription `index` still gets, and whether it is spent then
    /// (CORE-170, CORE-171).
    #[inline]
    pub fn count(&mut self, index: u32, count: u32) -> (u32, bool) {
        let index = index as usize;
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        let had = self.counts[index];
        let mut take = count;
        let mut spent = false;
        if let Some(limits) = &self.limits
            && let Some(&max) = limits.get(&(index as u32))
        {
            take = count.min(max.saturating_sub(had));
            spent = had + take >= max;
        }
        self.counts[index] = had.wrapping_add(take);
        (take, spent)
    }

    #[inline]
    pub fn has_limits(&self) -> bool {
        self.limits.is_some()
    }

    pub fn delivered(&self, index: u32) -> u32 {
        self.counts.get(index as usize).copied().unwrap_or(0)
    }

    /// Starts the count of a subscription's number anew.
    pub fn reset_count(&mut self, index: u32) {
        if let Some(c) = self.counts.get_mut(index as usize) {
            *c = 0;
        }
        self.set_limit(index, None);
    }

    /// All subscriptions are gone.
    pub fn reset_counts(&mut self) {
        self.counts = Vec::new();
        self.limits = None;
    }

    pub fn set_limit(&mut self, index: u32, max: Option<u32>) {
        match max {
            Some(max) => {
                self.limits.get_or_insert_default().insert(index, max);
            }
            None => {
                if let Some(limits) = &mut self.limits {
                    limits.remove(&index);
                    if limits.is_empty() {
                        self.limits = None;
                    }
                }
            }
        }
    }

    pub fn limit(&self, index: u32) -> Option<u32> {
        self.limits.as_ref().and_then(|l| l.get(&index).copied())
    }
}
