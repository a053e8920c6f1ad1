//! Programs beside the server: which are wanted now.

use super::{Protocol, Server};
use crate::app::conn::Role;
use crate::app::hub::{Live, Publisher, Source, StreamId};
use crate::app::process::command::{self, Vars};
use crate::app::process::{Around, Wanted};
use crate::app::world::Timer;
use crate::conf::{Engine, Job, JobKind};
use crate::media::dvr::names::When;
use crate::net::poll::Who;
use crate::net::{clock, sys};
use crate::wire::names::{self, DEFAULT_VHOST, StreamName};
use std::net::IpAddr;

/// Characters of a file's name.
const MAX_NAME: usize = 200;

/// Where programs reach this server by RTMP.
struct Door {
    host: String,
    port: u16,
}

impl Server {
    /// Starts, ends and looks after programs.
    pub(super) fn on_programs(&mut self) {
        if !self.world.programs.is_used() {
            return;
        }
        let wanted = if self.world.programs.is_closed() { Vec::new() } else { self.wanted() };
        let world = &mut self.world;
        let (hub, poll) = (&world.hub, &self.poll);
        let exists = |name: &StreamName| {
            let live = hub.find(name).and_then(|id| hub.get(id));
            live.is_some_and(|live| live.publisher != Publisher::Vacant)
        };
        let is_live =
            |id: StreamId| hub.get(id).is_some_and(|live| matches!(live.publisher, Publisher::Live(_)));
        let unix_ms = clock::unix_ms();
        let clock_of = if world.config.log.utc { sys::utc_time } else { sys::local_time };
        let mut around = Around {
            now: world.now,
            when: When { date: clock_of(unix_ms / 1000), unix_ms },
            is_live: &is_live,
            register: &|source| poll.register(source, Who::Programs),
            quiet: &mut world.quiet,
        };
        world.programs.want(wanted, exists, &mut around);
        if let Some(at) = world.programs.turn(&mut around) {
            world.timers.set(Timer::Programs, at);
        }
    }

    /// Programs have said something.
    pub(super) fn on_programs_said(&mut self) {
        if self.world.programs.read() {
            self.world.look_at_programs();
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let Some(door) = self.door() else { return Vec::new() };
        let mut list = Vec::new();
        for vhost in self.world.config.vhosts.iter().filter(|vhost| vhost.enabled) {
            for job in vhost.jobs.iter().filter(|job| job.kind == JobKind::Ingest) {
                for (n, engine) in job.engines.iter().enumerate() {
                    let vars = Vars { vhost: vhost.name.clone(), port: door.port, ..Vars::default() };
                    let label = format!("ingest {} of vhost {}", job.name, vhost.name);
                    let file = format!("ingest-{}-{}", vhost.name, job.name);
                    list.push(self.job(job, (n, engine), &job.url, vars, (label, file)));
                }
            }
        }
        let mut streams: Vec<(StreamId, &Live)> = self.world.hub.entries().collect();
        streams.retain(|(_, live)| !live.ended && live.publisher != Publisher::Vacant);
        streams.sort_by_key(|(_, live)| live.since);
        for (id, live) in streams {
            self.of_stream(id, live, &door, &mut list);
        }
        list
    }

    fn of_stream(&self, id: StreamId, live: &Live, door: &Door, list: &mut Vec<Wanted>) {
        let name = &live.name;
        let query = match name.vhost() {
            DEFAULT_VHOST => String::new(),
            vhost => format!("?vhost={vhost}"),
        };
        let (app, stream) = (name.app(), name.stream());
        let vars = Vars {
            vhost: live.vhost.name.clone(),
            app: app.to_owned(),
            stream: stream.to_owned(),
            url: format!("rtmp://{}:{}/{app}/{stream}{query}", door.host, door.port),
            port: door.port,
            ..Vars::default()
        };
        let scope = |job: &&Job| {
            let named = job.name.as_str();
            named.is_empty() || named == app || named.rsplit_once('/') == Some((app, stream))
        };
        let transcodes = live.vhost.jobs.iter().filter(|job| job.kind == JobKind::Transcode);
        for job in transcodes.filter(scope).filter(|_| !self.world.programs.is_output(name)) {
            for (n, engine) in job.engines.iter().enumerate() {
                let names =
                    (format!("transcode {name}"), format!("transcode-{}-{app}-{stream}", name.vhost()));
                let mut wanted = self.job(job, (n, engine), "[url]", vars.clone(), names);
                wanted.stream = Some(id);
                wanted.output =
                    self.own_stream(&command::expand(&engine.output, &wanted.vars, When::default()));
                if wanted.output.as_ref() == Some(name) {
                    let fault = "it would put out what it reads: give `output` another name, as in `[stream]_[engine]`";
                    wanted.fault = Some(String::from(fault));
                }
                list.push(wanted);
            }
        }
        let Publisher::Live(by) = live.publisher else { return };
        for (n, words) in live.vhost.exec.publish.iter().filter(|_| live.vhost.exec.enabled).enumerate() {
            let (tc_url, page_url) = self.publisher(by);
            list.push(Wanted {
                stream: Some(id),
                label: format!("exec {} of {name}", n.saturating_add(1)),
                directive: "publish",
                log: self.log_of(&format!("exec-{}-{app}-{stream}-{n}", name.vhost())),
                line: command::exec(words),
                vars: Vars { tc_url, page_url, ..vars.clone() },
                output: None,
                fault: None,
            });
        }
    }

    fn job(
        &self,
        job: &Job,
        (n, engine): (usize, &Engine),
        input: &str,
        vars: Vars,
        (label, file): (String, String),
    ) -> Wanted {
        let shown = if engine.name.is_empty() { n.to_string() } else { engine.name.clone() };
        let label = match (job.engines.len(), engine.name.as_str()) {
            (1, "") => label,
            _ => format!("{label}, engine {shown}"),
        };
        Wanted {
            stream: None,
            label,
            directive: "ffmpeg",
            log: self.log_of(&format!("{file}-{shown}")),
            line: command::ffmpeg(job, engine, input, &self.world.config.ff_log.level),
            vars: Vars { engine: engine.name.clone(), ..vars },
            output: None,
            fault: None,
        }
    }

    /// The file for what a program says.
    fn log_of(&self, name: &str) -> Option<String> {
        let dir = self.world.config.ff_log.dir.as_deref()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_NAME).collect();
        Some(format!("{}/ffmpeg-{name}.log", dir.trim_end_matches('/')))
    }

    /// What the publisher has said of the URL and page that it came by.
    fn publisher(&self, by: Source) -> (String, String) {
        let Source::Peer(id, _) = by else { return Default::default() };
        let tc_url = match self.conns.get(id).map(|conn| &conn.role) {
            Some(Role::Rtmp(peer)) => peer.tc_url().to_owned(),
            _ => String::new(),
        };
        (tc_url, self.world.pages.get(&id).map(|page| page.to_string()).unwrap_or_default())
    }

    fn door(&self) -> Option<Door> {
        let rtmp = self.listeners.iter().flatten().find(|l| l.protocol == Protocol::Rtmp)?;
        let port = rtmp.socket.local_addr().ok()?.port();
        let host = match rtmp.listen.addr {
            Some(IpAddr::V6(ip)) if ip.is_unspecified() => String::from("[::1]"),
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            Some(IpAddr::V4(ip)) if !ip.is_unspecified() => ip.to_string(),
            _ => String::from("127.0.0.1"),
        };
        Some(Door { host, port })
    }

    /// The stream that a program would publish here to this URL, if it is one of this server.
    fn own_stream(&self, url: &str) -> Option<StreamName> {
        let whole = names::split_tc_url(url).filter(|whole| whole.scheme == "rtmp")?;
        let ports = self.listeners.iter().flatten().filter(|l| l.protocol == Protocol::Rtmp);
        let mut ports = ports.filter_map(|l| l.socket.local_addr().ok()).map(|at| at.port());
        let config = &self.world.config;
        let here = match whole.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip.is_unspecified() || sys::lan_addresses().contains(&ip),
            Err(_) => {
                let named = |name: &str| name.eq_ignore_ascii_case(&whole.host);
                named("localhost") || config.vhosts.iter().any(|vhost| named(&vhost.name))
            }
        };
        if !here || !ports.any(|port| port == whole.port) {
            return None;
        }
        let (home, stream) = url.rsplit_once('/')?;
        let app = names::split_tc_url(home)?.app;
        let name = names::from_rtmp(Some(home), &app, stream).ok()?.name;
        name.with_vhost(&config.vhost(name.vhost())?.name).ok()
    }
}
