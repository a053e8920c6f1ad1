//! HLS: the segments of each live stream, and the requests for them.
//!
//! ```text
//!   hub: publish ─► begin    ingest ─► take    unpublish ─► pause    ended ─► end ──(hls_dispose)──► gone
//!   http: request ─► route ─► answer ─┬─► text, or the bytes of a segment
//!                                     └─► Waiting ──(next part or segment: Action::Hls)──► answer again
//!                                                 └─(three target durations)──► 503
//! ```
//!
//! Which names there are is known by the streams themselves: a request is looked up, never taken apart, so no name in a
//! request can mean anything that was not made here.

use super::conn::{Conn, Role};
use super::hub::{Live, StreamId};
use super::memory::Share;
use super::mount;
use super::shared::Shared;
use super::world::{Action, Timer, World};
use crate::conf::{HlsStorage, HlsVariant, Vhost};
use crate::media::frame::Frame;
use crate::media::hls::names::{Names, Templates};
use crate::media::hls::{self, Body, Change, Content, File, Hls, Now, Playlist, Progress, Settings, Variant};
use crate::media::package;
use crate::net::slots::Id;
use crate::net::socket::Options;
use crate::net::writer::{Task, Trouble, Writer};
use crate::net::{clock, sys};
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::{self, Cors, Head, Length};
use crate::wire::names::{self, StreamName};
use bytes::Bytes;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Content type of a playlist (RFC 8216, section 4).
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// Sequence numbers count the seconds since 2020 when a stream begins: they grow over restarts of the server, so that
/// neither players nor caches take a new segment for an old one, and fit 31 bits.
const EPOCH_S: u64 = 1_577_836_800;
/// `hls_dispose 0` keeps files; in memory a stream that ended stays this long.
const LONGEST_DISPOSE_MS: u64 = 3_600_000;

/// HLS of one stream.
#[derive(Debug)]
pub struct LiveHls {
    hls: Hls,
    vhost: Rc<Vhost>,
    /// Who waits for the next part or segment.
    waiting: Vec<Id>,
    /// The loop is told already that there is one.
    queued: bool,
    /// When the stream has ended: when this goes.
    until: Option<u64>,
    /// The copy on the disk, until something goes wrong with it.
    disk: Option<Disk>,
    /// The log knows that there are no segments, and that they go before their time.
    told: (bool, bool),
    /// Memory is short: segments go before their time because of that.
    short: bool,
}

/// Where a stream's files go.
#[derive(Debug)]
struct Disk {
    writer: Rc<Writer>,
    root: PathBuf,
    key_root: PathBuf,
    trouble: Trouble,
}

/// Bytes of segments that wait for the disk at most, of all streams.
const DISK_QUEUE: usize = 64 << 20;
/// How long the end of the server waits for files to be removed.
const DISK_DRAIN: Duration = Duration::from_secs(3);

/// The helper thread that writes segments, from the first stream on that wants it.
#[derive(Debug, Default)]
pub struct DiskWriter(Option<Rc<Writer>>, usize);

impl DiskWriter {
    /// Lets no more than the quarter of a budget wait for the disk; 0: as much as usual. For a writer to come.
    pub fn set_budget(&mut self, budget: usize) {
        self.1 = budget / 4;
    }

    /// Bytes that wait for the disk.
    pub fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |writer| writer.waiting())
    }

    fn get(&mut self) -> Option<Rc<Writer>> {
        if self.0.is_none() {
            let room = if self.1 > 0 { DISK_QUEUE.min(self.1) } else { DISK_QUEUE };
            match Writer::start(room) {
                Ok(writer) => self.0 = Some(Rc::new(writer)),
                Err(error) => log::error!(target: "hls", "no thread to write segments: {error}"),
            }
        }
        self.0.clone()
    }

    /// The server ends: what waits is done, if that does not take long.
    pub fn drain(&self) {
        if self.0.as_ref().is_some_and(|writer| !writer.drain(DISK_DRAIN)) {
            log::warn!(target: "hls", "the disk is too slow: some files of HLS are left as they are");
        }
    }
}

/// A request on its way.
#[derive(Debug)]
pub enum Errand {
    /// It waits until there is more.
    Waiting(Wanted, u64),
    /// The bytes of a segment are sent.
    Sending {
        /// Whether the connection lives on.
        keep_alive: bool,
        /// How long the client may take nothing.
        send_timeout_ms: u64,
    },
}

/// What a request asks for.
#[derive(Debug)]
pub struct Wanted {
    stream: StreamId,
    what: What,
    head_only: bool,
    keep_alive: bool,
    cors: Cors,
}

#[derive(Debug)]
enum What {
    /// The playlist, with the request's query.
    Playlist(String),
    /// Something that the playlist names.
    File(String),
}

fn now(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: clock::unix_ms() }
}

fn settings(conf: &crate::conf::Hls) -> Settings {
    let ratio = |thousandths: u64| conf.fragment_ms.saturating_mul(thousandths) / 1000;
    let mut secret = [0; 32];
    if conf.keys {
        sys::random(&mut secret);
    }
    Settings {
        variant: match conf.variant {
            HlsVariant::Ts => Variant::Ts,
            HlsVariant::Fmp4 => Variant::Fmp4,
            HlsVariant::LowLatency => Variant::LowLatency,
        },
        fragment_ms: conf.fragment_ms,
        limit_ms: ratio(conf.aof_ratio),
        target_ms: ratio(conf.td_ratio),
        window_ms: conf.window_ms,
        part_ms: conf.part_ms,
        wait_key: conf.wait_keyframe,
        audio: conf.audio,
        video: conf.video,
        budget: usize::try_from(conf.ram_bytes).unwrap_or(usize::MAX),
        first_sequence: (clock::unix_ms() / 1000).saturating_sub(EPOCH_S),
        keep: conf.storage != HlsStorage::Disk,
        tell: conf.storage != HlsStorage::Ram,
        segments_per_key: if conf.keys { conf.fragments_per_key } else { 0 },
        secret,
    }
}

fn templates(conf: &crate::conf::Hls) -> Templates {
    Templates {
        playlist: match conf.storage {
            HlsStorage::Disk => conf.m3u8_file.clone(),
            HlsStorage::Ram | HlsStorage::Both => path_of(&conf.mount).to_owned(),
        },
        segment: conf.ts_file.clone(),
        key: conf.key_file.clone(),
        prefix: conf.entry_prefix.clone(),
        key_prefix: conf.key_url.clone(),
    }
}

/// A mount without its host.
fn path_of(mount: &str) -> &str {
    mount.split_once('/').map_or(mount, |(_, path)| path)
}

/// A publisher begins: what `before` has goes on, or there is new HLS if the configuration wants it.
pub fn begin(
    before: Option<Box<LiveHls>>,
    name: &StreamName,
    vhost: &Rc<Vhost>,
    writer: &mut DiskWriter,
    mono_ms: u64,
) -> Option<Box<LiveHls>> {
    if !vhost.hls.enabled {
        return None;
    }
    if let Some(mut live) = before.filter(|live| live.vhost.hls == vhost.hls) {
        live.hls.discontinuity(now(mono_ms));
        live.until = None;
        live.told = (false, false);
        return Some(live);
    }
    let settings = settings(&vhost.hls);
    let names = Names::new(name, templates(&vhost.hls), settings.variant != Variant::Ts);
    let hls = Hls::new(settings, names, package::packager);
    let vhost = vhost.clone();
    let disk = if vhost.hls.storage == HlsStorage::Ram { None } else { Disk::new(&vhost.hls, writer) };
    let told = (false, false);
    let waiting = Vec::new();
    Some(Box::new(LiveHls { hls, vhost, waiting, queued: false, until: None, disk, told, short: false }))
}

impl LiveHls {
    /// Takes the newest frame. True: those who wait have to be told.
    #[must_use]
    pub fn take(
        &mut self,
        frame: &Frame,
        tracks: Option<hls::Tracks>,
        name: &StreamName,
        mono_ms: u64,
    ) -> bool {
        let progress = self.hls.push(frame, tracks, now(mono_ms));
        if let Some(why) = self.hls.refusal().filter(|_| !self.told.0) {
            log::warn!(target: "hls", "{name}: no HLS: {why}");
            self.told.0 = true;
        }
        if self.hls.squeezed() > 0 && !self.told.1 && !self.short {
            log::warn!(
                target: "hls",
                "{name}: segments go before their time: the stream needs more than hls_ram_bytes for hls_window"
            );
            self.told.1 = true;
        }
        self.save(name);
        self.wake(progress)
    }

    /// Memory taken, in bytes.
    pub fn heap(&self) -> usize {
        self.hls.heap()
    }

    /// Goes on with another share of the memory.
    pub fn set_share(&mut self, share: Share, name: &StreamName, mono_ms: u64) {
        if self.short || share.hls_bytes < usize::MAX {
            self.short = share.hls_bytes < usize::MAX;
            self.hls.set_budget(share.hls_bytes, share.segment_bytes, now(mono_ms));
            self.save(name);
        }
    }

    /// Hands to the disk what has changed. What goes wrong there ends the copy, and nothing else.
    fn save(&mut self, name: &StreamName) {
        let Some(disk) = &self.disk else { return };
        let cleanup = self.vhost.hls.cleanup;
        let mut fault = disk.trouble.take();
        for change in self.hls.take_changes() {
            let (path, task) = match change {
                Change::Write(name, chunks) => (disk.path(&name), Task::Write(chunks)),
                Change::Playlist(text) => {
                    let bytes = Bytes::copy_from_slice(text.as_bytes());
                    (disk.path(self.hls.playlist_name()), Task::Write(vec![bytes]))
                }
                Change::Remove(name) if cleanup => (disk.path(&name), Task::Remove),
                Change::Remove(_) => continue,
            };
            if disk.writer.ask(path, task, &disk.trouble).is_err() {
                fault.get_or_insert_with(|| "the disk is too slow".to_owned());
            }
        }
        if let Some(fault) = fault {
            log::error!(target: "hls", "{name}: no more files of HLS for this stream: {fault}");
            self.disk = None;
        }
    }

    /// The publisher is gone and may come back.
    #[must_use]
    pub fn pause(&mut self, name: &StreamName, mono_ms: u64) -> bool {
        let progress = self.hls.interrupt(now(mono_ms));
        self.save(name);
        self.wake(progress)
    }

    /// The stream is over; gives the time at which this can go.
    pub fn end(&mut self, name: &StreamName, mono_ms: u64) -> u64 {
        self.hls.end(now(mono_ms));
        self.save(name);
        self.queued = true;
        let dispose = match self.vhost.hls.dispose_ms {
            0 => LONGEST_DISPOSE_MS,
            ms => ms.min(LONGEST_DISPOSE_MS),
        };
        let until = mono_ms.saturating_add(dispose);
        self.until = Some(until);
        until
    }

    /// When this goes, once the stream is over.
    pub fn until(&self) -> Option<u64> {
        self.until
    }

    /// Those who waited; they will ask again.
    pub fn take_waiting(&mut self) -> Vec<Id> {
        self.queued = false;
        std::mem::take(&mut self.waiting)
    }

    fn wake(&mut self, progress: Progress) -> bool {
        progress.changed && !self.waiting.is_empty() && !std::mem::replace(&mut self.queued, true)
    }
}

impl Drop for LiveHls {
    /// `hls_dispose`: no old playlist is left for players to find.
    fn drop(&mut self) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.vhost.hls.dispose_ms > 0) else { return };
        let files = self.hls.all_files();
        for name in std::iter::once(self.hls.playlist_name()).chain(files.iter().map(|name| &**name)) {
            // A queue that is full keeps its files; the next stream of that name writes over them.
            let _ = disk.writer.ask(disk.path(name), Task::Remove, &disk.trouble);
        }
    }
}

impl Disk {
    fn new(conf: &crate::conf::Hls, writer: &mut DiskWriter) -> Option<Disk> {
        let root = PathBuf::from(&conf.path);
        let key_root = conf.key_file_path.as_ref().map_or_else(|| root.clone(), PathBuf::from);
        Some(Disk { writer: writer.get()?, root, key_root, trouble: Trouble::default() })
    }

    fn path(&self, name: &str) -> PathBuf {
        let root = if name.ends_with(".key") { &self.key_root } else { &self.root };
        root.join(name)
    }
}

/// What a request asks for of the HLS that there is; `None` when it is about something else.
pub fn route(world: &World, request: &Request, cors: Cors) -> Option<Wanted> {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok()?;
    let vhost = world.config.vhost(asked.name.vhost())?;
    if !vhost.hls.enabled || vhost.hls.storage == HlsStorage::Disk {
        return None;
    }
    let (stream, what) = playlist_of(world, vhost, request).or_else(|| file_of(world, vhost, request))?;
    Some(Wanted {
        stream,
        what,
        head_only: request.method == Method::Head,
        keep_alive: request.keep_alive,
        cors,
    })
}

fn playlist_of(world: &World, vhost: &Vhost, request: &Request) -> Option<(StreamId, What)> {
    let hit = mount::matches(&vhost.hls.mount, &request.path)?;
    let app = match hit.app {
        Some(app) => app,
        None => world.hub.app_of(&vhost.name, hit.stream)?,
    };
    let named = names::from_http(request.host.as_deref(), (app, hit.stream), &request.query).ok()?;
    let stream = world.hub.find(&named.name.with_vhost(&vhost.name).ok()?)?;
    world.hub.get(stream)?.hls.as_ref()?;
    Some((stream, What::Playlist(request.query.clone())))
}

fn file_of(world: &World, vhost: &Vhost, request: &Request) -> Option<(StreamId, What)> {
    let name = names::percent_decode(request.path.strip_prefix('/')?)?;
    let has = |live: &Live| {
        // Every name has the stream's in it: most streams are told apart by that.
        let fits = live.name.vhost().eq_ignore_ascii_case(&vhost.name) && name.contains(live.name.stream());
        fits && live.hls.as_ref().is_some_and(|live| live.hls.file(&name).is_some())
    };
    let stream = world.hub.find_by(has)?;
    Some((stream, What::File(name)))
}

/// Whether a request is about a segment that is not kept any more.
pub fn was_here(world: &World, request: &Request) -> bool {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok();
    let vhost = asked.and_then(|asked| world.config.vhost(asked.name.vhost()));
    let name = request.path.strip_prefix('/').and_then(names::percent_decode);
    let (Some(vhost), Some(name)) = (vhost.filter(|vhost| vhost.hls.enabled), name) else { return false };
    let had = |live: &Live| {
        let fits = live.name.vhost().eq_ignore_ascii_case(&vhost.name) && name.contains(live.name.stream());
        fits && live.hls.as_ref().is_some_and(|live| live.hls.may_be(&name))
    };
    world.hub.find_by(had).is_some()
}

/// Answers a request, or lets it wait.
pub fn answer(conn: &mut Conn, world: &mut World, wanted: Wanted, deadline: Option<u64>) {
    let mono_ms = world.now;
    let Some(live) = world.hub.get_mut(wanted.stream).and_then(|live| live.hls.as_mut()) else {
        return text(conn, world, &wanted, 404, "the stream is over");
    };
    live.hls.expire(now(mono_ms));
    if conn.socket.sent == 0 {
        let nodelay = live.vhost.tcp_nodelay || live.vhost.min_latency;
        conn.socket.configure(Options { nodelay, send_buffer: live.vhost.play.send_buffer });
    }
    let patience = match &wanted.what {
        _ if live.hls.refusal().is_some() => {
            let why = live.hls.refusal().unwrap_or_default().to_owned();
            return text(conn, world, &wanted, 415, &why);
        }
        What::Playlist(query) => match live.hls.playlist(query) {
            Playlist::Text(list) => return playlist(conn, world, &wanted, &list),
            Playlist::Bad(why) => return text(conn, world, &wanted, 400, why),
            Playlist::Wait(ms) => ms,
        },
        What::File(name) => match live.hls.file(name) {
            Some(File::Body(content, body)) => {
                let vhost = live.vhost.clone();
                return send(conn, world, &wanted, content, body, &vhost);
            }
            Some(File::Wait(ms)) => ms,
            None => return text(conn, world, &wanted, 404, "this segment is not kept any more"),
        },
    };
    live.waiting.push(conn.id);
    let deadline = deadline.unwrap_or(mono_ms.saturating_add(patience));
    if let Role::Http(peer) = &mut conn.role {
        peer.run(Errand::Waiting(wanted, deadline));
        world.timers.set(Timer::Connection(conn.id), deadline);
    }
}

/// There is more: a request that waits is looked at again.
pub fn ask_again(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if let Some(Errand::Waiting(wanted, deadline)) = peer.errand_done(world.now) {
        answer(conn, world, wanted, Some(deadline));
        world.mark(conn);
        resume(conn, world);
    }
}

/// A request has waited long enough.
pub fn waited(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if let Some(Errand::Waiting(wanted, _)) = peer.errand_done(world.now) {
        leave(world, &wanted, conn.id);
        text(conn, world, &wanted, 503, "the next segment did not come in time");
        world.mark(conn);
        resume(conn, world);
    }
}

/// The connection goes, or does something else.
pub fn dropped(world: &mut World, errand: &Errand, id: Id) {
    if let Errand::Waiting(wanted, _) = errand {
        leave(world, wanted, id);
    }
}

fn leave(world: &mut World, wanted: &Wanted, id: Id) {
    if let Some(live) = world.hub.get_mut(wanted.stream).and_then(|live| live.hls.as_mut()) {
        live.waiting.retain(|waiting| *waiting != id);
    }
}

/// All bytes were written: if they were those of a segment, the request is answered.
pub fn sent(conn: &mut Conn, world: &mut World) {
    let Role::Http(peer) = &mut conn.role else { return };
    if peer.sending_ms().is_none() {
        return;
    }
    if let Some(Errand::Sending { keep_alive: false, .. }) = peer.errand_done(world.now) {
        conn.finish(world, "answered");
    }
}

/// What the peer sent meanwhile comes next.
fn resume(conn: &mut Conn, world: &mut World) {
    if conn.holds() {
        world.actions.push_back(Action::Resume(conn.id));
    }
}

fn text(conn: &mut Conn, world: &mut World, wanted: &Wanted, status: u16, line: &str) {
    let Wanted { keep_alive, cors, head_only, .. } = *wanted;
    response::text(conn.out.buffer(), status, line, keep_alive, cors, head_only);
    if !keep_alive {
        conn.finish(world, "answered");
    }
}

fn playlist(conn: &mut Conn, world: &mut World, wanted: &Wanted, list: &str) {
    let Wanted { keep_alive, cors, .. } = *wanted;
    let length = Length::Known(list.len() as u64);
    let extra = "Cache-Control: no-cache\r\n";
    let out = conn.out.buffer();
    Head { status: 200, content_type: PLAYLIST, length, keep_alive, cors, extra }.write(out);
    if !wanted.head_only {
        out.extend_from_slice(list.as_bytes());
    }
    if !keep_alive {
        conn.finish(world, "answered");
    }
}

fn send(
    conn: &mut Conn,
    world: &mut World,
    wanted: &Wanted,
    content: Content,
    body: Weak<Body>,
    vhost: &Vhost,
) {
    let Wanted { keep_alive, cors, .. } = *wanted;
    let Some(shared) = Shared::new(body) else {
        return text(conn, world, wanted, 404, "this segment is not kept any more");
    };
    let content_type = match content {
        Content::Ts => "video/mp2t",
        Content::Mp4 => "video/mp4",
        Content::Key => "application/octet-stream",
    };
    // As long as it is listed; names are never used again.
    let max_age = vhost.hls.window_ms / 1000;
    let extra = match content {
        Content::Key => "Cache-Control: no-cache\r\n".to_owned(),
        Content::Ts | Content::Mp4 => format!("Cache-Control: max-age={max_age}\r\n"),
    };
    let length = Length::Known(shared.left());
    Head { status: 200, content_type, length, keep_alive, cors, extra: &extra }.write(conn.out.buffer());
    if wanted.head_only {
        if !keep_alive {
            conn.finish(world, "answered");
        }
        return;
    }
    conn.out.put_shared(shared);
    let send_timeout_ms = vhost.play.send_timeout_ms;
    if let Role::Http(peer) = &mut conn.role {
        peer.run(Errand::Sending { keep_alive, send_timeout_ms });
        world.timers.set(Timer::Connection(conn.id), world.now.saturating_add(send_timeout_ms));
    }
}

impl Errand {
    /// How long nothing may be taken, while the bytes of a segment are sent.
    pub fn sending_ms(&self) -> Option<u64> {
        match self {
            Errand::Waiting(..) => None,
            Errand::Sending { send_timeout_ms, .. } => Some(*send_timeout_ms),
        }
    }

    /// When it runs out of time, and why. `blocked_since`: the client takes nothing since then.
    pub fn deadline(&self, blocked_since: Option<u64>) -> Option<(u64, &'static str)> {
        match self {
            Errand::Waiting(_, deadline) => Some((*deadline, "the next segment did not come in time")),
            Errand::Sending { send_timeout_ms, .. } => {
                let at = blocked_since?.saturating_add(*send_timeout_ms);
                Some((at, "it took no data for too long (send_timeout)"))
            }
        }
    }
}
