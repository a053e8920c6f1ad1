//! Comparison of what was sent with what arrived, by ffmpeg's own view of it (`-f framemd5`).
use super::tools;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One packet as ffmpeg's demuxer gives it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Milliseconds.
    pub(crate) dts: i64,
    /// Milliseconds.
    pub(crate) pts: i64,
    hash: String,
}

/// The frames of a file by media type ("video", "audio").
pub(crate) type Frames = BTreeMap<String, Vec<Frame>>;

/// Reads a file. ffmpeg 7 is used, since it knows every codec of the tests.
pub(crate) fn of(path: &Path) -> Frames {
    let out = Command::new(tools::ffmpeg7())
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-copyts", "-i"])
        .arg(path)
        .args(["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {errors}", path.display());
    let (mut kinds, mut frames) = (BTreeMap::new(), Frames::new());
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        if let Some(kind) = line.strip_prefix("#media_type ") {
            let (index, kind) = kind.split_once(": ").unwrap();
            kinds.insert(index.to_owned(), kind.to_owned());
        } else if let Some(base) = line.strip_prefix("#tb ") {
            assert!(base.ends_with(": 1/1000"), "the time base of FLV: {base}");
        } else if !line.starts_with('#') {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let frame = Frame {
                dts: fields[1].parse().unwrap(),
                pts: fields[2].parse().unwrap(),
                hash: fields[5].to_owned(),
            };
            frames.entry(kinds[fields[0]].clone()).or_default().push(frame);
        }
    }
    frames
}

/// Fails unless `part` holds the same streams as `whole`, each of them a run of frames without a gap up to the end,
/// with the payloads unchanged and all timestamps moved by one and the same offset. The tool itself
/// may lose `may_lose` frames at the end. Gives
/// the number of frames that are missing at the start, by media type.
pub(crate) fn assert_tail(
    part: &Frames,
    whole: &Frames,
    who: &str,
    may_lose: usize,
) -> BTreeMap<String, usize> {
    let kinds = |frames: &Frames| frames.keys().cloned().collect::<Vec<_>>();
    assert_eq!(kinds(part), kinds(whole), "{who}: the streams");
    let mut missing = BTreeMap::new();
    let mut offset = None;
    for (kind, whole) in whole {
        let part = &part[kind];
        assert!(part.len() <= whole.len(), "{who}: {} {kind} frames of {}", part.len(), whole.len());
        let start = whole.iter().position(|frame| frame.hash == part[0].hash);
        let start = start.unwrap_or_else(|| panic!("{who}: the first {kind} frame is not one of the source"));
        for (index, (got, sent)) in part.iter().zip(&whole[start..]).enumerate() {
            assert_eq!(
                got.hash,
                sent.hash,
                "{who}: {kind} frame {index} is not frame {} of the source",
                start + index
            );
            let moved = got.dts - sent.dts;
            let first = *offset.get_or_insert(moved);
            assert_eq!(moved, first, "{who}: {kind} frame {index} is moved, against the first frame of all");
            let composition = (got.pts - got.dts) - (sent.pts - sent.dts);
            assert_eq!(composition, 0, "{who}: {kind} frame {index}: pts - dts");
            assert!(
                index == 0 || got.dts >= part[index - 1].dts,
                "{who}: {kind} dts goes back at frame {index}"
            );
        }
        let lost = whole.len() - start - part.len();
        assert!(lost <= may_lose, "{who}: {lost} {kind} frames are missing at the end");
        missing.insert(kind.clone(), start);
    }
    missing
}

/// Fails unless `part` holds every frame of `whole`, but for `may_lose` of each kind at the end.
pub(crate) fn assert_all(part: &Frames, whole: &Frames, who: &str, may_lose: usize) {
    for (kind, missing) in assert_tail(part, whole, who, may_lose) {
        assert_eq!(missing, 0, "{who}: {missing} {kind} frames are missing at the start");
    }
}
