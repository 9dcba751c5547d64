//! The streams of a database: made, and found again.

use super::database::{
    CHANGES, CONSUMERS, Database, Failure, METAS, Op, POSITIONS, Run, STATES, STREAMS, failed,
};
use super::store::RedbStore;
use natsd_plugin_api::bytes::Bytes;
use natsd_plugin_api::stream_store::{
    StoredConsumer, StoredStream, StreamEngine, StreamSettings, StreamStore,
};
use natsd_plugin_api::{Error, ErrorKind, Result};
use redb::{ReadTransaction, ReadableTable, StorageBackend};
use std::sync::{Arc, Mutex, PoisonError};

pub struct RedbEngine {
    database: Arc<Database>,
    /// Held while a stream is made, so that two of one name cannot be.
    making: Mutex<()>,
}

impl RedbEngine {
    pub fn open(backend: impl StorageBackend, run: Run) -> Result<Self> {
        Ok(Self { database: Database::open(backend, run)?, making: Mutex::new(()) })
    }

    /// Ids with account and name.
    fn streams(&self, reading: &ReadTransaction) -> Result<Vec<(u64, String, String)>, Failure> {
        let mut found = Vec::new();
        for entry in reading.open_table(STREAMS)?.iter()? {
            let (id, names) = entry?;
            let (account, name) = names.value();
            found.push((id.value(), account.to_owned(), name.to_owned()));
        }
        Ok(found)
    }

    fn find(&self, reading: &ReadTransaction, id: u64) -> Result<(Bytes, RedbStore), Failure> {
        let meta = reading.open_table(METAS)?.get(id)?;
        let meta = meta.map(|meta| Bytes::copy_from_slice(meta.value())).unwrap_or_default();
        let position = reading.open_table(POSITIONS)?.get(id)?;
        let position = position.map(|position| position.value()).unwrap_or_default();
        let consumers = consumers(reading, id)?;
        let store = RedbStore::found(self.database.clone(), id, reading, position, consumers)?;
        Ok((meta, store))
    }
}

fn consumers(reading: &ReadTransaction, id: u64) -> Result<Vec<StoredConsumer>, Failure> {
    let (states, changes) = (reading.open_table(STATES)?, reading.open_table(CHANGES)?);
    let mut found = Vec::new();
    for entry in reading.open_table(CONSUMERS)?.range((id, "")..(id + 1, ""))? {
        let (key, meta) = entry?;
        let name = key.value().1;
        let state = states.get((id, name))?;
        let of_it = changes.range((id, name, 0)..=(id, name, u64::MAX))?;
        let of_it: Result<Vec<Bytes>, redb::StorageError> =
            of_it.map(|entry| entry.map(|(_, change)| Bytes::copy_from_slice(change.value()))).collect();
        found.push(StoredConsumer {
            name: name.to_owned(),
            meta: Bytes::copy_from_slice(meta.value()),
            state: state.map(|state| Bytes::copy_from_slice(state.value())).unwrap_or_default(),
            changes: of_it?,
        });
    }
    Ok(found)
}

impl StreamEngine for RedbEngine {
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StreamSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = self.database.redb.begin_read().map_err(failed)?;
        let streams = self.streams(&reading)?;
        if streams.iter().any(|(_, other, name)| (&**other, &**name) == (account, stream)) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("stream {stream} is there")));
        }
        let id = streams.last().map_or(1, |(id, ..)| id + 1);
        let (store, position) = RedbStore::new(self.database.clone(), id, settings);
        let (account, name) = (account.to_owned(), stream.to_owned());
        let ops = vec![Op::Stream { account, name }, Op::Meta(Bytes::copy_from_slice(meta)), position];
        self.database.write(id, ops)?;
        Ok(Box::new(store))
    }

    fn recover(&self) -> Result<Vec<StoredStream>> {
        let reading = self.database.redb.begin_read().map_err(failed)?;
        let streams = self.streams(&reading)?;
        let found = streams.into_iter().map(|(id, account, name)| match self.find(&reading, id) {
            Ok((meta, store)) => StoredStream { account, name, meta, store: Ok(Box::new(store)) },
            Err(failure) => StoredStream { account, name, meta: Bytes::new(), store: Err(failure.0) },
        });
        Ok(found.collect())
    }

    fn trouble(&self) -> String {
        self.database.failure().map(|error| error.to_string()).unwrap_or_default()
    }
}
