//! Mirrors and sources of a stream (JS-086, JS-241, JS-242), and whether they go round in a circle (JS-105).

use std::collections::{HashSet, VecDeque};

use super::subjects::{is_literal, is_subset, is_valid_name, is_valid_subject, overlap};
use super::{Rules, ensure, go_quote, invalid, pedantic};
use crate::transform;
use crate::wire::stream::{ExternalStream, StreamSource, SubjectTransform};
use crate::wire::{ApiError, StreamConfig, error};

const API_PREFIX: &str = "$JS.API";

pub(super) fn check(config: &mut StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let mut externals = Externals::default();
    if let Some(origin) = config.mirror.clone() {
        mirror(config, &origin)?;
        match &origin.external {
            Some(external) => externals.add(external),
            None => local_mirror(config, &origin, rules, &mut externals)?,
        }
    }
    sources(config, rules, &mut externals)?;
    externals.check()?;
    cycles(config, rules)
}

fn mirror(config: &StreamConfig, origin: &StreamSource) -> Result<(), ApiError> {
    ensure(config.first_seq == 0, || error::MIRROR_WITH_FIRST_SEQ)?;
    ensure(config.subjects.is_empty(), || error::MIRROR_WITH_SUBJECTS)?;
    ensure(config.sources.is_empty(), || error::MIRROR_WITH_SOURCES)?;
    ensure(!config.allow_msg_counter, || error::MIRROR_WITH_COUNTERS)?;
    ensure(!config.allow_atomic, || error::MIRROR_WITH_ATOMIC_PUBLISH)?;
    ensure(!config.allow_batched, || error::MIRROR_WITH_BATCH_PUBLISH)?;
    ensure(!config.allow_msg_schedules, || error::MIRROR_WITH_MSG_SCHEDULES)?;
    ensure(has_valid_consumer(origin), || error::MIRROR_DURABLE_CONSUMER_CFG_INVALID)?;
    ensure(origin.filter_subject.is_empty() || origin.subject_transforms.is_empty(), || {
        error::MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED
    })?;
    // Markers would take sequences that the origin has for something else.
    ensure(config.subject_delete_marker_ttl == 0, || invalid("subject delete markers forbidden on mirrors"))?;
    for (at, SubjectTransform { src, dest }) in origin.subject_transforms.iter().enumerate() {
        ensure(src.is_empty() || is_valid_subject(src), || {
            error::MIRROR_INVALID_SUBJECT_FILTER.with(format_args!("invalid subject {src}"))
        })?;
        transform::check(src, dest).map_err(|why| error::MIRROR_INVALID_TRANSFORM_DESTINATION.with(why))?;
        let others = origin.subject_transforms.iter().enumerate();
        let overlaps = others.filter(|(other, _)| *other != at).any(|(_, other)| overlap(src, &other.src));
        ensure(!overlaps, || error::MIRROR_OVERLAPPING_SUBJECT_FILTERS)?;
    }
    Ok(())
}

/// A mirror of a stream that may be here; direct gets are on as there (JS-090).
fn local_mirror(
    config: &mut StreamConfig,
    origin: &StreamSource,
    rules: &Rules<'_>,
    externals: &mut Externals,
) -> Result<(), ApiError> {
    ensure(is_valid_name(&origin.name), || error::MIRROR_INVALID_STREAM_NAME)?;
    let Some(origin) = rules.assets.get(&origin.name) else { return Ok(()) };
    externals.subjects.extend_from_slice(&origin.subjects);
    ensure(!holds_less(config, origin), || error::MIRROR_MAX_MESSAGE_SIZE_TOO_BIG)?;
    ensure(!rules.is_pedantic || config.mirror_direct == origin.allow_direct, || {
        pedantic("origin stream has direct get set, mirror has it disabled")
    })?;
    config.mirror_direct = origin.allow_direct;
    Ok(())
}

fn sources(config: &StreamConfig, rules: &Rules<'_>, externals: &mut Externals) -> Result<(), ApiError> {
    ensure(config.sources.is_empty() || !config.allow_msg_schedules, || error::SOURCE_WITH_MSG_SCHEDULES)?;
    let (mut seen, mut consumers) = (HashSet::new(), HashSet::new());
    for source in &config.sources {
        ensure(is_valid_name(&source.name), || error::SOURCE_INVALID_STREAM_NAME)?;
        ensure(seen.insert(identity(source)), || error::SOURCE_DUPLICATE_DETECTED)?;
        ensure(source.filter_subject.is_empty() || source.subject_transforms.is_empty(), || {
            error::SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED
        })?;
        source_transforms(&source.subject_transforms)?;
        ensure(has_valid_consumer(source), || error::SOURCE_DURABLE_CONSUMER_CFG_INVALID)?;
        if let Some(consumer) = &source.consumer {
            let api = source.external.as_ref().map(|external| &external.api);
            ensure(consumers.insert((&source.name, api, &consumer.name)), || {
                error::SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED
            })?;
        }
        match &source.external {
            Some(external) => externals.add(external),
            None => {
                let Some(origin) = rules.assets.get(&source.name) else { continue };
                externals.subjects.extend_from_slice(&origin.subjects);
                ensure(!holds_less(config, origin), || error::SOURCE_MAX_MESSAGE_SIZE_TOO_BIG)?;
            }
        }
    }
    Ok(())
}

fn source_transforms(transforms: &[SubjectTransform]) -> Result<(), ApiError> {
    for SubjectTransform { src, dest } in transforms {
        ensure(src.is_empty() || is_valid_subject(src), || {
            error::SOURCE_INVALID_SUBJECT_FILTER.with(format_args!("invalid subject {src}"))
        })?;
        transform::check(src, dest).map_err(|why| error::SOURCE_INVALID_TRANSFORM_DESTINATION.with(why))?;
    }
    let overlaps = transforms.iter().enumerate().any(|(at, one)| {
        let mut others = transforms.iter().enumerate();
        others.any(|(other_at, other)| other_at != at && is_subset(&one.src, &other.src))
    });
    ensure(!overlaps, || error::SOURCE_OVERLAPPING_SUBJECT_FILTERS)
}

/// What makes two sources the same: stream, place, consumer, filters and what becomes of subjects.
pub fn identity(source: &StreamSource) -> String {
    let or_all = |subject: &str| if subject.is_empty() { ">".to_owned() } else { subject.to_owned() };
    let list = |subjects: Vec<String>| subjects.join("\u{c}");
    let (from, to) = match source.subject_transforms.as_slice() {
        [] => (or_all(&source.filter_subject), ">".to_owned()),
        transforms => (
            list(transforms.iter().map(|transform| or_all(&transform.src)).collect()),
            list(transforms.iter().map(|transform| or_all(&transform.dest)).collect()),
        ),
    };
    let api = source.external.as_ref().map_or("", |external| &external.api);
    let consumer = source.consumer.as_ref().map_or("", |consumer| &consumer.name);
    format!("{} {api} {consumer} {from} {to}", source.name)
}

/// A durable consumer that it is told to use.
fn has_valid_consumer(source: &StreamSource) -> bool {
    source.consumer.as_ref().is_none_or(|consumer| {
        is_valid_name(&consumer.name)
            && is_literal(&consumer.deliver_subject)
            && is_valid_subject(&consumer.deliver_subject)
            && source.opt_start_seq == 0
            && source.opt_start_time.is_none()
            && source.filter_subject.is_empty()
    })
}

fn holds_less(config: &StreamConfig, origin: &StreamConfig) -> bool {
    config.max_msg_size > 0 && origin.max_msg_size > 0 && config.max_msg_size < origin.max_msg_size
}

/// Prefixes of other accounts and domains, and the subjects here that they must not meet.
#[derive(Default)]
struct Externals {
    deliver: Vec<String>,
    api: Vec<String>,
    subjects: Vec<String>,
}

impl Externals {
    fn add(&mut self, external: &ExternalStream) {
        let given = |prefix: &String| Some(prefix.clone()).filter(|prefix| !prefix.is_empty());
        self.deliver.extend(given(&external.deliver));
        self.api.extend(given(&external.api));
    }

    fn check(&self) -> Result<(), ApiError> {
        let is_publishable = |prefix: &str| is_valid_subject(prefix) && is_literal(prefix);
        for prefix in &self.deliver {
            ensure(is_publishable(prefix), || error::STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ.with(prefix))?;
            for subject in &self.subjects {
                ensure(!overlap(subject, &format!("{prefix}.{subject}")), || {
                    error::STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS.with(prefix).with(subject)
                })?;
            }
        }
        for prefix in &self.api {
            ensure(is_publishable(prefix), || {
                let prefix = go_quote(prefix);
                invalid(format_args!(
                    "stream external api prefix {prefix} must be a valid subject without wildcards"
                ))
            })?;
            ensure(!overlap(prefix, API_PREFIX), || {
                error::STREAM_EXTERNAL_API_OVERLAP.with(prefix).with(API_PREFIX)
            })?;
        }
        Ok(())
    }
}

/// Follows origins that are here. A circle of sources counts if the filter lets something through.
fn cycles(config: &StreamConfig, rules: &Rules<'_>) -> Result<(), ApiError> {
    let mut visited = HashSet::new();
    let mut to_visit = VecDeque::from([config]);
    while let Some(stream) = to_visit.pop_front() {
        visited.insert(stream.name.as_str());
        let origins = stream.sources.iter().chain(&stream.mirror).filter(|origin| origin.external.is_none());
        for origin in origins {
            let is_mirror = stream.mirror.as_ref() == Some(origin);
            let lets_through = || {
                let filter = &origin.filter_subject;
                is_mirror
                    || filter.is_empty()
                    || stream.subjects.iter().any(|subject| overlap(subject, filter))
            };
            if visited.contains(origin.name.as_str()) {
                ensure(!lets_through(), || invalid("detected cycle"))?;
            } else if let Some(origin) = rules.assets.get(&origin.name) {
                to_visit.push_back(origin);
            }
        }
    }
    Ok(())
}
