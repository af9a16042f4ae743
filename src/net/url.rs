//! Addresses of WebSocket services: `ws://` and `wss://` (RFC 6455, section 3).

use std::fmt;
use std::net::Ipv6Addr;

use tungstenite::http::Uri;

/// Where a source lives, taken apart once and ready to dial.
///
/// `Display` and `Debug` show it without user, password and query, so that it may be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct WsUrl {
    tls: bool,
    credentials: Option<String>,
    host: String,
    port: u16,
    path_and_query: String,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// The text is not a URL.
    Malformed,
    /// The scheme is neither `ws` nor `wss`.
    Scheme(String),
    /// There is no host to dial.
    NoHost,
    /// The port is not between 1 and 65535.
    Port,
    /// A fragment (`#...`) has no meaning in a WebSocket address.
    Fragment,
}

impl WsUrl {
    /// Takes a `ws://` or `wss://` address apart. The port defaults to 80 or 443.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some(other) => return Err(UrlError::Scheme(other.to_owned())),
            None => return Err(UrlError::Malformed),
        };
        let authority = uri.authority().ok_or(UrlError::NoHost)?;
        let (credentials, host_and_port) = match authority.as_str().rsplit_once('@') {
            Some((credentials, rest)) => (Some(percent_decoded(credentials)), rest),
            None => (None, authority.as_str()),
        };
        let (host, behind) = host_and_rest(host_and_port).ok_or(UrlError::Malformed)?;
        let port = match behind {
            "" => default_port(tls),
            behind => port(behind.strip_prefix(':').ok_or(UrlError::Malformed)?)?,
        };
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, credentials, host: host.to_owned(), port, path_and_query })
    }

    /// The address that a redirect from here leads to: a URL or a part of one (RFC 3986, section
    /// 5.2), of HTTP or of WebSocket. What follows a `#` is ignored.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "wss" } else { "ws" };
        let here = format!("{scheme}://{}", self.host_header());
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if let Some((scheme, rest)) = location.split_once("://")
            && !scheme.contains(['/', '?'])
        {
            let scheme = scheme.to_ascii_lowercase();
            let ours = match scheme.as_str() {
                "https" => "wss",
                "http" => "ws",
                other => other,
            };
            return Self::parse(&format!("{ours}://{rest}"));
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path_and_query = match location.chars().next() {
            None => self.path_and_query.clone(),
            Some('?') => format!("{path}{location}"),
            Some('/') => without_dots(location),
            Some(_) => without_dots(&format!("{folder}/{location}")),
        };
        Self::parse(&format!("{here}{path_and_query}"))
    }

    /// Whether the connection is encrypted (`wss`).
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name or address to dial, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to dial.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `user:password` of the address, percent-decoded.
    pub fn credentials(&self) -> Option<&str> {
        self.credentials.as_deref()
    }

    /// The request target: a path that starts with `/`, and the query if there is one.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The value of the `Host` header: brackets around IPv6, the port only if it is unusual.
    pub fn host_header(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        let (path, query) = match self.path_and_query.split_once('?') {
            Some((path, _)) => (path, "?…"),
            None => (self.path_and_query.as_str(), ""),
        };
        write!(f, "{scheme}://{}{path}{query}", self.host_header())
    }
}

impl fmt::Debug for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WsUrl({self})")
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("is not a URL, expected ws://HOST… or wss://HOST…"),
            Self::Scheme(scheme) => write!(f, "scheme \"{scheme}\" is not ws or wss"),
            Self::NoHost => f.write_str("has no host"),
            Self::Port => f.write_str("port is not between 1 and 65535"),
            Self::Fragment => f.write_str("a fragment (#…) is not allowed in a WebSocket URL"),
        }
    }
}

impl std::error::Error for UrlError {}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// A path whose `.` and `..` are followed, and its query.
fn without_dots(path_and_query: &str) -> String {
    let (path, query) =
        path_and_query.split_at(path_and_query.find('?').unwrap_or(path_and_query.len()));
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let is_folder = path.ends_with("/.") || path.ends_with("/..");
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", kept.join("/"))
}

/// A name, or an IPv6 address out of its brackets, and what follows it.
fn host_and_rest(host_and_port: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = host_and_port.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        return address.parse::<Ipv6Addr>().is_ok().then_some((address, rest));
    }
    let end = host_and_port.find(':').unwrap_or(host_and_port.len());
    (!host_and_port.contains(['[', ']'])).then(|| host_and_port.split_at(end))
}

/// `HOST:PORT`, an IPv6 address out of its brackets.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, behind) = host_and_rest(text)?;
    let port = port(behind.strip_prefix(':')?).ok()?;
    (!host.is_empty()).then_some((host, port))
}

/// A number of digits alone; `parse` would take a sign as well.
fn port(digits: &str) -> Result<u16, UrlError> {
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|&port| port != 0).ok_or(UrlError::Port)
}

/// A part of a URL as it was meant; a `%` that begins no escape stays.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A name as a step of a path (RFC 3986, section 3.3).
pub fn percent_encoded(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte);
    let encoded = |byte| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let url = WsUrl::parse("wss://example.com/stream?token=abc").unwrap();
        assert!(url.is_tls());
        assert_eq!((url.host(), url.port()), ("example.com", 443));
        assert_eq!(url.path_and_query(), "/stream?token=abc");
        assert_eq!(url.host_header(), "example.com");
    }

    #[test]
    fn ipv6_host_loses_its_brackets_to_the_dialler_and_keeps_them_in_the_host_header() {
        let url = WsUrl::parse("ws://[::1]:9000").unwrap();
        assert_eq!((url.host(), url.port()), ("::1", 9000));
        assert_eq!(url.host_header(), "[::1]:9000");
        assert_eq!(url.path_and_query(), "/");
    }

    #[test]
    fn redirect_leads_to_a_url_or_a_part_of_one() {
        let here = WsUrl::parse("wss://u:p@a.example:444/feed/v1/x?key=k").unwrap();
        let to = |location: &str| {
            let url = here.join(location).unwrap();
            assert_eq!(url.credentials(), None, "{location}");
            let scheme = if url.is_tls() { "wss" } else { "ws" };
            format!("{scheme}://{}{}", url.host_header(), url.path_and_query())
        };
        assert_eq!(to("https://b.example/y?z#f"), "wss://b.example/y?z");
        assert_eq!(to("HTTP://b.example:81"), "ws://b.example:81/");
        assert_eq!(to("wss://b.example"), "wss://b.example/");
        assert_eq!(to("//[::1]:9/y"), "wss://[::1]:9/y");
        assert_eq!(to("/y/../z/./w?a=http://c/../d"), "wss://a.example:444/z/w?a=http://c/../d");
        assert_eq!(to("y"), "wss://a.example:444/feed/v1/y");
        assert_eq!(to("../../../y?q"), "wss://a.example:444/y?q");
        assert_eq!(to(".."), "wss://a.example:444/feed/");
        assert_eq!(to("?q"), "wss://a.example:444/feed/v1/x?q");
        assert_eq!(to("#f"), "wss://a.example:444/feed/v1/x?key=k");
        assert!(here.join("ftp://b").is_err() && here.join("https://").is_err());
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let url = WsUrl::parse("ws://al%40ice:s%3Acret@example.com:81/x?key=hidden").unwrap();
        assert_eq!(url.credentials(), Some("al@ice:s:cret"));
        assert_eq!(url.to_string(), "ws://example.com:81/x?…");
        assert_eq!(format!("{url:?}"), "WsUrl(ws://example.com:81/x?…)");
    }

    #[test]
    fn name_as_a_step_of_a_path_is_what_it_was() {
        assert_eq!(percent_encoded("btc usd/é"), "btc%20usd%2F%C3%A9");
        assert_eq!(percent_encoded("127.0.0.1:9"), "127.0.0.1:9");
        assert_eq!(percent_decoded(&percent_encoded("a%b c~")), "a%b c~");
    }

    #[test]
    fn percent_without_two_digits_stands_for_itself() {
        let url = WsUrl::parse("ws://a%+1b%2:c%41%@example.com").unwrap();
        assert_eq!(url.credentials(), Some("a%+1b%2:cA%"));
    }

    #[test]
    fn wrong_addresses_are_named() {
        let wrong = |text: &str| WsUrl::parse(text).unwrap_err();
        assert_eq!(wrong("http://example.com"), UrlError::Scheme("http".to_owned()));
        assert_eq!(wrong("example.com"), UrlError::Malformed);
        assert_eq!(wrong("ws://example.com:0/"), UrlError::Port);
        assert_eq!(wrong("ws://example.com:99999/"), UrlError::Port);
        assert_eq!(wrong("ws://example.com:+80/"), UrlError::Port);
        for host in ["[::1]9000", "w[::1]:9000", "[localhost]", "[::1", "[]"] {
            assert_eq!(wrong(&format!("ws://{host}/")), UrlError::Malformed, "{host}");
        }
        assert_eq!(wrong("ws://:9000/"), UrlError::NoHost);
        assert_eq!(wrong("ws://example.com/#top"), UrlError::Fragment);
        assert_eq!(wrong("not a url"), UrlError::Malformed);
    }
}
