//! What is in the files of a stream after a start: blocks are read whole, every record checked, and what cannot be
//! read is stepped over and counted.

use super::block::{self, Block, Entry};
use super::files::{Slot, failed};
use super::place::{FileName, Home};
use super::record::{self, Bad};
use super::state_log::{self, Found};
use super::stream::{FileStore, Shared, StateLog, size_bytes};
use crate::store::{StoreError, StoreSettings, StoredConsumer, SubjectFacts};
use hashbrown::HashMap;
use natsd_plugin_api::tracing;
use std::sync::Arc;

/// Every good entry of a block's file with its place. Answers where the good part ends, and the bytes that could
/// not be read before that.
pub fn scan(block: &Block, content: &[u8], visit: &mut dyn FnMut(u64, Entry<'_>)) -> (u64, u64) {
    let (mut at, mut end, mut lost) = (block::HEADER, block::HEADER, 0);
    while at < content.len() {
        match record::read(content, at, 0, block.salt) {
            Ok(record) => {
                if let Some(entry) = block.entry(&record) {
                    visit(at as u64, entry);
                }
                at += record.len;
                end = at;
            }
            Err(bad) => match record::resync(content, at, bad, 0, block.salt) {
                Some(next) => {
                    lost += (next - at) as u64;
                    at = next;
                }
                None => {
                    // A whole record with a wrong hash at the end is damage, the rest of one is a torn write.
                    if let Bad::Content { len } = bad {
                        lost += len as u64;
                        end = at + len;
                    }
                    break;
                }
            },
        }
    }
    (end as u64, lost)
}

/// Opens the store of a stream that was there.
/// `ends` says how much of the files counts, where the log knew it.
pub fn open(
    shared: Arc<Shared>,
    home: Arc<Home>,
    ends: &HashMap<(u64, FileName), u64>,
) -> Result<FileStore, StoreError> {
    let (generation, found) = newest_log(&shared, &home.path)?;
    let log = StateLog {
        slot: Slot::found(&home, FileName::State(generation)),
        generation,
        salt: found.salt,
        size: found.size,
        next_number: found.next_number,
        short_size: found.size,
        open: Vec::new(),
    };
    cut(&shared, &log.slot, log.size)?;
    let mut store = FileStore::new(shared, home, StoreSettings::default(), log);
    store.meta = found.meta.clone().unwrap_or_default();
    store.consumers = found.consumers.clone();
    store.found = found
        .consumers
        .iter()
        .filter(|(_, kept)| !kept.meta.is_empty())
        .map(|(name, kept)| StoredConsumer {
            name: name.clone(),
            meta: kept.meta.clone(),
            state: kept.state.clone(),
            changes: kept.changes.clone(),
        })
        .collect();
    store.state.last_seq = found.last_seq;
    store.state.last_time_ns = found.last_time_ns;
    read_blocks(&mut store, &found, ends)?;
    Ok(store)
}

/// The state log with the highest generation that can be read. Older ones are removed.
fn newest_log(shared: &Shared, dir: &str) -> Result<(u64, Found), StoreError> {
    let names = shared.disk.list(dir)?;
    let state = |name: &String| match FileName::parse(name) {
        Some(FileName::State(generation)) => Some(generation),
        _ => None,
    };
    let mut generations: Vec<u64> = names.iter().filter_map(state).collect();
    generations.sort_unstable();
    let mut newest = None;
    for generation in generations.into_iter().rev() {
        let path = FileName::State(generation).path(dir);
        if newest.is_some() {
            if let Err(error) = shared.disk.vfs.remove_file(&path) {
                tracing::warn!("{path} could not be removed: {error}");
            }
            continue;
        }
        let content = shared.disk.read(&path)?;
        // One that was being written when the server ended has no whole beginning.
        if let Some(found) = state_log::read(&content).filter(|found| found.meta.is_some()) {
            if found.damaged > 0 {
                tracing::warn!("{path}: {} damaged places", found.damaged);
            }
            newest = Some((generation, found));
        }
    }
    newest.ok_or_else(|| StoreError::Damaged {
        path: dir.to_owned(),
        why: "there is no readable state file".to_owned(),
    })
}

fn cut(shared: &Shared, slot: &Arc<Slot>, size: u64) -> Result<(), StoreError> {
    let file = shared.disk.open(slot)?;
    let cut = || {
        if file.size()? > size {
            file.set_size(size)?;
            file.sync()?;
        }
        Ok(())
    };
    cut().map_err(|error| failed(&slot.path(), &error))
}

fn read_blocks(
    store: &mut FileStore,
    found: &Found,
    ends: &HashMap<(u64, FileName), u64>,
) -> Result<(), StoreError> {
    let names = store.shared.disk.list(&store.home.path)?;
    let block = |name: &String| match FileName::parse(name) {
        Some(FileName::Block(number)) => Some(number),
        _ => None,
    };
    let mut numbers: Vec<u64> = names.iter().filter_map(block).collect();
    numbers.sort_unstable();
    let mut dead = found.dead.clone();
    dead.sort_unstable();
    for number in &numbers {
        let counts = ends.get(&(store.home.id, FileName::Block(*number))).copied();
        read_block(store, found, &dead, *number, counts)?;
    }
    store.next_block = numbers.last().map_or(1, |last| last + 1);
    let first_live = store.blocks.iter().find(|block| block.live > 0);
    match first_live {
        None => {
            store.state.first_seq = if store.state.last_seq == 0 { 0 } else { store.state.last_seq + 1 };
        }
        Some(block) => {
            let first = (block.first_seq..=block.last_seq).find(|&seq| block.offset(seq).is_some());
            store.state.first_seq = first.unwrap_or(block.first_seq);
            store.state.first_time_ns = block.first_time_ns;
        }
    }
    store.go_on();
    // Only the last blocks keep their offsets in memory.
    let many = store.blocks.len().saturating_sub(2);
    for block in &mut store.blocks[..many] {
        block.offsets = None;
        block.slot.close();
    }
    Ok(())
}

fn read_block(
    store: &mut FileStore,
    found: &Found,
    dead: &[(u64, u64)],
    number: u64,
    counts: Option<u64>,
) -> Result<(), StoreError> {
    let slot = Slot::found(&store.home, FileName::Block(number));
    let path = slot.path();
    let mut content = store.shared.disk.read(&path)?;
    let there = content.len();
    let (Some(mut block), Some(reader)) =
        (Block::open(number, slot.clone(), &content), Block::open(number, slot.clone(), &content))
    else {
        if counts.is_some_and(|counts| counts <= block::HEADER as u64) || there <= block::HEADER {
            // Nothing in it was ever answered.
            return Ok(());
        }
        tracing::error!("{path}: the header is damaged; the file is left alone");
        store.state.lost_bytes += there as u64;
        return Ok(());
    };
    if let Some(counts) = counts.filter(|counts| there as u64 > *counts) {
        // Large contents come to their file before the log says that they count.
        content.truncate(whole(&reader, &content, counts as usize));
    }
    let cuts = found.truncations.iter().filter(|(_, next_block)| number < *next_block);
    let cut_above = cuts.map(|(last_seq, _)| *last_seq).min().unwrap_or(u64::MAX);
    let mut entries =
        Entries { block: &mut block, found, dead, cut_above, expected: reader.first_seq, gaps: Vec::new() };
    let (end, lost_bytes) = scan(&reader, &content, &mut |offset, entry| entries.take(store, offset, &entry));
    for seq in entries.gaps {
        if seq >= found.first_seq && !is_in(dead, seq) {
            store.state.lost_seqs.push(seq);
        }
    }
    if lost_bytes > 0 {
        store.state.lost_bytes += lost_bytes;
        tracing::warn!("{path}: {lost_bytes} bytes are damaged and left out");
    }
    block.size = end;
    if (end as usize) < there {
        cut(&store.shared, &slot, end)?;
    }
    if block.live == 0 && found.last_seq >= block.last_seq {
        // Everything in it is gone, and the state log knows its last sequence.
        if let Err(error) = store.shared.disk.vfs.remove_file(&path) {
            tracing::warn!("{path} could not be removed: {error}");
        }
        return Ok(());
    }
    store.blocks.push(block);
    Ok(())
}

/// Up to where the records behind `from` are good, one after the other.
fn whole(block: &Block, content: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Ok(record) = record::read(content, at, 0, block.salt) {
        at += record.len;
    }
    at
}

/// The entries of a block on their way into a store.
struct Entries<'a> {
    block: &'a mut Block,
    found: &'a Found,
    dead: &'a [(u64, u64)],
    /// What is above was cut off.
    cut_above: u64,
    /// The next sequence, if none is missing.
    expected: u64,
    gaps: Vec<u64>,
}

impl Entries<'_> {
    fn take(&mut self, store: &mut FileStore, offset: u64, entry: &Entry<'_>) {
        let last = match *entry {
            Entry::Message { seq, time_ns, flags, subject, headers, payload } => {
                if seq < self.expected || seq > self.cut_above {
                    return;
                }
                self.gaps.extend(self.expected..seq);
                self.block.add(seq, offset, time_ns, flags);
                store.state.last_time_ns = store.state.last_time_ns.max(time_ns);
                if seq < self.found.first_seq || is_in(self.dead, seq) {
                    self.block.kill(seq);
                } else {
                    store.state.messages += 1;
                    store.state.bytes += size_bytes(subject.len(), headers.len(), payload.len());
                    let facts = store
                        .subjects
                        .entry_ref(subject)
                        .or_insert_with(|| SubjectFacts { first_seq: seq, ..SubjectFacts::default() });
                    facts.messages += 1;
                    facts.last_seq = seq;
                }
                seq
            }
            Entry::Skip { count, time_ns } => {
                let last = self.expected + count - 1;
                self.block.fill_to(last + 1);
                store.state.last_time_ns = store.state.last_time_ns.max(time_ns);
                last
            }
            Entry::Erased { seq } => {
                self.gaps.extend(self.expected..seq);
                self.block.fill_to(seq + 1);
                seq
            }
        };
        self.expected = self.expected.max(last + 1);
        store.state.last_seq = store.state.last_seq.max(last);
    }
}

fn is_in(ranges: &[(u64, u64)], seq: u64) -> bool {
    // Ranges may overlap: what was noted twice.
    let after = ranges.partition_point(|(first, _)| *first <= seq);
    ranges[..after].iter().rev().take(64).any(|(_, last)| *last >= seq)
}
