//! What the server calls itself at the head of events and answers (MON-150).

use crate::conn::Context;
use crate::conn::traced::event::Server;
use crate::runtime::unix_ns;
use serde_json::Value;

/// Each call takes the next number, so ask once for each message.
pub fn server_info(context: &Context) -> Value {
    let options = context.options.load();
    // All of it is text and numbers: there is nothing that cannot be JSON.
    serde_json::to_value(Server::new(context, &options, unix_ns())).unwrap_or_default()
}
