//! Where the messages of a mirror, or of a stream with sources, come from (JS-240 to JS-250).
//!
//! Each origin is read by an ordered push consumer, made by a request on its API like any client's, whether the
//! origin is on this server or behind an import. Reading order: `reader` (one origin's consumer), `take` (storing
//! what it brings), `position` (how far each got, over restarts).

mod position;
mod reader;
mod take;

pub(super) use position::RECORD as POSITIONS_RECORD;
pub use reader::hash;

use super::publish::Inbound;
use super::{Call, Stream};
use crate::store::StoreError;
use crate::wire::stream::StreamSourceInfo;
use crate::wire::{ApiError, StreamConfig};
use position::{Copied, Positions};
use reader::{Arrival, Kind, Reader};

/// What a stream reads from others.
#[derive(Default)]
pub struct Origins {
    readers: Vec<Reader>,
    positions: Positions,
    /// Of the last attempt to read an origin: what comes for an earlier one is dropped.
    last_attempt: u32,
    /// The subjects to listen to are others than they were.
    inboxes_changed: bool,
}

impl Origins {
    pub fn new(config: &StreamConfig) -> Result<Self, ApiError> {
        let mut origins = Self::default();
        origins.configure(config)?;
        Ok(origins)
    }

    /// Keeps the readers of origins that stay. Those whose consumers nobody needs any more are the answer.
    fn configure(&mut self, config: &StreamConfig) -> Result<Vec<Reader>, ApiError> {
        let mirror = config.mirror.iter().map(|source| (source, true));
        let wanted = mirror.chain(config.sources.iter().map(|source| (source, false)));
        let mut before = std::mem::take(&mut self.readers);
        for (source, is_mirror) in wanted {
            let kind = match config.sources.iter().filter(|other| other.name == source.name).count() {
                _ if is_mirror => Kind::Mirror,
                0 | 1 => Kind::Source,
                _ => Kind::OneOfMany,
            };
            let kept = before.iter().position(|reader| reader.reads(source, kind));
            self.readers.push(match kept {
                Some(place) => before.swap_remove(place),
                None => Reader::new(source, kind)?,
            });
        }
        self.inboxes_changed |= !before.is_empty();
        before.retain(|left| !self.readers.iter().any(|reader| reader.shares_consumer(left)));
        Ok(before)
    }

    fn deadline_ns(&self) -> i64 {
        self.readers.iter().map(Reader::deadline_ns).min().unwrap_or(i64::MAX)
    }
}

impl Stream {
    /// When [`Stream::tick_origins`] has something to do.
    pub(super) fn origins_deadline_ns(&self) -> i64 {
        self.origins.deadline_ns()
    }

    /// Begins to read origins, or begins anew where nothing came for too long.
    pub(super) fn tick_origins(&mut self, call: &mut Call<'_>) {
        let now_ns = call.now_ns;
        if self.origins.deadline_ns() > now_ns {
            return;
        }
        let last_seq = self.store.state().last_seq;
        let Origins { readers, positions, last_attempt, inboxes_changed } = &mut self.origins;
        for reader in readers.iter_mut().filter(|reader| reader.deadline_ns() <= now_ns) {
            if reader.is_waiting() {
                *last_attempt = last_attempt.wrapping_add(1);
                let copied = match reader.is_mirror() {
                    true => Copied { seq: last_seq, ..Copied::default() },
                    false => positions.of(reader.index_name()).cloned().unwrap_or_default(),
                };
                reader.start(*last_attempt, &copied, &self.facts, call);
                *inboxes_changed = true;
            } else {
                reader.stalled(call);
                *inboxes_changed = true;
            }
        }
    }

    /// Reads what the configuration says now.
    pub(super) fn configure_origins(&mut self, call: &mut Call<'_>) -> Result<(), ApiError> {
        let left = self.origins.configure(&self.config)?;
        left.iter().for_each(|reader| reader.leave(&self.facts, call));
        Ok(())
    }

    /// The stream is about to be deleted: nothing is read any more, and no origin keeps anything for it.
    pub fn leave_origins(&mut self, call: &mut Call<'_>) {
        for reader in std::mem::take(&mut self.origins.readers) {
            reader.leave(&self.facts, call);
            self.origins.inboxes_changed = true;
        }
    }

    /// Origins are asked at once, whatever they were waiting for: all of them, or those of that name in the account,
    /// which has just been made.
    pub fn retry_origins(&mut self, name: Option<&str>, now_ns: i64) {
        for reader in &mut self.origins.readers {
            if name.is_none_or(|name| reader.is_local() && reader.name() == name) {
                reader.try_now(now_ns);
            }
        }
    }

    /// What tells this stream from one of the same name before or after it (JS-250).
    pub fn identity(&self) -> String {
        reader::hash(&format!("{} {} {}", self.facts.account, self.facts.name, self.created_ns))
    }

    /// What came to an inbox of an origin.
    pub fn from_origin(&mut self, attempt: u32, message: &Inbound<'_>, call: &mut Call<'_>) {
        let mut origins = std::mem::take(&mut self.origins);
        if let Some(reader) = origins.readers.iter_mut().find(|reader| reader.attempt() == Some(attempt)) {
            match reader.receive(message, call) {
                Arrival::Nothing => {}
                Arrival::Identity(_) if reader.is_mirror() => {}
                Arrival::Identity(identity) => {
                    if origins.positions.identify(reader.index_name(), identity) {
                        reader.retry(call);
                    }
                }
                Arrival::Recreated => origins.positions.forget(reader.index_name()),
                Arrival::Message(place) => {
                    let taken = if reader.is_mirror() {
                        self.take_mirrored(message, &place, reader, call)
                    } else {
                        self.take_sourced(message, &place, reader, &mut origins.positions, call)
                    };
                    match taken {
                        Ok(()) => reader.copied(&place, call.now_ns),
                        Err(why) => reader.refused(why, call),
                    }
                }
            }
            // After a failure nobody listens until the next attempt.
            origins.inboxes_changed |= reader.is_waiting();
        }
        self.origins = origins;
    }

    /// Whether the answer of [`Stream::origin_inboxes`] is another one than was seen.
    pub fn origin_inboxes_changed(&self) -> bool {
        self.origins.inboxes_changed
    }

    /// Whoever listens there is about to learn of them.
    pub fn origin_inboxes_seen(&mut self) {
        self.origins.inboxes_changed = false;
    }

    /// The subjects where messages of origins arrive, each with the attempt that it belongs to.
    pub fn origin_inboxes(&self) -> impl Iterator<Item = (u32, &str)> {
        self.origins.readers.iter().filter_map(Reader::inboxes).flatten()
    }

    /// Whether a mirror has nearly all that its origin has (JS-230).
    pub fn is_caught_up(&self) -> bool {
        self.origins.readers.first().is_some_and(|reader| reader.is_mirror() && reader.is_caught_up())
    }

    pub(super) fn mirror_info(&self, now_ns: i64) -> Option<StreamSourceInfo> {
        self.origins.readers.iter().find(|reader| reader.is_mirror()).map(|reader| reader.info(now_ns))
    }

    pub(super) fn sources_info(&self, now_ns: i64) -> Vec<StreamSourceInfo> {
        let sources = self.origins.readers.iter().filter(|reader| !reader.is_mirror());
        let copied =
            |reader: &Reader| self.origins.positions.of(reader.index_name()).map_or(0, |copied| copied.seq);
        sources.map(|reader| StreamSourceInfo { seq: copied(reader), ..reader.info(now_ns) }).collect()
    }

    /// Writes how far sources got, with the messages of the commit that follows.
    pub(super) fn record_positions(&mut self) {
        let last_seq = self.store.state().last_seq;
        let recorded = self.origins.positions.record(last_seq, &mut *self.store);
        if let Err(why) = recorded {
            self.complain("the positions of sources could not be recorded", &why);
        }
    }

    /// Finds out how far sources got: what was recorded, and what was stored after that.
    pub(super) fn reread_positions(&mut self, recorded: &[u8]) -> Result<(), StoreError> {
        self.origins.positions.reread(recorded, &mut *self.store)
    }
}
