//! runnel: a live streaming server for small machines.
pub mod app;
pub mod conf;
pub mod media;
pub mod net;
pub mod proto;
pub mod wire;
