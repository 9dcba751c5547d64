//! A message as a value of the database: time, flags and two lengths, then subject, headers and payload.

use natsd_plugin_api::bytes::{BufMut, Bytes, BytesMut};
use natsd_plugin_api::stream_store::{NewMessage, StoredMessage};
use natsd_plugin_api::{Error, ErrorKind, Result};

/// Time (8), flags (4), length of the subject (4), length of the headers (4).
const HEAD: usize = 20;

pub fn encode(message: &NewMessage<'_>) -> Bytes {
    let (subject, headers, payload) = (message.subject(), message.headers(), message.payload());
    let mut out = BytesMut::with_capacity(HEAD + subject.len() + headers.len() + payload.len());
    out.put_i64_le(message.time_ns);
    out.put_u32_le(message.flags);
    // JetStream takes no message of more than 32 MiB.
    out.put_u32_le(subject.len() as u32);
    out.put_u32_le(headers.len() as u32);
    out.put_slice(subject);
    out.put_slice(headers);
    out.put_slice(payload);
    out.freeze()
}

pub fn decode(seq: u64, record: Bytes) -> Result<StoredMessage> {
    let damaged = || Error::new(ErrorKind::Damaged, format!("message {seq} is not what was written"));
    let head = record.get(..HEAD).ok_or_else(damaged)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let time = [head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]];
    let (subject_len, headers_len) = (word(12) as usize, word(16) as usize);
    if record.len() - HEAD < subject_len + headers_len {
        return Err(damaged());
    }
    Ok(StoredMessage {
        seq,
        time_ns: i64::from_le_bytes(time),
        flags: word(8),
        content: record.slice(HEAD..),
        subject_len,
        headers_len,
    })
}
