//! Clips made of ffmpeg's test sources, once, and kept in `target/e2e/clips` under a name that holds a hash of
//! the command, so that a changed recipe makes a new clip.
use super::{e2e_dir, tools};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

const PICTURE: &str = "-f lavfi -i testsrc2=size=640x360:rate=25";
/// Noise, so that no two audio frames are the same.
const SOUND: &str = "-f lavfi -i anoisesrc=color=pink:sample_rate=44100:amplitude=0.2:seed=1";
const AVC: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -sc_threshold 0 -b:v 600k";
const AAC: &str = "-c:a aac -b:a 64k";

/// H.264 with B-frames and AAC; 8 s, a keyframe every 2 s.
pub(crate) fn av() -> PathBuf {
    make("av", &tools::ffmpeg(), &format!("{PICTURE} {SOUND} {AVC} -bf 2 -g 50 {AAC} -t 8"))
}

/// Another picture size than `av`, so other headers; 6 s, a keyframe every second.
pub(crate) fn other() -> PathBuf {
    let picture = PICTURE.replace("640x360", "320x240");
    make(
        "other",
        &tools::ffmpeg(),
        &format!("{picture} {SOUND} {AVC} -bf 0 -g 25 -c:a aac -ar 48000 -ac 2 -t 6"),
    )
}

/// AAC alone; 6 s.
pub(crate) fn audio_only() -> PathBuf {
    make("audio-only", &tools::ffmpeg(), &format!("{SOUND} {AAC} -t 6"))
}

/// H.264 alone; 6 s, a keyframe every 2 s.
pub(crate) fn video_only() -> PathBuf {
    make("video-only", &tools::ffmpeg(), &format!("{PICTURE} {AVC} -bf 2 -g 50 -t 6"))
}

/// H.264 and AAC; 20 s, a keyframe every 10 s.
pub(crate) fn long_gop() -> PathBuf {
    make(
        "long-gop",
        &tools::ffmpeg(),
        &format!("{PICTURE} {SOUND} {AVC} -bf 0 -g 250 -keyint_min 250 {AAC} -t 20"),
    )
}

/// Full HD noise: each keyframe, one every 2 s, is about 2 MB and more; 6 s.
pub(crate) fn big_keys() -> PathBuf {
    let picture = "-f lavfi -i testsrc2=size=1920x1080:rate=10,noise=alls=60";
    let avc = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -sc_threshold 0 -qp 8";
    make("big-keys", &tools::ffmpeg(), &format!("{picture} {SOUND} {avc} -bf 0 -g 20 {AAC} -t 6"))
}

/// About 10 Mbit/s of H.264 and AAC; 20 s, a keyframe every second.
pub(crate) fn heavy() -> PathBuf {
    let picture = "-f lavfi -i testsrc2=size=640x360:rate=25,noise=alls=40:allf=t";
    let avc =
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -sc_threshold 0 -b:v 10M -maxrate 10M -bufsize 10M";
    make("heavy", &tools::ffmpeg(), &format!("{picture} {SOUND} {avc} -bf 0 -g 25 {AAC} -t 20"))
}

/// H.264 and AAC with the number of each picture in the picture itself, for who looks at the screen: ten fields along the
/// bottom, the lowest bit first, white for one; 40 s, a keyframe every 2 s.
pub(crate) fn clock() -> PathBuf {
    let bit = |bit: u32| {
        let (x, value) = (64 * bit, 1 << bit);
        let is_set = format!("floor(n/{value})-2*floor(n/{})", 2 * value);
        format!(",drawbox=x={x}:y=300:w=64:h=60:color=white:t=fill:enable={is_set}")
    };
    let bits: String = (0..10).map(bit).collect();
    let picture = format!("{PICTURE},drawbox=y=300:w=640:h=60:color=black:t=fill{bits}");
    make("clock", &tools::ffmpeg(), &format!("{picture} {SOUND} {AVC} -bf 0 -g 50 {AAC} -t 40"))
}

/// HEVC as Enhanced RTMP (`hvc1`) and AAC; 6 s, a keyframe every 2 s.
pub(crate) fn hevc() -> PathBuf {
    let codec =
        "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -b:v 600k -x265-params log-level=error:keyint=50";
    make("hevc", &tools::ffmpeg7(), &format!("{PICTURE} {SOUND} {codec} {AAC} -t 6"))
}

/// AV1 as Enhanced RTMP (`av01`) and AAC; 6 s, a keyframe every 2 s.
pub(crate) fn av1() -> PathBuf {
    let codec = "-c:v libaom-av1 -usage realtime -cpu-used 8 -pix_fmt yuv420p -b:v 600k -g 50 -keyint_min 50";
    make("av1", &tools::ffmpeg7(), &format!("{PICTURE} {SOUND} {codec} {AAC} -t 6"))
}

/// H.264 and MP3; 6 s, a keyframe every 2 s.
pub(crate) fn mp3() -> PathBuf {
    make(
        "mp3",
        &tools::ffmpeg(),
        &format!("{PICTURE} {SOUND} {AVC} -bf 0 -g 50 -c:a libmp3lame -b:a 64k -t 6"),
    )
}

/// Makes every clip that is missing. Each server waits for this, so that no encoder takes the machine from a test
/// that measures time.
pub(crate) fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for clip in [av, other, audio_only, video_only, long_gop, big_keys, heavy, clock, hevc, av1, mp3] {
            clip();
        }
    });
}

fn make(name: &str, ffmpeg: &str, recipe: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (ffmpeg, recipe).hash(&mut hasher);
    let dir = e2e_dir().join("clips");
    let path = dir.join(format!("{name}-{:08x}.flv", hasher.finish() as u32));
    if path.exists() {
        return path;
    }
    std::fs::create_dir_all(&dir).unwrap();
    let part = dir.join(format!("{name}.part"));
    let out = Command::new(ffmpeg)
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
        .args(recipe.split_whitespace())
        .args(["-flvflags", "no_duration_filesize", "-f", "flv"])
        .arg(&part)
        .output()
        .unwrap_or_else(|error| panic!("{ffmpeg}: {error}; ./tests/run installs it"));
    assert!(out.status.success(), "making the clip {name}: {}", String::from_utf8_lossy(&out.stderr));
    std::fs::rename(&part, &path).unwrap();
    path
}
