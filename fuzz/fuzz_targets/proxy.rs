//! What a proxy says is understood the same however it is cut, and none of what follows is taken; what
//! a redirect says leads to an address or nowhere. Neither forges a line of the log.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;
use veylor::net::proxy::Proxy;
use veylor::net::url::WsUrl;
use veylor_fuzz::bytes::Cuts;

const PROXIES: [&str; 4] =
    ["http://p:1", "http://u:s3cret@p:1", "socks5h://p:1", "socks5h://u:s3cret@p:1"];

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    for url in PROXIES {
        let pieces = |cuts: Cuts| cuts.pieces(bytes).into_iter().map(<[u8]>::to_vec).collect();
        let whole = told(url, pieces(Cuts::none()));
        assert_eq!(whole, told(url, pieces(cuts)), "the cuts made a difference");
        if let Err(why) = &whole.0 {
            assert!(why.starts_with("proxy p:1 ") && !why.contains("s3cret"), "{why}");
            assert!(!why.contains(char::is_control), "an error of two lines: {why}");
        }
    }
    if let Ok(location) = std::str::from_utf8(bytes) {
        redirected(location);
    }
});

/// What becomes of a tunnel, and the bytes that it has left.
fn told(url: &str, pieces: VecDeque<Vec<u8>>) -> (Result<bool, String>, usize) {
    let mut tunnel = Proxy::parse(url).expect("a right address").tunnel("example.com", 443);
    let mut stream = Words { pieces };
    let result = tunnel.step(&mut stream);
    (result, stream.pieces.iter().map(Vec::len).sum())
}

fn redirected(location: &str) {
    let here = WsUrl::parse("wss://u:p@a.example:444/feed/v1/x?key=k").expect("a right address");
    let Ok(url) = here.join(location) else { return };
    assert!(!url.host().is_empty() && url.port() != 0);
    for part in [url.host(), url.path_and_query(), &url.host_header()] {
        assert!(
            !part.contains(|c: char| c.is_ascii_control() || c == ' '),
            "a request of two lines"
        );
    }
}

/// A proxy that takes all that it is told and has said all that it will say.
struct Words {
    pieces: VecDeque<Vec<u8>>,
}

impl Read for Words {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let count = buffer.len().min(piece.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Ok(count)
    }
}

impl Write for Words {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
