//! What is going on in a feed, as data: it is shown as one source, with details of its legs.

use std::time::Instant;

use super::Relay;
use super::feed::{Leg, Place};
use super::source::Source;
use super::stats::{LegStats, SourceStats, seconds};
use crate::net::stream::Socket;

impl<S: Socket> Relay<S> {
    /// The leg that serves in the feed of a source, or will soonest; a source that has none serves
    /// itself.
    pub(super) fn serving<'a>(&'a self, source: &'a Source) -> &'a Source {
        let Some(Place { feed, .. }) = source.place else { return source };
        let legs = self.feeds[feed].legs.iter().map(|leg| &self.sources[leg.source.0]);
        legs.min_by_key(|leg| self.distance(leg)).unwrap_or(source)
    }

    /// A feed, as one source: its state is that of the leg that serves, its counters are those of all.
    pub(super) fn of_feed(&self, place: Place, now: Instant) -> SourceStats {
        let feed = &self.feeds[place.feed];
        let source = |leg: &Leg| &self.sources[leg.source.0];
        let serving = self.serving(source(&feed.legs[0]));
        let mut stats = self.of_source(serving, now);
        stats.name.clone_from(&feed.name);
        for other in feed.legs.iter().map(source).filter(|leg| leg.place != serving.place) {
            let leg = self.of_source(other, now);
            stats.connects += leg.connects;
            stats.received_messages += leg.received_messages;
            stats.received_bytes += leg.received_bytes;
            stats.largest_bytes = stats.largest_bytes.max(leg.largest_bytes);
            stats.forwarded_messages += leg.forwarded_messages;
            stats.forwarded_bytes += leg.forwarded_bytes;
            stats.dropped_messages += leg.dropped_messages;
            stats.own_messages += leg.own_messages;
            stats.outbox_bytes += leg.outbox_bytes;
            stats.is_paused |= leg.is_paused;
            // While another connection serves it is easily overlooked.
            let is_down = !matches!(&*leg.state, "open" | "standby");
            if is_down && stats.last_error.is_none() {
                let label = other.label();
                stats.last_error = leg.last_error.map(|error| format!("{label}: {error}"));
            }
        }
        let legs = feed.legs.iter().map(|leg| LegStats {
            is_serving: feed.is_up && source(leg).place == serving.place,
            ..self.of_leg(leg, now)
        });
        stats.legs = legs.collect();
        stats
    }

    fn of_leg(&self, leg: &Leg, now: Instant) -> LegStats {
        let source = &self.sources[leg.source.0];
        let conn = source.key().and_then(|key| self.conns.get(key));
        LegStats {
            name: source.label().to_owned(),
            // Where it lives is the dialler's business.
            url: String::new(),
            state: self.state_name(source).to_owned(),
            state_seconds: self.seconds_in_state(source, now),
            is_serving: false,
            redial_seconds: source.redial_at().map(|until| seconds(until, now)),
            peer: conn.map(|conn| conn.peer.to_string()),
            connects: source.tally.connects,
            failures: source.backoff.failures(),
            last_error: source.last_error.clone(),
            won_messages: leg.won_messages,
            duplicate_messages: leg.duplicate_messages,
        }
    }

    /// How far a leg is from serving: the leg that clients' messages go to comes first.
    fn distance(&self, source: &Source) -> (u8, Option<Instant>) {
        let speaker = source.place.and_then(|place| self.feeds[place.feed].speaker());
        if source.place.is_some_and(|place| Some(place.leg) == speaker) {
            return (0, None);
        }
        match self.state_name(source) {
            "open" => (1, None),
            "opening" => (2, None),
            "dialing" => (3, None),
            "waiting" => (4, source.redial_at()),
            "standby" => (6, None),
            _ => (5, None),
        }
    }
}
