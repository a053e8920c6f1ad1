use super::config::{self, ParameterSets};
use super::fragment::{Sample, TFDT_AT, fragment, set_time, time};
use super::init::{self, Audio, Entry};
use super::read::{ReadSample, boxes, find};
use super::sample::{with_lengths, without_delimiter};
use super::{AUDIO_TRACK, VIDEO_TRACK, read};
use crate::wire::testing::{Noise, hex};
use std::borrow::Cow;

const AVC: &str =
    "01640028ffe1001b67640028acd940780227e5c044000003000400000300c83c60c65801000668ebe3cb22c0fdf8f800";
const AVC_MAIN: &str = "014d401fffe10019674d401feca02802dd80880000030008000003019078c18cb001000568ebe3cb20";
const HEVC: &str = "01222000000090000000000096f000fcfdfafa00000f03a00001001840010c01ffff22200000030090000003000003009695\
    9809a10001002b420101222000000300900000030000030096a00d880f1c9b65959a4932bc05a02000000300200000030321\
    a2000100074401c172b46240";
const AV1: &str = "81010c000a0b0000000cc4ff6736a64010";

fn units(list: &[Vec<u8>]) -> Vec<&[u8]> {
    list.iter().map(Vec::as_slice).collect()
}

#[test]
fn boxes_nest_and_their_sizes_add_up() {
    let video = config::avc(&hex(AVC)).unwrap().track;
    let audio = config::aac(&hex("1210")).unwrap().track;
    let bytes = init::segment(Some(&video), Some(&audio));
    let kinds: Vec<_> = boxes(&bytes).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [*b"ftyp", *b"moov"]);
    assert_eq!(boxes(&bytes).map(|(_, body)| body.len() + 8).sum::<usize>(), bytes.len());
    let moov = find(&bytes, &[b"moov"]).unwrap();
    let kinds: Vec<_> = boxes(moov).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [*b"mvhd", *b"trak", *b"trak", *b"mvex"]);
    let entries = find(moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsd"]).unwrap();
    let entry = find(&entries[8..], &[b"avc1"]).unwrap();
    assert_eq!(entry[24..28], [0x07, 0x80, 0x04, 0x38], "1920x1080");
    assert_eq!(find(&entry[78..], &[b"avcC"]).unwrap(), hex(AVC));
}

#[test]
fn a_segment_of_one_track_has_one_track() {
    let audio = config::mp3(&hex("fffb9064")).unwrap();
    assert_eq!((audio.track.rate, audio.track.channels, audio.codec.as_str()), (44100, 2, "mp4a.6B"));
    let bytes = init::segment(None, Some(&audio.track));
    let moov = find(&bytes, &[b"moov"]).unwrap();
    assert_eq!(boxes(moov).filter(|(kind, _)| kind == b"trak").count(), 1);
    let entries = find(moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsd"]).unwrap();
    let esds = find(&find(&entries[8..], &[b"mp4a"]).unwrap()[28..], &[b"esds"]).unwrap();
    assert_eq!(esds[..9], [0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 27]);
    assert_eq!(esds[17], 0x6b);
}

#[test]
fn a_rate_above_16_bits_is_left_to_the_configuration() {
    let track = Audio { entry: Entry::Aac(hex("1010")), channels: 2, rate: 96_000 };
    let bytes = init::segment(None, Some(&track));
    let entries = find(&bytes, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"]).unwrap();
    assert_eq!(find(&entries[8..], &[b"mp4a"]).unwrap()[24..28], [0; 4]);
}

#[test]
fn random_fragments_read_back_and_move_in_time() {
    let mut noise = Noise(4);
    for round in 0..2_000u32 {
        let data: Vec<Vec<u8>> = (0..1 + noise.below(6))
            .map(|_| {
                let len = noise.below(40);
                noise.bytes(len)
            })
            .collect();
        let track = if noise.below(2) == 0 { VIDEO_TRACK } else { AUDIO_TRACK };
        let video = track == VIDEO_TRACK;
        let samples: Vec<Sample<'_>> = data
            .iter()
            .map(|data| Sample {
                duration: noise.next() >> 8,
                cts: if video { noise.next() as i32 } else { 0 },
                sync: !video || noise.below(2) == 0,
                data,
            })
            .collect();
        let start = u64::from(noise.next()) << 20;
        let mut bytes = fragment(round, track, start, &samples);
        assert_eq!(bytes[TFDT_AT - 8..TFDT_AT], *b"tfdt\x01\0\0\0");
        for start in [start, 0] {
            set_time(&mut bytes, start);
            assert_eq!(time(&bytes), Some(start));
            let got = read::fragment(&bytes).unwrap();
            assert_eq!((got.sequence, got.track), (round, track));
            let mut dts = start;
            for (got, sent) in got.samples.iter().zip(&samples) {
                let Sample { duration, cts, sync, data } = *sent;
                assert_eq!(*got, ReadSample { dts, duration, cts, sync, data: data.to_vec() });
                dts += u64::from(duration);
            }
            assert_eq!(got.samples.len(), samples.len());
        }
        let _ = read::fragment(&noise.mutate(&bytes));
    }
}

#[test]
fn too_short_for_a_time_is_left_alone() {
    let mut bytes = [7u8; TFDT_AT + 7];
    set_time(&mut bytes, 1);
    assert_eq!((bytes, time(&bytes), read::fragment(&bytes)), ([7; TFDT_AT + 7], None, None));
}

#[test]
fn codec_strings() {
    let video = |config: Option<config::VideoConfig>| {
        let config = config.unwrap();
        (config.codec, config.track.width, config.track.height)
    };
    assert_eq!(video(config::avc(&hex(AVC))), ("avc1.640028".into(), 1920, 1080));
    assert_eq!(video(config::avc(&hex(AVC_MAIN))), ("avc1.4d401f".into(), 1280, 720));
    assert_eq!(video(config::hevc(&hex(HEVC))), ("hvc1.2.4.H150.90".into(), 426, 240));
    assert_eq!(video(config::av1(&hex(AV1))), ("av01.0.01M.08".into(), 640, 360));
    for (config, codec) in [
        ("1210", "mp4a.40.2"),
        ("2b920800", "mp4a.40.5"),
        ("139056e5a0", "mp4a.40.5"),
        ("eb8a0800", "mp4a.40.29"),
        ("0a10", "mp4a.40.1"),
        ("f8e61880", "mp4a.40.39"),
    ] {
        assert_eq!(config::aac(&hex(config)).unwrap().codec, codec, "{config}");
    }
}

#[test]
fn records_without_parameter_sets_are_not_enough() {
    assert_eq!(config::avc(&hex("0142c01effe000")), None);
    assert_eq!(config::hevc(&hex(HEVC)[..23]), None);
    assert_eq!(config::av1(&hex("81000c00")), None, "a size is needed");
}

#[test]
fn records_made_of_parameter_sets_are_those_of_the_encoder() {
    for text in [AVC, AVC_MAIN] {
        let config = crate::wire::avc::parse_config(&hex(text)).unwrap();
        let sets = ParameterSets { vps: &[], sps: &units(&config.sps), pps: &units(&config.pps) };
        assert_eq!(config::avc_record(sets).unwrap(), hex(text));
        assert_eq!(config::avc_record(ParameterSets { pps: &[], ..sets }), None);
    }
    let config = crate::wire::hevc::parse_config(&hex(HEVC)).unwrap();
    let (vps, sps, pps) = (units(&config.vps), units(&config.sps), units(&config.pps));
    let made = config::hevc_record(ParameterSets { vps: &vps, sps: &sps, pps: &pps }).unwrap();
    let mut encoder = hex(HEVC);
    encoder[21] = made[21]; // temporal layers: not told by the sets
    for array in [23, 52, 100] {
        encoder[array] &= 0x3f; // array_completeness: more sets may come
    }
    assert_eq!(made, encoder);
    assert_eq!(config::hevc(&made).unwrap().codec, "hvc1.2.4.H150.90");
}

#[test]
fn lengths_of_other_sizes_are_said_to_be_four_bytes() {
    let mut record = hex(AVC);
    record[4] = 0xfd;
    let config = config::avc(&record).unwrap();
    assert_eq!((config.nal_length_size, config.track.entry), (2, Entry::Avc(hex(AVC))));
}

#[test]
fn opus_and_flac_headers() {
    let opus = config::opus(&hex("4f70757348656164 01 02 3801 80bb0000 0000 00")).unwrap();
    assert_eq!(opus.track.entry, Entry::Opus(hex("00 02 0138 0000bb80 0000 00")));
    let surround = config::opus(&hex("01 06 3801 80bb0000 0000 01 04 02 000401020305")).unwrap();
    assert_eq!(surround.track.channels, 6);
    assert_eq!(config::opus(&hex("01 06 3801 80bb0000 0000 01 04 02 0004")), None, "a mapping cut short");
    assert_eq!(config::opus_of_packet(&[0xfc]).unwrap().track.channels, 2);
    let info = "1000 1000 000000 000000 0ac442f0 00000000 00000000000000000000000000000000";
    let flac = config::flac(&hex(&format!("664c6143 00000022 {info} 8400000400000000"))).unwrap();
    assert_eq!((flac.track.rate, flac.track.channels), (44100, 2));
    assert_eq!(flac.track.entry, Entry::Flac(hex(&format!("80000022{info}"))));
}

#[test]
fn adts_heads() {
    let frame = hex("fff15080017ffc 21222324");
    assert_eq!(config::adts(&frame), Some((7, [0x12, 0x10])));
    assert_eq!(config::adts(&frame[..10]), None, "of another length");
    assert_eq!(config::adts(&hex("2110049900")), None);
}

#[test]
fn pictures_with_lengths_of_any_size_or_start_codes() {
    let clean = hex("00000002 09f0 00000003 658880");
    assert!(matches!(with_lengths(&clean, 4), Cow::Borrowed(data) if data == clean));
    for (text, size) in [
        ("02 09f0 03 658880", 1),
        ("0002 09f0 0003 658880", 2),
        ("000002 09f0 000003 658880", 3),
        ("00000001 09f0 000001 658880", 4),
        ("000001 09f0 000000 000001 658880 0000", 4),
        ("00000002 09f0 00000000 00000003 658880", 4),
        ("00000002 09f0 00000003 658880 00000009 41", 4),
    ] {
        assert_eq!(with_lengths(&hex(text), size), clean, "{text}");
    }
    // 256 to 511 bytes behind a length look like a start code.
    let mut long = hex("00000167");
    long.extend([0x41; 0x167]);
    assert_eq!(with_lengths(&long, 4), long);
    assert_eq!(without_delimiter(&hex("12000a01")), hex("0a01"));
}

#[test]
fn noise_never_panics() {
    let mut noise = Noise(99);
    for _ in 0..10_000 {
        let seed = hex([AVC, HEVC, AV1, "1210", "fff15080017ffc21222324"][noise.below(5)]);
        let bytes = noise.mutate(&seed);
        let _ = (config::avc(&bytes), config::hevc(&bytes), config::av1(&bytes), config::aac(&bytes));
        let _ = (config::adts(&bytes), config::mp3(&bytes), config::opus(&bytes), config::flac(&bytes));
        let size = (noise.next() % 6) as u8;
        let out = with_lengths(&bytes, size).into_owned();
        assert_eq!(with_lengths(&out, 4), out, "what goes out is clean");
        let sets = [bytes.as_slice()];
        let sets = ParameterSets { vps: &sets, sps: &sets, pps: &sets };
        let _ = (config::avc_record(sets), config::hevc_record(sets));
        let _ = (read::fragment(&bytes), boxes(&bytes).count());
    }
}
