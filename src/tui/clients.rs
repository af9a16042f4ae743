//! The clients in their order: those that pass the filter, and the one that is selected.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::text;
use crate::observe::snapshot::Snapshot;
use crate::relay::stats::ClientStats;

/// A client that has waited this long for a message is behind.
const BEHIND_SECONDS: f64 = 0.25;
/// One that has waited this long, while its socket takes nothing, is slow.
const SLOW_SECONDS: f64 = 1.0;
/// So is one for which this part of its channel's backlog is kept.
const SLOW_FILL: f64 = 0.5;

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The slow ones, then by channel; in it the oldest first.
    #[default]
    Channel,
    /// Most messages behind.
    Lag,
    /// Most seconds behind.
    Age,
    /// Most messages lost.
    Drops,
    /// Most messages sent.
    Sent,
    /// Kind, then address.
    Kind,
    /// Address.
    Address,
    /// The newest.
    Newest,
}

/// How well a client keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    #[default]
    Steady,
    Behind,
    Slow,
}

/// A client and how well it keeps up.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) stats: ClientStats,
    pub(super) pace: Pace,
}

/// The clients.
#[derive(Debug, Default)]
pub(super) struct ClientList {
    /// All of them, in order.
    rows: Vec<Row>,
    /// Places in `rows` of those that pass the filter.
    shown: Vec<usize>,
    order: Order,
    filter: String,
    /// The number of the client that is selected.
    selected: Option<u64>,
    /// Its place in `shown`; where the selection goes when that client has gone.
    at: usize,
}

impl Order {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Channel => Self::Lag,
            Self::Lag => Self::Age,
            Self::Age => Self::Drops,
            Self::Drops => Self::Sent,
            Self::Sent => Self::Kind,
            Self::Kind => Self::Address,
            Self::Address => Self::Newest,
            Self::Newest => Self::Channel,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Lag => "lag",
            Self::Age => "age of lag",
            Self::Drops => "drops",
            Self::Sent => "sent",
            Self::Kind => "kind",
            Self::Address => "address",
            Self::Newest => "newest",
        }
    }
}

impl ClientList {
    /// Takes the clients of a snapshot over.
    pub(super) fn update(&mut self, snapshot: &mut Snapshot) {
        let capacities: HashMap<_, _> =
            snapshot.channels.iter().map(|channel| (&*channel.stats.name, channel)).collect();
        let room = |client: &ClientStats| {
            let channel = capacities.get(&*client.channel)?;
            channel.stats.backlogs.iter().find(|backlog| backlog.wire == client.wire)
        };
        let mut rows = Vec::with_capacity(snapshot.clients.len());
        for mut stats in std::mem::take(&mut snapshot.clients) {
            let fill = room(&stats).map_or(0.0, |backlog| {
                let part = |of: u64, whole: u64| text::float(of) / text::float(whole.max(1));
                part(stats.lag_messages, backlog.max_messages)
                    .max(part(stats.lag_bytes, backlog.max_bytes))
            });
            // Who it is, and which part it wants, say more than what it is.
            let names = [stats.name.take(), stats.filter.take(), stats.user_agent.take()];
            let names: Vec<_> = names.into_iter().flatten().collect();
            stats.user_agent = Some(text::clean(names.join(" ").trim()));
            stats.peer = text::clean(&stats.peer);
            rows.push(Row { pace: pace(&stats, fill), stats });
        }
        self.rows = rows;
        self.arrange();
    }

    /// Sorts by the next order, and shows the list from its beginning.
    pub(super) fn sort_by_next(&mut self) {
        self.order = self.order.next();
        (self.selected, self.at) = (None, 0);
        self.arrange();
    }

    pub(super) fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.arrange();
    }

    /// Moves the selection so many rows down, or up if negative, as far as there are rows.
    pub(super) fn step(&mut self, rows: isize) {
        let last = self.shown.len().saturating_sub(1);
        // Without a selection the first step selects the first row.
        let from = if self.selected.is_some() { self.at.saturating_add_signed(rows) } else { 0 };
        self.at = from.min(last);
        self.selected = self.row_at(self.at).map(|row| row.stats.id);
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// The clients that pass the filter, in order.
    pub(super) fn shown(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.shown.iter().map(|at| &self.rows[*at])
    }

    /// All clients.
    pub(super) fn all(&self) -> &[Row] {
        &self.rows
    }

    /// The client that is selected, and its place among those that are shown.
    pub(super) fn selected(&self) -> Option<(usize, &Row)> {
        let id = self.selected?;
        self.row_at(self.at).filter(|row| row.stats.id == id).map(|row| (self.at, row))
    }

    /// The client of this number.
    pub(super) fn find(&self, id: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.stats.id == id)
    }

    fn row_at(&self, at: usize) -> Option<&Row> {
        self.shown.get(at).map(|at| &self.rows[*at])
    }

    fn arrange(&mut self) {
        sort(&mut self.rows, self.order);
        let filter = self.filter.to_lowercase();
        let passes = |row: &Row| filter.is_empty() || matches(&row.stats, &filter);
        self.shown = (0..self.rows.len()).filter(|at| passes(&self.rows[*at])).collect();
        let Some(id) = self.selected else { return };
        let at = self.shown().position(|row| row.stats.id == id);
        match at {
            Some(at) => self.at = at,
            None => self.step(0),
        }
    }
}

/// What a client's wire is called in the list, in four letters at most.
pub(super) fn kind(client: &ClientStats) -> &str {
    match &*client.wire {
        "websocket" | "numbered" => "ws",
        "ndjson" => "json",
        // Lengths are spoken over TCP, too.
        "prefixed" if client.peer.parse::<SocketAddr>().is_err() => "unix",
        "prefixed" | "lines" => "tcp",
        other => other,
    }
}

fn pace(client: &ClientStats, fill: f64) -> Pace {
    let is_stuck = client.is_blocked && client.lag_seconds >= SLOW_SECONDS;
    if client.lag_messages > 0 && (is_stuck || fill >= SLOW_FILL) {
        Pace::Slow
    } else if client.is_blocked || client.lag_seconds >= BEHIND_SECONDS {
        Pace::Behind
    } else {
        Pace::Steady
    }
}

/// Equal ones stay in the order of their numbers, so that the list is quiet.
fn sort(rows: &mut [Row], order: Order) {
    rows.sort_unstable_by(|a, b| {
        let by_id = a.stats.id.cmp(&b.stats.id);
        let (one, other) = (&a.stats, &b.stats);
        let slow_first = (b.pace == Pace::Slow).cmp(&(a.pace == Pace::Slow));
        let by_order = match order {
            Order::Channel => slow_first.then_with(|| one.channel.cmp(&other.channel)),
            Order::Lag => other.lag_messages.cmp(&one.lag_messages),
            Order::Age => other.lag_seconds.total_cmp(&one.lag_seconds),
            Order::Drops => other.dropped_messages.cmp(&one.dropped_messages),
            Order::Sent => other.sent_messages.cmp(&one.sent_messages),
            Order::Kind => (&one.wire, &one.peer).cmp(&(&other.wire, &other.peer)),
            Order::Address => one.peer.cmp(&other.peer),
            Order::Newest => other.id.cmp(&one.id),
        };
        by_order.then(by_id)
    });
}

fn matches(client: &ClientStats, filter: &str) -> bool {
    let agent = client.user_agent.as_deref().unwrap_or_default();
    let fields = [&client.channel, kind(client), &client.wire, &client.peer, agent];
    client.id.to_string() == filter
        || fields.iter().any(|field| field.to_lowercase().contains(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::snapshot::ChannelStatus;
    use crate::relay::stats::{BacklogStats, ChannelStats};

    fn client(id: u64, channel: &str, lag_messages: u64) -> ClientStats {
        ClientStats {
            id,
            channel: channel.to_owned(),
            wire: "websocket".to_owned(),
            peer: format!("127.0.0.1:{}", 9000 - id),
            lag_messages,
            ..ClientStats::default()
        }
    }

    fn list(clients: &[ClientStats]) -> ClientList {
        let mut list = ClientList::default();
        update(&mut list, clients);
        list
    }

    fn update(list: &mut ClientList, clients: &[ClientStats]) {
        let wire = "websocket".to_owned();
        let backlog = BacklogStats { wire, max_messages: 100, ..BacklogStats::default() };
        let name = "trades".to_owned();
        let stats = ChannelStats { name, backlogs: vec![backlog], ..ChannelStats::default() };
        let channels = vec![ChannelStatus { stats, ..ChannelStatus::default() }];
        list.update(&mut Snapshot { channels, clients: clients.to_vec(), ..Snapshot::default() });
    }

    fn ids(list: &ClientList) -> Vec<u64> {
        list.shown().map(|row| row.stats.id).collect()
    }

    fn selected(list: &ClientList) -> Option<u64> {
        list.selected().map(|(_, row)| row.stats.id)
    }

    #[test]
    fn slow_clients_come_first_then_channels() {
        let clients = [client(3, "trades", 0), client(1, "trades", 0), client(2, "trades", 50)];
        assert_eq!(ids(&list(&clients)), [2, 1, 3]);
        let clients = [client(4, "trades", 9), client(5, "quotes", 0), client(6, "trades", 99)];
        assert_eq!(ids(&list(&clients)), [6, 5, 4]);
    }

    #[test]
    fn every_order_can_be_reached() {
        let mut list = list(&[client(1, "a", 0), client(2, "b", 9), client(3, "c", 4)]);
        let mut orders = Vec::new();
        for _ in 0..8 {
            orders.push((list.order().name(), ids(&list)));
            list.sort_by_next();
        }
        assert_eq!(list.order(), Order::Channel);
        assert_eq!(orders[1], ("lag", vec![2, 3, 1]));
        assert_eq!(orders[6], ("address", vec![3, 2, 1]));
        assert_eq!(orders[7], ("newest", vec![3, 2, 1]));
    }

    #[test]
    fn slow_is_who_is_stuck_or_fills_the_backlog() {
        let stuck = ClientStats {
            is_blocked: true,
            lag_seconds: 2.0,
            lag_messages: 1,
            ..ClientStats::default()
        };
        assert_eq!(pace(&stuck, 0.0), Pace::Slow);
        assert_eq!(pace(&ClientStats { lag_seconds: 0.1, ..stuck }, 0.0), Pace::Behind);
        assert_eq!(pace(&client(1, "a", 60), 0.6), Pace::Slow);
        assert_eq!(pace(&client(1, "a", 60), 0.1), Pace::Steady);
        assert_eq!(pace(&ClientStats { lag_seconds: 0.3, ..client(1, "a", 1) }, 0.0), Pace::Behind);
    }

    #[test]
    fn filter_finds_part_of_any_name() {
        let mut list = list(&[
            ClientStats { user_agent: Some("Mozilla/5.0".to_owned()), ..client(1, "trades", 0) },
            ClientStats {
                wire: "prefixed".to_owned(),
                peer: "pid 8 uid 0".to_owned(),
                ..client(21, "quotes", 0)
            },
        ]);
        for (filter, found) in
            [("mozilla", 1), ("QUO", 21), ("unix", 21), ("8999", 1), ("21", 21), ("prefix", 21)]
        {
            list.set_filter(filter.to_owned());
            assert_eq!(ids(&list), [found], "{filter}");
        }
        list.set_filter("nobody".to_owned());
        assert!(ids(&list).is_empty());
    }

    #[test]
    fn kind_says_where_a_client_came_in() {
        let of = |wire: &str, peer: &str| {
            let (wire, peer) = (wire.to_owned(), peer.to_owned());
            kind(&ClientStats { wire, peer, ..ClientStats::default() }).to_owned()
        };
        assert_eq!(of("prefixed", "pid 7 uid 0"), "unix");
        assert_eq!(of("prefixed", "[::1]:9"), "tcp");
        assert_eq!(of("lines", "127.0.0.1:9"), "tcp");
        assert_eq!(of("sse", "127.0.0.1:9"), "sse");
    }

    #[test]
    fn part_that_a_client_wants_is_shown_and_found() {
        let filter = Some("/symbol=BTC".to_owned());
        let mut list = list(&[ClientStats { filter, ..client(1, "a", 0) }, client(2, "a", 0)]);
        assert_eq!(list.all()[0].stats.user_agent.as_deref(), Some("/symbol=BTC"));
        list.set_filter("btc".to_owned());
        assert_eq!(ids(&list), [1]);
    }

    #[test]
    fn selection_stays_with_its_client() {
        let mut list = list(&[client(1, "b", 0), client(2, "b", 0), client(3, "b", 0)]);
        assert_eq!(selected(&list), None);
        list.step(1);
        assert_eq!(selected(&list), Some(1));
        list.step(1);
        update(&mut list, &[client(9, "a", 0), client(2, "b", 0), client(3, "b", 0)]);
        assert_eq!(selected(&list), Some(2));
        update(&mut list, &[client(9, "a", 0), client(3, "b", 0)]);
        assert_eq!(selected(&list), Some(3), "the next takes the place of one that has gone");
        list.step(-9);
        assert_eq!(selected(&list), Some(9));
        list.step(isize::MAX);
        assert_eq!(selected(&list), Some(3));
        update(&mut list, &[]);
        assert_eq!(selected(&list), None);
    }
}
