//! Files lent by the host, so that a plugin's storage runs in a simulation too.
//!
//! The calls block. Use them while starting, or inside [`crate::Host::blocking`].

use crate::abi::import;
use crate::abi::tables::{FfiFile, FfiFileFacts};
use crate::error::{Error, Result};
use crate::host::Host;
use bytes::Bytes;

/// The host's files.
#[derive(Clone)]
pub struct Files(pub(crate) Host);

impl Files {
    pub fn read(&self, path: &str) -> Result<Bytes> {
        import::read(&self.0.tables, path)
    }

    /// A UTF-8 text file.
    pub fn read_text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?.into())
            .map_err(|error| Error::other(error.utf8_error()).context(format_args!("{path} is not UTF-8")))
    }

    /// Either the old or the new content survives a crash, whole.
    pub fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()> {
        import::write_atomic(&self.0.tables, path, content)
    }

    pub fn facts(&self, path: &str) -> Result<FileFacts> {
        import::facts(&self.0.tables, path).map(FileFacts::unpack)
    }

    /// The names in a directory, without an order.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        Ok(serde_json::from_str(&import::list(&self.0.tables, path)?)?)
    }

    pub fn create_dir_all(&self, path: &str) -> Result<()> {
        import::create_dir_all(&self.0.tables, path)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        import::rename(&self.0.tables, from, to)
    }

    pub fn remove_file(&self, path: &str) -> Result<()> {
        import::remove_file(&self.0.tables, path)
    }

    pub fn remove_dir_all(&self, path: &str) -> Result<()> {
        import::remove_dir_all(&self.0.tables, path)
    }

    /// Makes creations, renames and removals in the directory durable.
    pub fn sync_dir(&self, path: &str) -> Result<()> {
        import::sync_dir(&self.0.tables, path)
    }

    /// What may still be written to the file system that a path is on, which must be there. Since 1.7.
    pub fn free_bytes(&self, path: &str) -> Result<u64> {
        import::free_bytes(&self.0.tables, path)
    }

    pub fn open(&self, path: &str, options: OpenOptions) -> Result<File> {
        import::open(&self.0.tables, path, options.flags()).map(File)
    }
}

/// An open file: positioned reads and writes, from any thread.
pub struct File(FfiFile);

impl File {
    /// 0 is the end of the file.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize> {
        self.0.read_at(at, buffer)
    }

    pub fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()> {
        self.0.write_all_at(at, content)
    }

    pub fn size(&self) -> Result<u64> {
        self.0.size()
    }

    pub fn set_size(&self, size_bytes: u64) -> Result<()> {
        self.0.set_size(size_bytes)
    }

    /// Makes the content durable, and its size.
    pub fn sync_data(&self) -> Result<()> {
        self.0.sync(false)
    }

    /// Makes content and metadata durable.
    pub fn sync_all(&self) -> Result<()> {
        self.0.sync(true)
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    pub write: bool,
    /// Makes the file when it is not there.
    pub create: bool,
    /// Fails when it is there.
    pub create_new: bool,
    pub truncate: bool,
    /// Past the system's cache, if the file system can do that. Either way places, sizes, and where buffers begin in
    /// memory have to be multiples of 4096. Hosts before 1.5 do not know it.
    pub direct: bool,
}

impl OpenOptions {
    fn flags(self) -> u32 {
        u32::from(self.write)
            | u32::from(self.create) << 1
            | u32::from(self.create_new) << 2
            | u32::from(self.truncate) << 3
            | u32::from(self.direct) << 4
    }

    pub(crate) fn from_flags(flags: u32) -> Self {
        let has = |bit: u32| flags & (1 << bit) != 0;
        Self { write: has(0), create: has(1), create_new: has(2), truncate: has(3), direct: has(4) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    pub size_bytes: u64,
    pub modified_unix_ns: u64,
    pub kind: FileKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Other,
}

impl FileFacts {
    pub(crate) fn pack(self) -> FfiFileFacts {
        let kind = match self.kind {
            FileKind::File => 0,
            FileKind::Directory => 1,
            FileKind::Other => 2,
        };
        FfiFileFacts {
            size_bytes: self.size_bytes,
            modified_unix_ns: self.modified_unix_ns,
            kind,
            reserved: 0,
        }
    }

    fn unpack(facts: FfiFileFacts) -> Self {
        let kind = match facts.kind {
            0 => FileKind::File,
            1 => FileKind::Directory,
            _ => FileKind::Other,
        };
        Self { size_bytes: facts.size_bytes, modified_unix_ns: facts.modified_unix_ns, kind }
    }
}

/// What a host implements to lend its files.
pub trait RawFiles: Send + Sync {
    fn read(&self, path: &str) -> Result<Vec<u8>>;
    fn write_atomic(&self, path: &str, content: &[u8]) -> Result<()>;
    fn facts(&self, path: &str) -> Result<FileFacts>;
    fn list(&self, path: &str) -> Result<Vec<String>>;
    fn create_dir_all(&self, path: &str) -> Result<()>;
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    fn remove_file(&self, path: &str) -> Result<()>;
    fn remove_dir_all(&self, path: &str) -> Result<()>;
    fn sync_dir(&self, path: &str) -> Result<()>;
    fn open(&self, path: &str, options: OpenOptions) -> Result<Box<dyn RawFile>>;
    /// Since 1.7: a host written for earlier versions still builds.
    fn free_bytes(&self, path: &str) -> Result<u64> {
        Err(Error::unsupported(format!("these files do not say what is free at {path}")))
    }
}

/// What a host implements for an open file.
pub trait RawFile: Send + Sync {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize>;
    fn write_all_at(&self, at: u64, content: &[u8]) -> Result<()>;
    fn size(&self) -> Result<u64>;
    fn set_size(&self, size_bytes: u64) -> Result<()>;
    fn sync(&self, metadata: bool) -> Result<()>;
}
