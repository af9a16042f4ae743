//! Sources of several connections: one leg for each url, and a second one for each if connections
//! have a `max_age`, so that the next one is there before the old one goes.

use super::build::Builder;
use super::input::SourceInput;
use super::problem::KeyPath;
use super::recording;
use super::settings::{Settings, Source};
use super::target;
use super::template::{Fillings, Template};
use crate::relay::settings::{Leg, Strategy};

/// Bytes that are kept of each message of a feed, to know its copies: at worst, tables have just
/// doubled.
pub(super) const COPY_BYTES: u64 = 128;
pub(super) const WORST_COPY_BYTES: u64 = 256;

impl SourceInput {
    /// The urls, and where each stands.
    pub(super) fn urls(&self) -> Vec<(KeyPath, &Template)> {
        let single = self.url.iter().map(|url| (self.path.key("url"), url));
        let several = self.feed.urls.iter().flatten().map(|(path, url)| (path.clone(), url));
        single.chain(several).collect()
    }

    /// The url that says most of how the source is recognised: one with TLS if there is one.
    pub(super) fn safest_url(&self) -> Option<Template> {
        let is_tls = |url: &&Template| {
            target::resolved_url(url, &Fillings::stand_in()).is_ok_and(|url| url.is_tls())
        };
        let urls: Vec<_> = self.urls().into_iter().map(|(_, url)| url).collect();
        urls.iter().copied().find(is_tls).or_else(|| urls.first().copied()).cloned()
    }

    /// The url of each leg, and its place among them if it is one of several.
    pub(super) fn legs(&self, name: &str) -> Vec<(Template, Option<Leg>)> {
        let urls: Vec<Template> = self.urls().into_iter().map(|(_, url)| url.clone()).collect();
        let is_service = |url: &Template| recording::recording(url).is_ok_and(|r| r.is_none());
        let turns = if self.max_age.is_some() && urls.iter().all(is_service) { 2 } else { 1 };
        let is_single = urls.len() == 1;
        if is_single && turns == 1 {
            return urls.into_iter().map(|url| (url, None)).collect();
        }
        let mut legs = Vec::with_capacity(urls.len() * turns);
        for turn in 0..turns {
            for (rank, url) in urls.iter().enumerate() {
                let number = rank + 1;
                let label = match turn {
                    0 => format!("{name}/{number}"),
                    _ if is_single => format!("{name}/2"),
                    _ => format!("{name}/{number}b"),
                };
                let (feed, strategy) = (name.to_owned(), self.feed.strategy.unwrap_or_default());
                let dedup = self.feed.dedup.clone().unwrap_or_default();
                legs.push((url.clone(), Some(Leg { feed, label, rank, strategy, dedup })));
            }
        }
        legs
    }
}

impl Source {
    /// Whether it stands for a source of the configuration: each does, but for the further legs of a
    /// feed.
    pub fn is_head(&self) -> bool {
        self.relay.leg.as_ref().is_none_or(|leg| leg.feed == self.relay.name)
    }

    /// A name of the service at its url: two legs that take turns at one have the same.
    pub fn url_name(&self) -> String {
        match &self.relay.leg {
            None => self.relay.name.clone(),
            Some(leg) if leg.rank == 0 => leg.feed.clone(),
            Some(leg) => format!("{}/{}", leg.feed, leg.rank + 1),
        }
    }

    /// What the log calls it.
    pub fn label(&self) -> &str {
        self.relay.leg.as_ref().map_or(&self.relay.name, |leg| &leg.label)
    }
}

impl Settings {
    /// The urls of a source, in their order.
    pub(super) fn urls_of(&self, name: &str) -> Vec<&Template> {
        let mut urls: Vec<(usize, &Template)> = Vec::new();
        for source in &self.sources {
            let rank = match &source.relay.leg {
                Some(leg) if leg.feed == name => leg.rank,
                None if source.relay.name == name => 0,
                Some(_) | None => continue,
            };
            if urls.iter().all(|(known, _)| *known != rank) {
                urls.push((rank, &source.url));
            }
        }
        urls.sort_by_key(|(rank, _)| *rank);
        urls.into_iter().map(|(_, url)| url).collect()
    }
}

impl Builder<'_> {
    /// Resolves the urls of a source. The name that comes from the first.
    pub(super) fn check_urls(
        &mut self,
        input: &SourceInput,
        fillings: &Fillings,
    ) -> Option<String> {
        self.check_feed(input);
        if input.feed.urls.is_none() {
            return self.check_url(&input.path.key("url"), input.url.as_ref(), fillings);
        }
        let mut name = None;
        for (n, (path, url)) in input.feed.urls.iter().flatten().enumerate() {
            if let Ok(Some(_)) = recording::recording(url) {
                let message = "is a recording, which cannot be one of several: give it as url";
                self.problems.add(path.clone(), message);
                continue;
            }
            let from_url = self.check_url(path, Some(url), fillings);
            name = if n == 0 { from_url } else { name };
        }
        name
    }

    /// Looks at the keys of a feed together.
    fn check_feed(&mut self, input: &SourceInput) {
        let (path, feed) = (&input.path, &input.feed);
        let (has_url, has_urls) = (input.url.is_some(), feed.urls.is_some());
        if has_url && has_urls {
            self.problems.add(path.key("urls"), "stands beside url: give one of the two");
        }
        let lacks_urls = !has_urls && !self.problems.mention(&path.key("urls"));
        if feed.strategy.is_some() && lacks_urls {
            self.problems.add(path.key("strategy"), "is for several urls: it needs urls");
        }
        if feed.dedup.is_some() && lacks_urls && input.max_age.is_none() {
            let message = "is for several connections: it needs urls or max_age";
            self.problems.add(path.key("dedup"), message);
        }
    }

    /// Refuses a source whose name is that of a further connection of another.
    pub(super) fn check_leg_names(&mut self) {
        let sources = &self.settings.sources;
        let is_twice = |leg: &&Source| {
            let is_same = |other: &&Source| other.relay.name == leg.relay.name;
            !leg.is_head() && sources.iter().filter(is_same).count() > 1
        };
        if let Some(leg) = sources.iter().find(is_twice) {
            let message = format!(
                "{:?} is what the log calls a connection of another source: name it otherwise",
                leg.relay.name
            );
            self.problems.add(KeyPath::default().key("sources"), message);
        }
    }
}

/// Whether copies of messages are always looked for.
pub(super) fn is_race(source: &Source) -> bool {
    source.relay.leg.as_ref().is_some_and(|leg| leg.strategy == Strategy::Race)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::relay::settings::{DedupRule, SourceId};

    const DOORS: &str = "unix_socket_path: /x";

    fn settings(more: &str) -> Settings {
        parse(&format!("sources: [{{{DOORS}, {more}}}]")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problems(more: &str) -> Vec<String> {
        let told = parse(&format!("sources: [{{{DOORS}, {more}}}]")).unwrap_err().to_string();
        told.lines().map(|line| line.split_once(": sources[0].").unwrap().1.to_owned()).collect()
    }

    fn names(settings: &Settings) -> Vec<(&str, &str, String)> {
        let of = |source: &Source| source.url.redacted_url();
        let sources = settings.sources.iter();
        sources.map(|source| (&*source.relay.name, source.label(), of(source))).collect()
    }

    fn named(
        name: &'static str,
        label: &'static str,
        url: &str,
    ) -> (&'static str, &'static str, String) {
        (name, label, url.to_owned())
    }

    #[test]
    fn source_of_one_url_has_one_connection_and_no_feed() {
        for more in ["url: 'ws://a'", "url: 'ws://a', max_age: 0", "url: 'file:a'"] {
            let settings = settings(more);
            assert_eq!(settings.sources.len(), 1, "{more}");
            assert!(settings.sources[0].relay.leg.is_none(), "{more}");
        }
    }

    #[test]
    fn each_url_is_a_leg_of_the_channel() {
        let settings = settings("urls: ['ws://a/x', 'ws://b', 'ws://c'], strategy: race");
        let expected = [
            named("a", "a/1", "ws://a/x"),
            named("a/2", "a/2", "ws://b"),
            named("a/3", "a/3", "ws://c"),
        ];
        assert_eq!(names(&settings), expected);
        assert_eq!(settings.channels[0].sources, [0, 1, 2].map(SourceId));
        let leg = settings.sources[2].relay.leg.clone().unwrap();
        let dedup = DedupRule { key: None, window: 10_000 };
        let expected =
            Leg { feed: "a".into(), label: "a/3".into(), rank: 2, strategy: Strategy::Race, dedup };
        assert_eq!(leg, expected);
        assert_eq!(settings.urls_of("a").len(), 3);
    }

    #[test]
    fn connections_that_age_take_turns() {
        let single = settings("url: 'ws://a', max_age: 1h, dedup: {key: /id, window: 5}");
        assert_eq!(names(&single), [named("a", "a/1", "ws://a"), named("a/2", "a/2", "ws://a")]);
        let leg = single.sources[1].relay.leg.clone().unwrap();
        assert_eq!((leg.rank, leg.strategy, leg.dedup.window), (0, Strategy::Failover, 5));
        let several = settings("name: n, urls: ['ws://a', 'ws://b'], max_age: 1h");
        let labels: Vec<_> = several.sources.iter().map(Source::label).collect();
        assert_eq!(labels, ["n/1", "n/2", "n/1b", "n/2b"]);
        assert_eq!(several.channels[0].sources.len(), 4);
    }

    #[test]
    fn source_is_recorded_once() {
        let settings = settings("urls: ['ws://a', 'ws://b'], record: {path: x}");
        let recorded: Vec<_> = settings.sources.iter().map(|s| s.record.is_some()).collect();
        assert_eq!(recorded, [true, false]);
    }

    #[test]
    fn keys_that_do_not_fit_are_told() {
        let told = problems("url: 'ws://a', urls: ['ws://b']");
        assert_eq!(told, ["urls: stands beside url: give one of the two"]);
        assert_eq!(problems("urls: []"), ["urls: expected 1 to 8 urls, found 0"]);
        let nine = ["'ws://a'"; 9].join(", ");
        let told = problems(&format!("urls: [{nine}]"));
        assert_eq!(told, ["urls: expected 1 to 8 urls, found 9"]);
        let told = problems("urls: ['ws://a', 'http://b']");
        assert_eq!(told, ["urls[1]: scheme \"http\" is not ws or wss"]);
        let told = problems("urls: ['ws://a', 'file:b']");
        assert!(told[0].starts_with("urls[1]: is a recording"), "{told:?}");
        let told = problems("url: 'ws://a', strategy: race");
        assert_eq!(told, ["strategy: is for several urls: it needs urls"]);
        let told = problems("url: 'ws://a', dedup: {window: 5}");
        assert_eq!(told, ["dedup: is for several connections: it needs urls or max_age"]);
        let told = problems("urls: ['ws://a'], dedup: {window: 0, key: id}");
        assert_eq!(told.len(), 2, "{told:?}");
        let told = problems("urls: ['ws://a'], strategy: fastest");
        assert!(told[0].starts_with("strategy: expected failover or race"), "{told:?}");
        let told = problems("urls: ['ws://a'], speed: 1");
        assert!(told[0].starts_with("speed: is for a recording"), "{told:?}");
    }

    #[test]
    fn name_of_a_connection_is_no_name_of_another_source() {
        let text = "sources: [{name: a, unix_socket_path: /x, urls: ['ws://a', 'ws://b']}, \
                    {name: a/2, unix_socket_path: /y, url: 'ws://c'}]";
        let told = parse(text).unwrap_err().to_string();
        assert!(told.contains("\"a/2\" is what the log calls a connection"), "{told}");
    }

    #[test]
    fn legs_that_take_turns_at_a_url_share_its_name() {
        let of =
            |more: &str| settings(more).sources.iter().map(Source::url_name).collect::<Vec<_>>();
        assert_eq!(of("name: a, url: 'ws://h', max_age: 1h"), ["a", "a"]);
        assert_eq!(of("name: a, urls: ['ws://h', 'ws://i']"), ["a", "a/2"]);
        assert_eq!(of("name: a, url: 'ws://h'"), ["a"]);
    }
}
