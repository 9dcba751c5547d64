//! Watched subjects of an account: plugins that want to know when interest in a subject came or went.
//!
//! Costs one relaxed load for each SUB and UNSUB while nobody watches.

use crate::runtime::Mutex;
use crate::subject;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Changed = Arc<dyn Fn() + Send + Sync>;

/// The watches of each subject, by number.
type BySubject = HashMap<Box<[u8]>, Vec<(u64, Changed)>>;

#[derive(Default)]
pub struct Watches {
    count: AtomicUsize,
    by_subject: Mutex<BySubject>,
}

impl Watches {
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Relaxed) != 0
    }

    /// `subject` has no wildcards. `changed` is called without a lock, on the thread that subscribes.
    pub fn add(&self, subject: &[u8], number: u64, changed: Changed) {
        self.by_subject.lock().entry(subject.into()).or_default().push((number, changed));
        self.count.fetch_add(1, Relaxed);
    }

    pub fn remove(&self, subject: &[u8], number: u64) {
        let mut by_subject = self.by_subject.lock();
        let Some(watches) = by_subject.get_mut(subject) else { return };
        let before = watches.len();
        watches.retain(|(n, _)| *n != number);
        self.count.fetch_sub(before - watches.len(), Relaxed);
        if watches.is_empty() {
            by_subject.remove(subject);
        }
    }

    /// A subscription with this subject came or went. No lock of the sublist or of a receiver's table that
    /// `changed` may want is held by the caller.
    pub fn notify(&self, pattern: &[u8]) {
        if !self.any() {
            return;
        }
        let meant: Vec<Changed> = {
            let by_subject = self.by_subject.lock();
            if !subject::has_wildcard(pattern) {
                by_subject.get(pattern).into_iter().flatten().map(|(_, changed)| changed.clone()).collect()
            } else {
                let matching = by_subject.iter().filter(|(watched, _)| subject::matches(pattern, watched));
                matching.flat_map(|(_, watches)| watches).map(|(_, changed)| changed.clone()).collect()
            }
        };
        meant.iter().for_each(|changed| changed());
    }
}

#[cfg(test)]
mod tests {
    use super::Watches;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn tells_of_literal_and_wildcard_subscriptions() {
        let (watches, calls) = (Watches::default(), Arc::new(AtomicUsize::new(0)));
        let counter = calls.clone();
        watches.add(
            b"a.b",
            1,
            Arc::new(move || {
                counter.fetch_add(1, Relaxed);
            }),
        );
        for pattern in ["a.b", "a.*", ">", "a.c", "b.>"] {
            watches.notify(pattern.as_bytes());
        }
        assert_eq!(calls.load(Relaxed), 3);
        watches.remove(b"a.b", 1);
        watches.notify(b"a.b");
        assert!(calls.load(Relaxed) == 3 && !watches.any());
    }
}
