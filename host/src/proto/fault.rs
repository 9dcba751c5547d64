//! Where a parser gives up on what is no operation, in the words of nats-server's log: the number of its parser's state,
//! and the bytes from there (CORE-080).
//!
//! Only for the log: who is disconnected for such a line is read by nobody any more.

use super::quote::Quoted;

/// Verbs with the states that their letters lead to, as nats-server numbers them.
const VERBS: [(&[u8], &[u8]); 10] = [
    (b"pub", &[29, 30, 31]),
    (b"ping", &[29, 34, 35, 36]),
    (b"pong", &[29, 37, 38, 39]),
    (b"hpub", &[18, 19, 20, 21]),
    (b"sub", &[43, 44, 45]),
    (b"unsub", &[59, 60, 61, 62, 63]),
    (b"connect", &[10, 11, 12, 13, 14, 15, 16]),
    (b"info", &[71, 72, 73, 74]),
    (b"+ok", &[1, 2, 3]),
    (b"-err", &[4, 5, 6, 7]),
];
/// The states that wait for the end of a message.
const END_CR: u8 = 41;
const END_LF: u8 = 42;
const SNIPPET_BYTES: usize = 32;

/// What the log says of an unknown operation at `at`.
#[cold]
pub fn of_operation(buf: &[u8], at: usize) -> String {
    let rest = &buf[at..];
    let known =
        |letters: &[u8]| letters.iter().zip(rest).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let longest = VERBS.iter().map(|(letters, states)| (known(letters), states)).max_by_key(|(n, _)| *n);
    let (n, state) = longest.map_or((0, 0), |(n, states)| (n, if n == 0 { 0 } else { states[n - 1] }));
    text(buf, at + n, state)
}

/// What the log says of a message that does not end with CR LF at `at`.
pub fn of_message_end(buf: &[u8], at: usize) -> String {
    match buf.get(at) {
        Some(b'\r') => text(buf, at + 1, END_LF),
        _ => text(buf, at, END_CR),
    }
}

fn text(buf: &[u8], at: usize, state: u8) -> String {
    // The last byte is left out where there are not as many.
    let end = if at + SNIPPET_BYTES > buf.len() { buf.len().saturating_sub(1) } else { at + SNIPPET_BYTES };
    let snippet = Quoted(buf.get(at..end).unwrap_or_default());
    format!("Client parser ERROR, state={state}, i={at}: proto='{snippet}...'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_that_of_the_letters_so_far() {
        let told = |buf: &[u8], at| of_operation(buf, at).replace("Client parser ERROR, ", "");
        assert_eq!(told(b"PING\r\nXYZ\r\n", 6), "state=0, i=6: proto='\"XYZ\\r\"...'");
        assert_eq!(told(b"PUX a 0\r\n", 0), "state=30, i=2: proto='\"X a 0\\r\"...'");
        assert_eq!(told(b"HPUBx", 0), "state=21, i=4: proto='\"\"...'");
        assert_eq!(told(b"unsubs 1\r\n", 0), "state=63, i=5: proto='\"s 1\\r\"...'");
        assert_eq!(of_message_end(b"PUB a 1\r\nxyz\r\n", 10), text(b"PUB a 1\r\nxyz\r\n", 10, 41));
        assert_eq!(of_message_end(b"PUB a 1\r\nx\ryz\r\n", 10), text(b"PUB a 1\r\nx\ryz\r\n", 11, 42));
        let long = [b'X'; 100];
        assert_eq!(told(&long, 0), format!("state=0, i=0: proto='\"{}\"...'", "X".repeat(32)));
    }
}
