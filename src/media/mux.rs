//! Framing at the moment of writing: how one message looks on the wire of each kind of viewer.
//!
//! Nothing framed is stored. The head of a message is a pure function of the frame, the viewer's time base and
//! the format, so after a partial write it is made again and the bytes already sent are left out. Payloads are
//! never copied: the slices point into the feed.
//!
//! ```text
//! FLV         head 11 │ payload │ size 4                                    FLV 10.1, annex E
//! raw         payload                                                       TS, ADTS, MP3
//! fragments   payload, its base media decode time made the viewer's own     ISO 14496-12, 8.8.12
//!   plain     as it is
//!   chunk     hex CRLF │ … │ CRLF                                           RFC 9112, 7.1
//!   WebSocket 0x82 length │ …                                               RFC 6455, 5.2
//! RTMP        head 12/16 │ payload[..n] │ head 1/5 │ payload[n..2n] │ …       RTMP 1.0, 5.3.1
//! ```

use super::frame::{Frame, Kind};
use crate::wire::flv::{self, TAG_HEAD_LEN, TAG_TAIL_LEN};
use crate::wire::mp4::fragment::TFDT_AT;
use std::io::IoSlice;

/// What an HTTP body consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// FLV tags made of the stream's frames.
    Flv,
    /// Pieces of a derived stream as they are.
    Raw,
    /// Movie fragments of one track each.
    Fragments,
}

/// How an HTTP body is cut into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrap {
    /// Not at all (HTTP/1.0, `Connection: close`).
    Plain,
    /// Each message is an HTTP chunk.
    Chunk,
    /// Each message is a binary WebSocket message.
    WebSocket,
}

/// How a viewer's connection frames messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An HTTP response or a WebSocket.
    Http(Body, Wrap),
    /// RTMP messages in chunks of at most `chunk_size` bytes on message stream `msid`.
    Rtmp {
        /// Payload bytes in one chunk (1 to 16,777,215).
        chunk_size: u32,
        /// Message stream that the peer plays on, or that we publish on.
        msid: u32,
        /// We publish: metadata has the word in front that has a server keep it.
        publish: bool,
    },
}

/// One message as a viewer gets it: the timestamp is already the viewer's own.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// Audio, video or script.
    pub kind: Kind,
    /// Milliseconds since the viewer's start.
    pub timestamp: u64,
    /// The message body.
    pub payload: &'a [u8],
}

impl<'a> Unit<'a> {
    /// A frame at the viewer's time `timestamp`.
    pub fn of(frame: &'a Frame, timestamp: u64) -> Unit<'a> {
        Unit { kind: frame.kind, timestamp, payload: &frame.payload }
    }
}

/// The word before the metadata of a publisher, and how metadata begins.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
const METADATA: &[u8] = b"\x02\x00\x0aonMetaData";
/// Bytes in a chunk at least where we publish: that word is never cut.
pub const MIN_PUBLISH_CHUNK: u32 = 128;

/// From this timestamp on, RTMP heads carry the extended timestamp.
const EXTENDED: u32 = 0xff_ffff;
const TAG_FRAME: usize = TAG_HEAD_LEN + TAG_TAIL_LEN;
const TFDT_LEN: usize = 8;

/// A few bytes made on the spot.
#[derive(Debug, Clone, Copy)]
struct Small {
    bytes: [u8; 32],
    len: usize,
}

impl Small {
    fn new() -> Small {
        Small { bytes: [0; 32], len: 0 }
    }

    fn put(mut self, bytes: &[u8]) -> Small {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
        self
    }

    fn put_u24(self, value: u32) -> Small {
        let [_, a, b, c] = value.to_be_bytes();
        self.put(&[a, b, c])
    }

    fn hex_line(mut self, value: usize) -> Small {
        for place in (0..hex_digits(value)).rev() {
            let digit = (value >> (4 * place)) & 0xf;
            let ascii = if digit < 10 { b'0' + digit as u8 } else { b'a' + (digit as u8 - 10) };
            self = self.put(&[ascii]);
        }
        self.put(b"\r\n")
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn hex_digits(value: usize) -> usize {
    (usize::BITS - value.leading_zeros()).div_ceil(4).max(1) as usize
}

impl Wrap {
    /// What stands before a message of `len` bytes.
    fn prefix(self, len: usize) -> Small {
        match self {
            Wrap::Plain => Small::new(),
            Wrap::Chunk => Small::new().hex_line(len),
            Wrap::WebSocket => {
                let head = Small::new().put(&[0x82]);
                match (u8::try_from(len), u16::try_from(len)) {
                    (Ok(short @ ..=125), _) => head.put(&[short]),
                    (_, Ok(middle)) => head.put(&[126]).put(&middle.to_be_bytes()),
                    _ => head.put(&[127]).put(&(len as u64).to_be_bytes()),
                }
            }
        }
    }

    fn prefix_len(self, len: usize) -> usize {
        match self {
            Wrap::Plain => 0,
            Wrap::Chunk => hex_digits(len) + 2,
            Wrap::WebSocket if len <= 125 => 2,
            Wrap::WebSocket if len <= 0xffff => 4,
            Wrap::WebSocket => 10,
        }
    }

    /// What stands after a message.
    fn suffix(self) -> &'static [u8] {
        match self {
            Wrap::Chunk => b"\r\n",
            Wrap::Plain | Wrap::WebSocket => b"",
        }
    }

    /// Appends bytes of our own, such as the FLV header, as one message.
    pub fn write(self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix(bytes.len()).as_slice());
        out.extend_from_slice(bytes);
        out.extend_from_slice(self.suffix());
    }
}

impl Body {
    /// Length of a message before it is wrapped.
    fn len(self, unit: &Unit) -> usize {
        match self {
            Body::Flv => TAG_FRAME + unit.payload.len(),
            Body::Raw | Body::Fragments => unit.payload.len(),
        }
    }

    /// Whether the message is a fragment whose time is to be set; headers have none.
    fn has_time(self, unit: &Unit) -> bool {
        self == Body::Fragments && unit.kind != Kind::Script && unit.payload.len() >= TFDT_AT + TFDT_LEN
    }
}

impl Format {
    /// Timestamp as RTMP says it (it wraps at 2^32 ms). FLV readers take the 32 bits as signed, so there the viewer's time
    /// line starts again after 2^31 ms (24.8 days).
    fn clip(self, timestamp: u64) -> u32 {
        match self {
            Format::Http(..) => (timestamp & 0x7fff_ffff) as u32,
            Format::Rtmp { .. } => (timestamp & 0xffff_ffff) as u32,
        }
    }

    /// Bytes that the message takes on the wire.
    pub fn wire_len(self, unit: &Unit) -> usize {
        match self {
            Format::Http(body, wrap) => {
                let len = body.len(unit);
                wrap.prefix_len(len) + len + wrap.suffix().len()
            }
            Format::Rtmp { chunk_size, .. } => {
                let len = unit.payload.len() + self.word(unit).len();
                let ext = self.extended(unit);
                let more = len.saturating_sub(1) / (chunk_size.max(1) as usize);
                12 + ext + len + more * (1 + ext)
            }
        }
    }

    /// What stands before the payload, as part of the message.
    fn word(self, unit: &Unit) -> &'static [u8] {
        match self {
            Format::Rtmp { publish: true, .. }
                if unit.kind == Kind::Script && unit.payload.starts_with(METADATA) =>
            {
                SET_DATA_FRAME
            }
            _ => &[],
        }
    }

    /// Whether heads with this timestamp carry RTMP's extended timestamp.
    pub fn is_extended(self, timestamp: u64) -> bool {
        matches!(self, Format::Rtmp { .. }) && self.clip(timestamp) >= EXTENDED
    }

    fn extended(self, unit: &Unit) -> usize {
        if self.is_extended(unit.timestamp) { 4 } else { 0 }
    }

    /// Where in the message's wire form its timestamp stands.
    pub fn time_places(self, unit: &Unit) -> impl Iterator<Item = usize> {
        let (first, step, count) = match self {
            Format::Http(body, wrap) => {
                let before = wrap.prefix_len(body.len(unit));
                match body {
                    Body::Flv => (before + 4, 0, 1),
                    Body::Raw => (0, 0, 0),
                    Body::Fragments => (before + TFDT_AT, 0, usize::from(body.has_time(unit))),
                }
            }
            Format::Rtmp { .. } if !self.is_extended(unit.timestamp) => (1, 0, 1),
            Format::Rtmp { chunk_size, .. } => {
                let size = (chunk_size as usize).max(1);
                let len = unit.payload.len() + self.word(unit).len();
                (12, size + 5, 1 + len.saturating_sub(1) / size)
            }
        };
        (0..count).map(move |n| first + n * step)
    }

    /// Sets the timestamp that stands at `at`. `extended` says which of RTMP's two places it is.
    pub fn set_time(self, bytes: &mut [u8], at: usize, timestamp: u64, extended: bool) {
        let [a, b, c, d] = self.clip(timestamp).to_be_bytes();
        let time: &[u8] = match self {
            Format::Http(Body::Flv, _) => &[b, c, d, a],
            Format::Http(..) => &timestamp.to_be_bytes(),
            Format::Rtmp { .. } if extended => &[a, b, c, d],
            Format::Rtmp { .. } => &[b, c, d],
        };
        if let Some(place) = bytes.get_mut(at..at + time.len()) {
            place.copy_from_slice(time);
        }
    }

    fn head(self, unit: &Unit) -> Small {
        let timestamp = self.clip(unit.timestamp);
        let len = unit.payload.len() as u32;
        match self {
            Format::Http(body, wrap) => {
                let head = wrap.prefix(body.len(unit));
                match body {
                    Body::Flv => head.put(&flv::tag_head(unit.kind, len, timestamp)),
                    Body::Raw | Body::Fragments => head,
                }
            }
            Format::Rtmp { msid, .. } => {
                let head = Small::new().put(&[chunk_stream(unit.kind)]).put_u24(timestamp.min(EXTENDED));
                let word = self.word(unit);
                let head = head.put_u24(len + word.len() as u32);
                let head = head.put(&[unit.kind as u8]).put(&msid.to_le_bytes());
                let head = if timestamp >= EXTENDED { head.put(&timestamp.to_be_bytes()) } else { head };
                head.put(word)
            }
        }
    }

    fn tail(self, unit: &Unit) -> Small {
        match self {
            Format::Http(Body::Flv, wrap) => {
                Small::new().put(&flv::tag_tail(unit.payload.len() as u32)).put(wrap.suffix())
            }
            Format::Http(_, wrap) => Small::new().put(wrap.suffix()),
            Format::Rtmp { .. } => Small::new(),
        }
    }

    fn continuation(self, unit: &Unit) -> Small {
        let head = Small::new().put(&[0xc0 | chunk_stream(unit.kind)]);
        match self.clip(unit.timestamp) {
            timestamp if timestamp >= EXTENDED => head.put(&timestamp.to_be_bytes()),
            _ => head,
        }
    }
}

/// Chunk stream ids as SRS uses them: 5 data of a stream, 6 video, 7 audio.
fn chunk_stream(kind: Kind) -> u8 {
    match kind {
        Kind::Script => 5,
        Kind::Video => 6,
        Kind::Audio => 7,
    }
}

/// Slices in one gathered write. Two a message; the kernel takes 1,024.
pub const MAX_SLICES: usize = 128;
/// Bytes for heads and tails in one gathered write.
pub const SCRATCH: usize = MAX_SLICES * 16;

/// Collects what one write carries: heads in `scratch`, payloads where they are.
#[derive(Debug)]
pub struct Gather<'a> {
    scratch: &'a mut [u8],
    run: usize,
    slices: [IoSlice<'a>; MAX_SLICES],
    count: usize,
    total: usize,
    budget: usize,
    full: bool,
}

impl<'a> Gather<'a> {
    /// Room for at most `budget` bytes (the last message may be cut there; its rest follows in the next write).
    pub fn new(scratch: &'a mut [u8], budget: usize) -> Gather<'a> {
        Gather {
            scratch,
            run: 0,
            slices: [IoSlice::new(&[]); MAX_SLICES],
            count: 0,
            total: 0,
            budget,
            full: false,
        }
    }

    /// Adds a message without its first `skip` bytes. False when not all of it had room: stop then.
    pub fn add(&mut self, format: Format, unit: &Unit<'a>, skip: usize) -> bool {
        let mut skip = skip;
        self.small(&format.head(unit), &mut skip);
        let mut rest = unit.payload;
        if let Format::Http(body, _) = format
            && body.has_time(unit)
        {
            let (before, after) = rest.split_at_checked(TFDT_AT).unwrap_or((rest, &[]));
            self.payload(before, &mut skip);
            self.small(&Small::new().put(&unit.timestamp.to_be_bytes()), &mut skip);
            rest = after.get(TFDT_LEN..).unwrap_or_default();
        }
        if let Format::Rtmp { chunk_size, .. } = format {
            let size = (chunk_size as usize).max(1);
            let continuation = format.continuation(unit);
            let word = format.word(unit).len();
            if word > 0
                && let Some((chunk, more)) = rest.split_at_checked(size.saturating_sub(word))
                && !more.is_empty()
            {
                self.payload(chunk, &mut skip);
                self.small(&continuation, &mut skip);
                rest = more;
            }
            // Whole chunks that were sent before are stepped over by arithmetic, not one by one.
            let done = skip / (size + continuation.len) * usize::from(rest.len() > size);
            let done = done.min(rest.len().saturating_sub(1) / size);
            skip -= done * (size + continuation.len);
            rest = rest.get(done * size..).unwrap_or_default();
            while !self.full && rest.len() > size {
                let (chunk, more) = rest.split_at_checked(size).unwrap_or((rest, &[]));
                self.payload(chunk, &mut skip);
                self.small(&continuation, &mut skip);
                rest = more;
            }
        }
        self.payload(rest, &mut skip);
        self.small(&format.tail(unit), &mut skip);
        !self.full
    }

    /// The slices for one vectored write, and how many bytes they hold.
    pub fn finish(&mut self) -> (&[IoSlice<'a>], usize) {
        self.close_run();
        (self.slices.get(..self.count).unwrap_or_default(), self.total)
    }

    fn small(&mut self, small: &Small, skip: &mut usize) {
        let bytes = small.as_slice();
        let already = (*skip).min(bytes.len());
        *skip -= already;
        let bytes = bytes.get(already..).unwrap_or_default();
        if self.full || bytes.is_empty() {
            return;
        }
        match self.scratch.get_mut(self.run..self.run + bytes.len()) {
            Some(room) if self.count < MAX_SLICES && self.total + bytes.len() <= self.budget => {
                room.copy_from_slice(bytes);
                self.run += bytes.len();
                self.total += bytes.len();
            }
            _ => self.full = true,
        }
    }

    fn payload(&mut self, payload: &'a [u8], skip: &mut usize) {
        let already = (*skip).min(payload.len());
        *skip -= already;
        let payload = payload.get(already..).unwrap_or_default();
        if self.full || payload.is_empty() {
            return;
        }
        self.close_run();
        let fits = payload.len().min(self.budget.saturating_sub(self.total));
        // One place stays free for the heads that follow the last payload.
        if fits == 0 || self.count + 1 >= MAX_SLICES {
            self.full = true;
            return;
        }
        self.push(payload.get(..fits).unwrap_or_default());
        self.total += fits;
        self.full = fits < payload.len();
    }

    fn close_run(&mut self) {
        if self.run > 0 {
            let (run, rest) = std::mem::take(&mut self.scratch).split_at_mut(self.run);
            self.scratch = rest;
            self.run = 0;
            self.push(run);
        }
    }

    fn push(&mut self, bytes: &'a [u8]) {
        if let Some(slot) = self.slices.get_mut(self.count) {
            *slot = IoSlice::new(bytes);
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLV: Format = Format::Http(Body::Flv, Wrap::Plain);
    const FLV_CHUNKED: Format = Format::Http(Body::Flv, Wrap::Chunk);
    const FORMATS: [Format; 10] = [
        FLV,
        FLV_CHUNKED,
        Format::Http(Body::Flv, Wrap::WebSocket),
        Format::Http(Body::Raw, Wrap::Chunk),
        Format::Http(Body::Fragments, Wrap::Plain),
        Format::Http(Body::Fragments, Wrap::Chunk),
        Format::Rtmp { chunk_size: 60_000, msid: 1, publish: false },
        Format::Rtmp { chunk_size: 128, msid: 1, publish: false },
        Format::Rtmp { chunk_size: 100, msid: 1, publish: false },
        Format::Rtmp { chunk_size: 1, msid: 7, publish: false },
    ];

    /// Bytes of one gather over `units` with the first `skip` bytes of the first unit left out.
    fn gather(format: Format, units: &[Unit], skip: usize, budget: usize) -> Vec<u8> {
        let mut scratch = [0; SCRATCH];
        let mut gather = Gather::new(&mut scratch, budget);
        for (n, unit) in units.iter().enumerate() {
            if !gather.add(format, unit, if n == 0 { skip } else { 0 }) {
                break;
            }
        }
        let (slices, total) = gather.finish();
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(bytes.len(), total);
        bytes
    }

    /// The whole message, through as many gathers as it takes.
    fn whole(format: Format, unit: &Unit) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < format.wire_len(unit) {
            let more = gather(format, &[*unit], bytes.len(), usize::MAX);
            assert!(!more.is_empty());
            bytes.extend(more);
        }
        bytes
    }

    #[test]
    fn flv_tag_bytes() {
        let unit = Unit { kind: Kind::Audio, timestamp: 0x0102_0304, payload: b"\xaf\x01x" };
        let plain = b"\x08\x00\x00\x03\x02\x03\x04\x01\x00\x00\x00\xaf\x01x\x00\x00\x00\x0e";
        assert_eq!(whole(FLV, &unit), plain);
        assert_eq!(whole(FLV_CHUNKED, &unit), [b"12\r\n".as_slice(), plain, b"\r\n"].concat());
    }

    #[test]
    fn rtmp_message_bytes_with_and_without_extended_timestamp() {
        let format = Format::Rtmp { chunk_size: 2, msid: 1, publish: false };
        let unit = Unit { kind: Kind::Video, timestamp: 0x10, payload: b"abc" };
        assert_eq!(whole(format, &unit), b"\x06\x00\x00\x10\x00\x00\x03\x09\x01\x00\x00\x00ab\xc6c");
        let unit = Unit { timestamp: 0x0100_0000, ..unit };
        let late = b"\x06\xff\xff\xff\x00\x00\x03\x09\x01\x00\x00\x00\x01\x00\x00\x00ab\xc6\x01\x00\x00\x00c";
        assert_eq!(whole(format, &unit), late);
        let exact = Unit { timestamp: 0x00ff_ffff, payload: b"a", ..unit };
        assert!(whole(format, &exact).ends_with(b"\x00\xff\xff\xffa"));
    }

    #[test]
    fn websocket_messages_say_their_length_in_three_ways() {
        let format = Format::Http(Body::Raw, Wrap::WebSocket);
        for (len, head) in [
            (125, &b"\x82\x7d"[..]),
            (126, b"\x82\x7e\x00\x7e"),
            (0xffff, b"\x82\x7e\xff\xff"),
            (0x10000, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            let payload = vec![0x55; len];
            let unit = Unit { kind: Kind::Video, timestamp: 0, payload: &payload };
            let all = whole(format, &unit);
            assert!(all.starts_with(head) && all.len() == head.len() + len, "{len}");
        }
    }

    #[test]
    fn a_fragment_gets_the_viewers_time_and_a_header_stays_as_it_is() {
        let format = Format::Http(Body::Fragments, Wrap::Plain);
        let payload = [0xee; 100];
        let unit = Unit { kind: Kind::Video, timestamp: 0x0102_0304_0506, payload: &payload };
        let all = whole(format, &unit);
        assert_eq!(all[TFDT_AT..TFDT_AT + 8], [0, 0, 1, 2, 3, 4, 5, 6]);
        assert!(all[..TFDT_AT].iter().chain(&all[TFDT_AT + 8..]).all(|byte| *byte == 0xee));
        assert_eq!(whole(format, &Unit { kind: Kind::Script, ..unit }), payload);
    }

    #[test]
    fn a_publishers_metadata_has_its_word_in_front_and_nothing_else_has() {
        let format = |publish| Format::Rtmp { chunk_size: MIN_PUBLISH_CHUNK, msid: 1, publish };
        for (len, timestamp) in [(0, 0), (98, 0), (99, 1 << 24), (100, 0), (300, 1 << 24), (1000, 5)] {
            let payload = [METADATA, &vec![7; len]].concat();
            let unit = Unit { kind: Kind::Script, timestamp, payload: &payload };
            let worded = [SET_DATA_FRAME, &payload].concat();
            let expect = whole(format(false), &Unit { payload: &worded, ..unit });
            assert_eq!(whole(format(true), &unit), expect, "{len}");
            assert_eq!(format(true).wire_len(&unit), expect.len());
            let places = |format: Format, unit: &Unit| format.time_places(unit).collect::<Vec<_>>();
            assert_eq!(
                places(format(true), &unit),
                places(format(false), &Unit { payload: &worded, ..unit })
            );
            for skip in 0..expect.len() {
                let rest = gather(format(true), &[unit], skip, usize::MAX);
                assert!(!rest.is_empty() && expect[skip..].starts_with(&rest), "{len} {skip}");
            }
        }
        let text = Unit { kind: Kind::Script, timestamp: 0, payload: b"\x02\x00\x0aonTextData" };
        let video = Unit { kind: Kind::Video, timestamp: 0, payload: METADATA };
        for unit in [text, video] {
            assert_eq!(whole(format(true), &unit), whole(format(false), &unit));
        }
    }

    #[test]
    fn times_past_31_bits_start_again_in_flv_and_go_on_in_rtmp() {
        let unit = Unit { kind: Kind::Audio, timestamp: 0x8000_0001, payload: b"" };
        assert_eq!(whole(FLV, &unit)[4..8], [0, 0, 1, 0]);
        let rtmp = whole(Format::Rtmp { chunk_size: 128, msid: 1, publish: false }, &unit);
        assert_eq!(rtmp[12..16], [0x80, 0, 0, 1]);
    }

    #[test]
    fn wire_len_and_every_resume_point_agree_with_the_bytes() {
        for format in FORMATS {
            for (len, timestamp) in
                [(0, 0), (1, 5), (99, 0xffffff), (100, 7), (101, 1 << 24), (300, 9), (257, 0)]
            {
                let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
                let unit = Unit { kind: Kind::Video, timestamp, payload: &payload };
                let all = whole(format, &unit);
                assert_eq!(all.len(), format.wire_len(&unit), "{format:?} {len}");
                for skip in 0..=all.len() {
                    let rest = gather(format, &[unit], skip, usize::MAX);
                    assert!(all[skip..].starts_with(&rest), "{format:?} {len} {skip}");
                    assert!(skip == all.len() || !rest.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_budget_cuts_a_message_and_the_next_write_goes_on() {
        for format in FORMATS {
            let payload = [7u8; 500];
            let unit = Unit { kind: Kind::Video, timestamp: 1, payload: &payload };
            let all = whole(format, &unit);
            for budget in [1, 2, 13, 100, 257] {
                let mut bytes = Vec::new();
                while bytes.len() < all.len() {
                    let more = gather(format, &[unit], bytes.len(), budget.max(24));
                    assert!(!more.is_empty() && more.len() <= budget.max(24));
                    bytes.extend(more);
                }
                assert_eq!(bytes, all);
            }
        }
    }

    #[test]
    fn many_messages_share_one_write() {
        let payload = [1u8; 50];
        let units: Vec<Unit> =
            (0..40).map(|n| Unit { kind: Kind::Audio, timestamp: n, payload: &payload }).collect();
        for format in FORMATS {
            let expect: Vec<u8> = units.iter().flat_map(|unit| whole(format, unit)).collect();
            let got = gather(format, &units, 0, usize::MAX);
            assert!(expect.starts_with(&got));
            assert!(matches!(format, Format::Rtmp { chunk_size: 1, .. }) || got == expect, "{format:?}");
        }
    }
}
