//! Any text is a template or is refused, and is shown without panic; what is escaped comes out as
//! it was; a secret around the holes is never shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::config::template::Template;

const SECRET: &str = "S3CRET";

fuzz_target!(|text: &str| {
    check_escaped(text);
    match Template::parse(text) {
        Ok(template) => check(text, &template),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn check(text: &str, template: &Template) {
    let _ = (template.to_string(), format!("{template:?}"), template.redacted_url());
    if !template.has_holes() {
        let filled = template.resolve().expect("nothing has to be filled");
        assert_eq!(filled, text.replace("$${", "${"));
    } else if !(text.contains("file") || text.contains("cred")) {
        let _ = template.resolve().map_err(|error| error.to_string());
    }
    check_secrets(text);
}

/// A text without holes goes through whole once its braces are escaped.
fn check_escaped(text: &str) {
    if text.contains("$${") {
        return;
    }
    let escaped = text.replace("${", "$${");
    let template = Template::parse(&escaped).expect("a text without holes");
    assert!(!template.has_holes());
    assert_eq!(template.resolve().expect("nothing has to be filled"), text);
}

/// What stands as password or in the query of a url, or in front of a hole, is not shown.
fn check_secrets(text: &str) {
    if text.contains(SECRET) {
        return;
    }
    // What cannot be told from a host and its port is shown as such: `ws://user:1/2@host`.
    let before_path = text.split(['/', '?', '#']).next().unwrap_or_default();
    let may_be_port = before_path.contains("${") || before_path.bytes().all(|b| b.is_ascii_digit());
    let places = [
        (!may_be_port).then(|| format!("ws://{SECRET}:{text}@host/path")),
        Some(format!("wss://user:{SECRET}{text}@host/path")),
        Some(format!("wss://host/{text}?{SECRET}")),
        Some(format!("wss://host/path?{text}&token={SECRET}")),
        Some(format!("{SECRET}${{env:X}}{text}")),
    ];
    for place in places.into_iter().flatten() {
        let template = match Template::parse(&place) {
            Ok(template) => template,
            Err(error) => {
                assert!(!error.to_string().contains(SECRET), "{place}: {error}");
                continue;
            }
        };
        // A plain text that holds a url is shown as one, and then its beginning is its scheme.
        if place.starts_with("ws") || !place.contains("://") {
            let mut shown = format!("{template} {template:?}");
            if place.starts_with("ws") {
                shown += &template.redacted_url();
            }
            assert!(!shown.contains(SECRET), "{place}: {shown}");
        }
    }
}
