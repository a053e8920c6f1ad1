//! The viewer process: opens many viewers in groups, reads all they get, and reports.
//!
//! Every viewer parses its stream until the first whole keyframe, so a join counts only when a player could show a
//! picture. After that a plain viewer throws its bytes away inside the kernel, and a sample viewer goes on parsing:
//! sequence numbers must follow each other, and the stamp gives the latency from publisher to viewer.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::bytes::BytesIn;
use crate::clock::Clock;
use crate::control::{COMMANDS, Commands, Fields, Next, answer, num, parse, text};
use crate::flv::FlvIn;
use crate::rtmp::{Role, Rtmp};
use crate::stats::Samples;
use crate::synth;

const MAX_VIEWERS: usize = 30_000;
const LIFE_US: u64 = 900_000_000;
const BUFFER: usize = 256 << 10;
const IDLE_US: u64 = 100_000;
const OPENING_US: u64 = 1_000;

enum Protocol {
    Raw,
    Flv(FlvIn),
    Rtmp(Rtmp),
    Bytes(BytesIn),
}

/// Continuity and latency of one viewer.
#[derive(Default)]
struct Watch {
    expected: Option<u32>,
    keyed: bool,
}

struct Viewer {
    stream: Option<TcpStream>,
    protocol: Protocol,
    group: usize,
    sample: bool,
    stalled: bool,
    out: Vec<u8>,
    opened_us: u64,
    bytes: u64,
    watch: Watch,
}

struct Group {
    name: String,
    fields: Fields,
    wanted: usize,
    opened: usize,
    start_us: u64,
    keyed: usize,
    closed: usize,
    fault: String,
    tally: Tally,
}

/// What a group saw since the last mark.
struct Tally {
    frames: u64,
    gaps: u64,
    lost: u64,
    faults: u64,
    latency: Samples,
    join: Samples,
}

struct Crowd {
    clock: Clock,
    poll: Poll,
    viewers: Vec<Viewer>,
    groups: Vec<Group>,
    buffer: Vec<u8>,
    waste: Vec<MaybeUninit<u8>>,
}

/// Runs until standard input ends.
pub fn run(clock: Clock) -> std::io::Result<()> {
    let poll = Poll::new()?;
    let commands = Commands::new(&poll)?;
    let mut crowd = Crowd {
        clock,
        poll,
        viewers: Vec::new(),
        groups: Vec::new(),
        buffer: vec![0; BUFFER],
        waste: vec![MaybeUninit::uninit(); BUFFER],
    };
    let mut events = Events::with_capacity(4096);
    let start = clock.now_us();
    while clock.now_us() < start + LIFE_US {
        let opening = crowd.groups.iter().any(|group| group.opened < group.wanted);
        let wait = Duration::from_micros(if opening { OPENING_US } else { IDLE_US });
        match crowd.poll.poll(&mut events, Some(wait)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            if event.token() != COMMANDS {
                crowd.turn(event.token().0);
            }
        }
        match commands.next() {
            Next::Line(line) => crowd.command(&line),
            Next::Empty => {}
            Next::Closed => return Ok(()),
        }
        crowd.open();
    }
    Ok(())
}

impl Crowd {
    fn command(&mut self, line: &str) {
        let (name, fields) = parse(line);
        match name.as_str() {
            "open" => {
                self.groups.push(Group::new(fields, self.clock.now_us()));
                answer(&[]);
            }
            "stall" | "resume" => {
                self.stall(text(&fields, "group"), name == "stall");
                answer(&[]);
            }
            "state" => answer(&self.groups.iter().map(Group::state).collect::<Vec<_>>()),
            _ => answer(&self.mark()),
        }
    }

    fn stall(&mut self, group: &str, stalled: bool) {
        for index in 0..self.viewers.len() {
            if self.groups[self.viewers[index].group].name == group {
                self.viewers[index].stalled = stalled;
                if !stalled {
                    self.turn(index);
                }
            }
        }
    }

    fn mark(&mut self) -> Vec<String> {
        let mut bytes: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for viewer in &mut self.viewers {
            let count = std::mem::take(&mut viewer.bytes);
            if viewer.stream.is_some() {
                bytes.entry(viewer.group).or_default().push(count);
            }
        }
        let each = self.groups.iter_mut().enumerate();
        each.map(|(index, group)| group.mark(bytes.get(&index).map_or(&[], Vec::as_slice))).collect()
    }

    fn open(&mut self) {
        let now = self.clock.now_us();
        for index in 0..self.groups.len() {
            while self.groups[index].due(now) && self.viewers.len() < MAX_VIEWERS {
                self.groups[index].opened += 1;
                if let Err(e) = self.open_one(index) {
                    self.groups[index].fail(&e.to_string());
                }
            }
        }
    }

    fn open_one(&mut self, index: usize) -> std::io::Result<()> {
        let group = &self.groups[index];
        let address: SocketAddr = text(&group.fields, "to").parse().map_err(std::io::Error::other)?;
        let (app, name) = (text(&group.fields, "app"), text(&group.fields, "stream"));
        let mut out = Vec::new();
        let protocol = match text(&group.fields, "proto") {
            "flv" => {
                out = format!("GET /{app}/{name}.flv HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
                Protocol::Flv(FlvIn::new())
            }
            end @ ("ts" | "mp4" | "aac") => {
                out = format!("GET /{app}/{name}.{end} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
                Protocol::Bytes(BytesIn::default())
            }
            "rtmp" => Protocol::Rtmp(Rtmp::new(Role::Play, app, name, &mut out)),
            _ => Protocol::Raw,
        };
        let sample = num(&group.fields, "sample") == 1;
        let opened_us = self.clock.now_us();
        let mut stream = TcpStream::connect(address)?;
        let _ = stream.set_nodelay(true);
        if let receive @ 1.. = num(&group.fields, "rcvbuf") {
            SockRef::from(&stream).set_recv_buffer_size(receive as usize)?;
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.viewers.len()), interest)?;
        let (stream, watch) = (Some(stream), Watch::default());
        let bytes = 0;
        let stalled = false;
        self.viewers.push(Viewer {
            stream,
            protocol,
            group: index,
            sample,
            stalled,
            out,
            opened_us,
            bytes,
            watch,
        });
        Ok(())
    }

    fn turn(&mut self, index: usize) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.stalled {
            return;
        }
        let group = &mut self.groups[viewer.group];
        let result = viewer.turn(&self.clock, &mut self.buffer, &mut self.waste, group);
        if let Err(fault) = result {
            viewer.stream = None;
            group.fail(&fault);
        }
    }
}

impl Viewer {
    fn turn(
        &mut self,
        clock: &Clock,
        buffer: &mut [u8],
        waste: &mut [MaybeUninit<u8>],
        group: &mut Group,
    ) -> Result<(), String> {
        self.write()?;
        loop {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            let parsed = self.sample || !self.watch.keyed;
            let read = if parsed {
                stream.read(buffer)
            } else {
                SockRef::from(&*stream).recv_with_flags(waste, libc::MSG_TRUNC)
            };
            let count = match read {
                Ok(0) => return Err("closed by the server".into()),
                Ok(count) => count,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(e) => return Err(e.to_string()),
            };
            self.bytes += count as u64;
            if parsed {
                self.parse(&buffer[..count], clock.now_us(), group)?;
                self.write()?;
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while !self.out.is_empty() {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(())
    }

    fn parse(&mut self, data: &[u8], now: u64, group: &mut Group) -> Result<(), String> {
        let (watch, opened, sample) = (&mut self.watch, self.opened_us, self.sample);
        let mut on_tag = |kind: u8, _len: usize, head: &[u8]| {
            if !watch.keyed && synth::is_key(kind, head) {
                watch.keyed = true;
                group.keyed += 1;
                group.tally.join.add(now - opened);
            }
            if sample && let Some((sequence, time)) = synth::stamp(kind, head) {
                watch.frame(sequence, time, now, opened, &mut group.tally);
            }
        };
        let result = match &mut self.protocol {
            Protocol::Flv(flv) => flv.feed(data, &mut on_tag),
            Protocol::Rtmp(client) => client.feed(data, &mut self.out, &mut on_tag),
            Protocol::Bytes(bytes) => {
                let tally = &mut group.tally;
                let begun = bytes.feed(data, |time| {
                    if sample && time >= opened {
                        tally.frames += 1;
                        tally.latency.add(now.saturating_sub(time));
                    }
                });
                begun.map(|begun| {
                    if begun && !watch.keyed {
                        watch.keyed = true;
                        group.keyed += 1;
                        group.tally.join.add(now - opened);
                    }
                })
            }
            Protocol::Raw => {
                watch.keyed = true;
                group.keyed += 1;
                Ok(())
            }
        };
        result.map_err(|fault| {
            group.tally.faults += 1;
            fault.to_string()
        })
    }
}

impl Watch {
    fn frame(&mut self, sequence: u32, time: u64, now: u64, opened: u64, tally: &mut Tally) {
        tally.frames += 1;
        if let Some(expected) = self.expected
            && expected != sequence
        {
            tally.gaps += 1;
            tally.lost += u64::from(sequence.saturating_sub(expected));
        }
        self.expected = Some(sequence.wrapping_add(1));
        if time >= opened {
            tally.latency.add(now.saturating_sub(time));
        }
    }
}

impl Group {
    fn new(fields: Fields, now: u64) -> Group {
        let latency = Samples::new();
        let join = Samples::new();
        Group {
            name: text(&fields, "group").to_string(),
            wanted: num(&fields, "n") as usize,
            opened: 0,
            start_us: now,
            keyed: 0,
            closed: 0,
            fault: String::new(),
            tally: Tally { frames: 0, gaps: 0, lost: 0, faults: 0, latency, join },
            fields,
        }
    }

    fn due(&self, now: u64) -> bool {
        let over_us = num(&self.fields, "over_ms") * 1000;
        self.opened < self.wanted
            && self.opened as u64 * over_us / self.wanted as u64 <= now.saturating_sub(self.start_us)
    }

    fn fail(&mut self, fault: &str) {
        self.closed += 1;
        self.fault = fault.replace(' ', "_");
    }

    fn state(&self) -> String {
        let Group { name, wanted, opened, keyed, closed, fault, .. } = self;
        format!("- group={name} wanted={wanted} opened={opened} keyed={keyed} closed={closed} fault={fault}")
    }

    fn mark(&mut self, bytes: &[u64]) -> String {
        let tally = &mut self.tally;
        let (latency, join) = (tally.latency.take(), tally.join.take());
        let line = format!(
            "- group={} alive={} bytes={} min={} max={} frames={} gaps={} lost={} faults={} closed={} \
             latency_n={} latency_p50={} latency_p99={} latency_max={} \
             join_n={} join_p50={} join_p99={} join_max={} fault={}",
            self.name,
            bytes.len(),
            bytes.iter().sum::<u64>(),
            bytes.iter().min().unwrap_or(&0),
            bytes.iter().max().unwrap_or(&0),
            tally.frames,
            tally.gaps,
            tally.lost,
            tally.faults,
            self.closed,
            latency.count,
            latency.p50,
            latency.p99,
            latency.max,
            join.count,
            join.p50,
            join.p99,
            join.max,
            self.fault,
        );
        (tally.frames, tally.gaps, tally.lost, tally.faults) = (0, 0, 0, 0);
        line
    }
}
