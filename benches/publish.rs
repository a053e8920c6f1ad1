//! The publisher process: any number of RTMP publishers of the synthetic stream, on one loop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::clock::Clock;
use crate::control::{COMMANDS, Commands, Fields, Next, answer, num, parse, text};
use crate::rtmp::{self, CHUNK_OUT, Role, Rtmp};
use crate::stats::Samples;
use crate::synth::{self, AAC_HEADER, AUDIO, AVC_HEADER, Rhythm, VIDEO};

const MAX_PUBLISHERS: u64 = 10_000;
const BACKLOG_MAX: usize = 4 << 20;
const LIFE_US: u64 = 600_000_000;
/// With many publishers, messages that are due within this time are sent in one turn.
const TURN_US: u64 = 2_000;
const READ: usize = 64 << 10;

struct Publisher {
    stream: TcpStream,
    client: Rtmp,
    out: Vec<u8>,
    started: Option<u64>,
    index: u64,
    failed: bool,
}

struct Fleet {
    clock: Clock,
    poll: Poll,
    rhythm: Rhythm,
    kbps: u64,
    address: Option<SocketAddr>,
    app: String,
    prefix: String,
    wanted: u64,
    opened_at: u64,
    open_us: u64,
    publishers: Vec<Publisher>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    messages: u64,
    bytes: u64,
    late: Samples,
    fault: String,
}

/// Runs until standard input ends.
pub fn run(clock: Clock) -> std::io::Result<()> {
    let poll = Poll::new()?;
    let commands = Commands::new(&poll)?;
    let mut fleet = Fleet::new(clock, poll);
    let mut events = Events::with_capacity(1024);
    let start = clock.now_us();
    while clock.now_us() < start + LIFE_US {
        let wait = fleet.wait_us();
        match fleet.poll.poll(&mut events, Some(Duration::from_micros(wait))) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        match commands.next() {
            Next::Line(line) => fleet.command(&line),
            Next::Empty => {}
            Next::Closed => return Ok(()),
        }
        for event in &events {
            let Token(index) = event.token();
            if event.token() != COMMANDS && index < fleet.publishers.len() {
                fleet.turn(index);
            }
        }
        fleet.open();
        fleet.send_due();
    }
    Ok(())
}

impl Fleet {
    fn new(clock: Clock, poll: Poll) -> Fleet {
        Fleet {
            clock,
            poll,
            rhythm: Rhythm::new(500, 2),
            kbps: 500,
            address: None,
            app: String::new(),
            prefix: String::new(),
            wanted: 0,
            opened_at: 0,
            open_us: 0,
            publishers: Vec::new(),
            due: BinaryHeap::new(),
            messages: 0,
            bytes: 0,
            late: Samples::new(),
            fault: String::new(),
        }
    }

    fn command(&mut self, line: &str) {
        let (name, fields) = parse(line);
        match name.as_str() {
            "publish" => self.publish(&fields),
            _ => answer(&[self.mark()]),
        }
    }

    fn publish(&mut self, fields: &Fields) {
        self.kbps = num(fields, "kbps");
        self.rhythm = Rhythm::new(self.kbps, num(fields, "gop"));
        self.address = text(fields, "to").parse().ok();
        self.app = text(fields, "app").to_string();
        self.prefix = text(fields, "prefix").to_string();
        self.wanted = num(fields, "n").min(MAX_PUBLISHERS);
        self.open_us = num(fields, "over_ms") * 1000;
        self.opened_at = self.clock.now_us();
        answer(&[]);
    }

    fn mark(&mut self) -> String {
        let ready = self.publishers.iter().filter(|p| p.started.is_some() && !p.failed).count();
        let failed = self.publishers.iter().filter(|p| p.failed).count();
        let backlog = self.publishers.iter().map(|p| p.out.len()).max().unwrap_or(0);
        let late = self.late.take();
        let line = format!(
            "- ready={ready} failed={failed} messages={} bytes={} backlog={backlog} late_p99={} late_max={} fault={}",
            self.messages, self.bytes, late.p99, late.max, self.fault
        );
        self.messages = 0;
        self.bytes = 0;
        line
    }

    fn wait_us(&self) -> u64 {
        let now = self.clock.now_us();
        let least = if self.publishers.len() > 100 { TURN_US } else { 0 };
        let open = if (self.publishers.len() as u64) < self.wanted { 2_000 } else { 100_000 };
        let due = self.due.peek().map_or(open, |Reverse((at, _))| at.saturating_sub(now).max(least));
        due.min(open)
    }

    fn open(&mut self) {
        let Some(address) = self.address else { return };
        let elapsed = self.clock.now_us() - self.opened_at;
        while (self.publishers.len() as u64) < self.wanted
            && self.publishers.len() as u64 * self.open_us / self.wanted <= elapsed
        {
            let index = self.publishers.len();
            let Ok(mut stream) = TcpStream::connect(address) else { return };
            let _ = stream.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(index), interest).is_err() {
                return;
            }
            let mut out = Vec::new();
            let client = Rtmp::new(Role::Publish, &self.app, &format!("{}{index}", self.prefix), &mut out);
            self.publishers.push(Publisher { stream, client, out, started: None, index: 0, failed: false });
        }
    }

    fn turn(&mut self, index: usize) {
        let publisher = &mut self.publishers[index];
        if publisher.failed {
            return;
        }
        if let Err(fault) = publisher.read().and_then(|()| publisher.write()) {
            self.fail(index, &fault);
            return;
        }
        let publisher = &mut self.publishers[index];
        if publisher.client.ready() && publisher.started.is_none() {
            let now = self.clock.now_us();
            publisher.started = Some(now);
            let headers =
                [(18, rtmp::metadata(self.kbps)), (VIDEO, AVC_HEADER.to_vec()), (AUDIO, AAC_HEADER.to_vec())];
            for (kind, body) in headers {
                rtmp::message(csid(kind), kind, 1, 0, &body, CHUNK_OUT, &mut publisher.out);
            }
            self.due.push(Reverse((now, index)));
        }
    }

    fn fail(&mut self, index: usize, fault: &str) {
        self.publishers[index].failed = true;
        self.fault = fault.replace(' ', "_");
    }

    fn send_due(&mut self) {
        let now = self.clock.now_us();
        while let Some(Reverse((at, index))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            let publisher = &mut self.publishers[index];
            let Some(started) = publisher.started.filter(|_| !publisher.failed) else { continue };
            self.late.add(now - at);
            let before = publisher.out.len();
            let mut next_at = at;
            while next_at <= now {
                publisher.push(&self.rhythm, &self.clock);
                self.messages += 1;
                next_at = started + self.rhythm.beat(publisher.index).at_us;
            }
            self.bytes += (publisher.out.len() - before) as u64;
            self.due.push(Reverse((next_at, index)));
            let written = publisher.write();
            let stuck = publisher.out.len() > BACKLOG_MAX;
            match written {
                Err(fault) => self.fail(index, &fault),
                Ok(()) if stuck => self.fail(index, "the server does not read"),
                Ok(()) => {}
            }
        }
    }
}

fn csid(kind: u8) -> u8 {
    match kind {
        AUDIO => 4,
        VIDEO => 6,
        _ => 5,
    }
}

impl Publisher {
    fn push(&mut self, rhythm: &Rhythm, clock: &Clock) {
        let beat = rhythm.beat(self.index);
        let mut body = Vec::with_capacity(beat.len);
        synth::body(&beat, self.index as u32, clock.now_us(), &mut body);
        let timestamp = (beat.at_us / 1000) as u32;
        rtmp::message(csid(beat.kind), beat.kind, 1, timestamp, &body, CHUNK_OUT, &mut self.out);
        self.index += 1;
    }

    fn read(&mut self) -> Result<(), String> {
        let mut buffer = [0; READ];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("closed by the server".into()),
                Ok(count) => self.client.feed(&buffer[..count], &mut self.out, &mut |_, _, _| {})?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(())
    }
}
