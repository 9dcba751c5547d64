//! The permissions of claims as a `permissions {}` block of the configuration, which the host understands.

use crate::claims::Permissions;
use natsd_plugin_api::serde_json::{Map, Value, json};

/// `None`: all is allowed.
pub fn block(permissions: &Permissions) -> Option<Value> {
    if permissions.is_empty() {
        return None;
    }
    let mut block = Map::new();
    for (name, lists) in [("publish", &permissions.publish), ("subscribe", &permissions.subscribe)] {
        let mut sides = Map::new();
        for (side, list) in [("allow", &lists.allow), ("deny", &lists.deny)] {
            // An empty list says nothing, in a block it would allow nothing.
            if !list.is_empty() {
                sides.insert(side.to_owned(), json!(list));
            }
        }
        if !sides.is_empty() {
            block.insert(name.to_owned(), sides.into());
        }
    }
    if let Some(responses) = &permissions.resp {
        let ttl = format!("{}ns", responses.ttl);
        block.insert("allow_responses".to_owned(), json!({"max": responses.max, "expires": ttl}));
    }
    Some(block.into())
}

/// The block with one more subject that must not be published to.
pub fn denying_publish(block: Option<Value>, subject: &str) -> Value {
    let mut block = block.unwrap_or_else(|| json!({}));
    let publish = block.get("publish").cloned().unwrap_or_else(|| json!({}));
    let mut deny = publish.get("deny").and_then(Value::as_array).cloned().unwrap_or_default();
    deny.push(subject.into());
    let mut publish = publish.as_object().cloned().unwrap_or_default();
    publish.insert("deny".to_owned(), deny.into());
    if let Some(block) = block.as_object_mut() {
        block.insert("publish".to_owned(), publish.into());
    }
    block
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use natsd_plugin_api::serde_json;

    #[test]
    fn claims_become_a_block() {
        let read = |text: &str| block(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"pub":{"allow":[]}}"#), None);
        let text = r#"{"pub":{"allow":["a"]},"sub":{"deny":["b q"]},"resp":{"max":3,"ttl":5}}"#;
        let wanted = json!({
            "publish": {"allow": ["a"]}, "subscribe": {"deny": ["b q"]},
            "allow_responses": {"max": 3, "expires": "5ns"}
        });
        assert_eq!(read(text), Some(wanted));
        assert_eq!(denying_publish(None, "x"), json!({"publish": {"deny": ["x"]}}));
        let more = denying_publish(read(text), "x");
        assert_eq!(more["publish"], json!({"allow": ["a"], "deny": ["x"]}));
    }
}
