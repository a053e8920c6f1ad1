//! The floor: what the kernel alone asks for. An epoll loop that writes the right number of bytes to each socket at
//! the right times from one shared buffer, one write call a socket and flush, with no protocol at all.
//!
//! With an interval, the sockets are spread over phases of it, as a server must do so that ingest never waits.
//! With interval zero every message is written to every socket on its own, at the rhythm of the publisher.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Options;
use crate::clock::Clock;
use crate::control::{COMMANDS, Commands, Next, answer};
use crate::synth::Rhythm;

const LISTENER: Token = Token(usize::MAX);
const PHASE_MS: u64 = 10;
const BUFFER: usize = 4 << 20;
const BEHIND_MAX: u64 = 1 << 20;
/// Bytes that FLV puts around each message body.
const TAG_OVERHEAD: u64 = 15;
const LIFE_US: u64 = 600_000_000;

struct Peer {
    stream: TcpStream,
    cursor: u64,
}

struct Floor {
    clock: Clock,
    rhythm: Rhythm,
    peers: Vec<Option<Peer>>,
    buffer: Vec<u8>,
    /// Number of the next message and the bytes of all before it.
    next: u64,
    position: u64,
    send_buffer: usize,
}

/// Runs until standard input ends.
pub fn run(options: &Options, clock: Clock) -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let commands = Commands::new(&poll)?;
    let socket = crate::listen(4096)?;
    let port = socket.local_addr()?.port();
    let mut listener = TcpListener::from_std(socket);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor {
        clock,
        rhythm: Rhythm::new(options.kbps, options.gop),
        peers: Vec::new(),
        buffer: vec![0x55; BUFFER],
        next: 0,
        position: 0,
        send_buffer: options.send_buffer,
    };
    let interval_us = options.interval_ms * 1000;
    let phases = (options.interval_ms / PHASE_MS).max(1);
    let mut events = Events::with_capacity(1024);
    let (start, mut tick) = (clock.now_us(), 0u64);
    while clock.now_us() < start + LIFE_US {
        let due = start + floor.due(tick, interval_us, phases);
        let wait = due.saturating_sub(clock.now_us());
        match poll.poll(&mut events, Some(Duration::from_micros(wait))) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, poll.registry()),
                COMMANDS => {}
                Token(index) if event.is_read_closed() => floor.peers[index] = None,
                _ => {}
            }
        }
        match commands.next() {
            Next::Line(_) => answer(&[format!("- port={port}")]),
            Next::Empty => {}
            Next::Closed => return Ok(()),
        }
        while clock.now_us() >= start + floor.due(tick, interval_us, phases) {
            floor.advance(start);
            let phase = if interval_us == 0 { 0 } else { tick % phases };
            floor.flush(phase as usize, if interval_us == 0 { 1 } else { phases as usize });
            tick += 1;
        }
    }
    Ok(())
}

impl Floor {
    /// When tick number `tick` is due, in microseconds after the start.
    fn due(&self, tick: u64, interval_us: u64, phases: u64) -> u64 {
        if interval_us == 0 { self.rhythm.beat(tick).at_us } else { tick * interval_us / phases }
    }

    fn advance(&mut self, start: u64) {
        let now = self.clock.now_us() - start;
        loop {
            let beat = self.rhythm.beat(self.next);
            if beat.at_us > now {
                break;
            }
            self.position += beat.len as u64 + TAG_OVERHEAD;
            self.next += 1;
        }
    }

    fn accept(&mut self, listener: &TcpListener, registry: &mio::Registry) {
        while let Ok((mut stream, _)) = listener.accept() {
            if self.send_buffer > 0 {
                let _ = socket2::SockRef::from(&stream).set_send_buffer_size(self.send_buffer);
            }
            let _ = stream.set_nodelay(true);
            if registry.register(&mut stream, Token(self.peers.len()), Interest::READABLE).is_ok() {
                self.peers.push(Some(Peer { stream, cursor: self.position }));
            }
        }
    }

    fn flush(&mut self, first: usize, step: usize) {
        for slot in self.peers.iter_mut().skip(first).step_by(step) {
            let Some(peer) = slot else { continue };
            if self.position - peer.cursor > BEHIND_MAX {
                peer.cursor = self.position;
            }
            let from = (peer.cursor % (BUFFER as u64 / 2)) as usize;
            let count = (self.position - peer.cursor) as usize;
            if count == 0 {
                continue;
            }
            match peer.stream.write(&self.buffer[from..from + count]) {
                Ok(written) => peer.cursor += written as u64,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => *slot = None,
            }
        }
    }
}
