use super::check::{Packets, Rules};
use super::*;
use crate::wire::testing::{Noise, hex};

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;

fn tables(out: &mut Vec<u8>) -> (Counter, Counter) {
    let (mut a, mut b) = (Counter::default(), Counter::default());
    pat(&mut a, out);
    let streams = [
        Elementary { kind: StreamType::Avc, pid: VIDEO },
        Elementary { kind: StreamType::AacAdts, pid: AUDIO },
    ];
    pmt(&mut b, 0, VIDEO, streams, out);
    (a, b)
}

#[test]
fn tables_byte_for_byte() {
    let mut out = Vec::new();
    tables(&mut out);
    assert_eq!(out.len(), 2 * PACKET_LEN);
    let mut first = hex("47 4000 10 00  00 b00d 0001 c1 00 00  0001 f000  2ab104b2");
    first.resize(PACKET_LEN, 0xff);
    assert_eq!(out[..PACKET_LEN], first);
    let second = hex("47 5000 10 00  02 b017 0001 c1 00 00  e100 f000  1b e100 f000  0f e101 f000");
    assert_eq!(out[PACKET_LEN..][..second.len()], second);
    assert_eq!(crc32(&out[PACKET_LEN + 5..][..26]), 0, "a section checks to zero with its checksum");
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
}

#[test]
fn a_map_with_too_many_streams_is_still_one_packet() {
    let mut out = Vec::new();
    let many = (0..200).map(|pid| Elementary { kind: StreamType::Avc, pid });
    pmt(&mut Counter::default(), 31, 0, many, &mut out);
    assert_eq!(out.len(), PACKET_LEN);
}

#[test]
fn the_head_of_a_unit_byte_for_byte() {
    let mut out = Vec::new();
    let all = Unit {
        pid: VIDEO,
        stream_id: STREAM_ID_VIDEO,
        pts: TIMESTAMP_MASK,
        dts: 1,
        pcr: Some(Pcr { base: 1 << 32, jump: true }),
        random_access: true,
        payload: &[0xaa; 155],
    };
    unit(&all, &mut Counter::default(), &mut out);
    let head = hex(
        "47 4100 30  09 d0 800000007e00 ff ff  000001e0 00a8 84 c0 0a  3f ff ff ff ff  11 00 01 00 03  aaaa",
    );
    assert_eq!(out[..head.len()], head);
    assert_eq!(out.len(), PACKET_LEN);
}

/// Every payload length around the borders of one, two and three packets, with each kind of adaptation field.
#[test]
fn every_length_comes_back() {
    for pcr in [None, Some(Pcr { base: 77, jump: false })] {
        for random_access in [false, true] {
            for len in (0..600).chain(65_500..65_560) {
                let payload = Noise(len as u32 + 1).bytes(len);
                let (mut out, mut counter) = (Vec::new(), Counter(13));
                tables(&mut out);
                let it = Unit {
                    pid: VIDEO,
                    stream_id: STREAM_ID_VIDEO,
                    pts: 1077,
                    dts: 1077 - (len as u64 % 2) * 90,
                    pcr,
                    random_access,
                    payload: &payload,
                };
                unit(&it, &mut counter, &mut out);
                let used = out.len() / PACKET_LEN - 2;
                assert_eq!(counter, Counter(((13 + used) % 16) as u8));
                let read = Packets::read(&out, Rules::default()).unwrap_or_else(|e| panic!("{len}: {e}"));
                let [pes] = &read.units[..] else { panic!("{len}: {} units", read.units.len()) };
                assert!(pes.payload == payload, "{len}");
                assert_eq!((pes.pts, pes.dts, pes.pid), (it.pts, it.dts, VIDEO));
                assert_eq!((pes.random_access, pes.pcr), (random_access, pcr.map(|p| p.base)));
                assert_eq!(pes.sized, len <= MAX_SIZED_PAYLOAD + if len % 2 == 0 { 5 } else { 0 });
            }
        }
    }
}

#[test]
fn a_clock_alone_does_not_count() {
    let mut out = Vec::new();
    tables(&mut out);
    let mut counter = Counter::default();
    let audio = |pts, payload| Unit {
        pid: VIDEO,
        stream_id: STREAM_ID_VIDEO,
        pts,
        dts: pts,
        pcr: None,
        random_access: false,
        payload,
    };
    unit(&audio(90, b"one"), &mut counter, &mut out);
    clock_only(VIDEO, Pcr { base: 90, jump: false }, counter, &mut out);
    assert_eq!(out[3 * PACKET_LEN..][..12], hex("47 0100 20 b7 10 0000002d7e00"));
    clock_only(VIDEO, Pcr { base: 100, jump: false }, counter, &mut out);
    unit(&audio(180, b"two"), &mut counter, &mut out);
    let read = Packets::read(&out, Rules::default()).unwrap();
    assert_eq!((read.units.len(), read.clocks.len()), (2, 2));
}

#[test]
fn the_reader_sees_what_is_wrong() {
    let mut good = Vec::new();
    tables(&mut good);
    let it = Unit {
        pid: VIDEO,
        stream_id: STREAM_ID_VIDEO,
        pts: 900,
        dts: 900,
        pcr: Some(Pcr { base: 900, jump: false }),
        random_access: true,
        payload: &[7; 500],
    };
    unit(&it, &mut Counter::default(), &mut good);
    assert!(Packets::read(&good, Rules::default()).is_ok());
    let bad = |change: &dyn Fn(&mut Vec<u8>), why: &str| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let error = Packets::read(&bytes, Rules::default()).expect_err(why);
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    };
    bad(&|b| b[188] = 0, "sync");
    bad(&|b| b.truncate(5 * 188 - 1), "whole");
    bad(&|b| b[4 * 188 + 3] ^= 1, "continuity");
    bad(&|b| b[12] ^= 1, "checksum");
    bad(&|b| b[187] = 0, "stuffing");
    bad(&|b| drop(b.drain(..376)), "before the tables");
    bad(&|b| b[2 * 188 + 7] ^= 1, "PCR");
    bad(&|b| b[2 * 188 + 16 - 4] = 9, "PES");
    bad(&|b| b.truncate(4 * 188), "length");
}
