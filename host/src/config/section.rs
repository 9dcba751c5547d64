//! A plugin's part of the configuration: JSON, with the place in the file of everything in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::problem::Problem;
use super::value::{Map, Node, Pos, Value};

#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The key with its enclosing keys: `["jetstream"]`, `["accounts", "A", "jetstream"]`.
    pub path: Vec<String>,
    pub plugin: String,
    pub value: Json,
    /// JSON pointer within `value` to the key's place; `""` is the section itself. Empty for flags.
    pub positions: BTreeMap<String, Pos>,
    /// Pointers of keys that serve as variables, which a plugin does not report as unknown (CFG-023).
    pub variables: BTreeSet<String>,
}

impl Section {
    pub(super) fn new(path: &[&str], plugin: &str, node: &Node) -> Self {
        let mut section = Section::of_flag(path, plugin, node.value.to_json());
        section.place("", node);
        section
    }

    /// A section that command-line flags ask for.
    pub fn of_flag(path: &[&str], plugin: &str, value: Json) -> Self {
        Section {
            path: path.iter().map(|&key| key.to_owned()).collect(),
            plugin: plugin.to_owned(),
            value,
            positions: BTreeMap::new(),
            variables: BTreeSet::new(),
        }
    }

    /// The dotted name, as in `accounts.A.jetstream`.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// A problem a plugin reports by JSON pointer; it stands at the nearest place that is known.
    pub fn problem(&self, pointer: &str, text: impl Into<String>) -> Problem {
        let mut problem = Problem::nowhere(text);
        let mut pointer = pointer;
        loop {
            // Plugins say names as they know them, files may write them in another case.
            let place = self.positions.iter().find(|(known, _)| known.eq_ignore_ascii_case(pointer));
            problem.at = place.map(|(_, at)| *at);
            match pointer.rfind('/') {
                Some(parent_end) if problem.at.is_none() => pointer = &pointer[..parent_end],
                _ => return problem,
            }
        }
    }

    /// The JSON pointer for a path such as `websocket.tls.cert_file`, if it leads into this section.
    pub(super) fn pointer_of(&self, dotted: &str) -> Option<String> {
        let rest = dotted.strip_prefix(&self.key())?;
        let inner = if rest.is_empty() { "" } else { rest.strip_prefix('.')? };
        let steps = inner.split('.').filter(|step| !step.is_empty());
        Some(steps.map(|step| format!("/{}", escaped(step))).collect())
    }

    /// The full paths of what serves as a variable, as in `websocket.NAME`.
    pub fn variable_paths(&self) -> impl Iterator<Item = String> {
        self.variables.iter().map(|pointer| format!("{}{}", self.key(), unescaped(pointer)))
    }

    /// The value at a pointer as a tree again, for blocks the host reads on behalf of a plugin (`tls`).
    pub(super) fn node(&self, pointer: &str) -> Option<Node> {
        self.value.pointer(pointer).map(|json| self.node_of(json, pointer))
    }

    /// The whole section as a tree again.
    pub(super) fn root(&self) -> Node {
        self.node_of(&self.value, "")
    }

    fn place(&mut self, pointer: &str, node: &Node) {
        self.positions.insert(pointer.to_owned(), node.at);
        if node.used_as_variable {
            self.variables.insert(pointer.to_owned());
        }
        match &node.value {
            Value::Map(map) => {
                for (key, inner) in map.iter() {
                    self.place(&format!("{pointer}/{}", escaped(key)), inner);
                }
            }
            Value::Array(items) => {
                for (at, inner) in items.iter().enumerate() {
                    self.place(&format!("{pointer}/{at}"), inner);
                }
            }
            _ => {}
        }
    }

    fn node_of(&self, json: &Json, pointer: &str) -> Node {
        let value = match json {
            Json::Object(object) => {
                let mut map = Map::default();
                for (key, inner) in object {
                    map.insert(
                        key.as_str().into(),
                        self.node_of(inner, &format!("{pointer}/{}", escaped(key))),
                    );
                }
                Value::Map(map)
            }
            Json::Array(items) => {
                let inner = items.iter().enumerate();
                Value::Array(inner.map(|(at, item)| self.node_of(item, &format!("{pointer}/{at}"))).collect())
            }
            Json::String(text) => Value::String(text.as_str().into()),
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::Null => Value::String(Default::default()),
        };
        let at = self.positions.get(pointer).copied().unwrap_or_default();
        Node { used_as_variable: self.variables.contains(pointer), ..Node::new(value, at) }
    }
}

fn unescaped(pointer: &str) -> String {
    pointer.replace('/', ".").replace("~1", "/").replace("~0", "~")
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
