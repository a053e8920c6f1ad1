use super::*;
use crate::app::hub::{Source, StreamId};
use crate::media::frame::Kind;
use crate::net::slots::Id;
use crate::wire::flv::Demuxer;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

const VSH: &[u8] = b"\x17\x00\0\0\0config";
const ASH: &[u8] = b"\xaf\x00\x12\x10";
const LONG: Duration = Duration::from_secs(20);

fn by() -> Source {
    Source::Peer(Id::from_token(1), Ipv4Addr::LOCALHOST.into())
}

struct Rig {
    world: World,
    dir: PathBuf,
    id: Option<StreamId>,
}

/// A world whose default vhost records below a directory of the test; `$DIR` stands for it.
fn rig(test: &str, vhost: &str) -> Rig {
    let dir = std::env::temp_dir().join(format!("runnel-dvr-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut rig = Rig { world: World::new(Rc::default()), dir, id: None };
    rig.world.config = rig.config(vhost);
    rig
}

impl Rig {
    fn config(&self, vhost: &str) -> Rc<conf::Config> {
        let text =
            format!("vhost __defaultVhost__ {{ {vhost} }}").replace("$DIR", self.dir.to_str().unwrap());
        Rc::new(conf::load("t", &text).unwrap_or_else(|errors| panic!("{errors:?}")).config)
    }

    fn publish(&mut self) {
        let name = StreamName::new("", "live", "x").unwrap();
        let vhost = self.world.config.vhosts[0].clone();
        let id = self.world.publish(&name, &vhost, by()).unwrap();
        self.id = Some(id);
        self.send(Kind::Video, 0, VSH);
        self.send(Kind::Audio, 0, ASH);
    }

    fn send(&mut self, kind: Kind, ms: u64, payload: &[u8]) {
        self.world.now = self.world.now.max(ms);
        let payload = Bytes::copy_from_slice(payload);
        self.world.ingest(self.id.unwrap(), by(), kind, ms as u32, payload);
    }

    /// A second of media, whose keyframe has so many bytes.
    fn second(&mut self, n: u64, bytes: usize) {
        let key = [b"\x17\x01\0\0\0".to_vec(), vec![7; bytes]].concat();
        self.send(Kind::Video, n * 1000, &key);
        self.send(Kind::Audio, n * 1000 + 10, b"\xaf\x01sound");
        self.send(Kind::Video, n * 1000 + 500, b"\x27\x01\0\0\0inter");
        self.send(Kind::Audio, n * 1000 + 510, b"\xaf\x01sound");
    }

    fn dvr(&self) -> Option<&LiveDvr> {
        self.world.hub.get(self.id.unwrap()).unwrap().dvr.as_deref()
    }

    /// Waits until the disk has done all, and gives what was completed.
    fn recorded(&mut self) -> Vec<Recorded> {
        assert!(self.world.dvr.writer().unwrap().drain(LONG));
        self.world.dvr.outbox.take()
    }

    fn end(&mut self) -> Vec<Recorded> {
        self.world.end_stream(self.id.unwrap());
        self.recorded()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            crate::net::growing::below(&self.dir, 99, |_| true).into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The times of the keyframes of a whole file.
fn keys(file: impl AsRef<Path>) -> Vec<u32> {
    let bytes = std::fs::read(file).unwrap();
    let (mut demuxer, mut input, mut keys) = (Demuxer::new(16 << 20), bytes.as_slice(), Vec::new());
    while let Some(tag) = demuxer.push(&mut input).unwrap() {
        keys.extend(tag.payload.starts_with(b"\x17\x01").then_some(tag.timestamp));
    }
    assert!(demuxer.is_between_tags());
    keys
}

const ON: &str = "dvr { enabled on; dvr_path $DIR/[app]/[stream].flv; }";

#[test]
fn a_recording_is_told_once_with_its_file() {
    let mut rig = rig("told", ON);
    rig.publish();
    (0..3).for_each(|n| rig.second(n, 1000));
    assert!(rig.dvr().unwrap().is_recording());
    let told = rig.end();
    assert_eq!(told.len(), 1);
    let file = rig.dir.join("live/x.flv");
    assert_eq!(
        (told[0].name.to_string().as_str(), told[0].file.as_str()),
        ("live/x", file.to_str().unwrap())
    );
    assert_eq!((told[0].duration_ms, told[0].bytes), (2510, std::fs::metadata(&file).unwrap().len()));
    assert_eq!(keys(&file), [0, 1000, 2000]);
    assert_eq!(rig.names(), ["live/x.flv"]);
}

#[test]
fn nothing_is_overwritten_and_append_goes_on() {
    let mut rig = rig("append", ON);
    for _ in 0..2 {
        rig.publish();
        rig.second(0, 100);
        rig.end();
    }
    assert_eq!(rig.names(), ["live/x-1.flv", "live/x.flv"]);
    let first = std::fs::read(rig.dir.join("live/x.flv")).unwrap();
    // What a power cut left at its end is dropped.
    std::fs::write(rig.dir.join("live/x.flv"), [&first[..], b"\x09\0\0\xff\0\0"].concat()).unwrap();
    rig.world.config = rig.config("dvr { enabled on; dvr_plan append; dvr_path $DIR/[app]/[stream].flv; }");
    rig.publish();
    (0..2).for_each(|n| rig.second(n, 100));
    let told = rig.end();
    assert_eq!(keys(rig.dir.join("live/x.flv")), [0, 550, 1550]);
    assert_eq!(told[0].duration_ms, 550 + 1510);
    assert_eq!(std::fs::read(rig.dir.join("live/x-1.flv")).unwrap(), first);
    // Other headers cannot be appended.
    rig.publish();
    rig.send(Kind::Video, 0, b"\x17\0\0\0\0other");
    rig.second(0, 100);
    rig.end();
    assert_eq!(rig.names(), ["live/x-1.flv", "live/x-2.flv", "live/x.flv"]);
}

#[test]
fn a_disk_that_is_too_slow_ends_the_file_and_recording_goes_on_later() {
    let mut rig = rig("slow", "play { queue_bytes 4m; } dvr { enabled on; dvr_path $DIR/[stream].flv; }");
    rig.publish();
    rig.second(0, 1 << 20);
    assert!(rig.recorded().is_empty());
    let (release, wait) = mpsc::channel::<()>();
    rig.world.dvr.writer().unwrap().run(0, move || wait.recv().unwrap_or_default()).unwrap();
    let mut n = 0;
    while rig.dvr().unwrap().is_recording() {
        n += 1;
        rig.second(n, 1 << 20);
        assert!(n < 20, "what waits is bounded");
    }
    assert!(n >= 3, "a moment of slowness harms nothing: {n}");
    // While the disk hangs, nothing more is asked of it.
    (n + 1..n + 9).for_each(|n| rig.second(n, 1 << 20));
    assert!(!rig.dvr().unwrap().is_recording() && rig.dvr().unwrap().told.0);
    release.send(()).unwrap();
    let told = rig.recorded();
    assert_eq!(told.len(), 1, "the file is completed with what it has");
    assert!((3..=5).contains(&keys(&told[0].file).len()), "{told:?}");
    (n + 9..n + 12).for_each(|n| rig.second(n, 1 << 20));
    assert!(rig.dvr().unwrap().is_recording());
    let told = rig.end();
    assert_eq!(keys(&told[0].file), [0, 1000, 2000], "from a keyframe on");
}

#[test]
fn a_budget_of_memory_bounds_what_waits() {
    let mut rig = rig("budget", "dvr { enabled on; dvr_path $DIR/[stream].flv; }");
    rig.world.dvr.set_budget(8 << 20);
    rig.publish();
    let (release, wait) = mpsc::channel::<()>();
    rig.world.dvr.writer().unwrap().run(0, move || wait.recv().unwrap_or_default()).unwrap();
    let most = (0..6).map(|n| {
        rig.second(n, 1 << 20);
        rig.world.weigh().buffers
    });
    let most = most.max().unwrap();
    assert!((1 << 20..=2 << 20).contains(&most), "{most}");
    assert!(!rig.dvr().unwrap().is_recording());
    release.send(()).unwrap();
    assert_eq!(rig.recorded().len(), 1);
    assert_eq!(rig.world.weigh().buffers, 0);
}

#[test]
fn a_fault_is_told_once_and_tried_ever_more_seldom() {
    let mut rig = rig("fault", ON);
    std::fs::create_dir_all(&rig.dir).unwrap();
    // A file where the directory should be.
    std::fs::write(rig.dir.join("live"), b"").unwrap();
    rig.publish();
    let mut tries = Vec::new();
    for n in 0..40 {
        rig.second(n, 1000);
        assert!(rig.recorded().is_empty());
        tries.extend(rig.dvr().unwrap().retry);
        tries.dedup();
    }
    let waits: Vec<u64> = tries.iter().map(|(_, wait)| *wait).collect();
    assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    assert!(rig.dvr().unwrap().told.0);
    std::fs::remove_file(rig.dir.join("live")).unwrap();
    for n in 40..80 {
        rig.second(n, 1000);
        assert!(rig.recorded().is_empty());
    }
    assert!(!rig.dvr().unwrap().told.0, "it is well again");
    assert_eq!(rig.end().len(), 1);
}

#[test]
fn a_reload_turns_recording_on_and_off_and_leaves_alone_what_did_not_change() {
    let mut rig = rig("reload", "");
    let adopt = |rig: &mut Rig, vhost: &str| {
        rig.world.config = rig.config(vhost);
        let (vhost, now) = (rig.world.config.vhosts[0].clone(), rig.world.now);
        let live = rig.world.hub.get_mut(rig.id.unwrap()).unwrap();
        live.set_vhost(vhost);
        change(live, &mut rig.world.dvr, now);
    };
    rig.publish();
    rig.second(0, 100);
    assert!(rig.dvr().is_none());
    adopt(&mut rig, ON);
    rig.send(Kind::Video, 900, b"\x27\x01\0\0\0inter");
    (1..3).for_each(|n| rig.second(n, 100));
    adopt(&mut rig, &format!("min_latency on; {}", ON.replace("}", "dvr_keep 5000; }")));
    rig.second(3, 100);
    assert!(rig.recorded().is_empty(), "the file goes on");
    adopt(&mut rig, &ON.replace("[stream]", "other"));
    assert_eq!(rig.recorded().len(), 1);
    rig.second(4, 100);
    adopt(&mut rig, "");
    assert!(rig.dvr().is_none());
    rig.second(5, 100);
    assert_eq!(rig.recorded().len(), 1);
    assert_eq!(keys(rig.dir.join("live/x.flv")), [0, 1000, 2000]);
    assert_eq!(keys(rig.dir.join("live/other.flv")), [0]);
}

#[test]
fn an_encoder_that_takes_over_goes_on_in_the_file() {
    let mut rig = rig("takeover", ON);
    rig.publish();
    rig.second(0, 100);
    rig.world.unpublish(rig.id.unwrap(), by());
    assert!(rig.recorded().is_empty());
    rig.publish();
    rig.second(1, 100);
    assert_eq!(rig.end().len(), 1);
    let keys = keys(rig.dir.join("live/x.flv"));
    assert!(keys.len() == 2 && keys[1] > 500, "{keys:?}");
}

#[test]
fn only_the_streams_that_are_named_are_recorded() {
    let name = |app: &str, stream: &str| StreamName::new("", app, stream).unwrap();
    let rig = rig("apply", "dvr { enabled on; dvr_apply live/a b/c/d; }");
    let dvr = &rig.world.config.vhosts[0].dvr;
    assert!(applies(dvr, &name("live", "a")) && applies(dvr, &name("b/c", "d")));
    assert!(!applies(dvr, &name("live", "b")) && !applies(dvr, &name("b", "d")));
}

#[test]
fn what_was_left_unfinished_is_completed_at_the_start() {
    let mut rig = rig("left", ON);
    rig.publish();
    (0..5).for_each(|n| rig.second(n, 300_000));
    assert!(rig.recorded().is_empty());
    let unfinished = std::fs::read(rig.dir.join("live/x.tmp.flv")).unwrap();
    rig.end();
    let put = |name: &str, bytes: &[u8]| std::fs::write(rig.dir.join(name), bytes).unwrap();
    std::fs::create_dir_all(rig.dir.join("a/b")).unwrap();
    put("a/b/y.tmp.flv", &unfinished[..unfinished.len() - 100]);
    put("a/b/z.tmp.flv", b"");
    put("a/b/notes.tmp.txt", b"mine");
    put("live/x.tmp.flv", &unfinished);
    let vhost = rig.world.config.vhosts[0].clone();
    rig.world.dvr.tidy(&vhost, true);
    rig.recorded();
    let names = rig.names();
    assert_eq!(names, ["a/b/notes.tmp.txt", "a/b/y.flv", "live/x-1.flv", "live/x.flv"]);
    assert_eq!(keys(rig.dir.join("live/x-1.flv")).len(), keys(rig.dir.join("a/b/y.flv")).len() + 1);
}

#[test]
fn old_recordings_go_and_nothing_else() {
    let mut rig =
        rig("old", "dvr { enabled on; dvr_path $DIR/[app]/[stream].[timestamp].flv; dvr_max_bytes 250; }");
    std::fs::create_dir_all(rig.dir.join("live")).unwrap();
    let outside = rig.dir.with_extension("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("x.1.flv"), [0; 100]).unwrap();
    let mut age = 1000;
    for name in ["x.1.flv", "x.2.flv", "movie.flv", "x.3.mp4", "x.4.flv", "x.5.tmp.flv", "x.6.flv"] {
        std::fs::write(rig.dir.join("live").join(name), [0; 100]).unwrap();
        let file = std::fs::File::open(rig.dir.join("live").join(name)).unwrap();
        age -= 100;
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    std::os::unix::fs::symlink(&outside, rig.dir.join("link")).unwrap();
    tidy_all(&mut rig.world);
    rig.recorded();
    assert_eq!(
        rig.names(),
        ["live/movie.flv", "live/x.3.mp4", "live/x.4.flv", "live/x.5.tmp.flv", "live/x.6.flv"]
    );
    assert!(outside.join("x.1.flv").exists() && rig.world.timers.next().is_some());
    std::fs::remove_dir_all(outside).unwrap();
}
