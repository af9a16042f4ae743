//! Frames as bytes, built and read without any code of the relay's.

/// What a client masks with.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) is_final: bool,
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { is_final: true, reserved: 0, opcode, payload: payload.as_ref().to_vec() }
    }

    /// The same frame, to be followed by more of its message.
    pub(crate) fn begun(self) -> Self {
        Self { is_final: false, ..self }
    }

    /// The same frame with reserved bits, 1 to 7.
    pub(crate) fn reserved(self, reserved: u8) -> Self {
        Self { reserved, ..self }
    }

    /// The bytes on a wire.
    pub(crate) fn bytes(&self, is_masked: bool) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.is_final) << 7 | self.reserved << 4 | self.opcode];
        let mask_bit = u8::from(is_masked) << 7;
        match self.payload.len() {
            length @ 0..=125 => bytes.push(mask_bit | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(mask_bit | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if is_masked {
            bytes.extend(MASK);
        }
        let payload_at = bytes.len();
        bytes.extend_from_slice(&self.payload);
        if is_masked {
            apply(&MASK, &mut bytes[payload_at..]);
        }
        bytes
    }

    /// Takes the first frame out of what the relay sent, which must be flawless.
    pub(crate) fn take(bytes: &mut Vec<u8>, is_masked: bool) -> Option<Self> {
        let [first, second, rest @ ..] = bytes.as_slice() else { return None };
        assert_eq!(second & 0x80 != 0, is_masked, "only a client masks");
        let (length, rest) = match second & 0x7f {
            0x7f => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                let length = usize::try_from(u64::from_be_bytes(*length)).unwrap();
                assert!(length > 0xffff, "the shortest form of {length}");
                (length, rest)
            }
            0x7e => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*length));
                assert!(length > 125, "the shortest form of {length}");
                (length, rest)
            }
            short => (usize::from(short), rest),
        };
        let (mask, rest) = rest.split_at_checked(if is_masked { 4 } else { 0 })?;
        let mut payload = rest.get(..length)?.to_vec();
        apply(mask, &mut payload);
        let (is_final, reserved, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 0xf);
        assert!(is_final && reserved == 0, "the relay sent {first:#x}");
        let taken = bytes.len() - rest.len() + length;
        bytes.drain(..taken);
        Some(Self { is_final, reserved, opcode, payload })
    }
}

/// Masks or unmasks, four bytes at a time; without a mask, nothing changes.
fn apply(mask: &[u8], payload: &mut [u8]) {
    if let [a, b, c, d] = *mask {
        for bytes in payload.chunks_mut(4) {
            bytes.iter_mut().zip([a, b, c, d]).for_each(|(byte, key)| *byte ^= key);
        }
    }
}

pub(crate) fn text(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(TEXT, payload)
}

pub(crate) fn binary(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(BINARY, payload)
}

/// A frame that continues a message.
pub(crate) fn more(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(CONTINUATION, payload)
}

pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(PING, payload)
}

pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(PONG, payload)
}

pub(crate) fn opcode(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(opcode, payload)
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    Frame::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// A close frame with any payload.
pub(crate) fn bare_close(payload: impl AsRef<[u8]>) -> Frame {
    Frame::new(CLOSE, payload)
}
