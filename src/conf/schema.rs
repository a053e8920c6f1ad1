//! The table of directives: for each its name, place, type, default, documentation and setter.
//!
//! Everything about a directive is in its one entry: the checks, the defaults and the reference are made
//! from it. Only what takes effect is here; what SRS knows beyond that is listed in `srs`, and warned of.

mod dvr;
mod guard;
mod hls;
mod hooks;
mod http;
mod process;
mod relay;
mod stream;

use log::LevelFilter;

use super::error::Reports;
use super::source::Sources;
use super::typed::{Draft, Jitter, LogTank, NoStream};
use super::value::{self, HOUR, Kind, SECOND, Value};

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Outside all blocks.
    Root,
    /// `http_server { }`.
    HttpServer,
    /// `http_api { }`.
    HttpApi,
    /// `http_api { raw_api { } }`.
    RawApi,
    /// `http_api { auth { } }`.
    Auth,
    /// `vhost NAME { }`.
    Vhost,
    /// `vhost NAME { play { } }`.
    Play,
    /// `vhost NAME { publish { } }`.
    Publish,
    /// `vhost NAME { http_remux { } }`.
    HttpRemux,
    /// `vhost NAME { http_static { } }`.
    HttpStatic,
    /// `vhost NAME { hls { } }`.
    Hls,
    /// `vhost NAME { dvr { } }`.
    Dvr,
    /// `vhost NAME { security { } }`.
    Security,
    /// `vhost NAME { refer { } }`.
    Refer,
    /// `vhost NAME { http_hooks { } }`.
    HttpHooks,
    /// `heartbeat { }`.
    Heartbeat,
    /// `vhost NAME { forward { } }`.
    Forward,
    /// `vhost NAME { cluster { } }`.
    Cluster,
    /// `vhost NAME { ingest ID { } }`.
    Ingest,
    /// `vhost NAME { ingest ID { input { } } }`.
    Input,
    /// `vhost NAME { transcode SCOPE { } }`.
    Transcode,
    /// `vhost NAME { transcode SCOPE { engine NAME { } } }`, and the same in `ingest`.
    Engine,
    /// `vhost NAME { exec { } }`.
    Exec,
}

impl Context {
    /// All of them.
    pub const ALL: [Context; 23] = [
        Context::Root,
        Context::HttpServer,
        Context::HttpApi,
        Context::RawApi,
        Context::Auth,
        Context::Vhost,
        Context::Play,
        Context::Publish,
        Context::HttpRemux,
        Context::HttpStatic,
        Context::Hls,
        Context::Dvr,
        Context::Security,
        Context::Refer,
        Context::HttpHooks,
        Context::Heartbeat,
        Context::Forward,
        Context::Cluster,
        Context::Ingest,
        Context::Input,
        Context::Transcode,
        Context::Engine,
        Context::Exec,
    ];

    /// The name of the block; empty outside all blocks.
    pub fn name(self) -> &'static str {
        match self {
            Context::Root => "",
            Context::HttpServer => "http_server",
            Context::HttpApi => "http_api",
            Context::RawApi => "raw_api",
            Context::Auth => "auth",
            Context::Vhost => "vhost",
            Context::Play => "play",
            Context::Publish => "publish",
            Context::HttpRemux => "http_remux",
            Context::HttpStatic => "http_static",
            Context::Hls => "hls",
            Context::Dvr => "dvr",
            Context::Security => "security",
            Context::Refer => "refer",
            Context::HttpHooks => "http_hooks",
            Context::Heartbeat => "heartbeat",
            Context::Forward => "forward",
            Context::Cluster => "cluster",
            Context::Ingest => "ingest",
            Context::Input => "input",
            Context::Transcode => "transcode",
            Context::Engine => "engine",
            Context::Exec => "exec",
        }
    }

    /// The block around this one.
    pub fn parent(self) -> Option<Context> {
        match self {
            Context::Root => None,
            Context::HttpServer | Context::HttpApi | Context::Heartbeat | Context::Vhost => {
                Some(Context::Root)
            }
            Context::RawApi | Context::Auth => Some(Context::HttpApi),
            Context::Input => Some(Context::Ingest),
            Context::Engine => Some(Context::Transcode),
            _ => Some(Context::Vhost),
        }
    }
}

/// A directive.
#[derive(Debug)]
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// Other names for it, from SRS or from older documents.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// The default as it would be written in a file; in parentheses where it cannot be.
    pub default: &'static str,
    /// One or two sentences for the operator. Empty but in tests: what is part of the program is the packed reference.
    pub(super) docs: &'static str,
    set: fn(&mut Draft, Value<'_>),
}

/// A table without what the reference is made of: see [`Directive::docs`].
const fn lean<const N: usize>(mut table: [Directive; N]) -> [Directive; N] {
    let mut rest: &mut [Directive] = &mut table;
    while let Some((directive, others)) = rest.split_first_mut() {
        if !cfg!(test) {
            directive.docs = "";
        }
        rest = others;
    }
    table
}

impl Directive {
    /// Whether `name` is this directive's name or another name for it.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Writes `value` to its place.
    pub(super) fn apply(&self, draft: &mut Draft, value: Value<'_>) {
        (self.set)(draft, value);
    }
}

/// The directives of `context`, in the order in which a reference would list them.
pub fn directives(context: Context) -> &'static [Directive] {
    match context {
        Context::Root => ROOT,
        Context::HttpServer => http::SERVER,
        Context::Vhost => VHOST,
        Context::Play => stream::PLAY,
        Context::Publish => stream::PUBLISH,
        Context::HttpRemux => http::REMUX,
        Context::HttpStatic => http::STATIC,
        Context::Hls => hls::DIRECTIVES,
        Context::Dvr => dvr::DIRECTIVES,
        Context::HttpApi => guard::HTTP_API,
        Context::RawApi => guard::RAW_API,
        Context::Auth => guard::AUTH,
        Context::Security => guard::SECURITY,
        Context::Refer => guard::REFER,
        Context::HttpHooks => hooks::HOOKS,
        Context::Heartbeat => hooks::HEARTBEAT,
        Context::Forward => relay::FORWARD,
        Context::Cluster => relay::CLUSTER,
        Context::Ingest => process::INGEST,
        Context::Input => process::INPUT,
        Context::Transcode => process::TRANSCODE,
        Context::Engine => process::ENGINES,
        Context::Exec => process::EXEC,
    }
}

/// The directive called `name` in `context`, by its name or another name for it.
pub(super) fn find(context: Context, name: &str) -> Option<&'static Directive> {
    directives(context).iter().find(|d| d.is(name))
}

/// Gives every directive its default.
pub(super) fn set_defaults(draft: &mut Draft) {
    let sources = Sources::default();
    let mut reports = Reports::new(&sources);
    for directive in Context::ALL.iter().flat_map(|&c| directives(c)) {
        if directive.default.starts_with('(') {
            continue;
        }
        if let Some(value) = value::read(directive, &value::words(directive.default), &mut reports) {
            directive.apply(draft, value);
        }
    }
}

const LEVELS: &[&str] = &["error", "warn", "info", "debug"];
const NO_STREAM: &[&str] = &["wait", "404", "not_found"];
const MAX_CHUNK: u64 = 0xFF_FFFF;
const MAX_WINDOW: u64 = 0x7FFF_FFFF;
const MAX_MEMORY: u64 = 1 << 40;

fn no_stream(value: Value<'_>) -> NoStream {
    if value.text() == "wait" { NoStream::Wait } else { NoStream::NotFound }
}

fn jitter(value: Value<'_>) -> Jitter {
    match value.text() {
        "full" => Jitter::Full,
        "zero" => Jitter::Zero,
        _ => Jitter::Off,
    }
}

fn nothing(_: &mut Draft, _: Value<'_>) {}

static ROOT: &[Directive] = &lean([
    Directive {
        name: "listen",
        aliases: &[],
        kind: Kind::Listen,
        default: "1935",
        docs: "Where RTMP is served. A bare port listens on every address, of IPv6 and of IPv4; port 0 lets the system choose.",
        set: |d, v| d.config.listen = v.listen(),
    },
    Directive {
        name: "max_connections",
        aliases: &[],
        kind: Kind::Count { min: 1, max: 1_000_000 },
        default: "1000",
        docs: "Connections at one time, of all protocols; more are refused.",
        set: |d, v| d.config.max_connections = v.num32(),
    },
    Directive {
        name: "max_memory",
        aliases: &[],
        kind: Kind::Size { min: 0, max: MAX_MEMORY, usual: (0, MAX_MEMORY) },
        default: "(half of the memory that is left at the start if that is below 256m, else 0)",
        docs: "Bytes for streams, HLS and the buffers of connections together; 0 sets no bound. When they are used up, these give way, in this order: what is stored in other containers, GOP caches, HLS windows, slow viewers, new viewers, new publishers. Whoever publishes is never cut.",
        set: |d, v| d.config.max_memory = Some(v.num()),
    },
    Directive {
        name: "chunk_size",
        aliases: &[],
        kind: Kind::Size { min: 1, max: MAX_CHUNK, usual: (128, 65536) },
        default: "60000",
        docs: "Bytes in an RTMP chunk that the server sends.",
        set: |d, v| d.config.chunk_size = v.num32(),
    },
    Directive {
        name: "handshake_timeout",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: SECOND, max: HOUR },
        default: "30s",
        docs: "How long a connection may take until it is connected (RTMP) or has sent its request (HTTP).",
        set: |d, v| d.config.handshake_timeout_ms = v.num(),
    },
    Directive {
        name: "reuse_port",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Let other processes listen at the same ports; the kernel spreads the connections (SO_REUSEPORT).",
        set: |d, v| d.config.reuse_port = v.flag(),
    },
    Directive {
        name: "trusted_proxy",
        aliases: &[],
        kind: Kind::Nets,
        default: "(nobody)",
        docs: "Proxies that are believed when they tell a client's address. Loopback is not implied.",
        set: |d, v| d.config.trusted_proxies = v.nets(),
    },
    Directive {
        name: "pid",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "The file that receives the process id.",
        set: |d, v| d.config.pid = Some(v.text().to_owned()),
    },
    Directive {
        name: "log_tank",
        aliases: &["srs_log_tank"],
        kind: Kind::Words(&["console", "file", "syslog"]),
        default: "console",
        docs: "Where the log goes: standard output, `log_file`, or the system's log by `log_socket`; `file` when only `log_file` is given.",
        set: |d, v| {
            d.config.log.tank = match v.text() {
                "file" => LogTank::File,
                "syslog" => LogTank::Syslog,
                _ => LogTank::Console,
            };
        },
    },
    Directive {
        name: "log_level",
        aliases: &[],
        kind: Kind::Words(LEVELS),
        default: "info",
        docs: "How much is logged, from little to much: error, warn, info, debug.",
        set: |d, v| {
            d.config.log.level = match v.text() {
                "error" => LevelFilter::Error,
                "warn" => LevelFilter::Warn,
                "debug" => LevelFilter::Debug,
                _ => LevelFilter::Info,
            };
        },
    },
    Directive {
        name: "log_file",
        aliases: &["srs_log_file"],
        kind: Kind::Text,
        default: "./runnel.log",
        docs: "The log file.",
        set: |d, v| d.config.log.file = v.text().to_owned(),
    },
    Directive {
        name: "log_max_size",
        aliases: &[],
        kind: Kind::Size { min: 0, max: 1 << 30, usual: (0, 1 << 30) },
        default: "16m",
        docs: "Size at which the log file is put aside as `FILE.1` and a new one begun; 0 lets it grow.",
        set: |d, v| d.config.log.max_size = v.num(),
    },
    Directive {
        name: "log_keep",
        aliases: &[],
        kind: Kind::Count { min: 0, max: 100 },
        default: "3",
        docs: "Log files put aside that are kept, `FILE.1` to `FILE.N`; older ones are deleted.",
        set: |d, v| d.config.log.keep = v.num32(),
    },
    Directive {
        name: "log_ring",
        aliases: &[],
        kind: Kind::Size { min: 0, max: 16 << 20, usual: (0, 16 << 20) },
        default: "64k",
        docs: "Bytes of the newest log lines that are kept in memory; 0 keeps none.",
        set: |d, v| d.config.log.ring = v.num32(),
    },
    Directive {
        name: "log_socket",
        aliases: &[],
        kind: Kind::Text,
        default: "/dev/log",
        docs: "The socket of the system's log, for `log_tank syslog`.",
        set: |d, v| d.config.log.socket = v.text().to_owned(),
    },
    Directive {
        name: "access_log",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "A file that gets one line for each HTTP answer and for each viewer's end. It is put aside as the log file is.",
        set: |d, v| d.config.log.access = Some(v.text().to_owned()),
    },
    Directive {
        name: "utc_time",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Write the time in logs as UTC instead of local time.",
        set: |d, v| d.config.log.utc = v.flag(),
    },
    Directive {
        name: "pithy_print_ms",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 0, max: HOUR },
        default: "60000",
        docs: "How often a line says how many publishers, viewers and bits there are, while there are any; 0 never.",
        set: |d, v| d.config.log.pithy_ms = v.num(),
    },
    Directive {
        name: "ff_log_dir",
        aliases: &[],
        kind: Kind::Text,
        default: "/dev/null",
        docs: "The directory for what programs of `ingest`, `transcode` and `exec` say, each in a file of 1 MB at most; `/dev/null` keeps none. The last line of one that fails is in the log in any case.",
        set: |d, v| {
            let dir = v.text();
            d.config.ff_log.dir = (!matches!(dir, "" | "/dev/null")).then(|| dir.to_owned());
        },
    },
    Directive {
        name: "ff_log_level",
        aliases: &[],
        kind: Kind::Words(&[
            "quiet", "panic", "fatal", "error", "warning", "info", "verbose", "debug", "trace",
        ]),
        default: "info",
        docs: "How much ffmpeg says, from little to much.",
        set: |d, v| v.text().clone_into(&mut d.config.ff_log.level),
    },
    Directive {
        name: "daemon",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Run in the background, once everything is open; what fails before that is still told on the console.",
        set: |d, v| d.config.daemon = v.flag(),
    },
    Directive {
        name: "work_dir",
        aliases: &[],
        kind: Kind::Text,
        default: "(where it was started)",
        docs: "The directory to change to at the start, before any path but that of the configuration file is used.",
        set: |d, v| d.config.work_dir = Some(v.text().to_owned()),
    },
    Directive {
        name: "user",
        aliases: &[],
        kind: Kind::Text,
        default: "(as started)",
        docs: "The user, or `user:group`, by name or number, to become once ports, pid file and log are open. Needs root at the start.",
        set: |d, v| d.config.user = Some(v.text().to_owned()),
    },
    Directive {
        name: "inotify_auto_reload",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Reload when a file of the configuration changes; they are looked at once a second. A new file that a pattern of `include` finds is not noticed by itself.",
        set: |d, v| d.config.auto_reload = v.flag(),
    },
    Directive {
        name: "grace_start_wait",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 0, max: HOUR },
        default: "2300",
        docs: "After SIGQUIT, how long new connections are still taken, while a load balancer learns of the end.",
        set: |d, v| d.config.grace_start_wait_ms = v.num(),
    },
    Directive {
        name: "grace_final_wait",
        aliases: &[],
        kind: Kind::Time { unit: 1, min: 0, max: HOUR },
        default: "3200",
        docs: "After SIGQUIT, how long the program stays when the last connection is gone.",
        set: |d, v| d.config.grace_final_wait_ms = v.num(),
    },
    Directive {
        name: "force_grace_quit",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Treat SIGTERM as SIGQUIT, for supervisors that know only the former.",
        set: |d, v| d.config.force_grace_quit = v.flag(),
    },
    Directive {
        name: "http_server",
        aliases: &[],
        kind: Kind::Block(Context::HttpServer),
        default: "(absent)",
        docs: "The HTTP port that streams are served at.",
        set: nothing,
    },
    Directive {
        name: "http_api",
        aliases: &[],
        kind: Kind::Block(Context::HttpApi),
        default: "(absent)",
        docs: "The HTTP API.",
        set: nothing,
    },
    Directive {
        name: "heartbeat",
        aliases: &[],
        kind: Kind::Block(Context::Heartbeat),
        default: "(absent)",
        docs: "Who is told that this server lives.",
        set: nothing,
    },
    Directive {
        name: "vhost",
        aliases: &[],
        kind: Kind::NamedBlock(Context::Vhost),
        default: "(absent)",
        docs: "The settings for one host name; `__defaultVhost__` is for every host that has none of its own.",
        set: nothing,
    },
]);

static VHOST: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Off refuses everything that asks for this host.",
        set: |d, v| d.vhost.enabled = v.flag(),
    },
    Directive {
        name: "min_latency",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Send each message at once instead of gathering for `mw_latency`; costs much more processor time.",
        set: |d, v| d.vhost.min_latency = v.flag(),
    },
    Directive {
        name: "tcp_nodelay",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Set TCP_NODELAY: the kernel does not hold back small writes, which delays a join by 40 ms. Messages are \
               gathered by mw_latency anyway.",
        set: |d, v| d.vhost.tcp_nodelay = v.flag(),
    },
    Directive {
        name: "chunk_size",
        aliases: &[],
        kind: Kind::Size { min: 1, max: MAX_CHUNK, usual: (128, 65536) },
        default: "(the global chunk_size)",
        docs: "Bytes in an RTMP chunk that the server sends.",
        set: |d, v| d.vhost.chunk_size = v.num32(),
    },
    Directive {
        name: "in_ack_size",
        aliases: &[],
        kind: Kind::Size { min: 0, max: MAX_WINDOW, usual: (0, MAX_WINDOW) },
        default: "0",
        docs: "Acknowledge after this many bytes received; 0 leaves it to the window that the peer announces.",
        set: |d, v| d.vhost.in_ack_size = v.num32(),
    },
    Directive {
        name: "out_ack_size",
        aliases: &[],
        kind: Kind::Size { min: 0, max: MAX_WINDOW, usual: (0, MAX_WINDOW) },
        default: "2500000",
        docs: "The window in bytes that the server announces; 0 announces none.",
        set: |d, v| d.vhost.out_ack_size = v.num32(),
    },
    Directive {
        name: "play",
        aliases: &[],
        kind: Kind::Block(Context::Play),
        default: "(absent)",
        docs: "How viewers are served.",
        set: nothing,
    },
    Directive {
        name: "publish",
        aliases: &[],
        kind: Kind::Block(Context::Publish),
        default: "(absent)",
        docs: "How publishers are treated.",
        set: nothing,
    },
    Directive {
        name: "http_remux",
        aliases: &["http_flv"],
        kind: Kind::Block(Context::HttpRemux),
        default: "(absent)",
        docs: "Live streams over HTTP.",
        set: nothing,
    },
    Directive {
        name: "http_static",
        aliases: &[],
        kind: Kind::Block(Context::HttpStatic),
        default: "(absent)",
        docs: "Files over HTTP.",
        set: nothing,
    },
    Directive {
        name: "hls",
        aliases: &[],
        kind: Kind::Block(Context::Hls),
        default: "(absent)",
        docs: "Live streams as HLS.",
        set: nothing,
    },
    Directive {
        name: "dvr",
        aliases: &[],
        kind: Kind::Block(Context::Dvr),
        default: "(absent)",
        docs: "Recordings of live streams.",
        set: nothing,
    },
    Directive {
        name: "security",
        aliases: &[],
        kind: Kind::Block(Context::Security),
        default: "(absent)",
        docs: "Which addresses may publish and play.",
        set: nothing,
    },
    Directive {
        name: "refer",
        aliases: &[],
        kind: Kind::Block(Context::Refer),
        default: "(absent)",
        docs: "Pages of which hosts may publish and play.",
        set: nothing,
    },
    Directive {
        name: "http_hooks",
        aliases: &[],
        kind: Kind::Block(Context::HttpHooks),
        default: "(absent)",
        docs: "Who is asked whether clients may connect, publish and play, and told of what they do.",
        set: nothing,
    },
    Directive {
        name: "forward",
        aliases: &[],
        kind: Kind::Block(Context::Forward),
        default: "(absent)",
        docs: "Servers that every published stream is sent on to.",
        set: nothing,
    },
    Directive {
        name: "cluster",
        aliases: &[],
        kind: Kind::Block(Context::Cluster),
        default: "(absent)",
        docs: "Whether the vhost has its streams from other servers (an edge).",
        set: nothing,
    },
    Directive {
        name: "ingest",
        aliases: &[],
        kind: Kind::NamedBlock(Context::Ingest),
        default: "(absent)",
        docs: "A stream that ffmpeg, run by the server, makes of a file or of another stream. It is started again 3 s after its end, later if it fails at once again and again.",
        set: nothing,
    },
    Directive {
        name: "transcode",
        aliases: &[],
        kind: Kind::NamedBlock(Context::Transcode),
        default: "(absent)",
        docs: "Published streams in other sizes or codecs, by ffmpeg. The name says which streams: none all, `app`, or `app/stream`. What a transcode puts out is not transcoded again.",
        set: nothing,
    },
    Directive {
        name: "exec",
        aliases: &[],
        kind: Kind::Block(Context::Exec),
        default: "(absent)",
        docs: "Programs to run for each published stream.",
        set: nothing,
    },
]);
