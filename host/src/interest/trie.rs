//! The subject trie: built for a million subscriptions, small first and fast second.
//!
//! Nodes of 32 bytes in an arena, one hashed edge table for the whole trie (parent and token to child),
//! subscriptions of 32 bytes in a slab, doubly linked at their node so that removal is O(1).
//! Bytes in, subscription numbers out; knows nothing of receivers. Wildcards by CORE-150..156.

use super::hash::{edge_tag, hash_bytes};
use super::sid::Sid;
use std::collections::HashMap;

#[cfg(test)]
mod tests;

const NONE: u32 = u32::MAX;
/// Token bytes kept in the node itself; longer tokens live in `long`.
const INLINE: usize = 11;
const IN_LONG: u8 = INLINE as u8 + 1;

#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    star: u32,
    full: u32,
    subs: u32,
    kids: u32,
    len: u8,
    token: [u8; INLINE],
}

/// One subscription. `queue` 0 is none.
#[derive(Clone, Copy)]
pub struct Sub {
    pub sid: Sid,
    /// The receiver's number in the sublist.
    pub member: u32,
    /// The subscription's number at its receiver, with the flags of `SubFlags` on top.
    pub index: u32,
    pub queue: u32,
    node: u32,
    next: u32,
    prev: u32,
}

/// Flags kept in the top bits of `Sub::index`.
pub struct SubFlags;

impl SubFlags {
    /// Has an UNSUB max: who gets the next message must be asked again.
    pub const LIMITED: u32 = 1 << 31;
    /// Deny rules of its receiver apply at delivery (CORE-273).
    pub const FILTERED: u32 = 1 << 30;
    pub const INDEX: u32 = (1 << 28) - 1;
}

/// A position of `match_batch`: subject number, offset of the next token, node.
pub type Step = (u32, u32, u32);

pub struct Trie {
    nodes: Vec<Node>,
    free_nodes: Vec<u32>,
    /// Open addressing: (hash tag, child); child NONE is empty.
    edges: Vec<(u32, u32)>,
    edges_used: usize,
    long: Vec<Box<[u8]>>,
    free_long: Vec<u32>,
    subs: Vec<Sub>,
    free_subs: Vec<u32>,
    queues: HashMap<Box<[u8]>, u32>,
    queue_names: Vec<Box<[u8]>>,
    count: usize,
    /// Ever inserted and removed.
    inserts: u64,
    removes: u64,
}

impl Default for Trie {
    fn default() -> Self {
        let mut trie = Trie {
            nodes: vec![],
            free_nodes: vec![],
            edges: vec![(0, NONE); 16],
            edges_used: 0,
            long: vec![],
            free_long: vec![],
            subs: vec![],
            free_subs: vec![],
            queues: HashMap::new(),
            queue_names: vec![],
            count: 0,
            inserts: 0,
            removes: 0,
        };
        trie.new_node(NONE, b"");
        trie
    }
}

impl Trie {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn inserts(&self) -> u64 {
        self.inserts
    }

    pub fn removes(&self) -> u64 {
        self.removes
    }

    /// The numbers of all subscriptions, in no order that means something.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let next = |n: u32| (n != NONE).then_some(n);
        self.nodes.iter().flat_map(move |node| {
            std::iter::successors(next(node.subs), move |&n| next(self.subs[n as usize].next))
        })
    }

    pub fn sub(&self, number: u32) -> &Sub {
        &self.subs[number as usize]
    }

    pub fn set_flag(&mut self, number: u32, flag: u32, on: bool) {
        let index = &mut self.subs[number as usize].index;
        *index = if on { *index | flag } else { *index & !flag };
    }

    /// The queue's name; empty for a plain subscription.
    pub fn queue_name(&self, queue: u32) -> &[u8] {
        if queue == 0 { b"" } else { &self.queue_names[queue as usize - 1] }
    }

    /// Adds a subscription and gives its number. The subject must be valid (CORE-151).
    pub fn insert(&mut self, subject: &[u8], queue: &[u8], member: u32, sid: Sid, index: u32) -> u32 {
        let mut node = 0;
        for token in subject.split(|&b| b == b'.') {
            node = self.child(node, token);
        }
        let queue = self.queue_number(queue);
        let head = self.nodes[node as usize].subs;
        let sub = Sub { sid, member, index, queue, node, next: head, prev: NONE };
        let number = match self.free_subs.pop() {
            Some(n) => {
                self.subs[n as usize] = sub;
                n
            }
            None => {
                self.subs.push(sub);
                self.subs.len() as u32 - 1
            }
        };
        if head != NONE {
            self.subs[head as usize].prev = number;
        }
        self.nodes[node as usize].subs = number;
        self.count += 1;
        self.inserts += 1;
        number
    }

    /// Removes subscription `number`, and the nodes that nobody needs any more.
    pub fn remove(&mut self, number: u32) {
        let sub = self.subs[number as usize];
        match sub.prev {
            NONE => self.nodes[sub.node as usize].subs = sub.next,
            prev => self.subs[prev as usize].next = sub.next,
        }
        if sub.next != NONE {
            self.subs[sub.next as usize].prev = sub.prev;
        }
        self.free_subs.push(number);
        self.count -= 1;
        self.removes += 1;
        self.prune(sub.node);
    }

    /// The subject pattern of a subscription, put together from its nodes.
    pub fn subject(&self, number: u32) -> Vec<u8> {
        let mut tokens: Vec<&[u8]> = vec![];
        let mut n = self.subs[number as usize].node;
        while n != 0 {
            let parent = self.nodes[n as usize].parent;
            let p = &self.nodes[parent as usize];
            tokens.push(if p.star == n {
                b"*"
            } else if p.full == n {
                b">"
            } else {
                self.token(n)
            });
            n = parent;
        }
        tokens.reverse();
        tokens.join(&b'.')
    }

    /// Every subscription whose pattern matches `subject`.
    pub fn matches(&self, subject: &[u8], mut found: impl FnMut(u32, &Sub)) {
        self.walk(0, subject, &mut found);
    }

    /// Matches many subjects level by level, so that the cache misses of different subjects overlap.
    /// `steps` holds (subject number, 0, 0) for each subject; `found` gets the subject number.
    pub fn match_batch<'a>(
        &self,
        subject: impl Fn(usize) -> &'a [u8],
        steps: &mut Vec<Step>,
        next: &mut Vec<Step>,
        mut found: impl FnMut(u32, &Sub),
    ) {
        const END: u32 = u32::MAX;
        while !steps.is_empty() {
            next.clear();
            for &(i, offset, n) in steps.iter() {
                let rest = &subject(i as usize)[offset as usize..];
                let dot = memchr::memchr(b'.', rest);
                let token = &rest[..dot.unwrap_or(rest.len())];
                let node = &self.nodes[n as usize];
                if node.full != NONE {
                    self.subs_of(node.full, &mut |_, s| found(i, s));
                }
                let after = dot.map_or(END, |d| offset + d as u32 + 1);
                if node.star != NONE {
                    next.push((i, after, node.star));
                }
                if node.has_literals() {
                    let child = self.find(n, token, hash_bytes(token));
                    if child != NONE {
                        next.push((i, after, child));
                    }
                }
            }
            steps.clear();
            for &(i, offset, n) in next.iter() {
                if offset == END {
                    self.subs_of(n, &mut |_, s| found(i, s));
                } else {
                    steps.push((i, offset, n));
                }
            }
        }
    }

    fn walk(&self, mut n: u32, mut rest: &[u8], found: &mut impl FnMut(u32, &Sub)) {
        loop {
            let (token, tail) = match memchr::memchr(b'.', rest) {
                Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
                None => (rest, None),
            };
            let node = &self.nodes[n as usize];
            if node.full != NONE {
                self.subs_of(node.full, found);
            }
            if node.star != NONE {
                match tail {
                    Some(tail) => self.walk(node.star, tail, found),
                    None => self.subs_of(node.star, found),
                }
            }
            if !node.has_literals() {
                return;
            }
            let child = self.find(n, token, hash_bytes(token));
            match tail {
                _ if child == NONE => return,
                None => return self.subs_of(child, found),
                Some(tail) => (n, rest) = (child, tail),
            }
        }
    }

    #[inline]
    fn subs_of(&self, node: u32, found: &mut impl FnMut(u32, &Sub)) {
        let mut n = self.nodes[node as usize].subs;
        while n != NONE {
            let sub = &self.subs[n as usize];
            found(n, sub);
            n = sub.next;
        }
    }

    fn queue_number(&mut self, name: &[u8]) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&n) = self.queues.get(name) {
            return n;
        }
        self.queue_names.push(name.into());
        let n = self.queue_names.len() as u32;
        self.queues.insert(name.into(), n);
        n
    }

    fn child(&mut self, parent: u32, token: &[u8]) -> u32 {
        let wild = match token {
            b"*" => Some(self.nodes[parent as usize].star),
            b">" => Some(self.nodes[parent as usize].full),
            _ => None,
        };
        match wild {
            Some(NONE) => {
                let child = self.new_node(parent, token);
                let node = &mut self.nodes[parent as usize];
                *(if token == b"*" { &mut node.star } else { &mut node.full }) = child;
                node.kids += 1;
                return child;
            }
            Some(child) => return child,
            None => {}
        }
        let hash = hash_bytes(token);
        let child = self.find(parent, token, hash);
        if child != NONE {
            return child;
        }
        let child = self.new_node(parent, token);
        self.nodes[parent as usize].kids += 1;
        if (self.edges_used + 1) * 4 > self.edges.len() * 3 {
            self.grow_edges();
        }
        self.edges_used += 1;
        put_edge(&mut self.edges, edge_tag(parent, hash), child);
        child
    }

    fn grow_edges(&mut self) {
        let mut bigger = vec![(0, NONE); self.edges.len() * 2];
        for &(tag, child) in self.edges.iter().filter(|e| e.1 != NONE) {
            put_edge(&mut bigger, tag, child);
        }
        self.edges = bigger;
    }

    fn new_node(&mut self, parent: u32, token: &[u8]) -> u32 {
        let mut node = Node {
            parent,
            star: NONE,
            full: NONE,
            subs: NONE,
            kids: 0,
            len: token.len().min(IN_LONG as usize) as u8,
            token: [0; INLINE],
        };
        if token.len() <= INLINE {
            node.token[..token.len()].copy_from_slice(token);
        } else {
            let at = match self.free_long.pop() {
                Some(at) => {
                    self.long[at as usize] = token.into();
                    at
                }
                None => {
                    self.long.push(token.into());
                    self.long.len() as u32 - 1
                }
            };
            node.token[..4].copy_from_slice(&at.to_le_bytes());
        }
        match self.free_nodes.pop() {
            Some(n) => {
                self.nodes[n as usize] = node;
                n
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// Removes node after node upwards while they hold neither subscriptions nor children.
    fn prune(&mut self, mut n: u32) {
        while n != 0 {
            let node = self.nodes[n as usize];
            if node.subs != NONE || node.kids != 0 {
                return;
            }
            let parent = &mut self.nodes[node.parent as usize];
            parent.kids -= 1;
            if parent.star == n {
                parent.star = NONE;
            } else if parent.full == n {
                parent.full = NONE;
            } else {
                self.cut_edge(n);
            }
            self.free_nodes.push(n);
            n = node.parent;
        }
    }

    fn cut_edge(&mut self, n: u32) {
        let node = self.nodes[n as usize];
        let tag = edge_tag(node.parent, hash_bytes(self.token(n)));
        if node.len == IN_LONG {
            let at = node.long_at();
            self.long[at] = Box::default();
            self.free_long.push(at as u32);
        }
        let mask = self.edges.len() - 1;
        let mut hole = tag as usize & mask;
        while self.edges[hole].1 != n {
            hole = (hole + 1) & mask;
        }
        // Backward shift keeps every probe sequence whole without tombstones.
        let mut j = hole;
        loop {
            j = (j + 1) & mask;
            if self.edges[j].1 == NONE {
                break;
            }
            let home = self.edges[j].0 as usize & mask;
            if (j.wrapping_sub(home) & mask) >= (j.wrapping_sub(hole) & mask) {
                self.edges[hole] = self.edges[j];
                hole = j;
            }
        }
        self.edges[hole] = (0, NONE);
        self.edges_used -= 1;
    }

    #[inline]
    fn find(&self, parent: u32, token: &[u8], hash: u64) -> u32 {
        let tag = edge_tag(parent, hash);
        let mask = self.edges.len() - 1;
        let mut i = tag as usize & mask;
        loop {
            let (t, child) = self.edges[i];
            if child == NONE {
                return NONE;
            }
            if t == tag && self.nodes[child as usize].parent == parent && self.token(child) == token {
                return child;
            }
            i = (i + 1) & mask;
        }
    }

    #[inline]
    fn token(&self, n: u32) -> &[u8] {
        let node = &self.nodes[n as usize];
        if node.len == IN_LONG { &self.long[node.long_at()] } else { &node.token[..node.len as usize] }
    }
}

impl Node {
    /// Whether some child is neither `*` nor `>`.
    #[inline]
    fn has_literals(&self) -> bool {
        self.kids > (self.star != NONE) as u32 + (self.full != NONE) as u32
    }

    fn long_at(&self) -> usize {
        u32::from_le_bytes([self.token[0], self.token[1], self.token[2], self.token[3]]) as usize
    }
}

fn put_edge(edges: &mut [(u32, u32)], tag: u32, child: u32) {
    let mask = edges.len() - 1;
    let mut i = tag as usize & mask;
    while edges[i].1 != NONE {
        i = (i + 1) & mask;
    }
    edges[i] = (tag, child);
}
