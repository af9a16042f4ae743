//! An address that is taken apart has a host, a port that was written, and a path; put together it
//! is the same address, and shown it has no secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::net::url::WsUrl;

fuzz_target!(|text: &str| {
    match WsUrl::parse(text) {
        Ok(url) => check(text, &url),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn check(text: &str, url: &WsUrl) {
    assert!(!url.host().is_empty() && url.port() != 0);
    assert!(url.path_and_query().starts_with(['/', '?']), "{url:?}");
    for part in [url.host(), url.path_and_query(), &url.host_header()] {
        assert!(
            !part.contains(|c: char| c.is_ascii_control() || c == ' '),
            "a request of two lines"
        );
    }
    let scheme = if url.is_tls() { "wss" } else { "ws" };
    let (written_scheme, rest) = text.split_once("://").expect("an address has a scheme");
    assert!(written_scheme.eq_ignore_ascii_case(scheme));
    let (authority, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    assert_eq!(url.credentials().map(str::to_owned), user.map(decoded));
    check_port(host, url);

    let again = format!("{scheme}://{}{}", url.host_header(), url.path_and_query());
    let again = WsUrl::parse(&again).expect("its parts are right");
    assert_eq!(again.credentials(), None);
    assert_eq!((again.host(), again.port()), (url.host(), url.port()));
    assert_eq!(again.path_and_query(), url.path_and_query());
    check_shown(url, &again);
}

/// The port is the decimal number that stands there, or the usual one.
fn check_port(host: &str, url: &WsUrl) {
    let digits = host.rsplit(':').next().filter(|_| host.contains(':') && !host.ends_with(']'));
    match digits {
        Some(digits) => {
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "a port of {digits}");
            assert_eq!(digits.trim_start_matches('0'), url.port().to_string());
        }
        None => assert_eq!(url.port(), if url.is_tls() { 443 } else { 80 }),
    }
}

/// What is shown is what is shown of the same address without user and password, and no query.
fn check_shown(url: &WsUrl, without_user: &WsUrl) {
    let shown = url.to_string();
    assert_eq!(shown, without_user.to_string());
    assert_eq!(format!("{url:?}"), format!("WsUrl({shown})"));
    assert!(shown.split_once('?').is_none_or(|(_, query)| query == "…"), "{shown}");
}

/// Percent-decoding by the letter of RFC 3986, section 2.1: two hexadecimal digits.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| char::from(*bytes.get(at + offset)?).to_digit(16);
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(u8::try_from(16 * high + low).expect("two digits"));
                at += 3;
            }
            (byte, ..) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
