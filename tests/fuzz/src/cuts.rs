//! Where an input is cut: chosen by its own bytes, so that a finding repeats.

/// The pieces of `input`, none empty.
pub fn pieces(input: &[u8]) -> Vec<&[u8]> {
    const LONGEST: u64 = 9;
    let seed = input.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mut random = seed | 1;
    let (mut rest, mut pieces) = (input, Vec::new());
    while !rest.is_empty() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Every second piece is a single byte or nearly so: ends of lines are where parsers go wrong.
        let longest = if random & 1 == 0 { 2 } else { LONGEST };
        let len = 1 + usize::try_from((random >> 8) % longest).unwrap();
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
