//! A connection's socket: non-blocking, registered once for both directions, with its readiness remembered
//! (mio is edge-triggered on Linux: an edge that is not written down is lost).
#![forbid(unsafe_code)]

use super::disk::Pipe;
use super::lender::Lender;
use super::sys::{self, Pages};
use mio::net::TcpStream;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// What a read or write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// This many bytes moved.
    Moved(usize),
    /// The kernel has nothing, or no room: wait for the next edge.
    WouldBlock,
    /// The peer has closed its side (reads only).
    Closed,
    /// The connection is broken.
    Broken(io::ErrorKind),
}

/// What the kernel keeps of a connection's bytes at most. In both forms 0 leaves it to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// All that the peer has not acknowledged, in bytes (`SO_SNDBUF`): a live stream, which is worth nothing when it is old.
    Buffer(u32),
    /// What was not sent yet, in bytes (`TCP_NOTSENT_LOWAT`); what is on its way is as much as the peer takes. For bodies
    /// that lie in memory anyway: they leave in few calls.
    Unsent(u32),
}

/// How a connection's socket is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// What the kernel keeps for the connection, and for what.
    pub room: Room,
}

/// A TCP connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Bytes may be waiting.
    pub readable: bool,
    /// The kernel may have room.
    pub writable: bool,
    /// The end is near: the peer has closed its side, and no further edge will tell of it.
    pub closing: bool,
    /// Bytes read since the start.
    pub received: u64,
    /// Bytes written since the start.
    pub sent: u64,
    /// How it was set up last.
    options: Option<Options>,
}

impl Socket {
    /// Takes an accepted or connecting stream.
    pub fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            readable: false,
            writable: true,
            closing: false,
            received: 0,
            sent: 0,
            options: None,
        }
    }

    /// Applies `options`, and keepalive so that a peer that vanished is noticed. A kernel that refuses one of
    /// them is not worth a refused connection.
    pub fn configure(&mut self, options: Options) {
        // Who stays asks again and again.
        if self.options.replace(options) == Some(options) {
            return;
        }
        let socket = socket2::SockRef::from(&self.stream);
        let _ = socket.set_tcp_nodelay(options.nodelay);
        let _ = match options.room {
            Room::Buffer(0) | Room::Unsent(0) => Ok(()),
            Room::Buffer(bytes) => socket.set_send_buffer_size(bytes as usize),
            Room::Unsent(bytes) => socket.set_tcp_notsent_lowat(bytes),
        };
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(std::time::Duration::from_secs(30))
            .with_interval(std::time::Duration::from_secs(10))
            .with_retries(3);
        let _ = socket.set_tcp_keepalive(&keepalive);
    }

    /// The stream, for registration.
    pub fn source(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Local address of this connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// What TCP knows of the connection.
    pub fn tcp_info(&self) -> Option<sys::TcpInfo> {
        sys::tcp_info(self.stream.as_fd())
    }

    /// Reads once.
    pub fn read(&mut self, into: &mut [u8]) -> Io {
        loop {
            return match self.stream.read(into) {
                Ok(0) => Io::Closed,
                Ok(n) => {
                    // A short read has emptied the socket, unless the end of the stream waits behind it.
                    self.readable = n == into.len() || self.closing;
                    self.received = self.received.saturating_add(n as u64);
                    Io::Moved(n)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Io::WouldBlock
                }
                Err(e) => Io::Broken(e.kind()),
            };
        }
    }

    /// Writes once, all slices in one call.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Io {
        loop {
            // For one slice the plain call spares the kernel a list and a layer.
            let result = match slices {
                [one] => self.stream.write(one),
                many => self.stream.write_vectored(many),
            };
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return self.written(result),
            }
        }
    }

    /// Writes bytes that others follow at once: they may wait in the kernel for those.
    pub fn write_before(&mut self, bytes: &[u8]) -> Io {
        let result = socket2::SockRef::from(&self.stream).send_with_flags(bytes, libc::MSG_MORE);
        self.written(result)
    }

    /// Moves at most `budget` bytes of a pipe into the socket.
    pub fn splice(&mut self, pipe: &mut Pipe, budget: usize) -> Io {
        let result = pipe.empty_into(&self.stream, budget);
        self.written(result)
    }

    /// Sends at most `len` bytes of `pages` from offset `begin` without a copy.
    pub fn lend(&mut self, lender: &mut Lender, pages: &Pages, begin: usize, len: usize) -> Io {
        let result = lender.send(pages, begin, len, &self.stream);
        self.written(result)
    }

    fn written(&mut self, result: io::Result<usize>) -> Io {
        match result {
            Ok(n) => {
                self.sent = self.sent.saturating_add(n as u64);
                Io::Moved(n)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                self.writable = false;
                Io::WouldBlock
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Io::Moved(0),
            Err(e) => Io::Broken(e.kind()),
        }
    }

    /// Says that nothing more will be written, so that the peer reads all that was and then sees the end.
    pub fn shut_write(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}
