//! The relays under test, each a process of its own that does not outlive the generator.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fmt, io, iter};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, ioctl_tiocsctty, set_parent_process_death_signal, setsid};

use crate::failure::Failure;
use crate::meter::{self, Memory, Usage};
use crate::watcher::{Size, Terminal, Watcher};
use crate::{Bench, PATIENCE, raw};

/// The program, unless the variable `VEYLOR` names another.
const PROGRAM: &str = env!("CARGO_BIN_EXE_veylor");

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Veylor,
    /// Veylor with nobody looking on, or with clients that get everything in frames, for works in
    /// which that is different.
    Alone,
    /// The raw fan-out of this program.
    Raw,
    /// The tokio-tungstenite relay of this program.
    Tokio,
}

/// Where clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    WebSocket,
    Unix,
}

/// The address of an endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    WebSocket(SocketAddr),
    Unix(PathBuf),
}

/// What a relay is started for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) endpoint: Endpoint,
    /// Added to Veylor's settings.
    pub(crate) performance: &'a str,
    pub(crate) watcher: Option<Watcher>,
    /// What Veylor plays in place of the source.
    pub(crate) recording: Option<Recording<'a>>,
}

/// A recording that is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recording<'a> {
    pub(crate) file: &'a Path,
    /// Clients that it waits for.
    pub(crate) audience: usize,
}

/// A running relay; dropping it kills and reaps it, and who looks on.
#[derive(Debug)]
pub(crate) struct Relay {
    child: Child,
    address: Address,
    /// Where operators come in, if any may.
    door: Option<PathBuf>,
    top: Option<Child>,
    /// What is drawn on by who looks on, if anybody does.
    terminal: Option<Terminal>,
    log: PathBuf,
}

/// A folder for configuration, sockets and logs, removed with its content.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Relay {
    /// Starts a relay; who looks on from outside comes with [`Self::admit_top`].
    pub(crate) fn start(
        contender: Contender,
        job: &Job<'_>,
        bench: &Bench,
    ) -> Result<Self, Failure> {
        let Job { source, endpoint, watcher, .. } = *job;
        let Bench { scratch, cpus } = bench;
        let socket = scratch.fresh("clients.sock")?;
        let log = scratch.fresh("log")?;
        let door = watcher.map(|_| scratch.fresh("admin.sock")).transpose()?;
        let mut command = this_program()?;
        command.stdin(Stdio::null());
        let mut terminal = None;
        let address = match contender {
            Contender::Raw | Contender::Tokio => {
                command.arg(if contender == Contender::Raw { "--raw" } else { "--tokio" });
                command.arg(source.to_string()).stdout(Stdio::piped());
                (endpoint == Endpoint::Unix).then(|| command.arg(&socket));
                None
            }
            Contender::Veylor | Contender::Alone => {
                let address = match endpoint {
                    Endpoint::WebSocket => Address::WebSocket(free_address()?),
                    Endpoint::Unix => Address::Unix(socket.clone()),
                };
                let config = scratch.fresh("config.yaml")?;
                fs::write(&config, configuration(job, &address, door.as_deref()))
                    .map_err(Failure::during("writing a configuration"))?;
                command.arg("--exec").arg(program()).arg("-c").arg(&config).stdout(Stdio::null());
                if let (Contender::Veylor, Some(Watcher::Tui(size))) = (contender, watcher) {
                    command.arg("--tui");
                    terminal = Some(Terminal::before(&mut command, size)?);
                }
                Some(address)
            }
        };
        let stderr = File::create(&log).map_err(Failure::during("creating a log"))?;
        let child = command
            .stderr(stderr)
            .spawn()
            .map_err(Failure::during(format_args!("starting {contender}")))?;
        // From here on the child is killed if anything fails.
        let mut relay =
            Self { child, address: Address::Unix(socket), door, top: None, terminal, log };
        cpus.give_relay_share(relay.child.id())?;
        match address {
            Some(address) => relay.address = address,
            None => relay.hear_address(endpoint)?,
        }
        Ok(relay)
    }

    /// Lets `veylor top` look on at a relay that has opened its doors.
    pub(crate) fn admit_top(&mut self, size: Size) -> Result<(), Failure> {
        let Some(door) = &self.door else { return Err(Failure::new("the relay has no door")) };
        let mut command = this_program()?;
        command.arg("--exec").arg(program()).args(["top", "--socket"]).arg(door);
        self.terminal = Some(Terminal::before(&mut command, size)?);
        let child = command.stderr(Stdio::null()).spawn();
        self.top = Some(child.map_err(Failure::during("starting veylor top"))?);
        Ok(())
    }

    /// How much who looks on has drawn; `None` if nobody does.
    pub(crate) fn drawn_bytes(&self) -> Option<u64> {
        self.terminal.as_ref().map(Terminal::drawn_bytes)
    }

    fn hear_address(&mut self, endpoint: Endpoint) -> Result<(), Failure> {
        let Some(out) = self.child.stdout.take() else { return Ok(()) };
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&timeout));
        if ready.map_err(Failure::during("the relay's address"))? == 0 {
            return Err(Failure::new("the relay has not told its address within 10 s"));
        }
        let line = raw::announcement(out)?;
        if endpoint == Endpoint::WebSocket {
            let Ok(address) = line.parse() else { return Err(self.obituary()) };
            self.address = Address::WebSocket(address);
        }
        Ok(())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        meter::usage(self.child.id())
    }

    pub(crate) fn memory(&self) -> Result<Memory, Failure> {
        meter::memory(self.child.id())
    }

    pub(crate) fn descriptors(&self) -> Result<usize, Failure> {
        meter::descriptors(self.child.id())
    }

    /// Waits until the relay has accepted so many connections that it holds `wanted` descriptors.
    pub(crate) fn wait_for_descriptors(&self, wanted: usize) -> Result<(), Failure> {
        let deadline_ns = meter::now_ns() + meter::nanoseconds(PATIENCE);
        while self.descriptors()? < wanted {
            if meter::now_ns() > deadline_ns {
                return Err(Failure::new(format!(
                    "the relay holds {} descriptors where {wanted} are expected",
                    self.descriptors()?
                )));
            }
            meter::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Fails, with the end of its log, if the relay has ended.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(self.obituary()),
            Err(error) => Err(Failure::during("the relay's state")(error)),
        }
    }

    /// The failure that the end of the log explains.
    fn obituary(&self) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        Failure::new(format!("the relay has ended; its last words: {}", lines.join(" / ")))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for child in iter::once(&mut self.child).chain(&mut self.top) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Scratch {
    pub(crate) fn create() -> Result<Self, Failure> {
        // A Unix socket's path has at most 107 bytes, so this is the short way, not `target/tmp`.
        let path = env::temp_dir().join(format!("veylor-fanout-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Failure::during("creating a temporary folder"))?;
        Ok(Self(path))
    }

    /// A path in the folder where no file is.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::during("clearing the temporary folder")(error))
            }
            _ => Ok(path),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Veylor => "veylor",
            Self::Alone => "alone",
            Self::Raw => "raw",
            Self::Tokio => "tokio",
        })
    }
}

/// Makes the kernel kill this process when its parent dies, however that happens.
pub(crate) fn die_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::during("a death signal"))
}

/// Becomes another program that dies with its parent, and whose terminal is the one at standard
/// input, if there is one; returns only if that fails.
pub(crate) fn become_program(program: &Path, args: &[String]) -> Failure {
    if let Err(failure) = die_with_parent().and_then(|()| take_terminal()) {
        return failure;
    }
    Failure::during(program.display())(Command::new(program).args(args).exec())
}

/// Makes `/dev/tty` mean the terminal at standard input: it is asked for its size.
fn take_terminal() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    setsid()
        .and_then(|_| ioctl_tiocsctty(io::stdin()))
        .map_err(Failure::during("taking a terminal"))
}

fn this_program() -> Result<Command, Failure> {
    env::current_exe().map(Command::new).map_err(Failure::during("finding this program"))
}

/// Veylor, or what is measured in its place.
fn program() -> OsString {
    env::var_os("VEYLOR").unwrap_or_else(|| PROGRAM.into())
}

fn configuration(job: &Job<'_>, address: &Address, door: Option<&Path>) -> String {
    let endpoint = match address {
        Address::WebSocket(address) => {
            format!("    websocket_host: {}\n    websocket_port: {}", address.ip(), address.port())
        }
        Address::Unix(path) => format!("    unix_socket_path: {}", path.display()),
    };
    let admin = door.map_or_else(String::new, |door| {
        format!("admin:\n  unix_socket_path: {}\n", door.display())
    });
    let source = match job.recording {
        None => format!("    url: ws://{}/", job.source),
        // So fast that the last message alone has to wait: the thread is seen until then.
        Some(Recording { file, audience }) => format!(
            "    url: file:{}\n    speed: 1000\n    wait_for_clients: {audience}",
            file.display()
        ),
    };
    format!(
        "sources:\n  - name: bench\n{source}\n{endpoint}\n{admin}\
         performance:\n  reconnect_delay: 0.05\n  max_connection_rate: 0\n{}",
        job.performance
    )
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::during("finding a free port"))
}
