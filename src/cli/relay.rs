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
    /// Where WebSocket clients connect [default: 127.0.0.1:8765, unless --unix is given]
    #[arg(long, value_name = "ADDR")]
    ws: Option<String>,
    /// Where Unix clients connect
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
}

/// The settings of a configuration with this one source and the defaults.
pub(super) fn settings(args: &Args) -> Result<Settings, Failure> {
    let mut lines = vec!["sources:".to_owned(), format!("  - url: {}", quoted(&args.url))];
    let default = args.unix.is_none().then_some(DEFAULT_ADDRESS);
    if let Some(address) = args.ws.as_deref().or(default) {
        let (host, port) = host_and_port(address)?;
        lines.push(format!("    websocket_host: {}", quoted(host)));
        lines.push(format!("    websocket_port: {}", quoted(port)));
    }
    if let Some(path) = &args.unix {
        let path = path.to_str().ok_or_else(|| Failure::Usage("--unix is not UTF-8".to_owned()))?;
        lines.push(format!("    unix_socket_path: {}", quoted(path)));
    }
    config::parse(&lines.join("\n")).map_err(|error| in_arguments(&error))
}

/// The first problem of a configuration that nobody wrote, by the argument it comes from.
fn in_arguments(error: &config::Error) -> Failure {
    let config::Error::Problems { problems, .. } = error else {
        return Failure::Usage(error.to_string());
    };
    let arguments = [("url", "URL"), ("websocket_", "--ws"), ("unix_", "--unix")];
    let argument_of = |path: &str| {
        let key = path.rsplit('.').next().unwrap_or_default();
        arguments.iter().find(|(start, _)| key.starts_with(start)).map_or("", |(_, name)| name)
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
        let args = Args {
            url: "ws://example.com/it's".into(),
            ws: ws.map(Into::into),
            unix: unix.map(Into::into),
        };
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
        let args = Args { url: "ws://x".into(), ws: Some("nonsense".into()), unix: None };
        assert!(matches!(settings(&args), Err(Failure::Usage(_))));
        let args = Args { url: "nonsense".into(), ws: None, unix: None };
        let error = settings(&args).unwrap_err().to_string();
        assert!(error.starts_with("veylor: URL: is not a URL"), "{error}");
    }
}
