//! When what goes wrong: the power, a read, a sync, the room.

use crate::random::Random;
use natsd_plugin_api::{Error, Result};
use parking_lot::Mutex;
use std::io;

pub struct Faults(Mutex<State>);

/// Bytes that were written to a file; not those that are all zeros.
#[derive(Clone, Debug)]
pub struct Written {
    pub path: String,
    pub at: u64,
    pub end: u64,
}

struct State {
    random: Random,
    /// Changes and syncs until now.
    steps: u64,
    /// The power goes at this step.
    off_at: Option<u64>,
    is_off: bool,
    /// This many reads from now one fails; the same of syncs.
    bad_read_in: Option<u64>,
    bad_sync_in: Option<u64>,
    used_bytes: u64,
    bytes_max: u64,
    /// What was written since this was asked for.
    journal: Option<Vec<Written>>,
}

/// What becomes of a change.
pub enum Fate {
    Done,
    /// The power went while it was under way: all, part or nothing of it is done, and the caller is never told.
    Cut(Error),
    /// The power is off.
    Lost(Error),
}

fn no_power() -> Error {
    Error::other("the power is off")
}

pub fn full(path: &str) -> Error {
    Error::from(io::Error::from_raw_os_error(28)).context(path)
}

fn broken(path: &str) -> Error {
    Error::from(io::Error::from_raw_os_error(5)).context(path)
}

fn counts_down(left: &mut Option<u64>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(more) => {
            *more -= 1;
            false
        }
        None => false,
    }
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            random: Random::new(seed),
            steps: 0,
            off_at: None,
            is_off: false,
            bad_read_in: None,
            bad_sync_in: None,
            used_bytes: 0,
            bytes_max: u64::MAX,
            journal: None,
        }))
    }

    /// The power goes after so many more steps.
    pub fn cut_power_in(&self, steps: u64) {
        let mut state = self.0.lock();
        state.off_at = Some(state.steps + steps + 1);
    }

    /// The power goes now.
    pub fn cut_power(&self) {
        self.0.lock().is_off = true;
    }

    pub fn power_on(&self) {
        let mut state = self.0.lock();
        (state.off_at, state.is_off) = (None, false);
    }

    pub fn is_off(&self) -> bool {
        self.0.lock().is_off
    }

    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    pub fn fail_read_in(&self, reads: u64) {
        self.0.lock().bad_read_in = Some(reads);
    }

    pub fn fail_sync_in(&self, syncs: u64) {
        self.0.lock().bad_sync_in = Some(syncs);
    }

    pub fn limit(&self, bytes_max: u64) {
        self.0.lock().bytes_max = bytes_max;
    }

    pub fn used_bytes(&self) -> u64 {
        self.0.lock().used_bytes
    }

    /// What was written since the last time; from the first time on.
    pub fn take_journal(&self) -> Vec<Written> {
        self.0.lock().journal.replace(Vec::new()).unwrap_or_default()
    }

    pub fn note_write(&self, path: &str, at: u64, content: &[u8]) {
        if let Some(journal) = &mut self.0.lock().journal
            && content.iter().any(|byte| *byte != 0)
        {
            journal.push(Written { path: path.to_owned(), at, end: at + content.len() as u64 });
        }
    }

    /// Numbers for what happens next.
    pub fn random(&self) -> Random {
        Random::new(self.0.lock().random.next())
    }

    /// A change or a sync is about to happen.
    pub fn before(&self, _path: &str) -> Fate {
        let mut state = self.0.lock();
        if state.is_off {
            return Fate::Lost(no_power());
        }
        state.steps += 1;
        if state.off_at == Some(state.steps) {
            state.is_off = true;
            return Fate::Cut(no_power());
        }
        Fate::Done
    }

    pub fn before_read(&self, path: &str) -> Result<()> {
        let mut state = self.0.lock();
        if state.is_off {
            return Err(no_power());
        }
        if counts_down(&mut state.bad_read_in) { Err(broken(path)) } else { Ok(()) }
    }

    pub fn sync_error(&self, path: &str) -> Option<Error> {
        let mut state = self.0.lock();
        (!state.is_off && counts_down(&mut state.bad_sync_in)).then(|| broken(path))
    }

    /// Takes room; how much there is of it.
    pub fn grow(&self, bytes: u64) -> u64 {
        let mut state = self.0.lock();
        let granted = bytes.min(state.bytes_max.saturating_sub(state.used_bytes));
        state.used_bytes += granted;
        granted
    }

    pub fn shrink(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.used_bytes = state.used_bytes.saturating_sub(bytes);
    }
}
