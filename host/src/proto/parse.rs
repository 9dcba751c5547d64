//! The client's control lines (sections 4 and 5 of core-protocol.md). Pure: bytes in, operations out.

use super::span::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Connect,
    Info,
    Ok,
    Err,
}

/// What the bytes at the start of a buffer are.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line: where its arguments are, and how long it is with its LF.
    Whole { verb: Verb, args: (usize, usize), len: usize },
    /// The start of a valid line.
    Partial,
    /// Longer than max_control_line (CORE-077).
    TooLong,
    /// CORE-080.
    Unknown,
}

/// How a verb goes on after its letters.
enum After {
    /// SP or TAB must follow (CORE-071).
    Blank,
    /// Arguments may follow at once (`CONNECT{`, CORE-064).
    Args,
    /// Anything up to LF is ignored (CORE-074).
    Ignored,
}

const VERBS: [(&[u8], Verb, After); 10] = [
    (b"pub", Verb::Pub, After::Blank),
    (b"hpub", Verb::Hpub, After::Blank),
    (b"sub", Verb::Sub, After::Blank),
    (b"unsub", Verb::Unsub, After::Blank),
    (b"ping", Verb::Ping, After::Ignored),
    (b"pong", Verb::Pong, After::Ignored),
    (b"connect", Verb::Connect, After::Args),
    (b"info", Verb::Info, After::Args),
    (b"+ok", Verb::Ok, After::Ignored),
    (b"-err", Verb::Err, After::Blank),
];

/// Recognises the line at the start of `buf`, which is not empty.
pub fn line(buf: &[u8], max_control_line_bytes: usize) -> Line {
    let mut partial = false;
    for (letters, verb, after) in &VERBS {
        let n = letters.len().min(buf.len());
        if !buf[..n].eq_ignore_ascii_case(&letters[..n]) {
            continue;
        }
        if n < letters.len() {
            partial = true;
            continue;
        }
        return rest_of_line(buf, n, *verb, after, max_control_line_bytes);
    }
    if partial { Line::Partial } else { Line::Unknown }
}

#[inline]
fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

fn rest_of_line(buf: &[u8], letters: usize, verb: Verb, after: &After, max: usize) -> Line {
    match (after, buf.get(letters)) {
        (_, None) => return Line::Partial,
        (After::Blank, Some(&b)) if !is_blank(b) => return Line::Unknown,
        _ => {}
    }
    let mut start = letters;
    while start < buf.len() && is_blank(buf[start]) {
        start += 1;
    }
    // Beyond the reference, the limit holds for blanks too, and for what PING and PONG ignore: a line
    // that does not end must not be gathered for ever.
    if start - letters > max {
        return Line::TooLong;
    }
    let Some(nl) = memchr::memchr(b'\n', &buf[start..]) else {
        return if buf.len() - start > max + 1 { Line::TooLong } else { Line::Partial };
    };
    let mut end = start + nl;
    let len = end + 1;
    // One byte is dropped if a CR came anywhere in the arguments (CORE-072).
    if end > start && (buf[end - 1] == b'\r' || memchr::memchr(b'\r', &buf[start..end]).is_some()) {
        end -= 1;
    }
    if end - start > max {
        return Line::TooLong;
    }
    Line::Whole { verb, args: (start, end), len }
}

/// A PUB or HPUB line; spans count from the line's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PubLine {
    pub subject: Span,
    pub reply: Span,
    pub header_len: u32,
    /// The total size as written: receivers read it so (CORE-078).
    pub size_text: Span,
    /// Headers and payload.
    pub size_bytes: u32,
    pub len: u32,
}

/// Why a line's arguments are refused; the text is the reference's log line (CORE-079).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgsError {
    Parse,
    Size,
    HeaderSize,
    TotalSize,
    HeaderLarger,
}

/// Arguments of PUB (CORE-090) or HPUB (CORE-091) between `at` and `end` of `line`.
#[inline]
pub fn publish(line: &[u8], (at, end): (usize, usize), headers: bool) -> Result<PubLine, ArgsError> {
    let mut words = [Span::default(); 4];
    let most = if headers { 4 } else { 3 };
    let n = split(&line[..end], at, &mut words[..most], is_blank).ok_or(ArgsError::Parse)?;
    let sizes = if headers { 2 } else { 1 };
    if n < 1 + sizes {
        return Err(ArgsError::Parse);
    }
    let reply = if n > 1 + sizes { words[1] } else { Span::default() };
    let bad_total = if headers { ArgsError::TotalSize } else { ArgsError::Size };
    let size_bytes = size(words[n - 1].of(line)).ok_or(bad_total)?;
    let header_len = if headers { size(words[n - 2].of(line)).ok_or(ArgsError::HeaderSize)? } else { 0 };
    if header_len > size_bytes {
        return Err(ArgsError::HeaderLarger);
    }
    Ok(PubLine { subject: words[0], reply, header_len, size_text: words[n - 1], size_bytes, len: 0 })
}

/// Arguments of SUB (2 or 3 words) or UNSUB (1 or 2), CORE-093 and CORE-095.
pub fn words<const N: usize>(args: &[u8], least: usize) -> Option<([&[u8]; N], usize)> {
    let mut spans = [Span::default(); N];
    let n = split(args, 0, &mut spans, |b| is_blank(b) || b == b'\r')?;
    (n >= least).then(|| (spans.map(|s| s.of(args)), n))
}

#[inline]
fn split(line: &[u8], at: usize, words: &mut [Span], blank: impl Fn(u8) -> bool) -> Option<usize> {
    let mut n = 0;
    let mut start = None;
    for (i, &b) in line.iter().enumerate().skip(at) {
        if blank(b) {
            if let Some(s) = start.take() {
                *words.get_mut(n)? = Span { at: s as u32, len: (i - s) as u32 };
                n += 1;
            }
        } else if start.is_none() {
            start = Some(i);
        }
    }
    if let Some(s) = start {
        *words.get_mut(n)? = Span { at: s as u32, len: (line.len() - s) as u32 };
        n += 1;
    }
    Some(n)
}

/// A size: one to nine digits (CORE-078).
#[inline]
pub fn size(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    let mut n = 0;
    for &b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n * 10 + digit as u32;
    }
    Some(n)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> (Verb, &[u8], usize) {
        match line(text, 4096) {
            Line::Whole { verb, args, len } => (verb, &text[args.0..args.1], len),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn verbs_are_recognised_in_any_case() {
        assert_eq!(whole(b"pUb a 2\r\nhi\r\n"), (Verb::Pub, &b"a 2"[..], 9));
        assert_eq!(whole(b"CONNECT{}\n"), (Verb::Connect, &b"{}"[..], 10));
        assert_eq!(whole(b"PINGxyz\n").0, Verb::Ping);
        assert_eq!(whole(b"+OK\r\n").0, Verb::Ok);
    }

    #[test]
    fn a_bad_verb_is_known_at_its_first_bad_byte() {
        for bad in [&b" PUB"[..], b"\r", b"PUX", b"PUBa", b"MSG a 1 1", b"RS+", b"LS+", b"A+"] {
            assert_eq!(line(bad, 4096), Line::Unknown, "{bad:?}");
        }
        for start in [&b"P"[..], b"PU", b"PUB", b"PUB ", b"PUB a", b"HP", b"c", b"+", b"-er", b"PING"] {
            assert_eq!(line(start, 4096), Line::Partial, "{start:?}");
        }
    }

    #[test]
    fn the_control_line_limit_counts_arguments_only() {
        let make = |n: usize| [b"SUB ", vec![b'a'; n - 2].as_slice(), b" 1\r\n"].concat();
        assert!(matches!(line(&make(4096), 4096), Line::Whole { .. }));
        assert_eq!(line(&make(4097), 4096), Line::TooLong);
        let blanks = [b"CONNECT".as_slice(), &[b' '; 4097]].concat();
        assert_eq!(line(&blanks, 4096), Line::TooLong);
        assert_eq!(line(&blanks[..4103], 4096), Line::Partial);
    }

    #[test]
    fn publish_arguments() {
        let get = |text: &'static [u8], headers| publish(text, (4, text.len()), headers);
        let p = get(b"PUB a  r\t12 ", false).unwrap();
        assert_eq!((p.subject.len, p.reply.len, p.size_bytes), (1, 1, 12));
        assert_eq!(get(b"PUB a", false), Err(ArgsError::Parse));
        assert_eq!(get(b"PUB a b c 1", false), Err(ArgsError::Parse));
        assert_eq!(get(b"PUB a -1", false), Err(ArgsError::Size));
        assert_eq!(get(b"PUB a 1234567890", false), Err(ArgsError::Size));
        assert_eq!(get(b"HPB a 5 4", true), Err(ArgsError::HeaderLarger));
    }
}
