//! Stores what came from an origin: as it was there in a mirror, with a note of where it is from in a stream with
//! sources (JS-243, JS-247, JS-248).

use super::position::Positions;
use super::reader::{Place, Reader};
use crate::store::StoreError;
use crate::stream::checks::{Rollup, store_failed};
use crate::stream::headers::{self, Block, Line, PublishHeaders, STREAM_SOURCE, value};
use crate::stream::ingest::Record;
use crate::stream::publish::Inbound;
use crate::stream::ttl::Ttl;
use crate::stream::{Call, Stream};
use crate::wire::ApiError;
use std::borrow::Cow;

impl Stream {
    pub(super) fn take_mirrored(
        &mut self,
        message: &Inbound<'_>,
        place: &Place,
        reader: &Reader,
        call: &mut Call<'_>,
    ) -> Result<(), ApiError> {
        if place.seq <= self.store.state().last_seq {
            return Ok(());
        }
        let mut subject = Vec::new();
        reader.transform(message.subject, call.random, &mut subject);
        let block = without_checks(message.headers);
        let mut record = self.record_of(&subject, &block, message.payload);
        record.time_ns = Some(place.time_ns);
        let fits = self.fits(&record);
        if fits {
            self.check_room(&record, None)?;
        }
        // Only what is surely stored may use up sequences: after a failure it is asked for again.
        self.skip_to(place, fits).map_err(store_failed)?;
        if fits {
            self.ingest(&record, call)?;
        }
        Ok(())
    }

    /// Sequences that the origin does not have any more, or that are too large for here.
    fn skip_to(&mut self, place: &Place, fits: bool) -> Result<(), StoreError> {
        let (state, next) = (self.store.state(), place.seq + u64::from(!fits));
        if state.last_seq + 1 == next {
            return Ok(());
        }
        self.changed = true;
        match state.messages {
            0 => self.store.compact(next),
            _ => self.store.skip(next - state.last_seq - 1, place.time_ns.max(self.last_time_ns)),
        }
    }

    pub(super) fn take_sourced(
        &mut self,
        message: &Inbound<'_>,
        place: &Place,
        reader: &Reader,
        positions: &mut Positions,
        call: &mut Call<'_>,
    ) -> Result<(), ApiError> {
        let copied = positions.of(reader.index_name());
        if copied.is_some_and(|copied| place.seq <= copied.seq) {
            return Ok(());
        }
        let identity = copied.map_or("", |copied| &copied.identity);
        let (mut subject, mut by_stream) = (Vec::new(), Vec::new());
        reader.transform(message.subject, call.random, &mut subject);
        if let Some(transform) = &self.rules.transform
            && transform.apply(&subject, call.random, &mut by_stream)
        {
            subject = by_stream;
        }
        let mut block = Block::from(message.headers, is_kept_by_source);
        block.add(STREAM_SOURCE, reader.source_header(place.seq, message.subject, identity));
        let (mut block, mut payload) = (block.finish(), Cow::Borrowed(message.payload));
        if self.config.allow_msg_counter {
            let counted = self.count_sourced(reader.name(), message, &subject, &block)?;
            (block, payload) = (counted.headers.into_owned(), Cow::Owned(counted.body));
        }
        let mut record = self.record_of(&subject, &block, &payload);
        record.sourced = true;
        record.msg_id = value(message.headers, headers::MSG_ID).unwrap_or_default();
        let is_duplicate = !record.msg_id.is_empty() && self.dedup.seen(record.msg_id, call.now_ns).is_some();
        if !is_duplicate && self.fits(&record) {
            self.check_room(&record, None)?;
            self.ingest(&record, call)?;
        }
        self.changed = true;
        positions.set(reader.index_name(), place.seq);
        Ok(())
    }

    /// With what headers ask for, as far as the stream allows it: an origin is not told of errors.
    fn record_of<'a>(&self, subject: &'a [u8], block: &'a [u8], payload: &'a [u8]) -> Record<'a> {
        let mut record = Record { subject, headers: block, payload, ..Record::default() };
        if block.is_empty() {
            return record;
        }
        let known = PublishHeaders::read(block);
        // Also where it is not allowed: it is in force once it is.
        record.ttl = known.ttl.and_then(Ttl::parse);
        if self.config.allow_rollup_hdrs && !self.config.deny_purge {
            record.rollup = match known.rollup {
                Some(rollup) if rollup.eq_ignore_ascii_case(b"sub") => Some(Rollup::Subject),
                Some(rollup) if rollup.eq_ignore_ascii_case(b"all") => Some(Rollup::All),
                _ => None,
            };
        }
        record
    }

    fn fits(&self, record: &Record<'_>) -> bool {
        record.headers.len() + record.payload.len() <= self.rules.size_max
    }
}

/// Lines that held when the message was published to its origin, and do not here.
fn is_kept(line: &Line<'_>) -> bool {
    !line.name.starts_with(b"Nats-Expected-") && !line.name.starts_with(b"Nats-Batch-")
}

fn is_kept_by_source(line: &Line<'_>) -> bool {
    is_kept(line) && line.name != STREAM_SOURCE.as_bytes()
}

fn without_checks(block: &[u8]) -> Cow<'_, [u8]> {
    match headers::lines(block).all(|line| is_kept(&line)) {
        true => Cow::Borrowed(block),
        false => Cow::Owned(Block::from(block, is_kept).finish()),
    }
}
