//! The directives of `dvr { }`.

use super::super::typed::DvrPlan;
use super::super::value::{HOUR, Kind, SECOND};
use super::{Directive, jitter, lean};

pub(super) static DIRECTIVES: &[Directive] = &lean([
    Directive {
        name: "enabled",
        aliases: &[],
        kind: Kind::Flag,
        default: "off",
        docs: "Record the streams of this vhost to files.",
        set: |d, v| d.vhost.dvr.enabled = v.flag(),
    },
    Directive {
        name: "dvr_apply",
        aliases: &[],
        kind: Kind::Streams,
        default: "all",
        docs: "The streams to record: `all`, or a list of `app/stream`.",
        set: |d, v| d.vhost.dvr.apply = v.mounts(),
    },
    Directive {
        name: "dvr_plan",
        aliases: &[],
        kind: Kind::Words(&["session", "segment", "append"]),
        default: "session",
        docs: "`session`: a file for each stream from its beginning to its end; an encoder that is back within `resume_wait` goes on in it. `segment`: another file after each `dvr_duration`. `append`: as `session`, but a file that is there already is gone on in (FLV only).",
        set: |d, v| {
            d.vhost.dvr.plan = match v.text() {
                "segment" => DvrPlan::Segment,
                "append" => DvrPlan::Append,
                _ => DvrPlan::Session,
            };
        },
    },
    Directive {
        name: "dvr_path",
        aliases: &[],
        kind: Kind::Text,
        default: "./objs/nginx/html/[app]/[stream].[timestamp].flv",
        docs: "The files, which end in .flv, .mp4 (fragmented) or .ts; a directory means [stream].[timestamp].flv in it. Variables: [vhost], [app], [stream], [timestamp] (ms), [2006], [01], [02], [15], [04], [05] and [999], in local time unless `utc_time` is on. While it is written a file has .tmp before its extension. A name that is taken gets a number: nothing is overwritten.",
        set: |d, v| d.vhost.dvr.path = v.text().to_owned(),
    },
    Directive {
        name: "dvr_duration",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: SECOND, max: 24 * HOUR },
        default: "30",
        docs: "Length of a file, for `dvr_plan segment`.",
        set: |d, v| d.vhost.dvr.duration_ms = v.num(),
    },
    Directive {
        name: "dvr_wait_keyframe",
        aliases: &[],
        kind: Kind::Flag,
        default: "on",
        docs: "Files with video begin with a keyframe; off, they begin and end anywhere.",
        set: |d, v| d.vhost.dvr.wait_keyframe = v.flag(),
    },
    Directive {
        name: "time_jitter",
        aliases: &[],
        kind: Kind::Words(&["full", "zero", "off"]),
        default: "full",
        docs: "Timestamps in files: `full` begins each file at zero and closes jumps, `zero` only begins at zero, `off` leaves them as viewers get them.",
        set: |d, v| d.vhost.dvr.time_jitter = jitter(v),
    },
    Directive {
        name: "dvr_keep",
        aliases: &[],
        kind: Kind::Time { unit: SECOND, min: 0, max: 10 * 366 * 24 * HOUR },
        default: "0",
        docs: "Delete recordings of this vhost that are older, such as `168h`; 0 keeps them. Only files whose names could come from `dvr_path` are ever deleted.",
        set: |d, v| d.vhost.dvr.keep_ms = v.num(),
    },
    Directive {
        name: "dvr_max_bytes",
        aliases: &[],
        kind: Kind::Size { min: 0, max: 1 << 50, usual: (0, 1 << 50) },
        default: "0",
        docs: "Delete the oldest recordings of this vhost when all of them are larger than this together, such as `20g`; 0 sets no limit.",
        set: |d, v| d.vhost.dvr.max_bytes = v.num(),
    },
]);
