//! What a stream reads from its store when it starts again: what it keeps only in memory otherwise.

use super::headers::{BATCH_SEQUENCE, MSG_ID, number, value};
use super::{Call, Stream};
use crate::store::{Flags, StoreError};

impl Stream {
    pub(super) fn reread(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        self.drop_torn_batch()?;
        self.last_time_ns = self.store.state().last_time_ns;
        self.expire_at_start(call)?;
        if self.config.allow_msg_schedules {
            self.reread_schedules()?;
        }
        self.reread_ids(call.now_ns)
    }

    /// A crash may have come between the messages of an atomic batch, of which nothing was acknowledged then.
    fn drop_torn_batch(&mut self) -> Result<(), StoreError> {
        let last_seq = self.store.state().last_seq;
        let Some(last) = self.store.load(last_seq)? else { return Ok(()) };
        if !last.flags.intersects(Flags::UNFINISHED) {
            return Ok(());
        }
        let messages = value(&last.headers, BATCH_SEQUENCE).and_then(number).unwrap_or(0);
        self.store.truncate(last_seq.saturating_sub(messages))
    }

    /// The ids within the window (JS-162), and that of the last message (JS-158).
    fn reread_ids(&mut self, now_ns: i64) -> Result<(), StoreError> {
        let state = self.store.state();
        if let Some(last) = self.store.load(state.last_seq)? {
            self.last_msg_id = value(&last.headers, MSG_ID).unwrap_or_default().to_vec();
        }
        if self.dedup.window_ns() == 0 || state.messages == 0 {
            return Ok(());
        }
        let mut from = self.store.seq_from_time(now_ns.saturating_sub(self.dedup.window_ns()))?;
        while let Some(message) = self.store.next_with_headers(from)? {
            from = message.seq + 1;
            if let Some(id) = value(&message.headers, MSG_ID)
                && !id.is_empty()
            {
                self.dedup.insert(id, message.seq, message.time_ns);
            }
        }
        Ok(())
    }
}
