//! A set of permission entries, looked up by subject without looking at each (PERM-002, PERM-003).
//!
//! Literal entries are in a hash table, patterns in a trie by token. Not here: what a match means.

use hashbrown::HashMap;

use crate::subject::{has_wildcard, is_subset, tokens};

/// Entries are subjects, each with or without a queue.
#[derive(Clone, Debug, Default)]
pub struct SubjectTable {
    literals: HashMap<Box<[u8]>, Entry>,
    patterns: Node,
}

/// What was entered for one subject: it alone, with queues, or both.
#[derive(Clone, Debug, Default)]
struct Entry {
    plain: bool,
    queues: Vec<Box<[u8]>>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, Node>,
    /// Behind a `*`.
    any: Option<Box<Node>>,
    here: Option<Entry>,
    /// A `>` in this place.
    rest: Option<Entry>,
}

/// How the subject that is looked up is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// As a published subject: its wildcards are ordinary tokens that `*` matches (CORE-153).
    Subject,
    /// As a pattern: an entry has to cover all that it matches.
    Cover,
}

/// What the matching entries say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// An entry without a queue matched.
    pub plain: bool,
    /// Entries with a queue matched by subject,
    pub queued: bool,
    /// and one of them by its queue.
    pub queue: bool,
}

impl SubjectTable {
    /// The subject has to be valid.
    pub fn insert(&mut self, subject: &[u8], queue: Option<&[u8]>) {
        let entry = if has_wildcard(subject) {
            self.patterns.entry(subject)
        } else {
            self.literals.entry_ref(subject).or_default()
        };
        match queue {
            Some(queue) => entry.queues.push(queue.into()),
            None => entry.plain = true,
        }
    }

    /// True when an entry without a queue matches.
    pub fn contains(&self, subject: &[u8], lookup: Lookup) -> bool {
        self.visit(subject, lookup, &mut |entry| entry.plain)
    }

    pub fn find(&self, subject: &[u8], queue: Option<&[u8]>, lookup: Lookup) -> Found {
        let mut found = Found::default();
        self.visit(subject, lookup, &mut |entry| {
            found.plain |= entry.plain;
            found.queued |= !entry.queues.is_empty();
            found.queue |= queue.is_some_and(|queue| entry.queues.iter().any(|of| queue_matches(of, queue)));
            false
        });
        found
    }

    /// Shows all matching entries until `stop` says so; true when it did.
    fn visit(&self, subject: &[u8], lookup: Lookup, stop: &mut impl FnMut(&Entry) -> bool) -> bool {
        // A subject equal to a literal entry has no wildcard: both ways of reading agree.
        self.literals.get(subject).is_some_and(&mut *stop)
            || self.patterns.visit(tokens(subject), lookup, stop)
    }
}

/// Queue entries may be patterns over the queue's own tokens (PERM-004).
pub fn queue_matches(entry: &[u8], queue: &[u8]) -> bool {
    entry == queue || (has_wildcard(entry) && is_subset(entry, queue))
}

impl Node {
    fn entry(&mut self, subject: &[u8]) -> &mut Entry {
        let mut node = self;
        for token in tokens(subject) {
            node = match token {
                // Always the last token of a valid pattern.
                b">" => return node.rest.get_or_insert_default(),
                b"*" => node.any.get_or_insert_default(),
                literal => node.literals.entry_ref(literal).or_default(),
            };
        }
        node.here.get_or_insert_default()
    }

    fn visit<'s>(
        &self,
        mut left: impl Iterator<Item = &'s [u8]> + Clone,
        lookup: Lookup,
        stop: &mut impl FnMut(&Entry) -> bool,
    ) -> bool {
        let all = left.clone();
        let Some(token) = left.next() else {
            return self.here.as_ref().is_some_and(stop);
        };
        if let Some(rest) = &self.rest {
            // A subject with an empty token matches nothing (CORE-154).
            if all.clone().all(|token| !token.is_empty()) && stop(rest) {
                return true;
            }
        }
        if let Some(any) = &self.any {
            let more_than_one = lookup == Lookup::Cover && token == b">";
            if !token.is_empty() && !more_than_one && any.visit(left.clone(), lookup, stop) {
                return true;
            }
        }
        // Wildcard tokens are no keys here, so that they find nothing.
        self.literals.get(token).is_some_and(|node| node.visit(left, lookup, stop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::matches;

    fn table(entries: &[&str]) -> SubjectTable {
        let mut table = SubjectTable::default();
        for entry in entries {
            let (subject, queue) = entry.split_once(' ').map_or((*entry, None), |(s, q)| (s, Some(q)));
            table.insert(subject.as_bytes(), queue.map(str::as_bytes));
        }
        table
    }

    #[test]
    fn agrees_with_a_scan_over_all_entries() {
        let words = ["a", "b", "*", ">"];
        let mut patterns: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for one in &words[..3] {
            patterns.extend(words.iter().map(|two| format!("{one}.{two}")));
            for two in &words[..3] {
                patterns.extend(words.iter().map(|three| format!("{one}.{two}.{three}")));
            }
        }
        // Overlapping sets: every third pattern, from each start.
        for start in 0..3 {
            let chosen: Vec<&str> = patterns.iter().skip(start).step_by(3).map(String::as_str).collect();
            let table = table(&chosen);
            for subject in
                patterns.iter().map(String::as_str).chain(["c", "a.c", "c.b.a", "a.b.c.d", "a..b", ""])
            {
                let subject = subject.as_bytes();
                let matched = chosen.iter().any(|pattern| matches(pattern.as_bytes(), subject));
                assert_eq!(table.contains(subject, Lookup::Subject), matched, "{subject:?} of {chosen:?}");
                let covered = chosen.iter().any(|pattern| is_subset(pattern.as_bytes(), subject));
                assert_eq!(table.contains(subject, Lookup::Cover), covered, "{subject:?} of {chosen:?}");
            }
        }
    }

    #[test]
    fn tells_plain_entries_from_queued_ones() {
        let table = table(&["foo", "foo v1", "bar.* w.*", "baz.> >"]);
        let find = |subject: &str, queue: Option<&str>| {
            table.find(subject.as_bytes(), queue.map(str::as_bytes), Lookup::Cover)
        };
        assert_eq!(find("foo", None), Found { plain: true, queued: true, queue: false });
        assert_eq!(find("foo", Some("v1")), Found { plain: true, queued: true, queue: true });
        assert_eq!(find("bar.x", Some("w.1")), Found { plain: false, queued: true, queue: true });
        assert_eq!(find("bar.x", Some("w")), Found { plain: false, queued: true, queue: false });
        assert_eq!(find("baz.x.y", Some("any")), Found { plain: false, queued: true, queue: true });
        assert_eq!(find("qux", Some("any")), Found::default());
    }
}
