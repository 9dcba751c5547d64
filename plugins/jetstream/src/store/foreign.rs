//! Streams that another plugin keeps, through `natsd.stream-store/1`.

use crate::filter::Filter;
use crate::store::{
    Appended, Commit, Flags, Message, NewMessage, Purge, Removed, StoreEngine, StoreError, StoreSettings,
    StoreState, StoredConsumer, StoredStream, StreamStore, SubjectFacts,
};
use natsd_plugin_api::stream_store::{self as line, StreamEngineClient, StreamStoreClient};
use natsd_plugin_api::{Error, ErrorKind};
use std::cell::{Cell, RefCell};
use std::io;

/// SD-013.
const SIZE_MAX: usize = 32 * 1024 * 1024;

/// Another plugin's engine.
pub struct ForeignEngine {
    name: String,
    client: StreamEngineClient,
}

impl ForeignEngine {
    pub fn new(name: &str, client: StreamEngineClient) -> Self {
        Self { name: name.to_owned(), client }
    }
}

impl StoreEngine for ForeignEngine {
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StoreSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>, StoreError> {
        let store = self.client.create(account, stream, &plain(settings), meta);
        let store = store.map_err(|error| failed(&self.name, &error))?;
        Ok(Box::new(ForeignStore::new(self.name.clone(), store)))
    }

    fn recover(&self) -> Result<Vec<StoredStream>, StoreError> {
        let found = self.client.recover().map_err(|error| failed(&self.name, &error))?;
        let found = found.into_iter().map(|found| StoredStream {
            account: found.account,
            name: found.name,
            meta: found.meta,
            store: match found.store {
                Ok(store) => Ok(Box::new(ForeignStore::new(self.name.clone(), store))),
                Err(error) => Err(failed(&self.name, &error)),
            },
        });
        Ok(found.collect())
    }

    fn trouble(&self) -> String {
        match self.client.trouble() {
            trouble if trouble.is_empty() => trouble,
            trouble => format!("{}: {trouble}", self.name),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.client.close().map_err(|error| failed(&self.name, &error))
    }
}

/// One stream in another plugin.
struct ForeignStore {
    /// Of the engine.
    name: String,
    client: StreamStoreClient,
    /// As it was last told: what is shown of a store that has panicked.
    state: Cell<StoreState>,
    lost_seqs: RefCell<Vec<u64>>,
    /// Why it is not used any more: after a panic nothing of it can be believed.
    ended: Option<StoreError>,
}

impl ForeignStore {
    fn new(name: String, client: StreamStoreClient) -> Self {
        Self { name, client, state: Cell::default(), lost_seqs: RefCell::default(), ended: None }
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut StreamStoreClient) -> natsd_plugin_api::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        call(&mut self.client).map_err(|error| {
            let why = failed(&self.name, &error);
            if error.kind() == ErrorKind::Panicked {
                self.ended = Some(why.clone());
            }
            why
        })
    }
}

impl StreamStore for ForeignStore {
    fn state(&self) -> StoreState {
        let Ok(told) = self.client.state() else { return self.state.get() };
        self.state.set(StoreState {
            messages: told.messages,
            bytes: told.bytes,
            first_seq: told.first_seq,
            first_time_ns: told.first_time_ns,
            last_seq: told.last_seq,
            last_time_ns: told.last_time_ns,
            subjects: told.subjects,
            lost_bytes: told.lost_bytes,
        });
        self.state.get()
    }

    fn lost_seqs(&self) -> Vec<u64> {
        let mut known = self.lost_seqs.borrow_mut();
        if self.client.state().is_ok_and(|told| told.lost_messages != known.len() as u64)
            && let Ok(told) = self.client.lost_seqs()
        {
            *known = told;
        }
        known.clone()
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended, StoreError> {
        let NewMessage { subject, headers, payload, time_ns, flags } = *message;
        if subject.len() + headers.len() + payload.len() > SIZE_MAX {
            return Err(StoreError::TooLarge);
        }
        let message = line::NewMessage::new(subject, headers, payload, time_ns, flags.0.into());
        let appended = self.call(|store| store.append(&message))?;
        Ok(Appended {
            seq: appended.seq,
            size_bytes: appended.size_bytes,
            subject_messages: appended.subject_messages,
        })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<(), StoreError> {
        self.call(|store| store.skip(count, time_ns))
    }

    fn load(&mut self, seq: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.call(|store| store.load(seq))?.map(message))
    }

    fn next(&mut self, filter: &Filter, from: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.call(|store| store.next(filter.patterns(), from))?.map(message))
    }

    fn next_flagged(&mut self, flags: Flags, from: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.call(|store| store.next_flagged(flags.0.into(), from))?.map(message))
    }

    fn last(&mut self, filter: &Filter, up_to: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.call(|store| store.last(filter.patterns(), up_to))?.map(message))
    }

    fn last_of_each(&mut self, filter: &Filter, up_to: u64, max: usize) -> Result<Vec<u64>, StoreError> {
        let found = self.call(|store| store.last_of_each(filter.patterns(), up_to, max))?;
        found.ok_or(StoreError::TooMany { max })
    }

    fn count(&mut self, filter: &Filter, from: u64, last_per_subject: bool) -> Result<u64, StoreError> {
        self.call(|store| store.count(filter.patterns(), from, last_per_subject))
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts, StoreError> {
        self.call(|store| store.subject(subject)).map(facts)
    }

    fn subjects(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<(), StoreError> {
        self.call(|store| {
            store.subjects(filter.patterns(), &mut |subject, found| visit(subject, facts(found)))
        })
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64, StoreError> {
        self.call(|store| store.seq_from_time(time_ns))
    }

    fn deleted(&mut self) -> Vec<u64> {
        self.call(StreamStoreClient::deleted).unwrap_or_default()
    }

    fn remove(&mut self, seq: u64, erase: bool) -> Result<Option<Removed>, StoreError> {
        let removed = self.call(|store| store.remove(seq, erase))?;
        Ok(removed.map(|removed| Removed {
            seq: removed.seq,
            subject: removed.subject,
            size_bytes: removed.size_bytes,
        }))
    }

    fn purge(&mut self, purge: &Purge) -> Result<(u64, u64), StoreError> {
        self.call(|store| store.purge(purge.filter.patterns(), purge.before_seq, purge.keep))
    }

    fn compact(&mut self, seq: u64) -> Result<(), StoreError> {
        self.call(|store| store.compact(seq))
    }

    fn truncate(&mut self, seq: u64) -> Result<(), StoreError> {
        self.call(|store| store.truncate(seq))
    }

    fn put_meta(&mut self, meta: &[u8]) -> Result<(), StoreError> {
        self.call(|store| store.put_meta(meta))
    }

    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<(), StoreError> {
        self.call(|store| store.put_consumer(name, meta))
    }

    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<(), StoreError> {
        self.call(|store| store.put_consumer_state(name, state))
    }

    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<(), StoreError> {
        self.call(|store| store.record_consumer(name, change))
    }

    fn remove_consumer(&mut self, name: &str) -> Result<(), StoreError> {
        self.call(|store| store.remove_consumer(name))
    }

    fn take_consumers(&mut self) -> Vec<StoredConsumer> {
        let found = self.call(StreamStoreClient::take_consumers).unwrap_or_default();
        let found = found.into_iter().map(|found| StoredConsumer {
            name: found.name,
            meta: found.meta,
            state: found.state,
            changes: found.changes,
        });
        found.collect()
    }

    fn configure(&mut self, settings: &StoreSettings) -> Result<(), StoreError> {
        self.call(|store| store.configure(&plain(settings)))
    }

    fn commit(&mut self) -> Commit {
        if let Some(error) = &self.ended {
            let error = error.clone();
            return Commit::Foreign(Box::pin(std::future::ready(Err(error))));
        }
        let (name, committing) = (self.name.clone(), self.client.commit());
        Commit::Foreign(Box::pin(async move { committing.await.map_err(|error| failed(&name, &error)) }))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.call(StreamStoreClient::close)
    }

    fn destroy(&mut self) -> Result<(), StoreError> {
        self.call(StreamStoreClient::destroy)
    }
}

fn plain(settings: &StoreSettings) -> line::StreamSettings {
    let StoreSettings { first_seq, compress, lazy, size_bytes_max, .. } = *settings;
    line::StreamSettings { first_seq, compress, lazy, size_bytes_max }
}

fn message(found: line::StoredMessage) -> Message {
    Message {
        seq: found.seq,
        time_ns: found.time_ns,
        // Only what was given to `append` comes back.
        flags: Flags(found.flags as u8),
        subject: found.subject(),
        headers: found.headers(),
        payload: found.payload(),
    }
}

fn facts(found: line::SubjectFacts) -> SubjectFacts {
    SubjectFacts { messages: found.messages, first_seq: found.first_seq, last_seq: found.last_seq }
}

fn failed(engine: &str, error: &Error) -> StoreError {
    let (path, why) = (engine.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::AlreadyExists => StoreError::Exists,
        ErrorKind::Damaged => StoreError::Damaged { path, why },
        ErrorKind::Closed => StoreError::Closed,
        ErrorKind::Full | ErrorKind::Io(io::ErrorKind::StorageFull) => StoreError::Full { path },
        _ => StoreError::Io { path, why },
    }
}
