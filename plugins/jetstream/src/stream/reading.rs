//! What a stream reads from its store when it starts again: what it keeps only in memory otherwise.

use super::headers::{MSG_ID, value};
use super::{Call, Stream};
use crate::filter::Filter;
use crate::store::StoreError;

impl Stream {
    pub(super) fn reread(&mut self, call: &mut Call<'_>) -> Result<(), StoreError> {
        self.last_time_ns = self.store.state().last_time_ns;
        self.rebuild_deadlines()?;
        self.reread_ids(call.now_ns)
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
        while let Some(message) = self.store.next(&Filter::all(), from)? {
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
