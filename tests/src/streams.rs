//! Streams over the JetStream API for tests: making them, and waiting until they are as a test wants them.

use crate::jetstream::JetStream;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A stream of that configuration, which must be right.
pub fn make(js: &mut JetStream, config: &Value) {
    let name = config["name"].as_str().expect("a name");
    let made = js.api(&format!("STREAM.CREATE.{name}"), config).expect("an answer");
    assert!(made["error"].is_null(), "{made}");
}

pub fn info(js: &mut JetStream, stream: &str) -> Value {
    js.api(&format!("STREAM.INFO.{stream}"), &Value::Null).expect("an answer")
}

/// The info of a stream once it is as wanted.
pub fn wait_for(js: &mut JetStream, stream: &str, what: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let info = info(js, stream);
        if what(&info) {
            return info;
        }
        assert!(begin.elapsed() < PATIENCE, "{stream} did not get there: {info}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub fn wait_for_messages(js: &mut JetStream, stream: &str, messages: u64) -> Value {
    wait_for(js, stream, |info| info["state"]["messages"] == json!(messages))
}
