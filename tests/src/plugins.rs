//! Builds third-party plugins as their authors would, each a workspace of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The file of a plugin of `tests/third_party`, in the debug profile. Built once in a test run.
pub fn third_party(name: &str) -> PathBuf {
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = built.get(name) {
        return file.clone();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party").join(name);
    let target = target_dir().join("third_party");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(&folder)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}: {}", folder.display(), String::from_utf8_lossy(&output.stderr));
    let file = target.join("debug").join(format!("libnatsd_{}.so", name.replace('-', "_")));
    built.insert(name.to_owned(), file.clone());
    file
}

/// The folder that this test was built into, two up from its own.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    test.ancestors().nth(3).expect("target/<profile>/deps/<test>").to_owned()
}
