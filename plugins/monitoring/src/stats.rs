//! Requests counted by endpoint, for `http_req_stats` (MON-015).

use natsd_plugin_api::serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// One count for each path of a fixed list.
pub struct RequestCounts {
    counts: Vec<(&'static str, AtomicU64)>,
}

impl RequestCounts {
    /// Sorted, as the answer is.
    pub fn new(paths: impl Iterator<Item = &'static str>) -> Self {
        let mut counts: Vec<_> = paths.map(|path| (path, AtomicU64::new(0))).collect();
        counts.sort_by_key(|(path, _)| *path);
        Self { counts }
    }

    pub fn count(&self, path: &str) {
        if let Some((_, count)) = self.counts.iter().find(|(known, _)| *known == path) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Those that were asked for at all.
    pub fn json(&self) -> Value {
        let counted = self.counts.iter().map(|(path, count)| (*path, count.load(Ordering::Relaxed)));
        let asked = counted.filter(|(_, count)| *count > 0);
        Value::Object(asked.map(|(path, count)| (path.to_owned(), json!(count))).collect::<Map<_, _>>())
    }
}
