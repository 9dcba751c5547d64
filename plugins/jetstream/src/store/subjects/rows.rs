//! The sequences of subjects with several messages, for streams that limit the messages of each: which one follows
//! the first is then known without a search.
//!
//! A row is a list of chunks in one vector: about nine bytes a message.

use super::Id;

const CHUNK_SEQS: usize = 7;
const NONE: u32 = u32::MAX;

/// Rows by the numbers of their subjects.
pub struct Rows {
    rows: Vec<Row>,
    chunks: Vec<Chunk>,
    /// Chunks to use again, linked by `next`.
    unused: u32,
}

/// Its first and its last chunk; `NONE`: the subject has no row.
#[derive(Clone, Copy)]
struct Row {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy)]
struct Chunk {
    seqs: [u64; CHUNK_SEQS],
    next: u32,
    from: u8,
    to: u8,
}

const _: () = assert!(size_of::<Chunk>() == 64);

/// The ends of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Rows {
    pub fn new() -> Self {
        Self { rows: Vec::new(), chunks: Vec::new(), unused: NONE }
    }

    pub fn has(&self, id: Id) -> bool {
        self.rows.get(id as usize).is_some_and(|row| row.first != NONE)
    }

    /// A subject has a second message.
    pub fn begin(&mut self, id: Id, first_seq: u64, second_seq: u64) {
        let at = id as usize;
        if at >= self.rows.len() {
            self.rows.resize(at + 1, Row { first: NONE, last: NONE });
        }
        let chunk = self.new_chunk(first_seq);
        self.rows[at] = Row { first: chunk, last: chunk };
        self.push(id, second_seq);
    }

    /// Behind all others of a subject that has a row.
    pub fn push(&mut self, id: Id, seq: u64) {
        let last = self.rows[id as usize].last;
        let chunk = &mut self.chunks[last as usize];
        if let Some(place) = chunk.seqs.get_mut(usize::from(chunk.to)) {
            *place = seq;
            chunk.to += 1;
            return;
        }
        let new = self.new_chunk(seq);
        self.chunks[last as usize].next = new;
        self.rows[id as usize].last = new;
    }

    /// What is left, when something is.
    pub fn remove(&mut self, id: Id, seq: u64) -> Option<Ends> {
        let (mut before, mut at) = (NONE, self.rows[id as usize].first);
        while self.chunks[at as usize].seqs().last().is_some_and(|last| *last < seq)
            && self.chunks[at as usize].next != NONE
        {
            (before, at) = (at, self.chunks[at as usize].next);
        }
        self.chunks[at as usize].remove(seq);
        if self.chunks[at as usize].seqs().is_empty() {
            self.unlink(id, before, at);
        }
        let row = self.rows[id as usize];
        if row.first == NONE {
            return None;
        }
        let first_seq = self.chunks[row.first as usize].seqs().first().copied()?;
        let last_seq = self.chunks[row.last as usize].seqs().last().copied()?;
        Some(Ends { first_seq, last_seq })
    }

    /// The subject has one message or none.
    pub fn end(&mut self, id: Id) {
        let Some(row) = self.rows.get_mut(id as usize) else { return };
        let (first, last) = (row.first, row.last);
        if first != NONE {
            *row = Row { first: NONE, last: NONE };
            self.chunks[last as usize].next = self.unused;
            self.unused = first;
        }
    }

    fn unlink(&mut self, id: Id, before: u32, at: u32) {
        let next = self.chunks[at as usize].next;
        let row = &mut self.rows[id as usize];
        match before {
            NONE => row.first = next,
            before => self.chunks[before as usize].next = next,
        }
        if row.last == at {
            row.last = before;
        }
        self.chunks[at as usize].next = self.unused;
        self.unused = at;
    }

    fn new_chunk(&mut self, seq: u64) -> u32 {
        let mut seqs = [0; CHUNK_SEQS];
        seqs[0] = seq;
        let chunk = Chunk { seqs, next: NONE, from: 0, to: 1 };
        match self.chunks.get_mut(self.unused as usize) {
            Some(slot) => {
                let at = std::mem::replace(&mut self.unused, slot.next);
                *slot = chunk;
                at
            }
            None => {
                super::grow(&mut self.chunks, 1);
                self.chunks.push(chunk);
                (self.chunks.len() - 1) as u32
            }
        }
    }
}

impl Chunk {
    fn seqs(&self) -> &[u64] {
        &self.seqs[usize::from(self.from)..usize::from(self.to)]
    }

    fn remove(&mut self, seq: u64) {
        let Ok(place) = self.seqs().binary_search(&seq) else { return };
        if place == 0 {
            self.from += 1;
            return;
        }
        let (from, to) = (usize::from(self.from), usize::from(self.to));
        self.seqs.copy_within(from + place + 1..to, from + place);
        self.to -= 1;
    }
}
