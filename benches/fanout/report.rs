//! The figures as lines while they come, and the verdicts as a table at the end.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the figures are what this is for")]
#![expect(clippy::cast_precision_loss, reason = "no figure needs more than 52 bits")]

use std::fmt;
use std::time::Duration;

use crate::contender::Contender;
use crate::failure::Failure;
use crate::work::{Idle, MAX_PAUSE, Sample, Work};

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
/// Limits that do not depend on a reference.
const MAX_STALLED_PEAK_MIB: f64 = 24.0;
const MAX_EMPTY_MIB: f64 = 4.0;
const MAX_IDLE_CLIENT_KIB: f64 = 1.5;
/// Of one CPU, for 10,000 idle clients: the odd timer is allowed, polling is not.
const MAX_IDLE_CPU_PER_MILLE: f64 = 1.0;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    works: Vec<Account>,
}

/// What was measured of one work; the samples of both contenders are in the order of the rounds.
#[derive(Debug)]
struct Account {
    work: Work,
    veylor: Vec<Sample>,
    reference: Vec<Sample>,
    failures: usize,
}

/// One limit and what came of it.
#[derive(Debug)]
struct Check {
    what: String,
    value: f64,
    limit: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn begin(&mut self, work: &Work) {
        println!("{}: {}", work.name, work.about);
        self.works.push(Account {
            work: *work,
            veylor: Vec::new(),
            reference: Vec::new(),
            failures: 0,
        });
    }

    /// Shows a sample that does not count, since others were busy.
    pub(crate) fn dismiss(&self, contender: Contender, sample: &Sample) {
        let Some(account) = self.works.last() else { return };
        let name = account.work.name;
        let delay = sample.delay_percent();
        println!("  {name:<13}  {contender:<6}  {}", Line(sample));
        println!(
            "  {name:<13}  {contender:<6}  repeated: it was kept waiting {delay:.0} % of the time"
        );
    }

    /// Takes in a sample of the work that was begun last.
    pub(crate) fn add(&mut self, contender: Contender, outcome: Result<Sample, Failure>) {
        let Some(account) = self.works.last_mut() else { return };
        let name = account.work.name;
        match outcome {
            Ok(sample) => {
                println!("  {name:<13}  {contender:<6}  {}", Line(&sample));
                match contender {
                    Contender::Veylor => account.veylor.push(sample),
                    Contender::Alone | Contender::Raw | Contender::Tokio => {
                        account.reference.push(sample);
                    }
                }
            }
            Err(failure) => {
                println!("  {name:<13}  {contender:<6}  failed: {failure}");
                account.failures += 1;
            }
        }
    }

    pub(crate) fn conclude(&self) {
        println!("\n{}", Row::head());
        for account in &self.works {
            println!("{}", account.row());
        }
        let checks = self.works.iter().flat_map(|account| {
            account.checks().into_iter().map(|check| (account.work.name, check))
        });
        for (index, (work, check)) in checks.enumerate() {
            if index == 0 {
                println!("\n{}", Check::HEAD);
            }
            println!("{work:<13}  {check}");
        }
        for account in &self.works {
            let (disturbed, all) = account.disturbed();
            if disturbed > 0 {
                let name = account.work.name;
                println!("{name}: others disturbed {disturbed} of {all} runs; repeat it in quiet");
            }
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.works.iter().all(Account::is_good)
    }
}

impl Account {
    fn is_good(&self) -> bool {
        self.failures == 0 && self.checks().iter().all(Check::is_met)
    }

    fn row(&self) -> Row {
        let cpu_ratio = self.ratio(Sample::cpu_per_delivery);
        let limit = self.work.cpu_limit;
        Row {
            name: self.work.name,
            cpu: self.both(Sample::cpu_per_delivery),
            ratio: cpu_ratio,
            limit,
            verdict: if self.failures > 0 {
                "FAILED"
            } else if self.veylor.is_empty() {
                "-"
            } else if self.is_good() {
                "ok"
            } else {
                "SHORT"
            },
            per_second: self.both(Sample::per_second),
            peak_mib: self.both(|sample| Some(sample.peak_bytes as f64 / MIB)),
            lost: [&self.reference, &self.veylor].map(|samples| {
                let lost = samples.iter().map(|sample| sample.lost).sum();
                (!samples.is_empty()).then_some(lost)
            }),
            p50_us: self.latency(|sample| sample.p50_ns),
            p99_us: self.latency(|sample| sample.p99_ns),
        }
    }

    fn checks(&self) -> Vec<Check> {
        if self.veylor.is_empty() {
            return Vec::new();
        }
        let faults = self.veylor.iter().map(Sample::faults).sum::<u64>();
        let what = "lost, out of order, readers disconnected";
        let mut checks = vec![Check::new(what, faults as f64, 0.0, "")];
        if let (Some(ratio), Some(limit)) =
            (self.ratio(Sample::cpu_per_delivery), self.work.cpu_limit)
        {
            checks.push(Check::new("CPU per delivery, of the reference's", ratio, limit, ""));
        }
        if let (Some(ratio), Some(limit)) = (self.ratio(Sample::p99), self.work.p99_limit) {
            checks.push(Check::new("p99 latency, of the reference's", ratio, limit, ""));
        }
        checks.extend(self.worst(Sample::stalled_checks));
        checks.extend(self.worst(Sample::idle_checks));
        checks
    }

    /// Each of the checks with the worst value of all rounds.
    fn worst(&self, checks: impl Fn(&Sample) -> Vec<Check>) -> Vec<Check> {
        let rounds = self.veylor.iter().map(checks);
        let worse = |worst: Vec<Check>, round: Vec<Check>| {
            let pairs = worst.into_iter().zip(round);
            pairs.map(|(one, other)| if other.value > one.value { other } else { one }).collect()
        };
        rounds.reduce(worse).unwrap_or_default()
    }

    /// How many runs count although others disturbed them, and how many there are.
    fn disturbed(&self) -> (usize, usize) {
        let runs = self.veylor.iter().chain(&self.reference);
        let disturbed = runs.filter(|sample| sample.is_disturbed(&self.work)).count();
        (disturbed, self.veylor.len() + self.reference.len())
    }

    /// The median of the rounds' ratios of Veylor's figure to the reference's.
    fn ratio(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let rounds = self.veylor.iter().zip(&self.reference);
        median(rounds.filter_map(|(veylor, reference)| Some(figure(veylor)? / figure(reference)?)))
    }

    /// The medians of a figure: the reference's and Veylor's.
    fn both(&self, figure: impl Fn(&Sample) -> Option<f64>) -> [Option<f64>; 2] {
        [&self.reference, &self.veylor].map(|samples| median(samples.iter().filter_map(&figure)))
    }

    fn latency(&self, figure: impl Fn(&Sample) -> Option<u64>) -> [Option<f64>; 2] {
        if self.work.p99_limit.is_none() {
            return [None, None];
        }
        self.both(|sample| figure(sample).map(|ns| ns as f64 / 1000.0))
    }
}

impl Sample {
    fn cpu_per_delivery(&self) -> Option<f64> {
        (self.deliveries > 0).then(|| self.cpu_ns as f64 / self.deliveries as f64)
    }

    fn per_second(&self) -> Option<f64> {
        (self.deliveries > 0).then(|| self.deliveries as f64 / (self.elapsed_ns as f64 / 1e9))
    }

    fn p99(&self) -> Option<f64> {
        self.p99_ns.map(|ns| ns as f64)
    }

    /// Whether others kept the relay waiting for so long that its figures mean little.
    pub(crate) fn is_disturbed(&self, work: &Work) -> bool {
        self.delay_percent() > work.delay_limit
    }

    /// How much of the time something else ran on the relay's CPU although it could have run.
    fn delay_percent(&self) -> f64 {
        self.delay_ns as f64 * 100.0 / self.elapsed_ns.max(1) as f64
    }

    /// Lost messages, messages out of order, and clients that read and were disconnected.
    pub(crate) fn faults(&self) -> u64 {
        self.lost + self.out_of_order + self.cut as u64
    }

    fn stalled_checks(&self) -> Vec<Check> {
        let Some(stalled) = &self.stalled else { return Vec::new() };
        let left = stalled.clients - stalled.cut_after.len();
        let last = stalled.cut_after.last().map_or(f64::INFINITY, milliseconds);
        vec![
            Check::new("stalled clients not cut", left as f64, 0.0, ""),
            Check::new(
                "last cut after the first stall",
                last,
                2.0 * milliseconds(&MAX_PAUSE),
                "ms",
            ),
            Check::new("peak RSS", self.peak_bytes as f64 / MIB, MAX_STALLED_PEAK_MIB, "MiB"),
        ]
    }

    fn idle_checks(&self) -> Vec<Check> {
        let Some(idle) = &self.idle else { return Vec::new() };
        let empty = idle.empty_bytes as f64 / MIB;
        vec![
            Check::new("RSS without a client", empty, MAX_EMPTY_MIB, "MiB"),
            Check::new("RSS for each client", idle.per_client_kib(), MAX_IDLE_CLIENT_KIB, "KiB"),
            Check::new("CPU when idle", idle.cpu_per_mille(), MAX_IDLE_CPU_PER_MILLE, "per mille"),
        ]
    }
}

impl Idle {
    fn per_client_kib(&self) -> f64 {
        self.full_bytes.saturating_sub(self.empty_bytes) as f64 / KIB / self.clients as f64
    }

    fn cpu_per_mille(&self) -> f64 {
        self.cpu_ns as f64 / self.window.as_nanos() as f64 * 1000.0
    }
}

impl Check {
    const HEAD: &'static str =
        "work           limit                                            is        at most";

    fn new(what: &str, value: f64, limit: f64, unit: &'static str) -> Self {
        Self { what: what.to_owned(), value, limit, unit }
    }

    fn is_met(&self) -> bool {
        self.value <= self.limit
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, limit, unit } = self;
        let verdict = if self.is_met() { "ok" } else { "SHORT" };
        let digits = if value.fract() == 0.0 && limit.fract() == 0.0 { 0 } else { 2 };
        write!(f, "{what:<40} {value:>10.digits$} {limit:>14.digits$} {unit:<9} {verdict}")
    }
}

/// A sample as a line.
struct Line<'a>(&'a Sample);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sample) = self;
        if let (Some(cpu), Some(rate)) = (sample.cpu_per_delivery(), sample.per_second()) {
            write!(f, "{cpu:8.1} ns/delivery  {:8.3} M/s  ", rate / 1e6)?;
        }
        write!(f, "peak {:.1} MiB  lost {}", sample.peak_bytes as f64 / MIB, sample.lost)?;
        if sample.out_of_order > 0 {
            write!(f, "  out of order {}", sample.out_of_order)?;
        }
        if sample.cut > 0 {
            write!(f, "  disconnected {}", sample.cut)?;
        }
        if let (Some(p50), Some(p99)) = (sample.p50_ns, sample.p99_ns) {
            write!(f, "  p50 {} us  p99 {} us", p50 / 1000, p99 / 1000)?;
        }
        if let Some(stalled) = &sample.stalled {
            let cuts: Vec<_> =
                stalled.cut_after.iter().map(|cut| cut.as_millis().to_string()).collect();
            write!(f, "  cut after [{}] ms, others held ", cuts.join(", "))?;
            write!(f, "{} ms", stalled.held.as_millis())?;
        }
        if let Some(idle) = &sample.idle {
            write!(f, "  empty {:.2} MiB", idle.empty_bytes as f64 / MIB)?;
            write!(f, "  {:.2} KiB for each of {}", idle.per_client_kib(), idle.clients)?;
            write!(f, "  CPU {:.2} per mille", idle.cpu_per_mille())?;
        }
        Ok(())
    }
}

/// A work in the table: the reference's figures, then Veylor's.
struct Row {
    name: &'static str,
    cpu: [Option<f64>; 2],
    ratio: Option<f64>,
    limit: Option<f64>,
    verdict: &'static str,
    per_second: [Option<f64>; 2],
    peak_mib: [Option<f64>; 2],
    lost: [Option<u64>; 2],
    p50_us: [Option<f64>; 2],
    p99_us: [Option<f64>; 2],
}

impl Row {
    /// What stands above the rows.
    fn head() -> String {
        let groups = ["M deliveries/s", "peak RSS MiB", "lost", "p50 us", "p99 us"];
        let contenders = format!("{:>8}{:>8}", "ref", "veylor");
        format!(
            "{:31}{:23}{}\n{:<13}{:>10}{:>8}{:>7}{:>7}  {:<7}{}",
            "                CPU ns/delivery",
            "",
            groups.map(|group| format!("{group:>16}")).concat(),
            "work",
            "ref",
            "veylor",
            "ratio",
            "limit",
            "verdict",
            contenders.repeat(groups.len()),
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<13}", self.name)?;
        pair(f, self.cpu, 10, 1)?;
        write!(f, "{:>7}{:>7}  {:<7}", cell(self.ratio, 2), cell(self.limit, 2), self.verdict)?;
        pair(f, self.per_second.map(|rate| rate.map(|rate| rate / 1e6)), 8, 3)?;
        pair(f, self.peak_mib, 8, 1)?;
        pair(f, self.lost.map(|lost| lost.map(|lost| lost as f64)), 8, 0)?;
        pair(f, self.p50_us, 8, 0)?;
        pair(f, self.p99_us, 8, 0)
    }
}

fn pair(
    f: &mut fmt::Formatter<'_>,
    [reference, veylor]: [Option<f64>; 2],
    width: usize,
    digits: usize,
) -> fmt::Result {
    write!(f, "{:>width$}{:>8}", cell(reference, digits), cell(veylor, digits))
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Says on standard error why nothing was measured.
pub(crate) fn complain(failure: &Failure) {
    eprintln!("fanout: {failure}");
}
