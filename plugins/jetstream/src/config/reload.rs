//! What may change while the server runs (CFG-142).

use super::Config;

impl Config {
    /// Why a new configuration needs a restart; the texts are nats-server's where it has them.
    pub fn check_reload(&self, new: &Config) -> Result<(), String> {
        if self.enabled && new.enabled {
            if self.folder != new.folder {
                return Err("config reload not supported for jetstream storage directory".to_owned());
            }
            bytes(self.max_memory, new.max_memory)?;
            bytes(self.max_file, new.max_file)?;
        }
        let cluster =
            |config: &Config| (config.cluster.unique_tag.clone(), config.cluster.extension_hint.clone());
        for (is_same, name) in [
            (self.sync == new.sync, "sync_interval"),
            (self.store_engine == new.store_engine, "store_engine"),
            (self.strict == new.strict, "strict"),
            (self.domain == new.domain, "domain"),
            (self.encryption == new.encryption, "key, prev_key and cipher"),
            (
                self.queues == new.queues,
                "request_queue_limit, info_queue_limit, max_buffered_size, max_buffered_msgs and max_concurrent_io",
            ),
            (cluster(self) == cluster(new), "unique_tag and extension_hint"),
            (
                self.cluster.max_outstanding_catchup == new.cluster.max_outstanding_catchup,
                "max_outstanding_catchup",
            ),
        ] {
            // A block that is gone switches off; what else it said does not count.
            if !is_same && new.enabled {
                return Err(format!("config reload not supported for jetstream {name}: restart the server"));
            }
        }
        Ok(())
    }
}

/// Limits may grow; one that was left to the server stays so.
fn bytes(old: Option<i64>, new: Option<i64>) -> Result<(), String> {
    match (old, new) {
        (old, new) if old == new => Ok(()),
        (Some(old), Some(new)) if new > old => Ok(()),
        (Some(_), Some(_)) => {
            Err("config reload not supported for decreasing jetstream max memory and store".to_owned())
        }
        _ => Err("config reload not supported for jetstream dynamic max memory and store".to_owned()),
    }
}
