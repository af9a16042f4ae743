//! `veylor relay URL`: one service without a file.

use std::path::PathBuf;

use super::Failure;
use crate::config;
use crate::config::settings::Settings;

/// Where clients connect when nothing is said.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8765";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service, such as `wss://example.com/stream`; `${env:NAME}` keeps a secret out of sight
    url: String,
    #[command(flatten)]
    doors: Doors,
}

/// Where clients connect.
#[derive(Debug, clap::Args)]
pub(super) struct Doors {
    /// Where WebSocket clients connect [default: 127.0.0.1:8765, unless --unix is given]
    #[arg(long, value_name = "ADDR")]
    pub(super) ws: Option<String>,
    /// Where Unix clients connect
    #[arg(long, value_name = "PATH")]
    pub(super) unix: Option<PathBuf>,
}

impl Doors {
    /// The keys of a source that open them.
    pub(super) fn lines(&self) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        let default = self.unix.is_none().then_some(DEFAULT_ADDRESS);
        if let Some(address) = self.ws.as_deref().or(default) {
            let (host, port) = host_and_port(address)?;
            lines.push(format!("    websocket_host: {}", quoted(host)));
            lines.push(format!("    websocket_port: {}", quoted(port)));
        }
        if let Some(path) = &self.unix {
            let path =
                path.to_str().ok_or_else(|| Failure::Usage("--unix is not UTF-8".to_owned()))?;
            lines.push(format!("    unix_socket_path: {}", quoted(path)));
        }
        Ok(lines)
    }
}

/// The settings of a configuration with this one source and the defaults.
pub(super) fn settings(args: &Args) -> Result<Settings, Failure> {
    let mut lines = vec!["sources:".to_owned(), format!("  - url: {}", quoted(&args.url))];
    lines.extend(args.doors.lines()?);
    config::parse(&lines.join("\n")).map_err(|error| in_arguments(&error, &[("url", "URL")]))
}

/// The first problem of a configuration that nobody wrote, by the argument it comes from.
pub(super) fn in_arguments(error: &config::Error, own: &[(&str, &str)]) -> Failure {
    let config::Error::Problems { problems, .. } = error else {
        return Failure::Usage(error.to_string());
    };
    let doors = [("websocket_", "--ws"), ("unix_", "--unix")];
    let argument_of = |path: &str| {
        let key = path.rsplit('.').next().unwrap_or_default();
        let mut arguments = own.iter().chain(&doors);
        arguments.find(|(start, _)| key.starts_with(start)).map_or("", |(_, name)| name)
    };
    let told = problems.first().map(|p| format!("{}: {}", argument_of(&p.path), p.message));
    Failure::Usage(told.unwrap_or_default())
}

/// Takes `HOST:PORT`, `[HOST]:PORT` or `PORT` apart.
fn host_and_port(address: &str) -> Result<(&str, &str), Failure> {
    if address.parse::<u16>().is_ok() {
        return Ok(("127.0.0.1", address));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(|| {
        Failure::Usage(format!("--ws {address}: expected HOST:PORT, such as {DEFAULT_ADDRESS}"))
    })?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((if host.is_empty() { "127.0.0.1" } else { host }, port))
}

/// A YAML string.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ws: Option<&str>, unix: Option<&str>) -> Vec<String> {
        let doors = Doors { ws: ws.map(Into::into), unix: unix.map(Into::into) };
        let args = Args { url: "ws://example.com/it's".into(), doors };
        let settings = settings(&args).unwrap();
        settings.endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_what_was_asked_for() {
        assert_eq!(addresses(None, None), ["ws://127.0.0.1:8765"]);
        assert_eq!(addresses(Some("9000"), None), ["ws://127.0.0.1:9000"]);
        assert_eq!(addresses(Some("[::1]:9000"), None), ["ws://[::1]:9000"]);
        assert_eq!(addresses(None, Some("/tmp/x.sock")), ["unix:/tmp/x.sock"]);
        let both = addresses(Some("0.0.0.0:1"), Some("/tmp/x.sock"));
        assert_eq!(both, ["ws://0.0.0.0:1", "unix:/tmp/x.sock"]);
    }

    #[test]
    fn wrong_address_is_a_usage_error() {
        let args = |url: &str, ws: Option<&str>| Args {
            url: url.into(),
            doors: Doors { ws: ws.map(Into::into), unix: None },
        };
        assert!(matches!(settings(&args("ws://x", Some("nonsense"))), Err(Failure::Usage(_))));
        let error = settings(&args("nonsense", None)).unwrap_err().to_string();
        assert!(error.starts_with("veylor: URL: is not a URL"), "{error}");
    }
}
