//! Frames (RFC 6455, section 5.2): headers, masks, close codes.

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::codec::{CloseReason, Error, Kind, Message};

/// Payload bytes of a control frame at most (section 5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;
/// A header with a mask.
pub(super) const MAX_MASKED_HEADER_BYTES: usize = 14;

/// The final frame of a message, in the first byte; a masked one, in the second.
const FLAG_BIT: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE_BITS: u8 = 0x0f;
/// Stands where a short length would: the length follows in two bytes, or in eight.
const LENGTH_IN_TWO: u8 = 126;
const LENGTH_IN_EIGHT: u8 = 127;

/// What a frame's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) bytes: usize,
    pub(super) payload_bytes: u64,
}

impl Header {
    /// Reads a header, `None` if it is not all there. Refuses what no extension allows.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED_BITS != 0 {
            return Err(Error::Protocol("a reserved bit is set"));
        }
        let opcode = OpCode::from(first & OPCODE_BITS);
        if let OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) = opcode {
            return Err(Error::Protocol("unknown opcode"));
        }
        let Some((payload_bytes, length_bytes)) = parse_length(second & !FLAG_BIT, rest)? else {
            return Ok(None);
        };
        let is_masked = second & FLAG_BIT != 0;
        let mask = match rest[length_bytes..].first_chunk::<4>() {
            Some(mask) if is_masked => Some(*mask),
            None if is_masked => return Ok(None),
            Some(_) | None => None,
        };
        let bytes = 2 + length_bytes + mask.map_or(0, |mask| mask.len());
        let is_final = first & FLAG_BIT != 0;
        Ok(Some(Self { opcode, is_final, mask, bytes, payload_bytes }))
    }
}

/// The length of a payload, and how many bytes behind the first two say it; `None` if they are not
/// all there.
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, Error> {
    let (length, length_bytes, least) = match short {
        LENGTH_IN_TWO => {
            let Some(length) = rest.first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), 2, u64::from(LENGTH_IN_TWO))
        }
        LENGTH_IN_EIGHT => {
            let Some(length) = rest.first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*length), 8, 1 << 16)
        }
        short => (u64::from(short), 0, 0),
    };
    if length < least {
        return Err(Error::Protocol("a length in more bytes than it needs"));
    }
    if length > i64::MAX as u64 {
        return Err(Error::Protocol("a length of 2^63 or more"));
    }
    Ok(Some((length, length_bytes)))
}

/// Writes the header of a whole message into `buffer` and says how long it is.
///
/// # Panics
///
/// If the buffer is too short: an unmasked header has at most 10 bytes, a masked one 14.
pub(in crate::codec) fn write_header(
    message: Message<'_>,
    mask: Option<[u8; 4]>,
    buffer: &mut [u8],
) -> usize {
    let opcode = match message.kind {
        Kind::Text => OpCode::Data(Data::Text),
        Kind::Binary => OpCode::Data(Data::Binary),
    };
    write_raw_header(opcode, message.payload.len(), mask, buffer)
}

/// A control frame, header and payload, masked if asked for, and how long it is.
pub(super) fn control(
    control: Control,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> ([u8; MAX_CONTROL_BYTES + MAX_MASKED_HEADER_BYTES], usize) {
    let mut frame = [0; MAX_CONTROL_BYTES + MAX_MASKED_HEADER_BYTES];
    let header = write_raw_header(OpCode::Control(control), payload.len(), mask, &mut frame);
    let end = header + payload.len();
    frame[header..end].copy_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut frame[header..end], mask);
    }
    (frame, end)
}

fn write_raw_header(
    opcode: OpCode,
    payload_bytes: usize,
    mask: Option<[u8; 4]>,
    buffer: &mut [u8],
) -> usize {
    let flag = if mask.is_some() { FLAG_BIT } else { 0 };
    buffer[0] = FLAG_BIT | u8::from(opcode);
    let length = payload_bytes as u64;
    let mut end = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..LENGTH_IN_TWO), _) => {
            buffer[1] = flag | short;
            2
        }
        (_, Ok(medium)) => {
            buffer[1] = flag | LENGTH_IN_TWO;
            buffer[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        (_, Err(_)) => {
            buffer[1] = flag | LENGTH_IN_EIGHT;
            buffer[2..10].copy_from_slice(&length.to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        buffer[end..end + mask.len()].copy_from_slice(&mask);
        end += mask.len();
    }
    end
}

/// Masks or unmasks in place (section 5.3).
pub(super) fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes(chunk.try_into().expect("eight bytes")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The payload of a close frame. A reason that is too long is cut at a character.
pub(super) fn close_payload(code: u16, reason: &str) -> ([u8; MAX_CONTROL_BYTES], usize) {
    let mut payload = [0; MAX_CONTROL_BYTES];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_BYTES - 2)];
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    (payload, 2 + reason.len())
}

/// Understands the payload of a close frame (sections 5.5.1 and 7.4).
pub(super) fn parse_close(payload: &[u8]) -> Result<CloseReason, Error> {
    let Some((code, text)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(CloseReason::default()),
            _ => Err(Error::Protocol("a close frame of one byte")),
        };
    };
    let code = u16::from_be_bytes(*code);
    // 1014 (bad gateway) was registered after the table that `is_allowed` knows.
    if !CloseCode::from(code).is_allowed() && code != 1014 {
        return Err(Error::Protocol("a close code that may not be sent"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::NotUtf8)?;
    Ok(CloseReason { code: Some(code), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    #[test]
    fn headers_are_those_of_tungstenite() {
        let masks = [None, Some([1, 2, 3, 4])];
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 24] {
            for mask in masks {
                let mut buffer = [0; MAX_MASKED_HEADER_BYTES];
                let opcode = OpCode::Data(Data::Text);
                let end = write_raw_header(opcode, length, mask, &mut buffer);
                let theirs = FrameHeader { opcode, mask, ..FrameHeader::default() };
                let mut expected = Vec::new();
                theirs.format(length as u64, &mut expected).unwrap();
                assert_eq!(buffer[..end], expected);

                let ours = Header::parse(&expected).unwrap().unwrap();
                let mut cursor = Cursor::new(&expected);
                let (theirs, size) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
                assert_eq!((ours.opcode, ours.is_final), (theirs.opcode, theirs.is_final));
                assert_eq!((ours.mask, ours.payload_bytes), (theirs.mask, size));
                assert_eq!(ours.bytes as u64, cursor.position());
                for cut in 0..end {
                    assert!(Header::parse(&expected[..cut]).unwrap().is_none(), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn mask_is_its_own_inverse_at_every_length() {
        let mask = [1, 2, 3, 4];
        for length in 0..40_u8 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, mask);
            let expected: Vec<u8> =
                plain.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(masked, expected);
            apply_mask(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }

    #[test]
    fn long_reason_is_cut_at_a_character() {
        let (payload, length) = close_payload(1013, &"ä".repeat(100));
        assert!(length <= MAX_CONTROL_BYTES);
        let reason = parse_close(&payload[..length]).unwrap();
        assert_eq!(reason.text, "ä".repeat(61));
    }

    #[test]
    fn close_codes_that_may_not_be_sent_are_refused() {
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(parse_close(&code.to_be_bytes()).is_err(), "{code}");
        }
        for code in [1000_u16, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
            assert_eq!(parse_close(&code.to_be_bytes()).unwrap().code, Some(code));
        }
    }
}
