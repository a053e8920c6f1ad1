//! RTMP handshake, both ends.   Spec: Adobe RTMP 1.0, section 5.2; the digest form that Flash asks for before
//! it plays H.264 is in no specification and is described below.
//!
//! ```text
//!   client                     server
//!   C0 C1  ------------------>          C0: version 3    C1: time, version, filler      1 + 1536 bytes
//!          <------------------ S0 S1 S2 S0: version 3    S1: as C1    S2: answer to C1  1 + 1536 + 1536
//!   C2     ------------------>          C2: answer to S1                                1536
//! ```
//!
//! Simple form: the answer repeats what it answers. Complex form: C1 and S1 hold an HMAC-SHA256 digest of
//! their other bytes, at a place given by four of these, and the last 32 bytes of C2 and S2 sign the rest
//! with a key made from the digest they answer. The place is in the second (schema 0) or the first
//! (schema 1) of two blocks of 764 bytes; the other block would hold a key for RTMPE and is filler here.
//!
//! Invariants: S0 S1 S2 are written once, when C1 is whole, without waiting for C2. Nothing after C2 (S2 for
//! a client) is consumed. At most 1536 bytes are held, none once the second half is awaited.
//!
//! Deviations: C2 and S2 are accepted whatever they hold. S2 in the simple form repeats C1 with its time
//! field untouched, because some clients compare all of it. A connection from a trusted proxy may begin
//! with 0xF3, a 16-bit length and as many bytes, the first four of which are the client's IPv4 address.

use core::fmt;
use core::net::Ipv4Addr;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

/// Length in bytes of C1, C2, S1 and S2.
pub const PACKET: usize = 1536;
/// Longest prefix accepted from a proxy, in bytes after its length field.
pub const MAX_PROXY_PREFIX: u16 = 1024;

/// The only version of the protocol there is.
const VERSION: u8 = 3;
/// First byte of a proxy's prefix.
const PROXY_MARK: u8 = 0xF3;
const DIGEST: usize = 32;
/// Version fields of the complex form: what a Flash player and a media server of the H.264 age say.
const CLIENT_VERSION: [u8; 4] = [9, 0, 124, 2];
const SERVER_VERSION: [u8; 4] = [4, 5, 0, 1];

const SERVER_NAME: &[u8] = b"Genuine Adobe Flash Media Server 001";
const CLIENT_NAME: &[u8] = b"Genuine Adobe Flash Player 001";
/// What follows either name in the long form of its key.
const KEY_TAIL: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57, 0x6E,
    0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

/// Random bytes from the caller, from which the filler of one handshake is made. Filler only has to
/// differ from one connection to the next; nothing secret hangs on it.
#[derive(Debug, Clone)]
pub struct Entropy(pub [u8; 64]);

/// How the two ends greeted each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without digests.
    Simple,
    /// With digests, the peer's in the second block.
    Complex0,
    /// With digests, the peer's in the first block.
    Complex1,
}

/// What a call of `feed` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All input was consumed and more is needed.
    NeedMore,
    /// The handshake is over; what is left of the input are chunks.
    Done {
        /// The form that was used.
        kind: Kind,
        /// The client's address as a trusted proxy gave it.
        client_ip: Option<Ipv4Addr>,
    },
}

/// Why a peer cannot be greeted. The connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// The first byte is a capital letter: an HTTP (or RTSP) request, or an answer to one.
    Http,
    /// The encrypted form of RTMP, versions 6 and 8.
    Rtmpe,
    /// A TLS record: a handshake, or the alert of a server that expects one.
    Tls,
    /// Another version, or no RTMP at all.
    BadVersion(u8),
    /// A proxy's prefix from an address that is not trusted.
    UntrustedProxy,
    /// A proxy's prefix of this many bytes, more than [`MAX_PROXY_PREFIX`].
    ProxyPrefixTooLong(u16),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http => f.write_str("HTTP where RTMP was expected: use the port of http_server or http_api for it"),
            Self::Rtmpe => f.write_str("RTMPE is not supported: use rtmp:// (or rtmps:// for encryption)"),
            Self::Tls => f.write_str("TLS where plain RTMP was expected: use rtmp://, or the port of rtmps"),
            Self::BadVersion(version) => {
                write!(f, "not RTMP: the first byte is {version} and not 3; check the peer's address and port")
            }
            Self::UntrustedProxy => {
                f.write_str("a proxy's address prefix (0xF3) from an address that is not trusted: trust it or turn the prefix off")
            }
            Self::ProxyPrefixTooLong(length) => {
                write!(f, "a proxy's address prefix of {length} bytes, more than {MAX_PROXY_PREFIX}: check the proxy")
            }
        }
    }
}

impl core::error::Error for HandshakeError {}

/// The server's end.
#[derive(Debug, Clone)]
pub struct ServerHandshake {
    filler: Filler,
    now_ms: u32,
    trusted_proxy: bool,
    client_ip: Option<Ipv4Addr>,
    state: ServerState,
}

#[derive(Debug, Clone)]
enum ServerState {
    /// Awaiting C0 or a proxy's prefix.
    Version,
    /// Inside a prefix, after its mark: the bytes seen of the length field and the address.
    Proxy {
        seen: [u8; 6],
        have: u16,
    },
    C1(Vec<u8>),
    C2 {
        kind: Kind,
        left: usize,
    },
    Failed(HandshakeError),
}

impl ServerHandshake {
    /// `now_ms` goes into S1. `trusted_proxy` allows the address prefix.
    #[must_use]
    pub fn new(entropy: Entropy, now_ms: u32, trusted_proxy: bool) -> Self {
        Self {
            filler: Filler::new(&entropy),
            now_ms,
            trusted_proxy,
            client_ip: None,
            state: ServerState::Version,
        }
    }

    /// Takes from `input` what belongs to the handshake and appends answers to `out`. Once done, further
    /// calls take nothing and give the same.
    ///
    /// # Errors
    /// The peer speaks something else. The error is final: later calls give it again.
    pub fn feed(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, HandshakeError> {
        loop {
            match &mut self.state {
                ServerState::Failed(error) => return Err(*error),
                ServerState::Version => {
                    let Some(first) = take_byte(input) else { return Ok(Step::NeedMore) };
                    self.state = self.version(first);
                }
                ServerState::Proxy { seen, have } => {
                    let Some(next) = take_byte(input) else { return Ok(Step::NeedMore) };
                    if let Some(place) = seen.get_mut(usize::from(*have)) {
                        *place = next;
                    }
                    *have = have.saturating_add(1);
                    let (seen, have) = (*seen, *have);
                    self.proxy(seen, have);
                }
                ServerState::C1(c1) => {
                    if !fill(c1, input) {
                        return Ok(Step::NeedMore);
                    }
                    let c1 = core::mem::take(c1);
                    let kind = self.answer(&c1, out);
                    self.state = ServerState::C2 { kind, left: PACKET };
                }
                ServerState::C2 { kind, left } => {
                    *left = left.saturating_sub(skip(input, *left));
                    if *left > 0 {
                        return Ok(Step::NeedMore);
                    }
                    return Ok(Step::Done { kind: *kind, client_ip: self.client_ip });
                }
            }
        }
    }

    fn version(&self, first: u8) -> ServerState {
        match first {
            PROXY_MARK if self.client_ip.is_some() => ServerState::Failed(HandshakeError::BadVersion(first)),
            PROXY_MARK if self.trusted_proxy => ServerState::Proxy { seen: [0; 6], have: 0 },
            PROXY_MARK => ServerState::Failed(HandshakeError::UntrustedProxy),
            _ => match check_version(first) {
                Ok(()) => ServerState::C1(Vec::new()),
                Err(error) => ServerState::Failed(error),
            },
        }
    }

    /// After one more byte of the prefix: refuses a long one, and goes on to C0 at its end.
    fn proxy(&mut self, seen: [u8; 6], have: u16) {
        let [l1, l0, ip @ ..] = seen;
        let length = u16::from_be_bytes([l1, l0]);
        if have < 2 {
            return;
        }
        if length > MAX_PROXY_PREFIX {
            self.state = ServerState::Failed(HandshakeError::ProxyPrefixTooLong(length));
        } else if have.saturating_sub(2) >= length {
            self.client_ip = (length >= 4).then(|| Ipv4Addr::from(ip));
            self.state = ServerState::Version;
        }
    }

    /// Writes S0 S1 S2 for this C1.
    fn answer(&mut self, c1: &[u8], out: &mut Vec<u8>) -> Kind {
        out.push(VERSION);
        let found = find_digest(c1, CLIENT_NAME);
        let Some((schema, digest)) = found else {
            out.extend_from_slice(&self.filler.packet(self.now_ms, [0; 4]));
            out.extend_from_slice(c1);
            return Kind::Simple;
        };
        let mut s1 = self.filler.packet(self.now_ms, SERVER_VERSION);
        sign_packet(&mut s1, schema, SERVER_NAME);
        out.extend_from_slice(&s1);
        out.extend_from_slice(&signed_answer(&mut self.filler, SERVER_NAME, &digest));
        schema.kind()
    }
}

/// The client's end.
#[derive(Debug, Clone)]
pub struct ClientHandshake {
    filler: Filler,
    now_ms: u32,
    complex: bool,
    state: ClientState,
}

#[derive(Debug, Clone)]
enum ClientState {
    S0,
    S1(Vec<u8>),
    S2 { kind: Kind, left: usize },
    Failed(HandshakeError),
}

impl ClientHandshake {
    /// `now_ms` goes into C1. `complex` asks for the form with digests; a server that does not know it
    /// answers with the simple one and that is accepted.
    #[must_use]
    pub fn new(entropy: Entropy, now_ms: u32, complex: bool) -> Self {
        Self { filler: Filler::new(&entropy), now_ms, complex, state: ClientState::S0 }
    }

    /// Writes C0 C1. To be called once, before anything is fed.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        out.push(VERSION);
        let version = if self.complex { CLIENT_VERSION } else { [0; 4] };
        let mut c1 = self.filler.packet(self.now_ms, version);
        if self.complex {
            sign_packet(&mut c1, Schema::DigestFirst, CLIENT_NAME);
        }
        out.extend_from_slice(&c1);
    }

    /// Takes from `input` what belongs to the handshake; appends C2 to `out` once S1 is whole. Once done,
    /// further calls take nothing and give the same.
    ///
    /// # Errors
    /// The peer speaks something else. The error is final: later calls give it again.
    pub fn feed(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, HandshakeError> {
        loop {
            match &mut self.state {
                ClientState::Failed(error) => return Err(*error),
                ClientState::S0 => {
                    let Some(first) = take_byte(input) else { return Ok(Step::NeedMore) };
                    self.state = match check_version(first) {
                        Ok(()) => ClientState::S1(Vec::new()),
                        Err(error) => ClientState::Failed(error),
                    };
                }
                ClientState::S1(s1) => {
                    if !fill(s1, input) {
                        return Ok(Step::NeedMore);
                    }
                    let s1 = core::mem::take(s1);
                    let kind = self.answer(&s1, out);
                    self.state = ClientState::S2 { kind, left: PACKET };
                }
                ClientState::S2 { kind, left } => {
                    *left = left.saturating_sub(skip(input, *left));
                    if *left > 0 {
                        return Ok(Step::NeedMore);
                    }
                    return Ok(Step::Done { kind: *kind, client_ip: None });
                }
            }
        }
    }

    /// Writes C2 for this S1.
    fn answer(&mut self, s1: &[u8], out: &mut Vec<u8>) -> Kind {
        let found = if self.complex { find_digest(s1, SERVER_NAME) } else { None };
        let Some((schema, digest)) = found else {
            out.extend_from_slice(s1);
            return Kind::Simple;
        };
        out.extend_from_slice(&signed_answer(&mut self.filler, CLIENT_NAME, &digest));
        schema.kind()
    }
}

fn check_version(first: u8) -> Result<(), HandshakeError> {
    match first {
        VERSION => Ok(()),
        6 | 8 => Err(HandshakeError::Rtmpe),
        0x15 | 0x16 => Err(HandshakeError::Tls),
        b'A'..=b'Z' => Err(HandshakeError::Http),
        other => Err(HandshakeError::BadVersion(other)),
    }
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

/// Moves bytes from `input` to `packet` until that is a whole packet; true when it is.
fn fill(packet: &mut Vec<u8>, input: &mut &[u8]) -> bool {
    let want = PACKET.saturating_sub(packet.len()).min(input.len());
    if let Some((now, later)) = input.split_at_checked(want) {
        packet.extend_from_slice(now);
        *input = later;
    }
    packet.len() >= PACKET
}

/// Drops up to `most` bytes of `input` and tells how many.
fn skip(input: &mut &[u8], most: usize) -> usize {
    let count = most.min(input.len());
    *input = input.get(count..).unwrap_or_default();
    count
}

/// Where the digest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    /// Schema 0: in the second block.
    KeyFirst,
    /// Schema 1: in the first block.
    DigestFirst,
}

impl Schema {
    fn kind(self) -> Kind {
        match self {
            Self::KeyFirst => Kind::Complex0,
            Self::DigestFirst => Kind::Complex1,
        }
    }

    /// First byte of the block that holds the digest: four bytes that sum up to its offset come first.
    fn block(self) -> usize {
        match self {
            Self::KeyFirst => 8 + 764,
            Self::DigestFirst => 8,
        }
    }

    /// Splits a packet into what is before, in and after its digest.
    fn split(self, packet: &[u8]) -> Option<(&[u8], &[u8; DIGEST], &[u8])> {
        let (before, rest) = packet.split_at_checked(self.digest_at(packet)?)?;
        let (digest, after) = rest.split_first_chunk()?;
        Some((before, digest, after))
    }

    fn digest_at(self, packet: &[u8]) -> Option<usize> {
        let offset: &[u8; 4] = packet.get(self.block()..)?.first_chunk()?;
        let sum = offset.iter().fold(0usize, |sum, byte| sum.saturating_add(usize::from(*byte)));
        // A block has 764 bytes: 4 of offset, and 728 places where 32 bytes of digest fit.
        self.block().checked_add(4)?.checked_add(sum % 728)
    }
}

/// Looks for a digest made with this key in either schema.
fn find_digest(packet: &[u8], name: &[u8]) -> Option<(Schema, [u8; DIGEST])> {
    let (_, version) = packet.split_first_chunk::<4>()?;
    if version.first_chunk::<4>() == Some(&[0; 4]) {
        return None;
    }
    [Schema::KeyFirst, Schema::DigestFirst].into_iter().find_map(|schema| {
        let (before, digest, after) = schema.split(packet)?;
        (hmac(&[name], &[before, after]) == *digest).then_some((schema, *digest))
    })
}

/// Puts the digest of the other bytes into a packet.
fn sign_packet(packet: &mut [u8; PACKET], schema: Schema, name: &[u8]) {
    let Some((before, _, after)) = schema.split(packet) else { return };
    let digest = hmac(&[name], &[before, after]);
    let place = schema.digest_at(packet).and_then(|at| packet.get_mut(at..)?.first_chunk_mut());
    if let Some(place) = place {
        *place = digest;
    }
}

/// C2 or S2 of the complex form: filler, and its signature with a key made from the digest it answers.
/// Where the simple form has a version of zeros there is filler too: librtmp takes zeros for a refusal.
fn signed_answer(filler: &mut Filler, name: &[u8], digest: &[u8; DIGEST]) -> [u8; PACKET] {
    let mut packet = filler.bytes();
    if let Some((rest, signature)) = packet.split_last_chunk_mut::<DIGEST>() {
        let key = hmac(&[name, &KEY_TAIL], &[digest]);
        *signature = hmac(&[&key], &[rest]);
    }
    packet
}

/// HMAC-SHA256 of `parts` one after the other, the key being given in parts too.
fn hmac(key: &[&[u8]], parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut block = [0; 64];
    let length: usize = key.iter().map(|part| part.len()).sum();
    if length > block.len() {
        let mut hash = Sha256::new();
        key.iter().for_each(|part| hash.update(part));
        block.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    } else {
        block.iter_mut().zip(key.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Expands the caller's entropy: a 64-bit counter with a good mixer (splitmix64), seeded by all of it.
#[derive(Debug, Clone)]
struct Filler(u64);

impl Filler {
    fn new(entropy: &Entropy) -> Self {
        let mut filler = Self(0);
        for chunk in entropy.0.chunks(8) {
            let word = chunk.iter().fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
            filler.0 ^= word;
            filler.0 = filler.next();
        }
        filler
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self) -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        for chunk in packet.chunks_mut(8) {
            chunk.iter_mut().zip(self.next().to_be_bytes()).for_each(|(to, from)| *to = from);
        }
        packet
    }

    /// C1 or S1: time, version, filler.
    fn packet(&mut self, now_ms: u32, version: [u8; 4]) -> [u8; PACKET] {
        let mut packet = self.bytes();
        let head = now_ms.to_be_bytes().into_iter().chain(version);
        packet.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy(seed: u8) -> Entropy {
        Entropy([seed; 64])
    }

    fn server() -> ServerHandshake {
        ServerHandshake::new(entropy(1), 1000, false)
    }

    /// What a server makes of `pieces`: its last step, its answer, and the bytes it left.
    fn serve<'a>(
        mut server: ServerHandshake,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Step, Vec<u8>, Vec<u8>), HandshakeError> {
        let (mut out, mut left, mut step) = (Vec::new(), Vec::new(), Step::NeedMore);
        for mut input in pieces {
            if step == Step::NeedMore {
                step = server.feed(&mut input, &mut out)?;
            }
            assert!(step != Step::NeedMore || input.is_empty(), "all is taken while more is needed");
            left.extend_from_slice(input);
        }
        Ok((step, out, left))
    }

    fn done(kind: Kind) -> Step {
        Step::Done { kind, client_ip: None }
    }

    fn packet(head: [u8; 8]) -> [u8; PACKET] {
        let mut packet = core::array::from_fn(|i| (i * 7 + 3) as u8);
        packet[..8].copy_from_slice(&head);
        packet
    }

    /// C0 C1 C2 with the head given, and a chunk after them.
    fn simple_client(head: [u8; 8]) -> Vec<u8> {
        [&[3][..], &packet(head), &packet([9; 8]), b"chunks"].concat()
    }

    fn hex(text: &str) -> [u8; 32] {
        core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
    }

    /// Computed apart from this code, for the packet of bytes 3, 10, 17 and so on.
    #[test]
    fn digest_vectors() {
        let plain: [u8; PACKET] = core::array::from_fn(|i| (i * 7 + 3) as u8);
        for (schema, at, name, want) in [
            (
                Schema::KeyFirst,
                942,
                CLIENT_NAME,
                "492c04ebd265e6343c4c12f5580a46399bec2724821f27f321b95ca75b63b318",
            ),
            (
                Schema::KeyFirst,
                942,
                SERVER_NAME,
                "01d1722f262d0920a2fd6c2cff614d034585bbacbc28b5c77a88ca2fc0c3b984",
            ),
            (
                Schema::DigestFirst,
                290,
                CLIENT_NAME,
                "36d27b365b84e5e55f376e2f24f3a7dd6b8b5e9b002f035f99366c07e43b8d41",
            ),
            (
                Schema::DigestFirst,
                290,
                SERVER_NAME,
                "2e691a99791972c8b772eb258df6475daab3454c59f81df497d3012cce3ec8bc",
            ),
        ] {
            let mut signed = plain;
            sign_packet(&mut signed, schema, name);
            assert_eq!(signed[at..at + 32], hex(want));
            assert_eq!((&signed[..at], &signed[at + 32..]), (&plain[..at], &plain[at + 32..]));
            assert_eq!(find_digest(&signed, name), Some((schema, hex(want))));
        }
        let digest: [u8; 32] = core::array::from_fn(|i| i as u8);
        for (name, want) in [
            (CLIENT_NAME, "284c96e80458de5bca470ddda3f8a553d89856199073a49d480ad6b6805f425f"),
            (SERVER_NAME, "7fce027fd61c568e1d886d89070214fd2a2391e2c75bf93581cd361dab63b9fa"),
        ] {
            let key = hmac(&[name, &KEY_TAIL], &[&digest]);
            assert_eq!(hmac(&[&key], &[&plain[..1504]]), hex(want));
        }
    }

    #[test]
    fn digest_places_wrap_within_their_block() {
        for (offset, first, second) in
            [([0; 4], 12, 776), ([181, 182, 182, 182], 739, 1503), ([182; 4], 12, 776), ([255; 4], 304, 1068)]
        {
            let mut packet = [0; PACKET];
            packet[8..12].copy_from_slice(&offset);
            packet[772..776].copy_from_slice(&offset);
            assert_eq!(Schema::DigestFirst.digest_at(&packet), Some(first));
            assert_eq!(Schema::KeyFirst.digest_at(&packet), Some(second));
            for schema in [Schema::DigestFirst, Schema::KeyFirst] {
                packet[4] = 1;
                sign_packet(&mut packet, schema, CLIENT_NAME);
                assert_eq!(find_digest(&packet, CLIENT_NAME).map(|found| found.0), Some(schema));
            }
        }
    }

    #[test]
    fn a_simple_client_gets_its_c1_back() {
        let client = simple_client([0, 0, 1, 0, 0, 0, 0, 0]);
        let (step, out, left) = serve(server(), [&client[..]]).unwrap();
        assert_eq!((step, &left[..]), (done(Kind::Simple), &b"chunks"[..]));
        assert_eq!(out.len(), 1 + 2 * PACKET);
        assert_eq!(out[..9], [3, 0, 0, 3, 0xE8, 0, 0, 0, 0], "S0, the time, no version");
        assert_eq!(out[1 + PACKET..], client[1..1 + PACKET]);
    }

    #[test]
    fn a_version_without_a_valid_digest_is_simple() {
        let client = simple_client([0, 0, 1, 0, 9, 0, 124, 2]);
        let (step, out, _) = serve(server(), [&client[..]]).unwrap();
        assert_eq!(step, done(Kind::Simple));
        assert_eq!(out[5..9], [0; 4], "a digest is promised to nobody who has none");
    }

    #[test]
    fn a_digest_with_version_zero_is_simple() {
        let mut c1 = packet([0; 8]);
        sign_packet(&mut c1, Schema::DigestFirst, CLIENT_NAME);
        let (step, out, _) = serve(server(), [&[3][..], &c1, &c1]).unwrap();
        assert_eq!((step, &out[1 + PACKET..]), (done(Kind::Simple), &c1[..]));
    }

    #[test]
    fn both_schemas_get_a_signed_answer() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            let mut c1 = packet([0, 0, 0, 0, 9, 0, 124, 2]);
            sign_packet(&mut c1, schema, CLIENT_NAME);
            let at = schema.digest_at(&c1).unwrap();
            let (step, out, left) = serve(server(), [&[3][..], &c1, &packet([0; 8])]).unwrap();
            assert_eq!((step, left.len()), (done(schema.kind()), 0));
            let (s1, s2) = out[1..].split_at(PACKET);
            assert_ne!(s1[4..8], [0; 4]);
            assert_eq!(find_digest(s1, SERVER_NAME).unwrap().0, schema, "the answer has the client's schema");
            let key = hmac(&[SERVER_NAME, &KEY_TAIL], &[&c1[at..at + 32]]);
            assert_eq!(s2[1504..], hmac(&[&key], &[&s2[..1504]]));
            assert_ne!(s2[4..8], [0; 4], "librtmp takes zeros for a refusal");
        }
    }

    #[test]
    fn the_answer_does_not_wait_for_c2() {
        let client = simple_client([0; 8]);
        let (step, out, _) = serve(server(), [&client[..PACKET]]).unwrap();
        assert_eq!((step, out.len()), (Step::NeedMore, 0));
        let (step, out, _) = serve(server(), [&client[..1 + PACKET]]).unwrap();
        assert_eq!((step, out.len()), (Step::NeedMore, 1 + 2 * PACKET));
    }

    #[test]
    fn every_split_gives_the_same() {
        let mut complex = simple_client([0, 0, 0, 7, 9, 0, 124, 2]);
        let c1: &mut [u8; PACKET] = complex[1..].first_chunk_mut().unwrap();
        sign_packet(c1, Schema::KeyFirst, CLIENT_NAME);
        let proxied = [&[0xF3, 0, 6, 10, 1, 2, 3, 0xAA, 0xBB][..], &simple_client([0; 8])].concat();
        for client in [simple_client([0; 8]), complex, proxied] {
            let server = || ServerHandshake::new(entropy(3), 77, true);
            let whole = serve(server(), [&client[..]]).unwrap();
            assert_eq!(whole.2, b"chunks");
            assert_eq!(serve(server(), client.chunks(1)).unwrap(), whole);
            for cut in (0..20).chain((20..client.len()).step_by(13)).chain(client.len() - 20..client.len()) {
                let (first, second) = client.split_at(cut);
                assert_eq!(serve(server(), [first, second]).unwrap(), whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn other_protocols_are_named_and_the_error_is_final() {
        for (bytes, want, word) in [
            (&b"GET / HTTP/1.1\r\n"[..], HandshakeError::Http, "http_server"),
            (b"POST /open/1", HandshakeError::Http, "HTTP"),
            (b"OPTIONS *", HandshakeError::Http, "HTTP"),
            (b"HEAD /", HandshakeError::Http, "HTTP"),
            (&[6], HandshakeError::Rtmpe, "RTMPE"),
            (&[8], HandshakeError::Rtmpe, "RTMPE"),
            (&[0x16, 3, 1], HandshakeError::Tls, "rtmps"),
            (&[0], HandshakeError::BadVersion(0), "first byte is 0"),
            (&[0xF3, 0, 4], HandshakeError::UntrustedProxy, "trust"),
        ] {
            let (mut server, mut out) = (server(), Vec::new());
            assert_eq!(server.feed(&mut &bytes[..], &mut out), Err(want));
            assert!(want.to_string().contains(word), "{want}");
            assert_eq!(server.feed(&mut &simple_client([0; 8])[..], &mut out), Err(want));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_trusted_proxy_gives_the_clients_address() {
        let server = || ServerHandshake::new(entropy(1), 0, true);
        for (prefix, ip) in [
            (&[0xF3, 0, 4, 192, 168, 1, 20][..], Some(Ipv4Addr::new(192, 168, 1, 20))),
            (&[0xF3, 0, 7, 10, 0, 0, 1, 0xF3, 0xF3, 3][..], Some(Ipv4Addr::new(10, 0, 0, 1))),
            (&[0xF3, 0, 0][..], None),
            (&[0xF3, 0, 3, 10, 0, 0][..], None),
            (&[][..], None),
        ] {
            let client = [prefix, &simple_client([0; 8])].concat();
            let (step, _, left) = serve(server(), [&client[..]]).unwrap();
            assert_eq!(step, Step::Done { kind: Kind::Simple, client_ip: ip });
            assert_eq!(left, b"chunks");
        }
        let long = serve(server(), [&[0xF3, 0x04, 0x01][..]]);
        assert_eq!(long, Err(HandshakeError::ProxyPrefixTooLong(1025)));
        let most = [&[0xF3, 0x04, 0x00][..], &[0; 1024], &simple_client([0; 8])].concat();
        assert!(serve(server(), [&most[..]]).is_ok());
        let twice = serve(server(), [&[0xF3, 0, 4, 1, 2, 3, 4, 0xF3][..]]);
        assert_eq!(twice, Err(HandshakeError::BadVersion(0xF3)));
    }

    /// Runs both ends against each other and gives what each of them saw.
    fn both(mut client: ClientHandshake) -> (Step, Step) {
        let (mut server, mut to_server, mut to_client) = (server(), Vec::new(), Vec::new());
        client.start(&mut to_server);
        assert_eq!(server.feed(&mut &to_server[..], &mut to_client), Ok(Step::NeedMore));
        let mut c2 = Vec::new();
        to_client.extend_from_slice(b"chunks");
        let mut input = &to_client[..];
        let client_step = client.feed(&mut input, &mut c2).unwrap();
        assert_eq!((input, c2.len()), (&b"chunks"[..], PACKET));
        (server.feed(&mut &c2[..], &mut Vec::new()).unwrap(), client_step)
    }

    #[test]
    fn our_client_and_our_server_understand_each_other() {
        for (complex, kind) in [(false, Kind::Simple), (true, Kind::Complex1)] {
            for seed in 0..20 {
                assert_eq!(both(ClientHandshake::new(entropy(seed), 5, complex)), (done(kind), done(kind)));
            }
        }
    }

    #[test]
    fn the_client_sends_c2_when_s1_is_whole_and_falls_back_to_simple() {
        let mut client = ClientHandshake::new(entropy(1), 5, true);
        let mut out = Vec::new();
        client.start(&mut out);
        assert_eq!(find_digest(&out[1..], CLIENT_NAME).unwrap().0, Schema::DigestFirst);
        out.clear();
        let s1 = packet([0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(client.feed(&mut &[3][..], &mut out), Ok(Step::NeedMore));
        for byte in s1 {
            assert!(out.is_empty());
            assert_eq!(client.feed(&mut &[byte][..], &mut out), Ok(Step::NeedMore));
        }
        assert_eq!(out, s1);
        let mut s2 = &[&[0; PACKET][..], b"x"].concat()[..];
        assert_eq!(client.feed(&mut s2, &mut out), Ok(done(Kind::Simple)));
        assert_eq!((s2, out.len()), (&b"x"[..], PACKET));
    }

    #[test]
    fn the_client_signs_its_answer_to_a_server_with_a_digest() {
        let mut client = ClientHandshake::new(entropy(1), 5, true);
        client.start(&mut Vec::new());
        let mut s1 = packet([0, 0, 0, 1, 4, 5, 0, 1]);
        sign_packet(&mut s1, Schema::KeyFirst, SERVER_NAME);
        let (_, digest) = find_digest(&s1, SERVER_NAME).unwrap();
        let mut c2 = Vec::new();
        client.feed(&mut &[&[3][..], &s1].concat()[..], &mut c2).unwrap();
        let key = hmac(&[CLIENT_NAME, &KEY_TAIL], &[&digest]);
        assert_eq!(c2[1504..], hmac(&[&key], &[&c2[..1504]]));
    }

    #[test]
    fn the_client_names_what_is_no_rtmp_server() {
        for (first, want) in
            [(b'H', HandshakeError::Http), (6, HandshakeError::Rtmpe), (0x15, HandshakeError::Tls)]
        {
            let mut client = ClientHandshake::new(entropy(1), 5, false);
            assert_eq!(client.feed(&mut &[first][..], &mut Vec::new()), Err(want));
        }
    }

    #[test]
    fn filler_depends_on_all_entropy_and_differs_from_one_packet_to_the_next() {
        let mut changed = Entropy([7; 64]);
        changed.0[63] = 8;
        let (mut a, mut b) = (Filler::new(&Entropy([7; 64])), Filler::new(&changed));
        let first = a.packet(0, [0; 4]);
        assert_ne!(first, b.packet(0, [0; 4]));
        assert_ne!(first, a.packet(0, [0; 4]));
    }

    #[test]
    fn the_state_is_small_once_answered() {
        let (mut server, mut out) = (server(), Vec::new());
        server.feed(&mut &simple_client([0; 8])[..1 + PACKET], &mut out).unwrap();
        assert!(matches!(server.state, ServerState::C2 { left: PACKET, .. }), "C1 is not kept");
        assert!(size_of::<ServerHandshake>() <= 64, "{}", size_of::<ServerHandshake>());
    }
}
