//! What every call into a stream brings along: the time, a way out, who listens, random numbers.

use crate::context::{Context, Interest, StreamFacts};
use crate::outbox::Outbox;
use crate::store::StreamStore;

/// The world outside of a stream, for one call.
pub struct Call<'a> {
    /// Nanoseconds since 1970.
    pub now_ns: i64,
    pub out: &'a mut Outbox,
    pub interest: &'a dyn Interest,
    pub random: &'a mut dyn FnMut() -> u64,
}

impl Call<'_> {
    /// The same for a consumer of the stream.
    pub fn context<'b>(&'b mut self, store: &'b mut dyn StreamStore, facts: &'b StreamFacts) -> Context<'b> {
        Context {
            now_ns: self.now_ns,
            store,
            out: self.out,
            interest: self.interest,
            random: self.random,
            stream: facts,
        }
    }
}
