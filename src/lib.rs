//! runnel, a live streaming server for small machines: the map of the house.
//!
//! | layer | what it is | may use |
//! |---|---|---|
//! | [`wire`] | codecs: bytes to values and back | nothing of ours |
//! | [`proto`] | protocols as state machines without I/O | `wire` |
//! | [`media`] | a stream in memory: frames, feed, cursors, framing | `wire` |
//! | [`conf`] | the configuration language | `wire` |
//! | [`net`] | sockets, clock, signals; all `unsafe` | nothing of ours |
//! | [`app`] | joins them: the loop and its roles | all |
//!
//! The life of a frame: a publisher's bytes become messages in `proto::rtmp`, frames in `media::stream`, and stay once
//! in the stream's `media::feed`; each viewer's `media::cursor` points into it, and `app::viewer` writes what is due
//! with heads made on the spot. ARCHITECTURE.md tells it in full.
pub mod app;
pub mod conf;
pub mod media;
pub mod net;
pub mod proto;
pub mod wire;
