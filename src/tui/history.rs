//! What only several snapshots tell: rates, peaks, and how it went.

use std::collections::{HashMap, VecDeque};

use super::text;
use crate::observe::snapshot::Snapshot;
use crate::relay::stats::Departures;

/// Values that a trend remembers, one a second.
const MAX_VALUES: usize = 300;

/// A value that changes.
#[derive(Debug, Default)]
pub(super) struct Trend {
    pub(super) now: f64,
    pub(super) peak: f64,
    /// The last values, the newest first.
    values: VecDeque<f64>,
}

/// Counters of the whole relay.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) clients_ever: u64,
    /// From sources.
    pub(super) in_messages: u64,
    pub(super) in_bytes: u64,
    pub(super) largest_bytes: u64,
    /// To clients.
    pub(super) out_messages: u64,
    pub(super) out_bytes: u64,
    /// From clients to sources.
    pub(super) forwarded_messages: u64,
    pub(super) forwarded_bytes: u64,
    /// Messages that somebody did not get.
    pub(super) drops: u64,
    pub(super) reconnects: u64,
    /// Clients that went otherwise than they, or we, wished.
    lost_clients: u64,
    cpu_seconds: f64,
}

/// Everything that is reckoned from one snapshot to the next.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<Last>,
    pub(super) totals: Totals,
    pub(super) clients: Trend,
    pub(super) in_messages: Trend,
    pub(super) in_bytes: Trend,
    pub(super) out_messages: Trend,
    pub(super) out_bytes: Trend,
    pub(super) forwarded: Trend,
    /// Drops and errors.
    pub(super) troubles: Trend,
    /// The lag of the client that is furthest behind, in messages.
    pub(super) lag: Trend,
    /// Cores in use.
    pub(super) cpu: Trend,
    /// Dials and connections of sources that failed.
    failures: u64,
}

/// What the next snapshot is compared with.
#[derive(Debug)]
struct Last {
    uptime_seconds: f64,
    totals: Totals,
    errors: u64,
    sources: HashMap<String, OfSource>,
}

#[derive(Clone, Copy, Debug, Default)]
struct OfSource {
    messages: u64,
    failures: u32,
    rate: f64,
}

impl Trend {
    fn push(&mut self, value: f64) {
        self.now = value;
        self.peak = self.peak.max(value);
        self.values.push_front(value);
        self.values.truncate(MAX_VALUES);
    }

    /// The last values, the newest first.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.values.iter().copied()
    }
}

impl History {
    /// Takes the next snapshot in. One of a relay that has started anew begins a new history.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let uptime_seconds = snapshot.uptime_seconds;
        if self.last.as_ref().is_some_and(|last| uptime_seconds < last.uptime_seconds) {
            *self = Self::default();
        }
        let totals = Totals::of(snapshot);
        let last = self.last.take();
        let seconds = last.as_ref().map_or(0.0, |last| uptime_seconds - last.uptime_seconds);
        let sources = self.follow_sources(snapshot, last.as_ref(), seconds);
        self.totals = totals;
        let errors = self.errors();

        self.clients.push(text::float(snapshot.clients.len() as u64));
        let lags = snapshot.channels.iter().map(|channel| channel.stats.max_lag_messages);
        self.lag.push(text::float(lags.max().unwrap_or(0)));
        if let Some(Last { totals: before, errors: errors_before, .. }) = last
            && seconds > 0.0
        {
            let rate = |now, before| per_second(now, before, seconds);
            self.in_messages.push(rate(totals.in_messages, before.in_messages));
            self.in_bytes.push(rate(totals.in_bytes, before.in_bytes));
            self.out_messages.push(rate(totals.out_messages, before.out_messages));
            self.out_bytes.push(rate(totals.out_bytes, before.out_bytes));
            self.forwarded.push(rate(totals.forwarded_messages, before.forwarded_messages));
            self.troubles.push(rate(totals.drops + errors, before.drops + errors_before));
            self.cpu.push((totals.cpu_seconds - before.cpu_seconds).max(0.0) / seconds);
        }
        self.last = Some(Last { uptime_seconds, totals, errors, sources });
    }

    /// Messages a second of a source.
    pub(super) fn source_rate(&self, name: &str) -> f64 {
        let source = self.last.as_ref().and_then(|last| last.sources.get(name));
        source.map_or(0.0, |source| source.rate)
    }

    /// Sources' attempts and connections that failed, and clients that were lost.
    pub(super) fn errors(&self) -> u64 {
        self.failures + self.totals.lost_clients
    }

    fn follow_sources(
        &mut self,
        snapshot: &Snapshot,
        last: Option<&Last>,
        seconds: f64,
    ) -> HashMap<String, OfSource> {
        let mut sources = HashMap::new();
        for source in &snapshot.sources {
            let stats = &source.stats;
            let (messages, failures) = (stats.received_messages, stats.failures);
            let before = last.and_then(|last| last.sources.get(&stats.name)).copied();
            let failures_before = before.map_or(0, |before| before.failures);
            self.failures += u64::from(failures.saturating_sub(failures_before));
            let rate = before.map_or(0.0, |before| per_second(messages, before.messages, seconds));
            sources.insert(stats.name.clone(), OfSource { messages, failures, rate });
        }
        sources
    }
}

impl Totals {
    fn of(snapshot: &Snapshot) -> Self {
        let mut totals = Self { cpu_seconds: snapshot.process.cpu_seconds, ..Self::default() };
        for source in snapshot.sources.iter().map(|source| &source.stats) {
            totals.in_messages += source.received_messages;
            totals.in_bytes += source.received_bytes;
            totals.largest_bytes = totals.largest_bytes.max(source.largest_bytes);
            totals.forwarded_messages += source.forwarded_messages;
            totals.forwarded_bytes += source.forwarded_bytes;
            totals.drops += source.dropped_messages;
            totals.reconnects += source.connects.saturating_sub(1);
        }
        for channel in snapshot.channels.iter().map(|channel| &channel.stats) {
            totals.clients_ever += channel.clients_ever;
            totals.out_messages += channel.sent_messages;
            totals.out_bytes += channel.sent_bytes;
            totals.drops += channel.dropped_messages;
            let Departures { closed: _, broken, silent, slow, protocol, dismissed: _ } =
                channel.departures;
            totals.lost_clients += broken + silent + slow + protocol;
        }
        totals
    }
}

/// Counters fall when a source or channel is taken away: that is no rate.
fn per_second(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { text::float(now.saturating_sub(before)) / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::snapshot::SourceStatus;
    use crate::relay::stats::SourceStats;

    fn snapshot(uptime_seconds: f64, received_messages: u64, failures: u32) -> Snapshot {
        let name = "trades".to_owned();
        let stats = SourceStats { name, failures, received_messages, ..SourceStats::default() };
        let source = SourceStatus { url: String::new(), stats };
        Snapshot { uptime_seconds, sources: vec![source], ..Snapshot::default() }
    }

    #[test]
    fn rates_and_peaks_come_from_successive_snapshots() {
        let mut history = History::default();
        history.push(&snapshot(10.0, 500, 0));
        assert_eq!(history.in_messages.values().count(), 0, "one snapshot makes no rate");
        history.push(&snapshot(12.0, 700, 0));
        history.push(&snapshot(13.0, 750, 0));
        assert_eq!(history.in_messages.values().collect::<Vec<_>>(), [50.0, 100.0]);
        assert!((history.in_messages.peak - 100.0).abs() < 1e-9);
        assert!((history.source_rate("trades") - 50.0).abs() < 1e-9);
        assert_eq!(text::whole(history.source_rate("quotes")), 0);
    }

    #[test]
    fn errors_are_counted_also_after_a_source_has_recovered() {
        let mut history = History::default();
        for failures in [1, 3, 0, 2] {
            history.push(&snapshot(1.0, 0, failures));
        }
        assert_eq!(history.errors(), 5);
    }

    #[test]
    fn relay_that_starts_anew_starts_a_new_history() {
        let mut history = History::default();
        history.push(&snapshot(10.0, 500, 0));
        history.push(&snapshot(11.0, 900, 0));
        history.push(&snapshot(1.0, 20, 0));
        assert_eq!(history.in_messages.values().count(), 0);
        history.push(&snapshot(2.0, 10, 0));
        assert_eq!(history.in_messages.values().collect::<Vec<_>>(), [0.0]);
    }

    #[test]
    fn trend_is_bounded() {
        let mut trend = Trend::default();
        (0..1000).for_each(|_| trend.push(1.0));
        assert_eq!(trend.values().count(), MAX_VALUES);
    }
}
