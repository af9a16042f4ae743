//! How a source is come by: what is done for a dial besides resolving its name, and on the way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{KeyPath, Problems};
use super::template::{Fillings, Template};
use super::value::short_duration;
use crate::net::dial::Exit;
use crate::net::proxy::Proxy;

/// The time of a program that makes a token, if nothing is said.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a source is come by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approach {
    /// The program that makes its token at each dial.
    pub token: Option<TokenCommand>,
    /// That program is killed after so long, if something is said of it.
    pub token_timeout: Option<Duration>,
    /// The proxy on the way, resolved anew at every dial.
    pub proxy: Option<Template>,
    /// Where its connections leave this machine.
    pub exit: Option<Exit>,
    /// How long what was sent may be unacknowledged; `None`: as the system likes, minutes.
    pub tcp_user_timeout: Option<Duration>,
    /// How often it is dialled at most; `None`: as often as the backoff says.
    pub dial_budget: Option<DialBudget>,
}

/// Dials at most in any span of that length. Shown as it is written: `300 per 5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialBudget {
    /// So many; at least 1.
    pub dials: usize,
    /// The span.
    pub span: Duration,
}

/// Dials of a budget at most: each is remembered.
pub const MAX_BUDGET_DIALS: usize = 10_000;

/// The longest span of a budget.
pub const MAX_BUDGET_SPAN: Duration = Duration::from_hours(24);

/// A program that prints a token. `Debug` keeps its arguments to itself: they may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenCommand {
    /// Its name, then its arguments.
    pub argv: Vec<String>,
}

impl TokenCommand {
    /// The folders of the files that its words name by an absolute path: the program's own, that of
    /// its script.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let words = self.argv.iter().flat_map(|word| word.split_whitespace());
        let files = words.map(Path::new).filter(|path| path.is_absolute() && path.is_file());
        files.filter_map(Path::parent).map(Path::to_owned).collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Display for DialBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.dials, short_duration(self.span))
    }
}

impl fmt::Debug for TokenCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.argv.first();
        f.debug_struct("TokenCommand").field("program", &program).finish_non_exhaustive()
    }
}

impl Approach {
    /// How long the program may take that makes its token.
    pub fn token_timeout(&self) -> Duration {
        self.token_timeout.unwrap_or(TOKEN_TIMEOUT)
    }

    /// The proxy of this moment. Reads files, so it may block.
    pub fn proxy(&self, fillings: &Fillings) -> Result<Option<Proxy>, String> {
        let Some(template) = &self.proxy else { return Ok(None) };
        let text = template.resolve_with(fillings).map_err(|error| error.to_string())?;
        Proxy::parse(&text).map(Some).map_err(|error| error.to_string())
    }

    /// What fills holes when no program shall run: a check, a start.
    pub(super) fn stand_ins(&self) -> Fillings {
        if self.token.is_some() { Fillings::stand_in() } else { Fillings::default() }
    }

    /// Adds what is wrong between its values.
    pub(super) fn check(&self, path: &KeyPath, problems: &mut Problems) {
        if self.token.is_none()
            && self.token_timeout.is_some()
            && !problems.mention(&path.key("token_command"))
        {
            problems.add(path.key("token_timeout"), "needs token_command beside it");
        }
        if let Err(why) = self.proxy(&self.stand_ins()) {
            problems.add(path.key("proxy"), why);
        }
    }

    /// The keys whose values are others, and count from the next dial on.
    pub(super) fn changed_limits(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            (self.token_timeout() != new.token_timeout(), "token_timeout"),
            (self.dial_budget != new.dial_budget, "dial_budget"),
        ];
        differs.into_iter().filter(|(differs, _)| *differs).map(|(_, key)| key).collect()
    }

    /// The keys whose values are others, so that it is come by in another way.
    pub(super) fn changes(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            (self.token != new.token, "token_command"),
            (self.proxy != new.proxy, "proxy"),
            (self.exit != new.exit, "bind"),
            (self.tcp_user_timeout != new.tcp_user_timeout, "tcp_user_timeout"),
        ];
        differs.into_iter().filter(|(differs, _)| *differs).map(|(_, key)| key).collect()
    }
}
