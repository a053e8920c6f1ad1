//! A reader of FLV, strict where a player would be: signature, PreviousTagSize, stream id.
use std::path::Path;

/// One FLV tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// 8 audio, 9 video, 18 script.
    pub(crate) kind: u8,
    /// Milliseconds, with the extension byte on top.
    pub(crate) ts: u32,
    /// The body of the tag.
    pub(crate) data: Vec<u8>,
}

impl Tag {
    fn extended(&self) -> bool {
        self.kind == 9 && self.data.first().is_some_and(|first| first & 0x80 != 0)
    }

    /// The decoder configuration of video (AVC, or an Enhanced RTMP sequence start).
    pub(crate) fn is_video_header(&self) -> bool {
        match self.extended() {
            true => self.data[0] & 0x0f == 0,
            false => {
                self.kind == 9
                    && self.data.first().is_some_and(|b| b & 0x0f == 7)
                    && self.data.get(1) == Some(&0)
            }
        }
    }

    /// The decoder configuration of AAC.
    pub(crate) fn is_audio_header(&self) -> bool {
        self.kind == 8 && self.data.first().is_some_and(|b| b >> 4 == 10) && self.data.get(1) == Some(&0)
    }

    /// A coded video frame.
    pub(crate) fn is_picture(&self) -> bool {
        match self.extended() {
            true => matches!(self.data[0] & 0x0f, 1 | 3),
            false => {
                self.kind == 9
                    && self.data.first().is_some_and(|b| b & 0x0f == 7)
                    && self.data.get(1) == Some(&1)
            }
        }
    }

    /// A coded video frame at which a decoder can begin.
    pub(crate) fn is_key(&self) -> bool {
        self.is_picture() && self.data[0] & 0x70 == 0x10
    }

    /// A coded audio frame.
    pub(crate) fn is_sound(&self) -> bool {
        self.kind == 8 && !self.data.is_empty() && !self.is_audio_header()
    }

    /// A coded frame of either kind.
    pub(crate) fn is_frame(&self) -> bool {
        self.is_picture() || self.is_sound()
    }
}

/// Tags out of bytes that come in any split.
#[derive(Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    at: usize,
    /// The flags byte of the file header, once it has been read: 4 audio, 1 video.
    pub(crate) flags: Option<u8>,
}

impl Parser {
    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..std::mem::take(&mut self.at));
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole tag.
    pub(crate) fn next(&mut self) -> Option<Tag> {
        if self.flags.is_none() {
            let head = self.buffer.get(..13)?;
            assert_eq!(&head[..4], b"FLV\x01", "the signature of FLV");
            assert_eq!(&head[5..], [0, 0, 0, 9, 0, 0, 0, 0], "header size and first PreviousTagSize");
            self.flags = Some(head[4]);
            self.at = 13;
        }
        let rest = &self.buffer[self.at..];
        let head = rest.get(..11)?;
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let data = rest.get(11..11 + size)?.to_vec();
        let trailer = rest.get(11 + size..15 + size)?;
        assert!(matches!(head[0], 8 | 9 | 18), "a tag of type {}", head[0]);
        assert_eq!(u32::from_be_bytes(trailer.try_into().unwrap()) as usize, 11 + size, "PreviousTagSize");
        assert_eq!(&head[8..11], [0, 0, 0], "the stream id");
        let ts = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        self.at += 15 + size;
        Some(Tag { kind: head[0], ts, data })
    }

    /// Bytes of an unfinished tag.
    pub(crate) fn left(&self) -> usize {
        self.buffer.len() - self.at
    }
}

/// All tags of a file; fails on a cut tag at its end.
pub(crate) fn read(path: &Path) -> Vec<Tag> {
    let mut parser = Parser::default();
    parser.push(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let tags = std::iter::from_fn(|| parser.next()).collect();
    assert_eq!(parser.left(), 0, "{} ends within a tag", path.display());
    tags
}

/// Fails unless the timestamps of each kind never go back.
pub(crate) fn assert_monotonic(tags: &[Tag]) {
    for kind in [8, 9] {
        let mut last = 0;
        for tag in tags.iter().filter(|tag| tag.kind == kind) {
            assert!(tag.ts >= last, "timestamps of type {kind} go back from {last} to {}", tag.ts);
            last = tag.ts;
        }
    }
}

/// Where the frames of one kind in `part` stand in `whole`: the index of the first. Fails unless they are a run
/// without a gap.
pub(crate) fn assert_run(part: &[Tag], whole: &[Tag], kind: u8) -> usize {
    let pick = |tags: &[Tag]| -> Vec<Vec<u8>> {
        tags.iter().filter(|tag| tag.kind == kind && tag.is_frame()).map(|tag| tag.data.clone()).collect()
    };
    let (part, whole) = (pick(part), pick(whole));
    let first = part.first().unwrap_or_else(|| panic!("no frame of type {kind}"));
    let start = whole.iter().position(|data| data == first).expect("the first frame is one of the source");
    for (index, data) in part.iter().enumerate() {
        let same = whole.get(start + index) == Some(data);
        assert!(
            same,
            "type {kind}: frame {index} of {} is not frame {} of the source",
            part.len(),
            start + index
        );
    }
    start
}
