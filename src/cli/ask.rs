//! `veylor status`, `clients`, `disconnect`, `send`, `reload`: what an operator asks a running relay.

use std::io::{self, BufRead};

use serde_json::Value;

use super::door::Socket;
use super::{Failure, print};
use crate::codec::request::MAX_BODY_BYTES;
use crate::net::url::percent_encoded;

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
    /// The number that `veylor clients` shows, or the log, as in `trades#7`
    #[arg(value_parser = client_number)]
    id: u64,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, clap::Args)]
pub(super) struct Redial {
    /// The name of the source
    source: String,
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
    /// The message, at most 1 MiB; without it, each line of stdin is one
    text: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// A column of a table: its title, the field of the status that it shows, and how.
///
/// A relay of another version is shown as far as it has these fields.
type Column = (&'static str, &'static str, fn(&Value) -> String);

const SOURCES: &[Column] = &[
    ("SOURCE", "name", plain),
    ("STATE", "state", plain),
    ("FOR", "state_seconds", span),
    ("IN", "received_messages", plain),
    ("BYTES IN", "received_bytes", plain),
    ("OUT", "forwarded_messages", plain),
    ("DROPPED", "dropped_messages", plain),
    ("CONNECTS", "connects", plain),
    ("REDIAL", "redial_seconds", span),
    ("SUBPROTOCOL", "subprotocol", plain),
    ("URL", "url", plain),
    ("LAST ERROR", "last_error", plain),
];

const CHANNELS: &[Column] = &[
    ("CHANNEL", "name", plain),
    ("CLIENTS", "clients", plain),
    ("SENT", "sent_messages", plain),
    ("BYTES SENT", "sent_bytes", plain),
    ("DROPPED", "dropped_messages", plain),
    ("LAG", "max_lag_messages", plain),
    ("PAUSED", "is_paused", plain),
    ("AT", "endpoints", plain),
];

const CLIENTS: &[Column] = &[
    ("ID", "id", plain),
    ("CHANNEL", "channel", plain),
    ("WIRE", "wire", plain),
    ("WANTS", "filter", plain),
    ("PEER", "peer", plain),
    ("NAME", "name", plain),
    ("FOR", "connected_seconds", span),
    ("LAG", "lag_messages", plain),
    ("LAG BYTES", "lag_bytes", plain),
    ("LAG AGE", "lag_seconds", span),
    ("SENT", "sent_messages", plain),
    ("RECEIVED", "received_messages", plain),
    ("DROPPED", "dropped_messages", plain),
    ("AGENT", "user_agent", plain),
];

/// Shows every source and every channel.
pub(super) fn status(args: &Show) -> Result<(), Failure> {
    let text = args.socket.get("/api/status")?;
    if args.json {
        return print(&text);
    }
    let status = parsed(&text)?;
    let (sources, channels) = (&status["sources"], &status["channels"]);
    print(&format!("{}\n{}", table(SOURCES, sources), table(CHANNELS, channels)))
}

/// Shows every client.
pub(super) fn clients(args: &Show) -> Result<(), Failure> {
    let clients = &parsed(&args.socket.get("/api/status")?)?["clients"];
    print(&if args.json { clients.to_string() } else { table(CLIENTS, clients) })
}

/// Disconnects a client.
pub(super) fn disconnect(args: &Disconnect) -> Result<(), Failure> {
    print(&args.socket.post(&format!("/api/clients/{}/disconnect", args.id), b"")?)
}

/// Has a source dialled anew.
pub(super) fn redial(args: &Redial) -> Result<(), Failure> {
    print(&args.socket.post(&source_path(&args.source, "redial"), b"")?)
}

/// Has the configuration read again.
pub(super) fn reload(args: &Reload) -> Result<(), Failure> {
    print(&args.socket.post_and_wait("/api/reload")?)
}

/// Sends a message, or each line of stdin, to a source.
pub(super) fn send(args: &Send) -> Result<(), Failure> {
    if let Some(text) = &args.text {
        return print(&send_one(args, text)?);
    }
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::System("cannot read stdin".to_owned(), error))?;
        send_one(args, &line)?;
    }
    Ok(())
}

fn send_one(args: &Send, text: &str) -> Result<String, Failure> {
    if text.len() > MAX_BODY_BYTES {
        let (size, most) = (text.len(), MAX_BODY_BYTES);
        return Err(Failure::Refused(format!(
            "a message of {size} bytes is too large to be sent by hand: at most {most}"
        )));
    }
    args.socket.post(&source_path(&args.source, "send"), text.as_bytes())
}

/// The number of a client, with or without the channel in front of it.
fn client_number(text: &str) -> Result<u64, String> {
    let number = text.rsplit_once('#').map_or(text, |(_, number)| number);
    number.parse().map_err(|_| "expected a number, such as 7 or trades#7".to_owned())
}

/// Where the door has something of a source.
pub(super) fn source_path(name: &str, what: &str) -> String {
    format!("/api/sources/{}/{what}", percent_encoded(name))
}

/// A value as it is; what is not there as nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(is_so) => if *is_so { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Seconds as a person says them: `0.2s`, `42s`, `3m07s`, `5h12m`, `9d04h`.
fn span(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_f64() else { return String::new() };
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

/// A line for each of `rows`, and columns as wide as their widest cell.
fn table(columns: &[Column], rows: &Value) -> String {
    let header = columns.iter().map(|(title, ..)| (*title).to_owned()).collect();
    let cells = |row: &Value| columns.iter().map(|(_, field, shown)| shown(&row[field])).collect();
    let rows = rows.as_array().into_iter().flatten().map(cells);
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn parsed(text: &str) -> Result<Value, Failure> {
    let wrong = |_| Failure::Refused("the relay's answer is no JSON".to_owned());
    serde_json::from_str(text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::snapshot::{ChannelStatus, SourceStatus};
    use crate::relay::stats::ClientStats;

    #[test]
    fn columns_show_what_the_status_has() {
        let sources = serde_json::to_value(SourceStatus::default()).unwrap();
        let channels = serde_json::to_value(ChannelStatus::default()).unwrap();
        let clients = serde_json::to_value(ClientStats::default()).unwrap();
        for (columns, row) in [(SOURCES, sources), (CHANNELS, channels), (CLIENTS, clients)] {
            for (_, field, _) in columns {
                assert!(row.get(field).is_some(), "{field}");
            }
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns: &[Column] = &[("X", "x", plain), ("Y", "y", plain)];
        let rows = json!([{"x": "a", "y": "long"}, {"x": "äöü", "y": true}, {"y": [1, 2]}]);
        assert_eq!(table(columns, &rows), "X    Y\na    long\näöü  yes\n     1 2\n");
    }

    #[test]
    fn spans_are_short() {
        let spans = [0.25, 42.0, 187.0, 18_720.0, 791_000.0].map(|seconds| span(&json!(seconds)));
        assert_eq!(spans, ["0.2s", "42s", "3m07s", "5h12m", "9d03h"]);
    }
}
