//! What single words of a configuration may be: names, hosts, ports, paths, origins.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

/// A port that can be dialled.
pub(super) fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// A name or an IP address, out of its brackets.
pub(super) fn listening_host(text: &str) -> Option<String> {
    let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let known = is_host_name(host) || host.parse::<IpAddr>().is_ok();
    known.then(|| host.to_owned())
}

/// A path of the file system.
pub(in crate::config) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// A name that fits a line of the log.
pub(in crate::config) fn name(text: &str) -> Option<String> {
    let plain = text.trim() == text && !text.chars().any(char::is_control);
    (plain && (1..=64).contains(&text.len())).then(|| text.to_owned())
}

/// RFC 6454, section 6.2: `scheme://host[:port]`, or `null`.
pub(super) fn is_origin(text: &str) -> bool {
    if matches!(text, "*" | "null") {
        return true;
    }
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let brackets_end = authority.rfind(']').map_or(0, |at| at + 1);
    let port_at = authority[brackets_end..].find(':').map(|at| brackets_end + at);
    let (host, port) = authority.split_at(port_at.unwrap_or(authority.len()));
    let known_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let known_host = is_host_name(host) || is_ipv6_in_brackets(host);
    let known_port = port.is_empty() || port_number(&port[1..]).is_some();
    !scheme.is_empty() && known_scheme && known_host && known_port
}

fn is_ipv6_in_brackets(text: &str) -> bool {
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn is_host_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_from_urls() {
        for origin in ["*", "null", "https://example.com", "http://[::1]:80", "app://x.y:1"] {
            assert!(is_origin(origin), "{origin}");
        }
        for wrong in [
            "example.com",
            "https://example.com/",
            "https://",
            "://example.com",
            "https://example.com:",
            "https://example.com:0",
            "https://a b",
            "https://*.example.com",
            "http://[::1]x",
            "",
        ] {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
