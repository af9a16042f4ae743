//! What a configuration says of who comes in that should be told: doors that are open to everyone, and
//! keys that count for nothing.

use std::net::IpAddr;

use super::build::Builder;
use super::input::{AdminInput, SourceInput};
use super::problem::KeyPath;
use super::settings::{Endpoint, Guests, Settings};
use crate::net::listener::Address;

impl Builder<'_> {
    /// Says once where everyone may come in who reaches this machine.
    pub(super) fn warn_of_open_doors(&mut self) {
        let Settings { endpoints, channels, admin_auth, .. } = &self.settings;
        let is_asked = |endpoint: &Endpoint| {
            let guard = endpoint.tls.as_ref().map(|tls| &tls.guard);
            if guard.is_some_and(|guard| guard.client_ca_file.is_some()) {
                return true;
            }
            match endpoint.guests {
                Guests::Clients(_) if endpoint.is_bare => false,
                Guests::Clients(channel) => !channels[channel.0].auth.is_open(),
                Guests::Newcomers => channels.iter().all(|channel| !channel.auth.is_open()),
                Guests::Operators => !admin_auth.is_open(),
            }
        };
        let is_open = |endpoint: &&Endpoint| {
            is_everywhere(&endpoint.address)
                && endpoint.admission.allow.is_empty()
                && !is_asked(endpoint)
        };
        let open: Vec<_> = endpoints.iter().filter(is_open).map(ToString::to_string).collect();
        if open.is_empty() {
            return;
        }
        let is_bare = |endpoint: &&Endpoint| endpoint.is_bare && is_open(endpoint);
        let auth = match endpoints.iter().find(is_bare) {
            Some(_) => "auth, which a bare TCP port does not ask for",
            None => "auth",
        };
        let unset = match &*self.unset_hosts {
            [] => String::new(),
            [key] => format!(" ({key} is not set)"),
            [key, ..] => format!(" ({key} and others are not set)"),
        };
        self.settings.warnings.push(format!(
            "everyone who reaches this machine may connect to {}{unset}: listen at 127.0.0.1, ask \
             for a token ({auth}), or name the networks that may (allow)",
            open.join(", ")
        ));
    }

    /// Says which keys of a source count for nothing, as what they belong to is not there.
    pub(super) fn warn_of_idle_keys(&mut self, input: &SourceInput) {
        let without_port = input.websocket_port.is_none();
        let without_web = without_port && !self.is_shared;
        let without_tcp = input.tcp_port.is_none();
        let without_ports = without_port && without_tcp;
        let without_socket = input.unix_socket_path.is_none();
        let (processes, auth) = (&input.processes, &input.auth);
        let idle = [
            ("auth", !auth.is_open() && without_web, "websocket_port"),
            ("allow", !input.networks.allow.is_empty() && without_ports, "websocket_port"),
            ("deny", !input.networks.deny.is_empty() && without_ports, "websocket_port"),
            (
                "unix_socket_users",
                !processes.users.is_empty() && without_socket,
                "unix_socket_path",
            ),
            (
                "unix_socket_groups",
                !processes.groups.is_empty() && without_socket,
                "unix_socket_path",
            ),
            ("websocket_host", input.websocket_host.is_some() && without_port, "websocket_port"),
            ("tls", input.tls.is_some() && without_ports, "websocket_port"),
            ("tcp_host", input.tcp_host.is_some() && without_tcp, "tcp_port"),
            ("tcp_framing", input.tcp_framing.is_some() && without_tcp, "tcp_port"),
            ("allowed_origins", !input.allowed_origins.is_empty() && without_web, "websocket_port"),
            (
                "unix_socket_mode",
                input.unix_socket_mode.is_some() && without_socket,
                "unix_socket_path",
            ),
        ];
        for (key, _, other) in idle.into_iter().filter(|(_, is_idle, _)| *is_idle) {
            let key = input.path.key(key);
            self.settings.warnings.push(format!("{key} has no effect without {other}"));
        }
    }

    /// Says which keys of the operators' TCP door count for nothing, as it is not there.
    pub(super) fn warn_of_idle_admin_keys(&mut self, path: &KeyPath, input: &AdminInput) {
        let keys = [
            ("tls", input.tls.is_some()),
            ("auth", !input.auth.is_open()),
            ("allow", !input.networks.allow.is_empty()),
            ("deny", !input.networks.deny.is_empty()),
        ];
        let is_idle = input.listen.is_none();
        for (key, _) in keys.iter().filter(|(_, is_given)| *is_given && is_idle) {
            let key = path.key(key);
            self.settings.warnings.push(format!("{key} has no effect without listen"));
        }
    }
}

/// Whether an address is at all interfaces.
fn is_everywhere(address: &Address) -> bool {
    match address {
        Address::Tcp { host, .. } => host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()),
        Address::Unix { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    #[test]
    fn open_host_by_default_is_warned_of() {
        let settings = parse("sources: [{url: 'ws://h', websocket_port: 8765}]").unwrap();
        assert_eq!(
            settings.warnings,
            ["everyone who reaches this machine may connect to ws://0.0.0.0:8765 \
              (sources[0].websocket_host is not set): listen at 127.0.0.1, ask for a token (auth), \
              or name the networks that may (allow)"]
        );
        let source = "url: 'ws://h', websocket_port: 8765, websocket_host: '::'";
        let warnings = |more: &str| {
            let admin = "admin: {listen: '0.0.0.0:1'}";
            parse(&format!("{{sources: [{{{source}{more}}}], {admin}}}")).unwrap().warnings
        };
        let with_password = source.to_owned()
            + "}], admin: {listen: '0.0.0.0:1', auth: {basic: \
                             [{user: a, password: b}]}}}";
        let warned = parse(&format!("{{sources: [{{{with_password}")).unwrap().warnings;
        assert!(warned[0].contains("connect to ws://[::]:8765: listen"), "{warned:?}");
        let [both] = &*warnings("") else { panic!("not one warning") };
        assert!(both.contains("connect to ws://[::]:8765, http://0.0.0.0:1: listen"), "{both}");
        let bare = parse(
            "sources: [{url: 'ws://h', tcp_port: 1, tcp_host: 0.0.0.0, auth: {tokens: [x]}}]",
        );
        let bare = &bare.unwrap().warnings[..];
        let which = "(auth, which a bare TCP port does not ask for)";
        assert!(bare.iter().any(|warning| warning.contains(which)), "{bare:?}");
        for more in [", auth: {tokens: [x]}", ", allow: ['::1']"] {
            let [admin] = &*warnings(more) else { panic!("{more}: not one warning") };
            assert!(admin.contains("connect to http://0.0.0.0:1: listen"), "{more}: {admin}");
        }
        let [both] = &*warnings(", deny: [10.0.0.0/8]") else { panic!("not one warning") };
        assert!(both.contains("connect to ws://[::]:8765, http://0.0.0.0:1: listen"), "{both}");
    }

    #[test]
    fn keys_without_effect_are_warned_of() {
        let text = "sources: [{url: 'ws://h', unix_socket_path: a, websocket_host: 127.0.0.1}]";
        let warnings = parse(text).unwrap().warnings;
        assert_eq!(warnings, ["sources[0].websocket_host has no effect without websocket_port"]);
        let admin = "{unix_socket_path: b, auth: {tokens: [x]}, allow: ['::1'], deny: ['::2']}";
        let text = format!("{{sources: [{{url: 'ws://h', unix_socket_path: a}}], admin: {admin}}}");
        let expected = ["auth", "allow", "deny"]
            .map(|key| format!("admin.{key} has no effect without listen"));
        assert_eq!(parse(&text).unwrap().warnings, expected);
    }
}
