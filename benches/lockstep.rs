//! `lockstep`: one publisher and a few viewers in one thread; each step waits until every viewer has the message.
//!
//! The work of the server is then the same in each run however slow it is, so that instruction counts can be
//! compared. A server that keeps no GOP for joiners is given one more GOP first. With a merge interval a step is the 24 messages of one interval, else one message.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock::{Clock, wall_us};
use crate::flv::FlvIn;
use crate::rtmp::{self, CHUNK_OUT, Role, Rtmp};
use crate::subject::{Kind, Setup, Subject};
use crate::synth::{self, AAC_HEADER, AUDIO, AVC_HEADER, Rhythm, VIDEO};
use crate::{Options, Res};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_VIEWERS: u64 = 1_000;
const MESSAGES_PER_MERGE: u64 = 24;
const NAME: &str = "s0";
const APP: &str = "live";

enum Parser {
    Flv(FlvIn),
    Rtmp(Rtmp),
}

struct Viewer {
    stream: TcpStream,
    parser: Parser,
    seen: Option<u32>,
}

struct Publisher {
    stream: TcpStream,
    next: u64,
    rhythm: Rhythm,
    clock: Clock,
}

/// Publishes `--messages` messages to `--viewers` viewers of the first `--proto`.
pub fn run(options: &Options) -> Res<()> {
    let merge_ms = options.merges.first().copied().unwrap_or(0);
    let kbps = if options.kbps == 0 { 500 } else { options.kbps };
    let setup = Setup { merge_ms, kbps, gop: options.gop };
    let kind = options.kinds.last().copied().filter(|kind| *kind != Kind::Floor).unwrap_or(Kind::Runnel);
    let subject = Subject::start(kind, setup, options, wall_us())?;
    let proto = options.protocols.first().map_or("flv", String::as_str);
    let mut publisher = Publisher::start(subject.rtmp, setup)?;
    publisher.send(1)?;
    let mut viewers = Vec::new();
    for _ in 0..options.viewers.first().copied().unwrap_or(10).min(MAX_VIEWERS) {
        let mut viewer = Viewer::start(&subject, proto)?;
        if kind == Kind::Runnel {
            viewer.wait_for(0)?;
        }
        viewers.push(viewer);
    }
    if kind != Kind::Runnel {
        publisher.send(setup.gop * (synth::VIDEO_RATE + synth::AUDIO_RATE))?;
    }
    let step = if merge_ms == 0 { 1 } else { MESSAGES_PER_MERGE };
    while publisher.next <= options.messages {
        publisher.send(step)?;
        for viewer in &mut viewers {
            viewer.wait_for(publisher.next as u32 - 1)?;
        }
    }
    println!("{} messages to {} viewers", publisher.next - 1, viewers.len());
    Ok(())
}

fn connect(to: SocketAddr) -> Res<TcpStream> {
    let stream = TcpStream::connect(to).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, out: &mut Vec<u8>) -> Res<()> {
    stream.write_all(out).map_err(|e| e.to_string())?;
    out.clear();
    Ok(())
}

impl Publisher {
    fn start(to: SocketAddr, setup: Setup) -> Res<Publisher> {
        let mut stream = connect(to)?;
        let mut out = Vec::new();
        let mut client = Rtmp::new(Role::Publish, APP, NAME, &mut out);
        let mut buffer = [0; 4096];
        while !client.ready() {
            send(&mut stream, &mut out)?;
            let count = stream.read(&mut buffer).map_err(|e| e.to_string())?;
            if count == 0 {
                return Err("the server closed the publisher".into());
            }
            client.feed(&buffer[..count], &mut out, &mut |_, _, _| {})?;
        }
        rtmp::message(5, 18, 1, 0, &rtmp::metadata(setup.kbps), CHUNK_OUT, &mut out);
        rtmp::message(6, VIDEO, 1, 0, AVC_HEADER, CHUNK_OUT, &mut out);
        rtmp::message(4, AUDIO, 1, 0, AAC_HEADER, CHUNK_OUT, &mut out);
        send(&mut stream, &mut out)?;
        let rhythm = Rhythm::new(setup.kbps, setup.gop);
        Ok(Publisher { stream, next: 0, rhythm, clock: Clock::new(wall_us()) })
    }

    fn send(&mut self, count: u64) -> Res<()> {
        let mut out = Vec::new();
        for _ in 0..count {
            let beat = self.rhythm.beat(self.next);
            let mut body = Vec::new();
            synth::body(&beat, self.next as u32, self.clock.now_us(), &mut body);
            let csid = if beat.kind == AUDIO { 4 } else { 6 };
            rtmp::message(csid, beat.kind, 1, (beat.at_us / 1000) as u32, &body, CHUNK_OUT, &mut out);
            self.next += 1;
        }
        send(&mut self.stream, &mut out)
    }
}

impl Viewer {
    fn start(subject: &Subject, proto: &str) -> Res<Viewer> {
        let mut out = Vec::new();
        let (to, parser) = if proto == "rtmp" {
            (subject.rtmp, Parser::Rtmp(Rtmp::new(Role::Play, APP, NAME, &mut out)))
        } else {
            out = format!("GET /{APP}/{NAME}.flv HTTP/1.1\r\nHost: {}\r\n\r\n", subject.http).into_bytes();
            (subject.http, Parser::Flv(FlvIn::new()))
        };
        let mut viewer = Viewer { stream: connect(to)?, parser, seen: None };
        send(&mut viewer.stream, &mut out)?;
        while let Parser::Rtmp(client) = &viewer.parser
            && !client.ready()
        {
            viewer.read()?;
        }
        Ok(viewer)
    }

    fn wait_for(&mut self, sequence: u32) -> Res<()> {
        while self.seen.is_none_or(|seen| seen < sequence) {
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Res<()> {
        let mut buffer = [0; 16384];
        let count = self.stream.read(&mut buffer).map_err(|e| format!("a viewer waits in vain: {e}"))?;
        if count == 0 {
            return Err("the server closed a viewer".into());
        }
        let seen = &mut self.seen;
        let mut on_tag = |kind: u8, _len: usize, head: &[u8]| {
            if let Some((sequence, _)) = synth::stamp(kind, head) {
                *seen = Some(sequence);
            }
        };
        let mut out = Vec::new();
        match &mut self.parser {
            Parser::Flv(flv) => flv.feed(&buffer[..count], &mut on_tag)?,
            Parser::Rtmp(client) => client.feed(&buffer[..count], &mut out, &mut on_tag)?,
        }
        send(&mut self.stream, &mut out)
    }
}
