//! What a request may look like: its fields and their types, as nats-server names them in its errors.
//!
//! A body that passes is handed to serde with canonical names and words, so the types of `wire` stay plain.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::quote::go_quote;
use super::read::{Node, SyntaxError, Value, Values, read_one};
use super::time_text;

pub struct Struct {
    /// Without its package.
    pub name: &'static str,
    pub fields: &'static [Field],
}

pub type Field = (&'static str, Shape);

#[derive(Clone, Copy)]
pub enum Shape {
    Bool,
    Text,
    Int(Int),
    Time,
    Words(Words),
    /// With the name of its type.
    List(&'static str, &'static Shape),
    /// From names to texts or numbers, with the name of its type.
    Map(&'static str, &'static Shape),
    Struct(&'static Struct),
}

#[derive(Clone, Copy)]
pub enum Int {
    Int,
    Int32,
    Int64,
    Uint64,
    Duration,
}

/// One of some words, as written.
#[derive(Clone, Copy)]
pub struct Words {
    pub words: &'static [(&'static str, &'static str)],
    pub refusal: Refusal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    CanNotUnmarshal,
    /// The same, but words count in any case.
    AnyCase,
    /// What is unknown, in front of the text.
    Unknown(&'static str),
    Compression,
}

/// Reads a body: strictly, or ignoring fields that are unknown (JS-005).
pub fn decode<T: DeserializeOwned>(
    body: &[u8],
    shape: &'static Struct,
    is_strict: bool,
) -> Result<T, String> {
    match decode_strictly(body, shape) {
        Err(_) if !is_strict => decode_leniently(body, shape),
        result => result,
    }
}

/// A body may be empty, or several values that go over each other.
fn decode_strictly<T: DeserializeOwned>(body: &[u8], shape: &'static Struct) -> Result<T, String> {
    let mut into = Map::new();
    for node in Values::new(body) {
        let node = node.map_err(|error| error.to_string())?;
        Walk::new(shape, true).root(&node, &mut into)?;
    }
    typed(into)
}

/// One value, unknown fields ignored.
pub fn decode_leniently<T: DeserializeOwned>(body: &[u8], shape: &'static Struct) -> Result<T, String> {
    let node = read_one(body).map_err(|error| match error {
        SyntaxError::At { text, .. } => text,
        SyntaxError::Truncated => "unexpected end of JSON input".to_owned(),
    })?;
    let mut into = Map::new();
    Walk::new(shape, false).root(&node, &mut into)?;
    typed(into)
}

fn typed<T: DeserializeOwned>(fields: Map<String, Json>) -> Result<T, String> {
    serde_json::from_value(Json::Object(fields)).map_err(|error| error.to_string())
}

/// A walk over a request, with the path to where it is.
struct Walk {
    root: &'static Struct,
    path: Vec<String>,
    is_strict: bool,
}

impl Walk {
    fn new(root: &'static Struct, is_strict: bool) -> Self {
        Self { root, path: Vec::new(), is_strict }
    }

    fn root(&mut self, node: &Node<'_>, into: &mut Map<String, Json>) -> Result<(), String> {
        match &node.value {
            Value::Null => Ok(()),
            Value::Object(fields) => self.fields(self.root, fields, into),
            value => Err(self.mismatch(kind(value), &format!("server.{}", self.root.name))),
        }
    }

    fn fields(
        &mut self,
        shape: &'static Struct,
        fields: &[(std::borrow::Cow<'_, str>, Node<'_>)],
        into: &mut Map<String, Json>,
    ) -> Result<(), String> {
        for (name, node) in fields {
            let exact = shape.fields.iter().find(|(known, _)| known == name);
            let field =
                exact.or_else(|| shape.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)));
            let Some((known, field)) = field else {
                if self.is_strict {
                    return Err(format!("json: unknown field {}", go_quote(name)));
                }
                continue;
            };
            self.path.push(pointer_step(name));
            let value = self.value(field, node, into.remove(*known))?;
            self.path.pop();
            if let Some(value) = value {
                into.insert((*known).to_owned(), value);
            }
        }
        Ok(())
    }

    /// The value in canonical form, over what an earlier one of the same name said; None: not set.
    fn value(
        &mut self,
        shape: &'static Shape,
        node: &Node<'_>,
        before: Option<Json>,
    ) -> Result<Option<Json>, String> {
        match (shape, &node.value) {
            (Shape::Words(words), _) => words.read(node).map(Some),
            (Shape::Bool | Shape::Text | Shape::Int(_) | Shape::Time, Value::Null) => Ok(before),
            (_, Value::Null) => Ok(None),
            (Shape::Bool, Value::Bool(value)) => Ok(Some((*value).into())),
            (Shape::Text, Value::Text(text)) => Ok(Some(text.as_ref().into())),
            (Shape::Time, Value::Text(text)) => Ok(Some(time_text::parse(text)?.to_string().into())),
            (Shape::Int(int), Value::Number(text)) => match int.read(text) {
                Some(value) => Ok(Some(value)),
                None => Err(self.mismatch(&format!("number {text}"), int.name())),
            },
            (Shape::List(_, item), Value::Array(nodes)) => self.list(item, nodes).map(Some),
            (Shape::Map(_, item), Value::Object(fields)) => {
                let mut map = object(before);
                for (name, node) in fields {
                    self.path.push(pointer_step(name));
                    let value = self.value(item, node, None)?.unwrap_or_else(|| item.zero());
                    self.path.pop();
                    map.insert(name.to_string(), value);
                }
                Ok(Some(map.into()))
            }
            (Shape::Struct(shape), Value::Object(fields)) => {
                let mut inner = object(before);
                self.fields(shape, fields, &mut inner)?;
                Ok(Some(inner.into()))
            }
            (shape, value) => Err(self.mismatch(kind(value), &shape.name())),
        }
    }

    fn list(&mut self, item: &'static Shape, nodes: &[Node<'_>]) -> Result<Json, String> {
        let mut items = Vec::with_capacity(nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            self.path.push(at.to_string());
            items.push(self.value(item, node, None)?.unwrap_or_else(|| item.zero()));
            self.path.pop();
        }
        Ok(items.into())
    }

    fn mismatch(&self, found: &str, expected: &str) -> String {
        let Some(last) = self.path.last() else {
            return format!("json: cannot unmarshal {found} into Go value of type {expected}");
        };
        let is_index = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        let what = if is_index { "" } else { "Go struct field " };
        let (root, path) = (self.root.name, self.path.join("."));
        format!("json: cannot unmarshal {found} into {what}{root}.{path} of type {expected}")
    }
}

impl Shape {
    fn name(&self) -> String {
        match self {
            Shape::Bool => "bool".to_owned(),
            Shape::Text | Shape::Words(_) => "string".to_owned(),
            Shape::Int(int) => int.name().to_owned(),
            Shape::Time => "time.Time".to_owned(),
            Shape::List(name, _) | Shape::Map(name, _) => (*name).to_owned(),
            Shape::Struct(shape) => format!("server.{}", shape.name),
        }
    }

    /// What `null` in a list stands for.
    fn zero(&self) -> Json {
        match self {
            Shape::Bool => false.into(),
            Shape::Int(_) => 0.into(),
            Shape::Text | Shape::Words(_) => "".into(),
            Shape::Time => crate::wire::Time::default().to_string().into(),
            Shape::List(..) => Json::Array(Vec::new()),
            Shape::Map(..) | Shape::Struct(_) => Json::Object(Map::new()),
        }
    }
}

impl Int {
    fn name(self) -> &'static str {
        match self {
            Int::Int => "int",
            Int::Int32 => "int32",
            Int::Int64 => "int64",
            Int::Uint64 => "uint64",
            Int::Duration => "time.Duration",
        }
    }

    fn read(self, text: &str) -> Option<Json> {
        match self {
            Int::Uint64 => text.parse::<u64>().ok().map(Json::from),
            Int::Int32 => text.parse::<i32>().ok().map(Json::from),
            Int::Int | Int::Int64 | Int::Duration => text.parse::<i64>().ok().map(Json::from),
        }
    }
}

impl Words {
    fn read(&self, node: &Node<'_>) -> Result<Json, String> {
        let raw = String::from_utf8_lossy(node.raw);
        let any_case = self.refusal == Refusal::AnyCase;
        let found = self.words.iter().find(|(word, _)| {
            let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
            inner.is_some_and(|inner| inner == *word || any_case && inner.eq_ignore_ascii_case(word))
        });
        if let Some((_, canonical)) = found {
            return Ok((*canonical).into());
        }
        Err(match (self.refusal, &node.value) {
            (Refusal::CanNotUnmarshal | Refusal::AnyCase, _) => {
                format!("can not unmarshal {}", go_quote(&raw))
            }
            (Refusal::Unknown(what), _) => format!("unknown {what}: {raw}"),
            (Refusal::Compression, Value::Text(_) | Value::Null) => {
                "unknown compression algorithm".to_owned()
            }
            (Refusal::Compression, value) => {
                format!("json: cannot unmarshal {} into Go value of type string", kind(value))
            }
        })
    }
}

fn object(value: Option<Json>) -> Map<String, Json> {
    match value {
        Some(Json::Object(map)) => map,
        _ => Map::new(),
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Text(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// As a JSON pointer writes it; the slash between steps is shown as a dot.
fn pointer_step(name: &str) -> String {
    match name.contains(['~', '/']) {
        true => name.replace('~', "~0").replace('/', "~1"),
        false => name.to_owned(),
    }
}
