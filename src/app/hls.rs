//! HLS: the segments of each live stream, and the requests for them.
//!
//! ```text
//!   hub: publish ─► begin    ingest ─► take    unpublish ─► pause    ended ─► end ──(hls_dispose)──► gone
//!   http: request ─► route ─► answer ─┬─► text, or the bytes of a segment
//!                                     └─► Waiting ──(next part or segment: Action::Hls)──► answer again
//!                                                 └─(three target durations)──► 503
//! ```
//!
//! A playlist's address with `?master=1` gives the multivariant playlist, and with `hls_ctx` the address without the
//! parameter of that name does.
//!
//! Which names there are is known by the streams themselves: a request is looked up, never taken apart, so no name in a
//! request can mean anything that was not made here.

mod answer;
mod disk;
mod index;
#[cfg(test)]
mod tests;
mod viewers;

use self::answer::playlist_name;
pub use self::answer::{answer, ask_again, dropped, route, sent, waited, was_here};
use super::hub::{Publisher, StreamId};
use super::memory::Share;
use super::relay::pull;
use super::world::World;
use crate::conf::{HlsOnError, HlsStorage, HlsVariant, Vhost};
use crate::media::frame::Frame;
use crate::media::hls::names::{Names, Templates};
use crate::media::hls::{self, Closed, Hls, Now, Progress, Settings, Variant};
use crate::media::package::{self, Container};
use crate::net::slots::Id;
use crate::net::{clock, sys};
use crate::proto::http::request::{Method, Request};
use crate::proto::http::response::Cors;
use crate::wire::avtag::{AudioCodec, VideoCodec};
use crate::wire::names::{self, StreamName};
use disk::{Disk, DiskWriter, News};
use index::{Index, Place};
use std::cell::RefCell;
use std::hash::RandomState;
use std::path::Path;
use std::rc::Rc;
use viewers::Viewers;

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
    /// Who watches.
    viewers: Viewers,
    /// The copy on the disk.
    disk: Option<Disk>,
    /// Why the publisher has to go (`hls_on_error disconnect`).
    verdict: Option<String>,
    /// Where requests find it.
    _place: Place,
    /// Where its complete segments are told of.
    complete: Rc<RefCell<Vec<Segment>>>,
    /// The log knows that there are no segments, that they go before their time, and that they have no sound.
    told: (bool, bool, bool),
    /// Memory is short: segments go before their time because of that.
    short: bool,
}

/// What the HLS of all streams shares.
#[derive(Debug, Default)]
pub struct Common {
    /// Writes segments to the disk.
    pub writer: DiskWriter,
    /// Finds the stream of a segment.
    index: Index,
    /// Segments that have become complete, for the hooks.
    complete: Rc<RefCell<Vec<Segment>>>,
    /// Makes numbers of viewers.
    hasher: RandomState,
}

/// A segment that is complete.
#[derive(Debug)]
pub struct Segment {
    /// The stream.
    pub stream: StreamName,
    /// Its media sequence number.
    pub sequence: u64,
    /// Its length in milliseconds.
    pub ms: u64,
    /// Its file; empty when it is in memory only.
    pub file: String,
    /// Its URL as the playlist has it.
    pub url: String,
    /// The playlist's file; empty when that is in memory only.
    pub playlist_file: String,
    /// The playlist's path.
    pub playlist: String,
}

impl Common {
    /// The segments that have become complete since the last time.
    pub fn take_segments(&self) -> Vec<Segment> {
        std::mem::take(&mut *self.complete.borrow_mut())
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
    /// Who counts as a viewer for it.
    viewer: Option<u64>,
    head_only: bool,
    keep_alive: bool,
    cors: Cors,
}

#[derive(Debug)]
enum What {
    /// The playlist, with the request's query.
    Playlist(String),
    /// The multivariant playlist, with the request's query.
    Multivariant(String),
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
        floor_ms: if conf.ts_floor { conf.fragment_ms } else { 0 },
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
    (id, name): (StreamId, &StreamName),
    vhost: &Rc<Vhost>,
    common: &mut Common,
    mono_ms: u64,
) -> Option<Box<LiveHls>> {
    if !vhost.hls.enabled {
        return None;
    }
    let disk = |common: &mut Common| match vhost.hls.storage {
        HlsStorage::Ram => None,
        HlsStorage::Disk | HlsStorage::Both => Disk::new(&vhost.hls, &mut common.writer),
    };
    if let Some(mut live) = before.filter(|live| live.vhost.hls == vhost.hls) {
        let progress = live.hls.discontinuity(now(mono_ms));
        live.disk = live.disk.take().or_else(|| disk(common));
        live.disk.iter_mut().for_each(|disk| disk.set(true));
        live.settle(&progress, name, mono_ms);
        live.until = None;
        live.told = (false, false, false);
        return Some(live);
    }
    let settings = settings(&vhost.hls);
    let names = Names::new(name, templates(&vhost.hls), settings.variant != Variant::Ts);
    let hls = Hls::new(settings, names, package::packager);
    Some(Box::new(LiveHls {
        disk: disk(common),
        _place: common.index.list(name.vhost(), hls.stems(), id),
        hls,
        vhost: vhost.clone(),
        waiting: Vec::new(),
        queued: false,
        until: None,
        viewers: Viewers::default(),
        verdict: None,
        complete: common.complete.clone(),
        told: (false, false, false),
        short: false,
    }))
}

/// Has a playlist be waited for before there is a publisher, unless one that has ended was not read to its end yet.
pub fn open(
    before: Option<Box<LiveHls>>,
    place: (StreamId, &StreamName),
    vhost: &Rc<Vhost>,
    common: &mut Common,
    mono_ms: u64,
) -> Option<Box<LiveHls>> {
    let read = |live: &LiveHls| match live.until {
        Some(until) => {
            let ended = until.saturating_sub(live.dispose_ms());
            mono_ms.saturating_sub(ended) > live.hls.target_ms().saturating_mul(3)
        }
        None => false,
    };
    match before {
        Some(live) if !read(&live) => Some(live),
        _ => begin(None, place, vhost, common, mono_ms),
    }
}

/// The stream whose playlist is asked for, on an edge to which nobody sends it.
pub fn absent(world: &World, request: &Request) -> Option<(StreamName, Rc<Vhost>)> {
    let asked = names::from_http(request.host.as_deref(), ("-", "-"), &request.query).ok()?;
    let vhost = world.config.vhost(asked.name.vhost())?;
    if !pull::by_hls(vhost) || request.method == Method::Head {
        return None;
    }
    let name = playlist_name(world, vhost, request)?;
    let live = world.hub.find(&name).and_then(|id| world.hub.get(id));
    let here = live.is_some_and(|live| matches!(live.publisher, Publisher::Live(_)));
    (!here).then(|| (name, vhost.clone()))
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
        let mut progress = self.hls.push(frame, tracks, now(mono_ms));
        if let Some(why) = self.hls.refusal().filter(|_| !self.told.0) {
            log::warn!(target: "hls", "{name}: no HLS: {why}");
            self.told.0 = true;
            // Who waits is told so too.
            progress.changed = true;
            if self.vhost.hls.on_error == HlsOnError::Disconnect {
                self.verdict = Some(format!("there can be no HLS of it: {why}"));
            }
        }
        if let Some(why) =
            tracks.filter(|_| !self.told.2).and_then(|(video, audio)| self.silence(video, audio))
        {
            log::warn!(target: "hls", "{name}: no sound in HLS: {why}; see hls_variant");
            self.told.2 = true;
        }
        if self.hls.squeezed() > 0 && !self.told.1 && !self.short {
            log::warn!(
                target: "hls",
                "{name}: segments go before their time: the stream needs more than hls_ram_bytes for hls_window"
            );
            self.told.1 = true;
        }
        self.viewers.sweep(self.hls.target_ms(), mono_ms);
        self.settle(&progress, name, mono_ms);
        self.wake(&progress)
    }

    /// Why the sound of a stream of these codecs is not in its segments.
    fn silence(&self, video: Option<VideoCodec>, audio: Option<AudioCodec>) -> Option<String> {
        let container =
            if self.vhost.hls.variant == HlsVariant::Ts { Container::Ts } else { Container::Fmp4 };
        let video = video.filter(|_| self.vhost.hls.video);
        package::silence(container, video, audio.filter(|_| self.vhost.hls.audio))
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
            self.save(name, mono_ms);
        }
    }

    /// What came of a step: a line for each segment, and the copy on the disk.
    fn settle(&mut self, progress: &Progress, name: &StreamName, mono_ms: u64) {
        let on_disk = |file: &str| match self.disk {
            Some(_) => Path::new(&self.vhost.hls.path).join(file).to_string_lossy().into_owned(),
            None => String::new(),
        };
        for Closed { sequence, name: file, ms, bytes } in &progress.closed {
            let url = self.hls.url(file);
            log::debug!(target: "hls", "{name}: segment {sequence} of {ms} ms and {bytes} bytes: {url}");
            self.complete.borrow_mut().push(Segment {
                stream: name.clone(),
                sequence: *sequence,
                ms: *ms,
                file: on_disk(file),
                url,
                playlist_file: on_disk(self.hls.playlist_name()),
                playlist: self.hls.playlist_name().to_owned(),
            });
        }
        self.save(name, mono_ms);
    }

    /// Hands to the disk what has changed.
    fn save(&mut self, name: &StreamName, mono_ms: u64) {
        let Some(disk) = &mut self.disk else {
            // Without a thread that writes, nothing is kept for it.
            return drop(self.hls.take_changes());
        };
        let news = disk.save(&mut self.hls, self.vhost.hls.cleanup, mono_ms);
        match (news, self.vhost.hls.on_error) {
            (None, _) => {}
            (Some(News::Well), _) => log::info!(target: "hls", "{name}: HLS is written again"),
            (Some(News::Fault(fault)), HlsOnError::Continue) => {
                log::error!(target: "hls", "{name}: HLS cannot be written; the stream goes on, and its files when they can: {fault}");
            }
            (Some(News::Fault(fault)), HlsOnError::Ignore) => {
                log::error!(target: "hls", "{name}: no more files of HLS for this stream: {fault}");
                disk.set(false);
            }
            (Some(News::Fault(fault)), HlsOnError::Disconnect) => {
                log::error!(target: "hls", "{name}: HLS cannot be written, and its publisher has to go (hls_on_error): {fault}");
                self.verdict = Some("its HLS cannot be written".to_owned());
                disk.set(false);
            }
        }
    }

    /// Whether its segments are files too.
    pub fn on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Why the publisher has to go, once.
    pub fn take_verdict(&mut self) -> Option<String> {
        self.verdict.take()
    }

    /// Those who watch it now.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// The publisher is gone and may come back.
    #[must_use]
    pub fn pause(&mut self, name: &StreamName, mono_ms: u64) -> bool {
        let progress = self.hls.interrupt(now(mono_ms));
        self.settle(&progress, name, mono_ms);
        self.wake(&progress)
    }

    /// The stream is over; gives the time at which this can go.
    pub fn end(&mut self, name: &StreamName, mono_ms: u64) -> u64 {
        let progress = self.hls.end(now(mono_ms));
        self.settle(&progress, name, mono_ms);
        self.queued = true;
        let until = mono_ms.saturating_add(self.dispose_ms());
        self.until = Some(until);
        until
    }

    /// How long it stays when the stream is over.
    fn dispose_ms(&self) -> u64 {
        match self.vhost.hls.dispose_ms {
            0 => LONGEST_DISPOSE_MS,
            ms => ms.min(LONGEST_DISPOSE_MS),
        }
    }

    /// Requests that wait.
    pub fn awaited(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets viewers who were not seen for too long.
    pub fn sweep(&mut self, mono_ms: u64) {
        self.viewers.sweep(self.hls.target_ms(), mono_ms);
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

    fn wake(&mut self, progress: &Progress) -> bool {
        progress.changed && !self.waiting.is_empty() && !std::mem::replace(&mut self.queued, true)
    }
}

impl Drop for LiveHls {
    /// `hls_dispose`: no old playlist is left for players to find.
    fn drop(&mut self) {
        if let Some(disk) = self.disk.as_ref().filter(|_| self.vhost.hls.dispose_ms > 0) {
            disk.dispose(&self.hls);
        }
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
