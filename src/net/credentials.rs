//! Who is at the other end of a Unix socket.

use std::fmt;

use mio::net::UnixStream;
use nix::sys::socket::{getsockopt, sockopt};

/// The process that connected, as it was then: `SO_PEERCRED`, unix(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its number; `None` if it is in a namespace that we do not see.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Credentials {
    /// What the system knows of a peer.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        let found = getsockopt(stream, sockopt::PeerCredentials).ok()?;
        let pid = u32::try_from(found.pid()).ok().filter(|pid| *pid != 0);
        Some(Self { pid, uid: found.uid(), gid: found.gid() })
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "pid {pid} ")?;
        }
        write!(f, "uid {}", self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_in_this_process_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let found = Credentials::of(&ours).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(found.uid, rustix::process::getuid().as_raw());
        let shown = Credentials { pid: Some(7), uid: 1000, gid: 100 }.to_string();
        assert_eq!(shown, "pid 7 uid 1000");
        assert_eq!(Credentials { pid: None, uid: 0, gid: 0 }.to_string(), "uid 0");
    }
}
