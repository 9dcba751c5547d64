//! What an answer of monitoring is made of: all fields down to the last with the kinds of their values, so that two
//! servers can be compared whose numbers differ.

use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::monitored::Answer;

/// Of an HTTP answer: status, type and fields; of one that is no JSON object, its text.
pub fn of_http(answer: &Answer) -> Value {
    let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    let body = match serde_json::from_str(&answer.body) {
        // Errors say the same in both, and so does a short answer.
        Ok(value @ Value::Object(_)) => {
            let text = if answer.body.contains('\n') { Value::Null } else { answer.body.as_str().into() };
            json!({ "fields": fields(&value), "text": text })
        }
        _ => json!({ "text": answer.body }),
    };
    json!({ "status": answer.status, "type": kind, "body": body })
}

/// Of an answer to a request; `None`: silence.
pub fn of_request(answer: Option<&Value>) -> Value {
    match answer {
        None => json!({ "status": "silence", "body": {} }),
        Some(value) => {
            let error = value.pointer("/error").or(value.pointer("/data/error")).cloned();
            json!({ "status": "answered", "body": { "fields": fields(value), "text": error } })
        }
    }
}

/// All fields below a value as paths, with what they hold.
pub fn fields(value: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    collect("", value, &mut fields);
    fields
}

fn collect(path: &str, value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            fields.insert(format!("{path} {{}}"));
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, fields);
            }
        }
        Value::Array(items) => {
            fields.insert(format!("{path} []"));
            items.iter().for_each(|item| collect(&format!("{path}[]"), item, fields));
        }
        Value::Null => drop(fields.insert(format!("{path} null"))),
        Value::Bool(_) => drop(fields.insert(format!("{path} bool"))),
        Value::Number(_) => drop(fields.insert(format!("{path} number"))),
        Value::String(_) => drop(fields.insert(format!("{path} string"))),
    }
}

/// A field with all below it that only one of the two servers has, and why that is right.
pub type Known = (&'static str, &'static str);

/// How an answer differs from the wanted one, if it does.
pub fn difference(
    what: &str,
    expected: &Value,
    seen: &Value,
    only_reference: &[Known],
    only_natsd: &[Known],
) -> Option<String> {
    let (wanted, present) = (without(expected, only_reference), without(seen, only_natsd));
    let missing: Vec<_> = wanted.difference(&present).collect();
    let extra: Vec<_> = present.difference(&wanted).collect();
    let same = ["status", "type"].iter().all(|part| expected[part] == seen[part])
        && expected["body"]["text"] == seen["body"]["text"];
    let same = same && missing.is_empty() && extra.is_empty();
    (!same).then(|| {
        let head =
            |answer: &Value| format!("{} {} {}", answer["status"], answer["type"], answer["body"]["text"]);
        format!(
            "{what}\n  wanted {}\n  seen   {}\n  missing {missing:?}\n  extra {extra:?}",
            head(expected),
            head(seen)
        )
    })
}

/// The fields of an answer, in the envelope of a request or not.
fn without(answer: &Value, known: &[Known]) -> BTreeSet<String> {
    let fields = answer["body"]["fields"].as_array().into_iter().flatten();
    let names = fields.map(|field| field.as_str().unwrap().to_owned());
    let is_known = |field: &str| {
        let field = field.strip_prefix("data.").unwrap_or(field);
        known
            .iter()
            .any(|(name, _)| field.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '['])))
    };
    names.filter(|field| !is_known(field)).collect()
}
