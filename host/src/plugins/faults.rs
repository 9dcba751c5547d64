//! Counts a plugin's panics, and says so in the log without flooding it.

use natsd_plugin_api::{Error, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};

/// One plugin's panics. A plugin with faults goes on; each point's policy says what a panic costs.
pub struct Faults {
    plugin: String,
    count: AtomicU64,
}

impl Faults {
    pub fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), count: AtomicU64::new(0) }
    }

    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// A panic in `point`; `policy` says what was done about it. Logged when the count is a power of two: a
    /// subscriber may panic for every message.
    pub fn record(&self, point: &str, policy: &str) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::error!("plugin `{}` panicked in its {point}: {policy} (faults: {count})", self.plugin);
        }
    }

    /// Records the error if it came from a panic; gives it back.
    pub fn note(&self, point: &str, policy: &str, error: Error) -> Error {
        if error.kind() == ErrorKind::Panicked {
            self.record(point, policy);
        }
        error
    }
}
