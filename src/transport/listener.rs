//! Where the service listens: a TCP address, or a unix socket that only its own user can reach.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Head of the address of a unix socket.
const UNIX: &str = "unix:";
/// Only the user that runs the service may connect.
const OWNER_ONLY: u32 = 0o600;

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(SocketFile),
}

/// A unix socket's listener; its file goes with it.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// The file as it was made; another process may have put its own in the place since.
    identity: Identity,
}

/// Where a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The file of a unix socket.
    Unix(PathBuf),
}

/// A connection that was accepted; of no runtime yet.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// The same, of the runtime that serves it.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Another address, perhaps a proxy's; `None` when the peer had gone.
    Tcp(Option<SocketAddr>),
    /// A process of this host, of this user; `None` where the operating system does not tell.
    Unix(Option<u32>),
}

/// Device and inode.
type Identity = (u64, u64);

// === impl Listener ===

impl Listener {
    /// Binds `ADDRESS:PORT` or `unix:PATH`. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// When the operating system refuses, or another process listens there.
    pub async fn bind(address: &str) -> io::Result<Self> {
        match address.strip_prefix(UNIX) {
            Some(path) => SocketFile::bind(Path::new(path)).map(Self::Unix),
            None => TcpListener::bind(address).await.map(Self::Tcp),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(file) => Ok(Address::Unix(file.path.clone())),
        }
    }

    /// The next connection.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Only speed is lost where it cannot be set.
                let _ = stream.set_nodelay(true);
                stream.into_std().map(Accepted::Tcp)
            }
            Self::Unix(file) => file.listener.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }
}

// === impl Accepted ===

impl Accepted {
    /// Hands it to the runtime of the calling task.
    pub(crate) fn register(self) -> io::Result<(Stream, Origin)> {
        match self {
            Self::Tcp(stream) => {
                let origin = Origin::Tcp(stream.peer_addr().ok());
                Ok((Stream::Tcp(TcpStream::from_std(stream)?), origin))
            }
            Self::Unix(stream) => {
                let stream = UnixStream::from_std(stream)?;
                let origin = Origin::Unix(stream.peer_cred().ok().map(|peer| peer.uid()));
                Ok((Stream::Unix(stream), origin))
            }
        }
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(Some(address)) => write!(f, "{address}"),
            Self::Tcp(None) => f.write_str("gone"),
            Self::Unix(Some(user)) => write!(f, "unix:uid={user}"),
            Self::Unix(None) => f.write_str("unix"),
        }
    }
}

// === impl SocketFile ===

impl SocketFile {
    /// The file gets its permissions under another name, so that nobody slips in before.
    fn bind(path: &Path) -> io::Result<Self> {
        refuse_if_in_use(path)?;
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        remove_socket(&new)?;
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(OWNER_ONLY))?;
        let identity = identity(&new)?;
        fs::rename(&new, path)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // What is left is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Only a socket that refuses connections may be replaced.
fn refuse_if_in_use(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
    }
}

fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

// === impl Address ===

impl Address {
    /// Whether only programs of this host can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_the_owners_alone_replaces_a_stale_one_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenward.sock");
        let address = format!("unix:{}", path.display());
        let first = Listener::bind(&address).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(first.address().unwrap().to_string(), address);
        let second = Listener::bind(&address).await.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(second, Err(io::ErrorKind::AddrInUse));

        drop(first);
        assert!(!path.exists(), "the file goes with its listener");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a process that was killed leaves its file");
        let third = Listener::bind(&address).await.unwrap();
        let connected = UnixStream::connect(&path).await;
        assert!(connected.is_ok() && third.accept().await.is_ok());

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(third);
        let fourth = Listener::bind(&address).await.map(|_| ()).map_err(|error| error.kind());
        assert_eq!(fourth, Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
