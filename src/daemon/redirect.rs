//! Where a dial leads when its source sends us on.
//!
//! A source that is reached through `wss` cannot send us to one that is not encrypted. Once it has
//! sent us to another host or port, nothing of what the configuration says to it is said any more:
//! no header, no certificate of ours, whoever we are sent to from there.

use crate::codec::Location;
use crate::codec::ws::Request;
use crate::net::url::WsUrl;

/// Times that one dial is sent on, at most.
const MAX_REDIRECTS: usize = 5;

/// One dial: where it has led so far, and what is asked there.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    /// The last is where it leads.
    stops: Vec<WsUrl>,
    request: Request,
    is_abroad: bool,
}

impl Journey {
    /// A dial that begins.
    pub(super) fn new(url: WsUrl, request: Request) -> Self {
        Self { stops: vec![url], request, is_abroad: false }
    }

    /// Where it leads.
    pub(super) fn url(&self) -> &WsUrl {
        self.stops.last().expect("a journey has a beginning")
    }

    /// What is asked there.
    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// Whether it was sent to another host or port than the configuration's.
    pub(super) fn is_abroad(&self) -> bool {
        self.is_abroad
    }

    /// Goes on to where it is sent. Why not, in words without paths and queries.
    pub(super) fn follow(mut self, location: &Location) -> Result<Self, String> {
        let here = self.url();
        let next = here.join(&location.0).map_err(|_| {
            format!("{} redirects to what is no address of a service", here.host_header())
        })?;
        let chain = self.chain(&next);
        if here.is_tls() && !next.is_tls() {
            return Err(format!("redirected from wss:// to ws://, which is not followed: {chain}"));
        }
        if next.is_tls() && !cfg!(feature = "tls") {
            return Err(format!("redirected to wss://, and this veylor has no TLS: {chain}"));
        }
        if self.stops.contains(&next) {
            return Err(format!("redirected in a circle: {chain}"));
        }
        if self.stops.len() > MAX_REDIRECTS {
            return Err(format!("redirected more than {MAX_REDIRECTS} times: {chain}"));
        }
        self.is_abroad |= (next.host(), next.port()) != (here.host(), here.port());
        if self.is_abroad {
            self.request.headers.clear();
        }
        next.path_and_query().clone_into(&mut self.request.path_and_query);
        self.request.host = next.host_header();
        self.stops.push(next);
        Ok(self)
    }

    /// The hosts on the way, and the next.
    fn chain(&self, next: &WsUrl) -> String {
        let hosts: Vec<_> = self.stops.iter().chain([next]).map(WsUrl::host_header).collect();
        hosts.join(" -> ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(url: &str) -> Journey {
        let url = WsUrl::parse(url).unwrap();
        let request = Request {
            path_and_query: url.path_and_query().to_owned(),
            host: url.host_header(),
            headers: vec![("Cookie".into(), "s3cret".into())],
            subprotocols: vec!["v1".into()],
            ..Request::default()
        };
        Journey::new(url, request)
    }

    fn sent(url: &str, locations: &[&str]) -> Result<Journey, String> {
        let location = |text: &&str| Location((*text).to_owned());
        locations.iter().try_fold(begun(url), |journey, to| journey.follow(&location(to)))
    }

    #[test]
    fn same_host_hears_the_same_and_another_hears_nothing_of_the_configuration() {
        let journey = sent("ws://a/x", &["/y?z"]).unwrap();
        assert_eq!(journey.request().path_and_query, "/y?z");
        assert!(!journey.is_abroad() && journey.request().headers.len() == 1);
        for abroad in ["http://b/y", "http://a:81/y", "https://a/y"] {
            if abroad.starts_with("https") && !cfg!(feature = "tls") {
                continue;
            }
            let journey = sent("ws://a/x", &[abroad]).unwrap();
            assert!(journey.is_abroad() && journey.request().headers.is_empty(), "{abroad}");
            assert_eq!(journey.request().subprotocols, ["v1"]);
            assert_eq!(journey.request().host, journey.url().host_header());
        }
        let back = sent("ws://a/x", &["http://b/y", "http://a/z"]).unwrap();
        assert!(back.is_abroad() && back.request().headers.is_empty());
    }

    #[test]
    fn encryption_is_never_given_up() {
        let said = sent("wss://a/x?s3cret", &["http://a/y?s3cret"]).unwrap_err();
        assert_eq!(said, "redirected from wss:// to ws://, which is not followed: a -> a");
        assert!(sent("wss://a/x", &["https://b/", "ws://c/"]).is_err());
    }

    #[test]
    fn circles_and_endless_ways_are_told_by_their_hosts() {
        let said = sent("ws://a/x?s3cret", &["//b/y?s3cret", "//a/x?s3cret"]).unwrap_err();
        assert_eq!(said, "redirected in a circle: a -> b -> a");
        let ways = ["//b/", "//c/", "//d/", "//e/", "//f:81/", "//g/"];
        assert!(sent("ws://a/", &ways[..5]).is_ok());
        let said = sent("ws://a/", &ways).unwrap_err();
        assert_eq!(said, "redirected more than 5 times: a -> b -> c -> d -> e -> f:81 -> g");
        let said = sent("ws://a/", &["ftp://s3cret"]).unwrap_err();
        assert_eq!(said, "a redirects to what is no address of a service");
    }
}
