//! MPEG transport streams: the packets that carry program tables and elementary streams.
//! Spec: ISO/IEC 13818-1 (ITU-T H.222.0), sections 2.4.3 (packets, adaptation fields, PES) and 2.4.4 (PAT, PMT).
//!
//! ```text
//!   table ──► one packet                  access unit ──► PES head + payload ──► packets of 188 bytes
//!                                                         (first: clock, random access flag; last: stuffing)
//! ```
//!
//! Invariants: whatever is appended is a whole number of packets; the continuity counter of a PID grows by one with
//! each of its packets that has a payload, and with no other.
//! Deviations: the tables are sent when the caller says so, not ten times a second as broadcasting asks.

#[cfg(test)]
pub(crate) mod check;
#[cfg(test)]
mod tests;

/// Length of every packet, in bytes.
pub const PACKET_LEN: usize = 188;
/// The first byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// PID of the program association table.
pub const PID_PAT: u16 = 0x0000;
/// PID of the program map table that [`pat`] names.
pub const PID_PMT: u16 = 0x1000;
/// `stream_id` of the first video stream of a program.
pub const STREAM_ID_VIDEO: u8 = 0xe0;
/// `stream_id` of the first audio stream of a program.
pub const STREAM_ID_AUDIO: u8 = 0xc0;
/// Timestamps have 33 bits: they wrap after 26.5 hours.
pub const TIMESTAMP_MASK: u64 = (1 << 33) - 1;
/// The most payload a PES packet of known length can have, in bytes. Only video may be longer.
pub const MAX_SIZED_PAYLOAD: usize = 0xffff - (PES_FIXED_LEN - PES_UNCOUNTED_LEN) - 2 * PES_STAMP_LEN;

const HEAD_LEN: usize = 4;
const BODY_LEN: usize = PACKET_LEN - HEAD_LEN;
const STUFFING: u8 = 0xff;
const TICKS_PER_MS: u64 = 90;
const PROGRAM: u16 = 1;
const TRANSPORT_STREAM_ID: u16 = 1;
const TABLE_PAT: u8 = 0x00;
const TABLE_PMT: u8 = 0x02;

const UNIT_START: u16 = 0x4000;
const HAS_ADAPTATION: u8 = 0x20;
const HAS_PAYLOAD: u8 = 0x10;
const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const HAS_PCR: u8 = 0x10;

const PES_UNCOUNTED_LEN: usize = 6;
const PES_FIXED_LEN: usize = 9;
const PES_STAMP_LEN: usize = 5;

/// Milliseconds as a 33-bit count of the 90 kHz clock.
pub fn ticks(ms: u64) -> u64 {
    ms.wrapping_mul(TICKS_PER_MS) & TIMESTAMP_MASK
}

/// What an elementary stream holds: `stream_type` (table 2-34).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamType {
    /// MPEG-1 audio, layers 1 to 3.
    Mpeg1Audio = 0x03,
    /// MPEG-2 audio at the lower sampling rates.
    Mpeg2Audio = 0x04,
    /// AAC in ADTS frames.
    AacAdts = 0x0f,
    /// H.264 as a byte stream.
    Avc = 0x1b,
    /// H.265 as a byte stream.
    Hevc = 0x24,
}

/// One elementary stream in a program map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elementary {
    /// What it holds.
    pub kind: StreamType,
    /// Where it is, 13 bits.
    pub pid: u16,
}

/// The continuity counter of one PID.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter(u8);

impl Counter {
    /// For a packet with payload.
    fn take(&mut self) -> u8 {
        let value = self.0;
        self.0 = (value + 1) & 0x0f;
        value
    }

    /// For a packet without payload: that of the packet before.
    fn last(self) -> u8 {
        self.0.wrapping_sub(1) & 0x0f
    }
}

/// Appends the program association table: one program, whose map is at [`PID_PMT`].
pub fn pat(counter: &mut Counter, out: &mut Vec<u8>) {
    let [program_high, program_low] = PROGRAM.to_be_bytes();
    let [pid_high, pid_low] = (0xe000 | PID_PMT).to_be_bytes();
    let body = [program_high, program_low, pid_high, pid_low];
    table(PID_PAT, counter, TABLE_PAT, TRANSPORT_STREAM_ID, 0, &body, out);
}

/// Appends the program map table. `version` has 5 bits and changes when the content does; `pcr_pid` names the stream
/// that carries the clock. Of `streams` as many are listed as one packet holds, which is 33.
pub fn pmt(
    counter: &mut Counter,
    version: u8,
    pcr_pid: u16,
    streams: impl IntoIterator<Item = Elementary>,
    out: &mut Vec<u8>,
) {
    const MAX_STREAMS: usize = 33;
    let mut body = Vec::new();
    body.extend_from_slice(&(0xe000 | pcr_pid).to_be_bytes());
    body.extend_from_slice(&[0xf0, 0]); // no program descriptors
    for stream in streams.into_iter().take(MAX_STREAMS) {
        body.push(stream.kind as u8);
        body.extend_from_slice(&(0xe000 | stream.pid).to_be_bytes());
        body.extend_from_slice(&[0xf0, 0]); // no stream descriptors
    }
    table(PID_PMT, counter, TABLE_PMT, PROGRAM, version, &body, out);
}

/// One section in one packet.
fn table(
    pid: u16,
    counter: &mut Counter,
    id: u8,
    extension: u16,
    version: u8,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    const AFTER_LENGTH: usize = 5;
    const CRC_LEN: usize = 4;
    const SYNTAX_AND_RESERVED: u16 = 0xb000;
    const CURRENT: u8 = 0xc1;
    let start = out.len();
    packet_head(pid, true, HAS_PAYLOAD | counter.take(), out);
    out.push(0); // pointer_field
    let section = out.len();
    let length = (AFTER_LENGTH + body.len() + CRC_LEN) as u16;
    out.push(id);
    out.extend_from_slice(&(SYNTAX_AND_RESERVED | length).to_be_bytes());
    out.extend_from_slice(&extension.to_be_bytes());
    out.extend_from_slice(&[CURRENT | (version & 0x1f) << 1, 0, 0]);
    out.extend_from_slice(body);
    let crc = crc32(out.get(section..).unwrap_or(&[]));
    out.extend_from_slice(&crc.to_be_bytes());
    debug_assert!(out.len() <= start + PACKET_LEN, "a section that needs a second packet");
    out.resize(start + PACKET_LEN, STUFFING);
}

/// The checksum of a section (annex A): over a section with its own checksum behind, it is 0.
pub fn crc32(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            let shifted = crc << 1;
            if crc >> 31 == 1 { shifted ^ POLYNOMIAL } else { shifted }
        })
    })
}

/// The clock in front of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pcr {
    /// 33 bits at 90 kHz.
    pub base: u64,
    /// The clock jumps here: what receivers know of it no longer holds.
    pub jump: bool,
}

impl Pcr {
    fn field(self) -> [u8; 6] {
        const RESERVED: u64 = 0x3f << 9;
        let [_, _, bytes @ ..] = ((self.base & TIMESTAMP_MASK) << 15 | RESERVED).to_be_bytes();
        bytes
    }

    fn flags(self) -> u8 {
        HAS_PCR | if self.jump { DISCONTINUITY } else { 0 }
    }
}

/// What goes into one PES packet.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// The PID of its stream.
    pub pid: u16,
    /// [`STREAM_ID_VIDEO`] or [`STREAM_ID_AUDIO`].
    pub stream_id: u8,
    /// When it is shown, 33 bits at 90 kHz.
    pub pts: u64,
    /// When it is decoded, 33 bits at 90 kHz.
    pub dts: u64,
    /// The clock, when this unit brings it.
    pub pcr: Option<Pcr>,
    /// A receiver may start here.
    pub random_access: bool,
    /// The elementary stream's bytes, from the start of an access unit. Over [`MAX_SIZED_PAYLOAD`] only for video.
    pub payload: &'a [u8],
}

/// Appends one PES packet, in as many transport packets as it needs.
///
/// The packet says how long it is when it can, so that receivers need not wait for the next one to know its end.
pub fn unit(unit: &Unit<'_>, counter: &mut Counter, out: &mut Vec<u8>) {
    let mut fixed = Vec::with_capacity(7);
    if unit.pcr.is_some() || unit.random_access {
        let flags = unit.pcr.map_or(0, Pcr::flags) | if unit.random_access { RANDOM_ACCESS } else { 0 };
        fixed.push(flags);
        fixed.extend(unit.pcr.iter().flat_map(|pcr| pcr.field()));
    }
    let head = pes_head(unit);
    let mut rest = unit.payload;
    let mut first = true;
    while first || !rest.is_empty() {
        let (fixed, head) = if first { (&fixed[..], &head[..]) } else { (&[][..], &[][..]) };
        let field = if fixed.is_empty() { 0 } else { 1 + fixed.len() };
        let room = BODY_LEN.saturating_sub(field + head.len());
        let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        let stuffing = room.saturating_sub(now.len());
        let control = if field + stuffing > 0 { HAS_ADAPTATION | HAS_PAYLOAD } else { HAS_PAYLOAD };
        packet_head(unit.pid, first, control | counter.take(), out);
        adaptation(fixed, field + stuffing, out);
        out.extend_from_slice(head);
        out.extend_from_slice(now);
        rest = later;
        first = false;
    }
}

/// Appends a packet that holds nothing but the clock, for a stream that has no unit to bring it now.
pub fn clock_only(pid: u16, pcr: Pcr, counter: Counter, out: &mut Vec<u8>) {
    packet_head(pid, false, HAS_ADAPTATION | counter.last(), out);
    let [a, b, c, d, e, f] = pcr.field();
    adaptation(&[pcr.flags(), a, b, c, d, e, f], BODY_LEN, out);
}

fn packet_head(pid: u16, starts_unit: bool, control: u8, out: &mut Vec<u8>) {
    let [high, low] = (pid & 0x1fff | if starts_unit { UNIT_START } else { 0 }).to_be_bytes();
    out.extend_from_slice(&[SYNC_BYTE, high, low, control]);
}

/// An adaptation field of `len` bytes in all: its length, the flags and what belongs to them, stuffing.
fn adaptation(fixed: &[u8], len: usize, out: &mut Vec<u8>) {
    let Some(after) = len.checked_sub(1) else { return };
    let end = out.len() + len;
    out.push(after as u8);
    if fixed.is_empty() && after > 0 {
        out.push(0);
    }
    out.extend_from_slice(fixed);
    out.resize(end, STUFFING);
}

fn pes_head(unit: &Unit<'_>) -> Vec<u8> {
    const ALIGNED: u8 = 0x84;
    let both = unit.pts & TIMESTAMP_MASK != unit.dts & TIMESTAMP_MASK;
    let stamps = if both { 2 * PES_STAMP_LEN } else { PES_STAMP_LEN };
    let counted = PES_FIXED_LEN - PES_UNCOUNTED_LEN + stamps + unit.payload.len();
    debug_assert!(counted <= 0xffff || unit.stream_id == STREAM_ID_VIDEO, "a PES packet that is too long");
    let [high, low] = u16::try_from(counted).unwrap_or(0).to_be_bytes();
    let mut head = Vec::with_capacity(PES_FIXED_LEN + stamps);
    let flags = if both { 0xc0 } else { 0x80 };
    head.extend_from_slice(&[0, 0, 1, unit.stream_id, high, low, ALIGNED, flags, stamps as u8]);
    if both {
        head.extend_from_slice(&stamp(0x3, unit.pts));
        head.extend_from_slice(&stamp(0x1, unit.dts));
    } else {
        head.extend_from_slice(&stamp(0x2, unit.pts));
    }
    head
}

/// 33 bits in five bytes, with marker bits between.
fn stamp(prefix: u8, value: u64) -> [u8; PES_STAMP_LEN] {
    let bits = |shift: u32, mask: u64| ((value >> shift) & mask) as u8;
    [
        prefix << 4 | bits(30, 7) << 1 | 1,
        bits(22, 0xff),
        bits(15, 0x7f) << 1 | 1,
        bits(7, 0xff),
        bits(0, 0x7f) << 1 | 1,
    ]
}
