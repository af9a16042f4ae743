//! What a client asks for with its path and its query.

use std::fmt;

use httparse::Header;

use super::http::{accepts, has_token, header, origin_form};
use super::pattern::{Pattern, Pointer, Reading};
use super::wire::Wire;
use crate::net::url::percent_decoded;

/// Patterns of one filter at most.
pub const MAX_PATTERNS: usize = 8;
/// Values that one pattern may ask for.
pub const MAX_VALUES: usize = 64;
/// Characters of a filter that are shown.
const MAX_SHOWN_CHARS: usize = 200;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// The channel that its path names, where an endpoint has several; empty: none.
    pub channel: String,
    /// How it wants its messages.
    pub wire: Wire,
    /// Which of them it wants; `None`: all.
    pub filter: Option<Filter>,
    /// The number of the last message that it has: it wants what came after it.
    pub since: Option<u64>,
    /// It takes notices of the relay among its messages.
    pub wants_notices: bool,
}

/// Patterns that a message must match, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter(pub Vec<Pattern>);

impl Filter {
    /// Whether a message is meant. What is found in it is remembered for other filters.
    pub fn matches<'f>(&'f self, reading: &mut Reading<'_, 'f>) -> bool {
        self.0.iter().all(|pattern| pattern.matches_reading(reading))
    }
}

impl Default for Entrance {
    fn default() -> Self {
        Self::plain(Wire::WebSocket)
    }
}

impl Entrance {
    /// Everything from now on, on a wire.
    pub fn plain(wire: Wire) -> Self {
        Self { channel: String::new(), wire, filter: None, since: None, wants_notices: false }
    }

    /// What a request asks for. `is_shared`: its path names a channel. The error says what is
    /// wrong with it.
    pub fn of(target: &str, headers: &[Header<'_>], is_shared: bool) -> Result<Self, String> {
        let target = origin_form(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, ending) = match path.rsplit_once('/') {
            Some((before, "sse")) => (before, Some(Wire::Sse)),
            Some((before, "ndjson")) => (before, Some(Wire::Ndjson)),
            _ => (path, None),
        };
        let is_websocket = has_token(headers, "Upgrade", "websocket");
        let is_sse = || accepts(headers, "text/event-stream");
        let by_header = || is_sse().then_some(Wire::Sse);
        let stream = if is_websocket { None } else { ending.or_else(by_header) };
        let name = percent_decoded(path.trim_matches('/'));
        let mut entrance = Self {
            channel: if is_shared { name } else { String::new() },
            ..Self::plain(stream.unwrap_or(Wire::WebSocket))
        };
        entrance.read_query(query)?;
        if entrance.wire == Wire::Sse
            && let Some(id) = header(headers, "Last-Event-ID").filter(|id| !id.is_empty())
        {
            let id = std::str::from_utf8(id).unwrap_or_default();
            entrance.since = Some(number("Last-Event-ID", id)?);
        }
        Ok(entrance)
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let mut patterns = Vec::new();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Browsers write a blank of a pattern as a plus.
            let value = if key == "match" { value.replace('+', " ") } else { value.to_owned() };
            let value = percent_decoded(&value);
            match key {
                "match" => patterns.push(pattern(&value)?),
                "since" => self.since = Some(number("since", &value)?),
                "seq" if switch("seq", &value)? => self.number_messages()?,
                "notices" => self.wants_notices = switch("notices", &value)?,
                _ => {}
            }
        }
        if patterns.len() > MAX_PATTERNS {
            return Err(format!("more than {MAX_PATTERNS} times match"));
        }
        self.filter = (!patterns.is_empty()).then_some(Filter(patterns));
        Ok(())
    }

    fn number_messages(&mut self) -> Result<(), String> {
        match self.wire {
            Wire::WebSocket | Wire::Numbered => self.wire = Wire::Numbered,
            // Each event says its number anyway.
            Wire::Sse => {}
            Wire::Ndjson | Wire::Prefixed | Wire::Lines => {
                return Err("seq is for WebSocket; server-sent events have it anyway".to_owned());
            }
        }
        Ok(())
    }
}

/// `/symbol=BTC,ETH`: the value there is one of these; any other text: it is somewhere in it.
fn pattern(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("match is empty".to_owned());
    }
    if let Some(part) = text.strip_prefix("contains:") {
        return Ok(Pattern::Contains(part.to_owned()));
    }
    if !text.starts_with('/') {
        return Ok(Pattern::Contains(text.to_owned()));
    }
    let wrong = || {
        "match: expected a text, or a JSON pointer and its values, such as /symbol=BTC,ETH; a text \
         that begins with a slash is written contains:/text"
            .to_owned()
    };
    let (pointer, values) = text.split_once('=').ok_or_else(wrong)?;
    let pointer = Pointer::parse(pointer).ok_or_else(wrong)?;
    let values: Vec<_> = values.split(',').map(str::to_owned).collect();
    if values.len() > MAX_VALUES {
        return Err(format!("match: more than {MAX_VALUES} values"));
    }
    Ok(Pattern::Json(vec![(pointer, values)]))
}

fn number(key: &str, text: &str) -> Result<u64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("{key}: expected the number of a message"))
}

fn switch(key: &str, text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("{key}: expected 1 or 0")),
    }
}

/// A client's own words: no more of them than fit into a line, and escaped, so that they forge none.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.iter().map(shown).collect::<Vec<_>>().join(" and ");
        let mut chars = whole.chars();
        let beginning: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
        write!(f, "{beginning}{}", if chars.next().is_some() { "…" } else { "" })
    }
}

fn shown(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Contains(part) => format!("{part:?}"),
        Pattern::Equals(whole) => format!("={whole:?}"),
        Pattern::Json(wanted) => {
            let pairs = wanted.iter().map(|(pointer, values)| {
                format!("{pointer}={}", values.join(",")).escape_debug().to_string()
            });
            pairs.collect::<Vec<_>>().join(" and ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: Header<'_> = Header { name: "Upgrade", value: b"websocket" };

    fn shared(target: &str, headers: &[Header<'_>]) -> Result<Entrance, String> {
        Entrance::of(target, headers, true)
    }

    fn plain(channel: &str, wire: Wire) -> Entrance {
        Entrance { channel: channel.to_owned(), ..Entrance::plain(wire) }
    }

    #[test]
    fn path_names_the_channel_and_the_wire() {
        assert_eq!(shared("/trades", &[UPGRADE]), Ok(plain("trades", Wire::WebSocket)));
        assert_eq!(shared("/trades/sse", &[]), Ok(plain("trades", Wire::Sse)));
        assert_eq!(shared("/btc%20usd/ndjson?x=y", &[]), Ok(plain("btc usd", Wire::Ndjson)));
        assert_eq!(shared("/", &[]), Ok(plain("", Wire::WebSocket)));
        let accept = Header { name: "Accept", value: b"text/event-stream" };
        assert_eq!(shared("/trades", &[accept]), Ok(plain("trades", Wire::Sse)));
        let weighed = Header { name: "Accept", value: b"text/html, Text/Event-Stream;q=0.9" };
        assert_eq!(shared("/trades", &[weighed]), Ok(plain("trades", Wire::Sse)));
        assert_eq!(shared("http://h:1/trades/sse?x", &[]), Ok(plain("trades", Wire::Sse)));
        let own = Entrance::of("/any/sse", &[], false);
        assert_eq!(own, Ok(Entrance::plain(Wire::Sse)));
        let own = Entrance::of("/any/sse", &[UPGRADE], false);
        assert_eq!(own, Ok(Entrance::plain(Wire::WebSocket)));
    }

    #[test]
    fn query_asks_for_numbers_a_part_and_what_was_missed() {
        let asked = shared("/a?seq=1&since=5&notices=1&token=x", &[UPGRADE]).unwrap();
        assert_eq!((asked.wire, asked.since, asked.wants_notices), (Wire::Numbered, Some(5), true));
        let id = Header { name: "Last-Event-ID", value: b"7" };
        assert_eq!(shared("/a/sse?since=5", &[id]).unwrap().since, Some(7));
        let filter = |target| shared(target, &[UPGRADE]).unwrap().filter.unwrap().to_string();
        assert_eq!(filter("/a?match=BTC&match=contains:/x"), "\"BTC\" and \"/x\"");
        assert_eq!(filter("/a?match=%2Fs%3DBTC%2CETH"), "/s=BTC,ETH");
        assert_eq!(filter("/a?match=/a/b=1"), "/a/b=1");
        assert_eq!(filter("/a?match=%2Fs%3Da+b%2Bc"), "/s=a b+c");
    }

    #[test]
    fn filter_is_shown_in_one_line_that_has_an_end() {
        let filter = |target: &str| shared(target, &[UPGRADE]).unwrap().filter.unwrap().to_string();
        assert_eq!(filter("/a?match=/s=x%0AERROR%1B%5B2J"), "/s=x\\nERROR\\u{1b}[2J");
        assert_eq!(filter("/a?match=/%0As=x"), "/\\ns=x");
        assert_eq!(filter("/a?match=x%0A"), "\"x\\n\"");
        let long = filter(&format!("/a?match=/s={}", "x".repeat(10_000)));
        assert_eq!(long.chars().count(), MAX_SHOWN_CHARS + 1);
        assert!(long.ends_with("x…"));
    }

    #[test]
    fn what_cannot_be_given_is_told() {
        for wrong in [
            "/a?since=",
            "/a?since=-1",
            "/a?since=+1",
            "/a?seq=yes",
            "/a/ndjson?seq=1",
            "/a?match=",
            "/a?match=/s",
            "/a?match=/~s=1",
            "/a?notices",
        ] {
            assert!(shared(wrong, &[]).is_err(), "{wrong}");
        }
        let many = "match=x&".repeat(MAX_PATTERNS + 1);
        assert!(shared(&format!("/a?{many}"), &[]).is_err());
        let many = ",x".repeat(MAX_VALUES);
        assert!(shared(&format!("/a?match=/s=x{many}"), &[]).is_err());
    }
}
