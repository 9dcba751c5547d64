//! Subscriptions of a plugin: callbacks for the messages of an account.

use crate::abi::import;
use crate::abi::message::{FfiSink, MessageRef};
use crate::error::Result;
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// While a plugin subscribes to this in the system account, the host tells there what became of each message with a
/// sampled `traceparent`, as it does for `msg_trace` of an account. Nobody is asked whether he may publish there.
pub const TRACES: &str = "$SYS._TRACES";

/// What to subscribe to, and how the callback is called.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeOptions {
    /// Empty: the global account.
    pub account: String,
    /// May have wildcards.
    pub subject: String,
    /// Empty: no queue group.
    pub queue: String,
    pub delivery: Delivery,
    /// It tells what became of traced messages ([`crate::Host::trace_of`]), and so gets those that are only traced, too:
    /// they must not be kept or acted on. Since 1.6.
    pub traces: bool,
}

/// Where a callback runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// On the publisher's thread, with the messages of the chunk it sent: all in one call, or in several that keep the
    /// order of publishing among subscriptions. The cheapest; the callback must not block, wait or publish: it counts,
    /// or hands on.
    #[default]
    Inline,
    /// From a task of the plugin, one call at a time. It may publish, but must not block the thread. When more
    /// than this is waiting, further messages are dropped and counted.
    Queued { messages_max: usize, bytes_max: usize },
}

impl Delivery {
    /// The limits of a queue when there is no reason for others: what a client may have pending.
    pub fn queued() -> Self {
        Self::Queued { messages_max: 65_536, bytes_max: 64 * 1024 * 1024 }
    }
}

impl SubscribeOptions {
    /// Inline, in the global account.
    pub fn to(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }
}

/// Ends the subscription when dropped.
pub struct Subscription {
    host: Host,
    id: u64,
}

impl Subscription {
    pub(crate) fn new(
        host: &Host,
        options: &SubscribeOptions,
        callback: impl Fn(&[MessageRef<'_>]) + Send + Sync + 'static,
    ) -> Result<Self> {
        let options = serde_json::to_string(options)?;
        let id = import::subscribe(&host.tables, &options, FfiSink::new(callback))?;
        Ok(Self { host: host.clone(), id })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        import::unsubscribe(&self.host.tables, self.id);
    }
}

/// Tells when the interest in a subject may have changed. Ends when dropped.
pub struct InterestWatch {
    host: Host,
    id: u64,
}

impl InterestWatch {
    pub(crate) fn new(
        host: &Host,
        account: &str,
        subject: &[u8],
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self> {
        let id = import::interest_watch(&host.tables, account, subject, FfiSink::new(move |_| changed()))?;
        Ok(Self { host: host.clone(), id })
    }
}

impl Drop for InterestWatch {
    fn drop(&mut self) {
        import::interest_unwatch(&self.host.tables, self.id);
    }
}
