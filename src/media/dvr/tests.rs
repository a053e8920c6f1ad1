//! What is in files: by a recorder whose steps are carried out in memory.
use super::flv::{FlvFile, MAX_ENTRIES, SPACER};
use super::names::{Template, When};
use super::walk::Walk;
use super::*;
use crate::wire::amf0::{self, Value};
use crate::wire::flv::{Demuxer, Tag};
use crate::wire::names::StreamName;

const SETTINGS: Settings =
    Settings { format: Format::Flv, segment_ms: None, wait_key: true, jitter: Jitter::Full, repaired: true };
const BOTH: Option<Tracks> = Some((Some(VideoCodec::Avc), Some(AudioCodec::Aac)));

/// A stream that is published and recorded.
struct Rig {
    recorder: Recorder,
    set: Rc<CodecSet>,
    now: u64,
    steps: Vec<Step>,
    tracks: Option<Tracks>,
}

fn rig(settings: Settings) -> Rig {
    let mut rig = Rig {
        recorder: Recorder::new(settings),
        set: Rc::default(),
        now: 0,
        steps: Vec::new(),
        tracks: BOTH,
    };
    let mut metadata = Vec::new();
    amf0::encode(&Value::string("onMetaData"), &mut metadata);
    amf0::encode(&Value::ecma_array([("width", 640.0.into()), ("duration", 7.0.into())]), &mut metadata);
    rig.header(HeaderKey::Metadata, &metadata);
    rig.header(HeaderKey::Video(0), b"\x17\0\0\0\0one");
    rig.header(HeaderKey::Audio(0), b"\xaf\0\x12\x10");
    rig
}

impl Rig {
    fn header(&mut self, key: HeaderKey, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        self.set = self.set.with(key, &payload).map_or_else(|| self.set.clone(), Rc::new);
        self.push(key.kind(), Role::Header, 0, payload);
    }

    fn push(&mut self, kind: Kind, role: Role, dts: u64, payload: Bytes) {
        let frame = Frame { kind, role, dts, payload, codec: self.set.clone() };
        self.recorder.push(&frame, self.tracks, self.now, &mut self.steps);
        self.now = self.now.max(dts);
    }

    fn key(&mut self, dts: u64) {
        self.push(Kind::Video, Role::Key, dts, Bytes::from_static(b"\x17\x01\0\0\0key"));
    }

    fn delta(&mut self, dts: u64) {
        self.push(Kind::Video, Role::Delta, dts, Bytes::from_static(b"\x27\x01\0\0\0inter"));
    }

    fn sound(&mut self, dts: u64) {
        self.push(Kind::Audio, Role::Delta, dts, Bytes::from_static(b"\xaf\x01sound"));
    }

    /// Pictures each 40 ms with a keyframe each second, sounds between them.
    fn play(&mut self, times: std::ops::Range<u64>) {
        for dts in times.step_by(40) {
            if dts % 1000 == 0 {
                self.key(dts)
            } else {
                self.delta(dts)
            }
            self.sound(dts + 20);
        }
    }

    fn end(mut self) -> Vec<Vec<u8>> {
        self.recorder.finish(self.now, &mut self.steps);
        files(&self.steps)
    }
}

/// Carries the steps out; FLV.
fn files(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    let mut open: Option<(FlvFile, Vec<u8>)> = None;
    for step in steps {
        match step {
            Step::Open(opening) => {
                let (file, chunks) = FlvFile::begin(opening, 40);
                assert!(open.replace((file, chunks.concat())).is_none(), "one file at a time");
            }
            Step::Write(items) => {
                let (file, bytes) = open.as_mut().unwrap();
                bytes.extend(file.write(items).concat());
                assert_eq!(file.len(), bytes.len() as u64);
            }
            Step::Close => {
                let (file, bytes) = open.take().unwrap();
                files.push(complete(&file, bytes));
            }
        }
    }
    assert!(open.is_none(), "the last file is closed");
    files
}

fn complete(file: &FlvFile, mut bytes: Vec<u8>) -> Vec<u8> {
    for (at, patch) in file.patches() {
        let at = at as usize;
        bytes[at..at + patch.len()].copy_from_slice(&patch);
    }
    bytes
}

fn tags(file: &[u8]) -> Vec<Tag> {
    let (mut demuxer, mut input, mut tags) = (Demuxer::new(1 << 20), file, Vec::new());
    while let Some(tag) = demuxer.push(&mut input).unwrap() {
        tags.push(tag);
    }
    assert!(demuxer.is_between_tags());
    tags
}

/// `m`etadata, `V` and `A` headers, `k`eyframes, `p`ictures, `s`ounds, each with its time.
fn story(file: &[u8]) -> Vec<(char, u32)> {
    let letter = |tag: &Tag| match (tag.kind, tag.payload.get(..2)) {
        (Kind::Script, _) => 'm',
        (Kind::Video, Some(b"\x17\0")) => 'V',
        (Kind::Video, Some(b"\x17\x01")) => 'k',
        (Kind::Video, _) => 'p',
        (Kind::Audio, Some(b"\xaf\0")) => 'A',
        (Kind::Audio, _) => 's',
    };
    tags(file).iter().map(|tag| (letter(tag), tag.timestamp)).collect()
}

fn text(file: &[u8]) -> String {
    story(file).into_iter().map(|(letter, _)| letter).collect()
}

fn metadata(file: &[u8]) -> Value {
    amf0::decode_all(&tags(file)[0].payload).unwrap().remove(1)
}

/// The index of a file as (byte, milliseconds).
fn index(file: &[u8]) -> Vec<(usize, u32)> {
    let (metadata, list) = (metadata(file), |value: &Value| match value {
        Value::StrictArray(list) => list.iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    });
    let keyframes = metadata.get("keyframes").unwrap();
    let (at, times) = (list(keyframes.get("filepositions").unwrap()), list(keyframes.get("times").unwrap()));
    assert_eq!(at.len(), times.len());
    at.iter().zip(times).map(|(at, time)| (*at as usize, (time * 1000.0).round() as u32)).collect()
}

#[test]
fn a_file_begins_with_headers_and_a_keyframe_at_zero() {
    let mut rig = rig(SETTINGS);
    rig.delta(9_900);
    rig.sound(9_950);
    rig.play(10_000..10_200);
    let files = rig.end();
    assert_eq!(files.len(), 1);
    let story = story(&files[0]);
    assert_eq!(text(&files[0]), "mVAkspspspsps");
    let times: Vec<u32> = story.iter().map(|(_, ms)| *ms).collect();
    assert_eq!(times[..7], [0, 0, 0, 0, 20, 40, 60]);
    assert_eq!(&files[0][..5], b"FLV\x01\x05");
}

#[test]
fn the_first_sounds_of_a_stream_are_not_lost() {
    let mut rig = rig(SETTINGS);
    rig.tracks = None;
    rig.delta(1_000);
    rig.sound(1_010);
    rig.sound(1_030);
    rig.tracks = BOTH;
    rig.key(1_040);
    rig.delta(1_080);
    let file = rig.end().remove(0);
    assert_eq!(text(&file), "mVAsskp");
    assert_eq!(story(&file)[3..].iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [0, 20, 30, 70]);
}

#[test]
fn a_complete_file_has_length_size_and_index() {
    let mut rig = rig(SETTINGS);
    rig.play(5_000..8_500);
    let file = rig.end().remove(0);
    let metadata = metadata(&file);
    let number = |name: &str| metadata.get(name).and_then(Value::as_f64);
    assert_eq!((number("duration"), number("filesize")), (Some(3.5), Some(file.len() as f64)));
    assert_eq!(number("width"), Some(640.0), "what the encoder said stays");
    let index = index(&file);
    assert_eq!(index.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [0, 0, 1000, 2000, 3000]);
    for (n, (at, ms)) in index.iter().enumerate() {
        let head: [u8; 13] = file[*at..*at + 13].try_into().unwrap();
        assert_eq!((head[0], head[11..].to_vec()), (9, vec![0x17, u8::from(n > 0)]), "entry {n}");
        assert_eq!(u32::from_be_bytes([head[7], head[4], head[5], head[6]]), *ms);
    }
}

#[test]
fn a_file_that_was_not_completed_is_whole_up_to_its_last_piece() {
    let mut rig = rig(SETTINGS);
    rig.play(0..9_000);
    let Some(Step::Open(opening)) = rig.steps.first() else { panic!() };
    let (mut file, chunks) = FlvFile::begin(opening, 40);
    let mut bytes = chunks.concat();
    let mut pieces = 0;
    for step in &rig.steps {
        if let Step::Write(items) = step {
            bytes.extend(file.write(items).concat());
            pieces += 1;
            let last = story(&bytes).last().unwrap().1;
            assert!(last + 100 > pieces * 2_000, "the {pieces}th piece ends at {last} ms");
        }
    }
    assert_eq!(pieces, 4);
    assert!(metadata(&bytes).get("duration").is_none(), "a length that is not known is not told");
}

#[test]
fn segments_are_cut_at_keyframes_and_lose_nothing() {
    let mut rig = rig(Settings { segment_ms: Some(1_500), ..SETTINGS });
    rig.play(0..6_500);
    let files = rig.end();
    assert_eq!(files.len(), 4);
    let media: String = files.iter().map(|file| text(file).split_off(3)).collect();
    assert_eq!(media.len(), 2 * 163);
    for file in &files {
        let story = story(file);
        assert!(text(file).starts_with("mVAkspsp"));
        assert_eq!((story[3], story[4]), (('k', 0), ('s', 20)), "sound stays in step");
    }
    assert_eq!(story(&files[0]).last(), Some(&('s', 1980)));
}

#[test]
fn without_waiting_files_end_anywhere() {
    let mut rig = rig(Settings { segment_ms: Some(1_500), wait_key: false, ..SETTINGS });
    rig.play(0..3_200);
    let files = rig.end();
    assert_eq!(files.len(), 3);
    assert!(text(&files[1]).starts_with("mVAsps") || text(&files[1]).starts_with("mVApsp"));
}

#[test]
fn sound_that_lags_behind_moves_the_zero() {
    let mut rig = rig(Settings { segment_ms: Some(1_000), ..SETTINGS });
    for dts in (0..2_500u64).step_by(40) {
        if dts % 1000 == 0 {
            rig.key(dts)
        } else {
            rig.delta(dts)
        }
        // Sound comes 400 ms late.
        if dts >= 400 {
            rig.sound(dts - 400);
        }
    }
    let files = rig.end();
    let second = story(&files[1]);
    let (key, sound) = (second[3], second[4]);
    assert_eq!((key.0, sound.0), ('k', 's'));
    assert_eq!(key.1 - sound.1, 400);
    assert!(sound.1 < 60);
}

#[test]
fn other_headers_begin_another_file_and_the_same_ones_do_not() {
    let mut rig = rig(SETTINGS);
    rig.play(0..500);
    // Repeated, as many encoders do.
    rig.header(HeaderKey::Video(0), b"\x17\0\0\0\0one");
    rig.play(1_000..1_200);
    rig.header(HeaderKey::Video(0), b"\x17\0\0\0\0two");
    rig.delta(1_240);
    rig.sound(1_250);
    rig.play(2_000..2_200);
    let files = rig.end();
    assert_eq!(files.len(), 2);
    assert_eq!(text(&files[0]).matches('V').count(), 1);
    assert!(text(&files[1]).starts_with("mVAksp"), "{}", text(&files[1]));
    assert!(tags(&files[1])[1].payload.ends_with(b"two"));
}

#[test]
fn a_track_that_comes_later_goes_into_the_same_flv() {
    let mut late = rig(SETTINGS);
    late.set = Rc::new(
        CodecSet::default().with(HeaderKey::Video(0), &Bytes::from_static(b"\x17\0\0\0\0v")).unwrap(),
    );
    late.tracks = Some((Some(VideoCodec::Avc), None));
    late.recorder = Recorder::new(SETTINGS);
    late.key(0);
    late.delta(40);
    late.header(HeaderKey::Audio(0), b"\xaf\0\x12\x10");
    late.sound(60);
    let file = late.end().remove(0);
    assert_eq!((text(&file).as_str(), file[4]), ("mVkpAs", 5));
}

#[test]
fn an_encoder_that_comes_back_goes_on_in_its_file() {
    let mut rig = rig(SETTINGS);
    rig.play(0..500);
    rig.recorder.interrupt(rig.now, &mut rig.steps);
    assert!(matches!(rig.steps.last(), Some(Step::Write(_))), "what there is goes to the disk");
    // Its headers come one by one, and what it sends before its first keyframe cannot be decoded.
    rig.set = Rc::new(rig.set.cleared());
    rig.tracks = None;
    rig.header(HeaderKey::Video(0), b"\x17\0\0\0\0one");
    rig.delta(5_000);
    rig.header(HeaderKey::Audio(0), b"\xaf\0\x12\x10");
    rig.tracks = BOTH;
    rig.play(6_000..6_200);
    let files = rig.end();
    assert_eq!(files.len(), 1);
    let story = story(&files[0]);
    let at = story.iter().position(|(_, ms)| *ms > 500).unwrap();
    assert_eq!(story[at], ('k', 6_000));
}

#[test]
fn jumps_are_closed_as_told() {
    let run = |jitter, repaired| {
        let mut rig = rig(Settings { jitter, repaired, ..SETTINGS });
        for dts in [70_000, 70_040, 970_080, 970_120] {
            rig.key(dts);
        }
        story(&rig.end()[0])[3..].iter().map(|(_, ms)| *ms).collect::<Vec<_>>()
    };
    assert_eq!(run(Jitter::Full, false), [0, 40, 50, 90]);
    assert_eq!(run(Jitter::Zero, false), [0, 40, 900_080, 900_120]);
    assert_eq!(run(Jitter::Off, false), [70_000, 70_040, 970_080, 970_120]);
}

#[test]
fn sound_alone_and_pictures_alone_are_recorded() {
    let mut sound = rig(Settings { segment_ms: Some(1_000), ..SETTINGS });
    sound.set =
        Rc::new(CodecSet::default().with(HeaderKey::Audio(0), &Bytes::from_static(b"\xaf\0\x12")).unwrap());
    (sound.tracks, sound.recorder) = (
        Some((None, Some(AudioCodec::Aac))),
        Recorder::new(Settings { segment_ms: Some(1_000), ..SETTINGS }),
    );
    (0..100).for_each(|n| sound.sound(n * 25));
    let files = sound.end();
    assert_eq!((files.len(), files[0][4]), (3, 4));
    assert!(text(&files[1]).starts_with("mAsss"), "{}", text(&files[1]));
    let mut pictures = rig(SETTINGS);
    pictures.key(0);
    pictures.delta(40);
    assert_eq!(text(&pictures.end()[0]), "mVAkp");
}

#[test]
fn a_stream_without_any_keyframe_is_recorded_after_all() {
    let mut rig = rig(SETTINGS);
    (0..900).for_each(|n| rig.delta(n * 40));
    let files = rig.end();
    assert_eq!(text(&files[0]).len(), 3 + 900 - 750);
}

#[test]
fn after_a_fault_the_next_file_begins_at_a_keyframe() {
    let mut rig = rig(SETTINGS);
    rig.play(0..500);
    rig.steps.clear();
    rig.recorder.reset();
    rig.play(520..1_400);
    let files = rig.end();
    assert_eq!((files.len(), story(&files[0])[3]), (1, ('k', 0)));
}

#[test]
fn large_frames_go_out_at_once_and_are_not_copied() {
    let mut rig = rig(SETTINGS);
    let big = Bytes::from([b"\x17\x01\0\0\0".to_vec(), vec![7; PIECE_BYTES]].concat());
    rig.push(Kind::Video, Role::Key, 0, big.clone());
    let Some(Step::Write(items)) = rig.steps.last() else { panic!("{:?}", rig.steps.len()) };
    let Some(Step::Open(opening)) = rig.steps.first() else { panic!() };
    let (mut file, _) = FlvFile::begin(opening, 40);
    assert!(file.write(items).iter().any(|chunk| chunk.as_ptr() == big.as_ptr()));
}

#[test]
fn the_index_covers_any_length_in_bounded_room() {
    let opening = Opening { metadata: None, headers: Vec::new(), audio: false, video: true };
    let (mut file, chunks) = FlvFile::begin(&opening, MAX_ENTRIES);
    let mut bytes = chunks.concat();
    let key = Item {
        kind: Kind::Video,
        key: true,
        header: false,
        ms: 0,
        until_ms: 0,
        payload: Bytes::from_static(b"\x17\x01\0\0\0"),
    };
    for n in 0..9_000 {
        bytes.extend(file.write(&[Item { ms: n * 2_000, ..key.clone() }]).concat());
    }
    let bytes = complete(&file, bytes);
    let index = index(&bytes);
    assert!((MAX_ENTRIES / 2..=MAX_ENTRIES).contains(&index.len()), "{}", index.len());
    assert_eq!(index[0].1, 0);
    assert!(index.windows(2).all(|pair| pair[0].1 < pair[1].1) && index.last().unwrap().1 > 17_900_000);
    assert!(index.iter().all(|(at, _)| bytes[*at] == 9));
}

/// Walks through a file as the helper thread does.
fn walk(bytes: &[u8]) -> (Option<FlvFile>, usize) {
    let (mut walk, mut looks) = (Walk::new(bytes.len() as u64), 0);
    while let Some((at, len)) = walk.wants() {
        let at = bytes.len().min(at as usize);
        walk.look(&bytes[at..bytes.len().min(at + len)]);
        looks += 1;
        assert!(looks < 10_000);
    }
    (walk.done(), looks)
}

#[test]
fn a_file_cut_anywhere_can_be_completed() {
    let mut rig = rig(SETTINGS);
    rig.play(0..2_100);
    rig.recorder.finish(2_100, &mut rig.steps);
    let Some(Step::Open(opening)) = rig.steps.first() else { panic!() };
    let (mut file, chunks) = FlvFile::begin(opening, 40);
    let (mut bytes, begun) = (chunks.concat(), chunks.concat().len());
    for step in &rig.steps {
        if let Step::Write(items) = step {
            bytes.extend(file.write(items).concat());
        }
    }
    let whole = complete(&file, bytes.clone());
    for cut in (begun..=bytes.len()).step_by(7).chain([bytes.len()]) {
        let (found, _) = walk(&bytes[..cut]);
        let found = found.unwrap();
        let len = found.len() as usize;
        assert!(len <= cut && len + 40 > cut);
        let repaired = complete(&found, bytes[..len].to_vec());
        assert!(tags(&repaired).len() >= 3);
        if len == bytes.len() {
            assert!(repaired == whole, "the same file as if nothing had happened");
        }
    }
    // What a power cut leaves: blocks of zeros.
    let (found, _) = walk(&[&bytes[..], &[0; 5_000]].concat());
    assert_eq!(found.unwrap().len(), bytes.len() as u64);
    for not in [&b""[..], b"FLV", b"RIFF0000AVI ", &[0; 100]] {
        assert!(walk(not).0.is_none());
    }
}

#[test]
fn a_file_can_be_gone_on_in() {
    let mut first = rig(SETTINGS);
    first.play(0..60_000);
    let bytes = first.end().remove(0);
    let (found, looks) = walk(&bytes);
    let mut file = found.unwrap();
    assert!(looks < 100, "an index makes it short: {looks}");
    file.go_on(40);
    let mut second = rig(SETTINGS);
    second.play(0..2_000);
    second.recorder.finish(0, &mut second.steps);
    let mut both = bytes.clone();
    for step in &second.steps {
        if let Step::Write(items) = step {
            both.extend(file.write(items).concat());
        }
    }
    let both = complete(&file, both);
    let story = story(&both);
    assert!(story[3..].windows(2).all(|pair| pair[0].1 <= pair[1].1), "time goes on");
    let duration = metadata(&both).get("duration").and_then(Value::as_f64).unwrap();
    assert_eq!((text(&both).matches('k').count(), duration), (62, 61.960 + 0.040));
    assert!(index(&both).iter().all(|(at, _)| both[*at] == 9));
    // An index that lies is found out: here its last place is off by one.
    let mut lie = bytes.clone();
    let place = lie.windows(5).position(|name| name == b"times").unwrap();
    lie[place - 7] ^= 0x10;
    let (found, looks) = walk(&lie);
    assert_eq!((found.unwrap().len(), looks > 1_000), (bytes.len() as u64, true));
}

#[test]
fn metadata_says_nothing_of_the_spacer_to_the_next_file() {
    let mut rig = rig(SETTINGS);
    rig.play(0..200);
    let file = rig.end().remove(0);
    let metadata = metadata(&file);
    assert_eq!(metadata.properties().iter().filter(|(key, _)| key == SPACER).count(), 1);
}

#[test]
fn packaged_files_are_whole_and_follow_each_other() {
    let avc =
        b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
    for (name, first) in [("x.mp4", &b"ftyp"[..]), ("x.ts", b"\x40\0\x10\0")] {
        let settings = Settings { format: Format::of_path(name), segment_ms: Some(1_000), ..SETTINGS };
        let mut rig = rig(settings);
        rig.header(HeaderKey::Video(0), avc);
        for dts in (0..3_000u64).step_by(40) {
            let (role, head) = if dts % 1000 == 0 { (Role::Key, 0x17) } else { (Role::Delta, 0x27) };
            let payload = [&[head, 1, 0, 0, 0, 0, 0, 0, 3, 0x65, 1, 2][..]].concat();
            rig.push(Kind::Video, role, dts, Bytes::from(payload));
            rig.push(Kind::Audio, Role::Delta, dts + 20, Bytes::from_static(b"\xaf\x01sound"));
        }
        rig.recorder.finish(0, &mut rig.steps);
        let opens = rig.steps.iter().filter(|step| matches!(step, Step::Open(_))).count();
        assert_eq!(opens, 3, "{name}");
        let mut begins = 0;
        for pair in rig.steps.windows(2) {
            if let [Step::Open(_), Step::Write(items)] = pair {
                let bytes: Vec<u8> = items.iter().flat_map(|item| item.payload.to_vec()).collect();
                assert_eq!(&bytes[if name == "x.ts" { 1 } else { 4 }..][..4], first, "{name}");
                assert!(items.iter().all(|item| item.ms <= 1_000), "{name}: each begins at zero");
                begins += 1;
            }
        }
        assert_eq!(begins, 3);
    }
}

#[test]
fn what_a_container_cannot_carry_is_told() {
    let mut rig = rig(Settings { format: Format::of_path("x.ts"), ..SETTINGS });
    rig.tracks = Some((Some(VideoCodec::Vp6), None));
    rig.key(0);
    assert!(rig.recorder.refusal().unwrap().contains("VP6"));
    assert!(rig.steps.is_empty());
}

fn name(app: &str, stream: &str) -> StreamName {
    StreamName::new("Cams.Lan", app, stream).unwrap()
}

const WHEN: When = When { date: (2026, 7, 4, 9, 5, 3), unix_ms: 1_751_619_903_042 };

#[test]
fn names_come_from_templates() {
    let path =
        |template: &str, app: &str, stream: &str| Template::new(template).path(&name(app, stream), WHEN);
    assert_eq!(path("./rec/[app]/[stream].[timestamp].flv", "live", "x"), "./rec/live/x.1751619903042.flv");
    assert_eq!(
        path("/a/[vhost]/[2006]/[01]/[02]/[app]-[stream]-[15].[04].[05].[999].mp4", "live/room", "x"),
        "/a/cams.lan/2026/07/04/live/room-x-09.05.03.042.mp4"
    );
    assert_eq!(path("rec", "live", "x"), "rec/x.1751619903042.flv");
    assert_eq!(path("./rec/", "live", "x"), "./rec/x.1751619903042.flv");
    assert_eq!(path("[stream].ts", "live", "x"), "./x.ts");
    assert_eq!(path("rec/[what]/[stream].flv", "live", "[app]"), "rec/[what]/[app].flv");
    assert_eq!(Template::new("/a/b-[app]/x.flv").root(), "/a/");
}

#[test]
fn no_stream_leaves_the_directory_or_hides() {
    let path = |stream: &str| Template::new("r/[stream].flv").path(&name(".git", stream), WHEN);
    assert_eq!(path(".htaccess"), "r/_htaccess.flv");
    assert_eq!(path("a:b*c"), "r/a_b_c.flv");
    assert_eq!(path("x.tmp"), "r/x_tmp.flv", "it does not look unfinished");
    let (long, other) = (path(&"é".repeat(127)), path(&format!("{}f", "é".repeat(126))));
    assert!(long.len() < 230 && long != other, "{long}");
    assert_eq!(Template::new("r/[app]/x.flv").path(&name(".git/.x", "s"), WHEN), "r/_git/_x/x.flv");
    assert!(StreamName::new("", "live", "..").is_err() && StreamName::new("", "../x", "a").is_err());
}

#[test]
fn recordings_are_told_from_other_files() {
    let template = Template::new("/rec/[app]/[2006]-[01]/[stream].[timestamp].flv");
    for yes in ["live/2026-07/x.123.flv", "a/b/2026-07/x.y.1.flv", "live/2026-07/x.123-7.flv"] {
        assert!(template.is_recording(yes, "v"), "{yes}");
    }
    for no in [
        "live/2026-07/x.123.mp4",
        "live/2026-07/x.123.tmp.flv",
        "live/2026-07/x.flv",
        "live/26-07/x.1.flv",
        "2026-07/x.1.flv",
        "live/2026-07/.1.flv",
        "live/2026-07/x.1.flv.bak",
        "movie.flv",
        "",
    ] {
        assert!(!template.is_recording(no, "v"), "{no}");
    }
    assert_eq!(template.unfinished("live/2026-07/x.123.tmp.flv", "v"), Some(("live/2026-07/x.123", ".flv")));
    assert_eq!(template.unfinished("live/2026-07/x.123.flv", "v"), None);
    let own = Template::new("rec/[vhost]/[stream].mp4");
    assert!(own.is_recording("cams.lan/x.mp4", "cams.lan") && !own.is_recording("other/x.mp4", "cams.lan"));
    // Each that is made is known again.
    let template = Template::new("rec/[vhost]/[app]/[stream].[15][04][05].[999].ts");
    let made = template.path(&name("live/.a", "..x:"), WHEN);
    assert!(template.is_recording(made.strip_prefix("rec/").unwrap(), "cams.lan"), "{made}");
}
