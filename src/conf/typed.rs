//! The typed configuration: what the rest of the program reads.
//!
//! All times are milliseconds and all sizes bytes, whatever unit the directive takes. Values are already
//! checked against the ranges in the table of directives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use super::cluster::{BLANK_CLUSTER, Cluster};
use super::guard::{BLANK_API, BLANK_REFER, BLANK_SECURITY, HttpApi, Refer, Security};
use super::hooks::{BLANK_HEARTBEAT, BLANK_HOOKS, Heartbeat, HttpHooks};
use super::process::{BLANK_EXEC, Exec, FfLog, Job, Open};
use super::schema;

/// The name of the vhost that serves every host no other vhost names.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

/// A whole configuration. [`Config::default`] is what runs when no file is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `listen`: where RTMP is served; never empty. Default: port 1935.
    pub listen: Vec<Listen>,
    /// `max_connections`: connections at one time, of all protocols; at least 1. Default 1000.
    pub max_connections: u32,
    /// `max_memory`: bytes for streams, HLS and buffers together; 0: no bound. `None`, the default: what suits the
    /// machine.
    pub max_memory: Option<u64>,
    /// `chunk_size`: bytes in an RTMP chunk that we send, 1..=16777215. Default 60000.
    pub chunk_size: u32,
    /// `pid`: the file that receives the process id. Default: none is written.
    pub pid: Option<String>,
    /// `handshake_timeout`: ms a connection may take until it is connected (RTMP) or has sent its request
    /// head (HTTP). Default 30000.
    pub handshake_timeout_ms: u64,
    /// `reuse_port`: other processes may listen at the same ports (SO_REUSEPORT). Default off.
    pub reuse_port: bool,
    /// `trusted_proxy`: peers whose word about the client's address is believed. Loopback is not implied.
    /// Default: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// `log_*`.
    pub log: Log,
    /// `ff_log_*`.
    pub ff_log: FfLog,
    /// `daemon`: run in the background (SRS: on). Default off.
    pub daemon: bool,
    /// `work_dir`: the directory to change to. Default: none.
    pub work_dir: Option<String>,
    /// `user`: `user` or `user:group` to become. Default: none.
    pub user: Option<String>,
    /// `inotify_auto_reload`: reload when a file of the configuration changes. Default off.
    pub auto_reload: bool,
    /// `grace_start_wait`: ms from SIGQUIT until nobody new is taken. Default 2300.
    pub grace_start_wait_ms: u64,
    /// `grace_final_wait`: ms from the last connection's end to the program's. Default 3200.
    pub grace_final_wait_ms: u64,
    /// `force_grace_quit`: SIGTERM means SIGQUIT. Default off.
    pub force_grace_quit: bool,
    /// `http_server { }`.
    pub http_server: HttpServer,
    /// `http_api { }`.
    pub http_api: HttpApi,
    /// `heartbeat { }`.
    pub heartbeat: Heartbeat,
    /// `vhost NAME { }`, in the order of the file; names are unique without regard to case.
    pub vhosts: Vec<Rc<Vhost>>,
}

/// A place to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address. `None`, from a bare port: every address, of IPv6 and of IPv4.
    pub addr: Option<IpAddr>,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.addr {
            Some(addr) => write!(f, "{}", std::net::SocketAddr::new(addr, self.port)),
            None => write!(f, "port {}", self.port),
        }
    }
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    /// The address part; bits beyond the prefix are zero.
    pub addr: IpAddr,
    /// Bits of `addr` that must match: 0..=32 for IPv4, 0..=128 for IPv6.
    pub prefix: u8,
}

/// Where the log goes and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `log_tank`. Default: the console, or the file where `log_file` is set.
    pub tank: LogTank,
    /// `log_level`. Default: info.
    pub level: log::LevelFilter,
    /// `log_file`: written when `tank` is `File`. Default `./runnel.log`.
    pub file: String,
    /// `log_max_size`: bytes at which the file is put aside; 0: never. Default 16 MiB.
    pub max_size: u64,
    /// `log_keep`: files put aside that are kept. Default 3.
    pub keep: u32,
    /// `log_ring`: bytes of lines kept in memory. Default 64 KiB.
    pub ring: u32,
    /// `log_socket`: where `tank` `Syslog` writes to. Default `/dev/log`.
    pub socket: String,
    /// `access_log`. Default: none.
    pub access: Option<String>,
    /// `utc_time`. Default off.
    pub utc: bool,
    /// `pithy_print_ms`: ms between two lines of statistics; 0: none. Default 60000 (SRS: 10000).
    pub pithy_ms: u64,
}

/// `log_tank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTank {
    /// Standard output.
    Console,
    /// The file named by `log_file`.
    File,
    /// The system's log, by its socket.
    Syslog,
}

/// `http_server { }`: the HTTP port that streams are served at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServer {
    /// `enabled`. Default: off in a file, on without a file.
    pub enabled: bool,
    /// `listen`; never empty. Default: port 8080.
    pub listen: Vec<Listen>,
    /// `crossdomain`: answer with CORS headers, so that web pages of other hosts can play. Default on.
    pub crossdomain: bool,
    /// `page`: serve the page at `/` that lists and plays the streams. Default on.
    pub page: bool,
    /// `dir`: the directory whose files are served below `/`, relative to where the program runs.
    /// Default: none, so that nothing is served by accident (SRS: `./objs/nginx/html`).
    pub dir: Option<String>,
}

/// `vhost NAME { }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhost {
    /// The host name it serves, as written in the file, or [`DEFAULT_VHOST`]; at most 255 bytes.
    pub name: String,
    /// `enabled`: off refuses everything that asks for this host. Default on.
    pub enabled: bool,
    /// `min_latency`: send each message at once instead of gathering for `mw_latency`. Default off.
    pub min_latency: bool,
    /// `tcp_nodelay`: set TCP_NODELAY on players' and publishers' sockets (SRS: off). Default on.
    pub tcp_nodelay: bool,
    /// `chunk_size`: as [`Config::chunk_size`], which is the default.
    pub chunk_size: u32,
    /// `in_ack_size`: acknowledge after this many bytes received, unless the peer announces a window.
    /// 0, the default: only what the peer asks for.
    pub in_ack_size: u32,
    /// `out_ack_size`: the window in bytes that we announce to the peer; 0 announces none. Default 2500000.
    pub out_ack_size: u32,
    /// `play { }`.
    pub play: Play,
    /// `publish { }`.
    pub publish: Publish,
    /// `http_remux { }`.
    pub http_remux: HttpRemux,
    /// `http_static { }`.
    pub http_static: HttpStatic,
    /// `hls { }`.
    pub hls: Hls,
    /// `dvr { }`.
    pub dvr: Dvr,
    /// `security { }`.
    pub security: Security,
    /// `refer { }`.
    pub refer: Refer,
    /// `http_hooks { }`.
    pub http_hooks: HttpHooks,
    /// `forward { }`.
    pub forward: Forward,
    /// `cluster { }`.
    pub cluster: Cluster,
    /// `ingest ID { }` and `transcode SCOPE { }`, those that are enabled.
    pub jobs: Vec<Job>,
    /// `exec { }`.
    pub exec: Exec,
}

/// `play { }`: how viewers are served. What bounds the feed holds for HTTP viewers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Play {
    /// `gop_cache`: a viewer who joins starts at the last keyframe instead of the next. Default on.
    pub gop_cache: bool,
    /// `gop_cache_max_frames`: a feed keeps at most this many frames; 0 sets no such limit. Default 2500.
    pub gop_cache_max_frames: u32,
    /// `queue_length`: ms of media a feed keeps, so how far a viewer may fall behind. Default 30000.
    pub queue_length_ms: u64,
    /// `queue_bytes`: bytes of media a feed keeps. Default 32 MiB.
    pub queue_bytes: u64,
    /// `time_jitter`. Default full.
    pub time_jitter: Jitter,
    /// `mw_latency`: ms for which messages are gathered before one write. Default 350.
    pub mw_latency_ms: u32,
    /// `send_timeout`: ms without any progress after which a viewer is closed. Default 30000.
    pub send_timeout_ms: u64,
    /// `send_buffer`: bytes the kernel may hold for a viewer (SO_SNDBUF); 0 leaves it to the kernel.
    /// Default 128 KiB, which the kernel doubles for its own needs.
    pub send_buffer: u32,
    /// `no_stream`: an RTMP play of a stream nobody publishes. Default wait.
    pub no_stream: NoStream,
    /// `wait`: ms that an RTMP player waits for the publisher. Default 10000.
    pub no_stream_wait_ms: u64,
}

/// `publish { }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// `on_busy`: a second publisher of a name in use. Default takeover_same_ip.
    pub on_busy: OnBusy,
    /// `resume_wait`: ms for which viewers stay connected after the publisher is gone. Default 15000.
    pub resume_wait_ms: u64,
    /// `firstpkt_timeout`: ms that a publisher may take to send its first media. Default 20000.
    pub firstpkt_timeout_ms: u64,
    /// `normal_timeout`: ms of silence after which a publisher is closed. Default 5000.
    pub normal_timeout_ms: u64,
}

/// `http_remux { }`: live streams over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRemux {
    /// `enabled`. Default: off in a file, on without a file.
    pub enabled: bool,
    /// `mount`: URL patterns of host and path, with `[vhost]`, `[app]` and `[stream]`; the extension names the
    /// container. A mount that begins with `/` is for every host. Default `[vhost]/[app]/[stream]` with each extension.
    pub mounts: Vec<String>,
    /// `chunked`: chunked transfer coding for HTTP/1.1 clients; off ends by close. Default on.
    pub chunked: bool,
    /// `no_stream`: a request for a stream nobody publishes. Default wait.
    pub no_stream: NoStream,
    /// `wait`: ms that such a request waits before 404. Default 10000.
    pub wait_ms: u64,
    /// `has_audio`: the audio flag in the FLV header. `None`, the default: not said.
    pub has_audio: Option<bool>,
    /// `has_video`: the video flag in the FLV header. `None`, the default: not said.
    pub has_video: Option<bool>,
    /// `fast_cache`: ms of sound that a viewer of .aac or .mp3 is sent at once. Default 0.
    pub fast_cache_ms: u64,
    /// `drop_if_not_match`: leave out the frames of a track that the FLV header denies. Default on.
    pub drop_if_not_match: bool,
    /// `guess_has_av`: set the flags of the FLV header from what the stream carries, where
    /// `has_audio` and `has_video` do not say. Default on.
    pub guess_has_av: bool,
}

/// `http_static { }`: files over HTTP for one vhost; they come before those of [`HttpServer::dir`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpStatic {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `mount`: host and path below which the files are. Default `[vhost]/`.
    pub mount: String,
    /// `dir`: the directory, relative to where the program runs. Default `./objs/nginx/html`, as in SRS.
    pub dir: String,
}

/// `hls { }`: live streams as HLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hls {
    /// `enabled`. Default: off in a file, on without a file.
    pub enabled: bool,
    /// `hls_variant`: what segments are. Default ts.
    pub variant: HlsVariant,
    /// `hls_storage`: where segments are kept. Default ram.
    pub storage: HlsStorage,
    /// `hls_ram_bytes`: bytes of segments kept of a stream. Default 32 MiB.
    pub ram_bytes: u64,
    /// `hls_mount`: host and path of a playlist in memory. Default `[vhost]/[app]/[stream].m3u8`.
    pub mount: String,
    /// `hls_fragment`: ms from which on a segment ends at the next keyframe. Default 10000 (2000 without a file).
    pub fragment_ms: u64,
    /// `hls_part`: ms of a part. Default 500.
    pub part_ms: u64,
    /// `hls_td_ratio`: target duration in thousandths of the fragment. Default 1000.
    pub td_ratio: u64,
    /// `hls_aof_ratio`: longest segment in thousandths of the fragment. Default 2100 (6000 without a file).
    pub aof_ratio: u64,
    /// `hls_window`: ms that are listed. Default 60000 (12000 without a file).
    pub window_ms: u64,
    /// `hls_path`: the directory of files. Default `./objs/nginx/html`.
    pub path: String,
    /// `hls_m3u8_file`: the playlist's file. Default `[app]/[stream].m3u8`.
    pub m3u8_file: String,
    /// `hls_ts_file`: a segment's file and path. Default `[app]/[stream]-[seq].ts`.
    pub ts_file: String,
    /// `hls_entry_prefix`: what segments' URLs begin with. Default empty: relative.
    pub entry_prefix: String,
    /// `hls_acodec`: false leaves the sound out. Default true.
    pub audio: bool,
    /// `hls_vcodec`: false leaves the picture out. Default true.
    pub video: bool,
    /// `hls_cleanup`: remove old files. Default on.
    pub cleanup: bool,
    /// `hls_dispose`: ms after a stream's end when everything of it goes; 0 keeps files. Default 120000.
    pub dispose_ms: u64,
    /// `hls_wait_keyframe`: segments begin with keyframes. Default on.
    pub wait_keyframe: bool,
    /// `hls_keys`: encrypt. Default off.
    pub keys: bool,
    /// `hls_fragments_per_key`: segments for each key, at least 1. Default 5.
    pub fragments_per_key: u32,
    /// `hls_key_file`: a key's file and path. Default `[app]/[stream]-[seq].key`.
    pub key_file: String,
    /// `hls_key_file_path`: the directory of keys. `None`, the default: `hls_path`.
    pub key_file_path: Option<String>,
    /// `hls_key_url`: what keys' URLs begin with. Default empty: relative.
    pub key_url: String,
    /// `hls_on_error`: what happens when there can be no segment. Default continue.
    pub on_error: HlsOnError,
    /// `hls_ts_floor`: `[timestamp]` counts fragments. Default off.
    pub ts_floor: bool,
    /// `hls_ctx`: each viewer gets a number in its playlist's address. Default off.
    pub ctx: bool,
    /// `hls_ts_ctx`: with `hls_ctx`, segments' addresses have it too. Default on.
    pub ts_ctx: bool,
}

/// `forward { }`: servers that published streams are sent on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `destination`: `host:port` each, the host an address or a name. Default: none.
    pub destinations: Vec<String>,
}

impl Forward {
    /// Where streams are sent: nowhere while it is off.
    pub fn wanted(&self) -> &[String] {
        if self.enabled { &self.destinations } else { &[] }
    }
}

/// `dvr { }`: recordings of live streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dvr {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `dvr_apply`: `all`, or streams as `app/stream`. Default `all`.
    pub apply: Vec<String>,
    /// `dvr_plan`: when a file ends. Default session.
    pub plan: DvrPlan,
    /// `dvr_path`: the files, with variables. Default `./objs/nginx/html/[app]/[stream].[timestamp].flv`.
    pub path: String,
    /// `dvr_duration`: ms of a file, for [`DvrPlan::Segment`]. Default 30000.
    pub duration_ms: u64,
    /// `dvr_wait_keyframe`: files with video begin with a keyframe. Default on.
    pub wait_keyframe: bool,
    /// `time_jitter`. Default full.
    pub time_jitter: Jitter,
    /// `dvr_keep`: ms after which recordings are deleted; 0, the default: never.
    pub keep_ms: u64,
    /// `dvr_max_bytes`: bytes of all recordings of the vhost; 0, the default: no limit.
    pub max_bytes: u64,
}

/// `dvr_plan`: when a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DvrPlan {
    /// With the stream.
    Session,
    /// After `dvr_duration`.
    Segment,
    /// With the stream, but a file that is there already is gone on in.
    Append,
}

/// `hls_variant`: what segments are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HlsVariant {
    /// MPEG-TS.
    Ts,
    /// Fragmented MP4.
    Fmp4,
    /// Fragmented MP4 in parts.
    LowLatency,
}

/// `hls_on_error`: what happens when a segment cannot be made or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HlsOnError {
    /// The stream's files end.
    Ignore,
    /// The publisher is sent away.
    Disconnect,
    /// What can be written is written.
    Continue,
}

/// `hls_storage`: where segments are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HlsStorage {
    /// In memory, served by `http_server`.
    Ram,
    /// In files.
    Disk,
    /// In both.
    Both,
}

/// `time_jitter`: what happens to timestamps on their way to RTMP viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Start at zero and replace jumps.
    Full,
    /// Start at zero, nothing else.
    Zero,
    /// As published.
    Off,
}

/// `no_stream`: what a viewer gets when nobody publishes the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStream {
    /// Wait for a publisher, for a bounded time.
    Wait,
    /// An answer at once that there is no such stream.
    NotFound,
}

/// `on_busy`: what a second publisher of a name in use gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBusy {
    /// It is refused.
    Reject,
    /// It replaces the first.
    Takeover,
    /// It replaces the first when both come from one address, and is refused otherwise.
    TakeoverSameIp,
}

impl Default for Config {
    /// What runs without a file: RTMP at 1935, HTTP at 8080, one vhost for all hosts with HTTP-FLV on, the
    /// log on the console.
    fn default() -> Self {
        let mut draft = Draft::default();
        draft.vhost.http_remux.enabled = true;
        draft.vhost.hls = Hls { enabled: true, ..Hls::short(draft.vhost.hls) };
        draft.config.http_server.enabled = true;
        let listen = draft.config.http_server.listen.clone();
        let api = draft.config.http_api;
        draft.config.http_api =
            HttpApi { enabled: true, listen, crossdomain: false, allow_kick: false, ..api };
        draft.config.vhosts.push(Rc::new(draft.vhost));
        draft.config
    }
}

impl Hls {
    /// Whether the addresses of segments tell the viewer.
    pub fn marks_segments(&self) -> bool {
        self.ctx && self.ts_ctx
    }

    /// Short segments, for a delay of some six seconds; with encoders that make a keyframe each ten seconds, too, every
    /// segment begins with one.
    fn short(self) -> Hls {
        Hls { fragment_ms: 2_000, window_ms: 12_000, aof_ratio: 6_000, ..self }
    }
}

impl Default for Vhost {
    /// An empty `vhost __defaultVhost__ { }`.
    fn default() -> Self {
        Draft::default().vhost
    }
}

/// What the table's setters write to: the configuration, and the vhost that is being read.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) vhost: Vhost,
    pub(super) open: Open,
}

impl Default for Draft {
    /// Every directive at the default that the table gives.
    fn default() -> Self {
        let mut draft = Self { config: BLANK, vhost: BLANK_VHOST, open: Open::default() };
        schema::set_defaults(&mut draft);
        draft.vhost.name = String::from(DEFAULT_VHOST);
        draft.vhost.chunk_size = draft.config.chunk_size;
        draft
    }
}

/// No value is set yet; the table of directives holds the defaults.
const BLANK: Config = Config {
    listen: Vec::new(),
    max_connections: 0,
    max_memory: None,
    chunk_size: 0,
    pid: None,
    handshake_timeout_ms: 0,
    reuse_port: false,
    trusted_proxies: Vec::new(),
    log: Log {
        tank: LogTank::Console,
        level: log::LevelFilter::Off,
        file: String::new(),
        max_size: 0,
        keep: 0,
        ring: 0,
        socket: String::new(),
        access: None,
        utc: false,
        pithy_ms: 0,
    },
    ff_log: FfLog { dir: None, level: String::new() },
    daemon: false,
    work_dir: None,
    user: None,
    auto_reload: false,
    grace_start_wait_ms: 0,
    grace_final_wait_ms: 0,
    force_grace_quit: false,
    http_server: HttpServer {
        enabled: false,
        listen: Vec::new(),
        crossdomain: false,
        page: false,
        dir: None,
    },
    http_api: BLANK_API,
    heartbeat: BLANK_HEARTBEAT,
    vhosts: Vec::new(),
};

/// As [`BLANK`].
const BLANK_VHOST: Vhost = Vhost {
    name: String::new(),
    enabled: false,
    min_latency: false,
    tcp_nodelay: false,
    chunk_size: 0,
    in_ack_size: 0,
    out_ack_size: 0,
    play: Play {
        gop_cache: false,
        gop_cache_max_frames: 0,
        queue_length_ms: 0,
        queue_bytes: 0,
        time_jitter: Jitter::Off,
        mw_latency_ms: 0,
        send_timeout_ms: 0,
        send_buffer: 0,
        no_stream: NoStream::NotFound,
        no_stream_wait_ms: 0,
    },
    publish: Publish {
        on_busy: OnBusy::Reject,
        resume_wait_ms: 0,
        firstpkt_timeout_ms: 0,
        normal_timeout_ms: 0,
    },
    http_remux: HttpRemux {
        enabled: false,
        mounts: Vec::new(),
        chunked: false,
        no_stream: NoStream::NotFound,
        wait_ms: 0,
        has_audio: None,
        has_video: None,
        fast_cache_ms: 0,
        drop_if_not_match: false,
        guess_has_av: false,
    },
    http_static: HttpStatic { enabled: false, mount: String::new(), dir: String::new() },
    hls: Hls {
        enabled: false,
        variant: HlsVariant::Ts,
        storage: HlsStorage::Ram,
        ram_bytes: 0,
        mount: String::new(),
        fragment_ms: 0,
        part_ms: 0,
        td_ratio: 0,
        aof_ratio: 0,
        window_ms: 0,
        path: String::new(),
        m3u8_file: String::new(),
        ts_file: String::new(),
        entry_prefix: String::new(),
        audio: false,
        video: false,
        cleanup: false,
        dispose_ms: 0,
        wait_keyframe: false,
        keys: false,
        fragments_per_key: 0,
        key_file: String::new(),
        key_file_path: None,
        key_url: String::new(),
        on_error: HlsOnError::Continue,
        ts_floor: false,
        ctx: false,
        ts_ctx: false,
    },
    dvr: Dvr {
        enabled: false,
        apply: Vec::new(),
        plan: DvrPlan::Session,
        path: String::new(),
        duration_ms: 0,
        wait_keyframe: false,
        time_jitter: Jitter::Off,
        keep_ms: 0,
        max_bytes: 0,
    },
    security: BLANK_SECURITY,
    refer: BLANK_REFER,
    http_hooks: BLANK_HOOKS,
    forward: Forward { enabled: false, destinations: Vec::new() },
    cluster: BLANK_CLUSTER,
    jobs: Vec::new(),
    exec: BLANK_EXEC,
};

impl Config {
    /// The vhost that serves `host` (a name without a port): the one of that name without regard to case,
    /// else [`DEFAULT_VHOST`]. `None` refuses: there is neither, or the one that answers is disabled.
    pub fn vhost(&self, host: &str) -> Option<&Rc<Vhost>> {
        let named = |name: &str| self.vhosts.iter().find(|v| v.name.eq_ignore_ascii_case(name));
        named(host).or_else(|| named(DEFAULT_VHOST)).filter(|v| v.enabled)
    }
}

impl IpNet {
    /// The range of addresses that share the first `prefix` bits with `addr`.
    pub fn new(addr: IpAddr, prefix: u8) -> Self {
        let (prefix, addr) = match addr {
            IpAddr::V4(ip) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (prefix, IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask)))
            }
            IpAddr::V6(ip) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                (prefix, IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask)))
            }
        };
        Self { addr, prefix }
    }

    /// Whether `ip` lies in the range. An IPv4 address that came mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        Self::new(ip.to_canonical(), self.prefix).addr == self.addr
    }
}
