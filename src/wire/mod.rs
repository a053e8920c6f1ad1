//! Pure codecs: bytes to values and back. Depends on nothing else of runnel.
//!
//! Every decoder here is total: whatever bytes come, it answers a value, "not yet" or an error, in bounded memory.
#![forbid(unsafe_code)]
pub mod aac;
pub mod amf0;
mod amf3;
pub mod annexb;
pub mod av1;
pub mod avc;
pub mod avtag;
pub mod bits;
pub mod flv;
pub mod flv_index;
pub mod hevc;
pub mod inflate;
pub mod mp3;
pub mod mp4;
pub mod names;
pub mod read;
#[cfg(test)]
pub(crate) mod testing;
pub mod ts;
