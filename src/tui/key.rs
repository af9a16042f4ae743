//! Keys, as a terminal sends them.
//!
//! Crossterm's reader asks a terminal that is gone again and again, at a whole core, and waits without
//! an end for the rest of half a character. The UI needs few keys, so it reads them itself.

/// A key that the UI can mean something by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Return.
    Enter,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// Control and C.
    Interrupt,
    /// Control and L: something else has written on the screen.
    Repaint,
}

/// Bytes that a key can take at most; what is longer is none.
const MAX_KEY_BYTES: usize = 32;
const ESCAPE: u8 = 0x1b;

/// Makes keys of a terminal's bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: Vec<u8>,
}

/// What bytes begin with: so many of them are this key, or none that is known.
struct First(usize, Option<Key>);

impl Decoder {
    /// The keys that are complete with these bytes.
    pub(super) fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let (mut keys, mut from) = (Vec::new(), 0);
        while let Some(First(length, key)) = first(&self.pending[from..]) {
            keys.extend(key);
            from += length;
        }
        self.pending.drain(..from);
        keys
    }

    /// Whether there are bytes that are no whole key.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The key that the bytes so far are, since no more have come for a while.
    pub(super) fn settle(&mut self) -> Option<Key> {
        let is_escape = self.pending == [ESCAPE];
        self.pending.clear();
        is_escape.then_some(Key::Escape)
    }
}

/// The first key, or nothing while it is not complete.
fn first(bytes: &[u8]) -> Option<First> {
    let one = |key| Some(First(1, key));
    match *bytes.first()? {
        ESCAPE => escaped(bytes),
        b'\r' | b'\n' => one(Some(Key::Enter)),
        b'\t' => one(Some(Key::Tab)),
        0x7f | 0x08 => one(Some(Key::Backspace)),
        0x03 => one(Some(Key::Interrupt)),
        0x0c => one(Some(Key::Repaint)),
        0..0x20 => one(None),
        0x20.. => character(bytes),
    }
}

fn character(bytes: &[u8]) -> Option<First> {
    let beginning = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&beginning[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => return error.error_len().map(|length| First(length, None)),
    };
    valid.chars().next().map(|c| First(c.len_utf8(), Some(Key::Char(c))))
}

fn escaped(bytes: &[u8]) -> Option<First> {
    match *bytes.get(1)? {
        b'[' => control_sequence(bytes),
        b'O' => bytes.get(2).map(|last| First(3, named(*last, b""))),
        _ => Some(First(1, Some(Key::Escape))),
    }
}

/// ECMA-48, 5.4: parameters, then one byte from `@` to `~`.
fn control_sequence(bytes: &[u8]) -> Option<First> {
    let parameters = &bytes[2..];
    match parameters.iter().position(|byte| (b'@'..=b'~').contains(byte)) {
        // The Linux console's function keys.
        Some(0) if parameters[0] == b'[' => parameters.get(1).map(|_| First(4, None)),
        Some(at) => Some(First(at + 3, named(parameters[at], &parameters[..at]))),
        None if bytes.len() > MAX_KEY_BYTES => Some(First(bytes.len(), None)),
        None => None,
    }
}

fn named(last: u8, parameters: &[u8]) -> Option<Key> {
    match (last, parameters) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', b"1" | b"7") => Some(Key::Home),
        (b'F', _) | (b'~', b"4" | b"8") => Some(Key::End),
        (b'Z', _) => Some(Key::BackTab),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().keys(bytes)
    }

    #[test]
    fn keys_are_known_by_their_bytes() {
        let bytes = b"q\x1b[A\x1bOB\x1b[Z\t\r\x7f\x03\x0c\x1b[5~\x1b[1;5C";
        let expected = [
            Key::Char('q'),
            Key::Up,
            Key::Down,
            Key::BackTab,
            Key::Tab,
            Key::Enter,
            Key::Backspace,
            Key::Interrupt,
            Key::Repaint,
            Key::PageUp,
            Key::Right,
        ];
        assert_eq!(keys(bytes), expected);
        assert_eq!(keys("é価😀".as_bytes()), ['é', '価', '😀'].map(Key::Char));
    }

    #[test]
    fn keys_may_come_in_pieces() {
        let bytes = "é\x1b[6~x\x1bOH".as_bytes();
        let mut decoder = Decoder::default();
        let in_pieces: Vec<_> = bytes.chunks(1).flat_map(|byte| decoder.keys(byte)).collect();
        assert_eq!(in_pieces, [Key::Char('é'), Key::PageDown, Key::Char('x'), Key::Home]);
    }

    #[test]
    fn escape_alone_is_a_key_once_nothing_follows() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.keys(b"\x1b"), []);
        assert!(decoder.is_waiting());
        assert_eq!(decoder.settle(), Some(Key::Escape));
        assert_eq!(decoder.settle(), None);
        assert_eq!(decoder.keys(b"\x1bq"), [Key::Escape, Key::Char('q')]);
        decoder.keys(b"\xc3");
        assert_eq!(decoder.settle(), None, "half a character is no key");
        assert_eq!(decoder.keys(b"q"), [Key::Char('q')]);
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        assert_eq!(keys(b"\x1b[[A\x1b[200~\x00\xff\xfea"), [Key::Char('a')]);
        let mut endless = b"\x1b[".to_vec();
        endless.extend([b'1'; 100]);
        assert_eq!(keys(&endless), []);
        let mut seed = 7_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        });
        keys(&noise.take(100_000).collect::<Vec<_>>());
    }
}
