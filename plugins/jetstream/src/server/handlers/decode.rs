//! Bodies of requests (JS-003 to JS-005).

use crate::wire::{ApiError, StreamConfig, error};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A body that must be there.
pub fn body<T: DeserializeOwned>(text: &[u8], strict: bool) -> Result<T, ApiError> {
    if text.is_empty() {
        return Err(error::BAD_REQUEST);
    }
    parse(text, strict)
}

/// A body that may be missing, or be anything but JSON.
pub fn optional<T: DeserializeOwned + Default>(text: &[u8], strict: bool) -> Result<T, ApiError> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{' | b'[') => parse(text, strict),
        _ => Ok(T::default()),
    }
}

/// A stream's configuration, and whether it is meant pedantically.
pub fn stream_config(text: &[u8], strict: bool) -> Result<(StreamConfig, bool), ApiError> {
    let mut object: serde_json::Map<String, serde_json::Value> = body(text, false)?;
    let pedantic = object.remove("pedantic").is_some_and(|value| value == true);
    let rest = serde_json::Value::Object(object).to_string();
    Ok((parse(rest.as_bytes(), strict)?, pedantic))
}

/// Nothing, or an object without members.
pub fn empty(text: &[u8]) -> Result<(), ApiError> {
    let is_empty = text.is_empty()
        || serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text)
            .is_ok_and(|object| object.is_empty());
    if is_empty { Ok(()) } else { Err(error::NOT_EMPTY_REQUEST) }
}

/// `null` means, as in Go, that the member is not there.
fn parse<T: DeserializeOwned>(text: &[u8], strict: bool) -> Result<T, ApiError> {
    let mut value: Value = serde_json::from_slice(text).map_err(|why| error::INVALID_JSON.with(why))?;
    drop_nulls(&mut value);
    let mut unknown = None;
    let parsed = serde_ignored::deserialize(value, |path| {
        let path = path.to_string();
        let field = path.rsplit('.').next().unwrap_or(&path).to_owned();
        unknown.get_or_insert(field);
    });
    let parsed = parsed.map_err(|why| error::INVALID_JSON.with(why))?;
    match unknown {
        Some(field) if strict => {
            Err(error::INVALID_JSON.with(format_args!("json: unknown field \"{field}\"")))
        }
        _ => Ok(parsed),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
