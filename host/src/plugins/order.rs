//! In which order plugins start: those that others require or want come first.
//!
//! Pure: names in, positions out.

use std::collections::BTreeMap;
use thiserror::Error;

/// What order depends on; the plugin's own name counts as provided.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    pub name: String,
    pub provides: Vec<String>,
    pub requires: Vec<String>,
    pub wants: Vec<String>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    #[error("the plugins {0} require each other in a circle; one of them must do without")]
    Circle(String),
    #[error(
        "plugin `{plugin}` requires `{required}`, which no plugin here provides; add the plugin that does, or remove `{plugin}`"
    )]
    Missing { plugin: String, required: String },
    #[error("the plugins `{first}` and `{second}` both provide `{name}`; load one of them")]
    Twice { name: String, first: String, second: String },
}

/// Positions in `plugins` in the order of starting; among equals the given order stays.
pub fn start_order(plugins: &[Needs]) -> Result<Vec<usize>, OrderError> {
    let providers = providers(plugins)?;
    let mut earlier: Vec<Vec<Edge>> = Vec::with_capacity(plugins.len());
    for plugin in plugins {
        let mut edges = Vec::new();
        for required in &plugin.requires {
            let to = *providers.get(required.as_str()).ok_or_else(|| OrderError::Missing {
                plugin: plugin.name.clone(),
                required: required.clone(),
            })?;
            edges.push(Edge { to, required: true });
        }
        let wanted = plugin.wants.iter().flat_map(|wanted| providers_of(&providers, wanted));
        edges.extend(wanted.map(|to| Edge { to, required: false }));
        earlier.push(edges);
    }
    let mut search = Search { plugins, earlier, marks: vec![Mark::New; plugins.len()], order: Vec::new() };
    for at in 0..plugins.len() {
        search.visit(at, &mut Vec::new())?;
    }
    Ok(search.order)
}

fn providers(plugins: &[Needs]) -> Result<BTreeMap<&str, usize>, OrderError> {
    let mut providers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, plugin) in plugins.iter().enumerate() {
        let names = plugin.provides.iter().filter(|name| **name != plugin.name).chain([&plugin.name]);
        for name in names {
            if let Some(first) = providers.insert(name, at).filter(|first| *first != at) {
                let (first, second) = (plugins[first].name.clone(), plugin.name.clone());
                return Err(OrderError::Twice { name: name.clone(), first, second });
            }
        }
    }
    Ok(providers)
}

/// Who provides what is wanted: one name, or with `/*` at its end all that begin with what is before it.
fn providers_of(providers: &BTreeMap<&str, usize>, wanted: &str) -> Vec<usize> {
    match wanted.strip_suffix('*') {
        Some(prefix) if prefix.ends_with('/') => {
            let from = providers.range(prefix..);
            from.take_while(|(name, _)| name.starts_with(prefix)).map(|(_, at)| *at).collect()
        }
        _ => providers.get(wanted).copied().into_iter().collect(),
    }
}

#[derive(Clone, Copy)]
struct Edge {
    to: usize,
    required: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

struct Search<'a> {
    plugins: &'a [Needs],
    earlier: Vec<Vec<Edge>>,
    marks: Vec<Mark>,
    order: Vec<usize>,
}

impl Search<'_> {
    fn visit(&mut self, at: usize, path: &mut Vec<usize>) -> Result<(), OrderError> {
        if self.marks[at] == Mark::Done {
            return Ok(());
        }
        self.marks[at] = Mark::Open;
        path.push(at);
        for edge in self.earlier[at].clone() {
            match self.marks[edge.to] {
                // A wish may go unmet; a plugin that provides to itself is no circle.
                Mark::Open if !edge.required || edge.to == at => {}
                Mark::Open => return Err(self.circle(edge.to, path)),
                _ => self.visit(edge.to, path)?,
            }
        }
        path.pop();
        self.marks[at] = Mark::Done;
        self.order.push(at);
        Ok(())
    }

    fn circle(&self, from: usize, path: &[usize]) -> OrderError {
        let start = path.iter().position(|at| *at == from).unwrap_or(0);
        let names: Vec<String> =
            path[start..].iter().chain([&from]).map(|at| format!("`{}`", self.plugins[*at].name)).collect();
        OrderError::Circle(names.join(" → "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plugin(name: &str, provides: &[&str], requires: &[&str], wants: &[&str]) -> Needs {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Needs { name: name.into(), provides: list(provides), requires: list(requires), wants: list(wants) }
    }

    #[test]
    fn providers_start_before_those_that_require_or_want_them() {
        let plugins = [
            plugin("jetstream", &[], &["natsd.raft/1"], &["monitoring"]),
            plugin("raft-cluster", &["natsd.raft/1"], &[], &[]),
            plugin("tap", &[], &[], &["absent"]),
            plugin("monitoring", &[], &[], &[]),
        ];
        assert_eq!(start_order(&plugins).unwrap(), [1, 3, 0, 2]);
    }

    #[test]
    fn a_wish_with_a_star_means_all_of_that_kind() {
        let plugins = [
            plugin("jetstream", &[], &[], &["natsd.stream-store/1/*"]),
            plugin("a", &["natsd.stream-store/1/a"], &[], &[]),
            plugin("b", &["natsd.stream-store/1/b"], &[], &[]),
            plugin("c", &["natsd.stream-store/10"], &[], &[]),
        ];
        assert_eq!(start_order(&plugins).unwrap(), [1, 2, 0, 3]);
    }

    #[test]
    fn a_circle_of_requirements_is_named_and_one_with_a_wish_is_broken() {
        let circle = [plugin("a", &[], &["b"], &[]), plugin("b", &[], &["a"], &[])];
        assert_eq!(start_order(&circle).unwrap_err(), OrderError::Circle("`a` → `b` → `a`".into()));
        let wish = [plugin("a", &[], &["b"], &[]), plugin("b", &[], &[], &["a"])];
        assert_eq!(start_order(&wish).unwrap(), [1, 0]);
    }

    #[test]
    fn a_missing_or_doubled_provider_is_an_error() {
        let missing = start_order(&[plugin("a", &[], &["x/1"], &[])]).unwrap_err();
        assert_eq!(missing, OrderError::Missing { plugin: "a".into(), required: "x/1".into() });
        let twice = start_order(&[plugin("a", &["x/1"], &[], &[]), plugin("b", &["x/1"], &[], &[])]);
        assert!(matches!(twice, Err(OrderError::Twice { .. })));
    }
}
