//! Answers compressed as the request wants them (SYS-009).

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// The framed format.
    Snappy,
    /// Something else was asked for: the answer says that it is as it is.
    Identity,
}

impl Encoding {
    /// By the request's header block; `None` if it asks for nothing.
    pub fn wanted(headers: &[u8]) -> Option<Self> {
        let wanted = accept_encoding(headers)?.to_ascii_lowercase();
        if wanted.is_empty() {
            return None;
        }
        Some(if wanted.contains("snappy") || wanted.contains("s2") {
            Encoding::Snappy
        } else if wanted.contains("gzip") {
            Encoding::Gzip
        } else {
            Encoding::Identity
        })
    }

    /// The header block of the answer.
    pub fn header(self) -> &'static [u8] {
        match self {
            Encoding::Gzip => b"NATS/1.0\r\nContent-Encoding: gzip\r\n\r\n",
            Encoding::Snappy => b"NATS/1.0\r\nContent-Encoding: snappy\r\n\r\n",
            Encoding::Identity => b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n",
        }
    }

    pub fn encode(self, body: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Encoding::Identity => Ok(body),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&body)?;
                encoder.finish()
            }
            Encoding::Snappy => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(&body)?;
                encoder.into_inner().map_err(snap::write::IntoInnerError::into_error)
            }
        }
    }
}

fn accept_encoding(headers: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(headers);
    let mut lines = text.split("\r\n").skip(1);
    lines.find_map(|line| line.strip_prefix("Accept-Encoding:").map(|value| value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Encoding;
    use std::io::Read;

    #[test]
    fn encodings_are_chosen_by_the_header() {
        let wanted = |value: &str| {
            Encoding::wanted(format!("NATS/1.0\r\nAccept-Encoding: {value}\r\n\r\n").as_bytes())
        };
        assert_eq!(wanted("GZIP"), Some(Encoding::Gzip));
        assert_eq!(wanted("s2"), Some(Encoding::Snappy));
        assert_eq!(wanted("gzip, snappy"), Some(Encoding::Snappy));
        assert_eq!(wanted("deflate"), Some(Encoding::Identity));
        assert_eq!(wanted(""), None);
        assert_eq!(Encoding::wanted(b""), None);
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let body = b"natsd ".repeat(100);
        let mut plain = Vec::new();
        let gzip = Encoding::Gzip.encode(body.clone()).unwrap();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
        let snappy = Encoding::Snappy.encode(body.clone()).unwrap();
        let mut plain = Vec::new();
        snap::read::FrameDecoder::new(&snappy[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
    }
}
