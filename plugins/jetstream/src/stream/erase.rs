//! Deletes and purges that clients ask for (JS-220 to JS-222).

use super::{Call, Stream};
use crate::filter::Filter;
use crate::store::{Purge, StoreError};
use crate::wire::{ApiError, Storage, error};

/// Further a purge moves no stream: there must be room after it.
const SEQ_MAX: u64 = u64::MAX / 2;

impl Stream {
    /// `STREAM.PURGE`: how many messages went. `filter` empty: all subjects.
    pub fn purge(&mut self, filter: &str, seq: u64, keep: u64, call: &mut Call<'_>) -> Result<u64, ApiError> {
        if self.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        if self.config.deny_purge {
            return Err(error::STREAM_PURGE_FAILED.with("stream purge not permitted"));
        }
        if seq > 0 && keep > 0 {
            return Err(error::BAD_REQUEST);
        }
        let filter = match filter {
            "" => Filter::all(),
            filter => Filter::new([filter]),
        };
        let purge = Purge { filter, before_seq: seq, keep };
        let failed = |why| error::STREAM_PURGE_FAILED.with(why);
        let (messages, _) = self.store.purge(&purge).map_err(failed)?;
        self.changed = true;
        // The stream goes on at a sequence that it had not reached.
        let later_seqs = self.store.state().last_seq + 2..=SEQ_MAX;
        if purge.filter.is_all() && keep == 0 && later_seqs.contains(&seq) {
            self.store.compact(seq).map_err(failed)?;
        }
        self.pass(&purge.filter, call).map_err(failed)?;
        Ok(messages)
    }

    /// Consumers go on after what a client purged, or rolled up.
    pub(super) fn pass(&mut self, purged: &Filter, call: &mut Call<'_>) -> Result<(), StoreError> {
        let mut ctx = call.context(&mut *self.store, &self.facts);
        self.consumers.pass(purged, &mut ctx)
    }

    /// `STREAM.MSG.DELETE`. With `erase` the content is destroyed.
    pub fn delete_message(&mut self, seq: u64, erase: bool, call: &mut Call<'_>) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(error::STREAM_SEALED);
        }
        if self.config.deny_delete {
            return Err(error::STREAM_MSG_DELETE_FAILED.with("message delete not permitted"));
        }
        let removed =
            self.remove(seq, erase, call).map_err(|why| error::STREAM_MSG_DELETE_FAILED.with(why))?;
        if removed.is_some() {
            return Ok(());
        }
        let state = self.store.state();
        match self.config.storage {
            // nats-server's file store tells where the sequence lies.
            Storage::File if seq > state.last_seq => {
                Err(error::STREAM_MSG_DELETE_FAILED.with("stream store EOF"))
            }
            Storage::File if seq < state.first_seq.max(1) => {
                Err(error::STREAM_MSG_DELETE_FAILED.with("no message found"))
            }
            _ => Err(error::SEQUENCE_NOT_FOUND.with(seq)),
        }
    }
}
