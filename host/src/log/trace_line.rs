//! The lines of the protocol trace (CORE-280), without the connection's name before them.

use std::fmt;

use crate::proto::quote::Quoted;

/// From the server's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
    /// Something that happened inside, such as a removed subscription.
    Internal,
}

impl Direction {
    fn arrow(self) -> &'static str {
        match self {
            Direction::Inbound => "<<-",
            Direction::Outbound => "->>",
            Direction::Internal => "<->",
        }
    }
}

/// Displays `<<- [PUB a 2]`. An empty argument leaves `<<- [PING]`.
pub struct Operation<'a> {
    pub direction: Direction,
    pub verb: &'a str,
    /// The rest of the control line, without its end.
    pub args: &'a [u8],
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = String::from_utf8_lossy(self.args);
        let blank = if args.is_empty() { "" } else { " " };
        write!(f, "{} [{}{blank}{args}]", self.direction.arrow(), self.verb)
    }
}

/// Displays `<<- MSG_PAYLOAD: ["hi"]`.
pub struct Payload<'a> {
    direction: Direction,
    shown: &'a [u8],
    is_cut: bool,
}

impl<'a> Payload<'a> {
    /// `message` is header block and payload, without the last CR LF. `None`: nothing is logged.
    ///
    /// With `headers_only` the line holds the first `header_bytes`; `shown_bytes_max` of 0 is no limit.
    pub fn new(
        direction: Direction,
        message: &'a [u8],
        header_bytes: usize,
        headers_only: bool,
        shown_bytes_max: usize,
    ) -> Option<Self> {
        let shown = match headers_only {
            // Without the empty line that ends the block.
            true => message.get(..header_bytes.saturating_sub(HEADER_END_BYTES))?,
            false => message,
        };
        if shown.is_empty() {
            return None;
        }
        let is_cut = shown_bytes_max > 0 && shown.len() > shown_bytes_max;
        let shown = if is_cut { &shown[..shown_bytes_max] } else { shown };
        Some(Payload { direction, shown, is_cut })
    }
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = self.direction.arrow();
        if self.is_cut {
            // The dots stand inside the quotes, as nats-server prints them.
            let cut = [self.shown, b"..."].concat();
            return write!(f, "{arrow} MSG_PAYLOAD: [{}]", Quoted(&cut));
        }
        write!(f, "{arrow} MSG_PAYLOAD: [{}]", Quoted(self.shown))
    }
}

const HEADER_END_BYTES: usize = 4;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn operation(direction: Direction, verb: &str, args: &str) -> String {
        Operation { direction, verb, args: args.as_bytes() }.to_string()
    }

    #[test]
    fn operations_and_payloads_look_like_nats_server_s() {
        // CORE-280, checked against nats-server.
        assert_eq!(operation(Direction::Inbound, "PUB", "a 2"), "<<- [PUB a 2]");
        assert_eq!(operation(Direction::Outbound, "PONG", ""), "->> [PONG]");
        assert_eq!(operation(Direction::Internal, "DELSUB", "1"), "<-> [DELSUB 1]");

        let payload = |message: &[u8], header_bytes, headers_only, max| {
            Payload::new(Direction::Inbound, message, header_bytes, headers_only, max)
                .map(|payload| payload.to_string())
        };
        assert_eq!(payload(b"hi", 0, false, 0).unwrap(), r#"<<- MSG_PAYLOAD: ["hi"]"#);
        assert_eq!(payload(b"hi\r\n\"1", 0, false, 5).unwrap(), r#"<<- MSG_PAYLOAD: ["hi\r\n\"..."]"#);
        assert_eq!(payload(b"", 0, false, 5), None);
        assert_eq!(payload(b"hi", 0, true, 0), None);
        assert_eq!(payload(b"NATS/1.0\r\n\r\nhi", 12, true, 0).unwrap(), r#"<<- MSG_PAYLOAD: ["NATS/1.0"]"#);
    }
}
