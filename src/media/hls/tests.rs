use super::names::Templates;
use super::validate::Validator;
use super::*;
use crate::media::frame::CodecSet;

/// A packager of the outline of TS or fMP4: what the segmenter can see of it.
#[derive(Debug)]
struct Outline {
    ts: bool,
    init: Option<Vec<Bytes>>,
}

fn outline(
    kindred: Kindred,
    _: Option<VideoCodec>,
    _: Option<AudioCodec>,
) -> Result<Box<dyn Packager>, String> {
    Ok(Box::new(Outline { ts: kindred.container == Container::Ts, init: None }))
}

impl Packager for Outline {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        if frame.role == Role::Header {
            return;
        }
        let Frame { role, kind, dts, .. } = *frame;
        let config: Vec<Bytes> = frame.codec.headers().iter().map(|(_, bytes)| bytes.clone()).collect();
        let fresh = self.init.as_ref() != Some(&config);
        let mut payload = Vec::new();
        if self.ts {
            if role == Role::Key {
                payload.extend(packets(&[0, 0x100]));
            }
            payload.extend(packets(&vec![0x101; frame.payload.len() / 184 + 1]));
        } else {
            if fresh {
                let init = [b"\0\0\0\0ftyp".as_slice(), &config.concat()].concat();
                out.push(Piece { role: Role::Header, kind: Kind::Script, dts, payload: init.into() });
            }
            payload.extend(b"\0\0\0\0moof");
            payload.extend(dts.to_be_bytes());
            payload.extend(&frame.payload);
        }
        self.init = Some(config);
        out.push(Piece { role, kind, dts, payload: payload.into() });
    }

    fn finish(&mut self, _: &mut Vec<Piece>) {}

    fn tables(&mut self) -> Bytes {
        if self.ts { packets(&[0, 0x100]).into() } else { Bytes::new() }
    }
}

fn packets(pids: &[u16]) -> Vec<u8> {
    let packet = |pid: &u16| {
        let mut packet = vec![0x47, (pid >> 8) as u8, *pid as u8];
        packet.resize(188, 0xff);
        packet
    };
    pids.iter().flat_map(packet).collect()
}

fn settings(variant: Variant) -> Settings {
    Settings {
        variant,
        fragment_ms: 2000,
        limit_ms: 12_000,
        target_ms: 2000,
        window_ms: 12_000,
        part_ms: 500,
        wait_key: true,
        audio: true,
        video: true,
        budget: 32 << 20,
        first_sequence: 100,
        segments_per_key: 0,
        secret: [3; 32],
        keep: true,
        tell: false,
    }
}

fn templates() -> Templates {
    Templates {
        playlist: "[app]/[stream].m3u8".into(),
        segment: "[app]/[stream]-[seq].ts".into(),
        key: "[app]/[stream]-[seq].key".into(),
        prefix: String::new(),
        key_prefix: String::new(),
    }
}

/// A publisher, HLS and the validator on one virtual clock that runs with the stream.
struct Rig {
    hls: Hls,
    validator: Validator,
    codec: Rc<CodecSet>,
    /// Time of the stream.
    at: u64,
    audio_at: u64,
    clock: u64,
    peak: usize,
    frame_bytes: usize,
    last_look: u64,
}

const VIDEO: Tracks = (Some(VideoCodec::Avc), None);

impl Rig {
    fn new(settings: Settings) -> Rig {
        let name = crate::wire::names::StreamName::new("", "live", "x").unwrap();
        let names = Names::new(&name, templates(), settings.variant != Variant::Ts);
        let mut rig = Rig {
            hls: Hls::new(settings, names, outline),
            validator: Validator::default(),
            codec: Rc::new(CodecSet::default()),
            at: 0,
            audio_at: 0,
            clock: 1_000_000,
            peak: 0,
            frame_bytes: 100,
            last_look: 0,
        };
        rig.config(HeaderKey::Video(0), b"avc 1");
        rig.config(HeaderKey::Audio(0), b"aac 1");
        rig
    }

    fn config(&mut self, key: HeaderKey, payload: &'static [u8]) {
        if let Some(next) = self.codec.with(key, &Bytes::from_static(payload)) {
            self.codec = Rc::new(next);
        }
        let frame = Frame {
            kind: key.kind(),
            role: Role::Header,
            dts: self.at,
            payload: Bytes::from_static(payload),
            codec: self.codec.clone(),
        };
        self.hls.push(&frame, Some(VIDEO), self.now());
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.clock, unix_ms: 1_700_000_000_000 + self.clock }
    }

    fn frame(&mut self, kind: Kind, role: Role, dts: u64) {
        let payload = Bytes::from(vec![dts as u8; self.frame_bytes]);
        let frame = Frame { kind, role, dts, payload, codec: self.codec.clone() };
        let progress = self.hls.push(&frame, Some(VIDEO), self.now());
        self.after(progress);
    }

    fn after(&mut self, progress: Progress) {
        self.peak = self.peak.max(self.hls.bytes());
        if progress.changed || self.clock - self.last_look > 250 {
            self.last_look = self.clock;
            self.validator.look(&mut self.hls, self.clock);
        }
    }

    /// `ms` of 25 pictures a second with a keyframe each `gop` pictures (0: never), and of 43 sounds a second.
    fn play(&mut self, ms: u64, gop: u64, sound: bool) {
        let end = self.at + ms;
        let mut n = 0;
        while self.at < end {
            let role = if gop > 0 && n % gop == 0 { Role::Key } else { Role::Delta };
            self.frame(Kind::Video, role, self.at);
            n += 1;
            self.at += 40;
            self.clock += 40;
            self.sound(sound);
        }
    }

    fn sound(&mut self, sound: bool) {
        while self.audio_at < self.at {
            if sound {
                self.frame(Kind::Audio, Role::Delta, self.audio_at);
            }
            self.audio_at += 23;
        }
    }

    fn only_sound(&mut self, ms: u64) {
        let end = self.at + ms;
        while self.at < end {
            self.at += 23;
            self.clock += 23;
            self.sound(true);
        }
    }

    /// The publisher goes and comes back.
    fn republish(&mut self, away: u64) {
        let progress = self.hls.interrupt(self.now());
        self.after(progress);
        self.clock += away;
        let progress = self.hls.discontinuity(self.now());
        self.after(progress);
        self.codec = Rc::new(self.codec.cleared());
        self.config(HeaderKey::Video(0), b"avc 1");
        self.config(HeaderKey::Audio(0), b"aac 1");
        self.at += 40;
        self.audio_at = self.at;
    }

    fn text(&mut self) -> String {
        match self.hls.playlist("") {
            Playlist::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// An hour with everything in it that happens to a stream.
fn hour(variant: Variant) -> Rig {
    let mut rig = Rig::new(settings(variant));
    rig.play(600_000, 50, true);
    assert_eq!((rig.validator.longest_ms, rig.validator.discontinuities), (2000, 0));
    rig.republish(3_000);
    rig.play(300_000, 25, true);
    assert_eq!((rig.validator.longest_ms, rig.validator.discontinuities), (2000, 1));
    rig.config(HeaderKey::Video(0), b"avc 2");
    rig.play(300_000, 50, true);
    assert_eq!(rig.validator.discontinuities, 2);
    rig.only_sound(300_000);
    rig.play(60_000, 0, true);
    assert!(rig.validator.longest_ms <= 12_100, "{}", rig.validator.longest_ms);
    rig.play(300_000, 250, true);
    let before = rig.validator.discontinuities;
    rig.at += 20_000;
    rig.audio_at = rig.at;
    rig.play(300_000, 50, false);
    assert_eq!(rig.validator.discontinuities, before + 1, "a step of the time line");
    for n in 0..20 {
        rig.republish(100);
        rig.play(40 * (n % 4) + 2_000 * (n % 3), 50, true);
    }
    rig.play(1_440_000, 60, true);
    assert_eq!(rig.hls.squeezed(), 0);
    let progress = rig.hls.end(rig.now());
    rig.after(progress);
    assert!(rig.text().ends_with("#EXT-X-ENDLIST\n"));
    assert!(rig.at > 3_600_000);
    rig
}

#[test]
fn an_hour_of_ts_follows_the_rules() {
    let rig = hour(Variant::Ts);
    assert!(rig.validator.total_ms > 3_500_000, "{}", rig.validator.total_ms);
}

#[test]
fn an_hour_of_fmp4_follows_the_rules() {
    hour(Variant::Fmp4);
}

#[test]
fn an_hour_of_low_latency_follows_the_rules() {
    let rig = hour(Variant::LowLatency);
    assert!(rig.validator.parts_seen > 7_000, "{}", rig.validator.parts_seen);
}

#[test]
fn an_hour_of_sound_alone_is_cut_by_time() {
    for (variant, ms) in [(Variant::Ts, 3_600_000), (Variant::Fmp4, 600_000), (Variant::LowLatency, 600_000)]
    {
        let mut rig = Rig::new(settings(variant));
        rig.codec = Rc::new(CodecSet::default());
        rig.config(HeaderKey::Audio(0), b"aac 1");
        rig.only_sound(ms);
        assert!(rig.validator.longest_ms <= 2_050, "{}", rig.validator.longest_ms);
        assert_eq!(rig.validator.discontinuities, 0);
        assert!(rig.validator.total_ms > ms - 10_000);
    }
}

#[test]
fn encrypted_segments_name_their_keys() {
    let mut rig = Rig::new(Settings { segments_per_key: 5, ..settings(Variant::Ts) });
    rig.play(600_000, 50, true);
    assert_eq!(rig.text().matches("#EXT-X-KEY").count(), 2);
}

#[test]
fn low_frame_rates_keep_the_rules_of_parts() {
    for interval in [17, 33, 42, 100, 200, 333, 1000, 5000] {
        let mut rig = Rig::new(settings(Variant::LowLatency));
        rig.codec = Rc::new(CodecSet::default());
        rig.config(HeaderKey::Video(0), b"avc 1");
        for n in 0..2000u64 {
            let role = if n % (5000 / interval) == 0 { Role::Key } else { Role::Delta };
            rig.clock = 1_000_000 + n * interval;
            rig.frame(Kind::Video, role, n * interval);
        }
        assert!(rig.validator.parts_seen > 60, "{interval}");
        assert_eq!(rig.validator.discontinuities, 0);
    }
}

#[test]
fn the_budget_holds_whatever_comes() {
    for variant in [Variant::Ts, Variant::LowLatency] {
        let mut rig = Rig::new(Settings { budget: 1 << 20, ..settings(variant) });
        rig.validator.squeezed = true;
        rig.frame_bytes = 20_000;
        rig.play(60_000, 50, true);
        rig.play(120_000, 0, true);
        rig.play(60_000, 500, true);
        rig.republish(100);
        rig.play(60_000, 25, true);
        assert!(rig.peak <= (1 << 20) + 25_000, "{}", rig.peak);
        assert!(rig.hls.squeezed() > 0);
    }
}

#[test]
fn nothing_is_kept_longer_than_it_may_be_asked_for() {
    let mut rig = Rig::new(settings(Variant::Ts));
    rig.play(120_000, 50, true);
    let second = 69 * 188 + 188;
    assert!(rig.hls.bytes() as u64 <= second * 34, "{}", rig.hls.bytes());
    let Some(File::Body(_, body)) = rig.hls.file("live/x-150.ts") else { panic!("the list has 150") };
    rig.play(60_000, 50, true);
    assert!(body.upgrade().is_none(), "a slow reader keeps nothing");
    assert!(rig.hls.file("live/x-150.ts").is_none());
    rig.clock += 60_000;
    rig.hls.expire(rig.now());
    let listed = rig.text().matches("#EXTINF").count() as u64;
    assert_eq!(listed, 6);
    assert!(rig.hls.bytes() as u64 <= second * 2 * (listed + 1), "{}", rig.hls.bytes());
}

#[test]
fn only_exact_names_are_found() {
    let mut rig = Rig::new(settings(Variant::Ts));
    rig.play(20_000, 50, true);
    assert!(rig.hls.file("live/x-101.ts").is_some());
    for name in [
        "",
        "live/x-1.ts",
        "/live/x-101.ts",
        "live/../live/x-101.ts",
        "live/x-101.ts\0",
        "x-101.ts",
        "live/x-101.0.ts",
    ] {
        assert!(rig.hls.file(name).is_none(), "{name:?}");
    }
}

#[test]
fn a_tail_too_short_to_be_listed_is_not_lost() {
    let mut rig = Rig::new(settings(Variant::Ts));
    rig.play(6_040, 50, false);
    let listed = rig.validator.total_ms;
    rig.republish(100);
    rig.play(10_000, 50, false);
    rig.hls.end(rig.now());
    rig.validator.look(&mut rig.hls, rig.clock);
    assert_eq!(listed, 6_000);
    assert_eq!(rig.validator.total_ms, 16_080);
    assert_eq!(rig.validator.discontinuities, 1);
}

#[test]
fn a_stream_without_keyframes_starts_at_the_limit() {
    let mut rig = Rig::new(settings(Variant::Fmp4));
    rig.play(11_000, 0, true);
    assert_eq!(rig.hls.bytes(), 0);
    rig.play(60_000, 0, true);
    assert!(!rig.text().contains("INDEPENDENT"));
    assert!(rig.validator.total_ms > 40_000);
}

#[test]
fn late_sound_is_a_discontinuity_and_sound_within_the_wait_is_not() {
    for variant in [Variant::Ts, Variant::Fmp4] {
        let mut rig = Rig::new(settings(variant));
        rig.codec = Rc::new(CodecSet::default());
        rig.hls.interrupt(rig.now());
        rig.config(HeaderKey::Video(0), b"avc 1");
        rig.play(5_000, 50, false);
        rig.config(HeaderKey::Audio(0), b"aac 1");
        rig.play(10_000, 50, true);
        assert_eq!(rig.validator.discontinuities, 1);

        let mut rig = Rig::new(settings(variant));
        rig.hls.interrupt(rig.now());
        let picture = Frame {
            kind: Kind::Video,
            role: Role::Key,
            dts: 0,
            payload: Bytes::from_static(b"picture"),
            codec: Rc::new(
                CodecSet::default().with(HeaderKey::Video(0), &Bytes::from_static(b"avc 1")).unwrap(),
            ),
        };
        rig.hls.push(&picture, None, rig.now());
        assert_eq!(rig.hls.bytes(), 0, "held until it is known what the stream carries");
    }
}

#[test]
fn blocking_reload_answers_when_the_part_is_there() {
    let mut rig = Rig::new(settings(Variant::LowLatency));
    assert_eq!(rig.hls.playlist(""), Playlist::Wait(18_000), "for the first segment, however long");
    rig.play(2_920, 50, true);
    let wait = Playlist::Wait(6_000);
    let has = |rig: &mut Rig, query: &str| matches!(rig.hls.playlist(query), Playlist::Text(_));
    assert!(has(&mut rig, "_HLS_msn=100") && has(&mut rig, "_HLS_msn=3&_HLS_part=99"));
    assert!(has(&mut rig, "_HLS_msn=100&_HLS_part=4"));
    assert!(has(&mut rig, "token=a&_HLS_msn=100&_HLS_part=5"), "as 101.0, which is there");
    assert!(has(&mut rig, "_HLS_msn=101&_HLS_part=0"));
    assert_eq!(rig.hls.playlist("_HLS_msn=101"), wait);
    assert_eq!(rig.hls.playlist("_HLS_msn=101&_HLS_part=2"), wait);
    assert_eq!(rig.hls.playlist("_HLS_msn=102&_HLS_part=0"), wait);
    for bad in [
        "_HLS_msn=103",
        "_HLS_part=1",
        "_HLS_msn=x",
        "_HLS_msn=101&_HLS_part=-1",
        "_HLS_msn=99999999999999999999",
    ] {
        assert!(matches!(rig.hls.playlist(bad), Playlist::Bad(_)), "{bad}");
    }
    assert!(matches!(rig.hls.file("live/x-101.2.m4s"), Some(File::Wait(_))), "{}", rig.text());
    assert!(rig.hls.file("live/x-101.3.m4s").is_none());
    rig.play(440, 0, true);
    assert!(has(&mut rig, "_HLS_msn=101&_HLS_part=2"));
    assert!(matches!(rig.hls.file("live/x-101.2.m4s"), Some(File::Body(..))));
    rig.hls.end(rig.now());
    assert!(has(&mut rig, "_HLS_msn=999&_HLS_part=9"), "nobody waits for what never comes");
}

#[test]
fn codecs_that_the_container_lacks_are_said_and_another_publisher_may_do_better() {
    fn none(
        _: Kindred,
        video: Option<VideoCodec>,
        _: Option<AudioCodec>,
    ) -> Result<Box<dyn Packager>, String> {
        Err(format!("no {video:?}"))
    }
    let mut rig = Rig::new(settings(Variant::Ts));
    rig.hls.make = none;
    rig.hls.interrupt(rig.now());
    rig.play(5_000, 50, true);
    assert_eq!((rig.hls.refusal(), rig.hls.bytes()), (Some("no Some(Avc)"), 0));
    rig.hls.make = outline;
    rig.republish(100);
    rig.play(5_000, 50, true);
    assert_eq!(rig.hls.refusal(), None);
    assert!(rig.validator.total_ms > 0);
}

#[test]
fn a_copy_on_disk_has_what_its_playlist_names_and_nothing_for_ever() {
    for (variant, segments_per_key) in [(Variant::Ts, 0), (Variant::Ts, 3), (Variant::Fmp4, 0)] {
        let mut rig = Rig::new(Settings { keep: false, tell: true, segments_per_key, ..settings(variant) });
        let mut files = std::collections::BTreeSet::new();
        let mut list = String::new();
        let mut most = 0;
        for n in 0..3000 {
            rig.hls.push(
                &Frame {
                    kind: Kind::Video,
                    role: if n % 50 == 0 { Role::Key } else { Role::Delta },
                    dts: n * 40,
                    payload: Bytes::from_static(b"picture"),
                    codec: rig.codec.clone(),
                },
                Some(VIDEO),
                Now { mono_ms: n * 40, unix_ms: 0 },
            );
            for change in rig.hls.take_changes() {
                match change {
                    Change::Write(name, chunks) => {
                        assert!(!chunks.concat().is_empty());
                        assert!(files.insert(name), "written twice");
                    }
                    Change::Remove(name) => assert!(files.remove(&name), "{name} was never written"),
                    Change::Playlist(text) => list = text.to_string(),
                }
                for uri in list.lines().filter(|line| !line.starts_with('#')) {
                    assert!(files.contains(format!("live/{uri}").as_str()), "{uri} is listed but not there");
                }
            }
            most = most.max(files.len());
            assert!(rig.hls.bytes() < 51 * 3 * 188, "only the segment in the making is in memory");
        }
        assert!(most <= 26, "{most}");
        let all = rig.hls.all_files();
        assert!(files.iter().eq(all.iter()), "{files:?} {all:?}");
    }
}
