//! Texts as parts of JSON texts (RFC 8259).
//!
//! Whether one is JSON is asked of each message that goes out so: in one pass and without an
//! allocation, which serde's way takes for lists in lists.

/// Lists and objects in one another. Deeper ones are refused by many who read JSON.
const MAX_DEPTH: u32 = u128::BITS;
/// A word with this byte in each place.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH_BITS: u64 = ONES << 7;

/// A text as it stands between the quotes of a string.
pub fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Whether a text, which is UTF-8, is JSON, with nothing but blanks around it.
pub(super) fn is_json(text: &[u8]) -> bool {
    end_of_document(text) == Some(text.len())
}

/// What a value is in: for each list and object around it a bit.
#[derive(Clone, Copy)]
struct Nest {
    /// Set for an object.
    kinds: u128,
    depth: u32,
}

impl Nest {
    fn enter(&mut self, is_object: bool) -> Option<()> {
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.kinds >>= 1;
    }

    fn is_object(self) -> bool {
        self.kinds & 1 == 1
    }
}

fn end_of_document(text: &[u8]) -> Option<usize> {
    let mut nest = Nest { kinds: 0, depth: 0 };
    let mut at = blanks(text, 0);
    loop {
        // A value begins here.
        at = match *text.get(at)? {
            b'"' => string(text, at)?,
            b'{' => {
                nest.enter(true)?;
                at = blanks(text, at + 1);
                if text.get(at) != Some(&b'}') {
                    at = key(text, at)?;
                    continue;
                }
                nest.leave();
                at + 1
            }
            b'[' => {
                nest.enter(false)?;
                at = blanks(text, at + 1);
                if text.get(at) != Some(&b']') {
                    continue;
                }
                nest.leave();
                at + 1
            }
            b't' => word(text, at, b"true")?,
            b'f' => word(text, at, b"false")?,
            b'n' => word(text, at, b"null")?,
            _ => number(text, at)?,
        };
        // And what it is in goes on, or ends.
        loop {
            at = blanks(text, at);
            if nest.depth == 0 {
                return Some(at);
            }
            match (*text.get(at)?, nest.is_object()) {
                (b',', true) => {
                    at = key(text, blanks(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at = blanks(text, at + 1);
                    break;
                }
                (b'}', true) | (b']', false) => {
                    nest.leave();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// Where the value of a key begins that stands here.
fn key(text: &[u8], at: usize) -> Option<usize> {
    let at = blanks(text, string(text, at)?);
    (text.get(at) == Some(&b':')).then(|| blanks(text, at + 1))
}

fn blanks(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text[at..].starts_with(word).then_some(at + word.len())
}

/// Where a string ends that stands here.
fn string(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at = plain(text, at);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// Passes over eights of bytes that mean nothing in a string.
#[inline]
fn plain(text: &[u8], mut at: usize) -> usize {
    while let Some(eight) = text[at..].first_chunk() {
        let eight = u64::from_ne_bytes(*eight);
        // The high bit of each byte that is zero, or below 32. Those behind one may be wrong.
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
        let meaning = zeros(eight ^ (ONES * u64::from(b'"')))
            | zeros(eight ^ (ONES * u64::from(b'\\')))
            | eight.wrapping_sub(ONES * 0x20) & !eight;
        if meaning & HIGH_BITS != 0 {
            break;
        }
        at += 8;
    }
    at
}

fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = text.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

fn number(text: &[u8], mut at: usize) -> Option<usize> {
    at += usize::from(text[at] == b'-');
    at = match text.get(at)? {
        b'0' => at + 1,
        _ => digits(text, at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        at = digits(text, at)?;
    }
    Some(at)
}

/// Where digits end that stand here, one at least.
fn digits(text: &[u8], at: usize) -> Option<usize> {
    let count = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn values_of_all_kinds_are_json() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "12",
            "-1.50",
            "1e9",
            "1E+9",
            "0.1e-2",
            "\"\"",
            "\"é \\u00e9 \\n \\\" \\\\ long enough for words of eight\"",
            "[]",
            "[ ]",
            "{}",
            "{ }",
            "[1,[2,{\"a\":[]}],\"b\"]",
            "{\"a\" : 1 ,\r\n\t\"a\":{\"b\":[null]}}\n",
        ] {
            assert!(is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_json_is_none() {
        for text in [
            "",
            " ",
            "nul",
            "nullx",
            "True",
            "+1",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "0x1",
            "NaN",
            "\"",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"tab\there\"",
            "\"seven..\nbreak\"",
            "[",
            "]",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{a: 1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1",
            "{\"a\":1]",
            "[1}",
            "[1],[2]",
            "{} {}",
            "[12:00] ann joined [room]",
            "{},\"seq\":1,\"x\":{}",
            "1 2",
            "\u{feff}{}",
        ] {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(nested(128).as_bytes()));
        assert!(!is_json(nested(129).as_bytes()));
        assert!(!is_json("[".repeat(1 << 20).as_bytes()));
    }

    /// A parser that others wrote says the same of texts that are nearly JSON.
    #[test]
    fn others_agree() {
        const SEEDS: [&str; 3] = [
            r#"{"s":"BTC-USD","p":-1.50e+7,"a":[{"b":true},null,false],"q\"":"\u00e9\\","x":0}"#,
            r#" [ "a long text with an é in it and a \" too" , [ ] , { } , 0.25 , [[["x"]]] ] "#,
            r#""just a text, \tno more""#,
        ];
        const BYTES: &[u8] = b"{}[]\",:\\ \t\n019.eE+-truefalsnu/\x1f\x7fx";
        let mut random = fastrand::Rng::with_seed(7);
        let mut right = 0;
        for round in 0..200_000 {
            let mut text = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
            for _ in 0..random.usize(0..3) {
                let at = random.usize(0..text.len());
                match random.u8(0..3) {
                    0 => text[at] = BYTES[random.usize(0..BYTES.len())],
                    1 => text.insert(at, BYTES[random.usize(0..BYTES.len())]),
                    _ => drop(text.remove(at)),
                }
            }
            let Ok(shown) = std::str::from_utf8(&text) else { continue };
            let expected = serde_json::from_str::<IgnoredAny>(shown).is_ok();
            assert_eq!(is_json(&text), expected, "{shown}");
            right += usize::from(expected);
        }
        assert!(right > 50_000, "{right}");
    }
}
