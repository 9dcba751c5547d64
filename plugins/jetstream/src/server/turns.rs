//! How many streams are about to work: what came for them waits for their tasks, or is being worked on. While others
//! are, a stream's commit may wait for theirs, and one write makes all of them durable.

use crate::store::StoreEngine;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Release},
};
use std::sync::{Arc, OnceLock};

/// Of all streams of a server.
#[derive(Default)]
pub struct Turns {
    due: AtomicUsize,
    engines: OnceLock<Vec<Arc<dyn StoreEngine>>>,
}

/// Of one stream.
pub struct Turn {
    turns: Arc<Turns>,
    is_due: AtomicBool,
    /// The stream's task has ended: no turn comes.
    has_ended: AtomicBool,
}

impl Turns {
    /// Who is told when nobody is about to work. At most once.
    pub fn tell(&self, engines: impl Iterator<Item = Arc<dyn StoreEngine>>) {
        let _ = self.engines.set(engines.collect());
    }
}

impl Turn {
    pub fn new(turns: &Arc<Turns>) -> Self {
        let turns = turns.clone();
        Self { turns, is_due: AtomicBool::new(false), has_ended: AtomicBool::new(false) }
    }

    /// Something came, and the task is about to be woken; or it works.
    pub fn is_next(&self) {
        if !self.is_due.swap(true, AcqRel) {
            self.turns.due.fetch_add(1, AcqRel);
            if self.has_ended.load(Acquire) {
                self.is_over();
            }
        }
    }

    /// The task did what there was. Whoever is last lets what was gathered be written, on this thread.
    pub fn is_over(&self) {
        if self.is_due.swap(false, AcqRel) && self.turns.due.fetch_sub(1, AcqRel) == 1 {
            self.turns.engines.get().into_iter().flatten().for_each(|engine| engine.gathered());
        }
    }

    /// Others are about to work, too. For a stream that does.
    pub fn has_company(&self) -> bool {
        self.turns.due.load(Acquire) > 1
    }

    pub fn end(&self) {
        self.has_ended.store(true, Release);
        self.is_over();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_over();
    }
}

#[cfg(test)]
mod tests {
    use super::{Turn, Turns};
    use std::sync::Arc;

    #[test]
    fn a_stream_has_company_while_others_are_due() {
        let turns = Arc::new(Turns::default());
        let [one, other] = [Turn::new(&turns), Turn::new(&turns)];
        one.is_next();
        one.is_next();
        assert!(!one.has_company());
        other.is_next();
        assert!(one.has_company());
        other.is_over();
        assert!(!one.has_company());
        other.end();
        other.is_next();
        assert!(!one.has_company(), "an ended stream has no turn");
        drop(one);
        assert_eq!(turns.due.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
