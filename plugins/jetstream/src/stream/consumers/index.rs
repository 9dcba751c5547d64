//! Finds the consumers that a subject concerns, without looking at the others.
//!
//! Consumers with the same filter form a group. Groups of literal filters are found by one look-up, those with
//! wildcards by walking a tree of tokens.

use crate::filter::{Filter, is_literal};
use hashbrown::HashMap;

/// All groups of a stream.
#[derive(Default)]
pub struct Index {
    groups: Vec<Group>,
    free: Vec<u32>,
    by_filter: HashMap<Box<[u8]>, u32>,
    literals: HashMap<Box<[u8]>, Vec<u32>>,
    /// Groups that take every subject: at most one.
    all: Option<u32>,
    wild: Node,
    wild_groups: usize,
    /// Whether a group has several filters, so that a subject may find it twice.
    several: bool,
}

/// Consumers with the same filter.
#[derive(Default)]
pub struct Group {
    pub filter: Filter,
    /// Messages that were stored for it, ever.
    pub stored: u64,
    /// Messages of it that were removed, ever.
    pub removed: u64,
    pub members: Vec<u32>,
    /// The members that are told of each message at once.
    pub awake: Vec<u32>,
}

#[derive(Default)]
struct Node {
    children: HashMap<Box<[u8]>, Node>,
    star: Option<Box<Node>>,
    /// Of filters that end here.
    groups: Vec<u32>,
    /// Of filters that end with `>` here.
    rest: Vec<u32>,
}

impl Index {
    pub fn is_empty(&self) -> bool {
        self.by_filter.is_empty()
    }

    /// Adds a consumer and tells its group.
    pub fn insert(&mut self, filter: &Filter, consumer: u32) -> u32 {
        let key = key(filter);
        let group = match self.by_filter.get(&key) {
            Some(&group) => group,
            None => self.new_group(filter, key),
        };
        self.groups[group as usize].members.push(consumer);
        group
    }

    pub fn remove(&mut self, group: u32, consumer: u32) {
        let slot = &mut self.groups[group as usize];
        slot.awake.retain(|&member| member != consumer);
        if let Some(at) = slot.members.iter().position(|&member| member == consumer) {
            slot.members.swap_remove(at);
        }
        if slot.members.is_empty() {
            self.remove_group(group);
        }
    }

    pub fn group(&mut self, group: u32) -> &mut Group {
        &mut self.groups[group as usize]
    }

    /// Every group, for what concerns all of them.
    pub fn groups(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().filter(|group| !group.members.is_empty())
    }

    /// The groups that a subject concerns, into `found`.
    pub fn matching(&self, subject: &[u8], found: &mut Vec<u32>) {
        found.clear();
        found.extend(self.all);
        if !self.literals.is_empty()
            && let Some(groups) = self.literals.get(subject)
        {
            found.extend_from_slice(groups);
        }
        if self.wild_groups > 0 {
            self.wild.find(Some(subject), found);
            if self.several {
                found.sort_unstable();
                found.dedup();
            }
        }
    }

    fn new_group(&mut self, filter: &Filter, key: Box<[u8]>) -> u32 {
        let group = self.free.pop().unwrap_or(self.groups.len() as u32);
        let content = Group { filter: filter.clone(), ..Group::default() };
        match self.groups.get_mut(group as usize) {
            Some(slot) => *slot = content,
            None => self.groups.push(content),
        }
        self.by_filter.insert(key, group);
        if filter.is_all() {
            self.all = Some(group);
        }
        self.several |= filter.patterns().count() > 1;
        for pattern in filter.patterns() {
            if is_literal(pattern) {
                self.literals.entry(pattern.into()).or_default().push(group);
            } else {
                self.wild.insert(Some(pattern), group);
                self.wild_groups += 1;
            }
        }
        group
    }

    fn remove_group(&mut self, group: u32) {
        let filter = std::mem::take(&mut self.groups[group as usize]).filter;
        self.by_filter.remove(&key(&filter));
        if filter.is_all() {
            self.all = None;
        }
        for pattern in filter.patterns() {
            if is_literal(pattern) {
                if let Some(groups) = self.literals.get_mut(pattern) {
                    groups.retain(|&other| other != group);
                    if groups.is_empty() {
                        self.literals.remove(pattern);
                    }
                }
            } else {
                self.wild.remove(Some(pattern), group);
                self.wild_groups -= 1;
            }
        }
        self.free.push(group);
    }
}

impl Node {
    fn insert(&mut self, pattern: Option<&[u8]>, group: u32) {
        let Some((token, rest)) = pattern.map(split) else { return self.groups.push(group) };
        match token {
            b">" => self.rest.push(group),
            b"*" => self.star.get_or_insert_default().insert(rest, group),
            token => self.children.entry_ref(token).or_default().insert(rest, group),
        }
    }

    fn remove(&mut self, pattern: Option<&[u8]>, group: u32) {
        let Some((token, rest)) = pattern.map(split) else {
            return self.groups.retain(|&other| other != group);
        };
        match token {
            b">" => self.rest.retain(|&other| other != group),
            b"*" => {
                if let Some(star) = &mut self.star {
                    star.remove(rest, group);
                    self.star = self.star.take().filter(|star| !star.is_empty());
                }
            }
            token => {
                if let Some(child) = self.children.get_mut(token) {
                    child.remove(rest, group);
                    if child.is_empty() {
                        self.children.remove(token);
                    }
                }
            }
        }
    }

    fn find(&self, subject: Option<&[u8]>, found: &mut Vec<u32>) {
        let Some((token, rest)) = subject.map(split) else {
            found.extend_from_slice(&self.groups);
            return;
        };
        found.extend_from_slice(&self.rest);
        if let Some(star) = &self.star {
            star.find(rest, found);
        }
        if !self.children.is_empty()
            && let Some(child) = self.children.get(token)
        {
            child.find(rest, found);
        }
    }

    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.star.is_none() && self.groups.is_empty() && self.rest.is_empty()
    }
}

/// The first token and what follows it.
fn split(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'.', subject) {
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
        None => (subject, None),
    }
}

/// Filters with the same patterns in any order have the same key.
fn key(filter: &Filter) -> Box<[u8]> {
    let mut patterns: Vec<&[u8]> = filter.patterns().collect();
    patterns.sort_unstable();
    patterns.join(&b' ').into()
}

#[cfg(test)]
mod tests {
    use super::Index;
    use crate::filter::Filter;

    fn found(index: &Index, subject: &str) -> Vec<u32> {
        let mut found = Vec::new();
        index.matching(subject.as_bytes(), &mut found);
        found.sort_unstable();
        found
    }

    #[test]
    fn each_group_that_matches_is_found_once() {
        let mut index = Index::default();
        let all = index.insert(&Filter::all(), 1);
        let literal = index.insert(&Filter::new(["a.b"]), 2);
        let star = index.insert(&Filter::new(["a.*"]), 3);
        let rest = index.insert(&Filter::new(["a.>"]), 4);
        let two = index.insert(&Filter::new(["a.*", "*.b"]), 5);
        assert_eq!(index.insert(&Filter::new(["*.b", "a.*"]), 6), two);
        assert_eq!(found(&index, "a.b"), [all, literal, star, rest, two]);
        assert_eq!(found(&index, "a"), [all]);
        assert_eq!(found(&index, "a.b.c"), [all, rest]);
        assert_eq!(found(&index, "x.b"), [all, two]);
    }

    #[test]
    fn a_group_goes_with_its_last_member() {
        let mut index = Index::default();
        let group = index.insert(&Filter::new(["a.*", "b"]), 1);
        index.insert(&Filter::new(["a.*", "b"]), 2);
        index.remove(group, 1);
        assert_eq!(found(&index, "a.x"), [group]);
        index.remove(group, 2);
        assert!(found(&index, "a.x").is_empty() && found(&index, "b").is_empty() && index.is_empty());
        assert!(index.wild.is_empty());
        assert_eq!(index.insert(&Filter::all(), 3), group);
    }
}
