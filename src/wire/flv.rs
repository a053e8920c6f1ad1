//! The FLV container: heads for what we send, a demuxer for what we receive.
//! Spec: Adobe Flash Video File Format 10.1, annex E.2 to E.4.
//!
//! In:  any split of the byte stream.  Out: whole tags, in order.
//! Invariants: one tag is held at most; its buffer grows with the bytes received, never with the declared length.
//! Deviations: PreviousTagSize is skipped unread (many writers get it wrong); tags of unknown type are skipped;
//! the file version and the reserved header bits are not checked.

use bytes::Bytes;

use super::read::Reader;

/// Length of [`header`]: the file header and the first PreviousTagSize.
pub const HEADER_LEN: usize = 13;
/// Length of [`tag_head`].
pub const TAG_HEAD_LEN: usize = 11;
/// Length of [`tag_tail`].
pub const TAG_TAIL_LEN: usize = 4;
/// The longest payload a tag head can declare, in bytes.
pub const MAX_PAYLOAD: u32 = 0x00ff_ffff;

const FILE_HEADER_LEN: usize = 9;
/// A header may declare extra bytes before the first tag; more than this is not a header.
const MAX_HEADER_EXTRA: usize = 64 * 1024;
/// The least a payload buffer grows by, in bytes.
const MIN_GROWTH: usize = 4 * 1024;
const FLAG_AUDIO: u8 = 0x04;
const FLAG_VIDEO: u8 = 0x01;
const TYPE_MASK: u8 = 0x1f;
const FILTER_BIT: u8 = 0x20;

/// What a tag carries (E.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagType {
    /// One audio message.
    Audio = 8,
    /// One video message.
    Video = 9,
    /// Script data: a name and its AMF 0 values.
    Script = 18,
}

impl TagType {
    /// The type for a tag-type (or RTMP message-type) number.
    pub fn from_u8(value: u8) -> Option<TagType> {
        match value {
            8 => Some(TagType::Audio),
            9 => Some(TagType::Video),
            18 => Some(TagType::Script),
            _ => None,
        }
    }
}

/// The file header with PreviousTagSize0. `audio` and `video` say what the stream will carry.
pub fn header(audio: bool, video: bool) -> [u8; HEADER_LEN] {
    let flags = if audio { FLAG_AUDIO } else { 0 } | if video { FLAG_VIDEO } else { 0 };
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, FILE_HEADER_LEN as u8, 0, 0, 0, 0]
}

/// The head of a tag whose payload has `len` bytes (at most [`MAX_PAYLOAD`]), at `timestamp_ms`.
pub fn tag_head(kind: TagType, len: u32, timestamp_ms: u32) -> [u8; TAG_HEAD_LEN] {
    debug_assert!(len <= MAX_PAYLOAD, "an FLV tag cannot carry {len} bytes");
    let [_, l2, l1, l0] = len.to_be_bytes();
    let [t3, t2, t1, t0] = timestamp_ms.to_be_bytes();
    [kind as u8, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0]
}

/// The PreviousTagSize that follows a tag whose payload has `len` bytes.
pub fn tag_tail(len: u32) -> [u8; TAG_TAIL_LEN] {
    len.saturating_add(TAG_HEAD_LEN as u32).to_be_bytes()
}

/// One whole tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// What the payload is.
    pub kind: TagType,
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// The tag's body.
    pub payload: Bytes,
}

/// What the file header claims; the claim is often wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// The header says that audio tags follow.
    pub audio: bool,
    /// The header says that video tags follow.
    pub video: bool,
}

/// Why a byte stream is not an FLV that can be relayed. The demuxer repeats it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlvError {
    /// The first bytes are not `FLV`.
    NotFlv,
    /// The header declares itself longer than any real header.
    BadHeader,
    /// A tag declares more than the limit given to [`Demuxer::new`].
    TagTooLarge {
        /// Declared length in bytes.
        size: u32,
        /// The limit in bytes.
        max: u32,
    },
    /// A tag has its filter bit set: its payload is encrypted (annex F).
    Encrypted,
}

impl std::fmt::Display for FlvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FlvError::NotFlv => f.write_str("not an FLV stream: it does not begin with \"FLV\""),
            FlvError::BadHeader => f.write_str("broken FLV header: data offset out of range"),
            FlvError::TagTooLarge { size, max } => {
                write!(
                    f,
                    "an FLV tag of {size} bytes is over the limit of {max}: stream corrupt or bit rate too high"
                )
            }
            FlvError::Encrypted => {
                f.write_str("encrypted FLV tags cannot be relayed: send the stream unencrypted")
            }
        }
    }
}

impl std::error::Error for FlvError {}

#[derive(Debug)]
enum State {
    Header(Partial<FILE_HEADER_LEN>),
    Skip { left: usize },
    Head(Partial<TAG_HEAD_LEN>),
    Payload { kind: TagType, timestamp: u32, size: usize, buf: Vec<u8> },
    Failed(FlvError),
}

/// Takes tags out of a byte stream that arrives in any pieces.
#[derive(Debug)]
pub struct Demuxer {
    state: State,
    max_tag: u32,
    flags: Option<Flags>,
}

impl Demuxer {
    /// Refuses tags whose payload is over `max_tag` bytes.
    pub fn new(max_tag: usize) -> Self {
        let max_tag = u32::try_from(max_tag).unwrap_or(MAX_PAYLOAD).min(MAX_PAYLOAD);
        Demuxer { state: State::Header(Partial::new()), max_tag, flags: None }
    }

    /// The flags of the file header, once it has arrived.
    pub fn flags(&self) -> Option<Flags> {
        self.flags
    }

    /// True between two tags: a stream that ends here lost nothing.
    pub fn is_between_tags(&self) -> bool {
        match &self.state {
            State::Head(partial) => partial.have == 0,
            State::Skip { .. } => true,
            State::Header(_) | State::Payload { .. } | State::Failed(_) => false,
        }
    }

    /// Consumes bytes from the front of `input` up to the end of one tag, and answers that tag.
    /// `Ok(None)`: `input` was used up and the tag is not complete.
    ///
    /// # Errors
    /// When the stream cannot be followed any further; each later call answers the same error.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Tag>, FlvError> {
        loop {
            let next = match &mut self.state {
                State::Header(partial) => match partial.fill(input) {
                    None => return Ok(None),
                    Some(head) => self.file_header(&head),
                },
                State::Skip { left } => {
                    let n = (*left).min(input.len());
                    advance(input, n);
                    *left -= n;
                    if *left > 0 {
                        return Ok(None);
                    }
                    Ok(State::Head(Partial::new()))
                }
                State::Head(partial) => match partial.fill(input) {
                    None => return Ok(None),
                    Some(head) => self.tag_header(&head),
                },
                State::Payload { kind, timestamp, size, buf } => {
                    let Some(payload) = collect(buf, *size, input) else { return Ok(None) };
                    let tag = Tag { kind: *kind, timestamp: *timestamp, payload };
                    self.state = State::Skip { left: TAG_TAIL_LEN };
                    return Ok(Some(tag));
                }
                State::Failed(error) => return Err(*error),
            };
            self.state = next.unwrap_or_else(State::Failed);
        }
    }

    fn file_header(&mut self, head: &[u8; FILE_HEADER_LEN]) -> Result<State, FlvError> {
        let mut r = Reader::new(head);
        if r.take(3) != Some(b"FLV") {
            return Err(FlvError::NotFlv);
        }
        let (Some(_version), Some(flags), Some(offset)) = (r.u8(), r.u8(), r.u32()) else {
            return Err(FlvError::BadHeader);
        };
        self.flags = Some(Flags { audio: flags & FLAG_AUDIO != 0, video: flags & FLAG_VIDEO != 0 });
        let extra = usize::try_from(offset).unwrap_or(usize::MAX).saturating_sub(FILE_HEADER_LEN);
        if extra > MAX_HEADER_EXTRA {
            return Err(FlvError::BadHeader);
        }
        Ok(State::Skip { left: extra + TAG_TAIL_LEN })
    }

    fn tag_header(&self, head: &[u8; TAG_HEAD_LEN]) -> Result<State, FlvError> {
        let &[kind, l2, l1, l0, t2, t1, t0, t3, ..] = head;
        let declared = u32::from_be_bytes([0, l2, l1, l0]);
        let size = declared as usize;
        let Some(tag_type) = TagType::from_u8(kind & TYPE_MASK) else {
            return Ok(State::Skip { left: size + TAG_TAIL_LEN });
        };
        if kind & FILTER_BIT != 0 {
            return Err(FlvError::Encrypted);
        }
        if declared > self.max_tag {
            return Err(FlvError::TagTooLarge { size: declared, max: self.max_tag });
        }
        let timestamp = u32::from_be_bytes([t3, t2, t1, t0]);
        Ok(State::Payload { kind: tag_type, timestamp, size, buf: Vec::new() })
    }
}

/// Moves payload bytes from `input`; the whole payload once `size` bytes are there.
fn collect(buf: &mut Vec<u8>, size: usize, input: &mut &[u8]) -> Option<Bytes> {
    let wanted = size.saturating_sub(buf.len());
    if buf.is_empty() && input.len() >= wanted {
        return Some(Bytes::copy_from_slice(advance(input, wanted)));
    }
    let piece = advance(input, wanted);
    if buf.capacity() - buf.len() < piece.len() {
        let grow = piece.len().max(buf.len()).max(MIN_GROWTH).min(wanted);
        buf.reserve_exact(grow);
    }
    buf.extend_from_slice(piece);
    (buf.len() == size).then(|| Bytes::from(std::mem::take(buf)))
}

/// Takes up to `n` bytes off the front of `input`.
fn advance<'a>(input: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, rest) = input.split_at_checked(n).unwrap_or((input, &[]));
    *input = rest;
    head
}

/// A fixed-size header that arrives in pieces.
#[derive(Debug)]
struct Partial<const N: usize> {
    buf: [u8; N],
    have: usize,
}

impl<const N: usize> Partial<N> {
    fn new() -> Self {
        Partial { buf: [0; N], have: 0 }
    }

    fn fill(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let piece = advance(input, N.saturating_sub(self.have));
        for (slot, byte) in self.buf.iter_mut().skip(self.have).zip(piece) {
            *slot = *byte;
        }
        self.have += piece.len();
        (self.have == N).then_some(self.buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Noise;

    fn file(tags: &[(TagType, u32, Vec<u8>)]) -> Vec<u8> {
        let mut out = header(true, true).to_vec();
        for (kind, timestamp, payload) in tags {
            let len = payload.len() as u32;
            out.extend(tag_head(*kind, len, *timestamp));
            out.extend(payload);
            out.extend(tag_tail(len));
        }
        out
    }

    fn sample() -> Vec<(TagType, u32, Vec<u8>)> {
        vec![
            (TagType::Script, 0, vec![2, 0, 1, b'x']),
            (TagType::Video, 0, vec![0x17, 0, 0, 0, 0, 1]),
            (TagType::Audio, 23, vec![]),
            (TagType::Video, 0x0100_0002, (0..300).map(|n| n as u8).collect()),
            (TagType::Audio, u32::MAX, vec![0xaf, 1, 9]),
        ]
    }

    fn as_tags(tags: &[(TagType, u32, Vec<u8>)]) -> Vec<Tag> {
        let tag = |(kind, timestamp, payload): &(TagType, u32, Vec<u8>)| Tag {
            kind: *kind,
            timestamp: *timestamp,
            payload: payload.clone().into(),
        };
        tags.iter().map(tag).collect()
    }

    fn demux(demuxer: &mut Demuxer, pieces: &[&[u8]]) -> Result<Vec<Tag>, FlvError> {
        let mut tags = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(tag) = demuxer.push(&mut input)? {
                tags.push(tag);
            }
            assert!(input.is_empty(), "Ok(None) must mean that the input was used up");
        }
        Ok(tags)
    }

    #[test]
    fn heads_are_laid_out_as_specified() {
        assert_eq!(header(true, true), *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(header(true, false)[4], 4);
        assert_eq!(header(false, true)[4], 1);
        assert_eq!(header(false, false)[4], 0);
        assert_eq!(tag_head(TagType::Video, 0x01_0203, 0x0405_0607), [9, 1, 2, 3, 5, 6, 7, 4, 0, 0, 0]);
        assert_eq!(tag_tail(0x0203), [0, 0, 2, 0x0e]);
    }

    #[test]
    fn any_split_gives_the_same_tags() {
        let bytes = file(&sample());
        let expected = as_tags(&sample());
        for cut in 0..=bytes.len() {
            let mut demuxer = Demuxer::new(1000);
            let (a, b) = bytes.split_at(cut);
            assert_eq!(demux(&mut demuxer, &[a, b]), Ok(expected.clone()), "split at {cut}");
            assert!(demuxer.is_between_tags());
            assert_eq!(demuxer.flags(), Some(Flags { audio: true, video: true }));
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(demux(&mut Demuxer::new(1000), &single), Ok(expected));
    }

    #[test]
    fn a_payload_in_pieces_holds_no_spare_memory() {
        let payload = vec![7; 100_000];
        let bytes = file(&[(TagType::Video, 0, payload.clone())]);
        let pieces: Vec<&[u8]> = bytes.chunks(1448).collect();
        let tags = demux(&mut Demuxer::new(200_000), &pieces).unwrap();
        let back = tags.into_iter().next().unwrap().payload;
        assert_eq!(back, payload);
        assert_eq!(Vec::from(back).capacity(), payload.len());
    }

    #[test]
    fn memory_follows_the_bytes_received_not_the_length_declared() {
        let mut demuxer = Demuxer::new(usize::MAX);
        let mut bytes = header(false, true).to_vec();
        bytes.extend(tag_head(TagType::Video, MAX_PAYLOAD, 0));
        bytes.extend([0; 10_000]);
        assert_eq!(demux(&mut demuxer, &[&bytes[..20_00], &bytes[20_00..]]), Ok(vec![]));
        let State::Payload { buf, .. } = &demuxer.state else { panic!("not in a payload") };
        assert!(buf.capacity() <= 2 * bytes.len(), "{}", buf.capacity());
        assert!(!demuxer.is_between_tags());
    }

    #[test]
    fn wrong_sizes_extra_header_bytes_and_unknown_tags_are_passed_over() {
        let mut bytes = b"FLV\x01\x01\0\0\0\x0c".to_vec();
        bytes.extend([0xee; 3 + 4]);
        bytes.extend([15, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 1, 2, 3, 4]);
        bytes.extend(tag_head(TagType::Video, 1, 5));
        bytes.extend([0x27, 0xff, 0xff, 0xff, 0xff]);
        for size in 1..bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let mut demuxer = Demuxer::new(10);
            let expected = Tag { kind: TagType::Video, timestamp: 5, payload: Bytes::from_static(&[0x27]) };
            assert_eq!(demux(&mut demuxer, &pieces), Ok(vec![expected]), "pieces of {size}");
            assert_eq!(demuxer.flags(), Some(Flags { audio: false, video: true }));
        }
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_for_good() {
        let tag = |kind: u8, len: u8| {
            let mut bytes = header(true, true).to_vec();
            bytes.extend([kind, 0, 0, len, 0, 0, 0, 0, 0, 0, 0]);
            bytes
        };
        for (bytes, error) in [
            (b"HTTP/1.1 200".to_vec(), FlvError::NotFlv),
            (b"FLV\x01\x05\x01\0\0\x09".to_vec(), FlvError::BadHeader),
            (tag(8, 101), FlvError::TagTooLarge { size: 101, max: 100 }),
            (tag(0x29, 1), FlvError::Encrypted),
        ] {
            let mut demuxer = Demuxer::new(100);
            assert_eq!(demux(&mut demuxer, &[&bytes]), Err(error));
            assert_eq!(demuxer.push(&mut &header(true, true)[..]), Err(error));
            assert!(!error.to_string().is_empty());
        }
        assert!(demux(&mut Demuxer::new(100), &[&tag(8, 100)]).is_ok());
    }

    #[test]
    fn noise_never_panics() {
        let mut noise = Noise(77);
        let seed = file(&sample());
        for _ in 0..20_000 {
            let bytes = noise.mutate(&seed);
            let cut = noise.below(bytes.len() + 1);
            let (a, b) = bytes.split_at(cut);
            let _ = demux(&mut Demuxer::new(1000), &[a, b]);
        }
    }
}
