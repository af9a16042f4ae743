//! The little of HTTP/1.1 that opening handshakes and the operator's doors need.

use std::net::IpAddr;

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

/// A target as most write it: a path and a query, also if it is a whole URL (RFC 9112, section
/// 3.2.2).
pub fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    }
}

/// Whether a type of content is among those that are asked for by name, whatever its weight (RFC
/// 9110, section 12.5.1).
pub fn accepts(headers: &[Header<'_>], content_type: &str) -> bool {
    let essence = |range: &str| {
        let essence = range.split(';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(content_type)
    };
    tokens(headers, "Accept").any(essence)
}

/// Whether a host stands for one machine for ever. Any other name may be made to point here by
/// whoever owns it, after its page was loaded.
pub fn is_fixed_host(host_and_port: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host_and_port.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => host_and_port,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// The usual words for a status.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
