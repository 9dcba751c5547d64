//! natsd's own `plugins {}` block: which plugins to load, from where, and what third-party ones get.
//!
//! ```text
//! plugins {
//!     load: [jetstream, websocket]           # exactly these
//!     dirs: ["/usr/lib/natsd"]               # after those of --plugins-dir
//!     my_auth { path: "./libmy_auth.so", required: false, config { url: "http://..." } }
//! }
//! ```

use std::path::PathBuf;

use super::fields::{Field, fields};
use super::options::{PluginDeclaration, PluginsOptions};
use super::problem::Problem;
use super::reading::Reading;

pub(super) fn read(
    plugins: &mut PluginsOptions,
    field: &Field<'_>,
    reading: &mut Reading<'_>,
) -> Result<(), Problem> {
    for entry in fields(field.map()?) {
        let result = match entry.name.as_str() {
            "load" => entry.strings().map(|names| plugins.load = Some(names)),
            "dirs" | "dir" => entry.strings().map(|dirs| plugins.dirs.extend(dirs.iter().map(PathBuf::from))),
            _ if entry.node.used_as_variable => Ok(()),
            _ => declaration(&entry, reading).map(|declared| plugins.declared.push(declared)),
        };
        reading.report.check(result);
    }
    Ok(())
}

fn declaration(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<PluginDeclaration, Problem> {
    if !is_plugin_name(field.key) {
        return Err(field
            .problem(format!("{:?} is not a name for a plugin", field.key))
            .remedy("use letters, digits, `-` and `_`"));
    }
    let mut declared = PluginDeclaration {
        name: field.key.to_owned(),
        path: None,
        required: true,
        config: serde_json::Value::Object(serde_json::Map::new()),
    };
    for entry in fields(field.map()?) {
        let result = match entry.name.as_str() {
            "path" => entry.string().map(|path| declared.path = Some(PathBuf::from(path))),
            "required" => entry.boolean().map(|required| declared.required = required),
            "config" => entry.map().map(|_| {
                declared.config = entry.node.value.to_json();
                reading.declared_config(field.key, entry.node);
            }),
            _ => entry.unknown(),
        };
        reading.report.check(result);
    }
    Ok(declared)
}

fn is_plugin_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
