//! Pure codecs: bytes to values and back. Depends on nothing else of runnel.
#![forbid(unsafe_code)]
pub mod amf0;
pub mod avtag;
pub mod flv;
pub mod names;
pub mod read;
