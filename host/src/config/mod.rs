//! The configuration: from a file and flags to checked [`Options`] and the sections of plugins.
//!
//! The language is nats-server's (CFG-001 and following). It is read in two steps, because the file itself says
//! where plugins are and plugins say which keys are theirs:
//!
//! ```text
//! file --read--> Draft --(the host looks for plugins)--> Draft::finish --> Config
//!       parse            draft.plugins                    core_keys, authorization, accounts, tls
//!       cursor, scalar                                    sections for plugins, checked against owners
//!       value                                             flags over the file, validate
//! ```
//!
//! - [`options`]: what the rest of the host reads.
//! - [`section`]: what a plugin reads, and how its errors find their place in the file.
//! - [`owners`]: which key is whose.
//! - [`problem`]: errors and warnings, and how they print.
//! - [`reload`]: what changed between two configurations, and whether that may change while running.
//!
//! Everything from outside (files, environment) comes through [`Inputs`]; nothing here does I/O.

mod accounts;
mod authorization;
pub mod borders;
mod core_keys;
mod cursor;
pub mod digest;
pub mod duration;
mod exports;
mod fields;
mod imports;
mod json;
pub mod mappings;
mod ocsp;
pub mod options;
mod owners;
mod parse;
mod permissions;
mod plugins_block;
pub mod problem;
mod reading;
pub mod reload;
mod scalar;
pub mod section;
mod shown;
#[cfg(test)]
mod tests;
mod tls;
mod tls_names;
mod validate;
pub mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use core_keys::split_address;
pub use json::{permissions_of_json, tls_of_json};
pub use options::Options;
pub use owners::{Available, PluginKeys, plugin_of};
pub use parse::{Inputs, go_io_text, parse};
pub use problem::{ConfigErrors, Problem, Sources};
pub use section::Section;
pub use tls_names::{CIPHER_SUITES, CIPHER_SUITES_SUPPORTED, CURVES, CURVES_SUPPORTED};

use fields::{Field, fields};
use options::{PluginsOptions, TlsOptions};
use owners::Owners;
use problem::Report;
use reading::Reading;
use value::Map;

/// A configuration that passed all checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// `sha256:...` of the file's content (CFG-027); empty without a file.
    pub digest: String,
    pub options: Options,
    /// For plugins, in the order of the file.
    pub sections: Vec<Section>,
    /// `config` of the plugins declared in `plugins {}`.
    pub declared: Vec<Section>,
    /// To be printed at start; `-t` fails on them (CFG-307).
    pub warnings: Vec<Problem>,
    /// Why no server starts with it, nor reloads it; `-t` only tells of them (CFG-307).
    pub at_start: Vec<Problem>,
    pub sources: Arc<Sources>,
}

/// A file that parsed, before its keys are read.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where to look for plugins.
    pub plugins: PluginsOptions,
    path: Option<PathBuf>,
    digest: String,
    map: Map,
    sources: Arc<Sources>,
}

/// What wins over the file: the command line. Applied at start and on every reload.
pub trait Overrides {
    fn options(&self, options: &mut Options);
    fn sections(&self, sections: &mut Vec<Section>) -> Result<(), Problem>;
}

/// Reads and checks in one go, for when the plugins at hand are known.
pub fn load(
    path: Option<&Path>,
    inputs: &Inputs<'_>,
    overrides: &dyn Overrides,
    available: &Available,
) -> Result<Config, ConfigErrors> {
    read(path, inputs, overrides)?.finish(inputs, overrides, available)
}

/// Parses the file; without one the configuration is that of the flags.
pub fn read(
    path: Option<&Path>,
    inputs: &Inputs<'_>,
    overrides: &dyn Overrides,
) -> Result<Draft, ConfigErrors> {
    let Some(path) = path else {
        return Ok(Draft::new(None, String::new(), Map::default(), Sources::default(), inputs, overrides));
    };
    match parse::parse_file(path, inputs) {
        (Ok(map), sources) => {
            let digest = digest::digest(&map);
            Ok(Draft::new(Some(path.to_owned()), digest, map, sources, inputs, overrides))
        }
        (Err(problem), sources) => {
            let report = Report { errors: vec![problem], ..Report::default() };
            Err(ConfigErrors::new(report, Arc::new(sources)))
        }
    }
}

impl Draft {
    fn new(
        path: Option<PathBuf>,
        digest: String,
        map: Map,
        sources: Sources,
        inputs: &Inputs<'_>,
        overrides: &dyn Overrides,
    ) -> Self {
        // Problems of the block are reported when all is read.
        let owners = Owners::new(&Available::default());
        let mut reading = Reading::new(&owners, inputs);
        let mut options = Options::default();
        for field in fields(&map).filter(|field| field.name == "plugins") {
            let _ = core_keys::read(&mut options, &field, &mut reading);
        }
        overrides.options(&mut options);
        Draft { plugins: options.plugins, path, digest, map, sources: Arc::new(sources) }
    }

    /// Reads all keys, applies the flags, and checks the whole. All errors are collected (CFG-025).
    pub fn finish(
        self,
        inputs: &Inputs<'_>,
        overrides: &dyn Overrides,
        available: &Available,
    ) -> Result<Config, ConfigErrors> {
        let owners = Owners::new(available);
        let mut reading = Reading::new(&owners, inputs);
        let mut options = Options::default();
        if self.map.is_empty()
            && let Some(path) = &self.path
        {
            let text = format!("{}: config has no values or is empty", path.display());
            reading.report.warn(Problem::nowhere(text));
        }
        // A key's tree goes as soon as it is read: it may be the largest thing there is.
        for (key, node) in self.map.into_entries() {
            let result = read_top_level(&mut options, &Field::new(&key, &node), &mut reading);
            reading.report.check(result);
        }
        validate::validate_file(&options, &mut reading);
        overrides.options(&mut options);
        let mut sections = std::mem::take(&mut reading.sections);
        reading.report.check(overrides.sections(&mut sections));
        options.store_dir = store_dir(&sections);
        validate::validate(&mut options, &sections, &mut reading);
        check_owners(&sections, available, &mut reading.report);
        let mut report = reading.report;
        if !report.errors.is_empty() {
            return Err(ConfigErrors::new(report, self.sources));
        }
        report.warnings.sort_by_key(|problem| problem.at);
        Ok(Config {
            path: self.path,
            digest: self.digest,
            options,
            sections,
            declared: reading.declared,
            warnings: report.warnings,
            at_start: report.at_start,
            sources: self.sources,
        })
    }
}

impl Config {
    /// What only a start and a reload look at.
    pub fn check_start(&self) -> Result<(), ConfigErrors> {
        if self.at_start.is_empty() { Ok(()) } else { Err(self.errors(self.at_start.clone())) }
    }

    /// Problems that plugins found, ready to print with their places.
    pub fn errors(&self, errors: Vec<Problem>) -> ConfigErrors {
        ConfigErrors::new(Report { errors, ..Report::default() }, self.sources.clone())
    }

    /// The keys of plugins, by full path: what the plugins' manager takes.
    pub fn owned_keys(&self) -> Vec<(String, serde_json::Value)> {
        self.sections.iter().map(|section| (section.key(), section.value.clone())).collect()
    }

    /// A plugin's configuration error, at its place in the file. The text begins with the path of the key, as in
    /// `websocket.port: ...`, or `config.url: ...` for a plugin of `plugins {}`.
    pub fn plugin_problem(&self, plugin: &str, text: &str) -> Problem {
        let path = text.split(": ").next().unwrap_or_default();
        let declared_path = format!("plugins.{plugin}.{path}");
        let own = |section: &&Section| section.plugin == plugin;
        let in_sections = self.sections.iter().filter(own).map(|section| (section, path));
        let in_declared = self.declared.iter().filter(own).map(|section| (section, declared_path.as_str()));
        in_sections
            .chain(in_declared)
            .find_map(|(section, path)| Some(section.problem(&section.pointer_of(path)?, text)))
            .unwrap_or_else(|| Problem::nowhere(text))
    }

    /// The warnings as text; empty if there are none.
    pub fn warnings_text(&self) -> String {
        problem::render(&self.warnings, &self.sources)
    }

    /// Reads a `tls {}` block within a plugin's section on behalf of the plugin.
    pub fn section_tls(
        &self,
        section: &Section,
        pointer: &str,
        inputs: &Inputs<'_>,
    ) -> Result<TlsOptions, ConfigErrors> {
        let owners = Owners::new(&Available::default());
        let mut reading = Reading::new(&owners, inputs);
        let result = match section.node(pointer) {
            Some(node) => tls::read(&Field::new("tls", &node), &mut reading),
            None => Err(section.problem(pointer, "there is no tls block")),
        };
        match reading.report.check(result) {
            Some(options) if reading.report.errors.is_empty() => Ok(options),
            _ => Err(ConfigErrors::new(reading.report, self.sources.clone())),
        }
    }
}

fn read_top_level(
    options: &mut Options,
    field: &Field<'_>,
    reading: &mut Reading<'_>,
) -> Result<(), Problem> {
    reading.places.note(&field.name, field.node.at);
    if core_keys::read(options, field, reading)? {
        return Ok(());
    }
    reading.foreign(&[], field)
}

/// The folder of the plugin `jetstream`, which keeps what the server itself stores, too.
fn store_dir(sections: &[Section]) -> Option<PathBuf> {
    sections.iter().find_map(|section| {
        let value = match section.key().as_str() {
            "store_dir" => Some(&section.value),
            "jetstream" => ["store_dir", "store", "storedir"].iter().find_map(|key| {
                let mut fields = section.value.as_object()?.iter();
                fields.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
            }),
            _ => None,
        };
        value?.as_str().filter(|path| !path.is_empty()).map(PathBuf::from)
    })
}

/// Every section's plugin must be at hand; one error a plugin and key.
fn check_owners(sections: &[Section], available: &Available, report: &mut Report) {
    for section in sections {
        if available.plugins.iter().any(|plugin| plugin.name == section.plugin) {
            continue;
        }
        // The flag --store_dir says where, not whether: alone it switches nothing on.
        let others = sections.iter().filter(|s| s.plugin == section.plugin).count() > 1;
        if section.key() == "store_dir" && section.positions.is_empty() && !others {
            continue;
        }
        let problem = owners::absent(&section.key(), &section.plugin, &available.searched);
        report.error(Problem { at: section.positions.get("").copied(), ..problem });
    }
}
