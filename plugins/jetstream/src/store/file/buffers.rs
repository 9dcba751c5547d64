//! Buffers of written content that nobody holds any more, to be filled again: fresh memory for each commit would cost
//! more than what is done with it. All streams share them, and what none of them wants for a while is given back.

use bytes::Bytes;
use parking_lot::Mutex;

/// What is kept, and from which size on: small ones are the allocator's.
const BYTES_MAX: usize = 4 * 1024 * 1024;
const BYTES_MIN: usize = 64 * 1024;
/// What nobody wanted for so long is given back.
pub const UNWANTED_NS: u64 = 500_000_000;
/// So many small commits, and a stream has no use for large buffers.
const PAUSES_MAX: u8 = 32;

/// Those of all streams.
#[derive(Default)]
pub struct Buffers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// Of all of them together.
    capacity_bytes: usize,
    /// So many were not needed since the last look.
    unwanted: usize,
    looked_ns: u64,
}

impl Buffers {
    fn take(&self, bytes_min: usize) -> Option<Vec<u8>> {
        let mut kept = self.0.lock();
        let at = kept.buffers.iter().rposition(|buffer| buffer.capacity() >= bytes_min)?;
        let buffer = kept.buffers.swap_remove(at);
        kept.capacity_bytes -= buffer.capacity();
        kept.unwanted = kept.unwanted.min(kept.buffers.len());
        Some(buffer)
    }

    fn put(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.lock();
        if kept.capacity_bytes + buffer.capacity() <= BYTES_MAX {
            buffer.clear();
            kept.capacity_bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().buffers.is_empty()
    }

    /// Gives back those that nobody wanted since the last look, if that was long ago.
    pub fn look(&self, now_ns: u64) {
        let mut kept = self.0.lock();
        if now_ns.saturating_sub(kept.looked_ns) < UNWANTED_NS {
            return;
        }
        let unwanted = kept.unwanted.min(kept.buffers.len());
        let given_back: usize = kept.buffers.drain(..unwanted).map(|buffer| buffer.capacity()).sum();
        kept.capacity_bytes -= given_back;
        (kept.unwanted, kept.looked_ns) = (kept.buffers.len(), now_ns);
    }
}

/// How much a stream commits at a time.
#[derive(Default)]
pub struct Usual {
    /// The largest of late.
    bytes: usize,
    /// Commits since a large one.
    pauses: u8,
}

impl Usual {
    /// A buffer for what comes next, the last having been so large.
    pub fn next_buffer(&mut self, buffers: &Buffers, last: usize) -> Vec<u8> {
        self.pauses = if last >= BYTES_MIN { 0 } else { self.pauses.saturating_add(1) };
        if self.pauses > PAUSES_MAX {
            self.bytes = 0;
        }
        if self.pauses > 0 {
            return Vec::new();
        }
        self.bytes = last.max(self.bytes - self.bytes / 16);
        // With room for as much as often comes: growing would copy what is there.
        let fresh = || Vec::with_capacity(self.bytes.next_multiple_of(BYTES_MIN));
        buffers.take(self.bytes_min()).unwrap_or_else(fresh)
    }

    /// The buffer of written content, if nobody else holds it and it is worth keeping.
    pub fn give(&self, buffers: &Buffers, content: Bytes) {
        if let Some(buffer) = recycled(content)
            && self.bytes > 0
            && buffer.capacity() >= self.bytes_min()
        {
            buffers.put(buffer);
        }
    }

    /// Smaller ones would have to grow.
    fn bytes_min(&self) -> usize {
        BYTES_MIN.max(self.bytes / 2)
    }
}

/// The buffer of content that nobody else holds, with the content.
pub fn recycled(content: Bytes) -> Option<Vec<u8>> {
    content.try_into_mut().ok().map(Vec::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_with_room_for_what_is_usual() {
        let (buffers, mut usual) = (Buffers::default(), Usual::default());
        assert!(usual.next_buffer(&buffers, 8 * BYTES_MIN).capacity() >= 8 * BYTES_MIN);
        // A smaller one in between changes little.
        assert!(usual.next_buffer(&buffers, 2 * BYTES_MIN).capacity() >= 7 * BYTES_MIN);
        usual.give(&buffers, Bytes::from(vec![1; 2 * BYTES_MIN]));
        assert!(buffers.is_empty(), "one that would have to grow is not kept");
        let content = Bytes::from(vec![1; 8 * BYTES_MIN]);
        let at = content.as_ptr();
        usual.give(&buffers, content.clone());
        assert!(buffers.is_empty(), "somebody holds it");
        usual.give(&buffers, content);
        let buffer = usual.next_buffer(&buffers, 8 * BYTES_MIN);
        assert!(buffer.is_empty() && buffer.as_ptr() == at);
        (0..100).for_each(|_| drop(usual.next_buffer(&buffers, BYTES_MIN)));
        let small = usual.next_buffer(&buffers, BYTES_MIN);
        assert!(small.capacity() < 3 * BYTES_MIN, "large ones are forgotten");
        (0..=PAUSES_MAX).for_each(|_| drop(usual.next_buffer(&buffers, 100)));
        usual.give(&buffers, Bytes::from(vec![1; BYTES_MIN]));
        assert!(buffers.is_empty(), "who commits little needs none");
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back_when_nobody_wants_it() {
        let buffers = Buffers::default();
        let kept = || {
            let kept = buffers.0.lock();
            (kept.buffers.len(), kept.capacity_bytes)
        };
        (0..2 * BYTES_MAX / BYTES_MIN).for_each(|_| buffers.put(vec![1; BYTES_MIN]));
        let count = BYTES_MAX / BYTES_MIN;
        assert_eq!(kept(), (count, BYTES_MAX));
        buffers.look(UNWANTED_NS);
        assert_eq!(kept(), (count, BYTES_MAX), "they are new");
        let taken: Vec<_> = (0..10).filter_map(|_| buffers.take(BYTES_MIN)).collect();
        taken.into_iter().for_each(|buffer| buffers.put(buffer));
        buffers.look(2 * UNWANTED_NS - 1);
        assert_eq!(kept().0, count, "it is too early");
        buffers.look(2 * UNWANTED_NS);
        assert_eq!(kept(), (10, 10 * BYTES_MIN), "ten were wanted");
        buffers.look(3 * UNWANTED_NS);
        assert_eq!(kept(), (0, 0));
        assert!(buffers.take(1).is_none());
    }
}
