//! What the operator's doors answer.

use std::time::Instant;

use serde::Serialize;

use super::Daemon;
use super::admin::{Access, Tap};
use super::dialing::Outlook;
use crate::codec::request::{Request, Response};
use crate::codec::{Kind, Message};
use crate::config::settings::Guests;
use crate::net::url::{percent_decoded, percent_encoded};
use crate::observe::page::{CONTENT_SECURITY_POLICY, PAGE};
use crate::observe::process::{process, unix_time};
use crate::observe::prometheus;
use crate::observe::snapshot::{ChannelStatus, Event, Snapshot, SourceStatus};
use crate::observe::tapped::{TapEvent, TappedMessage};
use crate::reactor::order::order;
use crate::relay::State;
use crate::relay::settings::SourceId;
use crate::relay::stats::{ClientStats, RecordingStats, SourceStats};
use crate::relay::tap::Way;

/// Clients that a snapshot lists, at most.
const MAX_LISTED_CLIENTS: usize = 1000;

/// What becomes of a request.
pub(super) enum Answer {
    /// It is answered once.
    Whole(Response),
    /// It is answered with events from now on, after these.
    Watch(Response),
    /// It is answered with messages from now on.
    Tap(Tap),
    /// It is answered when the configuration was read again.
    Reload,
}

impl Daemon {
    /// Answers those who ask at the doors.
    pub(super) fn answer_visitors(&mut self, now: Instant) {
        while let Some((key, access, request)) =
            self.admin.next_request(&self.settings.admin_auth, now)
        {
            match self.answer(&request, access, now) {
                Answer::Whole(response) => self.admin.answer(key, &request, &response, now),
                Answer::Watch(response) => self.admin.watch(key, &response, now),
                Answer::Tap(tap) => self.admin.tap(key, &events(Vec::new()), tap, now),
                Answer::Reload => self.begin_reload(Some((key, request)), now),
            }
        }
    }

    /// Shows messages to those who look at them, and finds out whose to show in the next turn.
    pub(super) fn show_messages(&mut self, now: Instant) {
        let tapped = self.relay.take_tapped();
        if !tapped.is_empty() {
            let time = unix_time();
            for message in tapped {
                let (source, way) = (self.relay.source_name(message.source), message.way);
                let event = TapEvent::Message(TappedMessage::new(message, time));
                self.admin.show(source, way, &line(&event));
            }
            self.admin.flush_taps(now);
        }
        let id_of = |tap: &Tap| Some((self.relay.source_named(&tap.source)?, tap.way));
        let wanted = self.admin.taps().filter_map(id_of).collect();
        self.relay.set_taps(wanted);
    }

    /// Everything at this moment.
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let sources = self.relay.source_stats(now).into_iter();
        let channels = self.relay.channel_stats(now).into_iter();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: unix_time(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs_f64(),
            process: process(),
            sources: sources
                .map(|stats| SourceStatus {
                    url: self.url_of(&stats.name),
                    stats: self.with_urls(self.with_recording(stats)),
                })
                .collect(),
            channels: channels
                .map(|stats| ChannelStatus { endpoints: self.endpoints_of(&stats.name), stats })
                .collect(),
            clients: furthest_behind(self.relay.client_stats(now)),
            turns: self.turns.histogram(),
            deliveries: self.deliveries.histogram(),
        }
    }

    fn with_recording(&self, stats: SourceStats) -> SourceStats {
        let source = self.relay.source_named(&stats.name);
        let recording = source.and_then(|source| {
            let tally = self.recorders.tally(source)?;
            Some(RecordingStats {
                messages: tally.messages,
                bytes: tally.bytes,
                missed_messages: tally.lost_messages + self.relay.left_out(source),
            })
        });
        SourceStats { recording, ..stats }
    }

    /// Says of each connection of a source where it leads.
    fn with_urls(&self, mut stats: SourceStats) -> SourceStats {
        for leg in &mut stats.legs {
            let mut sources = self.settings.sources.iter();
            let source = sources.find(|source| source.label() == leg.name);
            leg.url = source.map(|source| source.url.redacted_url()).unwrap_or_default();
        }
        stats
    }

    fn url_of(&self, name: &str) -> String {
        let source = self.settings.sources.iter().find(|source| source.relay.name == name);
        source.map(|source| source.url.redacted_url()).unwrap_or_default()
    }

    fn endpoints_of(&self, name: &str) -> Vec<String> {
        let address = |(guests, address): (Guests, String)| match guests {
            Guests::Clients(id) => (self.relay.channel_name(id) == name).then_some(address),
            Guests::Newcomers => Some(format!("{address}/{}", percent_encoded(name))),
            Guests::Operators => None,
        };
        self.listening.addresses().filter_map(address).collect()
    }

    fn answer(&mut self, request: &Request, access: Access, now: Instant) -> Answer {
        let steps: Vec<&str> = request.path.split('/').skip(1).collect();
        let response = match (&*request.method, &*steps) {
            ("GET" | "HEAD", [""]) => page(),
            ("GET" | "HEAD", ["healthz"]) => Response::text(200, "ok"),
            ("GET" | "HEAD", ["readyz"]) => self.readiness(now),
            ("GET" | "HEAD", ["metrics"]) => self.metrics(now),
            ("GET" | "HEAD", ["api", "status"]) => Response::json(200, json(&self.snapshot(now))),
            ("GET", ["api", "events"]) => {
                let first = Event::Snapshot(Box::new(self.snapshot(now)));
                let recent = self.watch.recent().map(Event::Log);
                let told: Vec<_> = std::iter::once(first).chain(recent).map(|e| line(&e)).collect();
                return Answer::Watch(events(told.concat()));
            }
            ("GET", ["api", "sources", _, "received" | "forwarded"]) if access == Access::Read => {
                Response::text(403, "messages are shown at the Unix socket alone")
            }
            ("GET", ["api", "sources", name, "received"]) => return self.tap(name, Way::Received),
            ("GET", ["api", "sources", name, "forwarded"]) => {
                return self.tap(name, Way::Forwarded);
            }
            ("POST", ["api", ..]) if access == Access::Read => {
                Response::text(403, "this door only reads; acting takes the Unix socket")
            }
            ("POST", ["api", "reload"]) => return Answer::Reload,
            ("POST", ["api", "clients", id, "disconnect"]) => self.disconnect(id, now),
            ("POST", ["api", "sources", name, "send"]) => {
                self.send(&percent_decoded(name), request)
            }
            ("POST", ["api", "sources", name, "redial"]) => {
                self.redial(&percent_decoded(name), now)
            }
            (_, ["api", "events"] | ["api", "sources", _, "received" | "forwarded"]) => {
                Response { headers: &[("Allow", "GET")], ..Response::text(405, "only GET here") }
            }
            (_, ["" | "healthz" | "readyz" | "metrics"] | ["api", "status"]) => Response {
                headers: &[("Allow", "GET, HEAD")],
                ..Response::text(405, "only GET here")
            },
            (
                _,
                ["api", "reload"]
                | ["api", "clients", _, "disconnect"]
                | ["api", "sources", _, "send" | "redial"],
            ) => {
                Response { headers: &[("Allow", "POST")], ..Response::text(405, "only POST here") }
            }
            _ => Response::text(404, "there is nothing here; try / or /api/status"),
        };
        Answer::Whole(response)
    }

    fn readiness(&self, now: Instant) -> Response {
        let sources = self.relay.source_stats(now);
        let down: Vec<_> = sources.iter().filter(|source| source.state != "open").collect();
        if down.is_empty() {
            return Response::text(200, "every source is up");
        }
        let lines = down.iter().map(|source| format!("{}: {}", source.name, source.state));
        Response::text(503, &lines.collect::<Vec<_>>().join("\n"))
    }

    fn metrics(&self, now: Instant) -> Response {
        Response {
            content_type: prometheus::CONTENT_TYPE,
            body: prometheus::render(&self.snapshot(now)).into_bytes(),
            ..Response::text(200, "")
        }
    }

    fn disconnect(&mut self, id: &str, now: Instant) -> Response {
        let is_known = id.parse().is_ok_and(|id| self.relay.disconnect_client(id, now));
        if is_known {
            Response::text(200, &format!("client {id} is disconnected"))
        } else {
            Response::text(404, &format!("there is no client {id}"))
        }
    }

    fn send(&mut self, name: &str, request: &Request) -> Response {
        let Some(source) = self.relay.source_named(name) else { return no_source(name) };
        let kind = match std::str::from_utf8(&request.body) {
            Ok(_) if !request.is_binary => Kind::Text,
            Ok(_) | Err(_) => Kind::Binary,
        };
        let message = Message { kind, payload: &request.body };
        if self.relay.send_to_source(source, message) {
            Response::text(202, &format!("on its way to {name}"))
        } else {
            Response::text(409, &format!("source {name} is down, or takes no more at the moment"))
        }
    }

    fn tap(&self, name: &str, way: Way) -> Answer {
        let name = percent_decoded(name);
        match self.relay.source_named(&name) {
            Some(_) => {
                let what = match way {
                    Way::Received => "comes from",
                    Way::Forwarded => "is sent to",
                };
                log::info!("admin: somebody is shown what {what} source {name}");
                Answer::Tap(Tap::new(name, way))
            }
            None => Answer::Whole(no_source(&name)),
        }
    }

    fn redial(&mut self, name: &str, now: Instant) -> Response {
        let Some(source) = self.relay.source_named(name) else { return no_source(name) };
        let legs = self.dialing.connections(name);
        let told: Vec<_> =
            legs.iter().filter_map(|(id, label)| self.told(*id, label, now)).collect();
        self.relay.redial_source(source, now);
        Response::text(202, &told.join("\n"))
    }

    /// What will come of a dial that is wanted of a source. `None`: others of its feed serve.
    fn told(&self, id: SourceId, label: &str, now: Instant) -> Option<String> {
        let ends = match self.relay.source_state(id) {
            State::Idle | State::Removed => return None,
            State::Opening(_) | State::Open { .. } => "disconnected, ",
            State::Dialing | State::Waiting(_) | State::GivenUp | State::Ended => "",
        };
        Some(match self.dialing.outlook(id, now) {
            Outlook::Free => format!("source {label} is dialled again"),
            Outlook::UnderWay => format!("source {label}: a dial is under way already"),
            Outlook::Postponed(until, budget) => {
                let wait = until.saturating_duration_since(now).as_secs_f64().ceil();
                format!(
                    "source {label}: {ends}its dial_budget of {budget} is used up, dial in {wait} s"
                )
            }
        })
    }
}

/// A line of an answer that goes on.
pub(super) fn line(event: &impl Serialize) -> Vec<u8> {
    let mut line = json(event);
    line.push(b'\n');
    line
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Only maps with odd keys and failing writers cannot be serialised: there are none.
    serde_json::to_vec(value).unwrap_or_default()
}

fn events(first: Vec<u8>) -> Response {
    Response { content_type: "application/x-ndjson", body: first, ..Response::text(200, "") }
}

fn page() -> Response {
    Response {
        content_type: "text/html; charset=utf-8",
        headers: &[("Content-Security-Policy", CONTENT_SECURITY_POLICY)],
        body: PAGE.as_bytes().to_vec(),
        ..Response::text(200, "")
    }
}

fn no_source(name: &str) -> Response {
    Response::text(404, &format!("there is no source {name}"))
}

fn furthest_behind(clients: Vec<ClientStats>) -> Vec<ClientStats> {
    if clients.len() <= MAX_LISTED_CLIENTS {
        return clients;
    }
    let mut is_listed = vec![false; clients.len()];
    let furthest_first = order(clients.iter().map(|client| u64::MAX - client.lag_messages));
    for at in &furthest_first[..MAX_LISTED_CLIENTS] {
        is_listed[*at] = true;
    }
    let by_id = order(clients.iter().map(|client| client.id));
    by_id.into_iter().filter(|at| is_listed[*at]).map(|at| clients[at].clone()).collect()
}
