//! The tree a config file parses to: values with the place of each key and value.
//!
//! Not here: what the keys mean (see `core_keys` and its neighbours) and how the text is read (see `parse`).

use compact_str::CompactString;
use hashbrown::HashMap;

/// Keys and strings: most are short and lie in the tree itself. A file may have hundreds of thousands.
pub type Text = CompactString;

/// A place in a config file. `file` counts in [`super::problem::Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    pub file: u16,
    /// 1-based.
    pub line: u32,
    /// 1-based, in bytes.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    /// Of the key, where errors point (CFG-025); for array elements of the value.
    pub at: Pos,
    /// Some `$NAME` refers to this key, so it is not reported as unknown (CFG-023).
    pub used_as_variable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Map(Map),
    Array(Vec<Node>),
    String(Text),
    /// Suffixes are already applied (CFG-013).
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// As written, `YYYY-MM-DDTHH:MM:SSZ` (CFG-015).
    Datetime(Text),
}

/// Pairs in the order of the file; a repeated key replaces the value in place (CFG-019).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    entries: Vec<(Text, Node)>,
    /// Where each key is, once there are too many to look through.
    index: Option<Box<HashMap<Text, usize>>>,
}

/// Most maps have few keys: to compare these is faster than an index, and takes no room.
const UNINDEXED_MAX: usize = 16;
/// A map seldom has a single key; many have two, as users do.
const FIRST_CAPACITY: usize = 2;

impl Node {
    pub fn new(value: Value, at: Pos) -> Self {
        Node { value, at, used_as_variable: false }
    }
}

impl Value {
    /// The type as a reader of the file would call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Map(_) => "a map",
            Value::Array(_) => "an array",
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime(_) => "a datetime",
        }
    }

    /// As nats-server's texts show a value that is of the wrong type.
    pub fn shown(&self) -> String {
        match self {
            Value::String(text) | Value::Datetime(text) => text.as_str().to_owned(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Map(_) | Value::Array(_) => self.kind().to_owned(),
        }
    }

    /// The type as nats-server's texts name it.
    pub fn go_type(&self) -> &'static str {
        match self {
            Value::Map(_) => "map[string]interface {}",
            Value::Array(_) => "[]interface {}",
            Value::String(_) => "string",
            Value::Integer(_) => "int64",
            Value::Float(_) => "float64",
            Value::Bool(_) => "bool",
            Value::Datetime(_) => "time.Time",
        }
    }

    /// The value as JSON, which is what plugins get.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Map(map) => {
                Json::Object(map.iter().map(|(key, node)| (key.to_owned(), node.value.to_json())).collect())
            }
            Value::Array(items) => Json::Array(items.iter().map(|node| node.value.to_json()).collect()),
            Value::String(text) | Value::Datetime(text) => Json::String(text.as_str().to_owned()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Bool(flag) => Json::Bool(*flag),
        }
    }

    /// How deep maps and arrays nest in it.
    pub(super) fn depth(&self) -> usize {
        match self {
            Value::Map(map) => 1 + map.iter().map(|(_, node)| node.value.depth()).max().unwrap_or(0),
            Value::Array(items) => 1 + items.iter().map(|node| node.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Roughly the memory a copy takes, at most `limit`: the bound on what variables may multiply.
    pub(super) fn copy_cost(&self, limit: usize) -> usize {
        const NODE_BYTES: usize = size_of::<Node>();
        let mut cost = NODE_BYTES;
        match self {
            Value::Map(map) => {
                for (key, node) in map.iter() {
                    if cost > limit {
                        break;
                    }
                    cost += 2 * key.len() + node.value.copy_cost(limit - cost);
                }
            }
            Value::Array(items) => {
                for node in items {
                    if cost > limit {
                        break;
                    }
                    cost += node.value.copy_cost(limit - cost);
                }
            }
            Value::String(text) | Value::Datetime(text) => cost += text.len(),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {}
        }
        cost
    }
}

impl Map {
    pub fn insert(&mut self, key: Text, node: Node) {
        if let Some(at) = self.position(&key) {
            self.entries[at].1 = node;
            return;
        }
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(FIRST_CAPACITY);
        }
        match &mut self.index {
            Some(index) => drop(index.insert(key.clone(), self.entries.len())),
            None if self.entries.len() == UNINDEXED_MAX => {
                let keys = self.entries.iter().map(|(known, _)| known).chain([&key]);
                let index = keys.enumerate().map(|(at, key)| (key.clone(), at)).collect();
                self.index = Some(Box::new(index));
            }
            None => {}
        }
        self.entries.push((key, node));
    }

    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).copied(),
            None => self.entries.iter().position(|(known, _)| known == key),
        }
    }

    /// Gives back the room that nothing more will be put in.
    pub(super) fn finish(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Exactly this key; known names are matched without case by the readers instead.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.position(key).map(|at| &self.entries[at].1)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let at = self.position(key)?;
        Some(&mut self.entries[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn into_entries(self) -> Vec<(Text, Node)> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Map, Node, Pos, Value};

    #[test]
    fn a_map_keeps_order_and_the_last_value_however_many_keys_it_has() {
        // CFG-019
        for count in [1, 2, 3, 16, 17, 18, 100] {
            let mut map = Map::default();
            for round in 0..2 {
                for key in 0..count {
                    let node = Node::new(Value::Integer(key + round), Pos::default());
                    map.insert(format!("key{key}").into(), node);
                }
            }
            map.finish();
            let keys: Vec<String> = map.iter().map(|(key, _)| key.to_owned()).collect();
            assert_eq!(keys, (0..count).map(|key| format!("key{key}")).collect::<Vec<_>>());
            for key in 0..count {
                assert_eq!(map.get(&format!("key{key}")).unwrap().value, Value::Integer(key + 1));
                assert!(map.get_mut(&format!("key{key}")).is_some());
            }
            assert!(map.get("key").is_none());
        }
    }
}
