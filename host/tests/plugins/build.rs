//! Builds plugin files with cargo, as their authors would: each is a workspace of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

/// A plugin's file of the third-party examples, built in the debug profile.
pub fn example(name: &str) -> PathBuf {
    plugin(&third_party(name), &[], "debug")
}

/// The folder of a third-party example.
pub fn third_party(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/third_party").join(name)
}

/// Builds the package in `folder` and answers with its file. Each build is made once in a test run.
pub fn plugin(folder: &Path, flags: &[&str], profile_dir: &str) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let key = format!("{} {flags:?}", folder.display());
    if let Some(file) = held(&BUILT).get(&key) {
        return file.clone();
    }
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let lib = manifest.lines().find_map(|line| line.strip_prefix("name = \"natsd_")).expect("a [lib] name");
    let file = format!("libnatsd_{}.so", lib.trim_end_matches('"'));
    let mut kept = PathBuf::new();
    run_cargo(folder, flags, || {
        let mut built = held(&BUILT);
        // The same package is built in several shapes into one folder: each file gets a folder of its own.
        kept = scratch(&format!("files/{}", built.len())).join(&file);
        // A new file, never the old one written over: another test may have loaded it.
        let _ = std::fs::remove_file(&kept);
        std::fs::copy(scratch("build").join(profile_dir).join(&file), &kept).unwrap();
        built.insert(key.clone(), kept.clone());
    });
    kept
}

/// Builds a package, then lets `take` have what was built before the next build replaces it.
pub fn run_cargo(folder: &Path, flags: &[&str], take: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = held(&ONE);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--target-dir"])
        .arg(scratch("build"))
        .args(flags)
        .current_dir(folder)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    take();
}

/// A failed test must not fail the others through a poisoned lock.
fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A folder of this test run below cargo's target folder.
pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// An empty folder of one test.
pub fn empty(name: &str) -> PathBuf {
    let folder = scratch(name);
    std::fs::remove_dir_all(&folder).unwrap();
    scratch(name)
}
