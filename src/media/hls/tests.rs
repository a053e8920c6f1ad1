use super::names::Templates;
use super::validate::Validator;
use super::*;
use crate::media::frame::CodecSet;

/// A packager of the outline of TS or fMP4: what the segmenter can see of it.
#[derive(Debug)]
struct Outline {
    ts: bool,
    init: Option<Vec<Bytes>>,
    counters: [u8; 3],
}

fn outline(
    kindred: Kindred,
    _: Option<VideoCodec>,
    _: Option<AudioCodec>,
) -> Result<Box<dyn Packager>, String> {
    let ts = kindred.container == Container::Ts;
    Ok(Box::new(Outline { ts, init: None, counters: [0; 3] }))
}

impl Packager for Outline {
    fn push(&mut self, frame: &Frame, out: &mut Vec<Piece>) {
        if frame.role == Role::Header {
            return;
        }
        let Frame { role, kind, dts, .. } = *frame;
        let config: Vec<Bytes> = frame.codec.headers().iter().map(|(_, bytes)| bytes.clone()).collect();
        let fresh = self.init.as_ref() != Some(&config);
        let mark = match (kind, role) {
            (Kind::Video, Role::Key) => KEY,
            (Kind::Video, _) => DELTA,
            _ => SOUND,
        };
        let mut payload = Vec::new();
        if self.ts {
            if role == Role::Key {
                self.packets(&[0, 1], SOUND, &mut payload);
            }
            let count = frame.payload.len() / 184 + 1;
            self.packets(&vec![2; count], mark, &mut payload);
        } else {
            if fresh {
                let init = [b"\0\0\0\0ftyp".as_slice(), &config.concat()].concat();
                out.push(Piece { role: Role::Header, kind: Kind::Script, dts, payload: init.into() });
            }
            payload.extend(b"\0\0\0\0moof");
            payload.push(mark);
            payload.extend(dts.to_be_bytes());
            payload.extend(&frame.payload);
        }
        self.init = Some(config);
        out.push(Piece { role, kind, dts, payload: payload.into() });
    }

    fn finish(&mut self, _: &mut Vec<Piece>) {}

    fn tables(&mut self) -> Bytes {
        let mut out = Vec::new();
        if self.ts {
            self.packets(&[0, 1], SOUND, &mut out);
        }
        out.into()
    }
}

impl Outline {
    /// Packets of PAT, PMT and media, by number.
    fn packets(&mut self, which: &[usize], mark: u8, out: &mut Vec<u8>) {
        for n in which {
            let pid: u16 = [0, 0x100, 0x101][*n];
            let counter = self.counters[*n];
            self.counters[*n] = (counter + 1) & 0x0f;
            out.extend([0x47, (pid >> 8) as u8, pid as u8, 0x10 | counter, mark]);
            out.resize(out.len() + 183, 0xff);
        }
    }
}

/// Marks of what a packet or fragment of the outline holds.
const DELTA: u8 = 0;
const KEY: u8 = 1;
const SOUND: u8 = 2;

/// Whether a player can start at a segment of these pieces: its first picture, if it has one, is a keyframe.
pub(super) fn starts(pieces: &[Bytes]) -> bool {
    let marks = pieces.iter().filter_map(|piece| match piece.first() {
        Some(0x47) => piece.chunks(188).find(|packet| packet[1..3] == [1, 1]).map(|packet| packet[4]),
        _ => Some(piece[8]),
    });
    marks.into_iter().find(|mark| *mark != SOUND).is_none_or(|mark| mark == KEY)
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
        floor_ms: 0,
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
    tracks: Tracks,
}

const VIDEO: Tracks = (Some(VideoCodec::Avc), None);
/// Headers of H.264 at 240x160 and of AAC at 44.1 kHz and 48 kHz.
const AVC: &[u8] =
    b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
const AAC: &[u8] = b"\xaf\x00\x12\x10";
const AAC_48: &[u8] = b"\xaf\x00\x11\x90";

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
            tracks: VIDEO,
        };
        rig.config(HeaderKey::Video(0), b"avc 1");
        rig.config(HeaderKey::Audio(0), b"aac 1");
        rig
    }

    /// With the packagers of the server instead of an outline, and real headers in front of the frames.
    fn real(settings: Settings, sound: bool) -> Rig {
        let mut rig = Rig::new(settings);
        rig.hls.interrupt(rig.now());
        rig.hls.make = crate::media::package::packager;
        rig.validator.real = true;
        rig.codec = Rc::new(CodecSet::default());
        rig.tracks = (Some(VideoCodec::Avc), sound.then_some(AudioCodec::Aac));
        rig.config(HeaderKey::Video(0), AVC);
        if sound {
            rig.config(HeaderKey::Audio(0), AAC);
        }
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
        self.hls.push(&frame, Some(self.tracks), self.now());
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.clock, unix_ms: 1_700_000_000_000 + self.clock }
    }

    fn frame(&mut self, kind: Kind, role: Role, dts: u64) {
        let mut payload = vec![dts as u8; self.frame_bytes];
        if self.validator.real {
            let head: &[u8] = match (kind, role) {
                (Kind::Video, Role::Key) => b"\x17\x01\0\0\0\0\0\x01\0\x65",
                (Kind::Video, _) => b"\x27\x01\0\0\0\0\0\x01\0\x41",
                _ => b"\xaf\x01",
            };
            let size = if kind == Kind::Video { 255 } else { self.frame_bytes };
            payload = [head, &vec![dts as u8; size]].concat();
        }
        let payload = Bytes::from(payload);
        let frame = Frame { kind, role, dts, payload, codec: self.codec.clone() };
        let progress = self.hls.push(&frame, Some(self.tracks), self.now());
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
    assert!(rig.validator.opened > 290, "{}", rig.validator.opened);
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

/// Sound, with its header, before the header of the picture: it is one stream all the same.
#[test]
fn a_track_that_begins_earlier_is_no_discontinuity() {
    for variant in [Variant::Ts, Variant::Fmp4] {
        let mut rig = Rig::real(settings(variant), true);
        rig.hls.interrupt(rig.now());
        let mut codec = CodecSet::default();
        let mut send =
            |rig: &mut Rig, key: HeaderKey, header: &'static [u8], role, media: &'static [u8], told: bool| {
                codec = codec.with(key, &Bytes::from_static(header)).unwrap();
                let shared = Rc::new(codec.clone());
                for (role, payload) in [(Role::Header, header), (role, media)] {
                    let payload = Bytes::from_static(payload);
                    let frame = Frame { kind: key.kind(), role, dts: 0, payload, codec: shared.clone() };
                    rig.hls.push(&frame, told.then_some(rig.tracks), rig.now());
                }
            };
        send(&mut rig, HeaderKey::Audio(0), AAC, Role::Delta, b"\xaf\x01a", false);
        send(&mut rig, HeaderKey::Video(0), AVC, Role::Key, b"\x17\x01\0\0\0\0\0\x01\0\x65", true);
        rig.at = 40;
        rig.audio_at = 40;
        rig.play(20_000, 50, true);
        let text = rig.text();
        assert_eq!(rig.validator.discontinuities, 0, "{variant:?}\n{text}");
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
    // Three seconds of parts of half a second ahead, and no more.
    assert_eq!(rig.hls.playlist("_HLS_msn=101&_HLS_part=7"), wait);
    for bad in [
        "_HLS_msn=103",
        "_HLS_msn=101&_HLS_part=8",
        "_HLS_msn=102&_HLS_part=6",
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
    assert!(
        has(&mut rig, "_HLS_part=9") && has(&mut rig, "_HLS_msn=x"),
        "of a list that has its end these are ignored"
    );
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

#[test]
fn an_update_leaves_out_what_is_old_and_only_where_that_pays() {
    for (window_ms, updates) in [(60_000, true), (12_000, false)] {
        let mut rig = Rig::new(Settings { window_ms, ..settings(Variant::LowLatency) });
        rig.play(200_000, 50, true);
        rig.config(HeaderKey::Video(0), b"avc 2");
        rig.play(200_000, 50, true);
        assert_eq!(rig.validator.updates > 100, updates, "{}", rig.validator.updates);
        assert_eq!(rig.text().contains(",CAN-SKIP-UNTIL=12.000"), updates, "{}", rig.text());
        let update = |rig: &mut Rig| match rig.hls.playlist("_HLS_skip=v2") {
            Playlist::Text(text) => text.contains("#EXT-X-SKIP:") && text.contains("#EXT-X-VERSION:9\n"),
            other => panic!("{other:?}"),
        };
        assert_eq!(update(&mut rig), updates);
        rig.hls.end(rig.now());
        assert!(!update(&mut rig), "a list that has its end is given whole");
        rig.validator.look(&mut rig.hls, rig.clock);
    }
    let mut rig = Rig::new(Settings { window_ms: 60_000, ..settings(Variant::Ts) });
    rig.play(100_000, 50, true);
    let text = rig.text();
    let same = Playlist::Text(text.as_str().into());
    assert_eq!(rig.hls.playlist("_HLS_skip=YES"), same, "parts of low latency are not for others");
}

#[test]
fn dates_follow_lengths_and_the_clock() {
    let date = |text: &str, n: usize| {
        let dates = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
        dates.map(str::to_owned).nth(n).unwrap()
    };
    let mut rig = Rig::new(settings(Variant::Ts));
    rig.play(8_040, 50, true);
    assert_eq!(date(&rig.text(), 0), names::date(1_700_001_000_000));
    assert_eq!(date(&rig.text(), 3), names::date(1_700_001_006_000));
    // The clock runs two seconds ahead: dates follow by a hundredth of each length, and the validator sees no step.
    rig.clock += 2_000;
    rig.play(120_000, 50, true);
    rig.clock += 3_600_000;
    rig.validator.clock_set = true;
    rig.play(4_000, 50, true);
    let last = rig.text().matches("PROGRAM").count() - 1;
    let now = |rig: &Rig| rig.now().unix_ms;
    assert_eq!(date(&rig.text(), last), names::date(now(&rig) - 4_000), "a clock that was set");
    rig.republish(500_000);
    rig.play(4_000, 50, true);
    let text = rig.text();
    let at = text.rfind("#EXT-X-DISCONTINUITY\n").unwrap();
    assert_eq!(date(&text[at..], 0), names::date(now(&rig) - 4_000), "{text}");
}

#[test]
fn the_multivariant_playlist_says_what_was_measured() {
    let mut rig = Rig::new(settings(Variant::Fmp4));
    let about = About { codecs: Some("avc1.64001f,mp4a.40.2".into()), size: Some((1280, 720)) };
    assert!(matches!(rig.hls.multivariant(&about, ""), Playlist::Wait(_)));
    rig.play(20_040, 50, false);
    rig.frame_bytes = 1000;
    rig.play(2_000, 50, false);
    rig.frame_bytes = 100;
    rig.play(200_000, 50, false);
    let Playlist::Text(text) = rig.hls.multivariant(&about, "hls_ctx=1&token=2") else { panic!() };
    // A piece is 17 bytes and the frame; one keyframe of 100 bytes is in the segment with the pictures of 1000.
    assert_eq!(
        &*text,
        format!(
            "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},\
             CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=25.000\nx.m3u8?hls_ctx=1&token=2\n",
            (117 + 50 * 1017) * 8000 / 2040,
            117 * 8 * 25
        )
    );
}

#[test]
fn files_that_could_not_be_written_are_gaps() {
    let mut rig = Rig::new(Settings { keep: false, tell: true, ..settings(Variant::Fmp4) });
    for _ in 0..3 {
        rig.hls.push(&picture(&rig, Role::Key), Some(VIDEO), rig.now());
        rig.at += 2_000;
    }
    rig.hls.take_changes();
    rig.hls.lost("live/x-100.m4s");
    rig.hls.lost("live/x-7.m4s");
    let text = rig.text();
    assert!(text.contains("#EXT-X-GAP\n#EXTINF:2.000,\nx-100.m4s\n"), "{text}");
    assert_eq!(text.matches("GAP").count(), 1, "{text}");
    // Nothing can be read without its initialization segment, so that is written again.
    rig.hls.lost("live/x-100.init.mp4");
    assert_eq!(rig.text().matches("GAP").count(), 2);
    for _ in 0..2 {
        rig.hls.push(&picture(&rig, Role::Key), Some(VIDEO), rig.now());
        rig.at += 2_000;
        let changes = rig.hls.take_changes();
        let again = changes.iter().any(|c| matches!(c, Change::Write(name, _) if name.ends_with("init.mp4")));
        assert_eq!(again, rig.at == 8_000, "{changes:?}");
    }
    assert_eq!(rig.text().matches("GAP").count(), 2);
}

fn picture(rig: &Rig, role: Role) -> Frame {
    let payload = Bytes::from_static(b"picture");
    Frame { kind: Kind::Video, role, dts: rig.at, payload, codec: rig.codec.clone() }
}

#[test]
fn a_closed_segment_is_told_once() {
    let mut rig = Rig::new(settings(Variant::Ts));
    let mut closed = Vec::new();
    for n in 0..200 {
        let role = if n % 50 == 0 { Role::Key } else { Role::Delta };
        closed.extend(rig.hls.push(&picture(&rig, role), Some(VIDEO), rig.now()).closed);
        rig.at += 40;
    }
    closed.extend(rig.hls.end(rig.now()).closed);
    let told: Vec<(u64, &str, u64)> = closed.iter().map(|c| (c.sequence, &*c.name, c.ms)).collect();
    assert_eq!(
        told,
        [100, 101, 102, 103].map(|n| (
            n,
            ["live/x-100.ts", "live/x-101.ts", "live/x-102.ts", "live/x-103.ts"][n as usize - 100],
            2000
        ))
    );
    assert!(closed.iter().all(|c| c.bytes == 188 * 52), "{closed:?}");
    assert_eq!(rig.hls.url("live/x 1.ts"), "/live/x%201.ts");
}

/// What the server's own packagers make follows the rules too: counters of MPEG-TS go on over segments.
#[test]
fn real_segments_follow_the_rules() {
    for variant in [Variant::Ts, Variant::Fmp4, Variant::LowLatency] {
        let mut rig = Rig::real(settings(variant), true);
        rig.play(30_040, 50, true);
        assert_eq!((rig.validator.discontinuities, rig.validator.dependent), (0, 0), "{variant:?}");
        rig.config(HeaderKey::Audio(0), AAC_48);
        rig.play(10_000, 50, true);
        assert_eq!(rig.validator.discontinuities, 1, "another rate of the sound");
        rig.at += 20_000;
        rig.audio_at = rig.at;
        rig.play(10_000, 50, true);
        assert_eq!(rig.validator.discontinuities, 2, "a step of the time line");
        rig.only_sound(10_000);
        rig.play(60_000, 0, true);
        assert!(rig.validator.longest_ms <= 12_100, "{variant:?} {}", rig.validator.longest_ms);
        rig.play(10_000, 50, true);
        let end = rig.hls.end(rig.now());
        rig.after(end);
        assert!(rig.validator.total_ms > 129_000, "{variant:?} {}", rig.validator.total_ms);

        let mut late = Rig::real(settings(variant), false);
        late.play(10_000, 50, false);
        late.config(HeaderKey::Audio(0), AAC);
        late.tracks.1 = Some(AudioCodec::Aac);
        late.play(10_000, 50, true);
        assert_eq!(late.validator.discontinuities, 1, "{variant:?}: sound that comes late");
    }
}

/// The picture stands for 20 s while the sound goes on: no segment of TS is without a picture, and the stream goes on with a
/// keyframe behind a discontinuity. MP4 tells how long the last picture lasts, and loses nothing.
#[test]
fn a_picture_that_stands_leaves_no_segment_of_sound_in_ts() {
    for (variant, breaks) in [(Variant::Ts, 1), (Variant::Fmp4, 0)] {
        let mut rig = Rig::new(settings(variant));
        rig.play(10_000, 50, true);
        rig.only_sound(20_000);
        rig.play(20_000, 50, true);
        let text = rig.text();
        assert_eq!(rig.validator.discontinuities, breaks, "{text}");
        assert_eq!(
            (rig.validator.dependent, rig.hls.window.listed_without_pictures() == 0),
            (0, breaks == 1),
            "{text}"
        );
    }
}

/// Without keyframes there are segments all the same, as long as `hls_aof_ratio` allows, and none of them is said to be a
/// place to start at.
#[test]
fn a_minute_without_keyframes_is_cut_at_the_limit() {
    for variant in [Variant::Ts, Variant::Fmp4, Variant::LowLatency] {
        let mut rig = Rig::new(settings(variant));
        rig.play(10_000, 50, true);
        assert!(rig.text().contains("#EXT-X-INDEPENDENT-SEGMENTS"));
        let (before, listed) = (rig.validator.versions, rig.validator.total_ms);
        rig.play(60_000, 0, true);
        assert!(!rig.text().contains("#EXT-X-INDEPENDENT-SEGMENTS") && rig.validator.dependent >= 4);
        assert!(rig.validator.versions >= before + 4 && rig.validator.total_ms - listed >= 48_000);
        assert!((11_900..=12_100).contains(&rig.validator.longest_ms), "{}", rig.validator.longest_ms);
        rig.play(100_000, 50, true);
        assert!(rig.text().contains("#EXT-X-INDEPENDENT-SEGMENTS"), "it is over with the next keyframes");
    }
}
