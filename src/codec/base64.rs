//! Base64 (RFC 4648) read back. The crate that writes it reads any alphabet there may be, which takes as
//! much room as all handshakes.

/// The bytes that a text stands for: padded, without blanks, and written in the only right way.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (groups, []) = text.as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (index, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && index + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0_u32;
        for byte in &group[..4 - padding] {
            bits = bits << 6 | u32::from(value(*byte)?);
        }
        bits <<= 6 * padding;
        let [_, decoded @ ..] = bits.to_be_bytes();
        let (wanted, rest) = decoded.split_at(3 - padding);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(wanted);
    }
    Some(bytes)
}

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let bytes: Vec<u8> = (0..=255).collect();
        for end in 0..bytes.len() {
            let text = BASE64.encode(&bytes[..end]);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&bytes[..end]));
        }
    }

    #[test]
    fn same_texts_are_wrong_as_to_the_crate_that_writes_it_but_for_padding_inside() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let length = random.usize(..10);
            let text: Vec<u8> = (0..length).map(|_| b"AQgw09+/==- "[random.usize(..12)]).collect();
            let shown = String::from_utf8_lossy(&text);
            let is_padded_inside = shown.trim_end_matches('=').contains('=');
            let expected = BASE64.decode(&text).ok().filter(|_| !is_padded_inside);
            assert_eq!(decode(&text), expected, "{shown}");
        }
    }
}
