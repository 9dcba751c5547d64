//! What a stream writes about itself into its store: JSON with the configuration and the time of creation.

use crate::wire::{StreamConfig, Time, is_default};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Meta {
    /// A newer form is not understood.
    version: u32,
    created: Time,
    config: StreamConfig,
    /// A restore has not come to its end.
    #[serde(default, skip_serializing_if = "is_default")]
    unfinished: bool,
}

const VERSION: u32 = 1;

pub fn encode(config: &StreamConfig, created_ns: i64) -> Vec<u8> {
    encode_with(config, created_ns, false)
}

/// While a restore fills the stream.
pub fn encode_unfinished(config: &StreamConfig, created_ns: i64) -> Vec<u8> {
    encode_with(config, created_ns, true)
}

fn encode_with(config: &StreamConfig, created_ns: i64, unfinished: bool) -> Vec<u8> {
    let meta = Meta { version: VERSION, created: Time(created_ns), config: config.clone(), unfinished };
    serde_json::to_vec(&meta).unwrap_or_default()
}

/// Whether a restore did not come to its end.
pub fn is_unfinished(bytes: &[u8]) -> bool {
    serde_json::from_slice(bytes).is_ok_and(|meta: Meta| meta.unfinished)
}

pub fn decode(bytes: &[u8]) -> Result<(StreamConfig, i64), String> {
    let meta: Meta = serde_json::from_slice(bytes).map_err(|why| format!("metadata of the stream: {why}"))?;
    if meta.version > VERSION {
        return Err(format!("metadata of the stream: version {} is newer than this server", meta.version));
    }
    Ok((meta.config, meta.created.0))
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::wire::StreamConfig;

    #[test]
    fn what_was_written_is_read() {
        let config = StreamConfig { name: "S".to_owned(), max_msgs: 7, ..StreamConfig::default() };
        assert_eq!(
            decode(&encode(&config, 1_700_000_000_000_000_001)),
            Ok((config, 1_700_000_000_000_000_001))
        );
        assert!(decode(b"{}").is_err() && decode(b"").is_err());
    }
}
