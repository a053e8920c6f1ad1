use super::*;
use crate::media::frame::{CodecSet, HeaderKey};
use crate::wire::mp4::read::{self, Fragment, find};
use crate::wire::mp4::{AUDIO_TRACK, VIDEO_TRACK};
use crate::wire::testing::{Noise, hex};
use std::rc::Rc;

const AVC_HEADER: &str =
    "1700000000 014d401fffe10019674d401feca02802dd80880000030008000003019078c18cb001000568ebe3cb20";
const OTHER_AVC_HEADER: &str =
    "1700000000 0164000dffe100196764000dacd94141fb011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
const AAC_HEADER: &str = "af00 1210";

fn set(headers: &[(HeaderKey, &str)]) -> Rc<CodecSet> {
    let add =
        |set: CodecSet, (key, text): &(HeaderKey, &str)| set.with(*key, &Bytes::from(hex(text))).unwrap();
    Rc::new(headers.iter().fold(CodecSet::default(), add))
}

fn both() -> Rc<CodecSet> {
    set(&[(HeaderKey::Video(0), AVC_HEADER), (HeaderKey::Audio(0), AAC_HEADER)])
}

fn frame(kind: Kind, role: Role, dts: u64, payload: Vec<u8>, codec: &Rc<CodecSet>) -> Frame {
    Frame { kind, role, dts, payload: Bytes::from(payload), codec: codec.clone() }
}

fn key(dts: u64, codec: &Rc<CodecSet>) -> Frame {
    frame(Kind::Video, Role::Key, dts, hex("1701000050 00000002 6588"), codec)
}

fn inter(dts: u64, codec: &Rc<CodecSet>) -> Frame {
    frame(Kind::Video, Role::Delta, dts, hex("2701ffffd8 00000002 419a"), codec)
}

fn sound(dts: u64, codec: &Rc<CodecSet>) -> Frame {
    frame(Kind::Audio, Role::Delta, dts, hex("af01 2110"), codec)
}

fn run(packager: &mut Fmp4Packager, frames: &[Frame]) -> Vec<Piece> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| packager.push(frame, &mut out));
    out
}

/// H for a header, else kind (k: key, v: video, a: audio, s: audio where a reader may start), time and samples.
fn show(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| {
        let Some(fragment) = read::fragment(&piece.payload) else {
            assert!(find(&piece.payload, &[b"moov"]).is_some() && piece.role == Role::Header);
            return String::from("H");
        };
        let kind = match (piece.role, fragment.track) {
            (Role::Key, VIDEO_TRACK) => 'k',
            (Role::Delta, VIDEO_TRACK) => 'v',
            (Role::Delta, AUDIO_TRACK) => 'a',
            // In a stream of sound.
            (Role::Key, AUDIO_TRACK) => 's',
            other => panic!("{other:?}"),
        };
        assert_eq!(fragment.samples[0].dts, piece.dts);
        format!("{kind}{}x{}", piece.dts, fragment.samples.len())
    };
    pieces.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn fragments(pieces: &[Piece]) -> Vec<Fragment> {
    pieces.iter().filter_map(|piece| read::fragment(&piece.payload)).collect()
}

#[test]
fn a_sample_goes_out_with_its_true_duration_when_the_next_has_come() {
    let c = both();
    let mut packager = Fmp4Packager::new(false, true, 0);
    let mut pieces = run(&mut packager, &[key(1000, &c), inter(1040, &c), inter(1240, &c)]);
    assert_eq!(show(&pieces), "H k1000x1 v1040x1");
    packager.finish(&mut pieces);
    assert_eq!(show(&pieces), "H k1000x1 v1040x1 v1240x1");
    let samples: Vec<_> = fragments(&pieces).into_iter().flat_map(|fragment| fragment.samples).collect();
    let told: Vec<_> = samples.iter().map(|s| (s.duration, s.cts, s.sync)).collect();
    assert_eq!(told, [(40, 80, true), (200, -40, false), (200, -40, false)]);
    assert_eq!(samples[0].data, hex("000000026588"));
}

#[test]
fn parts_hold_pictures_up_to_their_length_and_never_cross_a_keyframe() {
    let c = both();
    let mut packager = Fmp4Packager::new(false, true, 120);
    let mut frames = vec![key(0, &c)];
    frames.extend((1..8).map(|n| inter(n * 40, &c)));
    frames.push(key(320, &c));
    frames.extend((9..13).map(|n| inter(n * 40, &c)));
    assert_eq!(show(&run(&mut packager, &frames)), "H k0x3 v120x3 v240x2 k320x3");
}

#[test]
fn audio_is_gathered_and_cut_at_keyframes() {
    let c = both();
    let mut packager = Fmp4Packager::new(true, true, 0);
    let mut frames = vec![key(0, &c)];
    frames.extend((0..10).map(|n| sound(n * 23, &c)));
    frames.extend([
        inter(150, &c),
        key(210, &c),
        inter(240, &c),
        sound(230, &c),
        sound(253, &c),
        inter(280, &c),
    ]);
    let pieces = run(&mut packager, &frames);
    // Of the sounds before 210 one comes after that keyframe, since it waited for its successor: in a piece of its own.
    assert_eq!(show(&pieces), "H k0x1 a0x5 a115x4 v150x1 k210x1 a207x1 v240x1 a230x1");
}

#[test]
fn audio_alone_comes_in_tenths_of_a_second() {
    let c = set(&[(HeaderKey::Audio(0), AAC_HEADER)]);
    let mut packager = Fmp4Packager::new(true, false, 0);
    let frames: Vec<Frame> = (0..12).map(|n| sound(n * 23, &c)).collect();
    assert_eq!(show(&run(&mut packager, &frames)), "H s0x5 s115x5");
    assert_eq!(packager.mime().unwrap(), "audio/mp4; codecs=\"mp4a.40.2\"");
}

#[test]
fn nothing_goes_out_before_all_tracks_are_known_and_nothing_is_lost() {
    let mp3 = set(&[(HeaderKey::Video(0), AVC_HEADER)]);
    let mut packager = Fmp4Packager::new(true, true, 0);
    let held = run(&mut packager, &[key(0, &mp3), inter(40, &mp3), inter(80, &mp3)]);
    assert_eq!((show(&held).as_str(), packager.mime()), ("", None));
    let frame = frame(Kind::Audio, Role::Delta, 90, hex("2f fffb9064"), &mp3);
    assert_eq!(show(&run(&mut packager, &[frame])), "H k0x1 v40x1");
    assert_eq!(packager.mime().unwrap(), "video/mp4; codecs=\"avc1.4d401f,mp4a.6B\"");
}

#[test]
fn a_track_that_does_not_come_is_waited_for_and_then_added_late() {
    let video = set(&[(HeaderKey::Video(0), AVC_HEADER)]);
    let mut packager = Fmp4Packager::new(true, true, 0);
    let mut frames = vec![key(0, &video)];
    frames.extend((1..=24).map(|n| inter(n * 40, &video)));
    assert_eq!(show(&run(&mut packager, &frames)), "");
    assert!(show(&run(&mut packager, &[inter(1000, &video)])).starts_with("H k0x1 v40x1"));
    assert_eq!(packager.mime().unwrap(), "video/mp4; codecs=\"avc1.4d401f\"");
    let c = both();
    let late = [inter(1040, &c), sound(1050, &c), inter(1080, &c), sound(1073, &c), key(1120, &c)];
    assert_eq!(show(&run(&mut packager, &late)), "v1000x1 v1040x1 v1080x1 H", "not before a keyframe");
    assert_eq!(packager.mime().unwrap(), "video/mp4; codecs=\"avc1.4d401f,mp4a.40.2\"");
    let then = [
        sound(1119, &c),
        inter(1160, &c),
        sound(1142, &c),
        inter(1200, &c),
        sound(1165, &c),
        inter(1240, &c),
    ];
    assert_eq!(show(&run(&mut packager, &then)), "k1120x1 a1119x1 v1160x1 v1200x1 a1142x1");
}

/// Pictures every 40 ms and sounds every 23 ms in the order of their times, the sounds only of such times as `is_there` says
/// and `behind` ms late.
fn with_holes(end: u64, behind: u64, is_there: impl Fn(u64) -> bool) -> Vec<Frame> {
    let c = both();
    let pictures =
        (0..end / 40).map(|n| (n * 40, if n % 25 == 0 { key(n * 40, &c) } else { inter(n * 40, &c) }));
    let sounds =
        (0..end / 23).map(|n| n * 23).filter(|dts| is_there(*dts)).map(|dts| (dts + behind, sound(dts, &c)));
    let mut frames: Vec<_> = pictures.chain(sounds).collect();
    frames.sort_by_key(|(due, _)| *due);
    frames.into_iter().map(|(_, frame)| frame).collect()
}

/// The samples of sound: time and whether it is silence.
fn sounds(pieces: &[Piece]) -> Vec<(u64, bool)> {
    let samples = fragments(pieces).into_iter().filter(|f| f.track == AUDIO_TRACK).flat_map(|f| f.samples);
    samples.map(|sample| (sample.dts, sample.data != hex("2110"))).collect()
}

#[test]
fn silence_takes_the_place_of_sound_that_stops() {
    let mut packager = Fmp4Packager::new(true, true, 0);
    let mut pieces = run(&mut packager, &with_holes(10_000, 0, |dts| !(3000..7000).contains(&dts)));
    packager.finish(&mut pieces);
    let sounds = sounds(&pieces);
    let silent: Vec<u64> = sounds.iter().filter(|(_, silent)| *silent).map(|(dts, _)| *dts).collect();
    // From the last sound up to the first of the others, at AAC's 23.2 ms.
    assert!(
        (3000..3030).contains(silent.first().unwrap()) && (6950..7000).contains(silent.last().unwrap()),
        "{silent:?}"
    );
    assert!(sounds.windows(2).all(|pair| (1..50).contains(&(pair[1].0 - pair[0].0))), "no hole is left");
    assert_eq!(
        sounds.len() - silent.len(),
        (0..10_000 / 23).filter(|n| !(3000..7000).contains(&(n * 23))).count(),
        "each sound that there was is there"
    );
    // No sound is ever further behind the pictures than a browser has in its buffer.
    let (mut picture, mut sound) = (0, 0);
    for piece in pieces.iter().filter(|piece| piece.role != Role::Header) {
        let last = read::fragment(&piece.payload).unwrap().samples.last().unwrap().dts;
        *if piece.kind == Kind::Video { &mut picture } else { &mut sound } = last;
        assert!(picture < sound + silence::PATIENCE_MS + 200, "{picture} {sound}");
    }
}

/// The picture stands for five seconds while the sound goes on: for live readers it lasts from the first half second on, so that
/// no sound waits for it; in what is kept its length is exact.
#[test]
fn a_picture_that_stands_lasts_while_sound_goes_on() {
    let frames = |end: u64| {
        let mut frames = with_holes(end, 0, |_| true);
        frames.retain(|frame| frame.kind == Kind::Audio || !(2960..8000).contains(&frame.dts));
        frames
    };
    for live in [true, false] {
        let mut packager = Fmp4Packager::new(true, true, 0);
        if live {
            packager.for_live();
        }
        let (mut pieces, mut late) = (Vec::new(), 0);
        let (mut picture, mut sound) = (0, 0);
        for frame in frames(12_000) {
            let before = pieces.len();
            packager.push(&frame, &mut pieces);
            for fragment in fragments(&pieces[before..]) {
                let last = fragment.samples.last().unwrap();
                let end = last.dts + u64::from(last.duration);
                *if fragment.track == VIDEO_TRACK { &mut picture } else { &mut sound } = end;
            }
            late = late.max(sound.saturating_sub(picture));
        }
        packager.finish(&mut pieces);
        let (video, audio): (Vec<_>, Vec<_>) =
            fragments(&pieces).into_iter().partition(|fragment| fragment.track == VIDEO_TRACK);
        let pictures: Vec<_> = video.into_iter().flat_map(|fragment| fragment.samples).collect();
        let standing: Vec<_> = pictures.iter().filter(|sample| sample.duration > 100).collect();
        let (dts, duration) = (standing[0].dts, standing[0].duration);
        assert_eq!((standing.len(), dts, duration), (1, 2920, if live { 10_000 } else { 5080 }));
        assert_eq!(late > 1_000, !live, "{late} ms");
        assert_eq!(pictures.len(), frames(12_000).iter().filter(|frame| frame.kind == Kind::Video).count());
        assert!(pictures.windows(2).all(|pair| pair[0].dts < pair[1].dts));
        assert_eq!(audio.iter().map(|fragment| fragment.samples.len()).sum::<usize>(), 12_000 / 23);
    }
}

/// With B-frames the newest picture is not the last that is shown: it keeps its own length.
#[test]
fn a_b_frame_is_not_held() {
    let c = both();
    let mut packager = Fmp4Packager::new(true, true, 0);
    packager.for_live();
    // The key is shown at 80, the frame behind it at 0.
    let mut frames = vec![key(0, &c), inter(40, &c)];
    frames.extend((0..100).map(|n| sound(n * 23, &c)));
    let mut pieces = run(&mut packager, &frames);
    assert_eq!(fragments(&pieces).iter().filter(|f| f.track == VIDEO_TRACK).count(), 1);
    packager.finish(&mut pieces);
    assert!(fragments(&pieces).iter().flat_map(|f| &f.samples).all(|sample| sample.duration <= 40));
}

/// Sound that is always a second ahead, and a camera of a picture a second: no picture is taken for one that stands.
#[test]
fn skew_and_slow_cameras_are_no_standing_pictures() {
    let c = both();
    let skewed = with_holes(20_000, 0, |_| true)
        .into_iter()
        .filter(|frame| frame.kind == Kind::Audio || frame.dts >= 1000);
    let skewed = skewed.map(|frame| match frame.kind {
        Kind::Video => Frame { dts: frame.dts - 1000, ..frame },
        _ => frame,
    });
    let mut slow: Vec<_> =
        (0..20).map(|n| if n % 5 == 0 { key(n * 1000, &c) } else { inter(n * 1000, &c) }).collect();
    slow.extend((0..20_000 / 23).map(|n| sound(n * 23, &c)));
    slow.sort_by_key(|frame| frame.dts);
    for frames in [skewed.collect::<Vec<_>>(), slow] {
        let mut packager = Fmp4Packager::new(true, true, 0);
        packager.for_live();
        let pieces = run(&mut packager, &frames);
        let durations: Vec<u32> =
            fragments(&pieces).iter().flat_map(|f| f.samples.iter().map(|s| s.duration)).collect();
        // Of the first picture nobody knows when the next will come.
        assert!(durations.iter().skip(1).all(|ms| *ms <= 1000), "{durations:?}");
    }
}

/// Each codec's silence, as long as its frames are; and for MP3 and layouts of many channels as well.
#[test]
fn silence_of_every_codec_that_has_one() {
    // The header or first frame, a frame of sound, and its length in microseconds.
    let cases = [
        ("af00 1210", "af01 2110", 23_220),
        ("af00 1390", "af01 2110", 46_440), // LC of 22.05 kHz, as HE-AAC that does not say so
        ("af00 2b11 8800", "af01 2110", 42_667), // HE-AAC that says so, 24 and 48 kHz
        ("af00 eb09 8800", "af01 2110", 42_667), // the same with parametric stereo
        ("af00 11b0", "af01 2110", 21_333), // 5.1
        ("", "2f fffb9064", 26_122),        // MP3 of 44.1 kHz
        ("", "2f fff38464", 24_000),        // MP3 of 24 kHz
    ];
    for (header, body, length) in cases {
        let mut headers = vec![(HeaderKey::Video(0), AVC_HEADER)];
        headers.extend((!header.is_empty()).then_some((HeaderKey::Audio(0), header)));
        let c = set(&headers);
        let mut packager = Fmp4Packager::new(true, true, 0);
        let mut frames: Vec<Frame> =
            (0..250).map(|n| if n % 25 == 0 { key(n * 40, &c) } else { inter(n * 40, &c) }).collect();
        frames.extend([0, 23].map(|dts| frame(Kind::Audio, Role::Delta, dts, hex(body), &c)));
        frames.sort_by_key(|frame| frame.dts);
        let mut pieces = run(&mut packager, &frames);
        packager.finish(&mut pieces);
        let sounds = sounds(&pieces);
        let (first, last) = (sounds[2].0, sounds[sounds.len() - 1].0);
        let one = (last - first) * 1000 / (sounds.len() as u64 - 3);
        assert!(one.abs_diff(length) < 20 && last > 9_900, "{header} {body}: {one} us, up to {last}");
    }
}

#[test]
fn sound_that_is_late_is_not_silenced_for_good() {
    let mut packager = Fmp4Packager::new(true, true, 0);
    let mut pieces = run(&mut packager, &with_holes(20_000, 1500, |_| true));
    packager.finish(&mut pieces);
    let sounds = sounds(&pieces);
    let silent = sounds.iter().filter(|(_, silent)| *silent).count();
    assert!((1..100).contains(&silent), "{silent} of {}", sounds.len());
    assert!(sounds.iter().filter(|(dts, _)| *dts > 3500).all(|(_, silent)| !silent), "once is enough");
    let mut packager = Fmp4Packager::new(true, true, 0);
    let usual = run(&mut packager, &with_holes(20_000, 600, |_| true));
    assert!(self::sounds(&usual).iter().all(|(_, silent)| !silent), "a skew as cameras have it is none");
}

#[test]
fn codecs_that_are_not_carried_are_left_out() {
    let c = set(&[(HeaderKey::Video(0), AVC_HEADER)]);
    let mut packager = Fmp4Packager::new(true, true, 0);
    let speex = frame(Kind::Audio, Role::Delta, 0, hex("b2 00"), &c);
    assert_eq!(show(&run(&mut packager, &[key(0, &c), speex, inter(40, &c)])), "H k0x1");
    assert_eq!(packager.mime().unwrap(), "video/mp4; codecs=\"avc1.4d401f\"");
    assert_eq!(refusal(Some(VideoCodec::Avc), Some(AudioCodec::Speex)), None);
    assert_eq!(refusal(None, Some(AudioCodec::Opus)), None);
    assert!(refusal(None, Some(AudioCodec::Speex)).unwrap().contains("Speex"));
    assert!(refusal(Some(VideoCodec::Vp9), Some(AudioCodec::Aac)).unwrap().contains("VP9"));
}

#[test]
fn a_changed_header_ends_what_was_and_a_repeated_one_does_nothing() {
    let c = both();
    let next = set(&[(HeaderKey::Video(0), OTHER_AVC_HEADER), (HeaderKey::Audio(0), AAC_HEADER)]);
    let mut packager = Fmp4Packager::new(true, true, 100);
    let mut frames = vec![key(0, &c), sound(5, &c), inter(40, &c)];
    frames.push(frame(Kind::Video, Role::Header, 40, hex(AVC_HEADER), &c));
    frames.push(sound(28, &both()));
    frames.push(frame(Kind::Video, Role::Header, 40, hex(OTHER_AVC_HEADER), &next));
    frames.extend([
        inter(80, &next),
        key(120, &next),
        inter(160, &next),
        sound(51, &next),
        inter(240, &next),
    ]);
    let pieces = run(&mut packager, &frames);
    assert_eq!(show(&pieces), "H k0x2 a5x2 H k120x2");
    let before = &fragments(&pieces)[0].samples;
    assert_eq!(before[1].dts + u64::from(before[1].duration), 80, "up to the first frame of the new kind");
    assert_ne!(pieces[0].payload, pieces[3].payload);
}

#[test]
fn parameter_sets_in_the_frames_only() {
    let empty = set(&[(HeaderKey::Video(0), "1700000000 0142c01effe000")]);
    let sets = "00000019 674d401feca02802dd80880000030008000003019078c18cb0 00000005 68ebe3cb20";
    let annex_b = "00000001 674d401feca02802dd80880000030008000003019078c18cb0 000001 68ebe3cb20 000001 6588";
    for (codec, body) in [
        (&empty, format!("{sets} 000000026588")),
        (&set(&[]), format!("{sets} 000000026588")),
        (&set(&[]), annex_b.to_owned()),
    ] {
        let mut packager = Fmp4Packager::new(false, true, 0);
        let frames = [
            inter(0, codec),
            frame(Kind::Video, Role::Key, 40, hex(&format!("1701000000 {body}")), codec),
            inter(80, codec),
            frame(Kind::Video, Role::Key, 120, hex(&format!("1701000000 {body}")), codec),
            inter(160, codec),
        ];
        let pieces = run(&mut packager, &frames);
        assert_eq!(show(&pieces), "H k40x1 v80x1 k120x1", "{body}");
        assert_eq!(packager.mime().unwrap(), "video/mp4; codecs=\"avc1.4d401f\"");
        assert_eq!(fragments(&pieces)[0].samples[0].data, hex(&format!("{sets} 000000026588")));
    }
}

#[test]
fn adts_inside_is_taken_off() {
    let c = set(&[]);
    let mut packager = Fmp4Packager::new(true, false, 0);
    let frames: Vec<Frame> = (0..6)
        .map(|n| frame(Kind::Audio, Role::Delta, n * 23, hex("af01 fff15080017ffc 21222324"), &c))
        .collect();
    let pieces = run(&mut packager, &frames);
    assert_eq!(show(&pieces), "H s0x5");
    assert_eq!(fragments(&pieces)[0].samples[4].data, hex("21222324"));
}

#[test]
fn times_that_stand_still_still_grow_and_pictures_show_when_they_should() {
    let c = both();
    let mut packager = Fmp4Packager::new(false, true, 0);
    let pieces = run(&mut packager, &[key(0, &c), inter(0, &c), inter(0, &c), inter(40, &c), inter(80, &c)]);
    let samples: Vec<_> = fragments(&pieces).into_iter().flat_map(|fragment| fragment.samples).collect();
    let told: Vec<_> = samples.iter().map(|s| (s.dts, s.duration, s.cts)).collect();
    assert_eq!(told, [(0, 1, 80), (1, 1, -41), (2, 38, -42), (40, 40, -40)]);
}

/// Whatever frames come: pieces are whole, each track's times join without gap or overlap, no sample is lost or twice,
/// and a key begins with a picture that can be decoded alone.
#[test]
fn random_streams_are_gapless_and_complete() {
    let mut noise = Noise(20);
    for round in 0..400 {
        let c = both();
        let part_ms = [0, 100, 500][noise.below(3)];
        let mut packager = Fmp4Packager::new(true, true, part_ms);
        let (mut pieces, mut sent) = (Vec::new(), [0usize, 0]);
        let (mut video, mut audio) = (1000u64, 1000u64);
        let mut keyed = false;
        for n in 0..120 {
            // Neither gets far ahead of the other: sound that is missing would be filled.
            if video < audio + noise.below(900) as u64 {
                video += noise.below(90) as u64;
                let is_key = n == 0 || noise.below(12) == 0;
                keyed |= is_key;
                sent[0] += usize::from(keyed);
                let frame = if is_key { key(video, &c) } else { inter(video, &c) };
                packager.push(&frame, &mut pieces);
            } else {
                audio += noise.below(60) as u64;
                sent[1] += 1;
                packager.push(&sound(audio, &c), &mut pieces);
            }
        }
        packager.finish(&mut pieces);
        if !keyed {
            continue;
        }
        assert!(pieces[0].role == Role::Header, "round {round}");
        for (track, sent) in [(VIDEO_TRACK, sent[0]), (AUDIO_TRACK, sent[1])] {
            let samples: Vec<_> = fragments(&pieces)
                .into_iter()
                .filter(|fragment| fragment.track == track)
                .flat_map(|fragment| fragment.samples)
                .collect();
            assert_eq!(samples.len(), sent, "round {round}");
            assert!(samples.windows(2).all(|pair| pair[0].dts + u64::from(pair[0].duration) == pair[1].dts));
            assert!(samples.iter().all(|sample| sample.duration > 0));
        }
        for piece in pieces.iter().filter(|piece| piece.role == Role::Key) {
            assert!(read::fragment(&piece.payload).unwrap().samples[0].sync);
        }
        let numbers: Vec<_> = fragments(&pieces).iter().map(|fragment| fragment.sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "round {round}: {numbers:?}");
    }
}

#[test]
fn garbage_never_panics_and_what_is_held_is_bounded() {
    let mut noise = Noise(8);
    for _ in 0..300 {
        let mut packager = Fmp4Packager::new(noise.below(2) == 0, noise.below(2) == 0, 200);
        let mut out = Vec::new();
        let mut dts = 0;
        for _ in 0..60 {
            let mut headers = CodecSet::default();
            for (key, text) in [(HeaderKey::Video(0), AVC_HEADER), (HeaderKey::Audio(0), AAC_HEADER)] {
                let bytes = if noise.below(8) == 0 { noise.mutate(&hex(text)) } else { hex(text) };
                headers = headers.with(key, &Bytes::from(bytes)).unwrap();
            }
            let codec = Rc::new(headers);
            dts += noise.below(100) as u64;
            let mut frame =
                [key(dts, &codec), inter(dts, &codec), sound(dts, &codec)][noise.below(3)].clone();
            frame.payload = Bytes::from(noise.mutate(&frame.payload));
            packager.push(&frame, &mut out);
            assert!(packager.pictures.bytes() + packager.sounds.bytes() < MAX_HELD_BYTES);
            assert!(packager.pictures.span().max(packager.sounds.span()) <= START_WAIT_MS + 100);
        }
        packager.finish(&mut out);
        assert!(
            out.iter().all(|piece| piece.role == Role::Header || read::fragment(&piece.payload).is_some())
        );
    }
}
