//! A subscriber of tests.

use super::receiver::{Delivery, InlineSubscriber};
use crate::runtime::Mutex;

/// The subjects that it saw.
#[derive(Default)]
pub struct Seen(pub Mutex<Vec<String>>);

impl InlineSubscriber for Seen {
    fn deliver(&self, batch: &[Delivery<'_>]) {
        let subjects = batch.iter().map(|m| String::from_utf8_lossy(m.subject).into_owned());
        self.0.lock().extend(subjects);
    }
}
