//! Request lines as people and Go clients write them: `>` in a subject is not always percent-encoded.
//!
//! Go takes such targets, hyper does not, so they are encoded before hyper sees them. Free of I/O. Not here: what a
//! target means (`query`, `endpoints`).

/// Follows the requests of a connection. What comes with a body is left alone, and so is all that comes after it.
#[derive(Debug, Default)]
pub struct Lenient {
    place: Place,
    /// The method so far.
    method: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Method,
    Target,
    /// Up to the end of a line; `empty`: nothing stands in it yet.
    Line {
        empty: bool,
    },
    /// Nothing is looked at any more.
    Rest,
}

/// Requests that have no body.
const BODILESS: [&[u8]; 2] = [b"GET", b"HEAD"];
const METHOD_BYTES_MAX: usize = 4;

impl Lenient {
    /// Appends `bytes` to `out`, the targets of requests encoded.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if self.place == Place::Target && needs_encoding(byte) {
                out.extend_from_slice(format!("%{byte:02X}").as_bytes());
            } else {
                out.push(byte);
            }
            self.place = self.after(byte);
        }
    }

    fn after(&mut self, byte: u8) -> Place {
        match (self.place, byte) {
            (Place::Method, b'\r' | b'\n') if self.method.is_empty() => Place::Method,
            (Place::Method, b' ') => {
                let method = std::mem::take(&mut self.method);
                if BODILESS.contains(&method.as_slice()) { Place::Target } else { Place::Rest }
            }
            (Place::Method, _) if self.method.len() == METHOD_BYTES_MAX => Place::Rest,
            (Place::Method, byte) => {
                self.method.push(byte);
                Place::Method
            }
            (Place::Target, b' ') => Place::Line { empty: false },
            (Place::Target, b'\n') => Place::Line { empty: true },
            (Place::Target, _) => Place::Target,
            (Place::Line { empty: true }, b'\n') => Place::Method,
            (Place::Line { .. }, b'\n') => Place::Line { empty: true },
            (Place::Line { empty }, b'\r') => Place::Line { empty },
            (Place::Line { .. }, _) => Place::Line { empty: false },
            (Place::Rest, _) => Place::Rest,
        }
    }
}

/// What hyper refuses of what Go takes.
fn needs_encoding(byte: u8) -> bool {
    matches!(byte, b'<' | b'>' | b'"' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::Lenient;

    fn passed(text: &str) -> String {
        let bytes = text.as_bytes();
        let mut whole = Vec::new();
        Lenient::default().pass(bytes, &mut whole);
        let (mut one_by_one, mut lenient) = (Vec::new(), Lenient::default());
        bytes.iter().for_each(|byte| lenient.pass(&[*byte], &mut one_by_one));
        assert_eq!(whole, one_by_one);
        String::from_utf8_lossy(&whole).into_owned()
    }

    #[test]
    fn targets_are_encoded_and_nothing_else_is() {
        for (text, expected) in [
            ("GET /a?x=b.> HTTP/1.1\r\nX: <\r\n\r\n", "GET /a?x=b.%3E HTTP/1.1\r\nX: <\r\n\r\n"),
            ("\r\nHEAD /<\"é HTTP/1.0\r\n\r\n", "\r\nHEAD /%3C%22%C3%A9 HTTP/1.0\r\n\r\n"),
            ("GET /> H\r\n\r\nGET /< H\n\n", "GET /%3E H\r\n\r\nGET /%3C H\n\n"),
            (
                "POST /> H\r\nContent-Length: 9\r\n\r\nGET />\r\n\r",
                "POST /> H\r\nContent-Length: 9\r\n\r\nGET />\r\n\r",
            ),
            ("CONNECT > H\r\n\r\nGET /> H\r\n\r\n", "CONNECT > H\r\n\r\nGET /> H\r\n\r\n"),
        ] {
            assert_eq!(passed(text), expected);
        }
    }
}
