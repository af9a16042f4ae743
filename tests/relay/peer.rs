//! The far ends of the relay's connections.

use std::io::{ErrorKind, Write};

use tungstenite::error::ProtocolError;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};
use veylor::codec::Wire;

use crate::pipe::Pipe;

/// A client.
pub(crate) struct Peered {
    pub(crate) pipe: Pipe,
    pub(crate) wire: Wire,
    pub(crate) socket: Option<WebSocket<Pipe>>,
    pub(crate) raw: Vec<u8>,
    pub(crate) seen: Vec<String>,
    pub(crate) is_reading: bool,
}

/// The source.
pub(crate) struct SourcePeer {
    pub(crate) pipe: Pipe,
    pub(crate) socket: Option<WebSocket<Pipe>>,
    pub(crate) request: Vec<u8>,
    pub(crate) is_reading: bool,
    pub(crate) seen: Vec<String>,
    pub(crate) kept: Vec<Message>,
    /// Its answer, if it does not agree.
    refusal: Option<String>,
}

impl SourcePeer {
    /// A source that somebody has connected to.
    pub(crate) fn new(pipe: Pipe, refusal: Option<String>) -> Self {
        Self {
            pipe,
            socket: None,
            request: Vec::new(),
            is_reading: true,
            seen: Vec::new(),
            kept: Vec::new(),
            refusal,
        }
    }

    /// Does what it can. Says whether anything moved.
    pub(crate) fn step(&mut self) -> bool {
        let Some(socket) = &mut self.socket else {
            self.request.extend(self.pipe.take_all());
            let is_whole = self.request.ends_with(b"\r\n\r\n");
            if is_whole {
                match self.refusal.take() {
                    Some(refusal) => {
                        self.pipe.write_all(refusal.as_bytes()).unwrap();
                        self.request.clear();
                    }
                    None => self.answer(),
                }
            }
            return is_whole;
        };
        let mut moved = self.is_reading && read_all(socket, &mut self.seen);
        while !self.kept.is_empty() && self.pipe.is_writable() && socket.can_write() {
            finish(socket.write(self.kept.remove(0)));
            finish(socket.flush());
            moved = true;
        }
        // What tungstenite still holds moves when there is room.
        finish(socket.flush());
        moved
    }

    /// Agrees to the relay's request.
    pub(crate) fn answer(&mut self) {
        let request = String::from_utf8(self.request.clone()).unwrap();
        let key =
            request.split("Sec-WebSocket-Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        self.pipe.write_all(response.as_bytes()).unwrap();
        let config = WebSocketConfig::default().write_buffer_size(0);
        let pipe = self.pipe.clone();
        self.socket = Some(WebSocket::from_raw_socket(pipe, Role::Server, Some(config)));
    }
}

impl Peered {
    /// Turns length and payload into what was received.
    pub(crate) fn unpack(&mut self) {
        while let Some((length, rest)) = self.raw.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(payload) = rest.get(..length) else { return };
            self.seen.push(String::from_utf8_lossy(payload).into_owned());
            self.raw.drain(..4 + length);
        }
    }
}

/// Reads what there is. Says whether there was anything.
pub(crate) fn read_all(socket: &mut WebSocket<Pipe>, seen: &mut Vec<String>) -> bool {
    let mut moved = false;
    while seen.last().is_none_or(|last| last != "end") {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(text.to_string()),
            Ok(Message::Binary(bytes)) => seen.push(format!("{bytes:?}")),
            Ok(Message::Close(Some(frame))) => {
                seen.push(format!("close {} {}", u16::from(frame.code), frame.reason));
            }
            Ok(Message::Close(None)) => seen.push("close".into()),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                return moved;
            }
            Err(
                Error::Io(_)
                | Error::ConnectionClosed
                | Error::AlreadyClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => seen.push("end".into()),
            Err(error) => panic!("the relay broke the protocol: {error}"),
        }
        moved = true;
    }
    moved
}

/// A full buffer is no failure: tungstenite goes on at the next flush. Nor is a peer that has gone.
pub(crate) fn finish(result: Result<(), Error>) {
    match result {
        Ok(())
        | Err(
            Error::Io(_)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::SendAfterClosing),
        ) => {}
        Err(error) => panic!("{error}"),
    }
}
