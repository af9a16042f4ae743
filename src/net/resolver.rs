//! Names to addresses, off the loop.
//!
//! The system's resolver blocks, for half a minute when its servers are silent, and so may reading
//! a secret from a file. Each such job has a short-lived thread of its own, so that one that
//! hangs delays nobody else. There is at most one for each source, and one for the configuration.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

/// Addresses of one name that are tried at most.
const MAX_ADDRESSES: usize = 16;

/// Runs a job that may block. It delivers its result itself.
pub fn spawn(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("veylor-resolve".to_owned()).spawn(job).map(drop)
}

/// The addresses of a host, in the order in which they should be tried: IPv6 and IPv4 in turn,
/// IPv6 first (RFC 8305, section 4). Blocks.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[expect(clippy::disallowed_methods, reason = "this is what the resolver's threads are for")]
    let found: Vec<_> = (host, port).to_socket_addrs()?.collect();
    Ok(in_turn(found))
}

fn in_turn(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (mut v6, mut v4): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    v6.dedup();
    v4.dedup();
    let longest = v6.len().max(v4.len());
    let pairs = (0..longest).flat_map(|n| [v6.get(n).copied(), v4.get(n).copied()]);
    pairs.flatten().take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_ipv6_is_first() {
        let found = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1"];
        let found = found.map(|text| text.parse().unwrap()).to_vec();
        let order: Vec<_> = in_turn(found).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
    }
}
