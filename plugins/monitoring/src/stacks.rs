//! `/stacksz` (MON-013): where Go shows the stacks of its goroutines, what each thread is doing.
//!
//! A process cannot look at the stacks of its other threads without stopping them; a debugger does.

use natsd_plugin_api::serde_json::{self, Value, json};
use natsd_plugin_api::{Host, Result};

pub fn text(host: &Host) -> Result<String> {
    let threads: Vec<Value> = serde_json::from_str(&host.snapshot("threads", &json!({}))?)?;
    let mut text: String = threads.iter().map(thread).collect();
    text += "For their stacks: gdb -p ";
    text += &std::process::id().to_string();
    text += " -batch -ex 'thread apply all bt'\n";
    Ok(text)
}

fn thread(thread: &Value) -> String {
    let of = |name: &str| thread[name].as_str().unwrap_or_default();
    let seconds = |name: &str| thread[name].as_u64().unwrap_or_default() as f64 / 1e9;
    let waits_in = match of("waits_in") {
        "" => String::new(),
        place => format!(" in {place}"),
    };
    format!(
        "thread {} {} [{}{waits_in}]:\n\tuser {:.2} s, system {:.2} s\n\n",
        thread["id"],
        of("name"),
        of("state"),
        seconds("user_ns"),
        seconds("system_ns"),
    )
}
