//! Which segment of the log is written, and what has to be done before one is used again: everything that it has is
//! in the files of streams then, and synced.

use super::super::keeper::Chore;
use super::super::log::Log;
use super::Io;
use crate::store::StoreError;
use std::sync::atomic::Ordering::Relaxed;

impl Io {
    /// What the log said at the start stays there until it is needed, and is durable elsewhere then.
    pub(super) fn start_log(&mut self) -> Result<(), StoreError> {
        let Some(log) = self.log.as_mut().filter(|log| !log.is_started()) else { return Ok(()) };
        if self.clock.is_none() {
            self.keeper.run_once();
        }
        self.keeper.wait(log.generation())?;
        let salts = self.salts.clone();
        log.start(&*self.disk.vfs, &self.root, || salts(), self.next_id.load(Relaxed))?;
        self.keeper.assume(log.generation() - 1);
        Ok(())
    }

    /// Goes on in the other segment of the log; this one is done when its files are synced.
    pub(super) fn switch(&mut self) -> Result<(), StoreError> {
        self.apply()?;
        let Some(generation) = self.log.as_ref().map(Log::generation) else { return Ok(()) };
        self.settle(generation);
        self.keeper.wait(generation - 1)?;
        self.floors.are_owed = true;
        match &mut self.log {
            Some(log) => log.begin((self.salts)(), self.next_id.load(Relaxed)),
            None => Ok(()),
        }
    }

    /// Everything comes to its files, and what the log had is overwritten.
    pub(super) fn wipe(&mut self) -> Result<(), StoreError> {
        match self.apply() {
            // Those who wait for it go on waiting.
            Err(error @ StoreError::Full { .. }) => {
                self.full = Some(error);
                return Ok(());
            }
            applied => applied?,
        }
        let Some(generation) = self.log.as_ref().map(Log::generation) else { return Ok(()) };
        self.settle(generation);
        self.keeper.wait(generation)?;
        let salts = self.salts.clone();
        if let Some(log) = &mut self.log {
            log.wipe(|| salts(), self.next_id.load(Relaxed))?;
            self.keeper.assume(log.generation() - 1);
            self.floors.are_owed = true;
            let (records, place) = log.records();
            self.floors.pay(records, &place);
            if log.has_records() {
                log.write()?;
            }
        }
        self.erasing.drain(..).for_each(|mut job| job.answer(&Ok(())));
        Ok(())
    }

    fn settle(&mut self, generation: u64) {
        self.keeper.push(Chore::Settle(generation, std::mem::take(&mut self.dirty)));
        if self.clock.is_none() {
            self.keeper.run_once();
        }
    }

    /// Without a log: syncs what was written. Beside the writing.
    pub fn sync_later(&mut self) {
        let turn = self.turn;
        self.turn += 1;
        self.settle(turn);
    }

    /// Everything comes to its files, durably, and the log is empty.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.apply()?;
        let generation = self.log.as_ref().map_or(self.turn, Log::generation);
        self.settle(generation);
        self.keeper.wait(generation)?;
        match &mut self.log {
            Some(log) => log.finish((self.salts)(), self.next_id.load(Relaxed)),
            None => Ok(()),
        }
    }
}
