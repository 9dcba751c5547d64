//! Ids of events (MON-162): 22 characters, random in front and counted behind, so that two never meet.

use natsd_plugin_api::Host;
use std::sync::{Mutex, PoisonError};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX_LEN: usize = 12;
const COUNTED_LEN: u32 = 10;
/// The counted part starts again behind a new prefix when it reaches this.
const COUNTED_MAX: u64 = 62_u64.pow(COUNTED_LEN);
/// Two ids in a row are this far apart, at least and at most.
const STEP_MIN: u64 = 33;
const STEP_MAX: u64 = 333;

pub struct Ids {
    state: Mutex<State>,
}

struct State {
    prefix: String,
    next: u64,
    step: u64,
}

impl Ids {
    pub fn new(host: &Host) -> Self {
        Self { state: Mutex::new(State::random(&|| host.random_u64())) }
    }

    pub fn next(&self, host: &Host) -> String {
        // What a panic could leave behind is at worst a number that is not used.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.next(&|| host.random_u64())
    }
}

impl State {
    fn random(random: &dyn Fn() -> u64) -> Self {
        let prefix =
            (0..PREFIX_LEN).map(|_| char::from(DIGITS[(random() % DIGITS.len() as u64) as usize])).collect();
        Self { prefix, next: random() % COUNTED_MAX, step: STEP_MIN + random() % (STEP_MAX - STEP_MIN) }
    }

    fn next(&mut self, random: &dyn Fn() -> u64) -> String {
        self.next += self.step;
        if self.next >= COUNTED_MAX {
            *self = Self::random(random);
        }
        let mut id = self.prefix.clone();
        let digit = |place: u32| DIGITS[(self.next / 62_u64.pow(place) % 62) as usize];
        id.extend((0..COUNTED_LEN).rev().map(|place| char::from(digit(place))));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTED_MAX, State};

    #[test]
    fn ids_differ_and_have_22_characters() {
        let random = || 0x1234_5678_9abc_def1_u64;
        let mut state = State::random(&random);
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| state.next(&random)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    }

    #[test]
    fn behind_the_last_number_there_is_a_new_prefix() {
        let mut state = State { prefix: "x".repeat(12), next: COUNTED_MAX - 1, step: 33 };
        assert!(!state.next(&|| 7).starts_with('x'));
    }
}
