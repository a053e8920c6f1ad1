//! Frames in, pieces out, and back to the frames through the reader of `wire::ts::check`.
use super::adts::AdtsPackager;
use super::mp3::Mp3Packager;
use super::ts::{AUDIO_KEY_MS, PACK_MS, PID_AUDIO, PID_VIDEO, TsPackager, VIDEO_SILENCE_MS};
use super::{Packager, Piece};
use crate::media::cursor::Filter;
use crate::media::frame::{CodecSet, Frame, HeaderKey, Kind, Role};
use crate::wire::aac::ADTS_HEAD_LEN;
use crate::wire::annexb;
use crate::wire::avtag::{self, Part};
use crate::wire::testing::{Noise, hex};
use crate::wire::ts::PACKET_LEN;
use crate::wire::ts::check::{Map, Packets, Pes, Rules};
use bytes::Bytes;
use std::rc::Rc;

const AVC_HEADER: &str =
    "17 00 000000 0142c01effe100196742c01ed900a02ff97011000003000100000300320f162e4801000568cb83cb20";
const HEVC_SETS: [&str; 3] = ["40010c01", "420101016000", "4401c172"];
const AAC_HEADER: &str = "af 00 1210";
const MP3_HEAD: &str = "fffb9064";
const TICKS: u64 = 90;

/// What an encoder would send, with its headers kept as the stream keeps them.
#[derive(Default)]
struct Source {
    codec: Rc<CodecSet>,
}

impl Source {
    fn with(headers: &[&str]) -> Source {
        let mut source = Source::default();
        headers.iter().for_each(|header| drop(source.header(0, header)));
        source
    }

    fn header(&mut self, dts: u64, text: &str) -> Frame {
        let payload = Bytes::from(hex(text));
        let video = matches!(payload[0], 0x17 | 0x1c) || matches!(&payload[1..], [b'h' | b'a', b'v', ..]);
        let (kind, key) =
            if video { (Kind::Video, HeaderKey::Video(0)) } else { (Kind::Audio, HeaderKey::Audio(0)) };
        if let Some(next) = self.codec.with(key, &payload) {
            self.codec = Rc::new(next);
        }
        Frame { kind, role: Role::Header, dts, payload, codec: self.codec.clone() }
    }

    fn frame(&self, kind: Kind, dts: u64, payload: Vec<u8>) -> Frame {
        let key = kind == Kind::Video && avtag::video(&payload).key;
        let role = if key { Role::Key } else { Role::Delta };
        Frame { kind, role, dts, payload: Bytes::from(payload), codec: self.codec.clone() }
    }

    fn video(&self, dts: u64, cts: i32, key: bool, units: &[&[u8]]) -> Frame {
        let mut payload = vec![if key { 0x17 } else { 0x27 }, 1];
        payload.extend_from_slice(&cts.to_be_bytes()[1..]);
        for unit in units {
            payload.extend_from_slice(&(unit.len() as u32).to_be_bytes());
            payload.extend_from_slice(unit);
        }
        self.frame(Kind::Video, dts, payload)
    }

    fn picture(&self, dts: u64, key: bool) -> Frame {
        self.video(dts, 0, key, &[&[if key { 0x65 } else { 0x41 }, 0x88, 0x80]])
    }

    fn aac(&self, dts: u64, data: &[u8]) -> Frame {
        self.frame(Kind::Audio, dts, [&[0xaf, 1], data].concat())
    }

    fn mp3(&self, dts: u64) -> Frame {
        self.frame(Kind::Audio, dts, [&[0x2f][..], &hex(MP3_HEAD), &[7; 400]].concat())
    }
}

fn run(packager: &mut dyn Packager, frames: &[Frame]) -> Vec<Piece> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| packager.push(frame, &mut out));
    packager.finish(&mut out);
    out
}

fn bytes(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.payload.to_vec()).collect()
}

/// Reads the pieces, and again from each one at which a reader may start.
fn read(pieces: &[Piece], rules: Rules) -> Packets {
    for (index, piece) in pieces.iter().enumerate() {
        assert!(piece.payload.len().is_multiple_of(PACKET_LEN) && !piece.payload.is_empty());
        if piece.role == Role::Key {
            let from = Packets::read(&bytes(&pieces[index..]), rules);
            from.unwrap_or_else(|why| panic!("from piece {index}: {why}"));
        }
    }
    Packets::read(&bytes(pieces), rules).unwrap()
}

fn strict() -> Rules {
    Rules { max_clock_gap: Some(100 * TICKS), tables_before_keys_of: Some(PID_VIDEO) }
}

fn sent(frames: &[Frame]) -> (Vec<Piece>, Packets) {
    let pieces = run(&mut TsPackager::default(), frames);
    let packets = read(&pieces, strict());
    (pieces, packets)
}

fn keys(pieces: &[Piece]) -> Vec<(Kind, u64)> {
    pieces.iter().filter(|p| p.role == Role::Key).map(|p| (p.kind, p.dts)).collect()
}

/// The picture's own units: without delimiters and parameter sets.
fn slices(payload: &[u8]) -> Vec<Vec<u8>> {
    let units = annexb::units(payload, 4);
    units.filter(|unit| matches!(unit[0] & 0x1f, 1..=6)).map(<[u8]>::to_vec).collect()
}

/// The raw AAC frames of some ADTS frames.
fn raw_aac(mut adts: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !adts.is_empty() {
        assert_eq!((adts[0], adts[1]), (0xff, 0xf1), "an ADTS head");
        let len = usize::from(adts[3] & 3) << 11 | usize::from(adts[4]) << 3 | usize::from(adts[5] >> 5);
        found.push(adts[ADTS_HEAD_LEN..len].to_vec());
        adts = &adts[len..];
    }
    found
}

/// 25 pictures a second, a keyframe each second, AAC of 44.1 kHz; `from` and `to` in milliseconds.
fn av(source: &Source, from: u64, to: u64) -> Vec<Frame> {
    let mut noise = Noise(from as u32 | 1);
    let mut frames: Vec<Frame> = (from..to)
        .step_by(40)
        .map(|dts| {
            let key = (dts - from).is_multiple_of(1000);
            let len = if key { 70_000 } else { 10 + noise.below(900) };
            let mut slice = vec![if key { 0x65 } else { 0x41 }];
            slice.extend(noise.bytes(len).iter().map(|byte| byte | 1));
            source.video(dts, 80, key, &[&[6, 5, 1, 0x80], &slice])
        })
        .collect();
    for n in 0.. {
        let dts = from + n * 1024 * 1000 / 44_100;
        if dts >= to {
            break;
        }
        let len = 1 + noise.below(300);
        frames.push(source.aac(dts, &noise.bytes(len)));
    }
    frames.sort_by_key(|frame| frame.dts);
    frames
}

/// Every picture and every sound of `frames` is there, in order, at its time.
fn assert_same(packets: &Packets, frames: &[Frame]) {
    let video: Vec<&Frame> =
        frames.iter().filter(|f| f.kind == Kind::Video && f.role != Role::Header).collect();
    let got = packets.of(PID_VIDEO);
    assert_eq!(got.len(), video.len());
    for (pes, frame) in got.iter().zip(video) {
        let tag = avtag::video(&frame.payload);
        let pts = frame.dts.saturating_add_signed(i64::from(tag.cts));
        assert_eq!((pes.dts, pes.pts), (frame.dts * TICKS % (1 << 33), pts * TICKS % (1 << 33)));
        assert_eq!(slices(&pes.payload), slices_of_frame(&frame.payload));
        assert_eq!(pes.random_access, tag.key);
    }
    let audio: Vec<(u64, Vec<u8>)> = frames
        .iter()
        .filter(|f| f.kind == Kind::Audio && f.role != Role::Header)
        .map(|f| (f.dts, f.payload[2..].to_vec()))
        .collect();
    let mut next = audio.iter();
    for pes in packets.of(PID_AUDIO) {
        for (index, raw) in raw_aac(&pes.payload).into_iter().enumerate() {
            let (dts, data) = next.next().expect("more sound than was sent");
            assert_eq!(&raw, data);
            assert!(index > 0 || pes.pts == dts * TICKS % (1 << 33));
        }
    }
    assert_eq!(next.next(), None, "sound is missing");
}

fn slices_of_frame(payload: &[u8]) -> Vec<Vec<u8>> {
    let tag = avtag::video(payload);
    let units = annexb::units(tag.data(payload), 4);
    units.filter(|unit| matches!(unit[0] & 0x1f, 1..=6)).map(<[u8]>::to_vec).collect()
}

#[test]
fn pictures_and_sound_come_back() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let frames = av(&source, 0, 5_000);
    let (pieces, packets) = sent(&frames);
    assert_same(&packets, &frames);
    assert_eq!(keys(&pieces), [0, 1000, 2000, 3000, 4000].map(|dts| (Kind::Video, dts)));
    let map = Map { version: 0, pcr_pid: PID_VIDEO, streams: vec![(0x1b, PID_VIDEO), (0x0f, PID_AUDIO)] };
    assert_eq!(packets.maps, vec![map; 5]);
    let key = packets.of(PID_VIDEO)[0];
    let start =
        hex("00000001 09f0 00000001 6742c01ed900a02ff97011000003000100000300320f162e48 00000001 68cb83cb20");
    assert!(key.payload.starts_with(&start));
    assert!(!key.sized && packets.of(PID_VIDEO)[1].sized);
}

#[test]
fn timestamps_wrap_after_33_bits() {
    const WRAP_MS: u64 = (1 << 33) / TICKS;
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let from = WRAP_MS - 2_500;
    let frames = av(&source, from, from + 5_000);
    let (_, packets) = sent(&frames);
    assert_same(&packets, &frames);
    assert!(packets.units.iter().any(|unit| unit.dts > 0x1_ff00_0000));
    assert!(packets.units.iter().any(|unit| unit.dts < 0x100_0000));
}

#[test]
fn sound_goes_out_before_the_next_picture_and_at_least_ten_times_a_second() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let (pieces, _) = sent(&av(&source, 0, 2_000));
    assert!(pieces.windows(2).all(|pair| pair[0].dts <= pair[1].dts), "pieces in the order of time");

    let mut packager = TsPackager::default();
    let (mut out, mut behind) = (Vec::new(), 0);
    for n in 0..200u64 {
        packager.push(&source.aac(n * 1024 * 1000 / 48_000, &[1, 2, 3]), &mut out);
        let newest = out.last().map_or(0, |piece: &Piece| piece.dts);
        behind = behind.max((n * 1024 * 1000 / 48_000).saturating_sub(newest));
    }
    assert!(behind <= 2 * PACK_MS, "{behind}");
    assert!(out.len() < 60, "frames share packets");
}

#[test]
fn a_gap_in_the_sound_is_not_closed() {
    let source = Source::with(&[AAC_HEADER]);
    let times = [0, 23, 46, 70, 93, 116, 500, 523, 546, 580];
    let (_, packets) = sent_with(&times.map(|dts| source.aac(dts, &[1])), None);
    let starts: Vec<u64> = packets.of(PID_AUDIO).iter().map(|pes| pes.pts / TICKS).collect();
    assert_eq!(starts, [0, 93, 500]);
}

/// Sound that stops while the picture goes on: silence takes its place, of AAC in its heads and of MP3, and never before the clock.
#[test]
fn silence_takes_the_place_of_sound_that_stops() {
    let aac = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let bare = Source::with(&[AVC_HEADER]);
    let mut mp3: Vec<Frame> = (0..250).map(|n| bare.picture(n * 40, n % 25 == 0)).collect();
    mp3.extend((0..382).map(|n| bare.mp3(n * 26)));
    mp3.sort_by_key(|frame| frame.dts);
    for (frames, silent) in [(av(&aac, 0, 10_000), hex("21000000001c")), (mp3, hex("fffb1000"))] {
        let holed: Vec<Frame> = frames
            .into_iter()
            .filter(|frame| frame.kind == Kind::Video || !(3000..7000).contains(&frame.dts))
            .collect();
        let (_, packets) = sent(&holed);
        let times: Vec<u64> = packets.of(PID_AUDIO).iter().map(|pes| pes.pts / TICKS).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest < 1_100, "{longest} ms: until it is known that it stops, and no more");
        let within =
            packets.of(PID_AUDIO).into_iter().filter(|pes| (4200..6900).contains(&(pes.pts / TICKS)));
        let found: Vec<bool> =
            within.map(|pes| pes.payload.windows(silent.len()).any(|part| part == silent)).collect();
        assert!(found.len() >= 25 && found.iter().all(|silent| *silent), "{found:?}");
    }
}

fn sent_with(frames: &[Frame], max_clock_gap: Option<u64>) -> (Vec<Piece>, Packets) {
    let pieces = run(&mut TsPackager::default(), frames);
    let packets = read(&pieces, Rules { max_clock_gap, ..strict() });
    (pieces, packets)
}

#[test]
fn sound_alone_can_be_joined_twice_a_second() {
    let source = Source::with(&[AAC_HEADER]);
    let frames: Vec<Frame> = (0..400).map(|n| source.aac(n * 1024 * 1000 / 44_100, &[n as u8; 90])).collect();
    let (pieces, packets) = sent(&frames);
    assert_same(&packets, &frames);
    assert_eq!((packets.maps[0].pcr_pid, packets.maps[0].streams.len()), (PID_AUDIO, 1));
    let starts = keys(&pieces);
    assert_eq!(starts[0], (Kind::Audio, 0));
    for pair in starts.windows(2) {
        let step = pair[1].1 - pair[0].1;
        assert!((AUDIO_KEY_MS..AUDIO_KEY_MS + PACK_MS).contains(&step), "{step} ms");
    }
}

#[test]
fn the_clock_goes_on_between_pictures_that_are_far_apart() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let mut frames: Vec<Frame> = (0..4).map(|n| source.picture(n * 1000, n % 2 == 0)).collect();
    frames.extend((0..172).map(|n| source.aac(n * 1024 * 1000 / 44_100, &[1, 2])));
    frames.sort_by_key(|frame| frame.dts);
    let (pieces, packets) = sent(&frames);
    assert_same(&packets, &frames);
    assert_eq!(keys(&pieces), [(Kind::Video, 0), (Kind::Video, 2000)]);
}

#[test]
fn readers_need_not_wait_for_video_that_does_not_come() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let mut frames: Vec<Frame> = (0..300).map(|n| source.aac(n * 20, &[1, 2])).collect();
    frames.push(source.picture(6_000, true));
    frames.extend((300..400).map(|n| source.aac(n * 20, &[1, 2])));
    let (pieces, _) = sent(&frames);
    let starts = keys(&pieces);
    assert!(starts[0].1 >= VIDEO_SILENCE_MS && starts[0].1 < VIDEO_SILENCE_MS + 2 * PACK_MS);
    assert_eq!(starts.last(), Some(&(Kind::Video, 6_000)));
    assert_eq!(starts.len(), 7);
}

#[test]
fn the_map_changes_its_version_with_the_tracks_and_their_configuration() {
    let mut source = Source::with(&[AVC_HEADER]);
    let mut frames = vec![source.picture(0, true), source.picture(40, false)];
    frames.push(source.header(40, AAC_HEADER));
    frames.push(source.aac(60, &[1]));
    frames.push(source.header(60, AAC_HEADER));
    frames.push(source.picture(80, true));
    frames.push(source.header(80, &AVC_HEADER.replace("42c01e", "42c01f")));
    frames.extend([source.picture(120, true), source.picture(160, false)]);
    source.codec = Rc::new(source.codec.cleared());
    frames.push(source.header(180, "af 00 1190"));
    frames.push(source.aac(200, &[1]));
    let (_, packets) = sent_with(&frames, None);
    let maps: Vec<(u8, u16, usize)> =
        packets.maps.iter().map(|map| (map.version, map.pcr_pid, map.streams.len())).collect();
    let (video, audio) = (PID_VIDEO, PID_AUDIO);
    assert_eq!(maps, [(0, video, 1), (1, video, 2), (1, video, 2), (2, video, 2), (3, audio, 1)]);
    assert_eq!(packets.of(PID_VIDEO).len(), 5);
}

#[test]
fn mp3_is_announced_by_its_first_frame() {
    let source = Source::with(&[AVC_HEADER]);
    let frames = [source.picture(0, true), source.mp3(10), source.mp3(36), source.picture(40, true)];
    let (_, packets) = sent(&frames);
    let streams = [(0x1b, PID_VIDEO), (0x03, PID_AUDIO)];
    assert_eq!((packets.maps[0].streams.len(), &packets.maps[1].streams[..]), (1, &streams[..]));
    let [sound] = packets.of(PID_AUDIO)[..] else { panic!("two frames, one packet") };
    assert_eq!((sound.pts, sound.payload.len()), (10 * TICKS, 2 * 404));

    let low = source.frame(Kind::Audio, 0, [&[0x2b][..], &hex("fff38464"), &[7; 40]].concat());
    let (_, packets) = sent(&[low]);
    assert_eq!(packets.maps[0].streams, [(0x1b, PID_VIDEO), (0x04, PID_AUDIO)]);
    let garbage = source.frame(Kind::Audio, 0, hex("2f 0102030405"));
    assert_eq!(run(&mut TsPackager::default(), &[garbage]), []);
}

#[test]
fn h265_in_its_old_and_its_new_form() {
    let mut record = "01 01 60000000 900000000000 5d f000 fc fd f8 f8 0000 0f 03".to_owned();
    for (kind, set) in [("20", HEVC_SETS[0]), ("21", HEVC_SETS[1]), ("22", HEVC_SETS[2])] {
        record += &format!("{kind} 0001 {:04x} {set}", set.len() / 2);
    }
    let start: String = HEVC_SETS.iter().map(|set| format!("00000001 {set}")).collect();
    for (header, key, inter) in [
        ("1c 00 000000", "1c 01 000000", "2c 01 000050"),
        ("90 68766331", "91 68766331 000000", "a1 68766331 000050"),
        ("90 68766331", "93 68766331", "a1 68766331 000050"),
    ] {
        let source = Source::with(&[&format!("{header} {record}")]);
        let frames = [
            source.frame(Kind::Video, 0, hex(&format!("{key} 00000003 2601aa"))),
            source.frame(Kind::Video, 40, hex(&format!("{inter} 00000003 0201bb"))),
        ];
        let (pieces, packets) = sent(&frames);
        assert_eq!(packets.maps[0].streams, [(0x24, PID_VIDEO)]);
        let [first, second] = packets.of(PID_VIDEO)[..] else { panic!("{header}") };
        assert_eq!(first.payload, hex(&format!("00000001 460150 {start} 00000001 2601aa")));
        assert_eq!(second.payload, hex("00000001 460150 00000001 0201bb"));
        assert_eq!((second.dts, second.pts), (40 * TICKS, 120 * TICKS));
        assert_eq!(keys(&pieces), [(Kind::Video, 0)]);
    }
}

#[test]
fn odd_h264_that_encoders_send() {
    let payloads = |frames: &[Frame]| -> Vec<Vec<u8>> {
        sent_with(frames, None).1.of(PID_VIDEO).iter().map(|pes: &&Pes| pes.payload.clone()).collect()
    };
    let bare = Source::default();
    let byte_stream = "17 01 000000 00000001 6701 00000001 6801 00000001 65aa";
    let frames = [bare.frame(Kind::Video, 0, hex(byte_stream)), bare.picture(40, true)];
    let start = "00000001 09f0 00000001 6701 00000001 6801 00000001";
    let expected = [hex(&format!("{start} 65aa")), hex(&format!("{start} 658880"))];
    assert_eq!(payloads(&frames), expected, "a byte stream without header, then a keyframe without sets");

    let source = Source::with(&[AVC_HEADER]);
    let empty_units = source.video(0, 0, false, &[&[], &[0x41, 1], &[]]);
    let none = source.video(40, 0, false, &[&[], &[]]);
    let cut = source.frame(Kind::Video, 80, hex("27 01 000000 00000002 4102 000000ff 41"));
    let end = source.frame(Kind::Video, 90, hex("17 02 000000"));
    let got = payloads(&[empty_units, none, cut, end]);
    assert_eq!(got, [hex("00000001 09f0 00000001 4101"), hex("00000001 09f0 00000001 4102")]);
}

#[test]
fn a_presentation_time_before_zero_is_zero_and_later_ones_may_be_before_decoding() {
    let source = Source::with(&[AVC_HEADER]);
    let frames = [0, 40, 80, 120].map(|dts| source.video(dts, -60, dts == 0, &[&[0x65, 1]]));
    let (_, packets) = sent(&frames);
    let times: Vec<u64> = packets.units.iter().map(|unit| unit.pts / TICKS).collect();
    assert_eq!(times, [0, 0, 20, 60]);
}

#[test]
fn codecs_that_cannot_be_carried_are_left_out() {
    let source = Source::with(&["90 61763031 81000c00", AAC_HEADER]);
    assert!(source.codec.get(HeaderKey::Video(0)).is_some());
    let av1 = source.frame(Kind::Video, 0, hex("91 61763031 0a0b"));
    let opus = source.frame(Kind::Audio, 0, hex("91 4f707573 0a0b"));
    let (pieces, packets) = sent(&[av1, opus, source.aac(0, &[1])]);
    assert_eq!(pieces.len(), 1);
    assert_eq!(packets.maps[0].streams, [(0x0f, PID_AUDIO)]);
}

#[test]
fn a_reader_may_ask_for_one_kind_only() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let frames = av(&source, 0, 1_000);
    for (filter, pid) in
        [(Filter { audio: true, video: false }, PID_AUDIO), (Filter { audio: false, video: true }, PID_VIDEO)]
    {
        let pieces = run(&mut TsPackager::new(filter), &frames);
        let packets = read(&pieces, strict());
        assert_eq!((packets.maps[0].streams.len(), packets.maps[0].pcr_pid), (1, pid));
        assert!(packets.units.iter().all(|unit| unit.pid == pid));
    }
}

#[test]
fn the_tables_can_be_had_alone() {
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let mut packager = TsPackager::default();
    assert!(packager.tables().is_empty());
    let mut all = bytes(&run(&mut packager, &av(&source, 0, 500)));
    let tables = packager.tables();
    assert_eq!(tables.len(), 2 * PACKET_LEN);
    all.extend(tables);
    all.extend(bytes(&run(&mut packager, &av(&source, 520, 1_000))));
    assert_eq!(Packets::read(&all, strict()).unwrap().maps.len(), 3);
}

#[test]
fn adts_sent_as_frames_is_passed_on() {
    let source = Source::default();
    let adts = hex("fff15080011ffc aa fff15080011ffc bb");
    let frames = [source.aac(0, &adts), source.aac(46, &adts), source.aac(92, &[0x21, 0x10])];
    let (_, packets) = sent(&frames);
    let got: Vec<_> = packets.units.iter().map(|unit| (unit.pts / TICKS, unit.payload.clone())).collect();
    assert_eq!(got, [(0, adts.clone()), (46, adts.clone())], "and raw frames without a header are left out");
    let pieces = run(&mut AdtsPackager::default(), &frames);
    assert_eq!(bytes(&pieces), adts.repeat(2));
}

#[test]
fn aac_as_adts() {
    let mut source = Source::with(&[AAC_HEADER, AVC_HEADER]);
    let mut frames = vec![source.picture(0, true), source.aac(0, &[1, 2, 3, 4]), source.mp3(20)];
    frames.extend([source.header(20, "af 00 2b920800"), source.aac(23, &[5; 100])]);
    let pieces = run(&mut AdtsPackager::default(), &frames);
    let expected =
        [(0, hex("fff15080017ffc 01020304")), (23, [hex("fff15c800d7ffc"), vec![5; 100]].concat())];
    let got: Vec<(u64, Vec<u8>)> = pieces.iter().map(|p| (p.dts, p.payload.to_vec())).collect();
    assert_eq!(got, expected);
    assert!(pieces.iter().all(|piece| piece.role == Role::Key && piece.kind == Kind::Audio));
    let too_long = source.aac(46, &[0; 9000]);
    assert_eq!(run(&mut AdtsPackager::default(), &[too_long]), []);
}

#[test]
fn mp3_frames_are_shared() {
    let source = Source::with(&[AVC_HEADER]);
    let frames = [source.picture(0, true), source.mp3(0), source.mp3(26), source.aac(30, &[1])];
    let pieces = run(&mut Mp3Packager::default(), &frames);
    assert_eq!(pieces.iter().map(|p| (p.role, p.dts)).collect::<Vec<_>>(), [(Role::Key, 0), (Role::Key, 26)]);
    assert_eq!(pieces[0].payload.as_ptr(), frames[1].payload[1..].as_ptr());
}

/// Time lines of any disorder, sizes around every border, tracks that come and go.
#[test]
fn whatever_the_frames_the_packets_keep_the_rules() {
    for seed in 1..50 {
        let mut noise = Noise(seed * 7919);
        let mut source = Source::with(if seed % 3 == 0 { &[] } else { &[AVC_HEADER, AAC_HEADER] });
        let (mut frames, mut dts) = (Vec::new(), u64::from(noise.next() % 5_000));
        for _ in 0..120 {
            dts = match noise.below(40) {
                0 => dts + 20_000,
                1 => dts.saturating_sub(noise.below(30_000) as u64),
                2 => dts.saturating_sub(noise.below(150) as u64),
                _ => dts + noise.below(50) as u64,
            };
            frames.push(match noise.below(12) {
                0 => source.header(dts, AVC_HEADER),
                1 => source.header(dts, if noise.below(2) == 0 { AAC_HEADER } else { "af 00 2b920800" }),
                2 => source.mp3(dts),
                3..=6 => {
                    let len = noise.below(1_000);
                    source.aac(dts, &noise.bytes(len))
                }
                _ => {
                    let key = noise.below(8) == 0;
                    let len = noise.below(if key { 20_000 } else { 800 });
                    let slice = [&[if key { 0x65 } else { 0x41 }], &noise.bytes(len)[..]].concat();
                    source.video(dts, noise.below(200) as i32 - 40, key, &[&slice])
                }
            });
            if noise.below(30) == 0 {
                source.codec = Rc::new(source.codec.cleared());
            }
        }
        let pieces = run(&mut TsPackager::default(), &frames);
        let packets = read(&pieces, Rules { max_clock_gap: None, ..strict() });
        let pictures = frames.iter().filter(|f| f.kind == Kind::Video && f.role != Role::Header).count();
        assert_eq!(packets.of(PID_VIDEO).len(), pictures, "seed {seed}");
    }
}

#[test]
fn noise_and_every_truncation_keep_the_rules_too() {
    let mut noise = Noise(8);
    let source = Source::with(&[AVC_HEADER, AAC_HEADER]);
    let seeds = [
        hex(AVC_HEADER),
        hex(AAC_HEADER),
        hex("17 01 000050 00000002 09f0 00000003 65aabb"),
        hex("91 68766331 000050 00000003 2601aa"),
        hex("a6 11 68766331 00 000004 000003 aa 01 000004 000003 bb"),
        hex("af 01 2110 0450"),
        hex("2f fffb9064 00000000"),
        hex("95 21 6d703461 01 000003 aabbcc 02 000001 bb"),
    ];
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for seed in &seeds {
        payloads.extend((0..seed.len()).map(|cut| seed[..cut].to_vec()));
        payloads.extend((0..400).map(|_| noise.mutate(seed)));
    }
    for kind in [Kind::Video, Kind::Audio, Kind::Script] {
        let mut ts = TsPackager::default();
        let (mut adts, mut mp3, mut out, mut sink) =
            (AdtsPackager::default(), Mp3Packager::default(), Vec::new(), Vec::new());
        let mut codec = source.codec.clone();
        for (index, payload) in payloads.iter().enumerate() {
            if index % 5 == 0 {
                let key = HeaderKey::Video((index % 2) as u8);
                let key = if kind == Kind::Audio { HeaderKey::Audio(0) } else { key };
                codec = codec.with(key, &Bytes::from(payload.clone())).map_or(codec, Rc::new);
            }
            let mut frame = source.frame(kind, index as u64 * 20, payload.clone());
            frame.codec = codec.clone();
            ts.push(&frame, &mut out);
            adts.push(&frame, &mut sink);
            mp3.push(&frame, &mut sink);
        }
        ts.finish(&mut out);
        Packets::read(&bytes(&out), Rules::default()).unwrap();
    }
    assert_eq!(avtag::video(&seeds[3]).part, Part::Frame);
}
