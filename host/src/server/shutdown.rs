//! The end of the server (CORE-224).

use super::Server;
use crate::proto::error::ClosedReason;
use crate::runtime::clock;
use natsd_plugin_api::Event;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

/// How long connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

impl Server {
    pub(super) async fn shut_down(self: &Arc<Self>) {
        if self.stopping.swap(true, AcqRel) {
            return;
        }
        crate::log::notice!("Initiating Shutdown...");
        self.listeners.stop_all();
        self.plugins.points().notify(&Event::Shutdown);
        for connection in self.context.registry.all() {
            connection.close(ClosedReason::ServerShutdown);
        }
        let gone = async {
            while !self.context.registry.is_empty() {
                clock::sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = clock::timeout(GOODBYE, gone).await;
        self.plugins.stop().await;
        self.remove_ports_file();
        crate::log::notice!("Server Exiting..");
        self.peers.stop();
    }
}
