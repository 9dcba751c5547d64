//! Plugins and hosts of different versions of the line, and of different builds.
//!
//! The small host and the plugin of `tests/third_party/abi-1.0` are built on copies of natsd-plugin-api: the kept
//! one of 1.0, and today's with one change each. What must hold: anything that only grew goes together, whichever
//! side is older; anything else is refused in one line.

use crate::build::{empty, example, plugin, run_cargo, scratch, third_party};
use crate::stand_in::{Stage, declared};
use natsd_plugin_api::API_VERSION;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_plugin_of_1_0_runs_on_todays_host() {
    assert_eq!(on_todays_host(&kept("1.0").plugin(&[])), Ok(snapshot(None)));
}

#[test]
fn a_plugin_of_1_0_runs_on_a_host_that_has_grown() {
    assert_eq!(grown().small_host_with(&kept("1.0").plugin(&[])), snapshot(None).to_string());
}

#[test]
fn a_grown_plugin_finds_no_new_function_on_todays_host_and_finds_it_on_a_grown_one() {
    let file = grown().plugin(&["--features", "grown"]);
    assert_eq!(on_todays_host(&file), Ok(snapshot(None)));
    assert_eq!(grown().small_host_with(&file), snapshot(Some(77)).to_string());
}

#[test]
fn a_changed_function_is_refused_by_name_in_either_direction() {
    let line = on_todays_host(&changed().plugin(&[])).unwrap_err();
    assert!(line.starts_with("plugin `old`: the interface natsd.clock/1 of API "), "{line}");
    assert!(line.contains("unix_ns") && line.len() < 300, "{line}");
    let line = changed().small_host_with(&kept("1.0").plugin(&[]));
    assert!(
        line.starts_with("refused: the interface natsd.clock/1 of API 1.0 does not fit that of API 1."),
        "{line}"
    );
}

#[test]
fn a_function_in_the_middle_is_a_change() {
    let copy = Copy::of_today("middle", next_minor());
    copy.edit(
        "abi/tables.rs",
        "    pub unix_ns:",
        "    pub early: unsafe extern \"C\" fn(Host) -> u64,\n    pub unix_ns:",
    );
    copy.edit(
        "abi/serve/mod.rs",
        "ClockTable { monotonic_ns, ",
        "ClockTable { monotonic_ns, early: unix_ns, ",
    );
    let line = on_todays_host(&copy.plugin(&[])).unwrap_err();
    assert!(line.contains("natsd.clock/1"), "{line}");
}

#[test]
fn the_root_may_not_even_grow() {
    let copy = Copy::of_today("root", next_minor());
    copy.edit(
        "abi/root.rs",
        "    pub panic_unwind: bool,",
        "    pub more: u64,\n    pub panic_unwind: bool,",
    );
    copy.edit(
        "export.rs",
        "                    manifest,",
        "                    manifest,\n                    more: 1,",
    );
    let line = on_todays_host(&copy.plugin(&[])).unwrap_err();
    assert!(line.contains("its root (plugin API 1.") && line.contains("does not fit"), "{line}");
}

#[test]
fn another_major_version_is_too_old_or_too_new() {
    let line = on_todays_host(&Copy::of_today("major-0", "0.9.0".into()).plugin(&[])).unwrap_err();
    assert!(line.contains("too old: made for plugin API 0.9, this host has 1."), "{line}");
    let line = on_todays_host(&Copy::of_today("major-2", "2.0.0".into()).plugin(&[])).unwrap_err();
    assert!(
        line.contains("too new: made for plugin API 2.0, this host has 1.") && line.contains("update natsd"),
        "{line}"
    );
}

#[test]
fn a_plugin_of_the_release_profile_runs_on_a_debug_host() {
    let file = plugin(&third_party("tap"), &["--release"], "release");
    let stage = Stage::start(&declared(&[("tap", &file, json!({ "subjects": ["a"] }))]));
    stage.server.client_publishes("a", &[b"1"]);
    assert_eq!(stage.plugins.introspect("tap", &Value::Null).unwrap()["a"]["messages"], 1);
    assert_ne!(file, example("tap"));
}

/// What the plugin answers when all is well.
fn snapshot(resolution_ns: Option<u64>) -> Value {
    json!({ "query": "hello", "slept": true, "has_time": true, "resolution_ns": resolution_ns })
}

/// The plugin's answer on natsd's own host, or the one line of its refusal.
fn on_todays_host(file: &Path) -> Result<Value, String> {
    let options = declared(&[("old", file, Value::Null)]);
    let stage = Stage::load(&options);
    let errors = stage.load_errors.iter().map(ToString::to_string).next();
    let errors =
        errors.or_else(|| stage.plugins.configure(&options, &[]).pop().map(|error| error.to_string()));
    if let Some(line) = errors {
        assert!(!line.contains('\n'), "{line}");
        return Err(line);
    }
    stage.runtime.block_on(stage.plugins.start()).map_err(|error| error.to_string())?;
    stage.plugins.introspect("old", &json!("hello")).map_err(|error| error.to_string())
}

/// A folder with a copy of natsd-plugin-api, the plugin and the small host.
struct Copy {
    folder: PathBuf,
}

fn next_minor() -> String {
    format!("{}.{}.0", API_VERSION.major, API_VERSION.minor + 1)
}

/// Today's crate, grown by a function at the end of a table.
fn grown() -> Copy {
    let copy = Copy::of_today("grown", next_minor());
    copy.edit(
        "abi/tables.rs",
        "fn(Host, u64) -> FfiFuture<()>,\n}",
        "fn(Host, u64) -> FfiFuture<()>,\n    pub resolution_ns: unsafe extern \"C\" fn(Host) -> u64,\n}",
    );
    copy.edit("abi/serve/mod.rs", "unix_ns, sleep_until_ns }", "unix_ns, sleep_until_ns, resolution_ns }");
    copy.edit(
        "abi/serve/mod.rs",
        "unsafe extern \"C\" fn monotonic_ns(",
        "unsafe extern \"C\" fn resolution_ns(_host: *const ()) -> u64 {\n    77\n}\n\nunsafe extern \"C\" fn monotonic_ns(",
    );
    copy.edit(
        "abi/import.rs",
        "pub fn read(tables",
        "pub fn resolution_ns(tables: &Tables) -> Option<u64> {\n    \
         tables.clock.resolution_ns().map(|call| unsafe { call(tables.host) })\n}\n\npub fn read(tables",
    );
    copy.edit(
        "host.rs",
        "    /// Nanoseconds since 1970.",
        "    pub fn resolution_ns(&self) -> Option<u64> {\n        import::resolution_ns(&self.tables)\n    }\n\n    \
         /// Nanoseconds since 1970.",
    );
    copy
}

/// Today's crate with another argument for a function, under a higher version.
fn changed() -> Copy {
    let copy = Copy::of_today("changed", next_minor());
    copy.edit(
        "abi/tables.rs",
        "pub unix_ns: unsafe extern \"C\" fn(Host) -> u64",
        "pub unix_ns: unsafe extern \"C\" fn(Host, u32) -> u64",
    );
    copy.edit("abi/serve/mod.rs", "fn unix_ns(host: *const ())", "fn unix_ns(host: *const (), _zone: u32)");
    copy.edit(
        "abi/import.rs",
        "unix_ns => clock.unix_ns() -> u64",
        "unix_ns => clock.unix_ns(zone: u32 as zone) -> u64",
    );
    copy.edit("host.rs", "import::unix_ns(&self.tables)", "import::unix_ns(&self.tables, 0)");
    copy
}

/// The crate as it was.
fn kept(version: &str) -> Copy {
    let copy = Copy::empty(&format!("kept-{version}"));
    let archive = third_party("abi-1.0").join("natsd-plugin-api-1.0.0.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&copy.folder).status().unwrap();
    assert!(unpacked.success());
    copy
}

impl Copy {
    fn empty(name: &str) -> Self {
        // Tests of one process share copies by name; two at work on one would mix.
        let name = format!("evolution/{name}-{:?}", std::thread::current().id());
        let copy = Self { folder: empty(&name.replace(['(', ')'], "-")) };
        for part in ["plugin", "host"] {
            copy_folder(&third_party("abi-1.0").join(part), &copy.folder.join(part));
            // The workspace's own lock keeps the versions, and with them the network out of the test.
            let lock = third_party("../../Cargo.lock");
            std::fs::copy(lock, copy.folder.join(part).join("Cargo.lock")).unwrap();
        }
        copy
    }

    fn of_today(name: &str, version: String) -> Self {
        let copy = Self::empty(name);
        let crate_folder = copy.folder.join("natsd-plugin-api");
        copy_folder(&third_party("../../plugin-api/src"), &crate_folder.join("src"));
        let manifest = std::fs::read_to_string(third_party("abi-1.0").join("api.Cargo.toml")).unwrap();
        std::fs::write(crate_folder.join("Cargo.toml"), manifest.replace("@VERSION@", &version)).unwrap();
        copy
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.join("natsd-plugin-api/src").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{file} has `{from}` once");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    fn plugin(&self, flags: &[&str]) -> PathBuf {
        plugin(&self.folder.join("plugin"), flags, "debug")
    }

    /// What the small host prints for a plugin.
    fn small_host_with(&self, plugin: &Path) -> String {
        let binary = self.folder.join("small-host");
        {
            let target = scratch("build");
            run_cargo(&self.folder.join("host"), &[], || {
                std::fs::copy(target.join("debug/small-host"), &binary).unwrap();
            });
        }
        let output = Command::new(binary).arg(plugin).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() != "target" => copy_folder(&entry.path(), &target),
            true => {}
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
