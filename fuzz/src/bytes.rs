//! Bytes that arrive in pieces.

/// Pieces of one input at most, so that a long one stays fast.
const MAX_PIECES: usize = 200;

/// How a stream is cut into reads: two bytes of the input decide.
#[derive(Clone, Copy, Debug)]
pub struct Cuts(u16);

impl Cuts {
    /// Takes the cuts from the front of an input; the rest is what is cut.
    pub fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let (cuts, rest) = data.split_first_chunk::<2>()?;
        Some((Self(u16::from_be_bytes(*cuts)), rest))
    }

    /// No cut at all.
    pub fn none() -> Self {
        Self(0)
    }

    /// The pieces, in order, none of them empty.
    pub fn pieces<'a>(&self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let least = bytes.len() / MAX_PIECES;
        let mut state = u32::from(self.0);
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let length = match self.0 {
                0 => bytes.len(),
                // The small ones are steps: byte by byte, two by two.
                1..16 => usize::from(self.0),
                _ => {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Short and long pieces, for what is interesting has both lengths.
                    let widest = 1 << (1 + (state >> 28) % 12);
                    1 + (state >> 8) as usize % widest
                }
            };
            let (piece, rest) = bytes.split_at(length.max(least).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}
