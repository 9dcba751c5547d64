//! The streams of an account by name, with what many of them must answer fast: whose subjects overlap, what is
//! reserved, which ones a page of a list shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::limits::{Tiers, reserved_bytes};
use super::validate::subjects::overlap;
use crate::wire::{Storage, StreamConfig};

#[derive(Debug, Default)]
pub struct Assets {
    streams: BTreeMap<String, Arc<StreamConfig>>,
    subjects: Node,
    /// Names of those that read others.
    readers: BTreeSet<String>,
    /// By storage and replicas.
    reserved: HashMap<(Storage, i64), Reserved>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reserved {
    streams: i64,
    bytes: i64,
}

impl Assets {
    /// Adds a stream, or puts another configuration in the place of its old one.
    pub fn insert(&mut self, config: Arc<StreamConfig>) {
        self.remove(&config.name);
        for subject in &config.subjects {
            self.subjects.insert(subject);
        }
        if config.mirror.is_some() || !config.sources.is_empty() {
            self.readers.insert(config.name.clone());
        }
        let reserved = self.reserved.entry(key(&config)).or_default();
        reserved.streams += 1;
        reserved.bytes = reserved.bytes.saturating_add(config.max_bytes.max(0));
        self.streams.insert(config.name.clone(), config);
    }

    pub fn remove(&mut self, name: &str) -> Option<Arc<StreamConfig>> {
        let config = self.streams.remove(name)?;
        self.readers.remove(name);
        for subject in &config.subjects {
            self.subjects.remove(subject);
        }
        if let Some(reserved) = self.reserved.get_mut(&key(&config)) {
            reserved.streams -= 1;
            reserved.bytes -= config.max_bytes.max(0);
        }
        Some(config)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<StreamConfig>> {
        self.streams.get(name)
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<StreamConfig>> {
        self.streams.values()
    }

    /// Mirrors, and those with sources.
    pub fn readers(&self) -> impl Iterator<Item = &Arc<StreamConfig>> {
        self.readers.iter().filter_map(|name| self.streams.get(name))
    }

    /// Those with a subject that overlaps the filter, by name; an empty filter means all (JS-049).
    pub fn matching<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a Arc<StreamConfig>> {
        self.iter().filter(move |config| {
            filter.is_empty() || config.subjects.iter().any(|subject| overlap(subject, filter))
        })
    }

    /// Whether another stream than `name` listens to something that one of the subjects covers.
    pub fn overlap(&self, subjects: &[String], name: &str) -> bool {
        let own: &[String] = self.get(name).map_or(&[], |config| &config.subjects);
        subjects.iter().any(|subject| {
            let of_own = own.iter().filter(|own| overlap(own, subject)).count();
            self.subjects.count_overlaps(subject, of_own) > of_own
        })
    }

    /// How many streams but `name` are there, of a group of replicas or of all.
    pub fn count(&self, group: Option<i64>, name: &str) -> i64 {
        let all: i64 = self.in_group(group).map(|(_, reserved)| reserved.streams).sum();
        let is_counted = |config: &Arc<StreamConfig>| group.is_none_or(|group| group == key(config).1);
        all - i64::from(self.get(name).is_some_and(is_counted))
    }

    /// What all streams but `name` reserve of an account's limit.
    pub fn reserved(&self, storage: Storage, group: Option<i64>, name: &str, tiers: &Tiers) -> i64 {
        let of_kind = self.in_group(group).filter(|((kind, _), _)| *kind == storage);
        let all = of_kind.fold(0i64, |sum, ((_, replicas), reserved)| {
            sum.saturating_add(reserved_bytes(tiers, *replicas, reserved.bytes))
        });
        let own = self
            .get(name)
            .filter(|config| config.storage == storage && group.is_none_or(|group| group == key(config).1));
        all - own.map_or(0, |config| reserved_bytes(tiers, config.num_replicas, config.max_bytes))
    }

    /// What the streams reserve of the server, one replica of each: memory and file bytes (JS-290).
    pub fn reserved_on_server(&self, group: Option<i64>) -> (i64, i64) {
        let bytes = |storage: Storage| {
            let of_kind = self.in_group(group).filter(|((kind, _), _)| *kind == storage);
            of_kind.fold(0i64, |sum, (_, reserved)| sum.saturating_add(reserved.bytes))
        };
        (bytes(Storage::Memory), bytes(Storage::File))
    }

    fn in_group(&self, group: Option<i64>) -> impl Iterator<Item = (&(Storage, i64), &Reserved)> {
        self.reserved.iter().filter(move |((_, replicas), _)| group.is_none_or(|group| group == *replicas))
    }
}

fn key(config: &StreamConfig) -> (Storage, i64) {
    (config.storage, config.num_replicas.max(1))
}

/// A token of subjects: how many end here, and what follows.
#[derive(Debug, Default)]
struct Node {
    ends: usize,
    /// How many go on with `>`.
    tails: usize,
    next: HashMap<Box<str>, Node>,
}

impl Node {
    fn insert(&mut self, subject: &str) {
        let mut node = self;
        for token in subject.split('.') {
            if token == ">" {
                node.tails += 1;
                return;
            }
            node = node.next.entry(token.into()).or_default();
        }
        node.ends += 1;
    }

    fn remove(&mut self, subject: &str) {
        let (token, rest) = match subject.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (subject, None),
        };
        if token == ">" {
            self.tails = self.tails.saturating_sub(1);
            return;
        }
        let Some(next) = self.next.get_mut(token) else { return };
        match rest {
            Some(rest) => next.remove(rest),
            None => next.ends = next.ends.saturating_sub(1),
        }
        if next.ends == 0 && next.tails == 0 && next.next.is_empty() {
            self.next.remove(token);
        }
    }

    /// How many subjects overlap; counts no further than one past `enough`.
    fn count_overlaps(&self, subject: &str, enough: usize) -> usize {
        let mut found = 0;
        self.count(Some(subject), enough, &mut found);
        found
    }

    fn count(&self, rest: Option<&str>, enough: usize, found: &mut usize) {
        let Some(rest) = rest else {
            *found += self.ends;
            return;
        };
        *found += self.tails;
        if *found > enough {
            return;
        }
        let (token, rest) = match rest.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (rest, None),
        };
        match token {
            ">" => self.next.values().for_each(|next| next.count_all(enough, found)),
            "*" => self.next.values().for_each(|next| next.count(rest, enough, found)),
            _ => {
                for step in [token, "*"] {
                    if let Some(next) = self.next.get(step) {
                        next.count(rest, enough, found);
                    }
                }
            }
        }
    }

    fn count_all(&self, enough: usize, found: &mut usize) {
        *found += self.ends + self.tails;
        if *found <= enough {
            self.next.values().for_each(|next| next.count_all(enough, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Assets;
    use crate::api::limits::{AccountLimits, Tiers};
    use crate::wire::stream::StreamSource;
    use crate::wire::{Storage, StreamConfig};

    fn stream(name: &str, subjects: &[&str], max_bytes: i64, num_replicas: i64) -> Arc<StreamConfig> {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Arc::new(StreamConfig {
            name: name.to_owned(),
            subjects,
            max_bytes,
            num_replicas,
            ..Default::default()
        })
    }

    #[test]
    fn those_that_read_others_are_known() {
        let reading = |name: &str, mirror: Option<&str>| {
            let mirror = mirror.map(|name| StreamSource { name: name.to_owned(), ..Default::default() });
            Arc::new(StreamConfig { mirror, ..StreamConfig::clone(&stream(name, &[], 0, 1)) })
        };
        let mut assets = Assets::default();
        assets.insert(reading("M", Some("S")));
        assets.insert(stream("S", &["s"], 0, 1));
        let names = |assets: &Assets| assets.readers().map(|config| config.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&assets), ["M"]);
        assets.insert(reading("M", None));
        assert!(names(&assets).is_empty());
        assets.insert(reading("M", Some("S")));
        assets.remove("M");
        assert!(names(&assets).is_empty());
    }

    #[test]
    fn overlaps_as_pairs_would_find_them() {
        let patterns =
            ["a", "a.b", "a.*", "*.b", "a.>", ">", "*", "*.*", "a.b.c", "a.*.c", "*.>", "b", "b.>", "a.b.>"];
        for one in patterns {
            for other in patterns {
                let mut assets = Assets::default();
                assets.insert(stream("S", &[one], 0, 1));
                let expected = crate::filter::overlaps(one.as_bytes(), other.as_bytes());
                let subjects = [other.to_owned()];
                assert_eq!(assets.overlap(&subjects, "T"), expected, "{one} {other}");
                assert!(!assets.overlap(&subjects, "S"), "its own");
                assets.remove("S");
                assert!(!assets.overlap(&subjects, "T") && assets.subjects.next.is_empty());
            }
        }
    }

    #[test]
    fn a_stream_s_own_subjects_do_not_hide_others() {
        let mut assets = Assets::default();
        assets.insert(stream("S", &["a.*"], 0, 1));
        assets.insert(stream("T", &["b.*"], 0, 1));
        assert!(assets.overlap(&["*.x".to_owned()], "S") && assets.overlap(&["b.x".to_owned()], "S"));
        assert!(!assets.overlap(&["a.x".to_owned()], "S"));
    }

    #[test]
    fn reservations_and_counts() {
        let mut assets = Assets::default();
        assets.insert(stream("A", &[], 100, 1));
        assets.insert(stream("B", &[], 10, 3));
        assets.insert(stream("C", &[], -1, 1));
        let flat = Tiers::default();
        let tiers = Tiers::ByReplicas([("R1".to_owned(), AccountLimits::default())].into());
        assert_eq!(assets.reserved(Storage::File, None, "", &flat), 130);
        assert_eq!(assets.reserved(Storage::File, None, "B", &flat), 100);
        assert_eq!(assets.reserved(Storage::File, Some(1), "", &tiers), 100);
        assert_eq!(assets.reserved(Storage::Memory, None, "", &flat), 0);
        assert_eq!(
            (assets.count(None, "A"), assets.count(Some(1), ""), assets.count(Some(3), "A")),
            (2, 2, 1)
        );
        assert_eq!(assets.reserved_on_server(None), (0, 110));
        assets.insert(stream("A", &[], 7, 1));
        assert_eq!((assets.len(), assets.reserved_on_server(None).1), (3, 17));
    }
}
