//! `veylor tap`: messages of a source as they pass through a running relay.

use std::io::{self, BufRead, BufWriter, IsTerminal, Write};

use super::Failure;
use super::ask::source_path;
use super::door::Socket;
use crate::observe::tapped::{TapEvent, TappedMessage};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name of the source
    source: String,
    /// Shows what is sent to the source, not what comes from it
    #[arg(long)]
    forwarded: bool,
    /// Prints JSON, an object a line: time, kind, size, text or base64
    #[arg(long)]
    json: bool,
    /// Ends after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    socket: Socket,
}

/// Prints messages until there were enough, nobody reads them, or the relay ends.
pub(super) fn tap(args: &Args) -> Result<(), Failure> {
    let what = if args.forwarded { "forwarded" } else { "received" };
    let events = args.socket.lines(&source_path(&args.source, what))?;
    match print(events, args) {
        Ok(Ended::Enough) => Ok(()),
        Ok(Ended::Relay) => Err(Failure::Refused(format!(
            "the relay at {} has ended, or has no source {} any more",
            args.socket.path().display(),
            args.source
        ))),
        // Whoever has read enough (`| head`) ends it well.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::System("cannot print".to_owned(), error)),
    }
}

/// Why no more is printed.
enum Ended {
    Enough,
    Relay,
}

fn print(mut events: io::BufReader<impl io::Read>, args: &Args) -> io::Result<Ended> {
    let mut output = BufWriter::new(io::stdout().lock());
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut line = String::new();
    while left > 0 {
        // What is there leaves before anything is waited for.
        if !events.buffer().contains(&b'\n') {
            output.flush()?;
        }
        line.clear();
        if events.read_line(&mut line).unwrap_or(0) == 0 {
            return output.flush().map(|()| Ended::Relay);
        }
        // A later relay may tell more than this program knows.
        let Ok(event) = serde_json::from_str(&line) else { continue };
        left -= u64::from(matches!(event, TapEvent::Message(_)));
        match event {
            _ if args.json => output.write_all(line.as_bytes())?,
            TapEvent::Message(message) => print_payload(message, &mut output)?,
            TapEvent::Missed { messages } => {
                say(&format!("{messages} messages missed here, they are read too slowly"));
            }
        }
    }
    output.flush().map(|()| Ended::Enough)
}

fn print_payload(message: TappedMessage, output: &mut impl Write) -> io::Result<()> {
    let size = message.size;
    let Some(payload) = message.into_payload() else {
        say(&format!("a message of {size} bytes left out here, more than a tap shows at once"));
        return Ok(());
    };
    if io::stdout().is_terminal() {
        return writeln!(output, "{}", harmless(&String::from_utf8_lossy(&payload)));
    }
    output.write_all(&payload)?;
    output.write_all(b"\n")
}

/// A text that cannot steer a terminal.
fn harmless(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.replace(is_harmful, "\u{fffd}")
}

/// Says what is not a message.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "veylor: {what}");
}
