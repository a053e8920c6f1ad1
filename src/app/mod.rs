//! Joins the layers: the server and its loop, one file for each role.
//!
//! - [`server`] the loop: accept, read, timers, write, close; a budget for each
//! - [`world`] what all connections share
//! - [`conn`] one connection; [`rtmp`] and [`http`] what its peer may do; [`viewer`] how a stream is written to it
//! - [`hls`] segments and the requests for them; [`shared`] how bytes in memory go to many
//! - [`access`] who may publish and play; [`hooks`] other servers that are asked and told
//! - [`access`] who may publish and play
//! - [`relay`] streams that are sent on to other servers
//! - [`hub`] the streams by name, their publishers; [`fanout`] their viewers, in phases
//! - [`api`] the HTTP API; [`json`] how JSON is written
//! - [`page`] the page for browsers, with [`listing`] (what is live) and [`rate`] (how fast it comes in)
//! - [`files`] files over HTTP, read by a helper thread
//! - [`process`] programs beside the server: `ingest`, `transcode`, `exec`
//! - [`demo`] the built-in picture; [`banner`] and [`qr`] what is printed at the start
//! - [`setup`] where the configuration comes from; [`reload`] what changes when it is read again; [`service`] daemon,
//!   pid file, user
#![forbid(unsafe_code)]
pub mod access;
pub mod api;
pub mod banner;
pub mod conn;
pub mod copies;
pub mod demo;
pub mod dvr;
pub mod fanout;
pub mod files;
pub mod hls;
pub mod hooks;
pub mod http;
pub mod hub;
pub mod json;
pub mod listing;
pub mod memory;
pub mod mount;
pub mod page;
pub mod process;
pub mod qr;
pub mod quiet;
pub mod rate;
pub mod relay;
pub mod reload;
pub mod rtmp;
pub mod server;
pub mod service;
pub mod setup;
pub mod shared;
pub mod viewer;
pub mod world;
