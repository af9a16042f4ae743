//! The works: what is asked of a relay, and how it is measured.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::client::{Ask, Company};
use crate::contender::{Address, Contender, Endpoint, Job, Recording, Relay};
use crate::crowd::{Crowd, Glimpse};
use crate::failure::Failure;
use crate::feed::{Burst, Feed, Harvest, Pace};
use crate::frame::{self, Form, SMALLEST_MESSAGE, Wire};
use crate::meter::{now_ns, sleep};
use crate::text::SYMBOLS;
use crate::watcher::Watcher;
use crate::{Bench, PATIENCE, allowance, handshake};

/// Veylor's default `max_pause`.
pub(crate) const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Standard streams, a poller, a listener and the source: what any relay has open, besides clients.
const OWN_DESCRIPTORS: usize = 6;
/// A relay that has nothing to do comes to rest within this time.
const REST: Duration = Duration::from_millis(30);
const IDLE_WINDOW: Duration = Duration::from_secs(5);

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// CPU per delivery at most, as a multiple of the reference's.
    pub(crate) cpu_limit: Option<f64>,
    /// The p99 of the latency at most, as a multiple of the reference's.
    pub(crate) p99_limit: Option<f64>,
    /// A run counts if others kept the relay from its CPU for at most so much of the time, in per
    /// cent.
    pub(crate) delay_limit: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Broadcast(Broadcast),
    /// Some clients of a broadcast never read.
    Stalled(Broadcast, usize),
    /// So many clients, and nothing to send.
    Idle(usize),
    Upstream(Upstream),
    /// The same messages out of a recording, against a source on the network.
    Replay(Broadcast),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast {
    pub(crate) clients: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) pace: Pace,
    pub(crate) warm_up: u64,
    pub(crate) messages: u64,
    pub(crate) form: Form,
    /// What Veylor's clients ask for. If that is not everything, Veylor is compared with itself,
    /// where they get everything that is sent, in frames.
    pub(crate) ask: Ask,
    /// How many clients look at each message after the warm-up; the others count bytes.
    pub(crate) checked: usize,
    /// Who looks on at Veylor, which is then compared with itself alone.
    pub(crate) watcher: Option<Watcher>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream {
    pub(crate) clients: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) warm_up_each: u64,
    pub(crate) each: u64,
    /// How often each client sends so many, for one burst is too short to measure.
    pub(crate) bursts: u64,
}

/// What one run has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) deliveries: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) elapsed_ns: u64,
    /// How long the relay could have run, but something else ran on its CPU.
    pub(crate) delay_ns: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    /// Clients that read and were disconnected all the same.
    pub(crate) cut: usize,
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) stalled: Option<Stalled>,
    pub(crate) idle: Option<Idle>,
}

/// What became of those who never read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalled {
    pub(crate) clients: usize,
    /// How long after the first stall each was cut.
    pub(crate) cut_after: Vec<Duration>,
    /// How long all the others were held back, in all.
    pub(crate) held: Duration,
}

/// What a relay costs that does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) empty_bytes: u64,
    pub(crate) full_bytes: u64,
    pub(crate) clients: usize,
    pub(crate) cpu_ns: u64,
    pub(crate) window: Duration,
}

/// A relay with a source and clients. Fields are dropped in this order.
struct Stage {
    relay: Relay,
    crowd: Crowd,
    feed: Feed,
}

impl Work {
    /// Who is compared with Veylor.
    pub(crate) fn reference(&self) -> Option<Contender> {
        match self.kind {
            Kind::Broadcast(Broadcast { watcher: Some(_), .. }) => Some(Contender::Alone),
            Kind::Broadcast(Broadcast { ask, .. }) if ask != Ask::Everything => {
                Some(Contender::Alone)
            }
            Kind::Broadcast(_) | Kind::Idle(_) | Kind::Replay(_) => Some(Contender::Raw),
            Kind::Upstream(_) => Some(Contender::Tokio),
            // Without limits nobody is ever cut.
            Kind::Stalled(..) => None,
        }
    }

    /// Memory and waits do not vary from run to run as CPU time does.
    pub(crate) fn rounds(&self, wanted: usize) -> usize {
        match self.kind {
            Kind::Broadcast(_) | Kind::Upstream(_) | Kind::Replay(_) => wanted,
            Kind::Stalled(..) => wanted.min(2),
            Kind::Idle(_) => 1,
        }
    }

    pub(crate) fn run(&self, contender: Contender, bench: &Bench) -> Result<Sample, Failure> {
        match self.kind {
            Kind::Stalled(plan, stalled) => broadcast(contender, plan, stalled, bench),
            Kind::Idle(clients) => idle(contender, clients, bench),
            Kind::Upstream(plan) => upstream(contender, plan, bench),
            Kind::Replay(plan) if contender == Contender::Veylor => replay(plan, bench),
            Kind::Broadcast(plan) | Kind::Replay(plan) => broadcast(contender, plan, 0, bench),
        }
    }
}

impl Broadcast {
    /// What is done where clients get everything, so that they get as much and as often.
    fn plain(self) -> Self {
        let parts = if self.ask == Ask::Symbol { SYMBOLS } else { 1 };
        Self {
            ask: Ask::Everything,
            pace: self.pace.of_part(parts),
            warm_up: self.warm_up / parts,
            messages: self.messages / parts,
            ..self
        }
    }

    /// How many of the first `count` messages each client gets.
    fn share(self, count: u64) -> u64 {
        if self.ask == Ask::Symbol { count / SYMBOLS } else { count }
    }
}

fn broadcast(
    contender: Contender,
    plan: Broadcast,
    stalled: usize,
    bench: &Bench,
) -> Result<Sample, Failure> {
    let plan = if contender == Contender::Alone { plan.plain() } else { plan };
    let Stage { relay, mut crowd, feed } = set_up(contender, plan, stalled, bench)?;
    let Broadcast { form, payload_bytes, pace, .. } = plan;
    let warm_up = Burst { form, payload_bytes, first: 0, count: plan.warm_up, pace };
    feed.send(warm_up)?;
    crowd.receive(plan.warm_up, |_| Ok(()))?;
    feed.wait_until_sent()?;
    crowd.forget_latencies();
    // The last message counts before its last byte is here.
    crowd.linger(REST, |_| Ok(false))?;
    crowd.check_only(plan.checked);

    let before = crowd.census();
    let drawn_bytes = relay.drawn_bytes();
    let usage = relay.usage()?;
    let began_ns = now_ns();
    let goal = plan.warm_up + plan.messages;
    feed.send(Burst { first: plan.warm_up, count: plan.messages, ..warm_up })?;
    let mut cuts_ns = Vec::new();
    let whole = relay.descriptors()?;
    let mut watch = |glimpse: Glimpse| -> Result<bool, Failure> {
        if cuts_ns.len() < stalled {
            // A relay may close a socket whose peer hears of it only once it reads.
            let closed = whole.saturating_sub(relay.descriptors()?);
            let cut = closed.max(glimpse.stalled_and_cut).clamp(cuts_ns.len(), stalled);
            cuts_ns.resize(cut, glimpse.now_ns);
        }
        Ok(cuts_ns.len() == stalled)
    };
    crowd.receive(goal, |glimpse| watch(glimpse).map(drop))?;
    let last_ns = crowd.last_ns();
    if stalled > 0 {
        crowd.linger(MAX_PAUSE * 3, watch)?;
    }
    sleep(REST);

    let used = relay.usage()?;
    if drawn_bytes.is_some() && drawn_bytes == relay.drawn_bytes() {
        return Err(Failure::new("who looks on has drawn nothing"));
    }
    let after = crowd.census();
    let readers = (plan.clients - stalled) as u64;
    let received = after.received - before.received;
    let stalls = crowd.stalls();
    let first_stall_ns = stalls.first().map_or(began_ns, |stall| stall.began_ns);
    let since_stall = |at: &u64| Duration::from_nanos(at.saturating_sub(first_stall_ns));
    let sample = Sample {
        deliveries: received,
        cpu_ns: used.run - usage.run,
        delay_ns: used.delay - usage.delay,
        elapsed_ns: last_ns - began_ns,
        peak_bytes: relay.memory()?.peak,
        lost: readers * plan.share(goal) - after.received,
        out_of_order: after.out_of_order,
        cut: after.cut,
        p50_ns: crowd.latencies.quantile(500).filter(|_| plan.pace != Pace::FlatOut),
        p99_ns: crowd.latencies.quantile(990).filter(|_| plan.pace != Pace::FlatOut),
        stalled: (stalled > 0).then(|| Stalled {
            clients: stalled,
            cut_after: cuts_ns.iter().map(since_stall).collect(),
            held: stalls.iter().map(|s| Duration::from_nanos(s.ended_ns - s.began_ns)).sum(),
        }),
        idle: None,
    };
    if sample.lost == 0 {
        feed.wait_until_sent()?;
    }
    Ok(sample)
}

fn set_up(
    contender: Contender,
    plan: Broadcast,
    stalled: usize,
    bench: &Bench,
) -> Result<Stage, Failure> {
    let feed = Feed::listen(&bench.cpus)?;
    let Broadcast { endpoint, watcher, .. } = plan;
    let source = feed.address();
    let job = Job { source, endpoint, performance: "", watcher, recording: None };
    let mut relay = Relay::start(contender, &job, bench)?;
    wait_for_source(&feed, &mut relay)?;
    if let (Contender::Veylor, Some(Watcher::Top(size))) = (contender, watcher) {
        relay.admit_top(size)?;
    }
    // The raw fan-out sends the upstream's bytes as they are, to Unix clients too.
    let wire = match (plan.endpoint, contender) {
        (Endpoint::Unix, Contender::Veylor | Contender::Alone) => Wire::Prefixed,
        _ => Wire::WebSocket,
    };
    let Broadcast { clients: count, form, payload_bytes, ask, .. } = plan;
    let company = Company { count, stalled, wire, form, payload_bytes, ask };
    let crowd = Crowd::connect(&mut relay, &company)?;
    // A Unix client is connected before it is accepted; who is not accepted misses the beginning.
    relay.wait_for_descriptors(plan.clients + OWN_DESCRIPTORS)?;
    sleep(REST);
    Ok(Stage { relay, crowd, feed })
}

fn idle(contender: Contender, wanted: usize, bench: &Bench) -> Result<Sample, Failure> {
    let clients = wanted.min(allowance());
    let feed = Feed::listen(&bench.cpus)?;
    let job = Job {
        source: feed.address(),
        endpoint: Endpoint::WebSocket,
        performance: "  max_clients: 20000\n",
        watcher: None,
        recording: None,
    };
    let mut relay = Relay::start(contender, &job, bench)?;
    wait_for_source(&feed, &mut relay)?;
    sleep(Duration::from_millis(500));
    let empty_bytes = relay.memory()?.resident;

    let mut crowd = Crowd::connect(&mut relay, &Company::plain(clients, SMALLEST_MESSAGE))?;
    relay.wait_for_descriptors(clients + OWN_DESCRIPTORS)?;
    crowd.linger(Duration::from_secs(1), |_| Ok(false))?;
    let full = relay.memory()?;

    let usage = relay.usage()?;
    let began_ns = now_ns();
    crowd.linger(IDLE_WINDOW, |_| Ok(false))?;
    let window = Duration::from_nanos(now_ns() - began_ns);
    let cpu_ns = relay.usage()?.run - usage.run;
    Ok(Sample {
        peak_bytes: relay.memory()?.peak,
        cut: crowd.census().cut,
        idle: Some(Idle { empty_bytes, full_bytes: full.resident, clients, cpu_ns, window }),
        ..Sample::default()
    })
}

/// Plays a recording when all clients have connected, and one more that starts it.
fn replay(plan: Broadcast, bench: &Bench) -> Result<Sample, Failure> {
    let file = bench.scratch.fresh("bench.vrec")?;
    frame::record(&file, plan.payload_bytes, plan.messages)?;
    let job = Job {
        source: SocketAddr::from(([127, 0, 0, 1], 0)),
        endpoint: Endpoint::WebSocket,
        performance: "",
        watcher: None,
        recording: Some(Recording { file: &file, audience: plan.clients + 1 }),
    };
    let mut relay = Relay::start(Contender::Veylor, &job, bench)?;
    let Broadcast { payload_bytes, clients, messages, .. } = plan;
    let mut crowd = Crowd::connect(&mut relay, &Company::plain(clients, payload_bytes))?;
    sleep(REST);

    let usage = relay.usage()?;
    let began_ns = now_ns();
    start(relay.address())?;
    crowd.receive(messages, |_| Ok(()))?;
    let last_ns = crowd.last_ns();
    sleep(REST);

    let used = relay.usage()?;
    let after = crowd.census();
    Ok(Sample {
        deliveries: after.received,
        cpu_ns: used.run - usage.run,
        delay_ns: used.delay - usage.delay,
        elapsed_ns: last_ns - began_ns,
        peak_bytes: relay.memory()?.peak,
        lost: clients as u64 * messages - after.received,
        out_of_order: after.out_of_order,
        cut: after.cut,
        ..Sample::default()
    })
}

/// The client that the recording waits for: it comes and goes.
fn start(address: &Address) -> Result<(), Failure> {
    let Address::WebSocket(address) = address else { return Ok(()) };
    let stream = TcpStream::connect(address).map_err(Failure::during("starting the recording"))?;
    handshake::ask(&stream, "localhost", "/").map(drop)
}

fn upstream(contender: Contender, plan: Upstream, bench: &Bench) -> Result<Sample, Failure> {
    let broadcast = Broadcast {
        clients: plan.clients,
        payload_bytes: plan.payload_bytes,
        endpoint: Endpoint::WebSocket,
        pace: Pace::FlatOut,
        warm_up: 0,
        messages: 0,
        form: Form::Bytes,
        ask: Ask::Everything,
        checked: plan.clients,
        watcher: None,
    };
    let mut stage = set_up(contender, broadcast, 0, bench)?;
    let warm_up = forward(&mut stage, plan, 0, plan.warm_up_each)?;
    let mut sum = Sample { lost: warm_up.lost, out_of_order: warm_up.out_of_order, ..warm_up };
    (sum.deliveries, sum.cpu_ns, sum.elapsed_ns) = (0, 0, 0);
    for burst in 0..plan.bursts {
        let sample = forward(&mut stage, plan, plan.warm_up_each + burst * plan.each, plan.each)?;
        sum.deliveries += sample.deliveries;
        sum.cpu_ns += sample.cpu_ns;
        sum.elapsed_ns += sample.elapsed_ns;
        sum.lost += sample.lost;
        sum.out_of_order += sample.out_of_order;
        sum.cut = sample.cut;
        sum.peak_bytes = sample.peak_bytes;
    }
    Ok(sum)
}

fn forward(stage: &mut Stage, plan: Upstream, first: u64, each: u64) -> Result<Sample, Failure> {
    let Stage { relay, crowd, feed } = stage;
    let Upstream { clients, payload_bytes, .. } = plan;
    crowd.prepare(payload_bytes, first, each);
    feed.collect(Harvest { payload_bytes, clients, each })?;
    sleep(REST);

    let usage = relay.usage()?;
    let began_ns = now_ns();
    crowd.start_sending()?;
    let mut crop = None;
    crowd.linger(PATIENCE * 5, |_| {
        crop = feed.crop()?;
        Ok(crop.is_some())
    })?;
    sleep(REST);

    let Some(crop) = crop else {
        return Err(Failure::new("the clients' messages take too long"));
    };
    let used = relay.usage()?;
    Ok(Sample {
        deliveries: crop.received,
        cpu_ns: used.run - usage.run,
        delay_ns: used.delay - usage.delay,
        elapsed_ns: crop.last_ns.saturating_sub(began_ns),
        peak_bytes: relay.memory()?.peak,
        lost: clients as u64 * each - crop.received,
        out_of_order: crop.out_of_order,
        cut: crowd.census().cut,
        ..Sample::default()
    })
}

/// Waits until the relay has dialled; a relay that has ended explains why it has not.
fn wait_for_source(feed: &Feed, relay: &mut Relay) -> Result<(), Failure> {
    feed.wait_until_open().or_else(|failure| relay.check_alive().and(Err(failure)))
}
