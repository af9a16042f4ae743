//! A message in its forms: what a line or an event carries is what was sent, a value is found where
//! another reader of JSON finds it, and what a client asks for is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use veylor::codec::entrance::Entrance;
use veylor::codec::pattern::{Pointer, Reading};
use veylor::codec::{Kind, Message, Wire};

fuzz_target!(|input: (&str, &[u8], bool)| {
    let (text, payload, is_shared) = input;
    if let Some(pointer) = Pointer::parse(text) {
        assert_eq!(pointer.to_string(), text);
        compare(&pointer, text, payload);
    }
    if let Ok(entrance) = Entrance::of(text, &[], is_shared)
        && let Some(filter) = &entrance.filter
    {
        assert!(!filter.to_string().is_empty());
        let one_by_one = filter.0.iter().all(|pattern| pattern.matches(payload));
        assert_eq!(filter.matches(&mut Reading::new(payload)), one_by_one);
    }
    let is_text = std::str::from_utf8(payload).is_ok();
    for kind in [Kind::Text, Kind::Binary].into_iter().filter(|k| is_text || *k == Kind::Binary) {
        check_forms(Message { kind, payload });
    }
});

/// What serde's own values have at that place.
fn compare(pointer: &Pointer, text: &str, payload: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(payload) else { return };
    let found = pointer.find(payload);
    match document.pointer(text) {
        None | Some(Value::Array(_) | Value::Object(_)) => assert_eq!(found, None),
        Some(Value::String(string)) => assert_eq!(found.as_deref(), Some(string.as_str())),
        Some(scalar) => {
            let found = found.expect("a scalar is found");
            assert_eq!(serde_json::from_str::<Value>(&found).ok().as_ref(), Some(scalar));
        }
    }
}

fn check_forms(message: Message<'_>) {
    let encoded = |wire: Wire| {
        let mut bytes = Vec::new();
        wire.encode(message, 7, &mut bytes);
        bytes
    };
    for wire in [Wire::Ndjson, Wire::Lines] {
        let line = encoded(wire);
        let (last, rest) = line.split_last().expect("a line ends");
        assert!(*last == b'\n' && !rest.contains(&b'\n') && !rest.contains(&b'\r'), "{wire:?}");
    }
    let event = String::from_utf8(encoded(Wire::Sse)).expect("an event is text");
    let body = event.strip_prefix("id: 7\n").and_then(|rest| rest.strip_suffix("\n\n"));
    let body = body.expect("an event has an id and ends with an empty line");
    if message.kind == Kind::Text {
        let data: Vec<_> =
            body.split('\n').map(|line| line.strip_prefix("data: ").expect("data alone")).collect();
        let sent =
            String::from_utf8_lossy(message.payload).replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(data.join("\n"), sent);
    }
    let numbered = encoded(Wire::Numbered);
    if message.kind == Kind::Binary {
        let whole = [&7_u64.to_be_bytes(), message.payload].concat();
        assert!(numbered.ends_with(&whole), "the number, then the message");
    }
}
