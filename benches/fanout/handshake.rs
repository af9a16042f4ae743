//! The opening handshake of RFC 6455, section 4, as little of it as is needed.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::failure::Failure;

/// The key of every request, and the accept value that belongs to it (the example of RFC 6455).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Opens a WebSocket connection as a client; returns what the server sent after its answer.
pub(crate) fn ask(mut stream: &TcpStream, host: &str, target: &str) -> Result<Vec<u8>, Failure> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(Failure::during("sending a handshake"))?;
    let (head, rest) = read_head(stream)?;
    let accepted = header(&head, "sec-websocket-accept");
    if !head.starts_with(b"HTTP/1.1 101 ") || accepted.as_deref() != Some(ACCEPT) {
        return Err(refusal(&head));
    }
    Ok(rest)
}

/// Asks for a stream over HTTP; returns what came of it already.
pub(crate) fn ask_stream(
    mut stream: &TcpStream,
    host: &str,
    target: &str,
) -> Result<Vec<u8>, Failure> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(Failure::during("asking for a stream"))?;
    let (head, rest) = read_head(stream)?;
    if head.starts_with(b"HTTP/1.1 200 ") { Ok(rest) } else { Err(refusal(&head)) }
}

fn refusal(head: &[u8]) -> Failure {
    let answer = String::from_utf8_lossy(head);
    let line = answer.lines().next().unwrap_or_default();
    Failure::new(format!("the handshake was refused: {line}"))
}

/// Opens a WebSocket connection as a server.
pub(crate) fn serve(mut stream: &TcpStream) -> Result<(), Failure> {
    let (request, rest) = read_head(stream)?;
    let Some(answer) = answer(&request).filter(|_| rest.is_empty()) else {
        return Err(Failure::new("what came was not a handshake"));
    };
    stream.write_all(answer.as_bytes()).map_err(Failure::during("answering a handshake"))
}

/// The answer that opens a connection; `None` if the request has no key.
pub(crate) fn answer(request: &[u8]) -> Option<String> {
    let accept = derive_accept_key(header(request, "sec-websocket-key")?.as_bytes());
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn read_head(mut stream: &TcpStream) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let received = stream.read(&mut buffer).map_err(Failure::during("awaiting a handshake"))?;
        head.extend_from_slice(&buffer[..received]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = head.split_off(at + 4);
            return Ok((head, rest));
        }
        if received == 0 || head.len() > MAX_HEAD_BYTES {
            return Err(Failure::new("the peer hung up in its handshake"));
        }
    }
}
