//! The disk, as it is lent to plugins.

use natsd_plugin_api::files::{FileFacts, FileKind, OpenOptions, RawFile, RawFiles};
use natsd_plugin_api::{Error, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, statvfs};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The real files. Every error names the path.
pub struct DiskFiles;

impl RawFiles for DiskFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(path).map_err(at(path))
    }

    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        let beside = format!("{path}.tmp");
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        write().map_err(at(path))?;
        match Path::new(path).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(&parent.to_string_lossy()),
            _ => self.sync_dir("."),
        }
    }

    fn facts(&self, path: &str) -> Result<FileFacts> {
        let metadata = fs::metadata(path).map_err(at(path))?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_dir() => FileKind::Directory,
            _ => FileKind::Other,
        };
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_unix_ns = modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        Ok(FileFacts { size_bytes: metadata.len(), modified_unix_ns, kind })
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(at(path))? {
            // A name that is not UTF-8 cannot be asked for here.
            if let Ok(name) = entry.map_err(at(path))?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create_dir_all(&self, path: &str) -> Result<()> {
        fs::create_dir_all(path).map_err(at(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(from, to).map_err(at(&format!("{from} to {to}")))
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        fs::remove_file(path).map_err(at(path))
    }

    fn remove_dir_all(&self, path: &str) -> Result<()> {
        fs::remove_dir_all(path).map_err(at(path))
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
    }

    fn open(&self, path: &str, options: OpenOptions) -> Result<Box<dyn RawFile>> {
        let open = |flags| {
            fs::OpenOptions::new()
                .read(true)
                .write(options.write)
                .create(options.create)
                .create_new(options.create_new)
                .truncate(options.truncate)
                .custom_flags(flags)
                .open(path)
        };
        let direct = if options.direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
        let file = match open(direct) {
            // Some file systems cannot.
            Err(error) if direct != 0 && is_invalid(&error) => open(0),
            opened => opened,
        };
        Ok(Box::new(DiskFile(file.map_err(at(path))?)))
    }

    fn free_bytes(&self, path: &str) -> Result<u64> {
        let facts = statvfs(path).map_err(|error| at(path)(error.into()))?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

struct DiskFile(File);

impl RawFile for DiskFile {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.0.read_at(buffer, at)?)
    }

    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        match self.0.write_all_at(content, at) {
            // Others find that they cannot only now.
            Err(error) if is_invalid(&error) && leave_direct(&self.0)? => {
                Ok(self.0.write_all_at(content, at)?)
            }
            written => Ok(written?),
        }
    }

    fn size(&self) -> Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        Ok(self.0.set_len(size_bytes)?)
    }

    fn sync(&self, metadata: bool) -> Result<()> {
        let synced = if metadata { self.0.sync_all() } else { self.0.sync_data() };
        Ok(synced?)
    }
}

fn is_invalid(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidInput
}

/// From now on through the system's cache; false if it was so already.
fn leave_direct(file: &File) -> Result<bool> {
    let flags = fcntl_getfl(file).map_err(std::io::Error::from)?;
    let was_direct = flags.contains(OFlags::DIRECT);
    if was_direct {
        fcntl_setfl(file, flags - OFlags::DIRECT).map_err(std::io::Error::from)?;
    }
    Ok(was_direct)
}

fn at(path: &str) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::from(error).context(&path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn content_survives_and_errors_name_the_path() {
        let folder = std::env::temp_dir().join(format!("natsd-files-{}", std::process::id()));
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        DiskFiles.create_dir_all(&path("")).unwrap();
        DiskFiles.write_atomic(&path("a"), b"one").unwrap();
        DiskFiles.write_atomic(&path("a"), b"two").unwrap();
        assert_eq!(DiskFiles.read(&path("a")).unwrap(), b"two");
        assert_eq!(DiskFiles.list(&path("")).unwrap(), ["a"]);
        let open = OpenOptions { write: true, create: true, ..OpenOptions::default() };
        let file = DiskFiles.open(&path("b"), open).unwrap();
        file.write_all_at(2, b"xy").unwrap();
        file.sync(false).unwrap();
        let mut buffer = [9; 8];
        assert_eq!((file.read_at(1, &mut buffer).unwrap(), &buffer[..3]), (3, &b"\0xy"[..]));
        let missing = DiskFiles.read(&path("none")).unwrap_err();
        assert!(missing.message().contains("none"), "{missing}");
        assert_eq!(missing.kind(), natsd_plugin_api::ErrorKind::Io(std::io::ErrorKind::NotFound));
        DiskFiles.remove_dir_all(&path("")).unwrap();
    }
}
