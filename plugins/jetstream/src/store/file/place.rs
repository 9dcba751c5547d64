//! Where things lie: a folder for each account, in it one for each stream, whose name ends with the stream's id, in
//! it blocks and state logs with numbers.
//!
//! An id is never used again, so what the shared log says of a stream that was removed never meets a later one of
//! the same name.

use super::floors::Floor;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// A stream's folder.
#[derive(Debug)]
pub struct Home {
    pub id: u64,
    /// From the store's folder: `account/streams/name.id`.
    pub place: String,
    pub path: String,
    /// The folder is there.
    pub made: AtomicBool,
    /// The names of the folder and of those it lies in were synced for sure.
    pub lasting: AtomicBool,
    /// The stream was removed: what is still to be written is dropped.
    pub gone: AtomicBool,
    /// The generation of the log's segment that says which stream this is.
    pub named: AtomicU64,
    /// As of the last commit that is durable; `None`: there was none since the start.
    pub floor: Mutex<Option<Floor>>,
}

impl Home {
    pub fn new(root: &str, place: &str, id: u64) -> Self {
        Self {
            id,
            place: place.to_owned(),
            path: format!("{root}/{place}"),
            made: AtomicBool::new(false),
            lasting: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            named: AtomicU64::new(0),
            floor: Mutex::new(None),
        }
    }
}

impl Home {
    /// The place without the id.
    pub fn base(&self) -> &str {
        self.place.rsplit_once('.').map_or(&self.place, |(base, _)| base)
    }

    /// One that is there.
    pub fn found(root: &str, place: &str, id: u64) -> Self {
        Self { made: AtomicBool::new(true), ..Self::new(root, place, id) }
    }
}

/// A file of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileName {
    Block(u64),
    State(u64),
    /// The same as the state log of that number.
    Copy(u64),
    /// A compressed block: its number, and how often it was written anew.
    Packed(u64, u64),
}

/// Bits of the second number of a compressed block.
const VERSION_BITS: u32 = 16;

impl FileName {
    pub fn path(self, dir: &str) -> String {
        match self {
            Self::Block(number) => format!("{dir}/{number}.blk"),
            Self::State(number) => format!("{dir}/state.{number}"),
            Self::Copy(number) => format!("{dir}/copy.{number}"),
            Self::Packed(number, version) => format!("{dir}/{number}-{version}.s2"),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_suffix(".blk") {
            return number.parse().ok().map(Self::Block);
        }
        if let Some(numbers) = name.strip_suffix(".s2") {
            let (number, version) = numbers.split_once('-')?;
            return Some(Self::Packed(number.parse().ok()?, version.parse().ok()?));
        }
        if let Some(number) = name.strip_prefix("copy.") {
            return number.parse().ok().map(Self::Copy);
        }
        name.strip_prefix("state.")?.parse().ok().map(Self::State)
    }

    /// The file that is always written with it.
    pub fn copy(self) -> Option<Self> {
        match self {
            Self::State(number) => Some(Self::Copy(number)),
            _ => None,
        }
    }

    pub fn pack(self) -> u64 {
        match self {
            Self::Block(number) => number << 2,
            Self::State(number) => number << 2 | 1,
            Self::Copy(number) => number << 2 | 2,
            Self::Packed(number, version) => (number << VERSION_BITS | version) << 2 | 3,
        }
    }

    pub fn unpack(packed: u64) -> Self {
        let number = packed >> 2;
        match packed & 3 {
            0 => Self::Block(number),
            1 => Self::State(number),
            2 => Self::Copy(number),
            _ => Self::Packed(number >> VERSION_BITS, number & ((1 << VERSION_BITS) - 1)),
        }
    }
}

/// The folder of a stream, from the store's folder, without the id.
pub fn base(account: &str, stream: &str) -> String {
    format!("{}/streams/{}", escape(account), escape(stream))
}

/// The name of a stream and its id, from the name of its folder.
pub fn stream_of(folder: &str) -> Option<(String, u64)> {
    let (name, id) = folder.rsplit_once('.')?;
    Some((unescape(name), id.parse().ok()?))
}

/// A name that is safe as part of a path: anything unusual is written as its bytes.
pub fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'$' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}

pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &tail[2..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The folders from `root` down to the one that `path` lies in, deepest first.
pub fn ancestors(root: &str, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/') {
        found.push(parent.to_owned());
        if parent.len() <= root.len() {
            break;
        }
        path = parent;
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{FileName, escape, stream_of, unescape};

    #[test]
    fn names_survive_as_paths() {
        for name in ["ORDERS", "$G", "a/../b", "ä b%", "..", ".x"] {
            let escaped = escape(name);
            assert!(!escaped.contains('/') && !escaped.contains('.'), "{escaped}");
            assert_eq!(unescape(&escaped), name);
            assert_eq!(stream_of(&format!("{escaped}.17")).unwrap(), (name.to_owned(), 17));
        }
        for file in [FileName::Block(7), FileName::State(1), FileName::Copy(2), FileName::Packed(8, 3)] {
            assert_eq!(FileName::parse(file.path("x").strip_prefix("x/").unwrap()), Some(file));
            assert_eq!(FileName::unpack(file.pack()), file);
        }
        assert_eq!(FileName::parse("7.blk.tmp"), None);
    }
}
