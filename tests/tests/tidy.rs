//! The rules of the code that a reader should not have to check: layering, headers, sizes,
//! forbidden calls, cited facts.
//!
//! Each rule says what is wrong and where. The lists of exceptions are ratchets: an entry that is
//! no longer needed must go.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file is seldom longer. (path, lines at most, why)
const FILE_LINES_MAX: usize = 500;
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// A function is seldom longer. (path, function, lines at most, why)
const FUNCTION_LINES_MAX: usize = 70;
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Inside the host imports go one way: a module may use those of its own rank and below.
const HOST_LAYERS: &[&[&str]] = &[
    &["subject"],
    &["proto", "config"],
    &["auth", "cli", "log"],
    &["plugins", "tls"],
    // Implements what those below ask for, lends the rest to those above: pure modules cannot reach it.
    &["runtime"],
    // They know each other's types: an account owns its sublist, whose answers hold receivers.
    &["account", "interest", "routing"],
    &["conn"],
    &["server"],
];

/// What only `host/src/runtime` may do, so that the rest runs in the simulator.
const RUNTIME_ONLY: &[(&str, &str)] = &[
    ("tokio::spawn", "spawn through the runtime module"),
    ("tokio::net", "listen and dial through the runtime module"),
    ("tokio::time", "timers come from the runtime module"),
    ("tokio::fs", "files are read through the runtime module"),
    ("std::net", "sockets belong to the runtime module; for addresses use core::net"),
    ("std::fs", "files are read through the runtime module"),
    ("Instant::now", "take the time as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("thread::spawn", "threads belong to the runtime module"),
    ("getrandom::", "take random bytes as an argument"),
];

/// Where `unsafe` is allowed, with its reason beside it.
const UNSAFE_FOLDERS: &[&str] = &[
    "plugin-api/src/abi",
    "plugin-api/src/export.rs",
    "host/src/plugins",
    "host/src/runtime/memory.rs",
    "tests/third_party",
];

/// What no crate of `plugin-api` may pull in: a plugin owns no runtime and no TLS.
const NOT_IN_PLUGIN_API: &[&str] = &["tokio", "hyper", "rustls", "libloading", "natsd"];

struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_in(&self, folder: &str) -> bool {
        let rest = self.path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    }

    /// Lines with their numbers, without those of `#[cfg(test)]` modules.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let mut skipping: Option<String> = None;
        let mut marked = tests;
        self.text.lines().enumerate().filter_map(move |(at, line)| {
            if let Some(end) = &skipping {
                if line == end {
                    skipping = None;
                }
                return None;
            }
            let word = line.trim_start();
            let indent = &line[..line.len() - word.len()];
            if word.starts_with("#[cfg(test)]") {
                marked = true;
                return None;
            }
            if marked && !tests {
                if !word.starts_with("#[") {
                    marked = false;
                    if word.ends_with('{') {
                        skipping = Some(format!("{indent}}}"));
                    }
                }
                return None;
            }
            (!tests).then_some((at + 1, line))
        })
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let missing = |source: &Source| !source.text.starts_with("//!");
    report(
        "begin the file with a `//!` line that says its one job",
        rust_files().iter().filter(|source| missing(source)).map(|source| source.path.clone()),
    );
}

#[test]
fn files_are_not_too_long() {
    let mut wrong = Vec::new();
    for source in rust_files() {
        let lines = source.text.lines().count();
        let excused = LONG_FILES.iter().find(|(path, ..)| *path == source.path);
        match excused {
            Some((path, max, _)) if lines > *max => {
                wrong.push(format!("{path}: {lines} lines, {max} are excused"))
            }
            Some((path, ..)) if lines <= FILE_LINES_MAX => {
                wrong.push(format!("{path}: no longer too long, remove it from LONG_FILES"));
            }
            None if lines > FILE_LINES_MAX => wrong.push(format!("{}: {lines} lines", source.path)),
            _ => {}
        }
    }
    wrong.extend(gone(LONG_FILES.iter().map(|(path, ..)| *path)));
    report(&format!("split files of more than {FILE_LINES_MAX} lines"), wrong);
}

#[test]
fn functions_are_not_too_long() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for source in rust_files() {
        for function in functions(&source.text) {
            if function.lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let excused = LONG_FUNCTIONS.iter().find(|(path, name, max, _)| {
                (*path, *name) == (&source.path, function.name) && function.lines <= *max
            });
            match excused {
                Some((path, name, ..)) => {
                    used.insert((*path, *name));
                }
                None => {
                    let (line, name, lines) = (function.line, function.name, function.lines);
                    wrong.push(format!("{}:{line}: `{name}` has {lines} lines", source.path));
                }
            }
        }
    }
    for (path, name, ..) in LONG_FUNCTIONS.iter().filter(|(path, name, ..)| !used.contains(&(*path, *name))) {
        wrong.push(format!("{path}: `{name}` is no longer too long, remove it from LONG_FUNCTIONS"));
    }
    report(&format!("split functions of more than {FUNCTION_LINES_MAX} lines"), wrong);
}

#[test]
fn the_host_touches_the_world_only_in_its_runtime() {
    let mut wrong = Vec::new();
    for source in rust_files().iter().filter(|source| source.is_in("host/src")) {
        if source.is_in("host/src/runtime") {
            continue;
        }
        for (line, text) in source.code().filter(|(_, text)| !is_comment(text)) {
            for (call, remedy) in RUNTIME_ONLY.iter().filter(|(call, _)| has_word(text, call)) {
                wrong.push(format!("{}:{line}: `{call}`: {remedy}", source.path));
            }
        }
    }
    report("only host/src/runtime touches sockets, files, clocks, randomness and threads", wrong);
}

#[test]
fn the_hosts_modules_import_downwards_only() {
    let mut wrong = Vec::new();
    for (rank, modules) in HOST_LAYERS.iter().enumerate() {
        let above: Vec<&str> = HOST_LAYERS[rank + 1..].concat();
        for source in rust_files() {
            let mut at_home = modules.iter().filter(|module| source.is_in(&format!("host/src/{module}")));
            let Some(module) = at_home.next() else { continue };
            for (line, text) in source.code().filter(|(_, text)| !is_comment(text)) {
                for upper in above.iter().filter(|upper| has_word(text, &format!("crate::{upper}"))) {
                    wrong.push(format!(
                        "{}:{line}: `{module}` imports `{upper}`, which is above it",
                        source.path
                    ));
                }
            }
        }
    }
    report("imports inside the host go one way (subject … server, see HOST_LAYERS)", wrong);
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let mut wrong = Vec::new();
    let manifests = sources(&|path| path.ends_with("Cargo.toml"));
    let plugins: Vec<String> = manifests
        .iter()
        .filter(|manifest| manifest.is_in("plugins"))
        .filter_map(|manifest| package_name(&manifest.text))
        .collect();
    for manifest in &manifests {
        let dependencies = dependencies(&manifest.text);
        let mut refuse = |name: &str, why: &str| wrong.push(format!("{}: `{name}`: {why}", manifest.path));
        for name in &dependencies {
            let ours = *name == "natsd" || plugins.iter().any(|plugin| plugin == name);
            let is_plugin = manifest.is_in("plugins") || manifest.is_in("tests/third_party");
            if is_plugin && !manifest.is_in("plugins/bundle") && ours {
                refuse(name, "a plugin imports natsd-plugin-api and nothing else of ours");
            }
            if manifest.is_in("host") && plugins.iter().any(|plugin| plugin == name) {
                refuse(name, "the host names no plugin");
            }
            if manifest.is_in("plugin-api") && NOT_IN_PLUGIN_API.contains(name) {
                refuse(name, "plugin-api stays small, so that its ABI can");
            }
        }
    }
    report("crates depend only on what they may", wrong);
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for source in rust_files() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, text) in lines.iter().enumerate() {
            let opens = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"]
                .iter()
                .any(|form| has_word(text, form));
            if is_comment(text) || text.contains('"') || !opens {
                continue;
            }
            let place = format!("{}:{}", source.path, at + 1);
            if !UNSAFE_FOLDERS.iter().any(|folder| source.is_in(folder)) {
                wrong.push(format!("{place}: not here"));
            } else if !is_justified(&lines[..at], text) {
                wrong.push(format!("{place}: say why it is sound in a `// SAFETY:` line above"));
            }
        }
    }
    report(
        "`unsafe` only in the ABI, the export macro, the loader and where memory is given back, each with `// SAFETY:`",
        wrong,
    );
}

#[test]
fn cited_facts_exist() {
    let known = std::fs::read_to_string(root().join("tests/spec_ids.txt")).unwrap();
    let known: BTreeSet<&str> = known.lines().collect();
    let families: BTreeSet<&str> = known.iter().filter_map(|id| Some(id.split_once('-')?.0)).collect();
    let mut wrong = Vec::new();
    let is_text = |path: &str| [".rs", ".md", ".txt", ".conf", ".toml"].iter().any(|end| path.ends_with(end));
    for source in sources(&is_text) {
        for (at, line) in source.text.lines().enumerate() {
            for id in cited(line, &families).into_iter().filter(|id| !known.contains(id)) {
                wrong.push(format!("{}:{}: {id}", source.path, at + 1));
            }
        }
    }
    report("cite facts that are in the specification (tests/spec_ids.txt)", wrong);
}

#[test]
fn nothing_is_left_for_later() {
    let forms =
        [concat!("#[", "ignore"), concat!("todo", "!("), concat!("unimplemented", "!("), concat!("TO", "DO")];
    let mut wrong = Vec::new();
    for source in rust_files() {
        for (at, text) in source.text.lines().enumerate() {
            for form in forms.iter().filter(|form| text.contains(**form)) {
                wrong.push(format!("{}:{}: `{form}`", source.path, at + 1));
            }
        }
    }
    report("do it, or do not promise it", wrong);
}

struct Function<'a> {
    line: usize,
    name: &'a str,
    lines: usize,
}

/// Functions as rustfmt lays them out: the last line of one has the indent of its first.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let word = line.trim_start();
        let Some(name) = function_name(word) else { continue };
        let indent = &line[..line.len() - word.len()];
        let (end, declared) = (format!("{indent}}}"), format!("{indent})"));
        if word.ends_with('}') || word.ends_with(';') {
            continue;
        }
        let is_end = |line: &&str| **line == end || line.starts_with(&declared) && line.ends_with(';');
        let len = lines[at..].iter().position(is_end).map_or(1, |len| len + 1);
        found.push(Function { line: at + 1, name, lines: len });
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "default"];
    let is_qualifier = |word: &str| {
        qualifiers.contains(&word) || word.starts_with("pub(") || word.ends_with(')') || word.starts_with('"')
    };
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
}

/// A `// SAFETY:` on the line itself or shortly above. What an `unsafe fn` asks for is said in its
/// docs or those of its trait; only blocks and impls make a claim.
fn is_justified(before: &[&str], line: &str) -> bool {
    const NEAR: usize = 4;
    let makes_claim = line.contains("unsafe {") || line.contains("unsafe impl");
    let near = before.iter().rev().take(NEAR).chain([&line]);
    !makes_claim || near.into_iter().any(|line| line.contains("SAFETY:"))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Whether `word` is in the line with nothing of a name before or after it.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !line[..at].chars().next_back().is_some_and(is_name)
            && (word.ends_with(':') || !after.is_some_and(is_name))
    })
}

/// IDs like CORE-001 of families that the specification has.
fn cited<'a>(line: &'a str, families: &BTreeSet<&str>) -> Vec<&'a str> {
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    let is_id = |word: &&str| {
        word.split_once('-').is_some_and(|(family, number)| {
            families.contains(family)
                && number.len() >= 3
                && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    };
    words.filter(is_id).collect()
}

fn package_name(manifest: &str) -> Option<String> {
    let package = manifest.split_once("[package]")?.1;
    let line = package.lines().find(|line| line.starts_with("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// The names in all sections that end in `dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if inside && line.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            names.extend(line.split(['.', ' ', '=']).next());
        }
    }
    names
}

/// Exceptions whose file does not exist.
fn gone<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    paths
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("{path}: excused, but gone"))
        .collect()
}

fn report(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

fn rust_files() -> Vec<Source> {
    sources(&|path| path.ends_with(".rs")).into_iter().filter(Source::is_rust).collect()
}

/// All files of the repository that `wanted` picks by name.
fn sources(wanted: &dyn Fn(&str) -> bool) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_ours = !name.starts_with('.') && !name.starts_with("target") && name != "node_modules";
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.is_file() && wanted(&name) {
                found.push(Source { path: relative(&path), text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn the_tools_of_this_file_see_what_they_should() {
    let text = "fn a() {\n    x();\n}\n\npub(crate) async fn b(\n) {\n}\nlet fnord = 1;\nfn c(\n);\n\n}\n";
    let found: Vec<_> = functions(text).into_iter().map(|f| (f.line, f.name.to_owned(), f.lines)).collect();
    assert_eq!(found, [(1, "a".into(), 3), (5, "b".into(), 3), (9, "c".into(), 2)]);
    let families = BTreeSet::from(["CORE"]);
    let line = format!("see (CORE-{0}, CORE-{1}), not SHA-256", "001", "9999");
    assert_eq!(cited(&line, &families).len(), 2);
    assert!(has_word("use std::fs;", "std::fs") && !has_word("my_std::fsx", "std::fs"));
    assert!(has_word("getrandom::fill(x)", "getrandom::"));
    let source = Source {
        path: "host/src/a.rs".into(),
        text: "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod t;\nd\n".into(),
    };
    assert_eq!(source.code().map(|(_, line)| line).collect::<Vec<_>>(), ["a", "c", "d"]);
}
