//! The names of subjects in order, so that a pattern finds its matches without a look at all of them.
//!
//! Ids lie in chunks that are split when they are full. A pattern goes from match to match: where a name does not
//! match, the next one that could is sought, past everything between.

use super::Id;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A chunk is split when it has so many ids.
const CHUNK_MAX: usize = if cfg!(test) { 8 } else { 512 };
/// So many are in each when the order is made.
const CHUNK_MADE: usize = CHUNK_MAX * 3 / 4;
/// Fewer names are sorted by comparing them.
const COMPARED_MAX: usize = 32;
/// Names with more in common are compared.
const DEPTH_MAX: usize = 64;

/// Ids in the order of their names. No chunk is empty.
pub struct Order {
    chunks: Vec<Vec<Id>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: usize,
    at: usize,
}

/// What a name is to a pattern.
enum Verdict {
    Match,
    /// It does not match, but the next one may.
    Pass,
    /// None before the target does.
    Seek,
    /// None from here on does.
    End,
}

impl Order {
    /// The first `common` bytes of all names are the same.
    pub fn new<'a>(mut ids: Vec<Id>, common: usize, name: &impl Fn(Id) -> &'a [u8]) -> Self {
        sort(&mut ids, common, name);
        Self { chunks: ids.chunks(CHUNK_MADE).map(<[Id]>::to_vec).collect() }
    }

    pub fn insert<'a>(&mut self, id: Id, name: &impl Fn(Id) -> &'a [u8]) {
        let new = name(id);
        // The last chunk that begins before it.
        let place =
            self.chunks.partition_point(|chunk| chunk.first().is_some_and(|&first| name(first) < new));
        let place = place.saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(place) else { return self.chunks.push(vec![id]) };
        let at = chunk.partition_point(|&other| name(other) < new);
        chunk.insert(at, id);
        if chunk.len() >= CHUNK_MAX {
            let rest = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(place + 1, rest);
        }
    }

    pub fn remove<'a>(&mut self, id: Id, name: &impl Fn(Id) -> &'a [u8]) {
        let place = self.seek(Place { chunk: 0, at: 0 }, name(id), name);
        if self.id(place) != Some(id) {
            return;
        }
        let chunk = &mut self.chunks[place.chunk];
        chunk.remove(place.at);
        if chunk.is_empty() {
            self.chunks.remove(place.chunk);
        }
    }

    /// All matches of a pattern, until `visit` breaks off.
    pub fn each_match<'a>(
        &self,
        pattern: &[u8],
        name: &impl Fn(Id) -> &'a [u8],
        mut visit: impl FnMut(Id, &[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut target = literal_start(pattern).to_vec();
        let mut place = self.seek(Place { chunk: 0, at: 0 }, &target, name);
        while let Some(id) = self.id(place) {
            let candidate = name(id);
            match judge(pattern, candidate, &mut target) {
                Verdict::Match => {
                    visit(id, candidate)?;
                    place.at += 1;
                }
                Verdict::Pass => place.at += 1,
                Verdict::Seek => place = self.seek(place, &target, name),
                Verdict::End => break,
            }
            if place.chunk < self.chunks.len() && place.at >= self.chunks[place.chunk].len() {
                place = Place { chunk: place.chunk + 1, at: 0 };
            }
        }
        ControlFlow::Continue(())
    }

    fn id(&self, place: Place) -> Option<Id> {
        self.chunks.get(place.chunk)?.get(place.at).copied()
    }

    /// The first place from `from` on whose name is not before `target`.
    fn seek<'a>(&self, from: Place, target: &[u8], name: &impl Fn(Id) -> &'a [u8]) -> Place {
        let is_before = |id: &Id| name(*id) < target;
        let ends_before = |chunk: &Vec<Id>| chunk.last().is_none_or(is_before);
        let mut place = from;
        match self.chunks.get(place.chunk) {
            Some(chunk) if ends_before(chunk) => {
                let rest = &self.chunks[place.chunk + 1..];
                place = Place { chunk: place.chunk + 1 + rest.partition_point(ends_before), at: 0 };
            }
            Some(_) => {}
            None => return place,
        }
        let Some(chunk) = self.chunks.get(place.chunk) else { return place };
        // What is sought is often near.
        let mut step = 1;
        while chunk.get(place.at + step).is_some_and(is_before) {
            place.at += step;
            step *= 2;
        }
        let end = chunk.len().min(place.at + step + 1);
        let near = chunk.get(place.at..end).unwrap_or_default();
        place.at += near.partition_point(is_before);
        place
    }
}

/// What comes before the first wildcard.
fn literal_start(pattern: &[u8]) -> &[u8] {
    let mut start = 0;
    while let (token, Some(next)) = token(pattern, start) {
        if token == b"*" {
            break;
        }
        start = next;
    }
    &pattern[..start]
}

/// Fills `target` when something is to be sought.
fn judge(pattern: &[u8], name: &[u8], target: &mut Vec<u8>) -> Verdict {
    let (mut pattern_at, mut name_at) = (0, 0);
    loop {
        let (wanted, wanted_next) = token(pattern, pattern_at);
        if wanted == b">" {
            let is_full = name[name_at..].split(|&byte| byte == b'.').all(|token| !token.is_empty());
            return if is_full { Verdict::Match } else { Verdict::Pass };
        }
        let (found, found_next) = token(name, name_at);
        if wanted == b"*" {
            if found.is_empty() {
                return Verdict::Pass;
            }
        } else if wanted != found {
            target.clear();
            target.extend_from_slice(&name[..name_at]);
            target.extend_from_slice(wanted);
            if wanted_next.is_some() {
                target.push(b'.');
            }
            if target[..].cmp(name) == Ordering::Greater {
                return Verdict::Seek;
            }
            return past(&name[..name_at], target);
        }
        match (wanted_next, found_next) {
            (Some(wanted_next), Some(found_next)) => (pattern_at, name_at) = (wanted_next, found_next),
            (None, None) => return Verdict::Match,
            (Some(_), None) => return Verdict::Pass,
            (None, Some(found_next)) => return past(&name[..found_next], target),
        }
    }
}

/// Seeks what comes after all names that begin with whole tokens.
fn past(start: &[u8], target: &mut Vec<u8>) -> Verdict {
    let Some((_dot, tokens)) = start.split_last() else { return Verdict::End };
    target.clear();
    target.extend_from_slice(tokens);
    target.push(b'.' + 1);
    Verdict::Seek
}

/// The token that begins at `at`, and where the next one does.
fn token(subject: &[u8], at: usize) -> (&[u8], Option<usize>) {
    match memchr::memchr(b'.', &subject[at..]) {
        Some(len) => (&subject[at..at + len], Some(at + len + 1)),
        None => (&subject[at..], None),
    }
}

/// By eight bytes at a time, so that most names are never compared.
fn sort<'a>(ids: &mut [Id], depth: usize, name: &impl Fn(Id) -> &'a [u8]) {
    if ids.len() <= COMPARED_MAX || depth > DEPTH_MAX {
        return ids.sort_unstable_by_key(|&id| name(id));
    }
    let mut words: Vec<(u64, Id)> = ids.iter().map(|&id| (word(name(id), depth), id)).collect();
    words.sort_unstable_by_key(|(word, _)| *word);
    for (slot, (_, id)) in ids.iter_mut().zip(&words) {
        *slot = *id;
    }
    let mut start = 0;
    for same in words.chunk_by(|one, other| one.0 == other.0) {
        let end = start + same.len();
        if same.len() > 1 {
            sort(&mut ids[start..end], depth + 8, name);
        }
        start = end;
    }
}

/// Eight bytes of a name, in an order as the bytes have.
fn word(name: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    let rest = name.get(at..).unwrap_or_default();
    let len = rest.len().min(8);
    word[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(word)
}
