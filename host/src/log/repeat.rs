//! Holds back warnings that would be written over and over (CFG-344).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Texts that were written lately, with the time after which they may be written again.
pub struct Repeats(Mutex<Option<HashMap<String, u64>>>);

const QUIET: Duration = Duration::from_secs(1);
/// Above this many different texts all are forgotten: better to repeat one than to grow.
const TEXTS_MAX: usize = 1024;

impl Repeats {
    pub const fn new() -> Self {
        Repeats(Mutex::new(None))
    }

    /// Whether `text` may be written now.
    pub fn allow(&self, text: &str, now_ms: u64) -> bool {
        let mut texts = self.0.lock();
        let texts = texts.get_or_insert_default();
        if texts.get(text).is_some_and(|&until_ms| now_ms < until_ms) {
            return false;
        }
        texts.retain(|_, until_ms| now_ms < *until_ms);
        if texts.len() >= TEXTS_MAX {
            texts.clear();
        }
        texts.insert(text.to_owned(), now_ms.saturating_add(QUIET.as_millis() as u64));
        true
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_rests_for_a_second() {
        let repeats = Repeats::new();
        assert!(repeats.allow("a", 0));
        assert!(!repeats.allow("a", 999));
        assert!(repeats.allow("b", 999));
        assert!(repeats.allow("a", 1000));
        assert!(!repeats.allow("b", 1500));
    }

    #[test]
    fn the_table_does_not_grow_for_ever() {
        let repeats = Repeats::new();
        for n in 0..3 * TEXTS_MAX {
            assert!(repeats.allow(&n.to_string(), 0));
        }
        assert!(repeats.0.lock().as_ref().unwrap().len() <= TEXTS_MAX);
    }
}
