//! Frames, read and written by tungstenite's header alone, so that our codec does not judge itself.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// One frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub opcode: u8,
    /// Whether it ends its message.
    pub is_final: bool,
    /// Whether it came masked.
    pub was_masked: bool,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The next frame and its length on the wire, `None` if it is not all there.
///
/// # Panics
///
/// If it has a reserved bit or opcode: what we send has neither.
pub fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = FrameHeader::parse(&mut cursor).expect("we send known opcodes")?;
    assert!(!(header.rsv1 || header.rsv2 || header.rsv3), "we set a reserved bit");
    let start = usize::try_from(cursor.position()).expect("a header is short");
    let end = start + usize::try_from(length).expect("fits into memory");
    let mut payload = bytes.get(start..end)?.to_vec();
    let mask = header.mask.unwrap_or_default();
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    let (opcode, is_final) = (header.opcode.into(), header.is_final);
    Some((Frame { opcode, is_final, was_masked: header.mask.is_some(), payload }, end))
}

/// The bytes of a frame.
pub fn write(opcode: u8, is_final: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final,
        rsv1: false,
        rsv2: false,
        rsv3: false,
        opcode: OpCode::from(opcode),
        mask,
    };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).expect("a vector takes everything");
    let key = mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}
