//! API levels: what a request asks for (JS-006), what a stream or consumer needs, and the metadata that says so
//! (JS-064, JS-065).

use crate::wire::consumer::{AckPolicy, PriorityPolicy};
use crate::wire::{ApiError, ConsumerConfig, PersistMode, StreamConfig, error};
use std::collections::BTreeMap;

/// The level of the API that this server has.
pub const API_LEVEL: u32 = 5;

const REQUIRED: &str = "_nats.req.level";
const SERVER_VERSION: &str = "_nats.ver";
const SERVER_LEVEL: &str = "_nats.level";

/// Refuses a request whose header `Nats-Required-Api-Level` asks for more, or for nonsense.
pub fn check_required(header: Option<&[u8]>) -> Result<(), ApiError> {
    let Some(header) = header.filter(|header| !header.is_empty()) else { return Ok(()) };
    let level = std::str::from_utf8(header).ok().and_then(|text| text.parse::<i64>().ok());
    match level {
        Some(level) if level <= i64::from(API_LEVEL) => Ok(()),
        _ => Err(error::REQUIRED_API_LEVEL),
    }
}

/// What a stream with this configuration needs.
pub fn of_stream(config: &StreamConfig) -> u32 {
    if config.allow_batched {
        4
    } else if config.allow_msg_counter
        || config.allow_atomic
        || config.allow_msg_schedules
        || config.persist_mode == PersistMode::Async
    {
        2
    } else {
        u32::from(config.allow_msg_ttl || config.subject_delete_marker_ttl > 0)
    }
}

pub fn of_consumer(config: &ConsumerConfig) -> u32 {
    if config.ack_policy == AckPolicy::FlowControl {
        return 4;
    }
    let is_pausing = config.pause_until.is_some_and(|until| !until.is_zero());
    let has_priorities = config.priority_policy != PriorityPolicy::None
        || config.priority_timeout != 0
        || !config.priority_groups.is_empty();
    u32::from(is_pausing || has_priorities)
}

/// Writes what is stored of levels: the one that is needed.
pub fn stamp_stream(config: &mut StreamConfig) {
    let level = of_stream(config);
    stamp(&mut config.metadata, level);
}

pub fn stamp_consumer(config: &mut ConsumerConfig) {
    let level = of_consumer(config);
    stamp(&mut config.metadata, level);
}

fn stamp(metadata: &mut BTreeMap<String, String>, level: u32) {
    metadata.remove(SERVER_VERSION);
    metadata.remove(SERVER_LEVEL);
    metadata.insert(REQUIRED.to_owned(), level.to_string());
}

/// Adds what only replies carry.
pub fn show(metadata: &mut BTreeMap<String, String>, server_version: &str) {
    metadata.insert(SERVER_VERSION.to_owned(), server_version.to_owned());
    metadata.insert(SERVER_LEVEL.to_owned(), API_LEVEL.to_string());
}

/// Takes over what another configuration says of levels, so that the rest can be compared.
pub fn align(metadata: &mut BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    metadata.remove(SERVER_VERSION);
    metadata.remove(SERVER_LEVEL);
    match other.get(REQUIRED) {
        Some(level) => metadata.insert(REQUIRED.to_owned(), level.clone()),
        None => metadata.remove(REQUIRED),
    };
}

/// Why a stored stream or consumer cannot run here (JS-066).
pub fn unsupported(metadata: &BTreeMap<String, String>) -> Option<String> {
    let level = metadata.get(REQUIRED).filter(|level| !level.is_empty())?;
    let is_supported = level.parse::<i64>().is_ok_and(|level| level <= i64::from(API_LEVEL));
    (!is_supported)
        .then(|| format!("unsupported - required API level: {level}, current API level: {API_LEVEL}"))
}

#[cfg(test)]
mod tests {
    use super::{check_required, of_consumer, of_stream, stamp_stream, unsupported};
    use crate::wire::{ConsumerConfig, PersistMode, StreamConfig, Time};

    #[test]
    fn a_request_may_require_what_there_is() {
        // JS-006
        for header in [None, Some(&b""[..]), Some(b"0"), Some(b"5"), Some(b"-1")] {
            assert_eq!(check_required(header), Ok(()), "{header:?}");
        }
        for header in [&b"6"[..], b"x", b"1.0", b" 1"] {
            assert!(check_required(Some(header)).is_err_and(|error| error.err_code == 10185), "{header:?}");
        }
    }

    #[test]
    fn levels_that_configurations_need() {
        // JS-065
        let stream = StreamConfig::default();
        assert_eq!(of_stream(&stream), 0);
        assert_eq!(of_stream(&StreamConfig { allow_msg_ttl: true, ..stream.clone() }), 1);
        assert_eq!(of_stream(&StreamConfig { persist_mode: PersistMode::Async, ..stream.clone() }), 2);
        assert_eq!(of_stream(&StreamConfig { allow_batched: true, allow_atomic: true, ..stream }), 4);
        let consumer = ConsumerConfig::default();
        assert_eq!(of_consumer(&consumer), 0);
        assert_eq!(of_consumer(&ConsumerConfig { pause_until: Some(Time(1)), ..consumer.clone() }), 1);
        assert_eq!(of_consumer(&ConsumerConfig { pause_until: Some(Time(0)), ..consumer }), 0);
    }

    #[test]
    fn what_clients_say_of_the_server_is_not_stored() {
        // JS-064
        let mut config = StreamConfig::default();
        for key in ["_nats.ver", "_nats.level", "_nats.req.level", "mine"] {
            config.metadata.insert(key.to_owned(), "9".to_owned());
        }
        stamp_stream(&mut config);
        let kept: Vec<_> =
            config.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(kept, [("_nats.req.level", "0"), ("mine", "9")]);
        config.metadata.insert("_nats.req.level".to_owned(), "6".to_owned());
        assert!(unsupported(&config.metadata).is_some());
    }
}
