//! MSG and HMSG (CORE-100..102): the bytes that one receiver gets for its records of a chunk.

use super::chunk::{Item, Record};
use super::names::Shown;
use crate::interest::sid::Sid;

/// Payloads from this size on are written from the read buffer instead of being copied.
pub const BY_REFERENCE_BYTES: usize = 4096;

/// What to write, in order: formatted bytes, or a stretch of the read buffer.
#[derive(Clone, Copy)]
pub enum Piece {
    Formatted(u32, u32),
    Buffer(u32, u32),
}

/// What a receiver's form of messages depends on.
pub struct Form<'a> {
    pub headers: bool,
    pub long_sids: &'a [Box<[u8]>],
    pub(super) shown: &'a Shown,
}

/// Formats all messages of `records`. With `pieces`, large payloads stay where they are.
pub(super) fn format(
    items: &[Item],
    runs: &[(u32, u32)],
    records: &[Record],
    form: &Form,
    buf: &[u8],
    out: &mut Vec<u8>,
    mut pieces: Option<&mut Vec<Piece>>,
) {
    let mut piece_start = out.len();
    let mut head_at = (0, 0);
    let mut last = (0u64, Sid::long(u32::MAX), 0);
    for r in records {
        let first = runs[r.run as usize].0 as usize;
        for item in &items[first..first + r.take as usize] {
            // The same control line to the same subscription has the same head.
            if item.line == last.0 && r.sid == last.1 && r.shown == last.2 {
                out.extend_from_within(head_at.0..head_at.1);
            } else {
                last = (item.line, r.sid, r.shown);
                head_at.0 = out.len();
                head(out, item, r, form, buf);
                head_at.1 = out.len();
            }
            let (mut at, mut len) = (item.body.at as usize, item.body.len as usize);
            if !form.headers {
                (at, len) = (at + item.header_len as usize, len - item.header_len as usize);
            }
            match &mut pieces {
                Some(pieces) if len >= BY_REFERENCE_BYTES => {
                    pieces.push(Piece::Formatted(piece_start as u32, out.len() as u32));
                    pieces.push(Piece::Buffer(at as u32, (at + len) as u32));
                    piece_start = out.len();
                }
                _ => out.extend_from_slice(&buf[at..at + len]),
            }
        }
    }
    if let Some(pieces) = pieces
        && out.len() > piece_start
    {
        pieces.push(Piece::Formatted(piece_start as u32, out.len() as u32));
    }
}

#[inline]
fn head(out: &mut Vec<u8>, item: &Item, record: &Record, form: &Form, buf: &[u8]) {
    let with_headers = item.header_len > 0 && form.headers;
    out.extend_from_slice(if with_headers { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(form.shown.subject(record.shown, item, buf));
    out.push(b' ');
    record.sid.write(out, form.long_sids);
    out.push(b' ');
    if item.reply.len > 0 {
        out.extend_from_slice(item.reply.of(buf));
        out.push(b' ');
    }
    if with_headers {
        put_number(out, item.header_len as u64);
        out.push(b' ');
    }
    if with_headers || item.header_len == 0 {
        out.extend_from_slice(item.size_text.of(buf));
    } else {
        put_number(out, (item.size_bytes() - item.header_len) as u64);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
#[inline]
pub fn put_number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut i = 20;
    loop {
        i -= 1;
        digits[i] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[i..]);
}
