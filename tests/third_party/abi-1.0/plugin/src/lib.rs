//! A plugin that uses a little of everything, to be built on old, grown and changed copies of natsd-plugin-api.

use natsd_plugin_api::{Host, Plugin, Registrar, Result, Section, export_plugin};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

struct Old {
    host: Host,
    slept: AtomicBool,
}

impl Plugin for Old {
    fn create(host: Host, _section: &Section) -> Result<Self> {
        Ok(Self { host, slept: AtomicBool::new(false) })
    }

    async fn start(self: Arc<Self>, _register: Registrar) -> Result<()> {
        self.host.sleep(Duration::from_millis(1)).await;
        self.slept.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn introspect(&self, query: &Value) -> Result<Value> {
        #[cfg(feature = "grown")]
        let resolution_ns: Option<u64> = self.host.resolution_ns();
        #[cfg(not(feature = "grown"))]
        let resolution_ns: Option<u64> = None;
        Ok(json!({
            "query": query,
            "slept": self.slept.load(Ordering::SeqCst),
            "has_time": self.host.unix_ns() > 0,
            "resolution_ns": resolution_ns,
        }))
    }
}

export_plugin!(Old, "old");
