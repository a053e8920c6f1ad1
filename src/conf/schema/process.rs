//! The directives of `ingest { }`, `transcode { }` and `exec { }`.

use super::super::value::Kind;
use super::{Context, Directive, lean, nothing};

/// A directive of `engine` that takes a number, with its limit.
macro_rules! number {
    ($name:ident, $max:expr, $docs:expr) => {
        Directive {
            name: stringify!($name),
            aliases: &[],
            kind: Kind::Count { min: 0, max: $max },
            default: "0",
            docs: $docs,
            set: |d, v| d.open.engine.$name = v.num32(),
        }
    };
}

/// A directive of `engine` that takes a word.
macro_rules! text {
    ($name:ident, $default:expr, $docs:expr) => {
        Directive {
            name: stringify!($name),
            aliases: &[],
            kind: Kind::Text,
            default: $default,
            docs: $docs,
            set: |d, v| v.text().clone_into(&mut d.open.engine.$name),
        }
    };
}

/// A directive of `engine` that takes a block of arguments.
macro_rules! arguments {
    ($name:ident, $docs:expr) => {
        Directive {
            name: stringify!($name),
            aliases: &[],
            kind: Kind::Params,
            default: "(none)",
            docs: $docs,
            set: |d, v| d.open.engine.$name = v.mounts(),
        }
    };
}

const ENABLED: Directive = Directive {
    name: "enabled",
    aliases: &[],
    kind: Kind::Flag,
    default: "off",
    docs: "Whether anything of this block is run.",
    set: |d, v| d.open.job.enabled = v.flag(),
};

const FFMPEG: Directive = Directive {
    name: "ffmpeg",
    aliases: &[],
    kind: Kind::Text,
    default: "ffmpeg",
    docs: "The program; without a slash it is looked for in PATH.",
    set: |d, v| v.text().clone_into(&mut d.open.job.ffmpeg),
};

const ENGINE: Directive = Directive {
    name: "engine",
    aliases: &[],
    kind: Kind::NamedBlock(Context::Engine),
    default: "(absent)",
    docs: "What is made of it; one process for each. The name is optional.",
    set: nothing,
};

pub(super) static INGEST: &[Directive] = &lean([
    ENABLED,
    Directive {
        name: "input",
        aliases: &[],
        kind: Kind::Block(Context::Input),
        default: "(absent)",
        docs: "Where it comes from.",
        set: nothing,
    },
    FFMPEG,
    ENGINE,
]);

pub(super) static INPUT: &[Directive] = &lean([
    Directive {
        name: "type",
        aliases: &[],
        kind: Kind::Words(&["file", "stream"]),
        default: "file",
        docs: "`file`: read in real time, and begun again after 3 s when it ends. `stream`: read as it comes.",
        set: |d, v| d.open.job.file = v.text() == "file",
    },
    Directive {
        name: "url",
        aliases: &[],
        kind: Kind::Text,
        default: "(none)",
        docs: "The file, or the URL of the stream; anything that ffmpeg reads.",
        set: |d, v| v.text().clone_into(&mut d.open.job.url),
    },
]);

pub(super) static TRANSCODE: &[Directive] = &lean([ENABLED, FFMPEG, ENGINE]);

pub(super) static ENGINES: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Encode. An ingest whose engine is off copies the media to `output`; a transcode leaves it out.",
        set: |d, v| d.open.engine.enabled = v.flag(),
    },
    arguments!(
        perfile,
        "Arguments before the input, each as `name value;` for `-name value`, such as `{ rtsp_transport tcp; }`."
    ),
    text!(
        iformat,
        "(flv for a transcode, not said for an ingest)",
        "The container of the input, in ffmpeg's word; `off` lets ffmpeg find out."
    ),
    arguments!(vfilter, "Arguments behind the input, for filters, such as `{ vf 'scale=-2:360'; }`."),
    text!(
        vcodec,
        "(copy)",
        "The encoder for the picture in ffmpeg's word, such as `libx264`; `copy` leaves it as it is, `vn` leaves it out."
    ),
    number!(vbitrate, 1_000_000, "Kilobits a second of the picture; 0 leaves it to the encoder."),
    Directive {
        name: "vfps",
        aliases: &[],
        kind: Kind::Ratio { min: 0, max: 1_000_000 },
        default: "0",
        docs: "Pictures a second; 0 leaves them as they are.",
        set: |d, v| d.open.engine.vfps = v.num(),
    },
    number!(vwidth, 65_535, "Width in pixels, with `vheight`; 0 leaves the size as it is."),
    number!(vheight, 65_535, "Height in pixels, with `vwidth`."),
    number!(vthreads, 1024, "Threads of the encoder; 0 leaves it to the encoder."),
    text!(vprofile, "(none)", "The profile, such as `main`."),
    text!(vpreset, "(none)", "The preset, such as `ultrafast`."),
    arguments!(vparams, "Further arguments for the picture, such as `{ g 50; tune zerolatency; }`."),
    text!(
        acodec,
        "(copy)",
        "The encoder for the sound in ffmpeg's word, such as `aac`; `copy` leaves it as it is, `an` leaves it out."
    ),
    number!(abitrate, 100_000, "Kilobits a second of the sound; 0 leaves it to the encoder."),
    number!(asample_rate, 1_000_000, "Samples a second; 0 leaves them as they are."),
    number!(achannels, 64, "Channels; 0 leaves them as they are."),
    arguments!(aparams, "Further arguments for the sound."),
    text!(
        oformat,
        "(flv where the output is an RTMP URL)",
        "The container of the output, in ffmpeg's word; `off` lets ffmpeg find out."
    ),
    text!(
        output,
        "(none)",
        "Where it goes: a URL or a file, with `[vhost]`, `[app]`, `[stream]`, `[port]`, `[engine]` and the time (`[2006]`, `[01]`, `[02]`, `[15]`, `[04]`, `[05]`, `[999]`, `[timestamp]`). A transcode goes to another name than its stream."
    ),
]);

pub(super) static EXEC: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Whether the programs are run.",
        set: |d, v| d.vhost.exec.enabled = v.flag(),
    },
    Directive {
        name: "publish",
        aliases: &[],
        kind: Kind::Command,
        default: "(none)",
        docs: "A program with its arguments, run while a stream is published; several may be given. No shell is involved. Variables: those of `output`, and `[url]` (the stream at this server), `[tcUrl]`, `[pageUrl]`; `[swfUrl]` is empty.",
        set: |d, v| d.vhost.exec.publish.push(v.mounts()),
    },
]);
