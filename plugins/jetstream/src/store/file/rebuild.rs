//! What is in the blocks of a stream after a start: each is read whole, every record checked, and what cannot be
//! read is stepped over and counted.

use super::block::{self, Block, Entry};
use super::files::{Slot, failed};
use super::mend::Mender;
use super::pack;
use super::place::FileName;
use super::record::{self, Bad};
use super::recovery::cut;
use super::replay::Ends;
use super::seal::Seal;
use super::state_log::Found;
use super::stream::{FileStore, size_bytes};
use crate::store::StoreError;
use natsd_plugin_api::tracing;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

type Seals<'a> = &'a dyn Fn(u8) -> Option<Arc<Seal>>;

/// Every good entry of a block's file with its place. Answers where the good part ends, and the bytes that could
/// not be read before that.
pub fn scan(block: &Block, content: &[u8], visit: &mut dyn FnMut(u64, Entry<'_>)) -> (u64, u64) {
    scan_mending(block, &mut Cow::Borrowed(content), &mut Mender::default(), visit)
}

/// The same; flipped bits are put right in `content`.
fn scan_mending(
    block: &Block,
    content: &mut Cow<'_, [u8]>,
    mender: &mut Mender,
    visit: &mut dyn FnMut(u64, Entry<'_>),
) -> (u64, u64) {
    let (mut at, mut end, mut lost) = (block::HEADER, block::HEADER, 0);
    let salt = block.codec.salt;
    let mut buffer = Vec::new();
    while at < content.len() {
        match record::read(content, at, 0, salt) {
            Ok(record) => {
                let body = block.body(&record, at as u64, &mut buffer);
                match body.and_then(|body| block.entry(record.kind, body)) {
                    Some(entry) => visit(at as u64, entry),
                    None => lost += record.len as u64,
                }
                at += record.len;
                end = at;
            }
            Err(bad) => match mender
                .mend(content, at, bad, 0, salt)
                .ok_or_else(|| record::resync(content, at, bad, 0, salt))
            {
                Ok(whole) => content.to_mut()[at..at + whole.len()].copy_from_slice(&whole),
                Err(Some(next)) => {
                    lost += (next - at) as u64;
                    at = next;
                }
                Err(None) => {
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

/// Reads all blocks of a stream.
pub fn blocks(store: &mut FileStore, found: &Found, ends: &Ends, seals: Seals<'_>) -> Result<(), StoreError> {
    let names = store.shared.disk.list(&store.home.path)?;
    // The oldest file of a block: a later one was never said to count, else the older would be gone.
    let mut files: BTreeMap<u64, FileName> = BTreeMap::new();
    let mut spare = Vec::new();
    for name in names.iter().filter_map(|name| FileName::parse(name)) {
        let (FileName::Block(number) | FileName::Packed(number, _)) = name else { continue };
        match files.entry(number) {
            btree_map::Entry::Vacant(place) => drop(place.insert(name)),
            btree_map::Entry::Occupied(mut place) => {
                spare.push(if name < *place.get() { place.insert(name) } else { name })
            }
        }
    }
    for path in spare.iter().map(|name| name.path(&store.home.path)) {
        if let Err(error) = store.shared.disk.vfs.remove_file(&path) {
            tracing::warn!("{path} could not be removed: {error}");
        }
    }
    let mut numbers: BTreeSet<u64> = files.keys().copied().collect();
    let mut rebuild = Rebuild::new(store, found, ends, seals);
    for (number, file) in files {
        rebuild.block(number, file)?;
    }
    for (number, facts) in &found.blocks {
        if !numbers.contains(number) {
            let cut_above = rebuild.cut_above(*number);
            let last_seq = facts.last_seq.min(cut_above);
            rebuild.lose(facts.first_seq, last_seq);
            rebuild.store.state.last_seq = rebuild.store.state.last_seq.max(last_seq);
        }
    }
    rebuild.lose_between_blocks();
    let spare = rebuild.spare;
    for at in (0..store.blocks.len()).rev() {
        if spare.contains(&store.blocks[at].number) {
            store.drop_block(at);
        }
    }
    numbers.extend(found.blocks.keys());
    store.lost_seqs.sort_unstable();
    store.lost_seqs.dedup();
    // Below the number that a truncation knew nothing new may come.
    let truncated = found.truncations.iter().map(|(_, next_block)| *next_block).max();
    store.next_block = numbers.last().map_or(1, |last| last + 1).max(truncated.unwrap_or(1));
    let first_live = store.blocks.iter().find(|block| block.live > 0);
    match first_live {
        None => {
            // One that never had any says 0, until a purge says where the first will be.
            let is_noted = store.state.last_seq > 0 || found.first_seq > 0;
            store.state.first_seq = if is_noted { store.state.last_seq + 1 } else { 0 };
        }
        Some(block) => {
            let first = (block.first_seq..=block.last_seq).find(|&seq| block.offset(seq).is_some());
            store.state.first_seq = first.unwrap_or(block.first_seq);
        }
    }
    store.go_on();
    // What would be added to a block that was cut would not count.
    store.starts_block |= store.blocks.last().is_some_and(|block| block.cut_above < u64::MAX);
    store.first_time()?;
    // Only the last block keeps its offsets in memory.
    let many = store.blocks.len().saturating_sub(1);
    for block in store.blocks.iter_mut().take(many) {
        block.offsets = None;
        block.shrink();
        block.slot.close();
    }
    Ok(())
}

/// Ranges that neither touch nor overlap, ascending.
fn merge(sorted: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

struct Rebuild<'a> {
    store: &'a mut FileStore,
    found: &'a Found,
    /// Removed sequences.
    dead: Vec<(u64, u64)>,
    ends: &'a Ends,
    seals: Seals<'a>,
    /// Blocks without a message, of which the state log knows the last sequence and time.
    spare: Vec<u64>,
    /// For the content of files.
    buffer: Vec<u8>,
}

impl<'a> Rebuild<'a> {
    fn new(store: &'a mut FileStore, found: &'a Found, ends: &'a Ends, seals: Seals<'a>) -> Self {
        let mut dead = found.dead.clone();
        dead.sort_unstable();
        let (spare, buffer) = (Vec::new(), Vec::new());
        Self { store, found, dead: merge(dead), ends, seals, spare, buffer }
    }

    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError> {
        let mut content = std::mem::take(&mut self.buffer);
        self.store.shared.disk.read_into(path, &mut content)?;
        Ok(content)
    }

    /// What a block of that number has above this was cut off.
    fn cut_above(&self, number: u64) -> u64 {
        let cuts = self.found.truncations.iter().filter(|(_, next_block)| number < *next_block);
        cuts.map(|(last_seq, _)| *last_seq).min().unwrap_or(u64::MAX)
    }

    fn is_gone(&self, seq: u64) -> bool {
        let after = self.dead.partition_point(|(first, _)| *first <= seq);
        seq < self.found.first_seq || self.dead[..after].last().is_some_and(|(_, last)| *last >= seq)
    }

    /// What should be there and is not.
    fn lose(&mut self, first: u64, last: u64) {
        let mut from = first.max(self.found.first_seq);
        let after = self.dead.partition_point(|(_, dead_last)| *dead_last < from);
        for (dead_first, dead_last) in &self.dead[after..] {
            if *dead_first > last {
                break;
            }
            self.store.lost_seqs.extend(from..*dead_first);
            from = dead_last.saturating_add(1);
        }
        self.store.lost_seqs.extend(from..=last);
    }

    /// Every sequence is in a block, or it was removed.
    fn lose_between_blocks(&mut self) {
        let mut ranges: Vec<(u64, u64)> =
            self.store.blocks.iter().map(|block| (block.first_seq, block.last_seq)).collect();
        ranges.push((self.store.state.last_seq + 1, u64::MAX));
        let mut expected = self.found.first_seq.max(1);
        for (first, last) in ranges {
            if first > expected {
                self.lose(expected, first - 1);
            }
            expected = expected.max(last.saturating_add(1));
        }
    }

    /// Large contents come to their file before the log says that they count. If the log is damaged, that may have
    /// been said there.
    fn end_of(&self, block: &Block, content: &[u8], counts: usize) -> usize {
        if self.ends.are_unsure { whole(block, content, counts) } else { counts }
    }

    /// Of the others, the first one with a message alone is asked again where its messages are.
    fn push(&mut self, block: Block) {
        if let Some((last, earlier)) = self.store.blocks.split_last_mut()
            && earlier.iter().any(|block| block.live > 0)
        {
            last.offsets = None;
        }
        self.store.blocks.push(block);
    }

    fn block(&mut self, number: u64, file: FileName) -> Result<(), StoreError> {
        let counts = self.ends.files.get(&(self.store.home.id, file)).copied();
        let slot = Slot::found(&self.store.home, file);
        let path = slot.path();
        let mut content = self.read(&path)?;
        let there = content.len();
        let facts = self.found.blocks.get(&number);
        let known = || Block::known(number, slot.clone(), facts?, self.seals);
        let opened = match file {
            FileName::Packed(..) => pack::unpack(number, &slot, &content, known(), self.seals),
            _ => Block::open(number, slot.clone(), &content, self.seals)
                .or_else(known)
                .map(|block| (block, Vec::new())),
        };
        let Some((mut block, raw)) = opened else {
            if counts.is_none_or(|counts| counts > block::HEADER as u64) && there > block::HEADER {
                tracing::error!("{path}: the header is damaged; the file is left alone");
                self.store.state.lost_bytes += there as u64;
            }
            return Ok(());
        };
        let reader = block.reader(block.codec.clone());
        if block.packed.is_some() {
            content = raw;
        } else if let Some(counts) = counts.filter(|counts| there as u64 > *counts) {
            content.truncate(self.end_of(&reader, &content, counts as usize));
        }
        let mut entries = Entries {
            cut_above: self.cut_above(number),
            expected: reader.first_seq,
            block: &mut block,
            gaps: Vec::new(),
        };
        let (mut mender, mut content) = (Mender::default(), Cow::Owned(content));
        let mut take = |at, entry: Entry<'_>| self.take(&mut entries, at, &entry);
        let (end, lost_bytes) = scan_mending(&reader, &mut content, &mut mender, &mut take);
        // The state log knows of more than there is: the end was lost.
        if let Some(facts) = facts {
            let last_seq = facts.last_seq.min(entries.cut_above);
            if last_seq >= entries.expected {
                entries.gaps.push((entries.expected, last_seq));
                entries.block.fill_to(last_seq + 1);
                self.store.state.last_seq = self.store.state.last_seq.max(last_seq);
            }
        }
        let gaps = entries.gaps;
        let before = self.store.lost_seqs.len();
        gaps.into_iter().for_each(|(first, last)| self.lose(first, last));
        let is_damaged = lost_bytes > 0 || self.store.lost_seqs.len() > before;
        if is_damaged {
            self.store.state.lost_bytes += lost_bytes;
            tracing::warn!("{path}: {lost_bytes} bytes are damaged and left out");
        }
        block.size = if block.packed.is_some() { content.len() as u64 } else { end };
        block.cut_above = self.cut_above(number);
        if block.packed.is_none() {
            self.write_mended(&path, &content, &mender.mended)?;
            if (end as usize) < there {
                cut(&self.store.shared, &path, end)?;
            }
        }
        let is_known = self.found.last_seq >= block.last_seq && self.found.last_time_ns >= block.last_time_ns;
        let is_spare = block.live == 0 && !is_damaged && is_known;
        self.buffer = content.into_owned();
        self.push(block);
        if is_spare {
            self.spare.push(number);
        }
        Ok(())
    }

    /// Repaired records go where they were found.
    fn write_mended(&self, path: &str, content: &[u8], mended: &[(usize, usize)]) -> Result<(), StoreError> {
        if mended.is_empty() {
            return Ok(());
        }
        tracing::warn!("{path}: {} flipped bits were repaired", mended.len());
        let write = || {
            let file = self.store.shared.disk.vfs.open(path, false)?;
            for (at, len) in mended {
                file.write_all_at(*at as u64, &content[*at..at + len])?;
            }
            file.sync()
        };
        write().map_err(|error| failed(path, &error))
    }

    fn take(&mut self, entries: &mut Entries<'_>, offset: u64, entry: &Entry<'_>) {
        let last = match *entry {
            Entry::Message { seq, time_ns, flags, subject, headers, payload } => {
                if seq < entries.expected || seq > entries.cut_above {
                    return;
                }
                entries.miss_until(seq);
                entries.block.add(seq, offset, time_ns, block::flags_of(flags, headers));
                let store = &mut *self.store;
                store.state.last_time_ns = store.state.last_time_ns.max(time_ns);
                if self.is_gone(seq) {
                    entries.block.kill(seq);
                } else {
                    let store = &mut *self.store;
                    store.state.messages += 1;
                    store.state.bytes += size_bytes(subject.len(), headers.len(), payload.len());
                    store.subjects.add(subject, seq);
                }
                seq
            }
            Entry::Skip { first, count, time_ns } => {
                let last = first.saturating_add(count.saturating_sub(1)).min(entries.cut_above);
                if first < entries.expected || last < first {
                    return;
                }
                entries.miss_until(first);
                entries.block.fill_to(last + 1);
                self.store.state.last_time_ns = self.store.state.last_time_ns.max(time_ns);
                last
            }
            Entry::Erased { seq } => {
                if seq < entries.expected || seq > entries.cut_above {
                    return;
                }
                entries.miss_until(seq);
                entries.block.fill_to(seq + 1);
                seq
            }
        };
        entries.expected = entries.expected.max(last + 1);
        self.store.state.last_seq = self.store.state.last_seq.max(last);
    }
}

/// The entries of a block on their way into a store.
struct Entries<'a> {
    block: &'a mut Block,
    /// What is above was cut off.
    cut_above: u64,
    /// The next sequence, if none is missing.
    expected: u64,
    gaps: Vec<(u64, u64)>,
}

impl Entries<'_> {
    fn miss_until(&mut self, seq: u64) {
        if seq > self.expected {
            self.gaps.push((self.expected, seq - 1));
        }
    }
}

/// Up to where the records behind `from` are good, one after the other.
fn whole(block: &Block, content: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Ok(record) = record::read(content, at, 0, block.codec.salt) {
        at += record.len;
    }
    at
}
