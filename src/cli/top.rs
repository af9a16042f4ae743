//! `veylor top` and `veylor --tui`: the terminal UI, on a relay elsewhere or on the one of this
//! process.

use std::io::{self, BufRead};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::Failure;
use super::door::Socket;
use crate::daemon::signals::Signal;
use crate::daemon::{Daemon, Letter};
use crate::observe::snapshot::Event;
use crate::tui::{self, Action, End, Mode};

/// Events that wait to be drawn.
const MAX_WAITING_EVENTS: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// Attaches to a running relay until the operator quits or it ends.
pub(super) fn top(args: &Args) -> Result<(), Failure> {
    let lines = args.socket.lines("/api/events")?;
    let (sender, events) = mpsc::sync_channel(MAX_WAITING_EVENTS);
    spawn("veylor-events", move || pass_on(lines, &sender))?;
    let act = |action| match action {
        // A client that has gone meanwhile is what was wanted.
        Action::Disconnect(id) => {
            drop(args.socket.post(&format!("/api/clients/{id}/disconnect"), b""));
        }
        Action::Quit => {}
    };
    let title = args.socket.path().display().to_string();
    match tui::run_until_signal(events, act, Mode { may_act: true, title }).map_err(no_terminal)? {
        End::Asked => Ok(()),
        End::OfEvents => {
            let path = args.socket.path().display();
            Err(Failure::Refused(format!("the relay at {path} has ended")))
        }
    }
}

/// Shows the relay of this process, on a thread of its own. To quit is to stop the relay.
pub(super) fn beside(daemon: &mut Daemon) -> Result<thread::JoinHandle<io::Result<End>>, Failure> {
    let (events, post) = (daemon.watch(), daemon.post());
    let show = move |events: Receiver<Event>| {
        let act = |action| match action {
            Action::Disconnect(id) => post.send(Letter::Disconnect(id)),
            Action::Quit => {}
        };
        let shown = tui::run(events, act, Mode { may_act: true, title: "this relay".to_owned() });
        post.send(Letter::Signal(Signal::Stop));
        shown
    };
    thread::Builder::new()
        .name("veylor-tui".to_owned())
        .spawn(move || show(events))
        .map_err(no_terminal)
}

pub(super) fn no_terminal(error: io::Error) -> Failure {
    Failure::System("the terminal cannot be used".to_owned(), error)
}

fn spawn(name: &str, job: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(job).map(drop).map_err(no_terminal)
}

/// Reads events until the relay ends or nobody wants them any more.
fn pass_on(lines: impl BufRead, events: &SyncSender<Event>) {
    for line in lines.lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str(&line) else { continue };
        if events.send(event).is_err() {
            return;
        }
    }
}
