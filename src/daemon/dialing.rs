//! From a source's settings to a connection: secrets and names are read off the loop, then its
//! addresses are raced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::net::TcpStream;

use super::Letter;
use super::budget::Budgets;
use super::leash::Programs;
use super::printed::Printed;
use super::program;
use super::reach::{Leg, Resolved, open, reach, resolve};
use super::replaying::Recording;
use super::sandbox::Sandbox;
use crate::codec::Location;
use crate::codec::ws::Request;
use crate::config::approach::DialBudget;
use crate::config::settings::Source;
use crate::net::dial::{DialError, Dialer};
use crate::net::resolver;
use crate::net::stream::Stream;
use crate::reactor::mailbox::Post;
use crate::reactor::table::Key;
use crate::relay::script::Script;
use crate::relay::settings::SourceId;

/// Secrets are read and a name is resolved within this time, or the attempt has failed. A program
/// that makes a token has its own time besides.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// All sources' dials.
#[derive(Debug)]
pub(super) struct Dialing {
    sources: Vec<Source>,
    stages: Vec<Stage>,
    /// The last connections that were made, should their sources send us on.
    journeys: Vec<Option<Leg>>,
    dialer: Dialer<SourceId>,
    post: Post<Letter>,
    sandbox: Arc<Sandbox>,
    budgets: Budgets,
    attempts: u64,
    programs: Programs,
    is_closed: bool,
}

/// What has come of the wish to dial.
#[derive(Debug)]
pub(super) enum Begun {
    /// More will be heard of it.
    UnderWay,
    /// It is impossible, and why.
    Failed(String),
    /// This budget has no dial left before then.
    Postponed(Instant, DialBudget),
}

/// What comes of it when an operator wants a dial.
#[derive(Debug)]
pub(super) enum Outlook {
    /// It begins.
    Free,
    /// One is under way, and goes on.
    UnderWay,
    /// This budget has no dial left before then.
    Postponed(Instant, DialBudget),
}

/// Names one dial of one source, so that a late answer is not taken for that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    source: SourceId,
    number: u64,
}

/// Where the dial of a source stands.
#[derive(Debug)]
enum Stage {
    Idle,
    /// A thread resolves, and the relay waits for it until then.
    Resolving {
        number: u64,
        until: Instant,
    },
    /// A thread still hangs that the relay waits for no longer.
    Hanging {
        number: u64,
    },
    /// Addresses are raced.
    Connecting(Box<Resolved>),
    /// A recording is open and waits for its audience.
    Ready(Box<Recording>),
}

/// A source that was reached.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) source: SourceId,
    pub(super) stream: Result<Stream, String>,
    pub(super) peer: SocketAddr,
    pub(super) request: Request,
    pub(super) script: Script,
}

impl Dialing {
    pub(super) fn new(sources: Vec<Source>, budgets: Budgets, post: Post<Letter>) -> Self {
        let stages = sources.iter().map(|_| Stage::Idle).collect();
        let journeys = sources.iter().map(|_| None).collect();
        Self {
            sources,
            stages,
            journeys,
            dialer: Dialer::new(),
            post,
            sandbox: Arc::default(),
            budgets,
            attempts: 0,
            programs: Programs::default(),
            is_closed: false,
        }
    }

    /// Learns what can be read.
    pub(super) fn confine(&mut self, sandbox: Arc<Sandbox>) {
        self.sandbox = sandbox;
    }

    /// Begins a dial, if the source's budget has one.
    pub(super) fn begin(&mut self, id: SourceId, now: Instant) -> Begun {
        let until = now + resolve_timeout(&self.sources[id.0]);
        if let Stage::Resolving { number, .. } | Stage::Hanging { number } = self.stages[id.0] {
            // The answer to an earlier attempt will do.
            self.stages[id.0] = Stage::Resolving { number, until };
            return Begun::UnderWay;
        }
        let source = self.sources[id.0].clone();
        if let Some(budget) = source.approach.dial_budget
            && let Err(until) = self.budgets.take(&source.url_name(), budget, now)
        {
            // What an operator wants instead of it may not be had: it goes on.
            return match self.stages[id.0] {
                Stage::Connecting(_) => Begun::UnderWay,
                Stage::Idle | Stage::Resolving { .. } | Stage::Hanging { .. } | Stage::Ready(_) => {
                    Begun::Postponed(until, budget)
                }
            };
        }
        let token = source.approach.token.as_ref().map(|_| self.programs.start(id, None));
        let tether = match token.transpose() {
            Ok(tether) => tether,
            Err(why) => return Begun::Failed(format!("token_command {why}")),
        };
        let sandbox = Arc::clone(&self.sandbox);
        self.journeys[id.0] = None;
        let failed = self.prepare(id, until, move |attempt| {
            if source.replay.is_some() {
                Letter::Opened(attempt, open(&source, &sandbox).map(Box::new))
            } else {
                Letter::Resolved(attempt, resolve(&source, tether, &sandbox))
            }
        });
        failed.map_or(Begun::UnderWay, Begun::Failed)
    }

    /// The connections of a source of that name, with what the log calls them.
    pub(super) fn connections(&self, name: &str) -> Vec<(SourceId, String)> {
        let is_of = |source: &Source| match &source.relay.leg {
            Some(leg) => leg.feed == name,
            None => source.relay.name == name,
        };
        let sources = (0..).map(SourceId).zip(&self.sources);
        let found = sources.filter(|(_, source)| is_of(source));
        found.map(|(id, source)| (id, source.label().to_owned())).collect()
    }

    /// What would come of a dial that is begun now.
    pub(super) fn outlook(&self, id: SourceId, now: Instant) -> Outlook {
        let source = &self.sources[id.0];
        let budget = source.approach.dial_budget;
        let until = budget.and_then(|b| self.budgets.next_at(&source.url_name(), b, now));
        match (&self.stages[id.0], until.zip(budget)) {
            (Stage::Resolving { .. } | Stage::Hanging { .. }, _)
            | (Stage::Connecting(_), Some(_)) => Outlook::UnderWay,
            (Stage::Idle | Stage::Ready(_), Some((until, budget))) => {
                Outlook::Postponed(until, budget)
            }
            (Stage::Idle | Stage::Connecting(_) | Stage::Ready(_), None) => Outlook::Free,
        }
    }

    /// Learns that the state file was written, or not.
    pub(super) fn saved(&mut self, now: Instant) {
        self.budgets.saved(now);
    }

    /// Dials a source where it has said that it is. Says why, if that is impossible.
    pub(super) fn follow(
        &mut self,
        id: SourceId,
        location: &Location,
        now: Instant,
    ) -> Option<String> {
        let Some(Leg { journey, proxy, script }) = self.journeys[id.0].take() else {
            return Some("redirected from nowhere".to_owned());
        };
        let journey = match journey.follow(location) {
            Ok(journey) => journey,
            Err(why) => return Some(why),
        };
        let source = self.sources[id.0].clone();
        let (name, url) = (&source.relay.name, journey.url());
        let scheme = if url.is_tls() { "wss" } else { "ws" };
        let place = format!("{scheme}://{}", url.host_header());
        if journey.is_abroad() && !source.session.is_empty() {
            return Some(format!(
                "redirected to {place}, another host or port, to which what on_connect and the \
                 like say is not told: put its address into the url"
            ));
        }
        log::info!("source {name}: redirected to {place}");
        let leg = Leg { journey, proxy, script };
        self.prepare(id, now + RESOLVE_TIMEOUT, move |attempt| {
            Letter::Resolved(attempt, reach(&source, leg))
        })
    }

    /// Lets a thread find out what must be known for a dial.
    fn prepare(
        &mut self,
        id: SourceId,
        until: Instant,
        find_out: impl FnOnce(Attempt) -> Letter + Send + 'static,
    ) -> Option<String> {
        // An operator may want another dial while addresses are raced: it takes this one's place, and
        // what comes of this one is no answer to it.
        self.dialer.cancel(id);
        self.attempts += 1;
        let attempt = Attempt { source: id, number: self.attempts };
        self.stages[id.0] = Stage::Resolving { number: attempt.number, until };
        let post = self.post.clone();
        let error = resolver::spawn(move || post.send(find_out(attempt))).err()?;
        self.stages[id.0] = Stage::Idle;
        Some(format!("no thread to resolve its name: {error}"))
    }

    /// Takes the answer of a thread. The source and why it leads nowhere, if it does not.
    pub(super) fn resolved(
        &mut self,
        attempt: Attempt,
        resolved: Result<Box<Resolved>, String>,
        now: Instant,
    ) -> Option<(SourceId, String)> {
        self.programs.forget_ended();
        let id = self.asked(attempt)?;
        match resolved {
            Ok(resolved) => {
                let source = &self.sources[id.0];
                // What a redirect leads to is said when it is followed.
                let (name, url) = (&source.relay.name, source.url.redacted_url());
                match &resolved.way.tunnel {
                    None => log::debug!("source {name}: dialing {url}"),
                    Some(tunnel) => {
                        log::debug!(
                            "source {name}: dialing {url} through proxy {}",
                            tunnel.proxy()
                        );
                    }
                }
                let (addresses, way) = (resolved.addresses.clone(), resolved.way.clone());
                self.dialer.start(id, addresses, way, now);
                self.stages[id.0] = Stage::Connecting(resolved);
                None
            }
            Err(why) => Some((id, why)),
        }
    }

    /// Runs the `on_connect_command` of a source for a connection, off the loop. Says why, if that is
    /// impossible.
    pub(super) fn prompt(
        &mut self,
        id: SourceId,
        key: Key,
        overture: Vec<u8>,
        timeout: Duration,
    ) -> Option<String> {
        let command = self.sources.get(id.0).and_then(|source| source.session.command.as_ref());
        let Some(argv) = command.map(|command| command.program.argv.clone()) else {
            return Some("is gone".to_owned());
        };
        let tether = match self.programs.start(id, Some(key)) {
            Ok(tether) => tether,
            Err(why) => return Some(why),
        };
        let (post, sandbox) = (self.post.clone(), Arc::clone(&self.sandbox));
        let job = move || {
            let printed = program::run(&argv, &overture, timeout, &tether);
            drop(tether);
            let printed = printed.map_err(|why| why + sandbox.hint_for_programs());
            post.send(Letter::Prompted(key, printed.map(Printed)));
        };
        resolver::spawn(job).err().map(|error| format!("cannot be run: {error}"))
    }

    /// Learns that an `on_connect_command` has ended.
    pub(super) fn prompt_ended(&mut self) {
        self.programs.forget_ended();
    }

    /// Kills each `on_connect_command` whose connection does not wait for it.
    pub(super) fn stop_prompts(&mut self, is_awaited: impl Fn(Key) -> bool) {
        self.programs.keep_awaited(is_awaited);
    }

    /// Takes the recording that a thread has opened. The source and why it cannot be played, if so.
    pub(super) fn opened(
        &mut self,
        attempt: Attempt,
        opened: Result<Box<Recording>, String>,
    ) -> Option<(SourceId, String)> {
        let id = self.asked(attempt)?;
        match opened {
            Ok(recording) => {
                let name = &self.sources[id.0].relay.name;
                match recording.audience() {
                    0 => {}
                    1 => log::info!("source {name}: waits for a client"),
                    clients => log::info!("source {name}: waits for {clients} clients"),
                }
                self.stages[id.0] = Stage::Ready(recording);
                None
            }
            Err(why) => Some((id, why)),
        }
    }

    /// The next recording that has its audience, to be played.
    pub(super) fn next_recording(
        &mut self,
        audience: impl Fn(SourceId) -> usize,
    ) -> Option<(SourceId, Box<Recording>)> {
        let is_due = |(id, stage): &(usize, &Stage)| match stage {
            Stage::Ready(recording) => recording.audience() <= audience(SourceId(*id)),
            Stage::Idle
            | Stage::Resolving { .. }
            | Stage::Hanging { .. }
            | Stage::Connecting(_) => false,
        };
        let (id, _) = self.stages.iter().enumerate().find(is_due)?;
        let stage = std::mem::replace(&mut self.stages[id], Stage::Idle);
        let Stage::Ready(recording) = stage else { return None };
        Some((SourceId(id), recording))
    }

    /// The source of an attempt whose answer has come, if it is still waited for.
    fn asked(&mut self, Attempt { source: id, number }: Attempt) -> Option<SourceId> {
        let is_asked_for = match self.stages[id.0] {
            Stage::Resolving { number: asked, .. } if asked == number => true,
            Stage::Hanging { number: asked } if asked == number => false,
            // Its source was given another address meanwhile, or removed.
            Stage::Idle
            | Stage::Resolving { .. }
            | Stage::Hanging { .. }
            | Stage::Connecting(_)
            | Stage::Ready(_) => return None,
        };
        self.stages[id.0] = Stage::Idle;
        (is_asked_for && !self.is_closed).then_some(id)
    }

    /// Learns how to reach the source of each place. Dials of those that are removed, and of
    /// those that `redials` names, are given up. Returns those whose budget is another.
    pub(super) fn reload(
        &mut self,
        sources: Vec<Option<Source>>,
        redials: &[SourceId],
        now: Instant,
    ) -> Vec<SourceId> {
        self.budgets.adopt(sources.iter().flatten(), now);
        let budget = |source: &Source| source.approach.dial_budget;
        let has_another = |(old, new): (&Source, &Option<Source>)| {
            new.as_ref().is_some_and(|new| budget(new) != budget(old))
        };
        let pairs = (0..).map(SourceId).zip(self.sources.iter().zip(&sources));
        let counted_anew = pairs.filter(|(_, pair)| has_another(*pair)).map(|(id, _)| id).collect();
        for (id, source) in (0..).map(SourceId).zip(sources) {
            if source.is_none() || redials.contains(&id) {
                self.give_up(id);
            }
            match source {
                Some(source) if id.0 < self.sources.len() => self.sources[id.0] = source,
                Some(source) => {
                    self.sources.push(source);
                    self.stages.push(Stage::Idle);
                    self.journeys.push(None);
                }
                None => {}
            }
        }
        counted_anew
    }

    fn give_up(&mut self, id: SourceId) {
        self.programs.stop_dial(id);
        if let Some(stage) = self.stages.get_mut(id.0) {
            *stage = Stage::Idle;
            self.journeys[id.0] = None;
            self.dialer.cancel(id);
        }
    }

    /// Learns that the socket of an attempt is ready. The connection, if that was it.
    pub(super) fn ready(&mut self, key: Key, now: Instant) -> Option<Connected> {
        let (source, socket, peer) = self.dialer.ready(key, now)?;
        let stage = std::mem::replace(&mut self.stages[source.0], Stage::Idle);
        let Stage::Connecting(resolved) = stage else { return None };
        let stream = wrapped(socket, &resolved);
        let request = resolved.leg.journey.request().clone();
        let script = resolved.leg.script.clone();
        self.journeys[source.0] = Some(resolved.leg);
        Some(Connected { source, stream, peer, request, script })
    }

    /// Goes on with what is due. The next dial that has failed, and why.
    pub(super) fn poll(&mut self, registry: &Registry, now: Instant) -> Option<(SourceId, String)> {
        if let Some((source, error)) = self.dialer.poll(registry, now) {
            let stage = std::mem::replace(&mut self.stages[source.0], Stage::Idle);
            return Some((source, failure(&stage, &error)));
        }
        let is_late =
            |stage: &Stage| matches!(stage, Stage::Resolving { until, .. } if *until <= now);
        let late = self.stages.iter().position(is_late)?;
        if let Stage::Resolving { number, .. } = self.stages[late] {
            self.stages[late] = Stage::Hanging { number };
        }
        let seconds = resolve_timeout(&self.sources[late]).as_secs();
        Some((SourceId(late), format!("its name was not resolved within {seconds} s")))
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let resolving = self.stages.iter().filter_map(|stage| match stage {
            Stage::Resolving { until, .. } => Some(*until),
            Stage::Idle | Stage::Hanging { .. } | Stage::Connecting(_) | Stage::Ready(_) => None,
        });
        resolving.chain(self.dialer.wake_at()).min()
    }

    /// Dials nothing from now on, and kills programs that run.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.programs.stop_all();
        self.stages.fill_with(|| Stage::Idle);
        for id in (0..self.sources.len()).map(SourceId) {
            self.dialer.cancel(id);
        }
    }
}

/// How long a source's secrets and its name may take.
fn resolve_timeout(source: &Source) -> Duration {
    let approach = &source.approach;
    let token = approach.token.as_ref().map_or(Duration::ZERO, |_| approach.token_timeout());
    RESOLVE_TIMEOUT + token
}

/// Why a dial has failed; a proxy that was not reached is named.
fn failure(stage: &Stage, error: &DialError) -> String {
    let why = error.to_string();
    match (stage, error) {
        (Stage::Connecting(resolved), DialError::Failed(..) | DialError::TimedOut) => {
            match resolved.way.tunnel.as_ref().map(|tunnel| tunnel.proxy().to_string()) {
                Some(proxy) if why.starts_with(&proxy) => format!("proxy {why}"),
                Some(proxy) => format!("proxy {proxy}: {why}"),
                None => why,
            }
        }
        (_, _) => why,
    }
}

fn wrapped(socket: TcpStream, resolved: &Resolved) -> Result<Stream, String> {
    let Some(connector) = &resolved.tls else { return Ok(Stream::Tcp(socket)) };
    let stream = connector.connect(socket, resolved.leg.journey.url().host())?;
    Ok(Stream::Tls(Box::new(stream)))
}
