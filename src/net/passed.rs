//! Sockets that a service manager has opened for us: `sd_listen_fds(3)`.

use std::env;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::process;

use listenfd::ListenFd;
use socket2::SockRef;

use super::listener::{Address, BindError, Listener, Place};

/// Listening sockets that were passed to this process and are not in use yet.
#[derive(Debug, Default)]
pub struct Passed {
    tcp: Vec<StdTcpListener>,
    unix: Vec<StdUnixListener>,
}

impl Passed {
    /// Takes what `LISTEN_FDS` names, if `LISTEN_PID` is this process. A second time there is
    /// nothing left.
    pub fn take() -> Self {
        let mut passed = Self::default();
        // The crate would also take descriptors that are meant for nobody in particular.
        if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) == Some(process::id()) {
            let mut descriptors = ListenFd::from_env();
            for place in 0..descriptors.len() {
                if let Err(error) = passed.sort_in(&mut descriptors, place) {
                    log::warn!("a socket that was passed to us is of no use: {error}");
                }
            }
        }
        passed.tcp.retain(|listener| is_usable(&SockRef::from(listener)));
        passed.unix.retain(|listener| is_usable(&SockRef::from(listener)));
        passed
    }

    /// Listens at an address: with the sockets that were passed for it, else with new ones.
    pub fn bind(&mut self, place: &Place) -> Result<Vec<Listener>, BindError> {
        let found = self.find(place);
        if found.is_empty() { place.bind() } else { Ok(found) }
    }

    /// Says which sockets are of no use, and closes them.
    pub fn dismiss(self) {
        let tcp = self.tcp.iter().filter_map(|listener| listener.local_addr().ok());
        let unix = self.unix.iter().filter_map(|listener| listener.local_addr().ok());
        let tcp = tcp.map(|address| address.to_string());
        let unix =
            unix.filter_map(|address| Some(format!("unix:{}", address.as_pathname()?.display())));
        for address in tcp.chain(unix) {
            log::warn!("{address}: was passed to us, but no endpoint has this address; closed");
        }
    }

    fn sort_in(&mut self, descriptors: &mut ListenFd, place: usize) -> io::Result<()> {
        if let Ok(listener) = descriptors.take_unix_listener(place) {
            self.unix.extend(listener);
        } else {
            self.tcp.extend(descriptors.take_tcp_listener(place)?);
        }
        Ok(())
    }

    fn find(&mut self, place: &Place) -> Vec<Listener> {
        match place.address() {
            Address::Tcp { .. } => {
                let is_wanted = |listener: &mut StdTcpListener| {
                    listener.local_addr().is_ok_and(|address| place.numbers().contains(&address))
                };
                self.tcp.extract_if(.., is_wanted).map(Listener::passed_tcp).collect()
            }
            Address::Unix { path, .. } => {
                let is_wanted = |listener: &mut StdUnixListener| {
                    listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
                };
                let found = self.unix.extract_if(.., is_wanted);
                found.map(|listener| Listener::passed_unix(listener, path)).collect()
            }
        }
    }
}

/// Whether it listens, and will not block the loop.
fn is_usable(socket: &SockRef<'_>) -> bool {
    let listens = socket.is_listener().unwrap_or(false);
    if !listens {
        log::warn!("a socket that was passed to us does not listen; closed");
    }
    listens && socket.set_nonblocking(true).is_ok()
}
