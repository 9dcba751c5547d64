//! How far streams were, told at the start of each segment of the log. The segment before is forgotten then, and the
//! last sequences would be in the last blocks alone: one damaged file, and they would be given away again.

use super::entry::{Job, Place, push_floor};
use super::out::Out;
use super::place::Home;
use super::record::{push_varint, take_varint};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How far a stream had come at a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// It holds for that state log before the fact of that number.
    pub generation: u64,
    pub number: u64,
    pub last_seq: u64,
    pub last_time_ns: i64,
}

impl Floor {
    pub fn push(&self, out: &mut impl Out) {
        for value in [self.generation, self.number, self.last_seq, self.last_time_ns as u64] {
            push_varint(out, value);
        }
    }

    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            generation: take_varint(bytes)?,
            number: take_varint(bytes)?,
            last_seq: take_varint(bytes)?,
            last_time_ns: take_varint(bytes)? as i64,
        })
    }
}

/// What the next segment is to say.
#[derive(Default)]
pub struct Floors {
    /// Streams with a commit since the start. What was before that is in their state logs.
    homes: Vec<Arc<Home>>,
    /// The segment in use does not say it yet.
    pub are_owed: bool,
}

impl Floors {
    /// A job is durable.
    pub fn note(&mut self, job: &Job) {
        if job.home.floor.lock().replace(job.floor).is_none() {
            self.homes.push(job.home.clone());
        }
    }

    /// Adds what is owed.
    pub fn pay(&mut self, out: &mut impl Out, place: &Place) {
        if !std::mem::take(&mut self.are_owed) {
            return;
        }
        self.homes.retain(|home| !home.gone.load(Relaxed));
        for home in &self.homes {
            home.floor.lock().iter().for_each(|floor| push_floor(out, place, home, floor));
        }
    }
}
