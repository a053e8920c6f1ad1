//! The fetching process: keep-alive HTTP clients that ask for one path again and again and throw the bodies away.
//!
//! Each response must be 200 with a Content-Length; the body is counted, and dropped inside the kernel.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::clock::Clock;
use crate::control::{COMMANDS, Commands, Next, answer, num, parse, text};

const LIFE_US: u64 = 600_000_000;
const IDLE: Duration = Duration::from_millis(100);
const BUFFER: usize = 1 << 20;
const MAX_HEAD: usize = 4096;
const MAX_CLIENTS: u64 = 20_000;

struct Client {
    stream: TcpStream,
    head: Vec<u8>,
    /// Bytes of the body still to come; `None`: the head comes.
    left: Option<u64>,
}

struct Crowd {
    poll: Poll,
    clients: Vec<Option<Client>>,
    request: Vec<u8>,
    waste: Vec<MaybeUninit<u8>>,
    requests: u64,
    bytes: u64,
    fault: String,
}

/// Runs until standard input ends.
pub fn run(clock: Clock) -> std::io::Result<()> {
    let poll = Poll::new()?;
    let commands = Commands::new(&poll)?;
    let mut crowd = Crowd {
        poll,
        clients: Vec::new(),
        request: Vec::new(),
        waste: vec![MaybeUninit::uninit(); BUFFER],
        requests: 0,
        bytes: 0,
        fault: String::new(),
    };
    let mut events = Events::with_capacity(1024);
    let start = clock.now_us();
    while clock.now_us() < start + LIFE_US {
        match crowd.poll.poll(&mut events, Some(IDLE)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            if event.token() != COMMANDS {
                crowd.turn(event.token().0);
            }
        }
        match commands.next() {
            Next::Line(line) => crowd.command(&line)?,
            Next::Empty => {}
            Next::Closed => return Ok(()),
        }
    }
    Ok(())
}

impl Crowd {
    fn command(&mut self, line: &str) -> std::io::Result<()> {
        let (name, fields) = parse(line);
        if name == "open" {
            let address: SocketAddr = text(&fields, "to").parse().map_err(std::io::Error::other)?;
            let path = text(&fields, "path");
            self.request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
            for index in 0..num(&fields, "n").min(MAX_CLIENTS) as usize {
                let mut stream = TcpStream::connect(address)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index), interest)?;
                self.clients.push(Some(Client { stream, head: Vec::new(), left: Some(0) }));
            }
        }
        let alive = self.clients.iter().flatten().count();
        let Crowd { requests, bytes, fault, .. } = self;
        answer(&[format!("- alive={alive} requests={requests} bytes={bytes} fault={fault}")]);
        (self.requests, self.bytes) = (0, 0);
        Ok(())
    }

    fn turn(&mut self, index: usize) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        match client.turn(&self.request, &mut self.waste) {
            Ok((requests, bytes)) => {
                self.requests += requests;
                self.bytes += bytes;
            }
            Err(fault) => {
                self.fault = fault.replace(' ', "_");
                self.clients[index] = None;
            }
        }
    }
}

impl Client {
    /// Reads all there is and asks again after each whole response; gives how many and how many bytes.
    fn turn(&mut self, request: &[u8], waste: &mut [MaybeUninit<u8>]) -> Result<(u64, u64), String> {
        let (mut done, mut bytes) = (0, 0);
        let mut first = [0; MAX_HEAD];
        loop {
            if self.left == Some(0) {
                match self.stream.write(request) {
                    Ok(n) if n == request.len() => {}
                    Ok(_) => return Err("a request was cut".into()),
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                        return Ok((done, bytes));
                    }
                    Err(e) => return Err(e.to_string()),
                }
                self.left = None;
            }
            let read = match self.left {
                None => self.stream.read(&mut first),
                Some(left) => {
                    let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                    SockRef::from(&self.stream).recv_with_flags(&mut waste[..most], libc::MSG_TRUNC)
                }
            };
            let count = match read {
                Ok(0) => return Err("closed by the server".into()),
                Ok(count) => count,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok((done, bytes));
                }
                Err(e) => return Err(e.to_string()),
            };
            let body = match self.left {
                Some(_) => count,
                None => self.take_head(&first[..count])?,
            };
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(body as u64).ok_or("more than was promised")?;
                bytes += body as u64;
                done += u64::from(*left == 0);
            }
        }
    }

    /// Takes bytes of a head; gives how many of them belong to the body.
    fn take_head(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if self.head.len() > MAX_HEAD { Err("a long head".into()) } else { Ok(0) };
        };
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(format!("refused: {}", head.lines().next().unwrap_or_default()));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        self.left = Some(length.filter(|length| *length > 0).ok_or("no length")?);
        self.head.clear();
        Ok(before + bytes.len() - (end + 4))
    }
}
