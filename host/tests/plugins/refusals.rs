//! Files that must not load: one clear line each, and the server goes on where it may.

use crate::build::{empty, example, plugin, third_party};
use crate::stand_in::{Stage, declared};
use natsd::config::options::PluginsOptions;
use serde_json::json;
use std::path::Path;

/// The one line of a plugin that was refused.
fn refusal(name: &str, path: &Path) -> String {
    let stage = Stage::load(&declared(&[(name, path, json!({}))]));
    let lines: Vec<String> = stage.load_errors.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains('\n') && lines[0].len() < 500, "{}", lines[0]);
    assert!(lines[0].contains(&format!("`{name}`")), "{}", lines[0]);
    lines[0].clone()
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let line = refusal("tap", Path::new("/nonexistent/libnatsd_tap.so"));
    assert!(line.contains("/nonexistent/libnatsd_tap.so") && line.contains("No such file"), "{line}");
    let options = PluginsOptions {
        load: Some(vec!["auth-x".into()]),
        dirs: vec!["/no/a".into(), "/no/b".into()],
        ..Default::default()
    };
    let stage = Stage::load(&options);
    let line = stage.load_errors[0].to_string();
    assert!(
        line.starts_with("plugin `auth-x` was not found: no libnatsd_auth_x.so in /no/a, /no/b; put it"),
        "{line}"
    );
    assert_eq!(stage.state("auth-x"), "declared");
}

#[test]
fn a_file_that_is_no_library_is_called_so() {
    let folder = empty("no-library");
    for (name, content) in
        [("text", &b"#!/bin/sh\n"[..]), ("empty", b""), ("binary", &[0x7f, b'E', b'L', b'F', 9, 9])]
    {
        let path = folder.join(name);
        std::fs::write(&path, content.repeat(200)).unwrap();
        let line = refusal("tap", &path);
        let why = if name == "binary" { "another kind of machine" } else { "it is not a shared library" };
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn a_foreign_library_and_a_plugin_of_another_name_have_no_symbol() {
    let line = refusal("other", &example("tap"));
    assert!(line.contains("no symbol natsd_plugin__other"), "{line}");
}

#[test]
fn a_cut_file_is_refused() {
    let whole = std::fs::read(example("tap")).unwrap();
    let path = empty("cut").join("libnatsd_tap.so");
    for len in [100, 5000, whole.len() / 2] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let line = refusal("tap", &path);
        assert!(line.contains("it is cut short; copy it again"), "{len}: {line}");
    }
}

#[test]
fn a_plugin_that_aborts_on_panic_is_refused() {
    let file = plugin(&third_party("faulty"), &["--config", "profile.dev.panic=\"abort\""], "debug");
    let line = refusal("faulty", &file);
    assert!(line.contains("built with panic = \"abort\"") && line.contains("rebuild it"), "{line}");
}

#[test]
fn without_a_plugin_that_is_not_required_the_server_goes_on() {
    let mut options =
        declared(&[("faulty", Path::new("/nonexistent"), json!({})), ("tap", &example("tap"), json!({}))]);
    options.declared[0].required = false;
    let stage = Stage::start(&options);
    assert_eq!((stage.state("faulty").as_str(), stage.state("tap").as_str()), ("failed", "started"));
    // Nor does a start that fails end it.
    let mut options = declared(&[
        ("faulty", &example("faulty"), json!({ "panic_in": ["start"] })),
        ("tap", &example("tap"), json!({})),
    ]);
    options.declared[0].required = false;
    let stage = Stage::start(&options);
    assert_eq!((stage.state("faulty").as_str(), stage.state("tap").as_str()), ("failed", "started"));
}

#[test]
fn plugins_in_a_folder_are_found_and_a_broken_one_among_them_is_passed_over() {
    let folder = empty("folder");
    std::fs::copy(example("auth-file"), folder.join("libnatsd_auth_file.so")).unwrap();
    std::fs::write(folder.join("libnatsd_broken.so"), "nothing").unwrap();
    std::fs::write(folder.join("notes.txt"), "nothing").unwrap();
    let options = PluginsOptions { dirs: vec![folder], ..PluginsOptions::default() };
    let stage = Stage::load(&options);
    assert!(stage.load_errors.is_empty(), "{:?}", stage.load_errors);
    // `_` in the file's name may be `-` in the plugin's; without one of its keys it does not start.
    assert_eq!((stage.state("auth-file").as_str(), stage.state("broken").as_str()), ("loaded", "failed"));
    assert!(stage.plugins.configure(&options, &[]).is_empty());
    assert_eq!(stage.state("auth-file"), "loaded");
}
