//! Protocol state machines without I/O: they are fed bytes and the time, and give events and bytes.
#![forbid(unsafe_code)]
pub mod http;
pub mod rtmp;
