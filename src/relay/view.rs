//! A channel as some of its clients want it: on one wire, all of it or a part.

use std::time::Instant;

use super::backlog::{Backlog, Cursor};
use super::conn::Conn;
use super::history::History;
use super::settings::ChannelSettings;
use crate::codec::entrance::Filter;
use crate::codec::pattern::Reading;
use crate::codec::{Frame, Head, Message, Wire};
use crate::net::stream::Socket;
use crate::reactor::table::{Key, Table};

/// One form of a channel, and who follows it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) wire: Wire,
    /// What of the channel is in it; `None`: everything.
    pub(super) filter: Option<Filter>,
    pub(super) backlog: Backlog,
    /// Those who follow the backlog.
    pub(super) clients: Vec<Key>,
    /// Those of them who lose the oldest messages until they have caught up.
    pub(super) dropping: Vec<Key>,
    /// The position before which nothing may be evicted: a client that has not got it is
    /// entitled to it. Exact after a survey; cursors move in between only forwards.
    pub(super) entitled: Cursor,
    /// The message at hand is in it, and somebody follows.
    pub(super) is_meant: bool,
    /// Something was pushed, or a client left, since the last flush.
    pub(super) is_dirty: bool,
    /// Where the backlog will start with that message.
    pub(super) start: Cursor,
    /// Its frame.
    prepared: Prepared,
    asked: Option<Asked>,
}

/// What the messages that wait for room would take in a view. Remembered, for it is asked in every
/// turn, and a large message is not parsed again for each filter.
#[derive(Clone, Copy, Debug)]
struct Asked {
    stamp: Stamp,
    /// The bytes of the largest frame; `None`: none of them is in it.
    bytes: Option<usize>,
}

/// Which messages wait for room in a channel: another stamp, other messages or other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// How often what waits has changed.
    pub(super) changes: u64,
    /// The number that the next message has.
    pub(super) number: u64,
}

/// The frame of the message at hand, apart from a payload that stands in it as it is.
#[derive(Debug, Default)]
struct Prepared {
    has_head: bool,
    head: Head,
    /// All of it, if it has no head.
    encoded: Vec<u8>,
}

/// Whether a message evicts what a client has not got, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing that anybody lacks.
    Free,
    /// Some who are dropping may lose something.
    OfDropping,
    /// What somebody is entitled to.
    None,
}

impl View {
    /// A view that nobody follows yet, with what of the history is in it.
    pub(super) fn new(
        wire: Wire,
        filter: Option<Filter>,
        settings: &ChannelSettings,
        history: Option<&History>,
    ) -> Self {
        let mut view = Self {
            wire,
            filter,
            backlog: Backlog::new(settings.max_queue_size, settings.max_queue_bytes),
            clients: Vec::new(),
            dropping: Vec::new(),
            entitled: Cursor::default(),
            is_meant: false,
            is_dirty: false,
            start: Cursor::default(),
            prepared: Prepared::default(),
            asked: None,
        };
        view.take_history(history);
        view
    }

    /// Encodes what is kept of the channel and in this view, and not in its backlog yet.
    pub(super) fn take_history(&mut self, history: Option<&History>) {
        let Some(history) = history else { return };
        if let Some(first) = history.first_number() {
            self.backlog.evict(self.backlog.from_number(first));
        }
        let newest = self.backlog.newest_number();
        for (message, number, at) in history.messages() {
            if newest.is_none_or(|newest| number > newest) && self.wants(message) {
                self.prepared.make(self.wire, message, number);
                // Whatever the limits: a frame may be larger than what the history counts, and who
                // was promised what the history keeps gets it whole.
                self.backlog.append(self.prepared.frame(message), number, at);
            }
        }
    }

    /// Finds out whether a message is in it, and makes its frame, if somebody follows. What is
    /// found in the message is remembered for other views. Says whether there is room for it.
    pub(super) fn prepare<'p, 'f>(
        &'f mut self,
        message: Message<'p>,
        number: u64,
        reading: &mut Option<Reading<'p, 'f>>,
    ) -> Room {
        let Self { filter, clients, is_meant, .. } = self;
        *is_meant = !clients.is_empty()
            && filter.as_ref().is_none_or(|filter| {
                filter.matches(reading.get_or_insert_with(|| Reading::new(message.payload)))
            });
        if !*is_meant {
            return Room::Free;
        }
        let Self { wire, prepared, start, backlog, entitled, dropping, .. } = self;
        *start = backlog.start_after(prepared.make(*wire, message, number));
        if *start > *entitled {
            Room::None
        } else if dropping.is_empty() {
            Room::Free
        } else {
            Room::OfDropping
        }
    }

    /// Appends the message that was prepared, evicting the oldest if there is no room. Says how
    /// many bytes its frame has.
    pub(super) fn push(&mut self, message: Message<'_>, number: u64, now: Instant) -> usize {
        let frame = self.prepared.frame(message);
        self.backlog.evict(self.start);
        self.backlog.append(frame, number, now);
        self.is_dirty = true;
        frame.len()
    }

    /// The same, and evicts nothing.
    pub(super) fn append(&mut self, message: Message<'_>, number: u64, now: Instant) {
        let frame = self.prepared.frame(message);
        self.backlog.append(frame, number, now);
        self.is_dirty = true;
    }

    /// The bytes of the largest frame of the messages that wait for room; `None`: none of them is
    /// for anybody who follows.
    pub(super) fn asked_bytes<'a>(
        &mut self,
        held: impl Iterator<Item = Message<'a>>,
        stamp: Stamp,
    ) -> Option<usize> {
        if self.clients.is_empty() {
            return None;
        }
        if let Some(asked) = self.asked.filter(|asked| asked.stamp == stamp) {
            return asked.bytes;
        }
        let bytes = held.filter_map(|message| self.frame_bytes(message, stamp.number)).max();
        self.asked = Some(Asked { stamp, bytes });
        bytes
    }

    /// Bytes of a message's frame, `None` if it is not in it.
    fn frame_bytes(&self, message: Message<'_>, number: u64) -> Option<usize> {
        if !self.wants(message) {
            return None;
        }
        let plain = self.wire.frame(message).map(|frame| frame.len());
        Some(plain.unwrap_or_else(|| {
            let mut encoded = Vec::new();
            self.wire.encode(message, number, &mut encoded);
            encoded.len()
        }))
    }

    /// Looks at every cursor: forgets what everyone has and the history does not keep, and finds
    /// out what some are entitled to.
    pub(super) fn survey<S: Socket>(&mut self, conns: &Table<Conn<S>>, history: Option<&History>) {
        let end = self.backlog.end();
        let (mut slowest, mut entitled) = (end, end);
        for conn in self.clients.iter().filter_map(|key| conns.get(*key)) {
            slowest = slowest.min(conn.cursor);
            if !conn.patience.is_dropping {
                entitled = entitled.min(conn.cursor);
            }
        }
        let kept = history.and_then(History::first_number);
        if let Some(kept) = kept {
            slowest = slowest.min(self.backlog.from_number(kept));
        }
        self.backlog.evict(slowest);
        self.entitled = entitled;
    }

    /// Whether a message is in it.
    pub(super) fn wants(&self, message: Message<'_>) -> bool {
        let matches = |filter: &Filter| filter.matches(&mut Reading::new(message.payload));
        self.filter.as_ref().is_none_or(matches)
    }
}

impl Prepared {
    /// Makes the frame of a message; says how many bytes it has.
    fn make(&mut self, wire: Wire, message: Message<'_>, number: u64) -> usize {
        self.has_head = wire.write_head(message, &mut self.head);
        if self.has_head {
            return self.head.len() + message.payload.len();
        }
        self.encoded.clear();
        wire.encode(message, number, &mut self.encoded);
        self.encoded.len()
    }

    fn frame<'a>(&'a self, message: Message<'a>) -> Frame<'a> {
        if self.has_head {
            Frame::new(self.head, message.payload)
        } else {
            Frame::encoded(&self.encoded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;
    use crate::codec::pattern::Pattern;

    #[test]
    fn message_that_waits_is_looked_at_once_for_each_view() {
        let filter = Filter(vec![Pattern::Contains("yes".into())]);
        let settings = ChannelSettings::default();
        let mut view = View::new(Wire::Ndjson, Some(filter), &settings, None);
        view.clients.push(Table::new().insert(()));
        let stamp = Stamp { changes: 1, number: 7 };
        let texts = |texts: &'static [&str]| {
            texts.iter().map(|text| Message { kind: Kind::Text, payload: text.as_bytes() })
        };
        assert_eq!(view.asked_bytes(texts(&["\"no\"", "\"yes\""]), stamp), Some(6));
        let unread = texts(&[""]).inspect(|_| unreachable!("it is known"));
        assert_eq!(view.asked_bytes(unread, stamp), Some(6));
        let another = Stamp { changes: 2, ..stamp };
        assert_eq!(view.asked_bytes(texts(&["\"no\""]), another), None);
        view.clients.clear();
        assert_eq!(view.asked_bytes(texts(&["\"yes\""]), another), None);
    }
}
