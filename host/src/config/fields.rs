//! Typed access to the pairs of a map, with errors that name the key, the type wanted and the one found.

use std::time::Duration;

use super::duration;
use super::problem::{Problem, Report};
use super::value::{Map, Node, Text, Value};

/// One pair while it is read. Names are matched without case (CFG-004).
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// As written.
    pub key: &'a str,
    /// In lower case, to match known names.
    pub name: Text,
    pub node: &'a Node,
}

pub(super) fn fields(map: &Map) -> impl Iterator<Item = Field<'_>> {
    map.iter().map(|(key, node)| Field::new(key, node))
}

impl<'a> Field<'a> {
    pub fn new(key: &'a str, node: &'a Node) -> Self {
        Field { key, name: lower_case(key), node }
    }

    pub fn problem(&self, text: impl Into<String>) -> Problem {
        Problem::at(self.node.at, text)
    }

    /// For keys no reader knows. A key that serves as a variable is fine (CFG-023).
    pub fn unknown(&self) -> Result<(), Problem> {
        if self.node.used_as_variable {
            return Ok(());
        }
        Err(self.problem(format!("unknown field {:?}", self.key)))
    }

    pub fn boolean(&self) -> Result<bool, Problem> {
        match &self.node.value {
            Value::Bool(flag) => Ok(*flag),
            Value::String(text) if is_bool_word(text) => {
                Err(self.wrong_type("a boolean").remedy(format!("remove the quotes: {}: {text}", self.key)))
            }
            _ => Err(self.wrong_type("a boolean").remedy("use true or false")),
        }
    }

    pub fn string(&self) -> Result<&'a str, Problem> {
        match &self.node.value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong_type("a string").remedy("put the value in quotes")),
        }
    }

    pub fn integer(&self) -> Result<i64, Problem> {
        match &self.node.value {
            Value::Integer(number) => Ok(*number),
            _ => Err(self.wrong_type("an integer").remedy("use digits without quotes, sizes as 64KB or 8MB")),
        }
    }

    /// An integer that may not be negative.
    pub fn count<T: TryFrom<i64>>(&self) -> Result<T, Problem> {
        let number = self.integer()?;
        if number < 0 {
            return Err(self.problem(format!("{} can not be negative, got {number}", self.name)));
        }
        T::try_from(number).map_err(|_| self.problem(format!("{} value is too big", self.name)))
    }

    pub fn map(&self) -> Result<&'a Map, Problem> {
        match &self.node.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.wrong_type("a map").remedy(format!("write {} {{ ... }}", self.key))),
        }
    }

    pub fn array(&self) -> Result<&'a [Node], Problem> {
        match &self.node.value {
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong_type("an array").remedy(format!("write {}: [ ... ]", self.key))),
        }
    }

    /// A duration in quotes or bare, or seconds as an integer with a warning (CFG-018).
    pub fn duration(&self, report: &mut Report) -> Result<Duration, Problem> {
        if let Value::Integer(seconds) = self.node.value {
            let text =
                format!("invalid use of field {0:?}: {0} should be converted to a duration", self.name);
            report.warn(
                self.problem(text).remedy(format!("write the unit, in quotes: {}: \"{seconds}s\"", self.key)),
            );
            return u64::try_from(seconds).map(Duration::from_secs).map_err(|_| self.negative_duration());
        }
        self.duration_text()
    }

    /// A duration that must be a string.
    pub fn duration_text(&self) -> Result<Duration, Problem> {
        let Value::String(text) = &self.node.value else {
            return Err(self
                .wrong_type("a duration string")
                .remedy(format!("write the unit, in quotes: {}: \"2m\"", self.key)));
        };
        let parsed = duration::parse(text).map_err(|cause| {
            self.problem(format!("error parsing {}: {cause}", self.name)).remedy(DURATION_REMEDY)
        })?;
        if parsed.negative && !parsed.size.is_zero() {
            return Err(self.negative_duration());
        }
        Ok(parsed.size)
    }

    /// A string, or an array of strings.
    pub fn strings(&self) -> Result<Vec<String>, Problem> {
        match &self.node.value {
            Value::String(text) => Ok(vec![text.as_str().to_owned()]),
            Value::Array(items) => {
                items.iter().map(|item| Ok(self.element(item).string()?.to_owned())).collect()
            }
            _ => Err(self.wrong_type("a string or an array of strings")),
        }
    }

    /// An element of this field's array, to be read like a field.
    pub fn element(&self, item: &'a Node) -> Field<'a> {
        Field { key: self.key, name: self.name.clone(), node: item }
    }

    pub fn wrong_type(&self, wanted: &str) -> Problem {
        let value = &self.node.value;
        self.problem(format!("{} must be {wanted}, not {}", self.key, value.kind()))
    }

    fn negative_duration(&self) -> Problem {
        self.problem(format!("invalid {}, needs to be positive", self.name))
    }
}

pub(super) const DURATION_REMEDY: &str = "use units ns, us, ms, s, m, h, as in \"1m30s\"";

fn lower_case(key: &str) -> Text {
    let mut name = Text::from(key);
    name.make_ascii_lowercase();
    name
}

fn is_bool_word(text: &str) -> bool {
    ["true", "false", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str())
}
