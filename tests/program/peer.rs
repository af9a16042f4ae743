//! Services and clients: blocking sockets that wait for nothing longer than [`WAIT`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::SockRef;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use crate::program::{Port, WAIT};

/// What a source of the relay is: a server that tests accept from when they like.
pub(crate) struct Service {
    listener: TcpListener,
}

/// A WebSocket connection to the relay: a source that it dialled, or a client that dialled it.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) socket: WebSocket<S>,
    /// Path and query that the relay asked for, if it dialled.
    pub(crate) target: String,
    /// The headers of the relay's handshake.
    pub(crate) headers: HeaderMap,
}

/// A Unix client of the relay.
pub(crate) struct UnixPeer(pub(crate) UnixStream);

impl Service {
    /// A service on a port of its own.
    pub(crate) fn new() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A service that comes up where the relay expects it.
    pub(crate) fn on(port: &Port) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], port.number)))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        SockRef::from(&listener).set_read_timeout(Some(WAIT)).unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// Waits for the relay to connect.
    #[track_caller]
    pub(crate) fn accept_stream(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("nobody dials");
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Waits for the relay to ask for WebSocket.
    #[track_caller]
    pub(crate) fn accept(&self) -> Peer {
        Peer::accept(self.accept_stream(), None)
    }
}

impl<S: Read + Write> Peer<S> {
    /// Agrees to the relay's handshake, and to a subprotocol.
    #[track_caller]
    pub(crate) fn accept(stream: S, subprotocol: Option<&'static str>) -> Self {
        let (mut target, mut headers) = (String::new(), HeaderMap::new());
        #[expect(clippy::result_large_err, reason = "tungstenite's")]
        let agree = |request: &Request, mut response: Response| {
            target = request.uri().to_string();
            headers = request.headers().clone();
            if let Some(subprotocol) = subprotocol {
                let value = HeaderValue::from_static(subprotocol);
                response.headers_mut().insert("Sec-WebSocket-Protocol", value);
            }
            Ok(response)
        };
        let socket = tungstenite::accept_hdr(stream, agree).map_err(|error| error.to_string());
        Self { socket: socket.unwrap(), target, headers }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).unwrap();
    }

    /// The next message; pings are answered on the way.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Message {
        self.try_receive().unwrap()
    }

    pub(crate) fn try_receive(&mut self) -> Result<Message, Error> {
        loop {
            match self.socket.read()? {
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                message @ (Message::Text(_) | Message::Binary(_) | Message::Close(_)) => {
                    return Ok(message);
                }
            }
        }
    }

    /// The next message, which must be text.
    #[track_caller]
    pub(crate) fn text(&mut self) -> String {
        let message = self.receive();
        assert!(message.is_text(), "no text but {message:?}");
        message.into_text().unwrap().to_string()
    }

    /// The code of a close that comes after so many messages as there are.
    #[track_caller]
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.receive() {
                return frame.expect("a close with a code").code.into();
            }
        }
    }

    /// Sends bytes below WebSocket.
    #[track_caller]
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Peer {
    /// Connects a client to the relay.
    #[track_caller]
    pub(crate) fn connect(port: &Port) -> Self {
        Self::connect_with(port, &[]).unwrap()
    }

    /// Connects a client with further headers.
    pub(crate) fn connect_with(
        port: &Port,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        Self::connect_to(port, "/", headers)
    }

    /// Connects a client to a path, with further headers.
    pub(crate) fn connect_to(
        port: &Port,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let mut request = (port.url() + target).into_client_request()?;
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let (socket, response) = match tungstenite::client(request, connect(port)) {
            Ok(opened) => opened,
            Err(HandshakeError::Failure(error)) => return Err(error),
            Err(HandshakeError::Interrupted(_)) => panic!("no handshake in time"),
        };
        Ok(Self { socket, target: String::new(), headers: response.into_parts().0.headers })
    }

    /// A connection whose handshake was done by hand: tungstenite takes one that comes byte by
    /// byte for an attack.
    pub(crate) fn opened(stream: TcpStream, role: Role) -> Self {
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let socket = WebSocket::from_raw_socket(stream, role, None);
        Self { socket, target: String::new(), headers: HeaderMap::new() }
    }

    /// Breaks the connection without a goodbye.
    pub(crate) fn reset(self) {
        SockRef::from(self.socket.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

/// Connects to the relay and says nothing.
#[track_caller]
pub(crate) fn connect(port: &Port) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port.number)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.set_write_timeout(Some(WAIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl UnixPeer {
    #[track_caller]
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        Self(stream)
    }

    #[track_caller]
    pub(crate) fn send(&mut self, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length, payload].concat()).unwrap();
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.try_receive().unwrap()
    }

    pub(crate) fn try_receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut payload)?;
        Ok(payload)
    }
}

/// Lets everyone know everyone: when a client has the greeting, messages pass both ways.
#[track_caller]
pub(crate) fn greet<S: Read + Write>(source: &mut Peer<S>, clients: &mut [&mut Peer]) {
    source.send("greeting");
    for client in clients {
        assert_eq!(client.text(), "greeting");
    }
}
