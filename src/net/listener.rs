//! Where others connect to us: TCP and Unix sockets.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use super::credentials::Credentials;
use super::stream::Stream;
use super::tls::TlsAcceptor;

/// Connections that the kernel keeps for us until we accept them.
const ACCEPT_QUEUE: i32 = 1024;

/// A configured address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// A name or an address; `0.0.0.0` and `::` are all interfaces.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Where the socket file is made.
        path: PathBuf,
        /// Permission bits of the file, `0o660` by default.
        mode: u32,
    },
}

/// An address whose host is known by its numbers, so that listening at it asks nobody.
#[derive(Clone, Debug)]
pub struct Place {
    address: Address,
    numbers: Vec<SocketAddr>,
}

/// An open socket that accepts connections. A socket file that it made goes when it is dropped.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket and its file.
    Unix(UnixListener, SocketFile),
}

/// Who has connected.
#[derive(Debug)]
pub enum Accepted {
    /// Over TCP, from there.
    Tcp(Stream, SocketAddr),
    /// Some process of this machine.
    Unix(Stream, Option<Credentials>),
}

impl Accepted {
    /// Meets who came over TCP in TLS.
    #[must_use]
    pub fn secured(self, acceptor: &TlsAcceptor) -> Self {
        match self {
            Self::Tcp(Stream::Tcp(socket), address) => {
                Self::Tcp(Stream::Tls(Box::new(acceptor.accept(socket))), address)
            }
            Self::Tcp(..) | Self::Unix(..) => self,
        }
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that only our own file is removed. `None`: it is another's.
    identity: Option<(u64, u64)>,
}

/// Why an address cannot be listened at.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    cause: BindCause,
}

#[derive(Debug)]
enum BindCause {
    /// Another process listens at the socket file.
    InUse,
    /// There is a file that is no socket; it is not ours to remove.
    NotASocket,
    /// The system says no.
    Io(io::Error),
}

impl Address {
    /// Finds out the numbers of a host name. Blocks, unless the host is a number itself.
    pub fn resolve(&self) -> Result<Place, BindError> {
        let numbers = match self {
            Self::Tcp { host, port } => numbers_of(host, *port).map_err(|cause| BindError {
                address: self.clone(),
                cause: BindCause::Io(cause),
            })?,
            Self::Unix { .. } => Vec::new(),
        };
        Ok(Place { address: self.clone(), numbers })
    }

    /// Whether two listeners would be at the same place: a Unix socket's mode does not count.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            (Self::Tcp { .. }, Self::Tcp { .. }) => self == other,
            (Self::Tcp { .. }, Self::Unix { .. }) | (Self::Unix { .. }, Self::Tcp { .. }) => false,
        }
    }
}

impl Place {
    /// The address as it is configured.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its numbers, with the port; none for a Unix socket.
    pub(super) fn numbers(&self) -> &[SocketAddr] {
        &self.numbers
    }

    /// Listens there: one listener for each number of a host name. Does not block.
    pub fn bind(&self) -> Result<Vec<Listener>, BindError> {
        let bound = match &self.address {
            Address::Tcp { .. } => bind_tcp(&self.numbers).map_err(BindCause::Io),
            Address::Unix { path, mode } => bind_unix(path, *mode).map(|listener| vec![listener]),
        };
        bound.map_err(|cause| BindError { address: self.address.clone(), cause })
    }
}

impl Listener {
    /// Sets the permission bits of the socket file, where there is one that is ours.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            // Whoever passed the socket to us has chosen its mode.
            Self::Unix(_, file) if file.identity.is_none() => Ok(()),
            Self::Unix(_, file) if file.is_ours() => {
                fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))
            }
            Self::Unix(..) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Takes a socket that another has opened, and that does not block.
    pub(super) fn passed_tcp(listener: StdTcpListener) -> Self {
        Self::Tcp(TcpListener::from_std(listener))
    }

    /// The same with a socket file, which is left to whoever made it.
    pub(super) fn passed_unix(listener: StdUnixListener, path: &Path) -> Self {
        let file = SocketFile { path: path.to_owned(), identity: None };
        Self::Unix(UnixListener::from_std(listener), file)
    }

    /// Asks to be told of connections.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Self::Unix(listener, _) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Takes the next connection; `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok(Accepted::Tcp(Stream::client(stream), address))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                let credentials = Credentials::of(&stream);
                Ok(Accepted::Unix(Stream::Unix(stream), credentials))
            }
        }
    }

    /// The address that guests can use, with the port that the system chose.
    pub fn local_address(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.to_string(),
                Err(_) => "?".to_owned(),
            },
            Self::Unix(_, file) => format!("unix:{}", file.path.display()),
        }
    }
}

fn numbers_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "before the loop starts there is nobody to block, and later a thread waits"
    )]
    let found = (host, port).to_socket_addrs()?;
    let mut seen = HashSet::new();
    Ok(found.filter(|address| seen.insert(*address)).collect())
}

fn bind_tcp(numbers: &[SocketAddr]) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut absent = None;
    for address in numbers {
        match listen_tcp(*address) {
            Ok(listener) => listeners.push(listener),
            // A name may have an address of a family that this machine does not have.
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(error),
        }
        if address.port() == 0 {
            break;
        }
    }
    match absent {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(Listener::Tcp(TcpListener::from_std(StdTcpListener::from(socket))))
}

/// Whether this machine does not have an address, or its family.
fn is_absent(error: &io::Error) -> bool {
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

fn bind_unix(path: &Path, mode: u32) -> Result<Listener, BindCause> {
    remove_dead_socket(path)?;
    let listen = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let metadata = fs::symlink_metadata(path)?;
        let identity = Some((metadata.dev(), metadata.ino()));
        let file = SocketFile { path: path.to_owned(), identity };
        // Nobody can connect before `listen`, so nobody slips in before the mode is set.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(ACCEPT_QUEUE)?;
        let listener = UnixListener::from_std(StdUnixListener::from(socket));
        Ok(Listener::Unix(listener, file))
    };
    listen().map_err(BindCause::Io)
}

/// Removes a socket file that nobody listens at any more, and nothing else.
fn remove_dead_socket(path: &Path) -> Result<(), BindCause> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindCause::Io(error)),
        Ok(metadata) if metadata.is_dir() => {
            return Err(BindCause::Io(io::ErrorKind::IsADirectory.into()));
        }
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindCause::NotASocket),
        Ok(_) => {}
    }
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => Err(BindCause::InUse),
        // Its owner is there, and busy.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(BindCause::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(BindCause::Io)
        }
        Err(error) => Err(BindCause::Io(error)),
    }
}

impl SocketFile {
    fn is_ours(&self) -> bool {
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        found.is_ok_and(|found| self.identity == Some(found))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen at {}: ", self.address)?;
        match &self.cause {
            BindCause::InUse => {
                f.write_str("another process listens there; stop it or choose another path")
            }
            BindCause::NotASocket => f.write_str(
                "there is a file that is not a socket; remove it or choose another path",
            ),
            BindCause::Io(error) => write!(f, "{error}{}", remedy(error.kind())),
        }
    }
}

/// What to do about it, where that is known.
fn remedy(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::AddrInUse {
        "; is another veylor running?"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 and others' folders need rights"
    } else if kind == io::ErrorKind::NotFound {
        "; does the folder exist?"
    } else {
        ""
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            BindCause::Io(error) => Some(error),
            BindCause::InUse | BindCause::NotASocket => None,
        }
    }
}
