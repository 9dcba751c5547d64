//! `ocsp`, `ocsp_cache` (CFG-260, CFG-261) and `ocsp_peer` of a tls block (CFG-253).
//!
//! Not here: whether a certificate asks for a stapled response (`tls`). Peers' certificates are not checked by OCSP
//! yet (an `ocsp_peer` that asks for it is refused), so the cache has nothing to keep; both are read, so that a mistake
//! is found.

use super::duration;
use super::fields::{DURATION_REMEDY, Field, fields};
use super::options::{OcspMode, OcspOptions};
use super::problem::Problem;
use super::value::Value;

pub(super) fn read(field: &Field<'_>) -> Result<OcspOptions, Problem> {
    let with = |mode| OcspOptions { mode, urls: Vec::new() };
    let map = match &field.node.value {
        Value::Bool(true) => return Ok(with(OcspMode::Auto)),
        Value::Bool(false) => return Ok(with(OcspMode::Never)),
        Value::Map(map) => map,
        other => {
            let found = other.go_type();
            return Err(field.problem(format!("error parsing ocsp config: unsupported type {found}")));
        }
    };
    let mut options = with(OcspMode::Auto);
    for entry in fields(map) {
        match entry.key {
            "mode" => options.mode = read_mode(&entry)?,
            "url" => options.urls = vec![entry.string()?.to_owned()],
            // nats-server takes no list that a file can give.
            "urls" => {
                return Err(entry.problem("error parsing ocsp config: urls").remedy("give one: url: ..."));
            }
            key => {
                let text = format!("error parsing ocsp config: unsupported field {key:?}");
                return Err(entry.problem(text).remedy("the fields are mode and url"));
            }
        }
    }
    Ok(options)
}

fn read_mode(field: &Field<'_>) -> Result<OcspMode, Problem> {
    let mode = field.string()?;
    match mode.to_ascii_lowercase().as_str() {
        "auto" => Ok(OcspMode::Auto),
        "never" => Ok(OcspMode::Never),
        "must" => Ok(OcspMode::Must),
        "always" => Ok(OcspMode::Always),
        _ => Err(field
            .problem(format!("error parsing ocsp config: unsupported ocsp mode {mode:?}"))
            .remedy("use auto, always, must or never")),
    }
}

pub(super) fn read_cache(field: &Field<'_>) -> Result<(), Problem> {
    let map = match &field.node.value {
        Value::Bool(_) => return Ok(()),
        Value::Map(map) => map,
        other => {
            let found = other.go_type();
            let text = format!("error parsing tls OCSP response cache config, expected a map, got {found}");
            return Err(field.problem(text));
        }
    };
    for entry in fields(map) {
        let unknown = || {
            let text = format!("error parsing OCSP peer cache config, unknown field [{:?}]", entry.key);
            entry.problem(text).remedy("the fields are type, local_store, preserve_revoked and save_interval")
        };
        match (entry.name.as_str(), &entry.node.value) {
            ("type", Value::String(kind)) => {
                if !["local", "none"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
                    let text = format!("error parsing OCSP peer cache config, unknown type [{kind}]");
                    return Err(entry.problem(text).remedy("use local or none"));
                }
            }
            ("local_store", Value::String(_))
            | ("preserve_revoked", Value::Bool(_))
            | ("save_interval", Value::Integer(_) | Value::Float(_)) => {}
            ("save_interval", Value::String(text)) => {
                let interval = duration::parse(text).map_err(|cause| {
                    let text = format!("error parsing OCSP peer config, conversion error: {cause}");
                    entry.problem(text).remedy(DURATION_REMEDY)
                });
                let _ = interval?;
            }
            _ => return Err(unknown()),
        }
    }
    Ok(())
}

/// `ocsp_peer` of a tls block (CFG-253): whether peers are to be checked.
pub(super) fn read_peer(field: &Field<'_>) -> Result<bool, Problem> {
    let map = match &field.node.value {
        Value::Bool(verify) => return Ok(*verify),
        Value::Map(map) => map,
        // nats-server always calls it a map: that is the block around it.
        _ => {
            let text = "error parsing ocsp peer config: unsupported type map[string]interface {}";
            return Err(field.problem(text).remedy("use true, false or a map"));
        }
    };
    let mut verify = false;
    for entry in fields(map) {
        match (entry.name.as_str(), &entry.node.value) {
            ("verify", Value::Bool(on)) => verify = *on,
            ("warn_only" | "unknown_is_good" | "allow_when_ca_unreachable", Value::Bool(_)) => {}
            ("ca_timeout" | "allowed_clockskew" | "cache_ttl_when_next_update_unset", _) => seconds(&entry)?,
            _ => {
                let text = format!("error parsing tls peer config, unknown field [{:?}]", entry.key);
                return Err(entry.problem(text).remedy(
                    "the fields are verify, warn_only, unknown_is_good, allow_when_ca_unreachable (true or false), \
                     ca_timeout, allowed_clockskew and cache_ttl_when_next_update_unset (times)",
                ));
            }
        }
    }
    Ok(verify)
}

/// A time of `ocsp_peer`: seconds or a duration, of which a negative one leaves the default.
fn seconds(field: &Field<'_>) -> Result<(), Problem> {
    let wrong = |cause: &str| {
        let text = format!("error parsing tls peer config, conversion error: {cause}");
        field.problem(text).remedy(DURATION_REMEDY)
    };
    match &field.node.value {
        Value::Integer(_) | Value::Float(_) => Ok(()),
        Value::String(text) => duration::parse(text).map(drop).map_err(|cause| match field.name.as_str() {
            "allowed_clockskew" => wrong("unexpected type"),
            _ => wrong(&cause),
        }),
        _ => Err(wrong("unexpected type")),
    }
}
