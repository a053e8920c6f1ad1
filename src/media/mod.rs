//! What a stream is in memory: immutable frames, the bounded feed that holds them once, the cursor that each
//! viewer keeps into it, the time line, and the framing that is made at the moment of writing.
//!
//! ```text
//!   publisher ── Stream::ingest ──► Timeline ──► Feed (frames, GOP, codec sets)
//!                                                 ▲ ▲ ▲
//!                                        Cursor ──┘ │ └── Cursor      (a sequence number and an offset each)
//!                                           └── mux::Gather ──► one writev
//! ```
#![forbid(unsafe_code)]
pub mod batch;
pub mod cursor;
pub mod derived;
pub mod dvr;
pub mod feed;
pub mod frame;
pub mod hls;
pub mod mux;
pub mod package;
pub mod stream;
pub mod timeline;
