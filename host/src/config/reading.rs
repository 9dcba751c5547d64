//! What the readers of the blocks share while one configuration is read: the report, the owners of keys,
//! the sections found for plugins, and the users seen so far.

use std::sync::Arc;

use hashbrown::HashSet;

use super::fields::Field;
use super::options::PermissionsOptions;
use super::owners::Owners;
use super::parse::Inputs;
use super::problem::{Problem, Report};
use super::section::Section;
use super::value::{Node, Pos, Text};

pub(super) struct Reading<'a> {
    pub report: Report,
    pub inputs: &'a Inputs<'a>,
    pub owners: &'a Owners,
    pub sections: Vec<Section>,
    /// `config` of plugins declared in `plugins {}`.
    pub declared: Vec<Section>,
    /// Users and nkeys over all blocks: a name may stand once (CFG-163).
    seen: HashSet<(&'static str, Text)>,
    /// Those that are equal are one.
    permissions: HashSet<Arc<PermissionsOptions>>,
    pub places: Places,
}

/// Where things stand that are checked only when all is read.
#[derive(Default)]
pub(super) struct Places {
    pub authorization: Option<Pos>,
    pub accounts: Option<Pos>,
    /// Of `authorization`.
    pub users: Option<Pos>,
    pub no_auth_user: Option<Pos>,
    pub system_account: Option<Pos>,
    pub max_payload: Option<Pos>,
    pub lame_duck_grace_period: Option<Pos>,
}

impl Places {
    pub fn note(&mut self, name: &str, at: Pos) {
        let place = match name {
            "no_auth_user" => &mut self.no_auth_user,
            "system_account" | "system" => &mut self.system_account,
            "max_payload" => &mut self.max_payload,
            "lame_duck_grace_period" => &mut self.lame_duck_grace_period,
            "authorization" => &mut self.authorization,
            "accounts" => &mut self.accounts,
            _ => return,
        };
        *place = Some(at);
    }
}

impl<'a> Reading<'a> {
    pub fn new(owners: &'a Owners, inputs: &'a Inputs<'a>) -> Self {
        Reading {
            report: Report::default(),
            inputs,
            owners,
            sections: Vec::new(),
            declared: Vec::new(),
            seen: HashSet::new(),
            permissions: HashSet::new(),
            places: Places::default(),
        }
    }

    /// A key that the core does not know: a plugin's section, or an error.
    pub fn foreign(&mut self, parents: &[&str], field: &Field<'_>) -> Result<(), Problem> {
        let Some(owner) = self.owners.find(parents, &field.name) else {
            return field.unknown();
        };
        let mut key: Vec<&str> = parents.to_vec();
        key.push(&owner.key);
        let section = Section::new(&key, &owner.plugin, field.node);
        // The same key under another alias: the later one wins, as for core keys.
        self.sections.retain(|other| other.path != section.path);
        self.sections.push(section);
        Ok(())
    }

    /// The config of a third-party plugin, kept with its places so that the plugin's errors can be shown.
    pub fn declared_config(&mut self, plugin: &str, node: &Node) {
        self.declared.push(Section::new(&["plugins", plugin, "config"], plugin, node));
    }

    /// These permissions, shared with all users that have the same.
    pub fn shared(&mut self, permissions: PermissionsOptions) -> Arc<PermissionsOptions> {
        self.permissions.get_or_insert_with(&permissions, |new| Arc::new(new.clone())).clone()
    }

    pub fn first_user(&mut self, kind: &'static str, name: &Text, at: Pos) -> Result<(), Problem> {
        if self.seen.insert((kind, name.clone())) {
            return Ok(());
        }
        Err(Problem::at(at, format!("Duplicate {kind} {name:?} detected")))
    }
}
