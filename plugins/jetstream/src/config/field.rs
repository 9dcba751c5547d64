//! A value of the configuration with its path, read as what it should be.

use std::fmt;

use natsd_plugin_api::{Error, Result};
use serde_json::{Map, Value};

use crate::duration;

pub(super) struct Field<'a> {
    /// As errors name it: `jetstream.limits.max_ack_pending`.
    pub place: String,
    pub key: &'a str,
    pub value: &'a Value,
}

impl<'a> Field<'a> {
    pub fn top(key: &'a str, value: &'a Value) -> Self {
        Self { place: key.to_owned(), key, value }
    }

    /// Keys count in any case.
    pub fn name(&self) -> String {
        self.key.to_ascii_lowercase()
    }

    pub fn fields(&self) -> Result<impl Iterator<Item = Field<'a>>> {
        let map: &'a Map<String, Value> = self.value.as_object().ok_or_else(|| self.expected("a map"))?;
        let place = self.place.clone();
        Ok(map.iter().map(move |(key, value)| Field { place: format!("{place}.{key}"), key, value }))
    }

    pub fn text(&self) -> Result<String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.expected("a string"))
    }

    pub fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub fn number(&self) -> Result<i64> {
        self.value.as_i64().ok_or_else(|| self.expected("a number"))
    }

    /// For what counts things: 0 stands for the default.
    pub fn count(&self) -> Result<usize> {
        let number = self.number()?;
        usize::try_from(number).map_err(|_| self.wrong(format_args!("{number} is negative: use 0 or more")))
    }

    /// A number (the file may say `1G`), or a text that ends in K, M, G or T (CFG-272).
    pub fn size(&self) -> Result<i64> {
        let Some(text) = self.value.as_str() else {
            return self
                .value
                .as_i64()
                .ok_or_else(|| self.expected("a number of bytes or a size such as \"10G\""));
        };
        let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
        let unit = units.iter().find_map(|&(letter, power)| Some((text.strip_suffix(letter)?, power)));
        let Some((digits, power)) = unit else {
            return Err(self.wrong("sizes defined as strings must end in K, M, G, T"));
        };
        let number: i64 = digits.parse().map_err(|_| self.wrong(format_args!("{text:?} is not a size")))?;
        number
            .checked_mul(1 << power)
            .ok_or_else(|| self.wrong(format_args!("{text} is more bytes than can be counted")))
    }

    /// Text such as `2m`, or seconds as a number. Nanoseconds.
    pub fn duration_ns(&self) -> Result<i64> {
        match self.value {
            Value::String(text) => duration::parse(text)
                .map_err(|why| self.wrong(format_args!("error parsing {}: {why}", self.name()))),
            value => {
                let seconds = value.as_i64().ok_or_else(|| self.expected("a duration such as \"2m\""))?;
                seconds
                    .checked_mul(1_000_000_000)
                    .ok_or_else(|| self.wrong(format_args!("{seconds} seconds are too many")))
            }
        }
    }

    pub fn wrong(&self, why: impl fmt::Display) -> Error {
        Error::config(&self.place, why)
    }

    pub fn unknown(&self) -> Error {
        self.wrong(format_args!("unknown field {:?}", self.key))
    }

    pub fn expected(&self, what: &str) -> Error {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "a map",
        };
        self.wrong(format_args!("expected {what}, found {found}"))
    }
}
