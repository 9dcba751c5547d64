//! Consumers in a backup: configuration and state as JSON (JS-262), or in the older form files (SD-004, SD-050).

use super::blocks::uvarint;
use crate::wire::{ConsumerConfig, Time, is_default};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a backup holds of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerBackup {
    pub config: ConsumerConfig,
    pub state: ConsumerState,
}

/// What was delivered and what was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerState {
    pub delivered: Position,
    pub ack_floor: Position,
    /// By sequence in the stream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pending: BTreeMap<u64, Pending>,
    /// How often more than once, by sequence in the stream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub redelivered: BTreeMap<u64, u64>,
    /// Only natsd writes it and reads it: with deliver policy last per subject what is still to be delivered of the
    /// messages that were there at the beginning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_per_subject: Option<Chosen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub consumer_seq: u64,
    pub stream_seq: u64,
}

/// Delivered and not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pending {
    /// Of the delivery.
    pub sequence: u64,
    /// Of the delivery, nanoseconds since 1970.
    pub timestamp: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The first message that was not there at the beginning.
    pub next_seq: u64,
    pub left: Vec<u64>,
}

/// The metadata of a stream or a consumer in the older form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FileInfo<T> {
    #[serde(rename = "Created")]
    pub created: Time,
    #[serde(flatten)]
    pub config: T,
}

const MAGIC: u8 = 22;
const SECOND_NS: i64 = 1_000_000_000;

/// `o.dat`. `None`: it is damaged.
pub(super) fn read_file(mut bytes: &[u8]) -> Option<ConsumerState> {
    let (&[MAGIC, version @ (1 | 2)], rest) = bytes.split_first_chunk()? else { return None };
    bytes = rest;
    let from = &mut bytes;
    let mut position = || Some(Position { consumer_seq: uvarint(from)?, stream_seq: uvarint(from)? });
    let (ack_floor, mut delivered) = (position()?, position()?);
    if version == 1 {
        // SD-051
        for (delivered, floor) in [
            (&mut delivered.consumer_seq, ack_floor.consumer_seq),
            (&mut delivered.stream_seq, ack_floor.stream_seq),
        ] {
            *delivered = delivered.checked_add(floor.saturating_sub(1))?;
        }
    }
    if (ack_floor.stream_seq | delivered.stream_seq) >> 63 != 0 {
        return None;
    }
    let mut state = ConsumerState { delivered, ack_floor, ..ConsumerState::default() };
    let pending = uvarint(from)?;
    let base = if pending > 0 { varint(from)? } else { 0 };
    for _ in 0..pending {
        let seq = uvarint(from)?.checked_add(ack_floor.stream_seq)?;
        let sequence = if version == 2 { uvarint(from)?.checked_add(ack_floor.consumer_seq)? } else { 0 };
        let seconds = match (version, varint(from)?) {
            (1, after) => base.checked_add(after)?,
            (_, before) => base.checked_sub(before)?,
        };
        state.pending.insert(seq, Pending { sequence, timestamp: seconds.checked_mul(SECOND_NS)? });
    }
    for _ in 0..uvarint(from)? {
        let seq = uvarint(from)?.checked_add(ack_floor.stream_seq)?;
        state.redelivered.insert(seq, uvarint(from)?);
    }
    Some(state)
}

/// With the sign in the lowest bit.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let value = uvarint(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Pending, Position, read_file};
    use proptest::prelude::*;

    #[test]
    fn a_recorded_file_is_read() {
        // Eight delivered, acknowledged 1, 2 and the fifth, one to be delivered again.
        let file = b"\x16\x02\x02\x03\x08\x0a\x05\x98\xad\xab\xb0\x0d\x05\x04\x8a\x0e\x06\x05\x02\x07\x06\x02\x01\x01\
            \x02\x02\x02\x02\x00";
        let state = read_file(file).unwrap();
        assert_eq!(state.delivered, Position { consumer_seq: 8, stream_seq: 10 });
        assert_eq!(state.ack_floor, Position { consumer_seq: 2, stream_seq: 3 });
        let pending: Vec<_> = state.pending.iter().map(|(seq, pending)| (*seq, pending.sequence)).collect();
        assert_eq!(pending, [(4, 3), (5, 4), (8, 6), (9, 7), (10, 8)]);
        assert!(state.redelivered.is_empty());
        assert!(
            state.pending.values().all(|Pending { timestamp, .. }| *timestamp > 1_700_000_000_000_000_000)
        );
        for len in 0..file.len() {
            assert_eq!(read_file(&file[..len]), None);
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..80), version in 0..4u8) {
            let _ = read_file(&[vec![22, version], text].concat());
        }
    }
}
