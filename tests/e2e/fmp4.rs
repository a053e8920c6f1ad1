//! Fragmented MP4: what the packager makes of a clip is what ffmpeg finds in the clip, frame by frame.
use crate::support::clips;
use crate::support::e2e_dir;
use crate::support::flv;
use crate::support::frames;
use crate::support::tools;
use bytes::Bytes;
use runnel::media::feed::Limits;
use runnel::media::frame::{Kind, Role};
use runnel::media::package::fmp4::{Fmp4Packager, set_time, time};
use runnel::media::package::{Packager, Piece};
use runnel::media::stream::Stream;
use runnel::media::timeline::Jitter;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pieces of a whole clip, and the type that a browser would be told.
fn package(clip: &Path, audio: bool, video: bool, part_ms: u64) -> (Vec<Piece>, String) {
    package_tags(&flv::read(clip), audio, video, part_ms)
}

fn package_tags(tags: &[flv::Tag], audio: bool, video: bool, part_ms: u64) -> (Vec<Piece>, String) {
    let mut stream = Stream::new(Limits::default(), Jitter::Full);
    let mut packager = Fmp4Packager::new(audio, video, part_ms);
    let mut pieces = Vec::new();
    for tag in tags {
        let kind = Kind::from_u8(tag.kind).unwrap();
        let before = stream.feed.end();
        stream.ingest(kind, tag.ts, Bytes::copy_from_slice(&tag.data), 0);
        for frame in stream.feed.from(before) {
            packager.push(frame, &mut pieces);
        }
        stream.feed.trim(None);
    }
    packager.finish(&mut pieces);
    (pieces, packager.mime().unwrap())
}

fn write(name: &str, pieces: &[Piece]) -> PathBuf {
    let dir = e2e_dir().join("fmp4");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.payload.to_vec()).collect();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn one_header_first(pieces: &[Piece]) {
    assert_eq!(pieces[0].role, Role::Header);
    assert_eq!(pieces.iter().filter(|piece| piece.role == Role::Header).count(), 1);
}

/// Packages a clip, with pieces of one picture and of 200 ms, and compares.
fn same_frames(clip: &Path, audio: bool, video: bool, mime: &str) {
    let name = clip.file_stem().unwrap().to_str().unwrap();
    let source = frames::of(clip);
    for part_ms in [0, 200] {
        let (pieces, told) = package(clip, audio, video, part_ms);
        assert_eq!(told, mime);
        let path = write(&format!("{name}-{part_ms}.mp4"), &pieces);
        frames::assert_all(&frames::of(&path), &source, &path.display().to_string(), 0);
        one_header_first(&pieces);
    }
}

#[test]
fn fmp4_h264_with_b_frames_and_aac() {
    same_frames(&clips::av(), true, true, "video/mp4; codecs=\"avc1.64001e,mp4a.40.2\"");
}

#[test]
fn fmp4_audio_alone() {
    same_frames(&clips::audio_only(), true, false, "audio/mp4; codecs=\"mp4a.40.2\"");
}

#[test]
fn fmp4_video_alone() {
    same_frames(&clips::video_only(), false, true, "video/mp4; codecs=\"avc1.64001e\"");
}

#[test]
fn fmp4_mp3() {
    same_frames(&clips::mp3(), true, true, "video/mp4; codecs=\"avc1.64001e,mp4a.6B\"");
}

#[test]
fn fmp4_hevc_by_enhanced_rtmp() {
    same_frames(&clips::hevc(), true, true, "video/mp4; codecs=\"hvc1.1.6.L63.90,mp4a.40.2\"");
}

/// ffmpeg puts a temporal delimiter before each picture of AV1 in FLV, which MP4 has not: so what is decoded is compared.
#[test]
fn fmp4_av1_by_enhanced_rtmp() {
    let decoded = |path: &Path| {
        let out = Command::new(tools::ffmpeg7())
            .args(["-v", "error", "-copyts", "-i"])
            .arg(path)
            .args(["-map", "0:v", "-map", "0:a", "-c:a", "copy", "-f", "framemd5", "-"])
            .output()
            .unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        let hashes =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit(',').next());
        hashes.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let clip = clips::av1();
    let (pieces, mime) = package(&clip, true, true, 0);
    assert_eq!(mime, "video/mp4; codecs=\"av01.0.01M.08,mp4a.40.2\"");
    one_header_first(&pieces);
    let (got, sent) = (decoded(&write("av1.mp4", &pieces)), decoded(&clip));
    assert!(sent.len() > 300, "{} pictures and sounds", sent.len());
    assert_eq!(got, sent);
}

/// A viewer who joins late: from a keyframe on, without earlier audio, with times that start at zero.
#[test]
fn fmp4_from_a_keyframe_at_time_zero() {
    let clip = clips::av();
    let (pieces, _) = package(&clip, true, true, 0);
    let start = pieces.iter().rposition(|piece| piece.role == Role::Key).unwrap();
    let base = pieces[start].dts;
    let mut joined = vec![pieces[0].clone()];
    for piece in pieces[start..].iter().filter(|piece| piece.dts >= base) {
        let mut bytes = piece.payload.to_vec();
        assert_eq!(time(&bytes), Some(piece.dts));
        set_time(&mut bytes, piece.dts - base);
        joined.push(Piece { payload: Bytes::from(bytes), ..piece.clone() });
    }
    let path = write("joined.mp4", &joined);
    let got = frames::of(&path);
    assert_eq!(got["video"][0].dts, 0);
    assert!(got["audio"][0].dts < 30, "{:?}", got["audio"][0]);
    let missing = frames::assert_tail(&got, &frames::of(&clip), "joined", 0);
    assert_eq!(missing["video"], 150);
    // It is decoded without complaint.
    let out = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(&path)
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// A microphone that is away for three seconds: a decoder finds silence there, and every picture and sound that was sent.
#[test]
fn fmp4_with_a_hole_in_the_sound() {
    for (name, mut tags) in [
        ("aac", flv::read(&clips::av())),
        ("opus", opus("hole", &clips::av()).0),
        ("mp3", flv::read(&clips::mp3())),
        ("he-aac", he_aac()),
    ] {
        let pictures = tags.iter().filter(|tag| tag.is_picture()).count();
        tags.retain(|tag| {
            tag.kind != 8 || tag.data[0] == 0x90 || tag.is_audio_header() || !(2000..5000).contains(&tag.ts)
        });
        let (pieces, _) = package_tags(&tags, true, true, 0);
        let path = write("hole.mp4", &pieces);
        let got = frames::of(&path);
        assert_eq!(got["video"].len(), pictures, "{name}");
        let times: Vec<i64> = got["audio"].iter().map(|frame| frame.dts).collect();
        assert!(times.windows(2).all(|pair| (1..60).contains(&(pair[1] - pair[0]))), "{name}: {times:?}");
        let out = Command::new(tools::ffmpeg7())
            .args(["-v", "info", "-xerror", "-i"])
            .arg(&path)
            .args(["-af", "silencedetect=noise=-60dB:d=2", "-f", "null", "-"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        let of = |what: &str| -> f64 {
            let rest = said.split_once(what).unwrap_or_else(|| panic!("no {what}: {said}")).1;
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert!(
            (of("silence_start: ") - 2.0).abs() < 0.1 && (of("silence_end: ") - 5.0).abs() < 0.1,
            "{said}"
        );
        assert!(!said.contains("rror"), "{said}");
    }
}

/// The same frames of AAC under a header that says HE-AAC, with SBR in none of them: there is no free encoder that makes some.
fn he_aac() -> Vec<flv::Tag> {
    let mut tags = flv::read(&clips::av());
    let header = tags.iter_mut().find(|tag| tag.is_audio_header()).unwrap();
    assert_eq!(header.data[2..4], [0x12, 0x08], "LC, 44.1 kHz, mono");
    header.data = vec![0xaf, 0, 0x2a, 0x08, 0x88, 0x00];
    tags
}

/// Each packet of the sound is there, at its time.
#[test]
fn fmp4_opus_by_enhanced_rtmp() {
    let (tags, sent) = opus("whole", &clips::av());
    let (pieces, mime) = package_tags(&tags, true, true, 0);
    assert_eq!(mime, "video/mp4; codecs=\"avc1.64001e,opus\"");
    let got = sounds(write("opus.mp4", &pieces));
    assert!(sent.len() > 390 && got == sent, "{} of {} packets", got.len(), sent.len());
}

/// Hashes of the packets of sound in a file or behind an address.
pub(crate) fn sounds(input: impl AsRef<std::ffi::OsStr>) -> Vec<String> {
    let mut command = Command::new(tools::ffmpeg7());
    command.args(["-v", "error", "-i"]).arg(input).args(["-map", "0:a", "-c", "copy", "-f", "framemd5", "-"]);
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect()
}

/// The pictures of a clip with sound in Opus, and hashes of its packets. The ffmpeg at hand cannot put them into FLV, so they
/// are taken out of Ogg, one packet of 20 ms to a page.
pub(crate) fn opus(name: &str, clip: &Path) -> (Vec<flv::Tag>, Vec<String>) {
    let mut tags = flv::read(clip);
    tags.retain(|tag| tag.kind == 9);
    let seconds = tags[tags.len() - 1].ts.div_ceil(1000);
    let path = write(&format!("{name}.ogg"), &[]);
    let status = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            &format!("anoisesrc=sample_rate=48000:amplitude=0.2:seed=1:duration={seconds}"),
        ])
        .args(["-c:a", "libopus", "-b:a", "64k", "-page_duration", "20000"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    let file = std::fs::read(&path).unwrap();
    let mut packets = Vec::new();
    let mut rest = &file[..];
    while let [b'O', b'g', b'g', b'S', ..] = rest {
        let count = usize::from(rest[26]);
        let length: usize = rest[27..27 + count].iter().map(|byte| usize::from(*byte)).sum();
        packets.push(&rest[27 + count..27 + count + length]);
        rest = &rest[27 + count + length..];
    }
    let tag = |kind: u8, ts: u32, body: &[u8]| {
        let data = [&[0x90 | kind][..], b"Opus", body].concat();
        flv::Tag { kind: 8, ts, data }
    };
    tags.insert(0, tag(0, 0, packets[0]));
    // The second packet is a comment.
    tags.extend((0..).zip(&packets[2..]).map(|(n, packet)| tag(1, n * 20, packet)));
    tags.sort_by_key(|tag| tag.ts);
    (tags, sounds(&path))
}
