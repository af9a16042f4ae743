//! The command line: one file a command.

#[cfg(feature = "control")]
mod ask;
mod check;
#[cfg(feature = "manual")]
mod completions;
mod demo;
#[cfg(any(feature = "control", feature = "tui"))]
mod door;
#[cfg(feature = "manual")]
mod man;
#[cfg(feature = "recording")]
mod record;
mod relay;
#[cfg(feature = "recording")]
mod replay;
mod run;
#[cfg(feature = "control")]
mod tap;
#[cfg(feature = "tui")]
mod top;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::settings::Log as LogSettings;
use crate::daemon::logging::{Logging, Manner};
use crate::{config, daemon};

/// The file that is read when none is named.
const DEFAULT_CONFIG: &str = "config.yaml";

/// Shares one upstream WebSocket connection among many local programs.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 ended as asked, 1 runtime failure, 2 usage or configuration, 3 an address could not \
be bound."
)]
struct Cli {
    /// The configuration [default: config.yaml in this folder]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Logs more: what peers do wrong, every dial
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Shows what the relay does in the terminal, instead of a log
    #[cfg(feature = "tui")]
    #[arg(long)]
    tui: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows what it does: a feed of its own behind a real relay, on this machine alone
    Demo(demo::Args),
    /// Relays one service without a configuration file
    Relay(relay::Args),
    /// Records what one service sends, without a configuration file
    #[cfg(feature = "recording")]
    Record(record::Args),
    /// Plays a recording to clients, without a configuration file
    #[cfg(feature = "recording")]
    Replay(replay::Args),
    /// Tells all that is wrong with a configuration, or what it comes to
    Check(check::Args),
    /// Shows a running relay in the terminal
    #[cfg(feature = "tui")]
    Top(top::Args),
    /// Shows the sources and channels of a running relay
    #[cfg(feature = "control")]
    Status(ask::Show),
    /// Shows the clients of a running relay
    #[cfg(feature = "control")]
    Clients(ask::Show),
    /// Disconnects a client of a running relay
    #[cfg(feature = "control")]
    Disconnect(ask::Disconnect),
    /// Prints messages as they pass through a running relay
    #[cfg(feature = "control")]
    Tap(tap::Args),
    /// Sends a message to a source of a running relay
    #[cfg(feature = "control")]
    Send(ask::Send),
    /// Has a source of a running relay dialled anew, with its secrets read again
    #[cfg(feature = "control")]
    Redial(ask::Redial),
    /// Has a running relay read its configuration again
    #[cfg(feature = "control")]
    Reload(ask::Reload),
    /// Prints the script that lets a shell complete commands and options
    #[cfg(feature = "manual")]
    Completions(completions::Args),
    /// Prints the manual page of the program or of a command, for `man -l -`
    #[cfg(feature = "manual")]
    Man(man::Args),
}

/// Why a command ended other than well. Printed in one place, as `veylor: …`.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The configuration is wrong.
    Config(config::Error),
    /// The relay could not start or go on.
    Daemon(daemon::Error),
    /// Something else that the system refused.
    System(String, io::Error),
    /// All sources have given up; the log has said so.
    NothingToRelay,
    /// So many messages are missing in a recording; the log has said why.
    #[cfg_attr(not(feature = "recording"), expect(dead_code, reason = "nothing is recorded"))]
    NotRecorded(u64),
    /// A recording cannot be played.
    #[cfg_attr(not(feature = "recording"), expect(dead_code, reason = "nothing is played"))]
    Unplayable(String),
    /// A running relay says no.
    #[cfg_attr(
        not(any(feature = "control", feature = "tui")),
        expect(dead_code, reason = "only a command that asks a relay is refused")
    )]
    Refused(String),
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_error) => {
            let _ = help_or_error.print();
            return ExitCode::from(u8::try_from(help_or_error.exit_code()).unwrap_or(2));
        }
    };
    let result = run(cli);
    log::logger().flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = |named: Option<PathBuf>| named.unwrap_or_else(|| DEFAULT_CONFIG.into());
    let manner = Manner { is_verbose: cli.verbose, is_silent: false };
    match cli.command {
        Some(Command::Check(args)) => check::check(&config(args.config.or(cli.config))),
        #[cfg(feature = "manual")]
        Some(Command::Completions(args)) => completions::completions(&args),
        #[cfg(feature = "manual")]
        Some(Command::Man(args)) => man::man(&args),
        Some(Command::Demo(args)) => demo::demo(&args, logging(&LogSettings::default(), manner)?),
        Some(Command::Relay(args)) => {
            let settings = relay::settings(&args)?;
            let logging = logging(&settings.log, manner)?;
            run::run(settings, logging).map(drop)
        }
        #[cfg(feature = "recording")]
        Some(Command::Record(args)) => {
            let settings = record::settings(&args)?;
            let logging = logging(&settings.log, manner)?;
            record::record(settings, logging)
        }
        #[cfg(feature = "recording")]
        Some(Command::Replay(args)) => {
            let settings = replay::settings(&args)?;
            let logging = logging(&settings.log, manner)?;
            replay::replay(settings, logging)
        }
        #[cfg(feature = "tui")]
        Some(Command::Top(args)) => top::top(&args),
        #[cfg(feature = "control")]
        Some(Command::Status(args)) => ask::status(&args),
        #[cfg(feature = "control")]
        Some(Command::Clients(args)) => ask::clients(&args),
        #[cfg(feature = "control")]
        Some(Command::Disconnect(args)) => ask::disconnect(&args),
        #[cfg(feature = "control")]
        Some(Command::Tap(args)) => tap::tap(&args),
        #[cfg(feature = "control")]
        Some(Command::Send(args)) => ask::send(&args),
        #[cfg(feature = "control")]
        Some(Command::Redial(args)) => ask::redial(&args),
        #[cfg(feature = "control")]
        Some(Command::Reload(args)) => ask::reload(&args),
        None => {
            let settings = config::load(&config(cli.config)).map_err(Failure::Config)?;
            #[cfg(feature = "tui")]
            if cli.tui {
                let logging = logging(&settings.log, Manner { is_silent: true, ..manner })?;
                return run::run_with_ui(settings, logging);
            }
            let logging = logging(&settings.log, manner)?;
            run::run(settings, logging).map(drop)
        }
    }
}

/// Prints; whoever has read enough (`| head`) ends it well.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System("cannot print".to_owned(), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn logging(settings: &LogSettings, manner: Manner) -> Result<Logging, Failure> {
    Logging::start(settings, manner).map_err(Failure::Daemon)
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Daemon(
                daemon::Error::System(_) | daemon::Error::Mode(..) | daemon::Error::Log(..),
            )
            | Self::System(..)
            | Self::NothingToRelay
            | Self::NotRecorded(_)
            | Self::Unplayable(_)
            | Self::Refused(_) => 1,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Daemon(daemon::Error::Bind(_)) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) | Self::Unplayable(error) | Self::Refused(error) => {
                write!(f, "veylor: {error}")
            }
            // A line of its own for each problem, each with the name of the file.
            Self::Config(error) => error.fmt(f),
            Self::Daemon(error) => write!(f, "veylor: {error}"),
            Self::System(what, error) => write!(f, "veylor: {what}: {error}"),
            Self::NothingToRelay => f.write_str("veylor: ended, every source has given up"),
            Self::NotRecorded(1) => f.write_str("veylor: 1 message was not recorded"),
            Self::NotRecorded(count) => write!(f, "veylor: {count} messages were not recorded"),
        }
    }
}
