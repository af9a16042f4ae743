//! Measures what it costs to share a source: CPU for each delivery, memory, loss and latency.
//!
//! An independent judge: it knows the `veylor` program, not the library. It plays the source and
//! all the clients, and runs Veylor and a reference in turn, a few rounds, since machines are
//! noisy; what counts is the median of the rounds' ratios. The reference is a raw fan-out
//! (`raw.rs`) and, for messages towards the source, a relay that uses tokio-tungstenite
//! (`tokio_relay.rs`); both are this program again, as child processes. Where somebody looks on at
//! Veylor, by `veylor top` or `--tui` on a pseudo terminal (`watcher.rs`), it is Veylor alone; where
//! clients want streams of HTTP or a part of the messages, it is Veylor with WebSocket clients that
//! get everything.
//!
//! ```text
//! cargo bench --bench fanout                        all works, a quarter of an hour
//! cargo bench --bench fanout -- flat-100 unix       these works
//! cargo bench --bench fanout -- --rounds 9 --only raw
//! VEYLOR=path/to/veylor cargo bench --bench fanout  another program, such as the static one
//! ```
//!
//! CPU time is the sum of `/proc/PID/task/*/schedstat` before and after the measured messages,
//! which follow a warm-up; the relay is at rest at both moments. What the kernel does for a
//! receiver on loopback is inside it, and so is the thread of the relay's own UI. A run in which
//! others kept the relay from its CPU is repeated, a few times at most, unless it shows a fault. The
//! exit code is 1 if a limit is missed or a work fails.

mod client;
mod contender;
mod cpu;
mod crowd;
mod failure;
mod feed;
mod frame;
mod handshake;
mod meter;
mod plan;
mod raw;
mod report;
mod tally;
mod text;
mod tokio_relay;
mod watcher;
mod work;

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::contender::{Contender, Scratch};
use crate::cpu::Cpus;
use crate::failure::Failure;
use crate::plan::WORKS;
use crate::report::Report;
use crate::work::Work;

/// How long anything may take that takes no time at all when all is well.
const PATIENCE: Duration = Duration::from_secs(6);
/// Descriptors that the generator needs besides those of the clients.
const SPARE_DESCRIPTORS: usize = 100;

/// What the command line asks for.
enum Request {
    Measure(Wanted),
    /// A run of the tests, which a benchmark has no part in.
    Nothing,
    Raw {
        upstream: String,
        socket: Option<String>,
    },
    Tokio {
        upstream: String,
    },
    Exec {
        program: String,
        args: Vec<String>,
    },
}

/// What all runs share.
struct Bench {
    scratch: Scratch,
    cpus: Cpus,
}

struct Wanted {
    works: Vec<&'static Work>,
    rounds: usize,
    only: Option<Contender>,
}

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let outcome = Request::parse(&args).and_then(|request| match request {
        Request::Measure(wanted) => measure(&wanted),
        Request::Nothing => Ok(ExitCode::SUCCESS),
        Request::Raw { upstream, socket } => {
            contender::die_with_parent()?;
            raw::run(address(&upstream)?, socket.as_deref().map(Path::new))?;
            Ok(ExitCode::SUCCESS)
        }
        Request::Tokio { upstream } => {
            contender::die_with_parent()?;
            tokio_relay::run(address(&upstream)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Request::Exec { program, args } => {
            Err(contender::become_program(Path::new(&program), &args))
        }
    });
    outcome.unwrap_or_else(|failure| {
        report::complain(&failure);
        ExitCode::FAILURE
    })
}

fn measure(wanted: &Wanted) -> Result<ExitCode, Failure> {
    raise_descriptor_limit()?;
    let bench = Bench { scratch: Scratch::create()?, cpus: Cpus::divide()? };
    bench.cpus.take_clients_share()?;
    let mut report = Report::default();
    for work in &wanted.works {
        report.begin(work);
        let mut repetitions = wanted.rounds;
        for round in 0..work.rounds(wanted.rounds) {
            for contender in wanted.contenders(work, round) {
                let mut outcome = work.run(contender, &bench);
                // A fault is never forgiven, whatever else the machine did.
                while let Ok(sample) = &outcome
                    && sample.faults() == 0
                    && sample.is_disturbed(work)
                    && repetitions > 0
                {
                    repetitions -= 1;
                    report.dismiss(contender, sample);
                    outcome = work.run(contender, &bench);
                }
                report.add(contender, outcome);
            }
        }
    }
    report.conclude();
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Wanted {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut wanted = Self { works: Vec::new(), rounds: 5, only: None };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            match arg {
                "--bench" => {}
                "--rounds" => wanted.rounds = rounds(args.next().unwrap_or_default())?,
                "--only" => wanted.only = Some(named(args.next().unwrap_or_default())?),
                name => wanted.works.push(plan::named(name)?),
            }
        }
        if wanted.works.is_empty() {
            wanted.works = WORKS.iter().collect();
        }
        Ok(wanted)
    }

    /// The contenders of a round: who is first changes, for the machine may grow slower.
    fn contenders(&self, work: &Work, round: usize) -> Vec<Contender> {
        let mut contenders = vec![Contender::Veylor];
        contenders.extend(work.reference());
        if round.is_multiple_of(2) {
            contenders.reverse();
        }
        contenders.retain(|contender| self.only.is_none_or(|only| only == *contender));
        contenders
    }
}

impl Request {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let has = |flag: &str| args.iter().any(|arg| arg == flag);
        match args {
            [mode, upstream, rest @ ..] if mode == "--raw" => {
                Ok(Self::Raw { upstream: upstream.clone(), socket: rest.first().cloned() })
            }
            [mode, upstream] if mode == "--tokio" => Ok(Self::Tokio { upstream: upstream.clone() }),
            [mode, program, rest @ ..] if mode == "--exec" => {
                Ok(Self::Exec { program: program.clone(), args: rest.to_vec() })
            }
            // `cargo bench` says what it is; `cargo test --benches` does not.
            _ if has("--test") || !has("--bench") => Ok(Self::Nothing),
            _ => Wanted::parse(args).map(Self::Measure),
        }
    }
}

fn rounds(text: &str) -> Result<usize, Failure> {
    let rounds = text.parse().ok().filter(|rounds| (1..=100).contains(rounds));
    rounds.ok_or_else(|| Failure::new(format!("{text:?} is not a number of rounds from 1 to 100")))
}

fn named(name: &str) -> Result<Contender, Failure> {
    let all = [Contender::Veylor, Contender::Alone, Contender::Raw, Contender::Tokio];
    let found = all.into_iter().find(|contender| contender.to_string() == name);
    found.ok_or_else(|| Failure::new(format!("{name:?} is none of veylor, alone, raw and tokio")))
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| Failure::new(format!("{text:?} is not an address")))
}

/// Raises the limit of open descriptors as far as it goes, for the children too.
fn raise_descriptor_limit() -> Result<(), Failure> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(Failure::during("raising the limit of descriptors"))
}

/// How many clients the limit of descriptors allows.
fn allowance() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(SPARE_DESCRIPTORS)
}
