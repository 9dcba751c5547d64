//! `/healthz`, the host's part: whether clients are accepted (MON-114).

use crate::conn::Context;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

/// `error` is there when something is wrong.
pub fn healthz(context: &Context) -> Value {
    if context.lame_duck.load(Relaxed) {
        return json!({ "status": "error", "error": "failed to be ready for connections after 1ms: server" });
    }
    json!({ "status": "ok" })
}
