//! What goes wrong on the other side of the line is an error on this one.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::abi::points::FfiCall;
use crate::error::{Error, ErrorKind, Result};
use crate::services::Service;
use crate::stream_store::{
    Purge, Removed, StoredConsumer, StoredMessage, StoredStream, StreamEngine, StreamSettings, StreamStore,
};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Breaks wherever it can.
struct Broken;

impl StreamEngine for Broken {
    fn create(&self, _: &str, stream: &str, _: &StreamSettings, _: &[u8]) -> Result<Box<dyn StreamStore>> {
        match stream {
            "there" => Err(Error::new(ErrorKind::AlreadyExists, "it is there")),
            _ => Ok(Box::new(Broken)),
        }
    }

    fn recover(&self) -> Result<Vec<StoredStream>> {
        let damaged = || Err(Error::new(ErrorKind::Damaged, "no head"));
        let (account, name) = ("A".to_owned(), "S".to_owned());
        Ok(vec![StoredStream { account, name, meta: Bytes::new(), store: damaged() }])
    }
}

impl StreamStore for Broken {
    fn state(&self) -> StreamState {
        panic!("state")
    }
    fn append(&mut self, message: &NewMessage<'_>) -> Result<Appended> {
        panic!("append {}", message.subject().escape_ascii())
    }
    fn skip(&mut self, _: u64, _: i64) -> Result<()> {
        Ok(())
    }
    fn load(&mut self, seq: u64) -> Result<Option<StoredMessage>> {
        Ok(Some(StoredMessage {
            seq,
            content: b"abc".as_slice().into(),
            subject_len: 4,
            ..Default::default()
        }))
    }
    fn next(&mut self, filter: &StreamFilter<'_>, seq: u64) -> Result<Option<StoredMessage>> {
        let content: Bytes = filter.patterns().collect::<Vec<_>>().concat().into();
        Ok(Some(StoredMessage { seq, subject_len: content.len(), content, ..StoredMessage::default() }))
    }
    fn next_flagged(&mut self, _: u32, _: u64) -> Result<Option<StoredMessage>> {
        Ok(None)
    }
    fn last(&mut self, _: &StreamFilter<'_>, _: u64) -> Result<Option<StoredMessage>> {
        Ok(None)
    }
    fn last_of_each(&mut self, _: &StreamFilter<'_>, _: u64, _: usize) -> Result<Option<Vec<u64>>> {
        Ok(None)
    }
    fn count(&mut self, filter: &StreamFilter<'_>, _: u64, _: bool) -> Result<u64> {
        Ok(filter.patterns().count() as u64)
    }
    fn subject(&mut self, _: &[u8]) -> Result<SubjectFacts> {
        Ok(SubjectFacts::default())
    }
    fn subjects(&mut self, _: &StreamFilter<'_>, visit: &mut dyn FnMut(&[u8], SubjectFacts)) -> Result<()> {
        visit(b"a", SubjectFacts { messages: 2, first_seq: 3, last_seq: 4 });
        Ok(())
    }
    fn seq_from_time(&mut self, _: i64) -> Result<u64> {
        Ok(0)
    }
    fn deleted(&mut self) -> Result<Vec<u64>> {
        Ok(vec![3, 5])
    }
    fn remove(&mut self, _: u64, _: bool) -> Result<Option<Removed>> {
        Ok(None)
    }
    fn purge(&mut self, purge: &Purge<'_>) -> Result<(u64, u64)> {
        Ok((purge.before_seq, purge.keep))
    }
    fn compact(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
    fn truncate(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
    fn put_meta(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn put_consumer(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn put_consumer_state(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn record_consumer(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn remove_consumer(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
    fn take_consumers(&mut self) -> Result<Vec<StoredConsumer>> {
        Ok(Vec::new())
    }
    fn configure(&mut self, _: &StreamSettings) -> Result<()> {
        Ok(())
    }
    fn commit(&mut self) -> crate::BoxFuture<'static, Result<()>> {
        Box::pin(async { panic!("commit") })
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    fn destroy(&mut self) -> Result<()> {
        Ok(())
    }
}

fn broken() -> StreamStoreClient {
    let engine = StreamEngineClient::new(FfiCall::stream_engine(Arc::new(Broken))).unwrap();
    engine.create("A", "S", &StreamSettings::default(), b"").unwrap()
}

#[test]
fn a_panic_in_a_store_is_an_error() {
    let mut store = broken();
    assert_eq!(store.state().unwrap_err().kind(), ErrorKind::Panicked);
    let error = store.append(&NewMessage::new(b"x", b"", b"", 1, 0)).unwrap_err();
    assert_eq!(error.message(), "panicked: append x");
    let mut commit = store.commit();
    let polled = Pin::new(&mut commit).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!("it is done") };
    assert_eq!(error.kind(), ErrorKind::Panicked);
}

#[test]
fn lengths_that_do_not_fit_are_an_error() {
    assert!(broken().load(1).unwrap_err().message().contains("do not fit into 3"));
}

#[test]
fn filters_visitors_and_lists_cross() {
    let mut store = broken();
    for patterns in [vec![], vec![b"a.*".as_slice()], vec![b"a.*".as_slice(), b"b.>", b"c"]] {
        assert_eq!(store.count(patterns.iter().copied(), 0, false).unwrap(), patterns.len() as u64);
        let found = store.next(patterns.iter().copied(), 7).unwrap().unwrap();
        assert_eq!((found.seq, found.subject()), (7, Bytes::from(patterns.concat())));
    }
    let mut seen = Vec::new();
    store.subjects(std::iter::empty(), &mut |subject, facts| seen.push((subject.to_vec(), facts))).unwrap();
    assert_eq!(seen, [(b"a".to_vec(), SubjectFacts { messages: 2, first_seq: 3, last_seq: 4 })]);
    assert_eq!(
        (store.deleted().unwrap(), store.purge(std::iter::empty(), 5, 6).unwrap()),
        (vec![3, 5], (5, 6))
    );
}

#[test]
fn errors_keep_their_kind() {
    let engine = StreamEngineClient::new(FfiCall::stream_engine(Arc::new(Broken))).unwrap();
    let made = engine.create("A", "there", &StreamSettings::default(), b"");
    assert_eq!(made.err().unwrap().kind(), ErrorKind::AlreadyExists);
    let found = engine.recover().unwrap().pop().unwrap();
    assert_eq!((found.name.as_str(), found.store.err().unwrap().kind()), ("S", ErrorKind::Damaged));
}

#[test]
fn a_service_that_is_no_engine_says_so() {
    struct Plain;
    impl Service for Plain {
        fn call(&self, _: &str, payload: Bytes) -> crate::BoxFuture<'static, Result<Bytes>> {
            Box::pin(async { Ok(payload) })
        }
    }
    let refused = StreamEngineClient::new(FfiCall::new(Arc::new(Plain))).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}
