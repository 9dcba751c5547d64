//! Reading files for the configuration.

use std::io;
use std::path::Path;

/// Larger files are refused: a config is text that people write.
const CONFIG_BYTES_MAX: u64 = 64 << 20;

pub fn read_file(path: &Path) -> io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > CONFIG_BYTES_MAX {
        let text = format!("the file has {size} bytes, more than the {CONFIG_BYTES_MAX} allowed");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    std::fs::read_to_string(path)
}

/// The content of a key or certificate file.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

pub fn create_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Writes a file so that it is there as a whole or as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}

/// Likewise, durably, for the owner's eyes alone, with the folder if there is none.
pub fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = path.with_extension("tmp");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// An environment variable that is valid UTF-8.
pub fn env(name: &str) -> Option<String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}
