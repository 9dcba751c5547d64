//! What is in the files of a stream after a start: its state log, from both copies, and its key; then its blocks
//! (`rebuild`). Files that are not encrypted as they should be now are written anew.

use super::files::{Slot, failed};
use super::floors::Floor;
use super::pack;
use super::place::{FileName, Home};
use super::rebuild;
use super::record::Codec;
use super::replay::Ends;
use super::seal::{PLAIN, SEED, Seal};
use super::state_log::{self, Found, Header};
use super::stream::{FileStore, Shared, StateLog};
use crate::store::{StoreError, StoreSettings, StoredConsumer};
use natsd_plugin_api::tracing;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Opens the store of a stream that was there. `ends` says how much of the files counts, where the log knew it.
pub fn open(shared: Arc<Shared>, home: Arc<Home>, ends: &Ends) -> Result<FileStore, StoreError> {
    let newest = Newest::find(&shared, &home, ends.floors.get(&home.id).copied())?;
    let Newest { generation, header, found, seed, is_current, differ } = newest;
    let wanted = shared.keys.as_ref().map_or(PLAIN, |keys| keys.wanted());
    let is_plain = header.sealed.is_none();
    let codec = Codec { salt: header.salt, seal: seal_of(&header, &seed) };
    let log = StateLog {
        slot: Slot::found(&home, FileName::State(generation)),
        generation,
        codec: codec.clone(),
        size: found.size,
        next_number: found.next_number,
        short_size: found.size,
        outdated: found.damaged > 0 || differ || !is_plain,
        open: Vec::new(),
    };
    let mut store = FileStore::new(shared, home, StoreSettings::default(), log);
    store.seed = seed;
    store.starts_block = !is_plain;
    store.meta = found.meta.clone().unwrap_or_default();
    store.consumers = found.consumers.clone();
    let whole = found.consumers.iter().filter(|(_, kept)| !kept.meta.is_empty());
    let stored = whole.map(|(name, kept)| StoredConsumer {
        name: name.clone(),
        meta: kept.meta.clone(),
        state: kept.state.clone(),
        changes: kept.changes.clone(),
    });
    store.found = stored.collect();
    store.state.last_seq = found.last_seq;
    store.state.last_time_ns = found.last_time_ns;
    store.seal = codec.seal.clone();
    let seals = |cipher: u8| Seal::of(cipher, &seed).filter(|_| !is_plain).map(Arc::new);
    rebuild::blocks(&mut store, &found, ends, &seals)?;
    if codec.cipher() != wanted || !is_current {
        convert(&mut store, wanted, is_plain)?;
    } else {
        convert_blocks(&mut store)?;
    }
    let noted = found.blocks.values().map(|facts| facts.last_seq).fold(found.last_seq, u64::max);
    if found.is_unnoted || store.state.last_seq > noted {
        // The shared log was emptied: only the last block has the end now, or nothing has.
        store.note_floor();
    }
    store.hand_over_later();
    store.noted_last_seq = store.state.last_seq;
    if !store.lost_seqs.is_empty() || store.state.lost_bytes > 0 {
        tracing::error!("{}: damage took {} messages", store.home.path, store.lost_seqs.len());
        store.tell_damage();
    }
    Ok(store)
}

fn seal_of(header: &Header, seed: &[u8; SEED]) -> Option<Arc<Seal>> {
    let cipher = header.sealed.as_ref()?.cipher;
    Seal::of(cipher, seed).map(Arc::new)
}

/// The state log with the highest generation that can be read.
struct Newest {
    generation: u64,
    header: Header,
    found: Found,
    seed: [u8; SEED],
    /// The stream's key is sealed by the current one of the server.
    is_current: bool,
    /// The copies are not the same.
    differ: bool,
}

impl Newest {
    fn find(shared: &Shared, home: &Home, floor: Option<Floor>) -> Result<Self, StoreError> {
        let dir = &home.path;
        let names: Vec<FileName> =
            shared.disk.list(dir)?.iter().filter_map(|name| FileName::parse(name)).collect();
        let generation = |name: &FileName| match name {
            FileName::State(generation) | FileName::Copy(generation) => Some(*generation),
            FileName::Block(_) | FileName::Packed(..) => None,
        };
        let generations: BTreeSet<u64> = names.iter().filter_map(generation).collect();
        for generation in generations.iter().rev() {
            let files = [FileName::State(*generation), FileName::Copy(*generation)];
            let read = |file: FileName| match names.contains(&file) {
                true => shared.disk.read(&file.path(dir)),
                false => Ok(Vec::new()),
            };
            let contents = [read(files[0])?, read(files[1])?];
            // What was written anew later knows better.
            let floor = floor.filter(|floor| floor.generation >= *generation);
            if let Some(newest) = Self::read(shared, home, *generation, &contents, floor)? {
                newest.cut(shared, home, &contents)?;
                let older = names.iter().filter(
                    |name| matches!(name, FileName::State(n) | FileName::Copy(n) if *n < newest.generation),
                );
                for path in older.map(|name| name.path(dir)) {
                    if let Err(error) = shared.disk.vfs.remove_file(&path) {
                        tracing::warn!("{path} could not be removed: {error}");
                    }
                }
                return Ok(newest);
            }
        }
        let why = "there is no readable state file".to_owned();
        Err(StoreError::Damaged { path: dir.clone(), why })
    }

    /// `None` for one that was being written when the server ended: it has no whole beginning.
    fn read(
        shared: &Shared,
        home: &Home,
        generation: u64,
        contents: &[Vec<u8>; 2],
        floor: Option<Floor>,
    ) -> Result<Option<Self>, StoreError> {
        let headers = contents.each_ref().map(|content| state_log::read_header(content));
        let Some(header) = headers[0].or(headers[1]) else { return Ok(None) };
        let (mut seed, mut is_current) = ([0; SEED], true);
        if let Some(sealed) = &header.sealed {
            let Some(keys) = &shared.keys else {
                let why = format!("{}: the stream is encrypted, and no key is configured", home.path);
                return Err(StoreError::Key(why));
            };
            let Some(unsealed) = keys.unseal(home.base(), sealed) else {
                let why = format!("{}: the stream cannot be decrypted with the configured key", home.path);
                return Err(StoreError::Key(why));
            };
            (seed, is_current) = unsealed;
        }
        let codec = Codec { salt: header.salt, seal: seal_of(&header, &seed) };
        let floor = floor.map(|floor| match floor.generation {
            of_it if of_it == generation => floor,
            // Of a later one that cannot be read: behind all that this one says.
            _ => Floor { number: u64::MAX, ..floor },
        });
        let found = state_log::read([&contents[0], &contents[1]], &header, &codec, floor);
        if found.meta.is_none() {
            return Ok(None);
        }
        let differ = headers[0] != headers[1];
        if found.damaged > 0 || differ {
            tracing::warn!("{}: {} damaged places in the state log", home.path, found.damaged);
        }
        Ok(Some(Self { generation, header, found, seed, is_current, differ }))
    }

    /// What is behind the last good record goes, so that the next one is not behind something else.
    fn cut(&self, shared: &Shared, home: &Home, contents: &[Vec<u8>; 2]) -> Result<(), StoreError> {
        for (content, file) in
            contents.iter().zip([FileName::State(self.generation), FileName::Copy(self.generation)])
        {
            if content.len() as u64 > self.found.size {
                cut(shared, &file.path(&home.path), self.found.size)?;
            }
        }
        Ok(())
    }
}

pub fn cut(shared: &Shared, path: &str, size: u64) -> Result<(), StoreError> {
    let cut = || {
        let file = shared.disk.vfs.open(path, false)?;
        file.set_size(size)?;
        file.sync()
    };
    cut().map_err(|error| failed(path, &error))
}

/// Writes the files of a stream anew, for another cipher or key.
fn convert(store: &mut FileStore, wanted: u8, was_plain: bool) -> Result<(), StoreError> {
    let path = store.home.path.clone();
    tracing::info!("{path}: encryption changes, its files are written anew");
    if wanted == PLAIN {
        // The key stays in the state log until nothing needs it.
        store.seal = None;
        convert_blocks(store)?;
        return write_log(store);
    }
    if was_plain && let Some(keys) = &store.shared.keys {
        store.seed = keys.draw();
    }
    store.seal = Seal::of(wanted, &store.seed).map(Arc::new);
    write_log(store)?;
    convert_blocks(store)?;
    store.starts_block = true;
    Ok(())
}

/// Goes on with a new state log, which is durable at once.
fn write_log(store: &mut FileStore) -> Result<(), StoreError> {
    let old = store.log.slot.clone();
    let content = store.next_log();
    let slot = Slot::found(&store.home, FileName::State(store.log.generation));
    let vfs = store.shared.disk.vfs.clone();
    for name in slot.name.copy().into_iter().chain([slot.name]) {
        let path = name.path(&store.home.path);
        vfs.write_atomic(&path, &content).map_err(|error| failed(&path, &error))?;
    }
    store.log.slot = slot;
    for name in old.name.copy().into_iter().chain([old.name]) {
        // It is outdated, so that it does no harm.
        let _ = vfs.remove_file(&name.path(&store.home.path));
    }
    Ok(())
}

fn convert_blocks(store: &mut FileStore) -> Result<(), StoreError> {
    let cipher = store.seal.as_ref().map_or(PLAIN, |seal| seal.cipher);
    for at in 0..store.blocks.len() {
        if store.blocks[at].cipher() != cipher {
            convert_block(store, at)?;
        }
    }
    Ok(())
}

/// Writes a block anew; its sequences stay.
fn convert_block(store: &mut FileStore, at: usize) -> Result<(), StoreError> {
    let path = store.blocks[at].slot.path();
    if let Some(raw) = store.unpacked(at)? {
        let block = &mut store.blocks[at];
        let codec = Codec { salt: block.codec.salt, seal: store.seal.clone() };
        let (content, packed) = pack::pack(&block.reader(block.codec.clone()), &raw, codec);
        store.shared.disk.vfs.write_atomic(&path, &content).map_err(|error| failed(&path, &error))?;
        block.packed = Some(packed);
    } else {
        let content = store.shared.disk.read(&path)?;
        let codec = Codec { salt: store.shared.salt(), seal: store.seal.clone() };
        let (block, content) = pack::reencode(&store.blocks[at], &content, codec);
        store.shared.disk.vfs.write_atomic(&path, &content).map_err(|error| failed(&path, &error))?;
        store.blocks[at].replace(block.codec, content.len() as u64);
    }
    store.blocks[at].slot.close();
    store.window = super::stream::Window::default();
    store.note_block(at);
    Ok(())
}
