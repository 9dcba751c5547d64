//! Message tracing (section 21 of core-protocol.md).

use super::process::Pass;
use super::session::Session;
use crate::account::Account;
use crate::routing::chunk::{Chunk, Item};

impl Session {
    /// A message with headers may be traced by sampling (CORE-293).
    #[inline]
    pub(super) fn may_sample(&self, _account: &Account, _headers: &[u8]) -> bool {
        false
    }

    pub(super) fn publish_traced(
        &mut self,
        _chunk: &mut Chunk,
        _pass: &mut Pass,
        _item: Item,
        _headers: &[u8],
    ) {
    }
}
