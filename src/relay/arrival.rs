//! Clients that come: what they ask for, and where it leads.

use std::time::Instant;

use super::channel::Start;
use super::conn::{Goodbye, Role, Stage};
use super::crowd::Room;
use super::farewell::Reason;
use super::settings::ChannelId;
use super::{LINGER, PING_INTERVAL, Relay};
use crate::codec::entrance::Entrance;
use crate::codec::ws::{Asked, Closed};
use crate::codec::{Gate, Wire};
use crate::net::stream::Socket;
use crate::net::url::percent_encoded;
use crate::reactor::table::Key;

/// Characters of a name that a newcomer asks for that are shown.
const MAX_SHOWN_CHARS: usize = 80;

impl<S: Socket> Relay<S> {
    /// Answers a client's request.
    pub(super) fn asked(&mut self, key: Key, head: &[u8], now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_shared = conn.role == Role::Newcomer;
        match conn.codec.asked(head, is_shared, &mut conn.outbox) {
            Ok(Asked::Messages(entrance)) => match conn.role {
                Role::Client(channel) => self.asked_for(key, channel, head, &entrance, now),
                Role::Newcomer => self.direct(key, head, &entrance, now),
                Role::Source(_) => {}
            },
            Ok(Asked::List { as_json }) => self.list_channels(key, as_json, now),
            Err(error) => self.misbehaved(key, &error, now),
        }
    }

    /// Leads a newcomer to the channel that it names.
    fn direct(&mut self, key: Key, head: &[u8], entrance: &Entrance, now: Instant) {
        let is_it = |channel: &super::Channel| {
            !channel.is_removed && channel.settings.name == entrance.channel
        };
        let Some(id) = self.channels.iter().position(is_it).map(ChannelId) else {
            let shown: String = entrance.channel.chars().take(MAX_SHOWN_CHARS).collect();
            let reason = format!("there is no channel {shown:?}; / lists those there are");
            return self.refuse(key, 404, &reason, now);
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        let channel = &mut self.channels[id.0];
        let peer = conn.peer;
        conn.closed = match channel.crowd(Gate::Web).room(&channel.settings, peer) {
            Room::Free => None,
            Room::ToRefuse(why) => Some(why),
            // Nor is there for telling it so.
            Room::None => {
                self.part(key, Reason::Closed, &"too many are being refused", now);
                return self.linger(key, now);
            }
        };
        conn.role = Role::Client(id);
        conn.codec.set_max_message_size(channel.settings.max_client_message_size);
        self.newcomers -= 1;
        self.note_fullness(id, Gate::Web);
        self.channels[id.0].crowd_mut(Gate::Web).enter(peer);
        self.asked_for(key, id, head, entrance, now);
    }

    /// Lets a client in that asks for messages of a channel, or says why not.
    fn asked_for(
        &mut self,
        key: Key,
        id: ChannelId,
        head: &[u8],
        entrance: &Entrance,
        now: Instant,
    ) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let channel = &self.channels[id.0];
        let has_gap = matches!(channel.start(entrance), Start::Gap(_)) && !entrance.wants_notices;
        let closed = conn.closed.or_else(|| {
            if !channel.has_filter(entrance) {
                return Some(Closed::Filters);
            }
            // It has no other way to learn of it.
            (has_gap && entrance.wire == Wire::Ndjson).then_some(Closed::Gap)
        });
        let answered = conn.codec.answer(head, entrance, &channel.policy, closed, &mut conn.outbox);
        if let Err(error) = answered {
            if closed == Some(Closed::Filters) {
                // That is ours to change, and not the client's fault.
                self.part(key, Reason::Refused, &error, now);
            }
            return self.misbehaved(key, &error, now);
        }
        if has_gap && conn.codec.has_pings() {
            // Close codes are for those who are let in; it gets no message.
            self.part(key, Reason::Refused, &Goodbye::Gap.reason(), now);
            if let Some(conn) = self.conns.get_mut(key) {
                let (code, reason) = (Goodbye::Gap.code(), Goodbye::Gap.reason());
                conn.codec.close(code, reason, &mut conn.outbox);
            }
            return self.linger(key, now + LINGER);
        }
        self.client_opened(key, id, entrance, now);
    }

    /// A client follows its channel from now on.
    pub(super) fn client_opened(
        &mut self,
        key: Key,
        id: ChannelId,
        entrance: &Entrance,
        now: Instant,
    ) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.stage = Stage::Open;
        conn.opened_at = now;
        let channel = &mut self.channels[id.0];
        channel.join(key, conn, entrance);
        let is_welcome = conn.renew(&channel.settings);
        let label = conn.label(&channel.settings.name);
        let form = match entrance.wire {
            Wire::WebSocket | Wire::Prefixed | Wire::Lines => String::new(),
            Wire::Numbered | Wire::Sse | Wire::Ndjson => format!(" ({})", entrance.wire.name()),
        };
        match &entrance.filter {
            None => log::info!("client {label}: connected{form}"),
            Some(filter) => log::info!("client {label}: connected{form}, wants {filter}"),
        }
        self.queue(key);
        self.schedule(key, now + PING_INTERVAL);
        if !is_welcome {
            // The secret that it came with was withdrawn while it came.
            self.say_goodbye(key, Goodbye::Unwelcome, now);
        }
    }

    /// Tells who asks which channels there are.
    fn list_channels(&mut self, key: Key, as_json: bool, now: Instant) {
        let channels = self.channels.iter().filter(|channel| !channel.is_removed);
        let names: Vec<_> = channels.map(|channel| channel.settings.name.as_str()).collect();
        let (content_type, body) = if as_json {
            let paths = names.iter().map(|name| {
                let path = format!("/{}", percent_encoded(name));
                serde_json::json!({
                    "name": name,
                    "websocket": path,
                    "sse": format!("{path}/sse"),
                    "ndjson": format!("{path}/ndjson"),
                })
            });
            let list = serde_json::json!({ "channels": paths.collect::<Vec<_>>() });
            ("application/json", format!("{list}\n"))
        } else {
            let lines = names.iter().map(|name| format!("/{}\n", percent_encoded(name)));
            let head = "Channels, as WebSocket; with /sse behind them as server-sent events, with \
                        /ndjson as lines of JSON:\n\n";
            ("text/plain; charset=utf-8", format!("{head}{}", lines.collect::<String>()))
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.codec.show(content_type, &body, &mut conn.outbox);
        log::debug!("{}: has asked which channels there are", conn.peer);
        self.linger(key, now + LINGER);
    }

    /// Makes room for another newcomer: who has had the longest time to say what it wants goes. So
    /// those who say nothing keep nobody out for long. Says whether there was one.
    pub(super) fn cut_off_oldest_newcomer(&mut self, now: Instant) -> bool {
        let newcomers = self.conns.keys().filter_map(|key| Some((key, self.conns.get(key)?)));
        let silent = newcomers
            .filter(|(_, conn)| conn.role == Role::Newcomer && conn.stage == Stage::Opening);
        let oldest = silent.min_by_key(|(_, conn)| conn.opened_at).map(|(key, _)| key);
        let Some(key) = oldest else { return false };
        self.part(key, Reason::Silent, &"others come, and it has not said what it wants", now);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.stage = Stage::Lingering { half_closed: false };
        }
        self.condemned.push(key);
        true
    }

    fn refuse(&mut self, key: Key, status: u16, reason: &str, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let error = conn.codec.refuse(status, reason, &mut conn.outbox);
        self.misbehaved(key, &error, now);
    }
}
