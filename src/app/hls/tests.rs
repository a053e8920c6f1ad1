use super::answer::find_by_name;
use super::*;
use crate::app::hub::Source;
use crate::app::world::Action;
use crate::conf::{Config, Vhost};
use crate::media::frame::Kind;
use crate::media::hls::Playlist;
use crate::net::slots::Id;
use bytes::Bytes;
use std::net::Ipv4Addr;

const AVC: &[u8] =
    b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
const KEY: &[u8] = b"\x17\x01\0\0\0\0\0\0\x05\x65picture";

struct Rig {
    world: World,
    id: StreamId,
    at: u32,
}

fn by() -> Source {
    Source::Peer(Id::from_token(1), Ipv4Addr::LOCALHOST.into())
}

/// A stream named `name`; its HLS, of segments of two seconds, is changed by `change`.
fn publish(world: &mut World, name: &str, change: impl FnOnce(&mut crate::conf::Hls)) -> StreamId {
    let mut vhost = Vhost::clone(world.config.vhost("").unwrap());
    vhost.hls.enabled = true;
    vhost.hls.fragment_ms = 2_000;
    change(&mut vhost.hls);
    let name = StreamName::new("", "live", name).unwrap();
    world.publish(&name, &Rc::new(vhost), by()).unwrap()
}

fn rig(change: impl FnOnce(&mut crate::conf::Hls)) -> Rig {
    let mut world = World::new(Rc::new(Config::default()));
    let id = publish(&mut world, "x", change);
    world.ingest(id, by(), Kind::Video, 0, Bytes::from_static(AVC));
    Rig { world, id, at: 0 }
}

impl Rig {
    /// Segments with a keyframe each. What the disk makes of one is known before the next.
    fn play(&mut self, segments: u32) {
        for _ in 0..segments {
            self.world.now = u64::from(self.at);
            self.world.ingest(self.id, by(), Kind::Video, self.at, Bytes::from_static(KEY));
            self.world.hls.writer.drain();
            self.at += 2_000;
        }
    }

    fn live(&mut self) -> &mut LiveHls {
        self.world.hub.get_mut(self.id).unwrap().hls.as_mut().unwrap()
    }

    fn list(&mut self) -> String {
        match self.live().hls.playlist("") {
            Playlist::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn unwritable(on_error: HlsOnError) -> Rig {
    rig(|hls| {
        hls.storage = HlsStorage::Disk;
        // Nothing is below what is no directory.
        hls.path = "/dev/null/hls".into();
        hls.on_error = on_error;
    })
}

#[test]
fn what_cannot_be_written_is_a_gap_and_is_not_kept() {
    for on_error in [HlsOnError::Continue, HlsOnError::Ignore, HlsOnError::Disconnect] {
        let mut rig = unwritable(on_error);
        rig.play(50);
        let text = rig.list();
        let (gaps, segments) = (text.matches("#EXT-X-GAP").count(), text.matches("#EXTINF").count());
        // What was written last is not known yet.
        assert!(segments >= 4 && gaps + 1 >= segments, "{on_error:?}\n{text}");
        assert_eq!(rig.live().disk.as_ref().unwrap().is_on(), on_error == HlsOnError::Continue);
        assert!(rig.live().hls.take_changes().is_empty(), "{on_error:?}");
        assert!(rig.live().hls.bytes() < 4_000, "{}", rig.live().hls.bytes());
        let dismissed =
            rig.world.actions.iter().filter(|action| matches!(action, Action::Dismiss(..))).count();
        assert_eq!(dismissed, usize::from(on_error == HlsOnError::Disconnect));
    }
}

/// After a fault, what was written before it still goes in its time; another publisher is written again.
#[test]
fn a_fault_leaves_no_old_files_and_another_publisher_gets_files_again() {
    let dir = std::env::temp_dir().join(format!("runnel-hls-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let files = || {
        let entries = std::fs::read_dir(dir.join("live")).into_iter().flatten();
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file())).count()
    };
    let mut rig = rig(|hls| {
        hls.storage = HlsStorage::Disk;
        hls.path = dir.to_str().unwrap().into();
        hls.window_ms = 6_000;
        hls.on_error = HlsOnError::Ignore;
    });
    rig.play(4);
    assert_eq!(files(), 3 + 1, "segments and the playlist");
    // The next segment cannot take the place of a directory.
    let next = rig.list().lines().rfind(|line| !line.starts_with('#')).unwrap().to_owned();
    let number: u64 = next.trim_start_matches("x-").trim_end_matches(".ts").parse().unwrap();
    std::fs::create_dir_all(dir.join(format!("live/x-{}.ts/a", number + 1))).unwrap();
    rig.play(20);
    assert!(!rig.live().disk.as_ref().unwrap().is_on());
    assert_eq!(files(), 1, "the playlist stays until the end");
    let (vhost, name) = (rig.live().vhost.clone(), StreamName::new("", "live", "x").unwrap());
    rig.world.unpublish(rig.id, by());
    rig.id = rig.world.publish(&name, &vhost, by()).unwrap();
    rig.world.ingest(rig.id, by(), Kind::Video, rig.at, Bytes::from_static(AVC));
    rig.play(6);
    assert!(files() > 3, "{}", rig.list());
    rig.world.hub.drop_hls();
    rig.world.hls.writer.drain();
    assert_eq!(files(), 0);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_codec_that_no_segment_carries_sends_the_publisher_away_if_that_is_wanted() {
    for (on_error, away) in [(HlsOnError::Disconnect, 1), (HlsOnError::Continue, 0)] {
        let mut world = World::new(Rc::new(Config::default()));
        let id = publish(&mut world, "x", |hls| hls.on_error = on_error);
        for at in 0..100 {
            world.now = at * 40;
            world.ingest(id, by(), Kind::Video, world.now as u32, Bytes::from_static(b"\x14\0vp6"));
        }
        let dismissed = world.actions.iter().filter(|action| matches!(action, Action::Dismiss(..))).count();
        assert_eq!(dismissed, away);
    }
}

#[test]
fn each_of_a_thousand_streams_finds_its_segments() {
    let mut world = World::new(Rc::new(Config::default()));
    let ids: Vec<StreamId> = (0..1000)
        .map(|n| {
            let id = publish(&mut world, &format!("cam{n}"), |_| {});
            world.ingest(id, by(), Kind::Video, 0, Bytes::from_static(AVC));
            for at in (0..10_000).step_by(2_000) {
                world.now += 2_000;
                world.ingest(id, by(), Kind::Video, at, Bytes::from_static(KEY));
            }
            id
        })
        .collect();
    let vhost = world.config.vhost("").unwrap();
    for (n, id) in ids.iter().enumerate() {
        let live = world.hub.get(*id).unwrap().hls.as_ref().unwrap();
        let name = live.hls.all_files().first().unwrap().to_string();
        assert!(name.starts_with(&format!("live/cam{n}-")));
        let looked = std::cell::Cell::new(0);
        let found = find_by_name(&world, vhost, &name, |hls| {
            looked.set(looked.get() + 1);
            hls.file(&name).is_some()
        });
        assert_eq!((found, looked.get()), (Some(*id), 1));
    }
}
