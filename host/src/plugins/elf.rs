//! Looks at a file before the dynamic linker does: it takes a file that is cut short for whole, and the process
//! dies of it.
//!
//! Pure: the head of the file and its size in, a verdict out; or the content of one section, by a function that
//! reads.

use thiserror::Error;

/// As much of the file's front as `check` wants to see: the header and its table of segments.
pub const HEAD_BYTES: usize = 4096;

/// Why a file cannot be a plugin here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotLoadable {
    #[error("it is not a shared library")]
    NotElf,
    #[error("it is not a shared library but another kind of ELF file")]
    NotShared,
    #[error("it is built for another kind of machine")]
    Machine,
    #[error("it is cut short; copy it again")]
    Cut,
}

const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
/// A library has a few dozen.
const SECTIONS_MAX: u16 = 1024;
const NAMES_BYTES_MAX: usize = 64 * 1024;
const CLASS_64: u8 = 2;
const TYPE_SHARED: u16 = 3;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(target_arch = "riscv64")]
const MACHINE: u16 = 243;

#[cfg(target_endian = "little")]
const ORDER: u8 = 1;
#[cfg(target_endian = "big")]
const ORDER: u8 = 2;

/// Whether the dynamic linker can be let loose on the file.
pub fn check(head: &[u8], file_bytes: u64) -> Result<(), NotLoadable> {
    if head.get(..4) != Some(b"\x7fELF") {
        return Err(NotLoadable::NotElf);
    }
    let header = head.get(..HEADER_BYTES).ok_or(NotLoadable::Cut)?;
    if header[4] != CLASS_64 || header[5] != ORDER || half(header, 18) != MACHINE {
        return Err(NotLoadable::Machine);
    }
    if half(header, 16) != TYPE_SHARED {
        return Err(NotLoadable::NotShared);
    }
    let (table, size, count) = (long(header, 32), half(header, 54), half(header, 56));
    if usize::from(size) != SEGMENT_BYTES {
        return Err(NotLoadable::NotShared);
    }
    // Linkers put the table right behind the header; one that lies elsewhere is taken for damage.
    let table = usize::try_from(table).ok().and_then(|at| head.get(at..)).ok_or(NotLoadable::Cut)?;
    for at in 0..usize::from(count) {
        let segment = table.get(at * SEGMENT_BYTES..(at + 1) * SEGMENT_BYTES).ok_or(NotLoadable::Cut)?;
        let end = long(segment, 8).checked_add(long(segment, 32));
        if end.is_none_or(|end| end > file_bytes) {
            return Err(NotLoadable::Cut);
        }
    }
    // The table of sections is the last thing in the file: with it, a copy that stopped anywhere is noticed.
    let sections = u64::from(half(header, 58)) * u64::from(half(header, 60));
    match long(header, 40).checked_add(sections) {
        Some(end) if end <= file_bytes => Ok(()),
        _ => Err(NotLoadable::Cut),
    }
}

/// The content of a section, if the file has one of that name with at most `bytes_max`. `read` fills a buffer from a
/// place in the file and answers how much it got.
pub fn section(
    head: &[u8],
    name: &str,
    bytes_max: usize,
    read: impl Fn(u64, &mut [u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    let whole = |at: u64, len: usize| {
        let mut bytes = vec![0; len];
        (read(at, &mut bytes)? == len).then_some(bytes)
    };
    let header = head.get(..HEADER_BYTES)?;
    let (table, size, count) = (long(header, 40), half(header, 58), half(header, 60));
    if usize::from(size) != SECTION_BYTES || count > SECTIONS_MAX {
        return None;
    }
    let table = whole(table, usize::from(count) * SECTION_BYTES)?;
    let entry = |at: usize| table.get(at * SECTION_BYTES..(at + 1) * SECTION_BYTES);
    let names = entry(usize::from(half(header, 62)))?;
    let names_bytes = usize::try_from(long(names, 32)).ok().filter(|len| *len <= NAMES_BYTES_MAX)?;
    let names = whole(long(names, 24), names_bytes)?;
    let is_wanted = |entry: &&[u8]| {
        let own = names.get(word(entry, 0) as usize..).unwrap_or_default();
        own.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    };
    let found = (0..usize::from(count)).filter_map(entry).find(is_wanted)?;
    let len = usize::try_from(long(found, 32)).ok().filter(|len| *len <= bytes_max)?;
    whole(long(found, 24), len)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A number of two bytes; the caller has checked the length.
fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared library with one segment that ends at `end`.
    fn library(end: u64) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES + SEGMENT_BYTES];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', CLASS_64, ORDER]);
        file[16..18].copy_from_slice(&TYPE_SHARED.to_ne_bytes());
        file[18..20].copy_from_slice(&MACHINE.to_ne_bytes());
        file[32..40].copy_from_slice(&(HEADER_BYTES as u64).to_ne_bytes());
        file[54..56].copy_from_slice(&(SEGMENT_BYTES as u16).to_ne_bytes());
        file[56..58].copy_from_slice(&1u16.to_ne_bytes());
        file[HEADER_BYTES + 32..HEADER_BYTES + 40].copy_from_slice(&end.to_ne_bytes());
        file
    }

    #[test]
    fn a_whole_library_passes_and_damage_is_named() {
        assert_eq!(check(&library(5000), 5000), Ok(()));
        assert_eq!(check(&library(5001), 5000), Err(NotLoadable::Cut));
        assert_eq!(check(&library(u64::MAX), u64::MAX - 1), Err(NotLoadable::Cut));
        let mut sections = library(100);
        sections[40..48].copy_from_slice(&5001u64.to_ne_bytes());
        assert_eq!(check(&sections, 5000), Err(NotLoadable::Cut));
        assert_eq!(check(b"#!/bin/sh", 9), Err(NotLoadable::NotElf));
        assert_eq!(check(b"", 0), Err(NotLoadable::NotElf));
        for (at, error) in [(16, NotLoadable::NotShared), (18, NotLoadable::Machine), (33, NotLoadable::Cut)]
        {
            let mut damaged = library(100);
            damaged[at] ^= 0x55;
            assert_eq!(check(&damaged, 5000), Err(error), "byte {at}");
        }
        for len in 4..HEADER_BYTES + SEGMENT_BYTES {
            assert_eq!(check(&library(100)[..len], 5000), Err(NotLoadable::Cut), "{len}");
        }
    }

    /// A library with the sections `.shstrtab` and `.natsd.label`, which holds `text`.
    fn labelled(text: &[u8]) -> Vec<u8> {
        let mut file = library(64);
        let names = file.len() as u64;
        file.extend_from_slice(b"\0.shstrtab\0.natsd.label\0");
        let content = file.len() as u64;
        file.extend_from_slice(text);
        let table = file.len() as u64;
        for (name, at, len) in [(0u32, 0, 0), (1, names, 25), (11, content, text.len() as u64)] {
            let mut section = [0; SECTION_BYTES];
            section[..4].copy_from_slice(&name.to_ne_bytes());
            section[24..32].copy_from_slice(&at.to_ne_bytes());
            section[32..40].copy_from_slice(&len.to_ne_bytes());
            file.extend_from_slice(&section);
        }
        file[40..48].copy_from_slice(&table.to_ne_bytes());
        file[58..60].copy_from_slice(&(SECTION_BYTES as u16).to_ne_bytes());
        file[60..62].copy_from_slice(&3u16.to_ne_bytes());
        file[62..64].copy_from_slice(&1u16.to_ne_bytes());
        file
    }

    fn section_of(file: &[u8], name: &str) -> Option<Vec<u8>> {
        section(&file[..HEADER_BYTES.min(file.len())], name, 100, |at, buffer| {
            let rest = file.get(usize::try_from(at).ok()?..)?;
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Some(len)
        })
    }

    #[test]
    fn a_section_is_found_by_its_name_and_damage_finds_nothing() {
        let file = labelled(b"hello");
        assert_eq!(section_of(&file, ".natsd.label").as_deref(), Some(&b"hello"[..]));
        assert_eq!(section_of(&file, ".natsd"), None);
        assert_eq!(section_of(&file, ".other"), None);
        assert_eq!(section_of(&labelled(&[b'x'; 101]), ".natsd.label"), None);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            // Whatever it answers, it reads nothing beyond the file.
            let _ = section_of(&damaged, ".natsd.label");
            assert_eq!(section_of(&file[..at], ".natsd.label"), None, "{at}");
        }
    }
}
