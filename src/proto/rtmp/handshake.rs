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
    /// A TLS record.
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
            Self::Http => f.write_str("HTTP came to the RTMP port: use the port of http_server or http_api"),
            Self::Rtmpe => f.write_str("RTMPE is not supported: use rtmp:// (or rtmps:// for encryption)"),
            Self::Tls => f.write_str("TLS came to the RTMP port: use rtmp://, or the port of rtmps"),
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

    /// Takes from `input` what belongs to the handshake and appends answers to `out`.
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
        out.extend_from_slice(&signed_answer(&mut self.filler, self.now_ms, SERVER_NAME, &digest));
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

    /// Takes from `input` what belongs to the handshake; appends C2 to `out` once S1 is whole.
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
        out.extend_from_slice(&signed_answer(&mut self.filler, self.now_ms, CLIENT_NAME, &digest));
        schema.kind()
    }
}

fn check_version(first: u8) -> Result<(), HandshakeError> {
    match first {
        VERSION => Ok(()),
        6 | 8 => Err(HandshakeError::Rtmpe),
        0x16 => Err(HandshakeError::Tls),
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
fn signed_answer(filler: &mut Filler, now_ms: u32, name: &[u8], digest: &[u8; DIGEST]) -> [u8; PACKET] {
    let mut packet = filler.packet(now_ms, [0; 4]);
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

    /// Time, version, filler.
    fn packet(&mut self, now_ms: u32, version: [u8; 4]) -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        for chunk in packet.chunks_mut(8) {
            chunk.iter_mut().zip(self.next().to_be_bytes()).for_each(|(to, from)| *to = from);
        }
        let head = now_ms.to_be_bytes().into_iter().chain(version);
        packet.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        packet
    }
}
