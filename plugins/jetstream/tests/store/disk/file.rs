//! A file: what is read now, and what a crash leaves of it.

use super::content::Content;
use super::faults::{Fate, Faults, full};
use crate::random::Random;
use natsd_jetstream::store::vfs::VfsFile;
use natsd_plugin_api::Result;
use parking_lot::Mutex;
use std::sync::Arc;

/// What is written at once, at the least.
const SECTOR: usize = 512;

#[derive(Default)]
pub struct Node(Mutex<State>);

#[derive(Default)]
struct State {
    now: Content,
    durable: Content,
    /// Since the last sync, in order.
    pending: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

impl Node {
    /// The power goes: each change since the last sync is there, or not, or in part.
    pub fn crash(&self, random: &mut Random) {
        let mut state = self.0.lock();
        let mut content = std::mem::take(&mut state.durable);
        let pending = std::mem::take(&mut state.pending);
        // Often everything made it, or nothing did: the rest is for what lies between.
        let all = random.below(4);
        for change in pending {
            match (change, all) {
                (_, 0) => {}
                (Change::Len(len), 1) => content.set_len(len),
                (Change::Write(at, bytes), 1) => content.write(at, &bytes),
                (Change::Len(len), _) => {
                    if random.one_in(2) {
                        content.set_len(len);
                    }
                }
                (Change::Write(at, bytes), _) => tear(&mut content, at, &bytes, random),
            }
        }
        (state.now, state.durable) = (content.clone(), content);
    }

    pub fn copy(&self) -> Self {
        let now = self.0.lock().now.clone();
        Self(Mutex::new(State { durable: now.clone(), now, pending: Vec::new() }))
    }

    pub fn with<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.0.lock().now)
    }

    /// Changes the bytes behind everybody's back.
    pub fn damage(&self, change: impl FnOnce(&mut Content)) {
        let mut state = self.0.lock();
        change(&mut state.now);
        state.durable = state.now.clone();
        state.pending.clear();
    }

    /// A part of a write is on its way to the disk.
    fn begin(&self, at: u64, bytes: &[u8]) {
        let mut state = self.0.lock();
        state.now.write(at, bytes);
        state.pending.push(Change::Write(at, bytes.to_vec()));
    }

    fn sync(&self) {
        let mut state = self.0.lock();
        let State { durable, pending, .. } = &mut *state;
        for change in pending.drain(..) {
            match change {
                Change::Write(at, bytes) => durable.write(at, &bytes),
                Change::Len(len) => durable.set_len(len),
            }
        }
    }

    /// A sync that failed: nobody knows what is durable, and the next one does not make up for it.
    fn fail_sync(&self, random: &mut Random) {
        let mut state = self.0.lock();
        let State { durable, pending, .. } = &mut *state;
        for change in pending.drain(..).filter(|_| random.one_in(2)) {
            match change {
                Change::Write(at, bytes) => durable.write(at, &bytes),
                Change::Len(len) => durable.set_len(len),
            }
        }
    }
}

/// Whole, not at all, a beginning cut at any byte, or any sectors of it.
fn tear(content: &mut Content, at: u64, bytes: &[u8], random: &mut Random) {
    match random.below(4) {
        0 => {}
        1 => content.write(at, bytes),
        2 => content.write(at, &bytes[..random.below(bytes.len() as u64 + 1) as usize]),
        _ => {
            let mut from = 0;
            while from < bytes.len() {
                // Sectors lie where the disk has them, not where a write begins.
                let place = at as usize + from;
                let end = bytes.len().min(from + SECTOR - place % SECTOR);
                if random.one_in(2) {
                    content.write(at + from as u64, &bytes[from..end]);
                }
                from = end;
            }
        }
    }
}

/// A file that is open.
pub struct Open {
    pub faults: Arc<Faults>,
    pub path: String,
    pub node: Arc<Node>,
}

impl VfsFile for Open {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        self.faults.before_read(&self.path)?;
        Ok(self.node.with(|content| content.read(at, buffer)))
    }

    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        let fate = self.faults.before(&self.path);
        if let Fate::Lost(error) = fate {
            return Err(error);
        }
        let end = at + content.len() as u64;
        let len = self.node.with(Content::len);
        let granted = self.faults.grow(end.saturating_sub(len));
        let fits = (len.max(at) - at + granted).min(content.len() as u64) as usize;
        self.node.begin(at, &content[..fits]);
        self.faults.note_write(&self.path, at, content);
        match fate {
            Fate::Cut(error) => Err(error),
            _ if fits < content.len() => Err(full(&self.path)),
            _ => Ok(()),
        }
    }

    fn size(&self) -> Result<u64> {
        self.faults.before_read(&self.path)?;
        Ok(self.node.with(Content::len))
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        let fate = self.faults.before(&self.path);
        if let Fate::Lost(error) = fate {
            return Err(error);
        }
        let more = size_bytes.saturating_sub(self.node.with(Content::len));
        if self.faults.grow(more) < more {
            return Err(full(&self.path));
        }
        self.faults.shrink(self.node.with(Content::len).saturating_sub(size_bytes));
        let mut state = self.node.0.lock();
        state.now.set_len(size_bytes);
        state.pending.push(Change::Len(size_bytes));
        match fate {
            Fate::Cut(error) => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> Result<()> {
        if let Some(error) = self.faults.sync_error(&self.path) {
            self.node.fail_sync(&mut self.faults.random());
            return Err(error);
        }
        match self.faults.before(&self.path) {
            Fate::Done => self.node.sync(),
            Fate::Lost(error) => return Err(error),
            // It may have come to its end, without anybody being told.
            Fate::Cut(error) => {
                if self.faults.random().one_in(2) {
                    self.node.sync();
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
