//! The little of HTTP/1.1 that opening handshakes and the operator's doors need.

use httparse::Header;

/// Header lines of one head at most.
pub const MAX_HEADERS: usize = 96;
/// Bytes of one head at most.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The value of the first header of that name, without surrounding space.
pub fn header<'h>(headers: &'h [Header<'h>], name: &str) -> Option<&'h [u8]> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(found.value.trim_ascii())
}

/// Whether a comma-separated header names a token, in any case (RFC 9110, section 5.6.1).
pub fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// The tokens of all headers of that name.
pub fn tokens<'h>(headers: &'h [Header<'h>], name: &str) -> impl Iterator<Item = &'h str> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// The usual words for a status.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}
