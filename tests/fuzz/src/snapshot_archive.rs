//! Backups of streams, in both forms and behind their compression.

use natsd_jetstream::backup::BackupError;
use natsd_jetstream::backup::restore::{Plan, restore};
use natsd_jetstream::backup::s2::Compressor;
use natsd_jetstream::filter::Filter;
use natsd_jetstream::store::memory::MemoryEngine;
use natsd_jetstream::wire::{Storage, StreamConfig};
use std::io::{self, Read};
use std::sync::Arc;

use crate::cuts::pieces;

pub const WORDS: &[&[u8]] = &[
    b"\xff\x06\0\0S2sTwO",
    b"\xff\x06\0\0sNaPpY",
    b"\x01\x05\0\0",
    b"\xfe\0\0\0",
    b"NATSARC1",
    b"state.json",
    b"consumers/",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",
    b"\0\0\0\0\0",
    br#"{"messages":1,"first_seq":1,"last_seq":18446744073709551615}"#,
    br#""consumer_count":"#,
    br#"{"config":{},"state":{}}"#,
    br#""pending":{"1":{"Sequence":1,"Timestamp":1}}"#,
    b"NATS/1.0\r\n\r\n",
    b"meta.inf",
    b"meta.sum",
    b"msgs/1.blk",
    b"obs/C/o.dat",
    b"ustar\0",
    b"\x16\x02",
];

/// The first byte says whether the rest is compressed; if it is not, that is done here, as checksums keep changed
/// bytes from all that comes behind them. How a backup is cut makes no difference, and what was restored can be read.
pub fn snapshot_archive(input: &[u8]) {
    let Some((kind, content)) = input.split_first() else { return };
    let content = match kind & 1 {
        0 => content.to_vec(),
        _ => {
            let mut compressor = Compressor::default();
            compressor.write(content);
            compressor.flush();
            compressor.out
        }
    };
    let whole = outcome(&content[..]);
    let pieces = pieces(&content);
    assert_eq!(whole, outcome(Cut(pieces.into_iter())));
}

/// What was restored, or why nothing was.
fn outcome(input: impl Read) -> Result<(u64, u64, u64), String> {
    let config = StreamConfig {
        name: "S".to_owned(),
        storage: Storage::Memory,
        max_msg_size: -1,
        max_msgs: -1,
        max_bytes: -1,
        max_msgs_per_subject: -1,
        ..StreamConfig::default()
    };
    let plan = Plan {
        engine: Arc::new(MemoryEngine {}),
        account: "A".to_owned(),
        config,
        now_ns: 1_000_000_000,
        check_consumer: Box::new(|_| Ok(())),
        check_bytes: Box::new(|_| Ok(())),
    };
    let mut restored = restore(input, plan).map_err(|why: BackupError| why.to_string())?;
    let state = restored.store.state();
    let (mut seq, mut count) = (state.first_seq, 0);
    while let Some(message) = restored.store.next(&Filter::all(), seq).expect("a memory store can be read") {
        assert!(message.seq >= seq && message.seq <= state.last_seq);
        (seq, count) = (message.seq + 1, count + 1);
    }
    assert_eq!(count, state.messages);
    Ok((state.first_seq, state.last_seq, count))
}

/// A reader that gives one piece after the other.
struct Cut<'a>(std::vec::IntoIter<&'a [u8]>);

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.as_slice().first() else { return Ok(0) };
        let len = piece.len().min(buffer.len());
        buffer[..len].copy_from_slice(&piece[..len]);
        let rest = &piece[len..];
        self.0.next();
        if !rest.is_empty() {
            let mut pieces = vec![rest];
            pieces.extend(self.0.by_ref());
            self.0 = pieces.into_iter();
        }
        Ok(len)
    }
}
