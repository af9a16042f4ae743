//! `veylor status`, `clients`, `disconnect`, `send`, `reload`: what an operator asks a running relay.

use std::io::{self, BufRead, Write};

use super::Failure;
use super::door::Socket;
use crate::observe::snapshot::{ChannelStatus, Snapshot, SourceStatus};
use crate::relay::stats::ClientStats;

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Prints JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct Disconnect {
    /// The number that `veylor clients` and the log show
    id: u64,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct Send {
    /// The name of the source
    source: String,
    /// The message; without it, each line of stdin is one
    text: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Shows every source and every channel.
pub(super) fn status(args: &Show) -> Result<(), Failure> {
    let text = args.socket.get("/api/status")?;
    if args.json {
        return print(&text);
    }
    let snapshot = parsed(&text)?;
    let header = ["SOURCE", "STATE", "FOR", "IN", "BYTES IN", "OUT", "DROPPED", "CONNECTS", "URL"];
    let sources = table(&header, snapshot.sources.iter().map(source_row));
    let header = ["CHANNEL", "CLIENTS", "SENT", "BYTES SENT", "DROPPED", "LAG", "PAUSED", "AT"];
    let channels = table(&header, snapshot.channels.iter().map(channel_row));
    print(&format!("{sources}\n{channels}"))
}

/// Shows every client.
pub(super) fn clients(args: &Show) -> Result<(), Failure> {
    let text = args.socket.get("/api/status")?;
    let snapshot = parsed(&text)?;
    if args.json {
        return print(&serde_json::to_string(&snapshot.clients).unwrap_or_default());
    }
    let header = [
        "ID",
        "CHANNEL",
        "WIRE",
        "PEER",
        "FOR",
        "LAG",
        "LAG BYTES",
        "LAG AGE",
        "SENT",
        "RECEIVED",
        "DROPPED",
        "AGENT",
    ];
    print(&table(&header, snapshot.clients.iter().map(client_row)))
}

/// Disconnects a client.
pub(super) fn disconnect(args: &Disconnect) -> Result<(), Failure> {
    print(&args.socket.post(&format!("/api/clients/{}/disconnect", args.id), b"")?)
}

/// Has the configuration read again.
pub(super) fn reload(args: &Reload) -> Result<(), Failure> {
    print(&args.socket.post_and_wait("/api/reload")?)
}

/// Sends a message, or each line of stdin, to a source.
pub(super) fn send(args: &Send) -> Result<(), Failure> {
    let path = source_path(&args.source, "send");
    if let Some(text) = &args.text {
        return print(&args.socket.post(&path, text.as_bytes())?);
    }
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::System("cannot read stdin".to_owned(), error))?;
        args.socket.post(&path, line.as_bytes())?;
    }
    Ok(())
}

/// Where the door has something of a source.
pub(super) fn source_path(name: &str, what: &str) -> String {
    format!("/api/sources/{}/{what}", percent_encoded(name))
}

/// A name as a step of a path (RFC 3986, section 2).
fn percent_encoded(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = name.bytes().map(|byte| match byte {
        byte if is_plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn source_row(source: &SourceStatus) -> Vec<String> {
    let stats = &source.stats;
    vec![
        stats.name.clone(),
        stats.state.clone(),
        span(stats.state_seconds),
        stats.received_messages.to_string(),
        stats.received_bytes.to_string(),
        stats.forwarded_messages.to_string(),
        stats.dropped_messages.to_string(),
        stats.connects.to_string(),
        source.url.clone(),
    ]
}

fn channel_row(channel: &ChannelStatus) -> Vec<String> {
    let stats = &channel.stats;
    vec![
        stats.name.clone(),
        stats.clients.to_string(),
        stats.sent_messages.to_string(),
        stats.sent_bytes.to_string(),
        stats.dropped_messages.to_string(),
        stats.max_lag_messages.to_string(),
        if stats.is_paused { "yes" } else { "no" }.to_owned(),
        channel.endpoints.join(" "),
    ]
}

fn client_row(client: &ClientStats) -> Vec<String> {
    vec![
        client.id.to_string(),
        client.channel.clone(),
        client.wire.clone(),
        client.peer.clone(),
        span(client.connected_seconds),
        client.lag_messages.to_string(),
        client.lag_bytes.to_string(),
        span(client.lag_seconds),
        client.sent_messages.to_string(),
        client.received_messages.to_string(),
        client.dropped_messages.to_string(),
        client.user_agent.clone().unwrap_or_default(),
    ]
}

/// Seconds as a person says them: `0.2s`, `42s`, `3m07s`, `5h12m`, `9d04h`.
fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded on purpose"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Columns as wide as their widest cell, a line a row.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|name| (*name).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn parsed(text: &str) -> Result<Snapshot, Failure> {
    let wrong = |_| Failure::Refused("the relay's answer is of another version".to_owned());
    serde_json::from_str(text).map_err(wrong)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "long".to_owned()], vec!["äöü".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["X", "Y"], rows.into_iter()), "X    Y\na    long\näöü  b\n");
    }

    #[test]
    fn spans_are_short() {
        let spans = [0.25, 42.0, 187.0, 18_720.0, 791_000.0].map(span);
        assert_eq!(spans, ["0.2s", "42s", "3m07s", "5h12m", "9d03h"]);
    }
}
