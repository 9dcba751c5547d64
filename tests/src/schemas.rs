//! The JSON schemas of JetStream's replies, advisories and metrics (`tests/jetstream/schemas`).

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Of a stream to a publisher: it does not say so itself.
const ACK: &str = "io.nats.jetstream.api.v1.pub_ack_response";

/// Where nats-server's messages are not as the schemas say: type, and the beginning of what is wrong.
const GAPS: &[(&str, &str)] = &[
    // A number, for what the schema wants as a text.
    ("advisory.v1.nak", "/consumer_seq: "),
    ("advisory.v1.terminated", "/consumer_seq: "),
    // Not sent, though required.
    ("advisory.v1.consumer_group_pinned", ": \"server\" is a required"),
    ("advisory.v1.consumer_group_unpinned", ": \"server\" is a required"),
    // The state of the stream, for counts of blocks that are no more.
    ("advisory.v1.snapshot_create", ": "),
    // It does not say that all went well.
    ("api.v1.consumer_unpin_response", ": \"error\" is a required"),
    // Errors have the fields of a good reply beside them.
    ("api.v1.consumer_unpin_response", "/error: "),
    (
        "api.v1.consumer_pause_response",
        ": {\"type\":\"io.nats.jetstream.api.v1.consumer_pause_response\",\"error\":",
    ),
    (
        "api.v1.stream_names_response",
        ": {\"type\":\"io.nats.jetstream.api.v1.stream_names_response\",\"error\":",
    ),
    (
        "api.v1.stream_list_response",
        ": {\"type\":\"io.nats.jetstream.api.v1.stream_list_response\",\"error\":",
    ),
    (
        "api.v1.consumer_names_response",
        ": {\"type\":\"io.nats.jetstream.api.v1.consumer_names_response\",\"error\":",
    ),
    (
        "api.v1.consumer_list_response",
        ": {\"type\":\"io.nats.jetstream.api.v1.consumer_list_response\",\"error\":",
    ),
    // One reason more.
    ("advisory.v1.stream_batch_abandoned", "/reason: \"unsupported\" is not one of"),
    // With a domain.
    ("", ": Additional properties are not allowed ('domain' was unexpected)"),
];

/// What of a message does not fit the schema of its type. `is_ack`: JSON without a type is an acknowledgement.
pub fn misfits(payload: &[u8], is_ack: bool) -> Vec<String> {
    let Ok(value @ Value::Object(_)) = serde_json::from_slice::<Value>(payload) else { return Vec::new() };
    let kind = match value["type"].as_str() {
        Some(kind) if kind.starts_with("io.nats.jetstream.") => kind,
        None if is_ack && (value["stream"].is_string() || value["error"].is_object()) => ACK,
        _ => return Vec::new(),
    };
    let Some(validator) = validators().get(kind) else { return Vec::new() };
    let errors = validator.iter_errors(&value);
    let errors = errors.map(|error| format!("{}: {error}", error.instance_path()));
    let is_gap =
        |error: &String| GAPS.iter().any(|(of, start)| kind.ends_with(of) && error.starts_with(start));
    errors.filter(|error| !is_gap(error)).map(|error| format!("{kind} {error}")).collect()
}

/// The types that have a schema.
pub fn types() -> Vec<&'static str> {
    let mut types: Vec<_> = validators().keys().map(String::as_str).collect();
    types.sort_unstable();
    types
}

fn validators() -> &'static HashMap<String, Validator> {
    static VALIDATORS: OnceLock<HashMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("jetstream/schemas");
        let mut files = Vec::new();
        list(&root, &mut files);
        let schemas: Vec<Value> = files.iter().map(|file| read(file)).collect();
        let mut registry = Registry::new();
        for schema in &schemas {
            registry = registry.add(id(schema), schema.clone()).expect("its $id is an address");
        }
        let registry = registry.prepare().expect("every reference is in the folder");
        let titled = schemas.iter().filter_map(|schema| Some((schema["title"].as_str()?, id(schema))));
        let validators = titled.map(|(title, id)| {
            let validator = jsonschema::options().with_registry(&registry).build(&json!({ "$ref": id }));
            (title.to_owned(), validator.unwrap_or_else(|why| panic!("{title}: {why}")))
        });
        validators.collect()
    })
}

fn id(schema: &Value) -> &str {
    schema["$id"].as_str().expect("a schema has an $id")
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the schemas are there") {
        let path = entry.expect("a readable folder").path();
        match path.extension() {
            None if path.is_dir() => list(&path, files),
            Some(extension) if extension == "json" => files.push(path),
            _ => {}
        }
    }
}

fn read(file: &Path) -> Value {
    let text = std::fs::read(file).expect("a readable file");
    serde_json::from_slice(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}
