//! What a stream tells of itself (JS-130 to JS-132, JS-050).

use super::Stream;
use crate::filter::Filter;
use crate::store::StoreState;
use crate::wire::stream::LostData;
use crate::wire::{StreamInfo, StreamState, Time};
use std::collections::BTreeMap;

/// Subjects on one page.
const SUBJECTS_MAX: u64 = 100_000;

/// What a request for information asks for.
#[derive(Clone, Debug, Default)]
pub struct InfoOptions {
    pub deleted_details: bool,
    /// Empty: no subjects.
    pub subjects_filter: String,
    pub offset: u64,
}

/// Information, with the place of the page in the list of subjects.
#[derive(Clone, Debug, Default)]
pub struct Info {
    pub info: StreamInfo,
    pub total: u64,
    pub offset: u64,
    pub limit: u64,
}

impl Stream {
    /// What it holds, as numbers: for each turn.
    pub fn counts(&self) -> StoreState {
        self.store.state()
    }

    /// As clients see it.
    pub fn state(&self) -> StreamState {
        let state = self.store.state();
        let span = match state.first_seq {
            0 => 0,
            first => (state.last_seq + 1).saturating_sub(first),
        };
        let lost = LostData { msgs: self.store.lost_seqs(), bytes: state.lost_bytes };
        StreamState {
            messages: state.messages,
            bytes: state.bytes,
            first_seq: state.first_seq,
            first_ts: Time(state.first_time_ns),
            last_seq: state.last_seq,
            last_ts: Time(state.last_time_ns),
            num_subjects: state.subjects,
            num_deleted: span.saturating_sub(state.messages),
            lost: (!lost.msgs.is_empty() || lost.bytes > 0).then_some(lost),
            consumer_count: self.consumers.visible() as u64,
            ..StreamState::default()
        }
    }

    /// Without what only the server knows: `cluster`, the dynamic metadata.
    pub fn info(&mut self, options: &InfoOptions, now_ns: i64) -> Info {
        let mut info = StreamInfo {
            config: self.config.clone(),
            created: Time(self.created_ns),
            state: self.state(),
            domain: self.facts.domain.clone(),
            mirror: self.mirror_info(now_ns),
            sources: self.sources_info(now_ns),
            ts: Time(now_ns),
            ..StreamInfo::default()
        };
        if options.deleted_details {
            info.state.deleted = self.store.deleted();
        }
        let mut page = Info { info, ..Info::default() };
        if !options.subjects_filter.is_empty() {
            self.list_subjects(options, &mut page);
        }
        page
    }

    fn list_subjects(&mut self, options: &InfoOptions, page: &mut Info) {
        let mut found = Vec::new();
        let filter = Filter::new([&options.subjects_filter]);
        let visited = self.store.subjects(&filter, &mut |subject, facts| {
            found.push((String::from_utf8_lossy(subject).into_owned(), facts.messages));
        });
        if visited.is_err() || found.is_empty() {
            return;
        }
        found.sort_unstable();
        page.total = found.len() as u64;
        page.offset = options.offset;
        page.limit = SUBJECTS_MAX;
        let from = usize::try_from(page.offset).unwrap_or(usize::MAX);
        page.info.state.subjects =
            found.into_iter().skip(from).take(SUBJECTS_MAX as usize).collect::<BTreeMap<_, _>>();
    }
}
