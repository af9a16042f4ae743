//! Makes settings of an input: fills defaults in, and finds what is wrong between values.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::input::{
    AdminInput, Input, LogInput, RebroadcastInput, SourceInput, UnixSocketInput, WebSocketInput,
};
use super::performance::{Performance, check_byte_rate};
use super::plan::rounded_size;
use super::problem::{KeyPath, Problems};
use super::recording::{self, Record};
use super::settings::{Endpoint, EndpointTls, Guests, Log, Settings, Source};
use super::shared::overlap;
use super::target;
use super::template::{Fillings, Template};
use crate::codec::auth::Auth;
use crate::net::admission::Admission;
use crate::net::listener::Address;
use crate::net::url::WsUrl;
use crate::relay::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};

/// The channel that all sources feed.
const REBROADCAST: &str = "rebroadcast";

/// The old default, kept for old files: all interfaces.
const DEFAULT_HOST: &str = "0.0.0.0";
/// The default of new keys: this machine alone.
const LOCAL_HOST: &str = "127.0.0.1";
const DEFAULT_REBROADCAST_PORT: u16 = 8765;
const DEFAULT_MODE: u32 = 0o660;
/// Who may steer the relay: its own user.
const ADMIN_MODE: u32 = 0o600;

/// Settings of an input. They are of use only if no problem was added.
pub(super) fn build(input: Input, problems: &mut Problems) -> Settings {
    let performance = Performance::from(input.performance, problems);
    let settings = Settings {
        file: None,
        sources: Vec::new(),
        channels: Vec::new(),
        endpoints: Vec::new(),
        admin_auth: Auth::default(),
        log: log(input.log),
        sandbox: input.sandbox.unwrap_or(true),
        state_file: input.state_file,
        coalesce: performance.coalesce,
        warnings: Vec::new(),
    };
    let mut builder = Builder {
        performance,
        settings,
        listening: Vec::new(),
        recordings: Vec::new(),
        unset_hosts: Vec::new(),
        is_shared: input.listen.is_some(),
        problems,
    };
    let rebroadcasts = input.rebroadcast.is_enabled();
    builder.sources(input.sources, rebroadcasts);
    if rebroadcasts {
        builder.rebroadcast(input.rebroadcast);
    }
    if let Some(listen) = input.listen {
        builder.listen_for_all(listen);
    }
    builder.admin(input.admin);
    builder.warn_of_open_doors();
    builder.check_memory();
    builder.settings
}

fn log(input: LogInput) -> Log {
    let defaults = Log::default();
    Log {
        level: input.level.unwrap_or(defaults.level),
        format: input.format.unwrap_or(defaults.format),
        file: input.file,
    }
}

pub(super) struct Builder<'a> {
    pub(super) performance: Performance,
    pub(super) settings: Settings,
    /// Addresses so far, and the keys they come from.
    listening: Vec<(KeyPath, Address)>,
    /// Recordings so far, and the keys of their paths.
    pub(super) recordings: Vec<(KeyPath, Record)>,
    /// The keys of hosts that are not set.
    pub(super) unset_hosts: Vec<KeyPath>,
    /// Whether all channels have an endpoint together.
    pub(super) is_shared: bool,
    pub(super) problems: &'a mut Problems,
}

/// An endpoint, and the key that asks for it.
pub(super) struct Door {
    pub(super) key: KeyPath,
    pub(super) address: Address,
    pub(super) tls: Option<EndpointTls>,
    pub(super) admission: Admission,
    /// Messages are spoken there without HTTP.
    pub(super) is_bare: bool,
}

impl Builder<'_> {
    fn sources(&mut self, inputs: Vec<SourceInput>, rebroadcasts: bool) {
        let path = KeyPath::default().key("sources");
        if inputs.is_empty() && !self.problems.mention(&path) {
            let message = "there is nothing to dial: name a service, such as \
                           `- url: wss://example.com/stream`";
            self.problems.add(path, message);
        }
        let from_urls: Vec<Option<String>> = inputs.iter().map(|input| self.check(input)).collect();
        let names = self.names(&inputs, &from_urls, rebroadcasts);
        for (input, name) in inputs.into_iter().zip(names) {
            self.source(&name, input, rebroadcasts);
        }
        self.check_leg_names();
    }

    /// Resolves what a source dials with once, so that what is missing is told before the start. The
    /// name that comes from its url.
    fn check(&mut self, input: &SourceInput) -> Option<String> {
        let fillings = input.approach.stand_ins();
        self.check_session(input, &fillings);
        self.check_headers(input, &fillings);
        let mut subprotocols = HashSet::new();
        if let Some(twice) = input.subprotocols.iter().find(|name| !subprotocols.insert(*name)) {
            self.problems.add(input.path.key("subprotocols"), format!("{twice} is given twice"));
        }
        input.approach.check(&input.path, self.problems);
        self.check_urls(input, &fillings)
    }

    fn check_session(&mut self, input: &SourceInput, fillings: &Fillings) {
        if let Err(error) = input.session.script(fillings) {
            let path = input.path.key(error.key);
            let path = match error.index {
                Some(index) => path.index(index),
                None => path,
            };
            self.problems.add(path, error.cause());
        }
    }

    fn check_headers(&mut self, input: &SourceInput, fillings: &Fillings) {
        let mut names = HashSet::new();
        for (name, value) in &input.headers {
            let path = input.path.key("headers").key(name);
            if let Err(error) = target::resolved_header(name, value, fillings) {
                self.problems.add(path, error.to_string());
            } else if !names.insert(name.to_ascii_lowercase()) {
                self.problems.add(path, "is given twice, letters' case does not count");
            }
        }
    }

    pub(super) fn check_url(
        &mut self,
        path: &KeyPath,
        url: Option<&Template>,
        fillings: &Fillings,
    ) -> Option<String> {
        let Some(url) = url else {
            if !self.problems.mention(path) {
                self.problems.add(path.clone(), "is missing, such as wss://example.com/stream");
            }
            return None;
        };
        if let Ok(Some(file)) = recording::recording(url) {
            return self.check_recording(path, &file);
        }
        match target::resolved_url(url, fillings) {
            Ok(url) if url.is_tls() && !cfg!(feature = "tls") => {
                let message = "scheme \"wss\" needs a veylor that was built with the feature `tls`";
                self.problems.add(path.clone(), message);
                None
            }
            Ok(url) => Some(host_name(&url)),
            Err(error) => {
                self.problems.add(path.clone(), error.to_string());
                None
            }
        }
    }

    /// Names as given, else from the urls' hosts, numbered where several have the same.
    fn names(
        &mut self,
        inputs: &[SourceInput],
        from_urls: &[Option<String>],
        rebroadcasts: bool,
    ) -> Vec<String> {
        let mut taken = HashSet::new();
        for (input, name) in inputs.iter().filter_map(|input| Some((input, input.name.as_ref()?))) {
            let path = input.path.key("name");
            if rebroadcasts && name == REBROADCAST {
                self.problems.add(path, "\"rebroadcast\" names the channel of all sources");
            } else if !taken.insert(name.clone()) {
                self.problems.add(path, format!("{name:?} is the name of another source, too"));
            }
        }
        taken.insert(REBROADCAST.to_owned());
        let name_of = |(input, from_url): (&SourceInput, &Option<String>)| {
            let host = || from_url.clone().unwrap_or_else(|| "source".to_owned());
            input.name.clone().unwrap_or_else(|| unused_name(&host(), &mut taken))
        };
        inputs.iter().zip(from_urls).map(name_of).collect()
    }

    fn source(&mut self, name: &str, mut input: SourceInput, rebroadcasts: bool) {
        let first = self.settings.sources.len();
        let legs = input.legs(name);
        self.warn_of_idle_keys(&input);
        let trust = std::mem::take(&mut input.trust);
        let trust = self.trust(&input.path, trust, input.safest_url().as_ref());
        let (replay, record) = (self.replay(&input), self.record(&input));
        let doors = self.source_doors(&input);
        let is_heard = rebroadcasts || self.is_shared || input.record.is_some();
        if doors.is_empty() && !is_heard {
            self.refuse_deaf_source(&input.path);
        } else if !doors.is_empty() || self.is_shared {
            let origins = input.allowed_origins;
            let ids = (first..first + legs.len()).map(SourceId).collect();
            let channel = self.performance.channel(name, ids, input.manners);
            let channel = ChannelSettings {
                allowed_origins: origins,
                auth: input.auth,
                subprotocols: input.subprotocols.clone(),
                tcp_framing: input.tcp_framing.unwrap_or_default(),
                ..channel
            };
            self.check_history(&input.path, &input.latecomers);
            self.channel(input.latecomers.apply(channel), doors);
        }
        for (n, (url, leg)) in legs.into_iter().enumerate() {
            let label = leg.as_ref().filter(|_| n > 0).map(|leg| leg.label.clone());
            self.settings.sources.push(Source {
                relay: SourceSettings {
                    idle_timeout: input.idle_timeout,
                    max_age: input.max_age,
                    leg,
                    ..self.performance.source(label.unwrap_or_else(|| name.to_owned()))
                },
                url,
                headers: input.headers.clone(),
                subprotocols: input.subprotocols.clone(),
                trust: trust.clone(),
                approach: input.approach.clone(),
                session: input.session.clone(),
                replay,
                record: record.clone().filter(|_| n == 0),
            });
        }
    }

    /// Adds the problem of a source without clients, unless it comes from another problem.
    fn refuse_deaf_source(&mut self, path: &KeyPath) {
        let rebroadcast = KeyPath::default().key(REBROADCAST);
        let listen = KeyPath::default().key("listen");
        let keys = ["websocket_port", "unix_socket_path", "tcp_port"].map(|key| path.key(key));
        let causes = keys.into_iter().chain([rebroadcast, listen]).collect::<Vec<_>>();
        if !causes.iter().any(|cause| self.problems.mention(cause)) {
            let message = "nobody could get its messages: give it a websocket_port, a \
                           unix_socket_path, a tcp_port or a record, or set listen, or enable \
                           rebroadcast";
            self.problems.add(path.clone(), message);
        }
    }

    fn source_doors(&mut self, input: &SourceInput) -> Vec<Door> {
        let path = &input.path;
        let mut doors = Vec::new();
        if let Some(port) = input.websocket_port {
            let host =
                self.host_or_default(path.key("websocket_host"), input.websocket_host.clone());
            doors.push(Door {
                key: path.key("websocket_port"),
                address: Address::Tcp { host, port },
                tls: self.endpoint_tls(&path.key("tls"), input.tls.as_ref()),
                admission: input.networks.clone(),
                is_bare: false,
            });
        }
        if let Some(port) = input.tcp_port {
            let host = input.tcp_host.clone().unwrap_or_else(|| LOCAL_HOST.to_owned());
            doors.push(Door {
                key: path.key("tcp_port"),
                address: Address::Tcp { host, port },
                tls: self.endpoint_tls(&path.key("tls"), input.tls.as_ref()),
                admission: input.networks.clone(),
                is_bare: true,
            });
        }
        if let Some(socket) = input.unix_socket_path.clone() {
            doors.push(Door {
                key: path.key("unix_socket_path"),
                address: unix_address(socket, input.unix_socket_mode),
                tls: None,
                admission: input.processes.clone(),
                is_bare: false,
            });
        }
        doors
    }

    fn rebroadcast(&mut self, input: RebroadcastInput) {
        let path = KeyPath::default().key(REBROADCAST);
        let mut doors = Vec::new();
        let (mut allowed_origins, mut auth) = (Vec::new(), Auth::default());
        if let Some(websocket) = input.websocket {
            if websocket.is_enabled() {
                let path = path.key("websocket");
                let port = websocket.port.unwrap_or(DEFAULT_REBROADCAST_PORT);
                let host = self.host_or_default(path.key("host"), websocket.host);
                doors.push(Door {
                    key: path.key("port"),
                    address: Address::Tcp { host, port },
                    tls: self.endpoint_tls(&path.key("tls"), websocket.tls.as_ref()),
                    admission: websocket.networks,
                    is_bare: false,
                });
            }
            // These count at the port of all channels, too.
            (allowed_origins, auth) = (websocket.allowed_origins, websocket.auth);
        }
        if let Some(unix_socket) = input.unix_socket.filter(UnixSocketInput::is_enabled) {
            let path = path.key("unix_socket").key("path");
            if let Some(socket) = unix_socket.path {
                let address = unix_address(socket, unix_socket.mode);
                let admission = unix_socket.processes;
                doors.push(Door { key: path, address, tls: None, admission, is_bare: false });
            } else if !self.problems.mention(&path) {
                self.problems.add(path, "is missing, such as /run/veylor/all.sock");
            }
        }
        let sources = (0..self.settings.sources.len()).map(SourceId).collect();
        let channel = self.performance.channel(REBROADCAST, sources, input.manners);
        let subprotocols = common_subprotocols(&self.settings.sources);
        let channel = ChannelSettings { auth, allowed_origins, subprotocols, ..channel };
        self.check_history(&path, &input.latecomers);
        self.channel(input.latecomers.apply(channel), doors);
    }

    fn admin(&mut self, input: AdminInput) {
        let path = KeyPath::default().key("admin");
        self.warn_of_idle_admin_keys(&path, &input);
        if let Some((host, port)) = input.listen {
            self.settings.admin_auth = input.auth;
            let door = Door {
                key: path.key("listen"),
                address: Address::Tcp { host, port },
                tls: self.endpoint_tls(&path.key("tls"), input.tls.as_ref()),
                admission: input.networks,
                is_bare: false,
            };
            self.listen(door, Guests::Operators);
        }
        if let Some(socket) = input.unix_socket_path {
            let address = unix_address(socket, Some(ADMIN_MODE));
            let (key, admission) = (path.key("unix_socket_path"), Admission::default());
            let door = Door { key, address, tls: None, admission, is_bare: false };
            self.listen(door, Guests::Operators);
        }
    }

    fn channel(&mut self, channel: ChannelSettings, doors: Vec<Door>) {
        let id = ChannelId(self.settings.channels.len());
        check_byte_rate(&channel, self.problems);
        self.settings.channels.push(channel);
        for door in doors {
            self.listen(door, Guests::Clients(id));
        }
    }

    /// Adds an endpoint, if its address is free in this file.
    pub(super) fn listen(&mut self, door: Door, guests: Guests) {
        let Door { key: path, address, tls, admission, is_bare } = door;
        let other = self.listening.iter().find(|(_, other)| overlap(other, &address));
        if let Some((other, _)) = other.filter(|_| !self.problems.mention(&path)) {
            let message = format!("{address} is taken by {other} already");
            self.problems.add(path.clone(), message);
        }
        self.listening.push((path, address.clone()));
        let max_connection_rate = self.performance.max_connection_rate;
        let endpoint = Endpoint { guests, address, is_bare, tls, admission, max_connection_rate };
        self.settings.endpoints.push(endpoint);
    }

    fn host_or_default(&mut self, key: KeyPath, host: Option<String>) -> String {
        host.unwrap_or_else(|| {
            self.unset_hosts.push(key);
            DEFAULT_HOST.to_owned()
        })
    }

    /// Refuses settings whose worst case is above the limit.
    fn check_memory(&mut self) {
        let Some(limit) = self.performance.memory_limit.filter(|_| self.problems.is_empty()) else {
            return;
        };
        let plan = self.settings.plan();
        let largest = plan.shares.iter().max_by_key(|share| share.worst_bytes);
        if let Some(largest) = largest.filter(|_| plan.worst_bytes() > limit) {
            let path = KeyPath::default().key("performance").key("memory_limit");
            let message = format!(
                "these settings may take {} at worst, which is above {}; the most, {}, is for {}: \
                 lower max_clients, max_client_message_size or max_message_size, or raise the limit",
                rounded_size(plan.worst_bytes()),
                rounded_size(limit),
                rounded_size(largest.worst_bytes),
                largest.what,
            );
            self.problems.add(path, message);
        }
    }
}

impl RebroadcastInput {
    fn is_enabled(&self) -> bool {
        self.websocket.as_ref().is_some_and(WebSocketInput::is_enabled)
            || self.unix_socket.as_ref().is_some_and(UnixSocketInput::is_enabled)
    }
}

impl WebSocketInput {
    fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}

impl UnixSocketInput {
    fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}

fn unix_address(path: PathBuf, mode: Option<u32>) -> Address {
    Address::Unix { path, mode: mode.unwrap_or(DEFAULT_MODE) }
}

/// The host of a url; an address says little without its port.
fn host_name(url: &WsUrl) -> String {
    let is_address = url.host().parse::<IpAddr>().is_ok();
    if is_address { format!("{}:{}", url.host(), url.port()) } else { url.host().to_owned() }
}

/// `host`, or `host-2` and so on if that is taken.
fn unused_name(host: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{host}-{number}"));
    let mut names = std::iter::once(host.to_owned()).chain(numbered);
    names.find(|name| taken.insert(name.clone())).expect("numbers do not run out")
}

/// What every source speaks, for a client of all of them.
fn common_subprotocols(sources: &[Source]) -> Vec<String> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let common = |subprotocol: &&String| {
        others.iter().all(|source| source.subprotocols.contains(*subprotocol))
    };
    first.subprotocols.iter().filter(common).cloned().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::approach::Approach;
    use super::super::input::PerformanceInput;
    use super::super::parse;
    use super::*;
    use crate::config::session::SessionTemplate;
    use crate::net::certificate::Trust;
    use crate::relay::settings::{OnSourceLoss, SlowClient, TcpFraming, UnixMessageType};

    /// A source as `relay` and `target` tests need it.
    pub(in super::super) fn source(url: &str) -> Source {
        let input = PerformanceInput::default();
        let performance = Performance::from(input, &mut Problems::default());
        Source {
            relay: performance.source("a".to_owned()),
            url: Template::parse(url).unwrap(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            trust: Trust::default(),
            approach: Approach::default(),
            session: SessionTemplate::default(),
            replay: None,
            record: None,
        }
    }

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().to_string().lines().map(str::to_owned).collect()
    }

    fn problem(text: &str) -> String {
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.concat()
    }

    fn names(settings: &Settings) -> Vec<&str> {
        settings.sources.iter().map(|source| source.relay.name.as_str()).collect()
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    fn unix(path: &str) -> Address {
        unix_address(PathBuf::from(path), None)
    }

    fn endpoints(settings: &Settings) -> Vec<(&str, &Address)> {
        let name = |id: ChannelId| settings.channels[id.0].name.as_str();
        settings.endpoints.iter().map(|e| (name(e.channel().unwrap()), &e.address)).collect()
    }

    #[test]
    fn smallest_file_gets_the_documented_defaults() {
        let settings =
            parse("sources: [{url: 'ws://example.com/x', websocket_port: 8765}]").unwrap();
        assert_eq!(names(&settings), ["example.com"]);
        assert_eq!(endpoints(&settings), [("example.com", &tcp("0.0.0.0", 8765))]);
        assert_eq!(settings.coalesce, Duration::from_micros(200));
        let expected = ChannelSettings {
            name: "example.com".to_owned(),
            sources: vec![SourceId(0)],
            max_queue_size: 1000,
            max_queue_bytes: 1 << 20,
            max_pause: Duration::from_millis(500),
            slow_client: SlowClient::Disconnect,
            on_source_loss: OnSourceLoss::Keep,
            read_only: false,
            max_client_message_size: 1 << 20,
            max_clients: 1024,
            max_clients_per_address: usize::MAX,
            max_client_message_rate: 0,
            max_client_byte_rate: 0,
            auth: Auth::default(),
            allowed_origins: Vec::new(),
            subprotocols: Vec::new(),
            unix_message_type: UnixMessageType::Auto,
            tcp_framing: TcpFraming::Newline,
            history: 0,
            replay: 0,
            prologue: None,
            last_value: None,
            max_filters: 16,
        };
        assert_eq!(settings.channels, [expected]);
        let relay = &settings.sources[0].relay;
        assert_eq!(relay.max_message_size, 16 << 20);
        assert_eq!(relay.reconnect_delay, Duration::from_secs(5));
        assert_eq!(relay.reconnect_max_delay, Duration::from_mins(1));
        assert_eq!(relay.reconnect_max_attempts, 0);
    }

    #[test]
    fn byte_rate_at_which_a_message_takes_long_is_refused() {
        let text = |size: &str| {
            format!(
                "{{sources: [{{name: a, url: 'ws://h', websocket_port: 1, websocket_host: '::1', \
                 max_client_byte_rate: 10KiB}}], performance: {{max_client_message_size: {size}}}}}"
            )
        };
        let error = problem(&text("1MiB"));
        let words = "performance.max_client_message_size: a client of channel a may send messages \
                     of 1 MiB, which would take 102 s at its max_client_byte_rate: lower this to \
                     100 KiB, or raise the rate";
        assert!(error.contains(words), "{error}");
        assert!(parse(&text("100KiB")).is_ok());
    }

    #[test]
    fn worst_case_above_the_limit_is_refused() {
        let text = |limit: &str| {
            format!(
                "{{sources: [{{url: 'ws://h', websocket_port: 1, websocket_host: '::1'}}], \
                 performance: {{memory_limit: {limit}}}}}"
            )
        };
        let error = problem(&text("100MiB"));
        let words = "performance.memory_limit: these settings may take 1.6 GiB at worst, which is \
                     above 100 MiB; the most, 1.3 GiB, is for 1024 clients of ws://[::1]:1";
        assert!(error.contains(words), "{error}");
        assert!(parse(&text("2GiB")).is_ok());
    }

    #[test]
    fn port_and_socket_of_a_source_share_its_channel() {
        let text = "\
sources:
  - name: a
    url: ws://h
    websocket_port: 1
    websocket_host: '[::1]'
    unix_socket_path: /tmp/a.sock
    unix_socket_mode: '0600'
    unix_message_type: binary
    read_only: true
    slow_client: drop_oldest
    on_source_loss: close
    allowed_origins: ['https://example.com']
    max_clients: 5
    subprotocols: [v2, v1]
performance: {max_clients: 7}
";
        let settings = parse(text).unwrap();
        let socket = Address::Unix { path: PathBuf::from("/tmp/a.sock"), mode: 0o600 };
        assert_eq!(endpoints(&settings), [("a", &tcp("::1", 1)), ("a", &socket)]);
        let [channel] = &settings.channels[..] else { panic!("one channel") };
        assert_eq!(channel.unix_message_type, UnixMessageType::Binary);
        assert_eq!(channel.slow_client, SlowClient::DropOldest);
        assert_eq!(channel.on_source_loss, OnSourceLoss::Close);
        assert!(channel.read_only);
        assert_eq!(channel.max_clients, 5);
        assert_eq!(channel.allowed_origins, ["https://example.com"]);
        assert_eq!(channel.subprotocols, ["v2", "v1"]);
        assert_eq!(settings.sources[0].subprotocols, ["v2", "v1"]);
    }

    #[test]
    fn rebroadcast_is_one_channel_fed_by_all_sources() {
        let text = "\
sources:
  - {name: a, url: 'ws://h', subprotocols: [v1, v2]}
  - {name: b, url: 'ws://h', unix_socket_path: b.sock, subprotocols: [v2, v3]}
rebroadcast:
  websocket: {enabled: true, host: 127.0.0.1, port: 8800, allowed_origins: ['null']}
  unix_socket: {enabled: true, path: all.sock, mode: '0600'}
  read_only: true
performance: {max_clients: 7}
";
        let settings = parse(text).unwrap();
        let all = Address::Unix { path: PathBuf::from("all.sock"), mode: 0o600 };
        let expected = [
            ("b", &unix("b.sock")),
            ("rebroadcast", &tcp("127.0.0.1", 8800)),
            ("rebroadcast", &all),
        ];
        assert_eq!(endpoints(&settings), expected);
        let channel = &settings.channels[1];
        assert_eq!(channel.sources, [SourceId(0), SourceId(1)]);
        assert_eq!(channel.subprotocols, ["v2"]);
        assert_eq!(channel.allowed_origins, ["null"]);
        assert_eq!((channel.read_only, channel.max_clients), (true, 7));
    }

    #[test]
    fn channel_of_all_sources_asks_for_its_secret_at_the_port_of_all_channels() {
        let websocket = "websocket: {enabled: false, auth: {tokens: [sesame-opens]}}";
        let rebroadcast = format!("rebroadcast: {{{websocket}, unix_socket: {{path: s}}}}");
        let listen = "listen: '127.0.0.1:1'";
        let text = format!("{{sources: [{{url: 'ws://h'}}], {listen}, {rebroadcast}}}");
        let settings = parse(&text).unwrap();
        assert_eq!(settings.endpoints.len(), 2, "its own port is off");
        assert!(!settings.channels.last().unwrap().auth.is_open());
    }

    #[test]
    fn rebroadcast_counts_only_if_one_of_its_endpoints_is_enabled() {
        let off = "{websocket: {enabled: false, port: 1}, unix_socket: {enabled: no}}";
        let message = problem(&format!("sources: [{{url: 'ws://h'}}]\nrebroadcast: {off}\n"));
        assert!(
            message.starts_with("1:11: sources[0]: nobody could get its messages"),
            "{message}"
        );
        let settings = parse("{sources: [{url: 'ws://h'}], rebroadcast: {websocket: {}}}").unwrap();
        assert_eq!(endpoints(&settings), [("rebroadcast", &tcp("0.0.0.0", 8765))]);
        assert!(settings.warnings[0].contains("(rebroadcast.websocket.host is not set)"));
        let without_path =
            "{sources: [{url: 'ws://h'}], rebroadcast: {unix_socket: {enabled: true}}}";
        assert!(problem(without_path).contains("rebroadcast.unix_socket.path: is missing"));
    }

    #[test]
    fn names_from_hosts_are_numbered_and_given_ones_must_differ() {
        let urls = "{url: 'ws://h/1', websocket_port: 1}, {url: 'ws://h/2', websocket_port: 2}, \
                    {name: h, url: 'ws://h/3', websocket_port: 3}";
        assert_eq!(names(&parse(&format!("sources: [{urls}]")).unwrap()), ["h-2", "h-3", "h"]);
        let twice = "sources:\n- {name: a, url: 'ws://h', websocket_port: 1}\n\
                     - {name: a, url: 'ws://h', websocket_port: 2}\n";
        assert_eq!(
            problem(twice),
            "3:4: sources[1].name: \"a\" is the name of another source, too"
        );
        let reserved =
            "{sources: [{name: rebroadcast, url: 'ws://h'}], rebroadcast: {websocket: {}}}";
        assert!(problem(reserved).contains("names the channel of all sources"));
        let stream = "{listen: '127.0.0.1:1', sources: [{name: sse, url: 'ws://h'}]}";
        assert!(problem(stream).contains("/sse asks for a stream"));
    }

    #[test]
    fn address_taken_twice_is_refused() {
        let with = |one: &str, other: &str| {
            parse(&format!("sources: [{{url: 'ws://a', {one}}}, {{url: 'ws://b', {other}}}]"))
        };
        let taken = with("websocket_port: 1", "websocket_port: 1").unwrap_err().to_string();
        assert!(
            taken.ends_with(
                "sources[1].websocket_port: 0.0.0.0:1 is taken by sources[0].websocket_port already"
            ),
            "{taken}"
        );
        let local = "websocket_port: 1, websocket_host: 127.0.0.1";
        assert!(with("websocket_port: 1", local).is_err());
        assert!(
            with(
                "websocket_port: 1, websocket_host: LOCALHOST",
                "websocket_port: 1, websocket_host: localhost"
            )
            .is_err()
        );
        assert!(with(local, "websocket_port: 1, websocket_host: 127.0.0.2").is_ok());
        assert!(with(local, "websocket_port: 2, websocket_host: 127.0.0.1").is_ok());
        assert!(with("unix_socket_path: /tmp//a", "unix_socket_path: /tmp/a").is_err());
        assert!(with("unix_socket_path: /tmp/a", "unix_socket_path: /tmp/b").is_ok());
    }

    #[test]
    fn longer_first_wait_raises_the_default_longest_but_not_a_given_one() {
        let with = |performance: &str| {
            parse(&format!(
                "sources: [{{url: 'ws://a', websocket_port: 1}}]\nperformance: {performance}\n"
            ))
        };
        let settings = with("{reconnect_delay: 90}").unwrap();
        assert_eq!(settings.sources[0].relay.reconnect_max_delay, Duration::from_secs(90));
        let error =
            with("{reconnect_delay: 90, reconnect_max_delay: 60s}").unwrap_err().to_string();
        assert_eq!(
            error,
            "2:36: performance.reconnect_max_delay: is shorter than reconnect_delay, the first wait"
        );
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        let with = |keys: &str| {
            problem(&format!("sources: [{{url: 'ws://h', websocket_port: 1, {keys}}}]"))
        };
        assert!(with("subprotocols: [a, b, a]").ends_with("subprotocols: a is given twice"));
        assert!(with("headers: {X-Key: a, x-key: b}").contains("headers.x-key: is given twice"));
    }
}
