//! redb's file, through the files that the host lends.

use natsd_plugin_api::files::{File, Files, OpenOptions};
use natsd_plugin_api::{Error, Result};
use redb::StorageBackend;
use std::fmt;
use std::io;

/// A file of the host.
pub struct Lent(File);

impl Lent {
    pub fn open(files: &Files, path: &str) -> Result<Self> {
        let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
        let file = files.open(path, options).map_err(|error| Error::config("config.file", error))?;
        // A file that has just been made must be there after a crash, as redb syncs content alone.
        files.sync_dir(path.rsplit_once('/').map_or(".", |(folder, _)| folder))?;
        Ok(Self(file))
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of the host")
    }
}

impl StorageBackend for Lent {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.size()?)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut content = vec![0; len];
        let mut done = 0;
        while done < len {
            match self.0.read_at(offset + done as u64, &mut content[done..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        Ok(content)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_size(len)?;
        // redb does not open a file that is shorter than its first page says: the size goes first.
        Ok(self.0.sync_data()?)
    }

    /// Now, also when later would do: that is rare.
    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        Ok(self.0.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.0.write_all_at(offset, data)?)
    }
}
