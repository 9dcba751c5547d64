//! Lame duck mode (CORE-220 to CORE-223): no new clients, and the old ones are let go one by one.

use super::Server;
use crate::conn::registry::Signal;
use crate::proto::error::ClosedReason;
use crate::runtime::clock;
use crate::runtime::random::random_below;
use natsd_plugin_api::Event;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

/// Two clients are closed at most this far apart.
const INTERVAL_MAX: Duration = Duration::from_secs(1);

impl Server {
    /// Returns when all clients are gone.
    pub(super) async fn lame_duck(self: &Arc<Self>) {
        crate::log::notice!("Entering lame duck mode, stop accepting new clients");
        self.context.lame_duck.store(true, Release);
        self.listeners.stop_all();
        self.refresh_info();
        self.plugins.points().notify(&Event::LameDuck);
        for connection in self.context.registry.all() {
            connection.signal(Signal::SendInfo);
        }
        let timing = self.context.options.load().timing.clone();
        if self.wait_until_empty(timing.lame_duck_grace_period).await {
            return;
        }
        crate::log::notice!("Closing existing clients");
        let connections = self.context.registry.all();
        let spread = timing.lame_duck_duration.saturating_sub(timing.lame_duck_grace_period);
        let interval = (spread / connections.len().max(1) as u32).min(INTERVAL_MAX);
        for connection in connections {
            connection.close(ClosedReason::ServerShutdown);
            let half = interval / 2;
            clock::sleep(half + Duration::from_nanos(random_below(half.as_nanos() as u64 + 1))).await;
            if self.context.registry.is_empty() {
                return;
            }
        }
    }

    async fn wait_until_empty(&self, longest: Duration) -> bool {
        let empty = async {
            while !self.context.registry.is_empty() {
                clock::sleep(Duration::from_millis(20)).await;
            }
        };
        clock::timeout(longest, empty).await.is_some()
    }
}
