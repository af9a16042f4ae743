//! A proxy between the relay and a peer that carries bytes badly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Listens at an address of its own and carries every connection on, one byte at a time.
pub(crate) struct Trickle {
    pub(crate) address: SocketAddr,
}

impl Trickle {
    /// A proxy in front of a listener. It ends with the test's process.
    pub(crate) fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(target) else { continue };
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                thread::spawn(move || carry(near, far));
                thread::spawn(move || carry(back.0, back.1));
            }
        });
        Self { address }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    to.set_nodelay(true).unwrap();
    let mut bytes = [0; 256];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if bytes[..count].iter().any(|byte| to.write_all(&[*byte]).is_err()) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
