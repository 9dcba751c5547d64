//! The file system as the store sees it: the host's, or a simulated one in tests.

use natsd_plugin_api::files::{File, Files, OpenOptions};
use natsd_plugin_api::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Directories and whole files. Paths are the host's; calls block.
pub trait Vfs: Send + Sync {
    /// Makes the file if it is not there.
    fn open(&self, path: &str, create: bool) -> Result<Arc<dyn VfsFile>>;
    /// The same, past the system's cache where that is possible: places, sizes and buffers are multiples of 4096.
    fn open_direct(&self, path: &str) -> Result<Arc<dyn VfsFile>> {
        self.open(path, true)
    }
    fn read(&self, path: &str) -> Result<Vec<u8>>;
    /// The same into a buffer that is used again: for large files its pages cost more than the reading.
    fn read_into(&self, path: &str, buffer: &mut Vec<u8>) -> Result<()> {
        let file = self.open(path, false)?;
        let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        buffer.resize(size, 0);
        let mut got = 0;
        while got < size {
            match file.read_at(got as u64, &mut buffer[got..])? {
                0 => break,
                more => got += more,
            }
        }
        buffer.truncate(got);
        Ok(())
    }
    /// Either the old or the new content survives a crash, whole.
    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()>;
    /// The names in a directory, without an order; none when there is no such directory.
    fn list(&self, path: &str) -> Result<Vec<String>>;
    fn create_dir_all(&self, path: &str) -> Result<()>;
    fn remove_file(&self, path: &str) -> Result<()>;
    fn remove_dir_all(&self, path: &str) -> Result<()>;
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Makes creations, renames and removals in the directory durable.
    fn sync_dir(&self, path: &str) -> Result<()>;
}

/// An open file: positioned reads and writes from any thread.
pub trait VfsFile: Send + Sync {
    /// 0 is the end of the file.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize>;
    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()>;
    fn size(&self) -> Result<u64>;
    fn set_size(&self, size_bytes: u64) -> Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> Result<()>;
}

impl Vfs for Files {
    fn open(&self, path: &str, create: bool) -> Result<Arc<dyn VfsFile>> {
        let options = OpenOptions { write: true, create, ..OpenOptions::default() };
        Ok(Arc::new(Files::open(self, path, options)?))
    }

    fn open_direct(&self, path: &str) -> Result<Arc<dyn VfsFile>> {
        let options = OpenOptions { write: true, create: true, direct: true, ..OpenOptions::default() };
        Ok(Arc::new(Files::open(self, path, options)?))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        Files::read(self, path).map(Vec::from)
    }

    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        Files::write_atomic(self, path, content)
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        match Files::list(self, path) {
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            listed => listed,
        }
    }

    fn create_dir_all(&self, path: &str) -> Result<()> {
        Files::create_dir_all(self, path)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        Files::remove_file(self, path)
    }

    fn remove_dir_all(&self, path: &str) -> Result<()> {
        Files::remove_dir_all(self, path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        Files::rename(self, from, to)
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        Files::sync_dir(self, path)
    }
}

/// The host's files say what the system said.
fn is_missing(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.to_string().contains("(os error 2)")
}

impl VfsFile for File {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        File::read_at(self, at, buffer)
    }

    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        File::write_all_at(self, at, content)
    }

    fn size(&self) -> Result<u64> {
        File::size(self)
    }

    fn set_size(&self, size_bytes: u64) -> Result<()> {
        File::set_size(self, size_bytes)
    }

    fn sync(&self) -> Result<()> {
        File::sync_data(self)
    }
}
