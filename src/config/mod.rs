//! From a YAML file to settings that can be used.
//!
//! `raw` turns the text into a tree, `section` takes typed values out of it, `input` knows the
//! keys, `build` makes settings of them. Each collects problems and goes on, so that a reader of
//! the error sees all of them at once; `locate` finds their lines afterwards.

mod access;
pub mod approach;
mod build;
mod doors;
pub mod error;
mod feed;
mod input;
mod locate;
mod message;
mod named;
mod pattern;
mod performance;
pub mod plan;
mod problem;
mod raw;
pub mod recording;
pub mod reload;
mod section;
mod secure;
pub mod session;
pub mod settings;
mod shared;
pub mod target;
pub mod template;
mod value;

use std::path::{Path, PathBuf};

pub use error::Error;

use problem::Problems;
use settings::Settings;

/// Reads and checks a configuration file, and the secrets it names.
pub fn load(path: &Path) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Error::Unreadable { file: path.to_owned(), cause })?;
    let settings = parse(&text).map_err(|error| error.in_file(path))?;
    Ok(Settings { file: Some(path.to_owned()), ..settings })
}

/// A configuration file and the files that it names, whether they are right or wrong: secrets,
/// certificates, keys.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    // What is no file, a pipe perhaps, cannot be read a second time.
    if path.is_file()
        && let Ok(text) = std::fs::read_to_string(path)
        && let Ok(tree) = raw::parse(&text)
    {
        files.extend(named::files(&tree));
    }
    files
}

/// Checks a configuration, and the secrets it names.
pub fn parse(text: &str) -> Result<Settings, Error> {
    let tree = raw::parse(text)
        .map_err(|problem| Error::Problems { file: None, problems: vec![problem] })?;
    let mut problems = Problems::default();
    let input = input::read(tree, &mut problems);
    let settings = build::build(input, &mut problems);
    if problems.is_empty() {
        return Ok(settings);
    }
    let problems = problems.located(|path| locate::locate(text, path));
    Err(Error::Problems { file: None, problems })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listener::Address;
    use crate::relay::settings::ChannelId;

    const EXAMPLE: &str = include_str!("../../config.yaml.example");

    /// A build without TLS checks the same files, their urls aside.
    fn suited(text: &str) -> String {
        if cfg!(feature = "tls") { text.to_owned() } else { text.replace("wss:", "ws:") }
    }

    fn settings(text: &str) -> Settings {
        parse(&suited(text)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn addresses(settings: &Settings) -> Vec<(usize, String)> {
        settings.endpoints.iter().map(|e| (e.channel().unwrap().0, e.to_string())).collect()
    }

    fn at(channel: usize, address: &str) -> (usize, String) {
        (channel, address.to_owned())
    }

    #[test]
    fn example_file_is_right_as_it_stands() {
        let settings = settings(EXAMPLE);
        assert_eq!(settings.warnings, [""; 0]);
        assert_eq!(addresses(&settings), [at(0, "ws://127.0.0.1:8765")]);
    }

    #[test]
    fn example_file_names_every_key() {
        let sections = [
            input::TOP_KEYS,
            input::SOURCE_KEYS,
            recording::RECORD_KEYS,
            recording::ROTATE_KEYS,
            input::REBROADCAST_KEYS,
            input::LISTEN_KEYS,
            input::PROLOGUE_KEYS,
            input::LAST_VALUE_KEYS,
            input::WEBSOCKET_KEYS,
            input::TLS_KEYS,
            input::UNIX_SOCKET_KEYS,
            input::ADMIN_KEYS,
            input::LOG_KEYS,
            input::PERFORMANCE_KEYS,
            pattern::PATTERN_KEYS,
            input::STEP_KEYS,
            input::COMMAND_KEYS,
            input::HEARTBEAT_KEYS,
            input::REPLY_KEYS,
            input::DEDUP_KEYS,
        ];
        let has_line_for = |key: &str| {
            let begins = |line: &str| line.trim_start_matches([' ', '#', '-']).starts_with(key);
            EXAMPLE.lines().any(|line| begins(line) && line.contains(&format!("{key}:")))
        };
        let missing: Vec<_> =
            sections.concat().into_iter().filter(|key| !has_line_for(key)).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn example_file_shows_the_defaults() {
        let source = "sources: [{url: 'wss://example.com/stream', websocket_port: 8765, \
                      websocket_host: 127.0.0.1}]";
        let (example, defaults) = (settings(EXAMPLE), settings(source));
        assert_eq!(example.channels, defaults.channels);
        assert_eq!(example.sources[0].relay, defaults.sources[0].relay);
        assert_eq!(example.coalesce, defaults.coalesce);
    }

    #[test]
    fn example_file_is_right_with_every_line_taken_in() {
        let taken_in = |line: &str| {
            let bare = line.trim_start();
            let indent = &line[..line.len() - bare.len()];
            // A remark has a blank behind its sign, and so has a line below a key of ours.
            match bare.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') || key.starts_with("  ") => {
                    format!("{indent}{key}\n")
                }
                Some(_) | None => format!("{line}\n"),
            }
        };
        let (_, body) = EXAMPLE.split_once("\nsources:").unwrap();
        let text: String = format!("sources:{body}").lines().map(taken_in).collect();
        // Files that are not there, and what a build without TLS has no use for.
        let files = ["tls:", "ca_file:", "client_ca_file:", "cert_file:", "key_file:"];
        let trust = ["server_name:", "fingerprint:"];
        let begins =
            |line: &str, keys: &[&str]| keys.iter().any(|key| line.trim_start().starts_with(key));
        let is_kept =
            |line: &&str| !begins(line, &files) && (cfg!(feature = "tls") || !begins(line, &trust));
        let secret = |line: &str| match line.split_once("${file:") {
            Some((before, after)) => {
                let (_, rest) = after.split_once('}').unwrap();
                format!("{before}${{env:NO_SUCH_VARIABLE:-x}}{rest}\n")
            }
            None => format!("{line}\n"),
        };
        let text: String = text.lines().filter(is_kept).map(secret).collect();
        if cfg!(not(all(feature = "programs", feature = "recording"))) {
            let told = parse(&suited(&text)).unwrap_err().to_string();
            let lacks = |line: &str| line.contains("needs a veylor that was built with the");
            assert!(told.lines().all(lacks), "{told}");
            return;
        }
        let settings = settings(&text);
        assert_eq!(settings.channels.len(), 4);
        assert_eq!(settings.endpoints.len(), 10, "the admin doors are endpoints, too");
        assert_eq!(settings.warnings, [""; 0]);
    }

    #[test]
    fn python_file_for_several_feeds_works_unchanged() {
        let text = "\
# Veylor Configuration
sources:
  # Binance BTC trades
  - name: binance_btc
    url: wss://stream.binance.com:9443/ws/btcusdt@trade
    websocket_port: 8765
    unix_socket_path: /tmp/veylor_btc.sock

  - name: binance_eth
    url: \"wss://stream.binance.com:9443/ws/ethusdt@trade\"
    websocket_port: 8766
    websocket_host: \"127.0.0.1\"

performance:
  max_queue_size: 1000
  reconnect_delay: 5
  reconnect_max_attempts: 0  # 0 = infinite
";
        let settings = settings(text);
        let expected = [
            at(0, "ws://0.0.0.0:8765"),
            at(0, "unix:/tmp/veylor_btc.sock"),
            at(1, "ws://127.0.0.1:8766"),
        ];
        assert_eq!(addresses(&settings), expected);
        assert_eq!(settings.warnings.len(), 1);
    }

    #[test]
    fn python_file_with_rebroadcast_works_unchanged() {
        let text = "\
sources:
  - url: wss://api.example.com/v1/stream
    headers:
      Authorization: Bearer abc123
      X-Client-Id: 42
  - url: wss://api.example.com/v2/stream
    name:
rebroadcast:
  websocket:
    enabled: True
    host: 0.0.0.0
    port: 8765
  unix_socket:
    enabled: yes
    path: /tmp/veylor.sock
performance:
  max_queue_size: 500
  reconnect_delay: 0.5
  reconnect_max_attempts: 10
";
        let settings = settings(text);
        let names: Vec<&str> = settings.sources.iter().map(|s| s.relay.name.as_str()).collect();
        assert_eq!(names, ["api.example.com", "api.example.com-2"]);
        assert_eq!(
            addresses(&settings),
            [at(0, "ws://0.0.0.0:8765"), at(0, "unix:/tmp/veylor.sock")]
        );
        assert_eq!(settings.channels[0].max_queue_size, 500);
        assert_eq!(settings.sources[0].relay.reconnect_max_attempts, 10);
        let headers = settings.sources[0].target(&template::Fillings::default()).unwrap().headers;
        assert_eq!(headers[1], ("X-Client-Id".to_owned(), "42".to_owned()));
        let [open] = &*settings.warnings else { panic!("{:?}", settings.warnings) };
        assert!(open.contains("may connect to ws://0.0.0.0:8765:"), "{open}");
    }

    #[test]
    fn python_file_with_the_least_and_odd_quoting_works_unchanged() {
        let text = "\
---
sources: [{url: 'ws://127.0.0.1:9000', unix_socket_path: ./feed.sock, websocket_port: '9001'}]
rebroadcast:
  websocket: {enabled: false, host: 0.0.0.0, port: 8765}
  unix_socket: {enabled: false, path: /tmp/veylor.sock}
performance: {reconnect_delay: 120, reconnect_max_attempts: 3}
...
";
        let settings = settings(text);
        assert_eq!(addresses(&settings), [at(0, "ws://0.0.0.0:9001"), at(0, "unix:./feed.sock")]);
        let socket = Address::Unix { path: PathBuf::from("./feed.sock"), mode: 0o660 };
        assert_eq!(settings.endpoints[1].address, socket);
        assert_eq!(settings.endpoints[1].channel(), Some(ChannelId(0)));
    }

    #[test]
    fn all_problems_are_told_at_once_in_the_order_of_the_file() {
        let text = "\
sources:
  - name: a
    url: ws://a
    websocket_port: 70000
    slow_client: dropoldest
  - name: b
    websocket_port: 8765
    url: http://b
    headers: {Host: c, X-Key: '${env:NO_SUCH_VARIABLE}'}
  - {name: a, unix_socket_path: [x]}
performance:
  coalesce: 1s
  max_queue_siez: 5
rebroadcast: 5
sauces: []
";
        let file = Path::new("config.yaml");
        let error = parse(text).unwrap_err().in_file(file).to_string();
        let expected = [
            "config.yaml:4:5: sources[0].websocket_port: expected a port from 1 to 65535, found 70000",
            "config.yaml:5:5: sources[0].slow_client: expected disconnect or drop_oldest, \
             found \"dropoldest\", did you mean drop_oldest?",
            "config.yaml:8:5: sources[1].url: scheme \"http\" is not ws or wss",
            "config.yaml:9:15: sources[1].headers.Host: is made from the url: put the name there",
            "config.yaml:9:24: sources[1].headers.X-Key: environment variable NO_SUCH_VARIABLE is not set",
            "config.yaml:10:5: sources[2].url: is missing, such as wss://example.com/stream",
            "config.yaml:10:6: sources[2].name: \"a\" is the name of another source, too",
            "config.yaml:10:15: sources[2].unix_socket_path: expected a path of 1 to 107 bytes \
             (the system's limit), found a list",
            "config.yaml:12:3: performance.coalesce: expected a duration from 0 to 100ms, \
             such as 20s, 100ms or 0.5, found \"1s\"",
            "config.yaml:13:3: performance.max_queue_siez: unknown key, did you mean max_queue_size?",
            "config.yaml:14:1: rebroadcast: expected keys and values, found 5",
            "config.yaml:15:1: sauces: unknown key, did you mean sources?",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn file_without_sources_is_told_what_to_write() {
        for text in ["", "sources:\n", "sources: []", "performance: {}"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("sources: there is nothing to dial"), "{error}");
        }
        let error = parse("[1]").unwrap_err().to_string();
        assert!(error.starts_with("1:1: expected keys and values, found a list"), "{error}");
    }

    #[test]
    fn wrong_item_does_not_shift_the_places_of_those_behind_it() {
        let text = "sources:\n  - 5\n  - {name: a, url: 'http://h', websocket_port: 1}\n";
        let expected = "2:5: sources[0]: expected keys and values, found 5\n\
                        3:15: sources[1].url: scheme \"http\" is not ws or wss";
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
        let error = parse("sources: [5]").unwrap_err().to_string();
        assert_eq!(error, "1:11: sources[0]: expected keys and values, found 5");
    }

    #[test]
    fn loaded_file_is_named_in_its_problems() {
        let path = std::env::temp_dir().join(format!("veylor-load-{}.yaml", std::process::id()));
        std::fs::write(&path, "sources:\n- {websocket_port: 1}\n").unwrap();
        let error = load(&path).unwrap_err().to_string();
        let expected = format!("{}:2:3: sources[0].url: is missing", path.display());
        assert!(error.starts_with(&expected), "{error}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn secrets_are_in_no_error_and_no_debug() {
        let path = std::env::temp_dir().join(format!("veylor-secret-{}", std::process::id()));
        std::fs::write(&path, "hunter2\nhunter2\n").unwrap();
        let hole = format!("${{file:{}}}", path.display());
        let source = |n: u16, url: &str, value: &str| {
            format!("  - {{url: \"{url}\", headers: {{X: \"{value}\"}}, websocket_port: {n}}}\n")
        };
        let wrong = [
            source(1, &hole, &hole),
            source(2, &format!("ws://{hole}@host/"), "hunter2\\n"),
            source(3, "http://host/?hunter2", "${hunter2}"),
            source(4, "ws://u:hunter2@host:0/?hunter2", "x"),
            format!("performance: {{coalesce: \"{hole}\", max_clients: \"{hole}\"}}\n"),
        ];
        let error = parse(&format!("sources:\n{}", wrong.concat())).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 9, "{error}");
        let shown = format!("{error}{error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");

        for misplaced in [
            "sources: ws://u:hunter2@host",
            "sources: [ws://u:hunter2@host]",
            "sources: [{url: 'ws://host', websocket_port: 1, headers: 'X: hunter2'}]",
        ] {
            let shown = parse(misplaced).unwrap_err().to_string();
            assert!(shown.contains("found a text") && !shown.contains("hunter2"), "{shown}");
        }

        let said = "    on_connect: [hunter2, {send: {k: hunter2}, wait_for: {equals: hunter2}}]\n    \
                    heartbeat: {send: hunter2}\n    \
                    reply_to: [{match: {contains: hunter2}, send: hunter2}]\n";
        let command = "    on_connect_command: [login, hunter2]\n";
        let command = if cfg!(feature = "programs") { command } else { "" };
        let right = source(1, "ws://u:hunter2@host/?hunter2", "Bearer hunter2");
        let right = right.replace("  - {", "  - ").replace(", headers", "\n    headers");
        let right =
            right.replace(", websocket_port: 1}", "\n    websocket_port: 1") + said + command;
        let settings = settings(&format!("sources:\n{right}"));
        let shown = format!(
            "{settings:?}{}{:?}",
            settings.plan(),
            settings.sources[0].target(&template::Fillings::default())
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        std::fs::remove_file(&path).unwrap();
    }
}
