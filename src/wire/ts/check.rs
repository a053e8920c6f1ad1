//! A reader for tests: takes a transport stream apart and says which rule it breaks.

use super::{PACKET_LEN, PID_PAT, SYNC_BYTE, TIMESTAMP_MASK, crc32};
use crate::wire::read::Reader;
use std::collections::BTreeMap;

/// What is asked of a stream besides what all must keep.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// The longest way from clock to clock, in ticks of 90 kHz.
    pub(crate) max_clock_gap: Option<u64>,
    /// PAT and PMT come right before each unit of this PID at which a receiver may start.
    pub(crate) tables_before_keys_of: Option<u16>,
}

/// One PES packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pes {
    pub(crate) pid: u16,
    pub(crate) pts: u64,
    pub(crate) dts: u64,
    pub(crate) pcr: Option<u64>,
    pub(crate) random_access: bool,
    /// Its length was given.
    pub(crate) sized: bool,
    pub(crate) payload: Vec<u8>,
}

/// One program map as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) version: u8,
    pub(crate) pcr_pid: u16,
    /// `stream_type` and PID.
    pub(crate) streams: Vec<(u8, u16)>,
}

/// What a stream holds.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    /// In the order in which they begin.
    pub(crate) units: Vec<Pes>,
    pub(crate) maps: Vec<Map>,
    /// All clocks, 33 bits.
    pub(crate) clocks: Vec<u64>,
    /// The units' missing bytes, by PID: index of the unit, and how many are to come when it says.
    open: BTreeMap<u16, (usize, Option<usize>)>,
    counters: BTreeMap<u16, u8>,
    pmt_pid: Option<u16>,
    since_tables: usize,
}

struct Adaptation {
    pcr: Option<u64>,
    random_access: bool,
    jump: bool,
}

macro_rules! ensure {
    ($what:expr, $($why:tt)*) => {
        if !$what {
            return Err(format!($($why)*));
        }
    };
}

/// How far `to` is after `from` on a clock of 33 bits; negative when it is before.
pub(crate) fn ahead(from: u64, to: u64) -> i64 {
    let forward = to.wrapping_sub(from) & TIMESTAMP_MASK;
    if forward > TIMESTAMP_MASK / 2 { forward as i64 - (TIMESTAMP_MASK as i64 + 1) } else { forward as i64 }
}

impl Packets {
    /// Reads the whole of `data`.
    pub(crate) fn read(data: &[u8], rules: Rules) -> Result<Packets, String> {
        ensure!(data.len().is_multiple_of(PACKET_LEN), "not whole packets: {} bytes", data.len());
        let mut packets = Packets::default();
        for (index, packet) in data.chunks(PACKET_LEN).enumerate() {
            packets.packet(packet, rules).map_err(|why| format!("packet {index}: {why}"))?;
        }
        let open: Vec<u16> = packets.open.keys().copied().collect();
        open.into_iter().try_for_each(|pid| packets.close(pid))?;
        Ok(packets)
    }

    /// The units of one PID.
    pub(crate) fn of(&self, pid: u16) -> Vec<&Pes> {
        self.units.iter().filter(|unit| unit.pid == pid).collect()
    }

    fn packet(&mut self, packet: &[u8], rules: Rules) -> Result<(), String> {
        let mut r = Reader::new(packet);
        ensure!(r.u8() == Some(SYNC_BYTE), "no sync byte");
        let (word, control) = (r.u16().unwrap(), r.u8().unwrap());
        ensure!(word & 0xa000 == 0 && control & 0xc0 == 0, "error, priority or scrambling set");
        let (pid, starts, counter) = (word & 0x1fff, word & 0x4000 != 0, control & 0x0f);
        let (has_field, has_payload) = (control & 0x20 != 0, control & 0x10 != 0);
        ensure!(has_field || has_payload, "nothing in it");
        let step = u8::from(has_payload);
        if let Some(last) = self.counters.insert(pid, counter) {
            ensure!(counter == (last + step) & 0x0f, "continuity of PID {pid:#x}: {last}, then {counter}");
        }
        let field = if has_field { Some(adaptation(&mut r, has_payload)?) } else { None };
        if pid == PID_PAT || Some(pid) == self.pmt_pid {
            ensure!(starts && has_payload && field.is_none(), "a table over several packets");
            return self.table(pid, &mut r);
        }
        let map = self.maps.last().ok_or("media before the tables")?.clone();
        ensure!(map.streams.iter().any(|(_, p)| *p == pid), "PID {pid:#x} is not in the map");
        if let Some(field) = &field {
            self.clock(pid, &map, field, rules)?;
        }
        if !has_payload {
            ensure!(!starts, "a unit starts without payload");
            return Ok(());
        }
        if starts {
            self.close(pid)?;
            self.start(pid, field, r, rules)?;
        } else {
            let (index, left) = self.open.get_mut(&pid).ok_or("a unit goes on that has not begun")?;
            if let Some(left) = left {
                ensure!(*left >= r.remaining(), "PES length: there is more than it says");
                *left -= r.remaining();
            }
            self.units[*index].payload.extend_from_slice(r.rest());
        }
        self.since_tables += 1;
        Ok(())
    }

    fn close(&mut self, pid: u16) -> Result<(), String> {
        let left = self.open.remove(&pid).and_then(|(_, left)| left);
        ensure!(left.unwrap_or(0) == 0, "PES length: {left:?} bytes missing on PID {pid:#x}");
        Ok(())
    }

    fn table(&mut self, pid: u16, r: &mut Reader<'_>) -> Result<(), String> {
        ensure!(r.u8() == Some(0), "pointer_field");
        let section = r.rest();
        let (id, length) = (r.u8().unwrap(), r.u16().unwrap());
        ensure!(length & 0xf000 == 0xb000, "section syntax bits");
        let whole = 3 + usize::from(length & 0x0fff);
        ensure!(whole <= section.len(), "section length");
        ensure!(crc32(&section[..whole]) == 0, "checksum of the table in PID {pid:#x}");
        ensure!(section[whole..].iter().all(|byte| *byte == 0xff), "stuffing behind a table");
        let (extension, flags, numbers) = (r.u16().unwrap(), r.u8().unwrap(), r.u16().unwrap());
        ensure!(extension == 1 && flags & 0xc1 == 0xc1 && numbers == 0, "table head");
        let mut r = Reader::new(&section[8..whole - 4]);
        if pid == PID_PAT {
            ensure!(id == 0 && r.u16() == Some(1), "PAT");
            self.pmt_pid = r.u16().map(|pid| pid & 0x1fff);
            ensure!(r.is_empty(), "PAT: more than one program");
            return Ok(());
        }
        ensure!(id == 2, "PMT");
        let pcr_pid = r.u16().ok_or("PMT")? & 0x1fff;
        ensure!(r.u16() == Some(0xf000), "PMT: descriptors");
        let mut streams = Vec::new();
        while !r.is_empty() {
            streams.push((r.u8().unwrap(), r.u16().ok_or("PMT")? & 0x1fff));
            ensure!(r.u16() == Some(0xf000), "PMT: stream descriptors");
        }
        ensure!(streams.iter().any(|(_, pid)| *pid == pcr_pid), "the PCR PID is not in the map");
        let map = Map { version: flags >> 1 & 0x1f, pcr_pid, streams };
        if let Some(last) = self.maps.last() {
            ensure!(last.version != map.version || *last == map, "a map changed but not its version");
        }
        self.maps.push(map);
        self.since_tables = 0;
        Ok(())
    }

    fn clock(&mut self, pid: u16, map: &Map, field: &Adaptation, rules: Rules) -> Result<(), String> {
        let Some(pcr) = field.pcr else { return Ok(()) };
        ensure!(pid == map.pcr_pid, "a PCR on PID {pid:#x}, which is not the PCR PID");
        if let Some(last) = self.clocks.last().filter(|_| !field.jump) {
            let step = ahead(*last, pcr);
            ensure!(step >= 0, "the PCR goes back from {last} to {pcr}");
            let max = rules.max_clock_gap.unwrap_or(TIMESTAMP_MASK);
            ensure!(step as u64 <= max, "{step} ticks from PCR to PCR");
        }
        self.clocks.push(pcr);
        Ok(())
    }

    fn start(
        &mut self,
        pid: u16,
        field: Option<Adaptation>,
        r: Reader<'_>,
        rules: Rules,
    ) -> Result<(), String> {
        let mut r = r;
        ensure!(r.u24() == Some(1), "PES start code");
        let (id, length) = (r.u8().unwrap(), usize::from(r.u16().unwrap()));
        ensure!(matches!(id, 0xc0..=0xef), "PES stream id {id:#x}");
        ensure!(length > 0 || id >= 0xe0, "PES without length that is not video");
        let [marks, flags, head] = r.array().unwrap();
        ensure!(marks & 0xf0 == 0x80, "PES marks");
        ensure!(head == if flags == 0xc0 { 10 } else { 5 } && matches!(flags, 0x80 | 0xc0), "PES head");
        let pts = stamp(&mut r, if flags == 0xc0 { 3 } else { 2 })?;
        let dts = if flags == 0xc0 { stamp(&mut r, 1)? } else { pts };
        let left = length.checked_sub(3 + usize::from(head));
        if let Some(left) = left {
            ensure!(r.remaining() <= left, "PES length: there is more than it says");
        }
        let (pcr, random_access) = field.map_or((None, false), |f| (f.pcr, f.random_access));
        if let Some(last) = self.clocks.last().filter(|_| pcr.is_some()) {
            ensure!(ahead(*last, dts) >= 0, "the PCR {last} is after the DTS {dts}");
        }
        if random_access && rules.tables_before_keys_of == Some(pid) {
            ensure!(self.since_tables == 0, "no tables before a keyframe");
        }
        self.open.insert(pid, (self.units.len(), left.map(|left| left - r.remaining())));
        let payload = r.rest().to_vec();
        self.units.push(Pes { pid, pts, dts, pcr, random_access, sized: length > 0, payload });
        Ok(())
    }
}

fn adaptation(r: &mut Reader<'_>, has_payload: bool) -> Result<Adaptation, String> {
    let mut found = Adaptation { pcr: None, random_access: false, jump: false };
    let len = usize::from(r.u8().unwrap());
    ensure!(if has_payload { len <= 182 } else { len == 183 }, "adaptation field of {len} bytes");
    let mut field = Reader::new(r.take(len).unwrap());
    if len == 0 {
        return Ok(found);
    }
    let flags = field.u8().unwrap();
    ensure!(flags & 0x2f == 0, "adaptation flags {flags:#x}");
    (found.jump, found.random_access) = (flags & 0x80 != 0, flags & 0x40 != 0);
    if flags & 0x10 != 0 {
        let (high, low) = (field.u32().ok_or("PCR cut")?, field.u16().ok_or("PCR cut")?);
        ensure!(low & 0x7fff == 0x7e00, "PCR: reserved bits or an extension");
        found.pcr = Some(u64::from(high) << 1 | u64::from(low >> 15));
    }
    ensure!(field.rest().iter().all(|byte| *byte == 0xff), "stuffing of an adaptation field");
    Ok(found)
}

fn stamp(r: &mut Reader<'_>, prefix: u8) -> Result<u64, String> {
    let [a, b, c, d, e] = r.array().ok_or("a timestamp is cut")?;
    ensure!(a >> 4 == prefix && a & c & e & 1 == 1, "marks of a timestamp");
    let parts = [(u64::from(a) >> 1 & 7, 30), (u64::from(b), 22), (u64::from(c) >> 1, 15), (u64::from(d), 7)];
    Ok(parts.iter().fold(u64::from(e) >> 1, |all, (bits, shift)| all | bits << shift))
}
