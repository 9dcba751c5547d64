//! Where messages of an account go instead of where they were published (MAP-001 to MAP-004).

use crate::config::options::MappingOptions;
use crate::subject::{self, Transform};
use std::sync::Arc;

#[derive(Default)]
pub struct Mappings {
    mappings: Vec<Arc<Mapping>>,
}

/// The mapping of one source.
pub struct Mapping {
    source: Box<[u8]>,
    destinations: Vec<Destination>,
}

struct Destination {
    /// Of 100 draws, this many fall here or before.
    upto_percent: u8,
    /// `None`: the subject stays.
    transform: Option<Transform>,
}

impl Mappings {
    /// In the order given, which is the order in which they are looked at. Without a cluster, destinations of
    /// clusters are nobody's.
    pub fn new(options: &[MappingOptions]) -> Self {
        Mappings { mappings: options.iter().map(|mapping| Arc::new(Mapping::new(mapping))).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// The mapping of a subject that is published.
    pub fn find(&self, subject: &[u8]) -> Option<&Arc<Mapping>> {
        let covers = |source: &[u8]| source == subject || subject::is_subset(source, subject);
        self.mappings.iter().find(|mapping| covers(&mapping.source))
    }
}

impl Mapping {
    fn new(options: &MappingOptions) -> Self {
        let plain: Vec<_> = options.destinations.iter().filter(|d| d.cluster.is_none()).collect();
        let mut weighted: Vec<(u8, Option<Transform>)> = Vec::with_capacity(plain.len() + 1);
        let mut lists_itself = false;
        for destination in plain {
            let is_itself = destination.subject == options.source;
            lists_itself |= is_itself;
            let transform = Transform::checked(&options.source, &destination.subject).ok();
            if transform.is_some() || is_itself {
                weighted.push((destination.weight, transform.filter(|_| !is_itself)));
            }
        }
        let sum: u8 = weighted.iter().map(|(weight, _)| *weight).sum();
        if sum < 100 && !lists_itself {
            weighted.push((100 - sum, None));
        }
        weighted.sort_by_key(|(weight, _)| *weight);
        let mut upto_percent = 0;
        let destinations = weighted.into_iter().map(|(weight, transform)| {
            upto_percent += weight;
            Destination { upto_percent, transform }
        });
        Mapping { source: options.source.as_bytes().into(), destinations: destinations.collect() }
    }

    /// Not one destination for each subject: the draw of a message decides.
    pub fn is_drawn(&self) -> bool {
        self.destinations.first().is_none_or(|first| first.upto_percent != 100)
    }

    /// A destination makes subjects with random numbers in them.
    pub fn is_random(&self) -> bool {
        self.destinations.iter().any(|d| d.transform.as_ref().is_some_and(Transform::is_random))
    }

    /// Of 100 draws, how many fall to each destination or one before it; what is above the last is lost.
    pub fn shares(&self) -> impl Iterator<Item = u8> {
        self.destinations.iter().map(|destination| destination.upto_percent)
    }

    /// Where `subject`, which the source matches, goes by a destination.
    pub fn apply(&self, destination: usize, subject: &[u8], random: &mut dyn FnMut() -> u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(subject.len() + 16);
        match self.destinations.get(destination).and_then(|d| d.transform.as_ref()) {
            Some(transform) if transform.apply(subject, random, &mut out) => out,
            _ => subject.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::MappingDestination;

    fn mappings(source: &str, destinations: &[(&str, u8)]) -> Mappings {
        let destinations = destinations
            .iter()
            .map(|(subject, weight)| MappingDestination {
                subject: (*subject).to_owned(),
                weight: *weight,
                cluster: None,
            })
            .collect();
        Mappings::new(&[MappingOptions { source: source.to_owned(), destinations }])
    }

    fn at(mappings: &Mappings, subject: &str, draw: u8) -> Option<String> {
        let mapping = mappings.find(subject.as_bytes())?;
        let to = mapping.apply(mapping.shares().position(|upto| draw < upto)?, subject.as_bytes(), &mut || 0);
        String::from_utf8(to).ok()
    }

    #[test]
    fn a_draw_decides_between_weights() {
        // MAP-003: the rest of 100 keeps the subject.
        let m = mappings("a.*", &[("b.$1", 20), ("c.$1", 30)]);
        let counts = |to: &str| (0..100).filter(|draw| at(&m, "a.x", *draw).as_deref() == Some(to)).count();
        assert_eq!((counts("b.x"), counts("c.x"), counts("a.x")), (20, 30, 50));
        assert_eq!(at(&m, "b.x", 0), None);
    }

    #[test]
    fn what_a_listed_source_leaves_is_lost() {
        // MAP-003
        let m = mappings("a", &[("a", 20), ("b", 30)]);
        let lost = (0..100).filter(|draw| at(&m, "a", *draw).is_none()).count();
        assert_eq!(lost, 50);
    }
}
