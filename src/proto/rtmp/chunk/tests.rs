//! Golden vectors for each rule of the chunk stream, equality over every split, and random conversations
//! from a writer that uses every legal form.

use bytes::Bytes;

use super::*;
use crate::proto::rtmp::message::kind;

/// Deterministic random numbers (xorshift64*).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn message(csid: u32, kind: u8, msid: u32, timestamp: u32, payload: &[u8]) -> Message {
    Message { csid, kind, msid, timestamp, payload: Bytes::copy_from_slice(payload) }
}

/// Feeds pieces one after the other and gives the reader with everything that came out.
fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (ChunkReader, Vec<Message>, Result<(), ChunkError>) {
    let (mut reader, mut messages) = (ChunkReader::new(Limits::default()), Vec::new());
    for mut input in pieces {
        loop {
            match reader.feed(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (reader, messages, Err(error)),
            }
        }
        assert!(input.is_empty(), "None means that all was taken");
    }
    (reader, messages, Ok(()))
}

fn read(bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let (_, messages, result) = read_pieces([bytes]);
    result.map(|()| messages)
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let whole = read(bytes).expect("a legal stream");
    let (_, bytewise, result) = read_pieces(bytes.chunks(1));
    assert_eq!(result, Ok(()));
    assert_eq!(bytewise, whole, "one byte at a time");
    whole
}

/// `hex` with spaces anywhere.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

mod headers {
    use super::*;

    #[test]
    fn format_0_has_all_fields() {
        let bytes = hex("03 000102 000003 14 01020304 616263");
        assert_eq!(messages(&bytes), [message(3, 20, 0x0403_0201, 0x102, b"abc")]);
    }

    #[test]
    fn formats_1_2_3_reuse_what_they_omit() {
        let bytes =
            hex("04 0003E8 000001 08 01000000 41   44 000014 000002 09 4242   84 000028 4343   C4 4444");
        let want = [
            message(4, 8, 1, 1000, b"A"),
            message(4, 9, 1, 1020, b"BB"),
            message(4, 9, 1, 1060, b"CC"),
            message(4, 9, 1, 1100, b"DD"),
        ];
        assert_eq!(messages(&bytes), want);
    }

    #[test]
    fn format_3_after_format_0_adds_its_timestamp() {
        let bytes = hex("04 00001A 000001 08 01000000 41   C4 42   C4 43");
        let times: Vec<_> = messages(&bytes).iter().map(|m| m.timestamp).collect();
        assert_eq!(times, [26, 52, 78]);
    }

    #[test]
    fn basic_headers_of_one_two_and_three_bytes() {
        for (head, csid) in [
            ("02", 2),
            ("3F", 63),
            ("00 00", 64),
            ("00 FF", 319),
            ("01 00 00", 64),
            ("01 FF 00", 319),
            ("01 00 01", 320),
            ("01 FF FF", 65599),
        ] {
            let bytes = hex(&format!("{head} 000000 000001 08 00000000 41"));
            assert_eq!(messages(&bytes)[0].csid, csid, "{head}");
        }
    }

    #[test]
    fn short_and_long_form_are_the_same_chunk_stream() {
        let bytes = hex("00 05 00000A 000001 08 01000000 41   C1 05 00 42   C0 05 43");
        let got = messages(&bytes);
        assert_eq!(got[1..], [message(69, 8, 1, 20, b"B"), message(69, 8, 1, 30, b"C")]);
    }

    #[test]
    fn a_fresh_chunk_stream_may_begin_with_format_1() {
        let ping = hex("42 000000 000006 04 0006 00000005");
        assert_eq!(messages(&ping), [message(2, 4, 0, 0, &[0, 6, 0, 0, 0, 5])]);
    }

    #[test]
    fn a_fresh_chunk_stream_cannot_begin_with_format_2_or_3() {
        let first = "04 000000 000001 08 01000000 41";
        for (head, format) in [("85 000000", 2), ("C5", 3), ("C0 0A", 3)] {
            let error = read(&hex(&format!("{first} {head} 00000000"))).unwrap_err();
            assert!(matches!(error, ChunkError::NoHeader { format: f, .. } if f == format), "{error}");
            assert!(error.to_string().contains("desync"), "{error}");
        }
    }

    #[test]
    fn empty_messages_are_messages() {
        let bytes = hex("04 000001 000000 08 01000000   C4   C4   44 000001 000000 09");
        assert_eq!(messages(&bytes).len(), 4);
    }

    #[test]
    fn several_types_share_a_chunk_stream() {
        let bytes = hex("04 000000 000001 08 01000000 41   44 000000 000001 09 42   44 000005 000001 08 43");
        let kinds: Vec<_> = messages(&bytes).iter().map(|m| (m.kind, m.timestamp)).collect();
        assert_eq!(kinds, [(8, 0), (9, 0), (8, 5)]);
    }

    #[test]
    fn unknown_types_and_odd_places_are_read() {
        let bytes = hex("06 000000 000004 05 01000000 0026 25A0   05 000000 000001 7F FFFFFFFF 00");
        let got = messages(&bytes);
        assert_eq!((got[0].kind, got[0].csid, got[0].msid), (kind::WINDOW_ACK_SIZE, 6, 1));
        assert_eq!((got[1].kind, got[1].msid), (0x7F, u32::MAX));
    }
}

mod chunks {
    use super::*;

    /// A format 0 head on `csid` of a message of `length` bytes, with the part of it that comes along.
    fn begin(csid: u8, length: u32, part: &[u8]) -> Vec<u8> {
        let mut bytes = vec![csid, 0, 0, 0];
        bytes.extend_from_slice(&length.to_be_bytes()[1..]);
        bytes.extend_from_slice(&[9, 1, 0, 0, 0]);
        bytes.extend_from_slice(part);
        bytes
    }

    #[test]
    fn audio_within_a_video_message() {
        let mut bytes = begin(6, 300, &[1; 128]);
        bytes.extend(hex("04 000005 000002 08 01000000 4141"));
        bytes.extend([&[0xC6][..], &[1; 128]].concat());
        bytes.extend(hex("C4 4242"));
        bytes.extend([&[0xC6][..], &[1; 44]].concat());
        let got = messages(&bytes);
        let want = [message(4, 8, 1, 5, b"AA"), message(4, 8, 1, 10, b"BB"), message(6, 9, 1, 0, &[1; 300])];
        assert_eq!(got, want);
    }

    #[test]
    fn set_chunk_size_counts_from_the_next_chunk_even_within_a_message() {
        let mut bytes = begin(6, 300, &[1; 128]);
        bytes.extend(hex("02 000000 000004 01 00000000 00000064"));
        bytes.extend([&[0xC6][..], &[1; 100], &[0xC6], &[1; 72]].concat());
        let got = messages(&bytes);
        assert_eq!(got[0], message(2, 1, 0, 0, &[0, 0, 0, 100]));
        assert_eq!(got[1].payload.len(), 300);
    }

    #[test]
    fn chunk_sizes_from_1_and_clamped_at_the_top() {
        for (size, want) in
            [(1, Ok(1)), (127, Ok(127)), (0xFF_FFFF, Ok(0xFF_FFFF)), (0x7FFF_FFFF, Ok(0xFF_FFFF))]
                .into_iter()
                .chain([0, 0x8000_0000, u32::MAX].map(|size| (size, Err(ChunkError::BadChunkSize(size)))))
        {
            let mut bytes = Vec::new();
            write_message(&mut bytes, 128, 2, kind::SET_CHUNK_SIZE, 0, 0, &u32::to_be_bytes(size));
            let (reader, _, result) = read_pieces([&bytes[..]]);
            assert_eq!(result.map(|()| reader.chunk_size()), want);
        }
    }

    #[test]
    fn control_messages_work_on_any_stream_and_short_ones_are_refused() {
        let (reader, _, _) = read_pieces([&hex("06 000000 000004 01 05000000 00001000")[..]]);
        assert_eq!(reader.chunk_size(), 4096);
        for kind in [1, 2] {
            let bytes = hex(&format!("02 000000 000003 0{kind} 00000000 000000"));
            assert_eq!(read(&bytes), Err(ChunkError::ShortControl { kind }));
        }
    }

    #[test]
    fn abort_drops_the_partial_and_keeps_the_header() {
        let mut bytes = hex("06 000064 000003 09 01000000 414141   46 00000A 0000C8 09");
        bytes.extend([7; 128]);
        bytes.extend(hex("02 000000 000004 02 00000000 00000006"));
        bytes.extend([&[0xC6][..], &[8; 128], &[0xC6], &[8; 72]].concat());
        let (reader, got, result) = read_pieces([&bytes[..]]);
        assert_eq!(result, Ok(()));
        assert_eq!(got[2], message(6, 9, 1, 120, &[8; 200]));
        assert_eq!((reader.quirks().discarded, reader.held()), (1, 0));
    }

    #[test]
    fn abort_of_nothing_is_harmless() {
        let bytes = hex("02 000000 000004 02 00000000 00000063   C2 00000002");
        let (reader, got, result) = read_pieces([&bytes[..]]);
        assert_eq!((result, got.len(), reader.quirks().discarded), (Ok(()), 2, 0));
    }

    #[test]
    fn format_0_within_a_message_starts_again() {
        let mut bytes = begin(6, 300, &[1; 128]);
        bytes.extend(begin(6, 200, &[2; 128]));
        bytes.extend([&[0xC6][..], &[2; 72]].concat());
        let (reader, got, result) = read_pieces([&bytes[..]]);
        assert_eq!((result, got), (Ok(()), vec![message(6, 9, 1, 0, &[2; 200])]));
        assert_eq!(reader.quirks().discarded, 1);
    }

    #[test]
    fn formats_1_and_2_within_a_message_continue_the_same_one() {
        let mut bytes = hex("06 000064 000001 09 01000000 41   46 00000A 00012C 09");
        bytes.extend([1; 128]);
        bytes.extend(hex("46 00000A 00012C 09"));
        bytes.extend([1; 128]);
        bytes.extend(hex("86 00000A"));
        bytes.extend([1; 44]);
        let (reader, got, result) = read_pieces([&bytes[..]]);
        assert_eq!((result, &got[1]), (Ok(()), &message(6, 9, 1, 110, &[1; 300])));
        assert_eq!(reader.quirks().repeated_heads, 2);
    }

    #[test]
    fn another_length_or_type_within_a_message_is_an_error() {
        for head in ["46 000000 00012D 09", "46 000000 00012C 08"] {
            let mut bytes = begin(6, 300, &[1; 128]);
            bytes.extend(hex(head));
            assert!(matches!(read(&bytes), Err(ChunkError::HeadChanged { csid: 6, was: 300, .. })), "{head}");
        }
    }

    #[test]
    fn an_error_is_final() {
        let (mut reader, _, result) = read_pieces([&hex("C5")[..]]);
        assert!(result.is_err());
        let legal = begin(6, 1, b"x");
        assert_eq!(reader.feed(&mut &legal[..]).unwrap_err(), result.unwrap_err());
        assert_eq!(reader.heap(), 0);
    }
}

mod timestamps {
    use super::*;

    #[test]
    fn the_extension_begins_at_all_ones() {
        let without = hex("04 FFFFFE 000001 08 01000000 41");
        let with = hex("04 FFFFFF 000001 08 01000000 00FFFFFF 41");
        assert_eq!(messages(&without)[0].timestamp, 0xFF_FFFE);
        assert_eq!(messages(&with), [message(4, 8, 1, 0xFF_FFFF, b"A")]);
    }

    #[test]
    fn an_extended_difference_is_a_difference() {
        let bytes = hex("04 002AF8 000001 08 01000000 41   44 FFFFFF 000001 08 00FFFC18 42");
        assert_eq!(messages(&bytes)[1].timestamp, 16_787_216);
        let backwards = hex("04 002AF8 000001 08 01000000 41   84 FFFFFF FFFFFFF0 42");
        assert_eq!(messages(&backwards)[1].timestamp, 0x2AF8 - 16);
    }

    #[test]
    fn time_wraps_at_32_bits() {
        let bytes = hex("04 FFFFFF 000001 08 01000000 FFFFFFF0 41   84 000020 42   C4 43");
        let times: Vec<_> = messages(&bytes).iter().map(|m| m.timestamp).collect();
        assert_eq!(times, [0xFFFF_FFF0, 0x10, 0x30]);
    }

    /// One message of `payload` at an extended `time`, in chunks of `size`, as librtmp sends it.
    fn without_repeat(csid: u8, time: u32, size: usize, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![csid, 0xFF, 0xFF, 0xFF];
        bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[9, 1, 0, 0, 0]);
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&payload.chunks(size).collect::<Vec<_>>().join(&(0xC0 | csid)));
        bytes
    }

    fn set_chunk_size(size: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 2, kind::SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes());
        bytes
    }

    #[test]
    fn continuations_with_and_without_the_extension() {
        let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let want = message(6, 9, 1, 0x0102_0304, &payload);
        let mut with = Vec::new();
        for _ in 0..2 {
            write_message(&mut with, 128, 6, 9, 1, 0x0102_0304, &payload);
        }
        let without =
            [without_repeat(6, 0x0102_0304, 128, &payload), without_repeat(6, 0x0102_0304, 128, &payload)];
        for (bytes, repeats) in [(with, true), (without.concat(), false)] {
            assert_eq!(messages(&bytes), [want.clone(), want.clone()]);
            let (reader, _, _) = read_pieces([&bytes[..]]);
            assert_eq!(reader.quirks().repeats_extended, Some(repeats));
            assert_eq!(reader.quirks().extended_missing, 0);
        }
    }

    #[test]
    fn once_known_not_to_repeat_payload_may_be_equal_to_the_time() {
        let time = 0x0102_0304u32;
        let mut payload = vec![9; 128 * 4];
        payload[256..260].copy_from_slice(&time.to_be_bytes());
        payload[384..388].copy_from_slice(&time.to_be_bytes());
        let bytes = without_repeat(6, time, 128, &payload);
        assert_eq!(messages(&bytes), [message(6, 9, 1, time, &payload)]);
    }

    #[test]
    fn a_peer_that_repeats_may_send_the_time_as_payload_too() {
        let time = 0x0102_0304u32;
        let payload = time.to_be_bytes().repeat(100);
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 6, 9, 1, time, &payload);
        assert_eq!(messages(&bytes), [message(6, 9, 1, time, &payload)]);
    }

    #[test]
    fn a_repeat_missing_once_is_payload_and_counted() {
        let time = 0x0102_0304u32;
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 6, 9, 1, time, &[5; 200]);
        bytes.extend(without_repeat(6, time, 128, &[1; 200]));
        write_message(&mut bytes, 128, 6, 9, 1, time, &[7; 200]);
        assert_eq!(messages(&bytes).iter().map(|m| m.payload[199]).collect::<Vec<_>>(), [5, 1, 7]);
        let (reader, _, _) = read_pieces([&bytes[..]]);
        assert_eq!(reader.quirks().extended_missing, 1);
    }

    /// Chunks shorter than the four bytes compared: what is equal runs on into the next heads.
    #[test]
    fn heads_that_look_like_the_time_are_read_again_as_heads() {
        for time in [0x01C6_01C5u32, 0x01C6_01C6, 0x01C6_0202, 0x0101_C601, 0x0101_01C6, 0x0101_0104] {
            for size in 1..6 {
                for length in 1..12 {
                    let payload = vec![1; length];
                    let mut bytes = set_chunk_size(size as u32);
                    bytes.extend(without_repeat(6, time, size, &payload));
                    bytes.extend(without_repeat(6, time, size, &payload));
                    bytes.extend(hex("04 000005 000001 08 01000000 41"));
                    // A whole run of heads and payload may be equal to the time: nothing can tell it then.
                    let heads = 1 + 4 + 11 + 16;
                    let first =
                        bytes[heads..].iter().position(|b| *b == 0xC6).map(|at| &bytes[heads + at + 1..]);
                    if first.is_some_and(|rest| rest.starts_with(&time.to_be_bytes())) {
                        continue;
                    }
                    let want = message(6, 9, 1, time, &payload);
                    let got = messages(&bytes);
                    assert_eq!(got[1..3], [want.clone(), want], "{time:x} {size} {length}");
                    assert_eq!(got[3], message(4, 8, 1, 5, b"A"));
                }
            }
        }
    }

    #[test]
    fn a_new_message_of_format_3_has_the_extension_or_not() {
        let with = hex("04 FFFFFF 000001 08 01000000 01000000 41   C4 01000000 42   C4 01000000 43");
        let without = hex("04 FFFFFF 000001 08 01000000 01000000 41   C4 42   C4 43");
        for bytes in [with, without] {
            let got: Vec<_> = messages(&bytes).iter().map(|m| (m.timestamp, m.payload[0])).collect();
            assert_eq!(got, [(0x0100_0000, 0x41), (0x0200_0000, 0x42), (0x0300_0000, 0x43)]);
        }
    }

    #[test]
    fn a_plain_head_ends_the_extension() {
        let bytes = hex("04 FFFFFF 000001 08 01000000 01000000 41   84 000001 42   C4 43");
        assert_eq!(messages(&bytes)[2], message(4, 8, 1, 0x0100_0002, b"C"));
    }
}

mod bounds {
    use super::*;

    #[test]
    fn message_length_is_capped_and_the_error_names_it() {
        let bytes = hex("06 000000 800001 09 01000000");
        let error = read(&bytes).unwrap_err();
        assert_eq!(error, ChunkError::TooLong { csid: 6, kind: 9, length: 0x80_0001, max: 8 << 20 });
        assert!(error.to_string().contains("8388609"), "{error}");
        assert!(read(&hex("06 000000 800000 09 01000000")).is_ok());
    }

    #[test]
    fn memory_grows_with_what_came_and_not_with_what_is_announced() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 2, kind::SET_CHUNK_SIZE, 0, 0, &u32::to_be_bytes(MAX_CHUNK_SIZE));
        write_message(&mut bytes, MAX_CHUNK_SIZE, 6, 9, 1, 0, &vec![1; 8 << 20]);
        for (fed, most) in [(29, 64 << 10), (70_000, 128 << 10), (1 << 20, 2 << 20)] {
            let (reader, _, _) = read_pieces([&bytes[..fed]]);
            assert!(reader.held() <= most, "{} bytes held after {fed}", reader.held());
        }
        let (reader, got, _) = read_pieces(bytes.chunks(4096));
        assert_eq!((got[1].payload.len(), reader.held()), (8 << 20, 0));
        assert!(reader.heap() < 200);
    }

    #[test]
    fn all_partials_of_a_connection_are_bounded_together() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 2, kind::SET_CHUNK_SIZE, 0, 0, &u32::to_be_bytes(4 << 20));
        for csid in 3..40 {
            let mut one = Vec::new();
            write_message(&mut one, 4 << 20, csid, 9, 1, 0, &vec![0; (4 << 20) + 1]);
            bytes.extend_from_slice(&one[..one.len() - 2]);
        }
        let max = (8 << 20) + reader::HELD_SLACK;
        assert_eq!(read(&bytes), Err(ChunkError::TooMuchHeld { max }));
    }

    #[test]
    fn chunk_streams_are_bounded() {
        let heads: Vec<u8> = (0..64u8).flat_map(|n| [0, n, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0]).collect();
        assert_eq!(read(&heads).unwrap().len(), 64);
        let more = [&heads[..], &hex("03 000000 000000 08 00000000")].concat();
        assert_eq!(read(&more), Err(ChunkError::TooManyStreams { csid: 3, max: 64 }));
    }

    #[test]
    fn an_idle_reader_is_small() {
        assert!(size_of::<ChunkReader>() <= 144, "{} bytes", size_of::<ChunkReader>());
        assert_eq!(ChunkReader::new(Limits::default()).heap(), 0);
        // What a player sends before it plays: commands on 3, control on 2.
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 3, 20, 0, 0, &[0; 300]);
        write_message(&mut bytes, 128, 2, 5, 0, 0, &[0; 4]);
        let (reader, _, _) = read_pieces([&bytes[..]]);
        assert!(reader.heap() <= 2 * 64, "{} bytes on the heap", reader.heap());
    }
}

/// A conversation with most forms in it: what is cut at every place below.
fn conversation() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ChunkWriter::new();
    let payload: Vec<u8> = (0..=255).collect();
    writer.write(&mut out, 3, kind::COMMAND_AMF0, 0, 0, &payload);
    writer.write(&mut out, 2, kind::SET_CHUNK_SIZE, 0, 0, &40u32.to_be_bytes());
    writer.set_chunk_size(40);
    for n in 0..6 {
        writer.write(&mut out, 6, kind::VIDEO, 1, 16_777_100 + n * 40, &payload[..100 + (n / 4) as usize]);
        writer.write(&mut out, 70, kind::AUDIO, 1, 16_777_100 + n * 23, &payload[..9]);
        writer.write(&mut out, 400, kind::AUDIO, 1, n, &payload[..n as usize]);
    }
    out.extend(hex("04 000000 000032 09 01000000"));
    out.extend([3; 40]);
    out.extend(hex("02 000000 000004 02 00000000 00000004  42 000000 000006 04 0006 00000005"));
    out.extend(hex("C4"));
    out.extend([4; 40]);
    out.extend(hex("C4"));
    out.extend([5; 10]);
    out
}

#[test]
fn every_split_gives_the_same_messages() {
    let bytes = conversation();
    let whole = read(&bytes).expect("legal");
    assert_eq!(whole.len(), 23);
    assert_eq!(messages(&bytes), whole);
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(read_pieces([first, second]).1, whole, "cut at {cut}");
    }
    let mut rng = Rng(1);
    for _ in 0..300 {
        let longest = rng.pick(&[2, 5, 20, 200]);
        let (mut rest, mut pieces) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rng.below(longest).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        assert_eq!(read_pieces(pieces).1, whole);
    }
}

mod writers {
    use super::*;

    #[test]
    fn a_message_has_a_full_head_and_continuations_of_one_byte() {
        let mut out = Vec::new();
        assert!(write_message(&mut out, 2, 5, 18, 1, 0x010203, b"abcde"));
        assert_eq!(out, hex("05 010203 000005 12 01000000 6162 C5 6364 C5 65"));
    }

    #[test]
    fn the_extended_time_is_repeated() {
        let mut out = Vec::new();
        assert!(write_message(&mut out, 2, 5, 18, 1, 0xFF_FFFF, b"abc"));
        assert_eq!(out, hex("05 FFFFFF 000003 12 01000000 00FFFFFF 6162 C5 00FFFFFF 63"));
    }

    #[test]
    fn heads_alone_are_those_of_a_whole_message() {
        let payload = [7; 1000];
        for time in [0, 0xFF_FFFE, 0xFF_FFFF, u32::MAX] {
            let mut whole = Vec::new();
            write_message(&mut whole, 300, 6, 9, 1, time, &payload);
            let mut buf = [0; HEAD_MAX];
            let length = message_head(&mut buf, 6, 9, 1, time, 1000);
            assert_eq!(length, if time < 0xFF_FFFF { 12 } else { 16 });
            let (next, next_length) = continuation_head(6, time);
            let mut made = buf[..length].to_vec();
            made.extend(payload.chunks(300).collect::<Vec<_>>().join(&next[..next_length]));
            assert_eq!(made, whole);
        }
    }

    #[test]
    fn every_chunk_stream_id_can_be_written_and_no_other() {
        for csid in [2, 3, 63, 64, 65, 319, 320, 321, 65598, 65599] {
            let mut out = Vec::new();
            assert!(write_message(&mut out, 128, csid, 9, 1, 5, &[1; 300]));
            assert_eq!(messages(&out), [message(csid, 9, 1, 5, &[1; 300])]);
        }
        let mut out = Vec::new();
        for csid in [0, 1, 65600, u32::MAX] {
            assert!(!write_message(&mut out, 128, csid, 9, 1, 5, b"abc"));
        }
        assert!(!write_message(&mut out, 128, 6, 9, 1, 5, &vec![0; writer::MAX_LENGTH + 1]));
        assert!(out.is_empty());
    }

    #[test]
    fn the_compressing_writer_uses_the_shortest_sure_form() {
        let mut writer = ChunkWriter::new();
        let mut formats = |timestamp, payload: &[u8], msid| {
            let mut out = Vec::new();
            writer.write(&mut out, 4, 8, msid, timestamp, payload);
            out[0] >> 6
        };
        assert_eq!(formats(20, b"a", 1), 0);
        assert_eq!(formats(40, b"b", 1), 2, "not 3 straight after 0");
        assert_eq!(formats(60, b"c", 1), 3);
        assert_eq!(formats(80, b"dd", 1), 1);
        assert_eq!(formats(100, b"ee", 1), 3);
        assert_eq!(formats(101, b"ff", 1), 2);
        assert_eq!(formats(101, b"ff", 2), 0, "another message stream");
        assert_eq!(formats(50, b"gg", 2), 0, "time goes back");
        assert_eq!(formats(50 + 0xFF_FFFF, b"hh", 2), 0, "a difference that needs the extension");
    }

    #[test]
    fn what_the_compressing_writer_sends_is_read_back() {
        let mut rng = Rng(7);
        for _ in 0..300 {
            let (mut writer, mut out, mut want) = (ChunkWriter::new(), Vec::new(), Vec::new());
            let mut time = rng.pick(&[0, 1000, 0xFF_FF00, 0xFFFF_FF00]);
            for _ in 0..60 {
                if rng.one_in(10) {
                    let size = 1 + rng.below(300) as u32;
                    writer.write(&mut out, 2, kind::SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes());
                    want.push(message(2, kind::SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes()));
                    writer.set_chunk_size(size);
                }
                time = rng.pick::<u32>(&[time, time.wrapping_add(20), time.wrapping_add(40), time ^ 0x100]);
                let csid = 3 + rng.below(20) as u32;
                let payload = vec![rng.next() as u8; rng.pick(&[0, 10, 10, 200, 700])];
                let kind = rng.pick(&[8, 9, 18]);
                writer.write(&mut out, csid, kind, 1, time, &payload);
                want.push(message(csid, kind, 1, time, &payload));
            }
            assert_eq!(read(&out).expect("legal"), want);
        }
    }
}

/// Random conversations in every legal form.
mod random {
    use super::*;

    /// What a reader knows of a chunk stream, so that the writer can choose among all legal heads.
    #[derive(Clone, Default)]
    struct Known {
        head: Option<Message>,
        delta: u32,
        extended: Option<u32>,
        /// A message under way, and how much of it is written.
        open: Option<(Message, usize)>,
    }

    struct Peer {
        rng: Rng,
        repeats: bool,
        chunk_size: usize,
        csids: Vec<u32>,
        known: Vec<Known>,
        out: Vec<u8>,
        want: Vec<Message>,
        discarded: u32,
    }

    impl Peer {
        fn new(seed: u64) -> Self {
            let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9).wrapping_add(1));
            let csids: Vec<u32> = vec![3, 4, 63, 64, 100, 319, 320, 65599];
            let known = vec![Known::default(); csids.len()];
            let repeats = rng.one_in(2);
            Self { rng, repeats, chunk_size: 128, csids, known, out: vec![], want: vec![], discarded: 0 }
        }

        fn basic(&mut self, format: u8, csid: u32) {
            let [low, high] = (csid.saturating_sub(64) as u16).to_le_bytes();
            let format = format << 6;
            match csid {
                0..64 => self.out.push(format | csid as u8),
                64..320 if self.rng.one_in(2) => self.out.extend([format, low]),
                _ => self.out.extend([format | 1, low, high]),
            }
        }

        fn head(&mut self, at: usize, format: u8, time: u32, message: &Message) {
            self.basic(format, self.csids[at]);
            if format == 3 {
                if let Some(value) = self.known[at].extended.filter(|_| self.repeats) {
                    self.out.extend(value.to_be_bytes());
                }
                return;
            }
            self.out.extend(&time.min(EXTENDED).to_be_bytes()[1..]);
            if format < 2 {
                self.out.extend(&(message.payload.len() as u32).to_be_bytes()[1..]);
                self.out.push(message.kind);
            }
            if format < 1 {
                self.out.extend(message.msid.to_le_bytes());
            }
            self.known[at].extended = (time >= EXTENDED).then_some(time);
            self.known[at].delta = time;
            if time >= EXTENDED {
                self.out.extend(time.to_be_bytes());
            }
        }

        fn new_message(&mut self, at: usize) -> Message {
            let last = self.known[at].head.clone();
            let mut new = last.unwrap_or(message(self.csids[at], 8, 0, 0, b""));
            let delta = self.known[at].delta;
            new.timestamp = match self.rng.below(8) {
                0 => self.rng.next() as u32,
                1 => new.timestamp.wrapping_sub(5),
                2 => new.timestamp.wrapping_add(0xFF_FFFF),
                3 => 0xFF_FFFE + self.rng.below(3) as u32,
                _ => new.timestamp.wrapping_add(self.rng.pick(&[delta, delta, 20, 0])),
            };
            let length = if self.rng.one_in(2) { new.payload.len() } else { self.rng.below(600) };
            new.payload = self.rng.bytes(length).into();
            new.kind = if self.rng.one_in(3) { self.rng.pick(&[4, 8, 9, 15, 18, 20, 22]) } else { new.kind };
            new.msid = if self.rng.one_in(6) { self.rng.next() as u32 } else { new.msid };
            new
        }

        fn begin(&mut self, at: usize) {
            let (new, known) = (self.new_message(at), self.known[at].clone());
            let fresh = message(self.csids[at], 0, 0, 0, b"");
            let last = known.head.clone().unwrap_or(fresh);
            let delta = new.timestamp.wrapping_sub(last.timestamp);
            let mut legal = vec![0];
            if new.msid == last.msid {
                legal.push(1);
                if known.head.is_some() && (new.kind, new.payload.len()) == (last.kind, last.payload.len()) {
                    legal.push(2);
                    if delta == known.delta {
                        legal.extend([3, 3, 3]);
                    }
                }
            }
            let format = self.rng.pick(&legal);
            self.head(at, format, if format == 0 { new.timestamp } else { delta }, &new);
            self.known[at].head = Some(new.clone());
            self.payload(at, new, 0);
        }

        fn payload(&mut self, at: usize, message: Message, done: usize) {
            let end = (done + self.chunk_size).min(message.payload.len());
            self.out.extend(&message.payload[done..end]);
            if end < message.payload.len() {
                self.known[at].open = Some((message, end));
            } else {
                self.known[at].open = None;
                self.want.push(message);
            }
        }

        fn go_on(&mut self, at: usize, message: Message, done: usize) {
            match self.rng.below(40) {
                0 => {
                    self.known[at].open = None;
                    self.discarded += 1;
                    let again = self.new_message(at);
                    self.head(at, 0, again.timestamp, &again);
                    self.known[at].head = Some(again.clone());
                    self.payload(at, again, 0);
                }
                1 => {
                    let format = self.rng.pick(&[1, 2]);
                    self.head(at, format, self.known[at].delta, &message);
                    self.payload(at, message, done);
                }
                _ => {
                    self.head(at, 3, 0, &message);
                    self.payload(at, message, done);
                }
            }
        }

        fn control(&mut self, kind: u8, value: u32) {
            self.basic(0, 2);
            self.out.extend([0, 0, 0, 0, 0, 4, kind, 0, 0, 0, 0]);
            for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
                if index > 0 && index % self.chunk_size == 0 {
                    self.basic(3, 2);
                }
                self.out.push(byte);
            }
            self.want.push(message(2, kind, 0, 0, &value.to_be_bytes()));
        }

        fn talk(&mut self, turns: usize) {
            for _ in 0..turns {
                let at = self.rng.below(self.csids.len());
                match self.rng.below(60) {
                    0 => {
                        let size = self.rng.pick(&[1, 2, 3, 4, 5, 60, 128, 4096]);
                        self.control(kind::SET_CHUNK_SIZE, size);
                        self.chunk_size = size as usize;
                    }
                    1 => {
                        self.control(kind::ABORT, self.csids[at]);
                        self.discarded += u32::from(self.known[at].open.take().is_some());
                    }
                    _ => match self.known[at].open.clone() {
                        Some((message, done)) => self.go_on(at, message, done),
                        None => self.begin(at),
                    },
                }
            }
        }
    }

    #[test]
    fn interleaved_messages_in_every_legal_form_are_read_back() {
        let (mut total, mut repeating) = (0, 0);
        for seed in 0..400 {
            let mut peer = Peer::new(seed);
            peer.talk(400);
            let (reader, got, result) = read_pieces([&peer.out[..]]);
            assert_eq!(result, Ok(()), "seed {seed}");
            assert!(got == peer.want, "seed {seed}");
            let quirks = reader.quirks();
            assert_eq!(quirks.discarded, peer.discarded, "seed {seed}");
            assert_eq!(quirks.extended_missing, 0, "seed {seed}");
            assert!(quirks.repeats_extended.is_none_or(|repeats| repeats == peer.repeats), "seed {seed}");
            let open: usize = peer.known.iter().flat_map(|k| &k.open).map(|(m, _)| m.payload.len()).sum();
            assert!(reader.held() <= open, "seed {seed}");
            let longest = 1 + peer.rng.below(50);
            let (_, split, _) = read_pieces(peer.out.chunks(longest));
            assert!(split == got, "seed {seed} in pieces of {longest}");
            total += got.len();
            repeating += u32::from(quirks.repeats_extended == Some(true));
        }
        assert!(total > 30_000 && repeating > 100, "{total} messages, {repeating} peers that repeat");
    }

    fn survives(bytes: &[u8], limits: Limits) -> usize {
        let (mut reader, mut most) = (ChunkReader::new(limits), 0);
        let mut input = bytes;
        loop {
            let result = reader.feed(&mut input);
            let headers = usize::from(limits.max_csids) * 64;
            let bound = limits.max_message as usize + reader::HELD_SLACK + headers;
            assert!(reader.heap() <= bound, "{} bytes of heap", reader.heap());
            assert!(reader.held() <= reader.heap());
            most = most.max(reader.held());
            match result {
                Ok(Some(message)) => assert!(message.payload.len() <= limits.max_message as usize),
                Ok(None) => return most,
                Err(error) => {
                    assert_ne!(error, ChunkError::Internal);
                    return most;
                }
            }
        }
    }

    #[test]
    fn garbage_does_no_harm() {
        let mut rng = Rng(99);
        for n in 0..100_000 {
            let length = rng.below(200);
            let mut bytes = rng.bytes(length);
            if n % 2 == 0 {
                bytes.iter_mut().for_each(|b| *b = [*b, 0, 0, 0, 1, 2, 4, 0xC4, 0xFF][usize::from(*b) % 9]);
            }
            survives(&bytes, Limits::default());
        }
    }

    #[test]
    fn damaged_conversations_do_no_harm() {
        let limits = Limits { max_message: 2000, max_csids: 10 };
        for seed in 0..1500 {
            let mut peer = Peer::new(seed);
            peer.talk(60);
            for _ in 0..1 + peer.rng.below(4) {
                let at = peer.rng.below(peer.out.len());
                match peer.rng.below(3) {
                    0 => peer.out[at] ^= 1 << peer.rng.below(8),
                    1 => drop(peer.out.remove(at)),
                    _ => peer.out.insert(at, peer.rng.next() as u8),
                }
            }
            survives(&peer.out, limits);
        }
    }
}
