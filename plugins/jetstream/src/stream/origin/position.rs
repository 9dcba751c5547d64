//! How far a stream got with each of its sources.
//!
//! Every sourced message names its origin and place there in `Nats-Stream-Source` (JS-247). That alone would be
//! lost with messages that are removed, so the positions are recorded with each commit, too (SD-039).

use crate::store::{Flags, StoreError, StreamStore};
use crate::stream::headers::{STREAM_SOURCE, number, value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the store keeps it: beside the consumers, under a name that none can have.
pub const RECORD: &str = ".sources";

#[derive(Default)]
pub struct Positions {
    /// By index name.
    copied: BTreeMap<String, Copied>,
    changed: bool,
    /// The store knows the record.
    has_place: bool,
}

/// How far one source got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The sequence in the origin up to which everything was copied.
    pub seq: u64,
    /// Of the origin, which may be deleted and made again (JS-250); empty: unknown.
    pub identity: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// The stream's own last sequence at that time.
    last_seq: u64,
    copied: BTreeMap<String, Copied>,
}

impl Positions {
    /// `None`: nothing yet.
    pub fn of(&self, index_name: &str) -> Option<&Copied> {
        self.copied.get(index_name)
    }

    pub fn set(&mut self, index_name: &str, seq: u64) {
        self.place(index_name).seq = seq;
    }

    /// Whether the origin is another one than before, of which nothing is here.
    pub fn identify(&mut self, index_name: &str, identity: &str) -> bool {
        let before = self.of(index_name).map_or("", |copied| &copied.identity);
        if before == identity {
            return false;
        }
        let is_other = !before.is_empty() && !identity.is_empty();
        let seq = self.of(index_name).map_or(0, |copied| copied.seq);
        *self.place(index_name) =
            Copied { seq: if is_other { 0 } else { seq }, identity: identity.to_owned() };
        is_other
    }

    /// The origin is another one now, of which nothing is here.
    pub fn forget(&mut self, index_name: &str) {
        *self.place(index_name) = Copied::default();
    }

    fn place(&mut self, index_name: &str) -> &mut Copied {
        self.changed = true;
        self.copied.entry(index_name.to_owned()).or_default()
    }

    /// Writes what changed since the last time. `last_seq` is the stream's own.
    pub fn record(&mut self, last_seq: u64, store: &mut dyn StreamStore) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_place, true) {
            // What it is; a state without that is not kept.
            store.put_consumer(RECORD, b"{}")?;
        }
        let state = serde_json::to_vec(&Record { last_seq, copied: self.copied.clone() }).unwrap_or_default();
        store.put_consumer_state(RECORD, &state)
    }

    /// `recorded` is empty when there is nothing.
    pub fn reread(&mut self, recorded: &[u8], store: &mut dyn StreamStore) -> Result<(), StoreError> {
        let mut from = 1;
        // A record that is ahead of the messages tells of some that are lost: their headers know better.
        if let Ok(record) = serde_json::from_slice::<Record>(recorded)
            && record.last_seq <= store.state().last_seq
        {
            from = record.last_seq + 1;
            self.copied = record.copied;
        }
        while let Some(message) = store.next_flagged(Flags::SOURCED, from)? {
            from = message.seq + 1;
            if let Some((index_name, copied)) = value(&message.headers, STREAM_SOURCE).and_then(parse) {
                self.copied.insert(index_name, copied);
                self.changed = true;
            }
        }
        Ok(())
    }
}

/// Index name and place of a value of `Nats-Stream-Source`.
fn parse(value: &[u8]) -> Option<(String, Copied)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split(' ');
    let (name, seq) = (words.next()?, number(words.next()?.as_bytes())?);
    let (filter, destination) = (words.next().unwrap_or(">"), words.next().unwrap_or(">"));
    // After the subject that it had there.
    let identity = words.nth(1).unwrap_or_default().to_owned();
    Some((format!("{name} {filter} {destination}"), Copied { seq, identity }))
}

#[cfg(test)]
mod tests {
    use super::{Copied, parse};

    #[test]
    fn headers_tell_the_place_in_the_origin() {
        let place = |index_name: &str, seq, identity: &str| {
            Some((index_name.to_owned(), Copied { seq, identity: identity.to_owned() }))
        };
        assert_eq!(parse(b"S 12 a.* > a.b 5bVhtOz0"), place("S a.* >", 12, "5bVhtOz0"));
        assert_eq!(parse(b"S 12 a.* > a.b"), place("S a.* >", 12, ""));
        assert_eq!(parse(b"S:12345678 3"), place("S:12345678 > >", 3, ""));
        assert_eq!(parse(b"S x > >").or(parse(b"")), None);
    }
}
