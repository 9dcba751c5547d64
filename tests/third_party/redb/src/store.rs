//! One stream: changes take effect in the index at once, and are durable after a transaction.

use super::database::{Database, Failure, MESSAGES, Op, failed};
use super::index::Index;
use super::record;
use natsd_plugin_api::bytes::Bytes;
use natsd_plugin_api::stream_store::{
    Appended, NewMessage, Purge, Removed, StoredConsumer, StoredMessage, StreamFilter, StreamSettings,
    StreamState, StreamStore, SubjectFacts,
};
use natsd_plugin_api::{BoxFuture, Error, ErrorKind, Result};
use redb::ReadTransaction;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct RedbStore {
    database: Arc<Database>,
    id: u64,
    index: Index,
    /// Changes since the last commit.
    ops: Vec<Op>,
    /// Whether first or last sequence changed since then.
    moved: bool,
    /// Records that may not be in the database yet, with the number of their commit.
    fresh: BTreeMap<u64, (u64, Bytes)>,
    commits: u64,
    /// The last commit that is durable.
    durable: Arc<AtomicU64>,
    /// The number of each consumer's next change.
    changes: HashMap<String, u64>,
    found: Vec<StoredConsumer>,
}

impl RedbStore {
    /// A new stream, and its first position.
    pub fn new(database: Arc<Database>, id: u64, settings: &StreamSettings) -> (Self, Op) {
        let mut store = Self::empty(database, id);
        if settings.first_seq > 1 {
            (store.index.first_seq, store.index.last_seq) = (settings.first_seq, settings.first_seq - 1);
        }
        let position = store.position();
        (store, position)
    }

    /// A stream that was there.
    pub fn found(
        database: Arc<Database>,
        id: u64,
        reading: &ReadTransaction,
        (first_seq, last_seq, last_time_ns): (u64, u64, i64),
        consumers: Vec<StoredConsumer>,
    ) -> Result<Self, Failure> {
        let mut store = Self::empty(database, id);
        (store.index.first_seq, store.index.last_seq) = (first_seq, last_seq);
        store.index.last_time_ns = last_time_ns;
        for entry in reading.open_table(MESSAGES)?.range((id, 0)..=(id, u64::MAX))? {
            let (key, value) = entry?;
            let record = Bytes::copy_from_slice(value.value());
            let message = record::decode(key.value().1, record).map_err(Failure)?;
            store.index.found(&message);
        }
        for consumer in &consumers {
            store.changes.insert(consumer.name.clone(), consumer.changes.len() as u64);
        }
        store.found = consumers;
        Ok(store)
    }

    fn empty(database: Arc<Database>, id: u64) -> Self {
        Self {
            database,
            id,
            index: Index::default(),
            ops: Vec::new(),
            moved: false,
            fresh: BTreeMap::new(),
            commits: 0,
            durable: Arc::default(),
            changes: HashMap::new(),
            found: Vec::new(),
        }
    }

    fn position(&self) -> Op {
        let Index { first_seq, last_seq, last_time_ns, .. } = self.index;
        Op::Position { first_seq, last_seq, last_time_ns }
    }

    fn message(&self, seq: Option<u64>) -> Result<Option<StoredMessage>> {
        let Some(seq) = seq else { return Ok(None) };
        let record = match self.fresh.get(&seq) {
            Some((_, record)) => record.clone(),
            None => self.read(seq)?,
        };
        record::decode(seq, record).map(Some)
    }

    fn read(&self, seq: u64) -> Result<Bytes> {
        let reading = self.database.redb.begin_read().map_err(failed)?;
        let messages = reading.open_table(MESSAGES).map_err(failed)?;
        let record = messages.get((self.id, seq)).map_err(failed)?;
        let record = record.map(|record| Bytes::copy_from_slice(record.value()));
        record.ok_or_else(|| Error::new(ErrorKind::Damaged, format!("message {seq} is not in the database")))
    }

    /// Takes out; how many, and how many bytes.
    fn take_all(&mut self, seqs: Vec<u64>) -> (u64, u64) {
        let (mut count, mut bytes) = (0, 0);
        for seq in seqs {
            if let Some((_, size_bytes)) = self.index.remove(seq) {
                self.fresh.remove(&seq);
                self.ops.push(Op::Remove(seq, seq));
                (count, bytes, self.moved) = (count + 1, bytes + size_bytes, true);
            }
        }
        (count, bytes)
    }

    /// The changes until now, with the number of their commit.
    fn changed(&mut self) -> Vec<Op> {
        if std::mem::take(&mut self.moved) {
            let position = self.position();
            self.ops.push(position);
        }
        self.commits += 1;
        let durable = self.durable.load(Ordering::Acquire);
        self.fresh.retain(|_, (commit, _)| *commit > durable);
        std::mem::take(&mut self.ops)
    }
}

impl StreamStore for RedbStore {
    fn state(&self) -> StreamState {
        self.index.state()
    }

    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended> {
        if let Some(error) = self.database.failure() {
            return Err(error);
        }
        let (seq, record) = (self.index.last_seq + 1, record::encode(message));
        let (size_bytes, subject_messages) = self.index.append(seq, message);
        self.fresh.insert(seq, (self.commits + 1, record.clone()));
        self.ops.push(Op::Message { seq, record });
        self.moved = true;
        Ok(Appended { seq, size_bytes, subject_messages })
    }

    fn skip(&mut self, count: u64, time_ns: i64) -> Result<()> {
        if count > 0 {
            self.index.last_seq += count;
            self.index.last_time_ns = self.index.last_time_ns.max(time_ns);
            self.index.settle();
            self.moved = true;
        }
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<StoredMessage>> {
        self.message(Some(seq).filter(|seq| self.index.has(*seq)))
    }

    fn next(&mut self, filter: &StreamFilter<'_>, from: u64) -> Result<Option<StoredMessage>> {
        self.message(self.index.next(filter, from))
    }

    fn next_flagged(&mut self, flags: u32, from: u64) -> Result<Option<StoredMessage>> {
        self.message(self.index.next_flagged(flags, from))
    }

    fn last(&mut self, filter: &StreamFilter<'_>, up_to: u64) -> Result<Option<StoredMessage>> {
        self.message(self.index.last(filter, up_to))
    }

    fn last_of_each(
        &mut self,
        filter: &StreamFilter<'_>,
        up_to: u64,
        max: usize,
    ) -> Result<Option<Vec<u64>>> {
        Ok(self.index.last_of_each(filter, up_to, max))
    }

    fn count(&mut self, filter: &StreamFilter<'_>, from: u64, last_per_subject: bool) -> Result<u64> {
        Ok(self.index.count(filter, from, last_per_subject))
    }

    fn subject(&mut self, subject: &[u8]) -> Result<SubjectFacts> {
        Ok(self.index.subject(subject))
    }

    fn subjects(
        &mut self,
        filter: &StreamFilter<'_>,
        visit: &mut dyn FnMut(&[u8], SubjectFacts),
    ) -> Result<()> {
        self.index.subjects(filter, visit);
        Ok(())
    }

    fn seq_from_time(&mut self, time_ns: i64) -> Result<u64> {
        Ok(self.index.seq_from_time(time_ns))
    }

    fn deleted(&mut self) -> Result<Vec<u64>> {
        Ok(self.index.gaps())
    }

    fn remove(&mut self, seq: u64, _erase: bool) -> Result<Option<Removed>> {
        let Some((subject, size_bytes)) = self.index.remove(seq) else { return Ok(None) };
        self.fresh.remove(&seq);
        self.ops.push(Op::Remove(seq, seq));
        self.moved = true;
        Ok(Some(Removed { seq, subject: Bytes::copy_from_slice(&subject), size_bytes }))
    }

    fn purge(&mut self, purge: &Purge<'_>) -> Result<(u64, u64)> {
        let mut seqs = self.index.matches_below(&purge.filter, u64::MAX);
        seqs.truncate(seqs.len().saturating_sub(usize::try_from(purge.keep).unwrap_or(usize::MAX)));
        if purge.before_seq > 0 {
            seqs.retain(|seq| *seq < purge.before_seq);
        }
        Ok(self.take_all(seqs))
    }

    fn compact(&mut self, seq: u64) -> Result<()> {
        let below: Vec<u64> = self.index.from(0).into_iter().take_while(|other| *other < seq).collect();
        self.take_all(below);
        if seq > self.index.last_seq {
            self.index.last_seq = seq - 1;
            self.index.settle();
            self.moved = true;
        }
        Ok(())
    }

    fn truncate(&mut self, seq: u64) -> Result<()> {
        if seq < self.index.last_seq {
            self.take_all(self.index.from(seq + 1));
            self.index.last_seq = seq;
            self.index.settle();
            self.moved = true;
        }
        Ok(())
    }

    fn put_meta(&mut self, meta: &[u8]) -> Result<()> {
        self.ops.push(Op::Meta(Bytes::copy_from_slice(meta)));
        Ok(())
    }

    fn put_consumer(&mut self, name: &str, meta: &[u8]) -> Result<()> {
        self.ops.push(Op::Consumer { name: name.to_owned(), meta: Bytes::copy_from_slice(meta) });
        Ok(())
    }

    fn put_consumer_state(&mut self, name: &str, state: &[u8]) -> Result<()> {
        self.changes.remove(name);
        self.ops.push(Op::State { name: name.to_owned(), state: Bytes::copy_from_slice(state) });
        Ok(())
    }

    fn record_consumer(&mut self, name: &str, change: &[u8]) -> Result<()> {
        let next = self.changes.entry(name.to_owned()).or_default();
        let (number, change) = (*next, Bytes::copy_from_slice(change));
        *next += 1;
        self.ops.push(Op::Change { name: name.to_owned(), number, change });
        Ok(())
    }

    fn remove_consumer(&mut self, name: &str) -> Result<()> {
        self.changes.remove(name);
        self.ops.push(Op::ConsumerGone(name.to_owned()));
        Ok(())
    }

    fn take_consumers(&mut self) -> Result<Vec<StoredConsumer>> {
        Ok(std::mem::take(&mut self.found))
    }

    fn configure(&mut self, _settings: &StreamSettings) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> BoxFuture<'static, Result<()>> {
        let (ops, number, durable) = (self.changed(), self.commits, self.durable.clone());
        let written = self.database.submit(self.id, ops);
        Box::pin(async move {
            let outcome = written.await;
            if outcome.is_ok() {
                durable.fetch_max(number, Ordering::Release);
            }
            outcome
        })
    }

    fn close(&mut self) -> Result<()> {
        let ops = self.changed();
        self.database.write(self.id, ops)
    }

    fn destroy(&mut self) -> Result<()> {
        self.ops.clear();
        self.database.write(self.id, vec![Op::Destroy])
    }
}
