//! Code in memory. A start runs much that is never run again, of the server and of each plugin; it counts as memory of
//! the process until it is given back. What is needed after all comes from the file again, page by page.

use rustix::mm::{Advice, madvise};
use std::ptr::with_exposed_provenance_mut;

/// Gives back what the process has of the files it runs; `smaps` is what `/proc/self/smaps` says.
pub fn give_back(smaps: &str) {
    for (start, len) in parts(smaps) {
        // SAFETY: the mapping is private, of a file, and nothing can write to it. It has no page of its own, as those
        // with relocations do, so each page is as in the file and is read again on the next use. Whoever runs in it
        // waits for that.
        #[allow(unsafe_code)]
        let given = unsafe { madvise(with_exposed_provenance_mut(start), len, Advice::LinuxDontNeed) };
        if let Err(error) = given {
            crate::log::debug!("Code at {start:x} stays in memory: {error}");
        }
    }
}

/// Start and length of what only reads files: mappings of code and constants. Each has a line
/// `START-END r-xp OFFSET DEVICE INODE /PATH`, and lines of facts after it.
fn parts(smaps: &str) -> Vec<(usize, usize)> {
    let (mut parts, mut found) = (Vec::new(), None);
    for line in smaps.lines() {
        match line.strip_prefix("Anonymous:").map(str::trim) {
            Some("0 kB") => parts.extend(found.take()),
            Some(_) => found = None,
            None => found = mapping(line).or(found),
        }
    }
    parts
}

fn mapping(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights, path) = (words.next()?, words.next()?, words.nth(3)?);
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (["r-xp", "r--p"].contains(&rights) && path.starts_with('/'))
        .then(|| Some((start, end.checked_sub(start)?)))?
}

#[cfg(test)]
mod tests {
    use super::{give_back, mapping, parts};

    #[test]
    fn only_what_is_as_in_the_file_is_given_back() {
        let natsd = (0x1000, 0x2000);
        assert_eq!(mapping("1000-3000 r-xp 00001000 fe:00 12  /usr/bin/natsd"), Some(natsd));
        assert_eq!(mapping("1000-3000 r-xp 00001000 fe:00 12  /opt/my plugins/a.so (deleted)"), Some(natsd));
        for other in [
            "1000-3000 rw-p 00001000 fe:00 12  /usr/bin/natsd",
            "1000-3000 rwxp 00001000 fe:00 12  /usr/bin/natsd",
            "1000-3000 r--s 00001000 fe:00 12  /usr/bin/natsd",
            "1000-3000 r-xp 00000000 00:00 0  [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "3000-1000 r-xp 00001000 fe:00 12  /usr/bin/natsd",
            "x-y r-xp 00001000 fe:00 12  /usr/bin/natsd",
            "Rss:                 212 kB",
            "",
        ] {
            assert_eq!(mapping(other), None, "{other}");
        }
        let facts = |own: u64| {
            format!(
                "1000-3000 r--p 00001000 fe:00 12  /usr/bin/natsd\nRss: 8 kB\nAnonymous: {own} kB\n\
                 4000-5000 rw-p 00001000 00:00 0\nAnonymous: 0 kB\n"
            )
        };
        assert_eq!((parts(&facts(0)), parts(&facts(4))), (vec![natsd], vec![]));
    }

    #[test]
    fn who_runs_goes_on_running() {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        assert!(parts(&smaps).len() > 1);
        for _ in 0..3 {
            give_back(&smaps);
            let sum: u64 = (0..1000).sum();
            assert_eq!(format!("{sum}"), "499500");
        }
    }
}
