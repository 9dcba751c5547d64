//! `ocsp`, `ocsp_cache` (CFG-260, CFG-261) and `ocsp_peer` of a tls block (CFG-253).
//!
//! Not here: whether a certificate asks for a stapled response (`tls`), and the check of peers (`server::peers`).

use std::time::Duration;

use super::duration;
use super::fields::{DURATION_REMEDY, Field, fields};
use super::options::{OcspCacheOptions, OcspMode, OcspOptions, OcspPeerOptions};
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

pub(super) fn read_cache(field: &Field<'_>) -> Result<OcspCacheOptions, Problem> {
    let mut options = OcspCacheOptions::default();
    let map = match &field.node.value {
        Value::Bool(true) => return Ok(options),
        Value::Bool(false) => return Ok(OcspCacheOptions { local_store: None, ..options }),
        Value::Map(map) => map,
        other => {
            let found = other.go_type();
            let text = format!("error parsing tls OCSP response cache config, expected a map, got {found}");
            return Err(field.problem(text));
        }
    };
    let mut is_kept = true;
    for entry in fields(map) {
        let unknown = || {
            let text = format!("error parsing OCSP peer cache config, unknown field [{:?}]", entry.key);
            entry.problem(text).remedy("the fields are type, local_store, preserve_revoked and save_interval")
        };
        match (entry.name.as_str(), &entry.node.value) {
            ("type", Value::String(kind)) => {
                is_kept = match kind.to_ascii_lowercase().as_str() {
                    "local" => true,
                    "none" => false,
                    _ => {
                        let text = format!("error parsing OCSP peer cache config, unknown type [{kind}]");
                        return Err(entry.problem(text).remedy("use local or none"));
                    }
                };
            }
            ("local_store", Value::String(folder)) if folder.is_empty() => {}
            ("local_store", Value::String(folder)) => options.local_store = Some(folder.into()),
            ("preserve_revoked", Value::Bool(preserve)) => options.preserve_revoked = *preserve,
            ("save_interval", _) => {
                let wrong = |cause: &str| {
                    let what = if cause == UNEXPECTED { "OCSP peer cache" } else { "tls peer" };
                    let text = format!("error parsing {what} config, conversion error: {cause}");
                    entry.problem(text).remedy(DURATION_REMEDY)
                };
                // Whole seconds, and not less than one.
                let seconds = seconds(&entry).map_err(|cause| wrong(&cause))?.unwrap_or_default().as_secs();
                options.save_interval = Duration::from_secs(seconds.max(1));
            }
            _ => return Err(unknown()),
        }
    }
    options.local_store.take_if(|_| !is_kept);
    Ok(options)
}

/// `ocsp_peer` of a tls block (CFG-253); `None`: it does not ask for the check.
pub(super) fn read_peer(field: &Field<'_>) -> Result<Option<OcspPeerOptions>, Problem> {
    let mut options = OcspPeerOptions::default();
    let map = match &field.node.value {
        Value::Bool(verify) => return Ok(verify.then_some(options)),
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
            ("warn_only", Value::Bool(on)) => options.warn_only = *on,
            ("unknown_is_good", Value::Bool(on)) => options.unknown_is_good = *on,
            ("allow_when_ca_unreachable", Value::Bool(on)) => options.allow_when_ca_unreachable = *on,
            // None at all is the default, too.
            ("ca_timeout", _) => set(&mut options.ca_timeout, peer_time(&entry)?.filter(|t| !t.is_zero())),
            ("allowed_clockskew", _) => set(&mut options.allowed_clockskew, peer_time(&entry)?),
            ("cache_ttl_when_next_update_unset", _) => {
                set(&mut options.cache_ttl_when_next_update_unset, peer_time(&entry)?);
            }
            _ => {
                let text = format!("error parsing tls peer config, unknown field [{:?}]", entry.key);
                return Err(entry.problem(text).remedy(
                    "the fields are verify, warn_only, unknown_is_good, allow_when_ca_unreachable (true or false), \
                     ca_timeout, allowed_clockskew and cache_ttl_when_next_update_unset (times)",
                ));
            }
        }
    }
    Ok(verify.then_some(options))
}

fn set(time: &mut Duration, given: Option<Duration>) {
    *time = given.unwrap_or(*time);
}

fn peer_time(field: &Field<'_>) -> Result<Option<Duration>, Problem> {
    seconds(field).map_err(|cause| {
        let is_skew = field.name == "allowed_clockskew";
        let cause = if is_skew { UNEXPECTED } else { &cause };
        let text = format!("error parsing tls peer config, conversion error: {cause}");
        field.problem(text).remedy(DURATION_REMEDY)
    })
}

const UNEXPECTED: &str = "unexpected type";

/// Seconds or a duration; `None`: less than nothing, which leaves the default.
fn seconds(field: &Field<'_>) -> Result<Option<Duration>, String> {
    let of_number = |seconds: f64| {
        let is_negative = seconds.is_sign_negative() && seconds != 0.0;
        (!is_negative).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    };
    match &field.node.value {
        Value::Integer(seconds) => Ok(of_number(*seconds as f64)),
        Value::Float(seconds) => Ok(of_number(*seconds)),
        Value::String(text) => Ok(Some(duration::parse(text)?).filter(|d| !d.negative).map(|d| d.size)),
        _ => Err(UNEXPECTED.to_owned()),
    }
}
