//! Who runs where.
//!
//! The relay has a CPU of its own and the clients have another, so that the scheduler does not
//! decide anew each time whether they share one; the source, which has little to do, runs on any.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;

/// The CPUs that this program may use, divided among those who take part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    all: CpuSet,
    clients: CpuSet,
    relay: CpuSet,
}

impl Cpus {
    /// With a single CPU all share it.
    pub(crate) fn divide() -> Result<Self, Failure> {
        let all = sched_getaffinity(None).map_err(Failure::during("asking for CPUs"))?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let one = |cpu: Option<usize>| {
            let mut set = CpuSet::new();
            cpu.map_or(all, |cpu| {
                set.set(cpu);
                set
            })
        };
        let clients = one(allowed.next());
        Ok(Self { all, clients, relay: one(allowed.next_back()) })
    }

    /// Moves the calling thread, which serves the clients.
    pub(crate) fn take_clients_share(&self) -> Result<(), Failure> {
        sched_setaffinity(None, &self.clients).map_err(Failure::during("choosing a CPU"))
    }

    /// Moves the calling thread, which serves the source.
    pub(crate) fn take_any(&self) -> Result<(), Failure> {
        sched_setaffinity(None, &self.all).map_err(Failure::during("choosing a CPU"))
    }

    /// Moves another process, which is the relay.
    pub(crate) fn give_relay_share(&self, pid: u32) -> Result<(), Failure> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        sched_setaffinity(pid, &self.relay).map_err(Failure::during("choosing the relay's CPU"))
    }
}
