//! Other names of subjects in a chunk: mapped, imported, or delivered as something else.

use super::chunk::{Chunk, Item};
use super::gate::Passing;
use crate::interest::Matched;
use crate::proto::span::Span;
use std::sync::Arc;

/// What only some items have.
pub(super) struct Across {
    pub line: u64,
    /// Whose interest counted, if receivers see another subject; else empty.
    pub subject: Span,
    /// The gate that it came through.
    pub passing: Option<Arc<Passing>>,
}

/// Other names of subjects in a chunk: mapped, or imported.
#[derive(Default)]
pub(super) struct Shown {
    bytes: Vec<u8>,
    names: Vec<Span>,
}

impl Shown {
    /// The subject of an item as a receiver sees it.
    #[inline]
    pub fn subject<'a>(&'a self, number: u32, item: &Item, buf: &'a [u8]) -> &'a [u8] {
        match number {
            0 => item.subject.of(buf),
            number => self.names[number as usize - 1].of(&self.bytes),
        }
    }

    pub fn add(&mut self, name: &[u8]) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.names.push(Span { at, len: name.len() as u32 });
        self.names.len() as u32
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.names.clear();
    }
}

impl Chunk {
    /// Takes over the names of an answer; gives where they begin.
    #[inline]
    pub(super) fn show(&mut self, hit: &Matched) -> u32 {
        let base = self.shown.names.len() as u32;
        for name in &hit.shown {
            self.shown.add(name);
        }
        base
    }

    /// Receivers of an item see another subject than the one whose interest counts.
    pub fn note_interest(&mut self, line: u64, subject: Span) {
        self.across.push(Across { line, subject, passing: None });
    }

    pub(super) fn across_of(&self, line: u64) -> Option<&Across> {
        let at = self.across.binary_search_by_key(&line, |across| across.line).ok()?;
        self.across.get(at)
    }

    pub(super) fn clear_names(&mut self) {
        self.shown.clear();
        self.across.clear();
    }
}
