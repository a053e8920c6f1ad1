//! Listening sockets: IPv4, IPv6, both on one socket where the system can, several processes on one port when
//! asked.
#![forbid(unsafe_code)]

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Connections that the kernel completes ahead of the loop.
const BACKLOG: i32 = 1024;

/// What one `accept` came to.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Connection(TcpStream, SocketAddr),
    /// No more for now.
    WouldBlock,
    /// A peer went away before it was accepted, or the like: try the next.
    Retry,
    /// No file descriptor or memory left: pause, and try again by timer (the edge is lost).
    Exhausted(io::Error),
}

/// Opens a listener on `addr` at `port`; without an address, on all of IPv6 and IPv4 (IPv4 only where the system
/// has no IPv6).
///
/// # Errors
/// What the system says, such as an address in use.
pub fn listen(addr: Option<IpAddr>, port: u16, reuse_port: bool) -> io::Result<TcpListener> {
    match addr {
        Some(addr) => bind(SocketAddr::new(addr, port), reuse_port),
        None => {
            let dual = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            bind(dual, reuse_port).or_else(|error| match error.raw_os_error() {
                Some(libc::EADDRINUSE | libc::EACCES) => Err(error),
                _ => bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port), reuse_port),
            })
        }
    }
}

fn bind(addr: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if let IpAddr::V6(ip) = addr.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Accepts one connection.
pub fn accept(listener: &TcpListener) -> Accepted {
    match listener.accept() {
        Ok((stream, addr)) => Accepted::Connection(stream, unmapped(addr)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Accepted::WouldBlock,
        Err(e) => match e.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Accepted::Exhausted(e),
            _ => Accepted::Retry,
        },
    }
}

/// `::ffff:192.0.2.1` is 192.0.2.1 to everybody who reads it.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_unless_sharing_was_asked_for() {
        let local = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let first = listen(local, 0, false).unwrap();
        let port = first.local_addr().unwrap().port();
        assert_eq!(listen(local, port, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let shared = listen(local, 0, true).unwrap();
        let port = shared.local_addr().unwrap().port();
        assert!(listen(local, port, true).is_ok());
    }

    #[test]
    fn without_an_address_ipv4_peers_are_served_and_named_as_such() {
        let listener = listen(None, 0, false).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _peer = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        loop {
            match accept(&listener) {
                Accepted::Connection(_, addr) => {
                    return assert_eq!(addr.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
                }
                Accepted::WouldBlock => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
    }
}
