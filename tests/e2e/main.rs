//! End-to-end tests: the built `runnel` program, driven by the tools that people use.
//!
//! `./tests/run` installs those tools and runs everything; `./tests/run e2e NAME` runs the tests whose name holds
//! NAME, `./tests/run cross` those of `cross`, which need the programs of `cross/build.sh`. Clips and other products are kept under `target/e2e`; the directory of a failed test stays in
//! `target/e2e/runs`, with the log of the server and of every tool.
//!
//! `support` has the rig (server, tools, clips, an FLV reader, small HTTP and RTMP clients written apart from
//! the ones in `src`, so that one mistake is not made twice); the other modules hold the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod api;
mod badinput;
mod browser;
mod changes;
mod cli;
mod containers;
mod cross;
mod dvr;
mod edge;
mod ffmpeg;
mod files;
mod fmp4;
mod hls;
mod hooks;
mod hostile;
mod http;
mod kit;
mod logs;
mod manners;
mod media;
mod memory;
mod opus;
mod page;
mod players;
mod process;
mod proxy;
mod quick;
mod reconnect;
mod relay;
mod reload;
mod samples;
mod service;
mod session;
mod support;
mod upgrade;
mod vod;
