//! Where plugin files are looked for, and how they are named.
//!
//! The rule: the folders of `--plugins-dir` and of `plugins { dirs }`, in order; without any, the folder of the
//! executable, then `plugins` beside it. The file of the plugin `auth-file` is `libnatsd_auth_file.so`. The first
//! folder that has it wins.

use natsd_plugin_api::files::RawFiles;
use std::path::{Path, PathBuf};

/// The folders to look into, in order.
pub fn folders(given: &[PathBuf], executable_dir: Option<&Path>) -> Vec<PathBuf> {
    match executable_dir {
        _ if !given.is_empty() => given.to_vec(),
        Some(folder) => vec![folder.to_owned(), folder.join("plugins")],
        None => Vec::new(),
    }
}

/// The file name of a plugin.
pub fn file_name(name: &str) -> String {
    format!("libnatsd_{}.so", name.replace('-', "_"))
}

/// The name in a plugin's file name, with `_` for every `-` of the plugin's own name.
pub fn name_in(file_name: &str) -> Option<&str> {
    file_name.strip_prefix("libnatsd_")?.strip_suffix(".so").filter(|name| !name.is_empty())
}

/// The file of a plugin, if one of the folders has it.
pub fn find(files: &dyn RawFiles, folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let wanted = file_name(name);
    folders
        .iter()
        .map(|folder| folder.join(&wanted))
        .find(|path| files.facts(&path.to_string_lossy()).is_ok())
}

/// All plugin files in the folders, by name, the first folder first; a name found before is passed over. A folder
/// that cannot be read has no plugins.
pub fn scan(files: &dyn RawFiles, folders: &[PathBuf]) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for folder in folders {
        let mut names = files.list(&folder.to_string_lossy()).unwrap_or_default();
        names.sort();
        for file in names {
            if let Some(name) = name_in(&file)
                && !found.iter().any(|entry| entry.0 == name)
            {
                found.push((name.to_owned(), folder.join(&file)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_folders_replace_the_default_ones() {
        let exe = Path::new("/srv/bin");
        assert_eq!(folders(&[], Some(exe)), [PathBuf::from("/srv/bin"), PathBuf::from("/srv/bin/plugins")]);
        assert_eq!(folders(&["a".into(), "b".into()], Some(exe)), [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn a_plugin_and_its_file_have_one_name() {
        assert_eq!(file_name("auth-file"), "libnatsd_auth_file.so");
        assert_eq!(name_in("libnatsd_auth_file.so"), Some("auth_file"));
        assert_eq!(
            [name_in("libother.so"), name_in("libnatsd_.so"), name_in("libnatsd_tap.rlib")],
            [None; 3]
        );
    }
}
