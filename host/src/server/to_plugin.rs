//! The way of messages to a plugin's subscription: as it sees them, many in one call.

use crate::plugins::points::Subscriber;
use crate::routing::receiver::{Delivery, InlineSubscriber};
use natsd_plugin_api::MessageRef;
use natsd_plugin_api::abi::trace::HostTrace;
use std::sync::Arc;

/// Messages handed to a plugin at once.
const BATCH: usize = 64;

/// Hands deliveries to a plugin.
pub(super) struct ToPlugin(pub(super) Arc<Subscriber>);

impl InlineSubscriber for ToPlugin {
    fn deliver(&self, batch: &[Delivery<'_>]) {
        let empty = MessageRef::new(&[], &[], &[], &[]);
        for part in batch.chunks(BATCH) {
            let mut messages = [empty; BATCH];
            for (message, d) in messages.iter_mut().zip(part) {
                *message = view(d);
            }
            self.0.deliver(&messages[..part.len()]);
        }
    }

    fn takes_traces(&self) -> bool {
        self.0.takes_traces()
    }

    fn deliver_traced(&self, message: &Delivery<'_>, trace: &Arc<dyn HostTrace>) {
        self.0.deliver_traced(view(message), trace);
    }
}

fn view<'a>(d: &Delivery<'a>) -> MessageRef<'a> {
    MessageRef::new(d.subject, d.reply, d.headers, d.payload).with_origin(d.origin)
}
