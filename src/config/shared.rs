//! What endpoints and channels have to share: addresses, one port for all, the memory of a backlog.

use std::net::IpAddr;

use super::build::{Builder, Door};
use super::input::{LatecomersInput, ListenInput};
use super::problem::KeyPath;
use super::settings::Guests;
use crate::net::listener::Address;

impl Builder<'_> {
    /// One endpoint at which clients name their channel.
    pub(super) fn listen_for_all(&mut self, input: ListenInput) {
        let path = KeyPath::default().key("listen");
        for channel in &self.settings.channels {
            if channel.name.contains('/') || matches!(&*channel.name, "." | "..") {
                let message = format!(
                    "{:?} cannot be a path: give that source another name, without a slash",
                    channel.name
                );
                self.problems.add(path.clone(), message);
            }
            if matches!(&*channel.name, "sse" | "ndjson") {
                let message =
                    format!("/{} asks for a stream: give that source another name", channel.name);
                self.problems.add(path.clone(), message);
            }
        }
        let Some((host, port)) = input.address else { return };
        let door = Door {
            address: Address::Tcp { host, port },
            tls: self.endpoint_tls(&path.key("tls"), input.tls.as_ref()),
            admission: input.networks,
            is_bare: false,
            key: path,
        };
        self.listen(door, Guests::Newcomers);
    }

    /// A history that does not fit into the backlog would not be what it says.
    pub(super) fn check_history(&mut self, path: &KeyPath, input: &LatecomersInput) {
        let most = self.performance.max_queue_size();
        for (key, count) in [("history", input.history), ("replay", input.replay)] {
            if count.is_some_and(|count| count > most) {
                let message = format!("is above performance.max_queue_size ({most}): raise that");
                self.problems.add(path.key(key), message);
            }
        }
    }
}

/// Whether two listeners cannot both have their addresses.
pub(super) fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp { host, port }, Address::Tcp { host: other, port: other_port }) => {
            port == other_port && hosts_overlap(host, other)
        }
        (Address::Unix { .. }, _) | (_, Address::Unix { .. }) => one.is_same_place(other),
    }
}

/// The same host, or all addresses of a family and one of them.
fn hosts_overlap(one: &str, other: &str) -> bool {
    let addresses = (one.parse::<IpAddr>(), other.parse::<IpAddr>());
    match addresses {
        (Ok(one), Ok(other)) => {
            let covers = one.is_unspecified() || other.is_unspecified();
            one == other || (covers && one.is_ipv4() == other.is_ipv4())
        }
        (Ok(address), Err(_)) | (Err(_), Ok(address)) if address.is_unspecified() => true,
        _ => one.eq_ignore_ascii_case(other),
    }
}
