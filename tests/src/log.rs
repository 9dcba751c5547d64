//! The log of a running server, as lines that a test can wait for.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Lines written so far, shared between the thread that reads them and the test that waits.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Collects `source` line by line on a thread of its own until it ends.
    pub fn collect(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                writer.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                writer.0.changed.notify_all();
            }
            writer.lock().ended = true;
            writer.0.changed.notify_all();
        });
        log
    }

    /// How many lines there are now: a place from which to wait for newer ones.
    pub fn mark(&self) -> usize {
        self.lock().lines.len()
    }

    pub fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    pub fn contains(&self, text: &str) -> bool {
        self.lock().lines.iter().any(|line| line.contains(text))
    }

    /// Waits for a line from `mark` on for which `pick` has an answer. None when the time is over
    /// or the server has ended without it.
    pub fn wait<T>(
        &self,
        mark: usize,
        patience: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut next = mark;
        let mut state = self.lock();
        loop {
            while next < state.lines.len() {
                if let Some(found) = pick(&state.lines[next]) {
                    return Some(found);
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&self, text: &str, patience: Duration) -> bool {
        self.wait(0, patience, |line| line.contains(text).then_some(())).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}
