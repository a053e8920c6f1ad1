//! The only part of runnel that knows sockets, clocks, signals, random numbers and `unsafe`.
//!
//! `sys` holds every `unsafe` block; the other files forbid it. What is here knows nothing of streams: it gives
//! the loop of [`crate::app`] a poll with generation-checked ids, sockets that remember their readiness,
//! listeners, timers and signals.
pub mod child;
pub mod clock;
pub mod disk;
pub mod files;
pub mod growing;
pub mod handover;
pub mod lender;
pub mod listener;
pub mod log;
pub mod logfile;
pub mod memory;
pub mod notify;
pub mod owner;
pub mod poll;
pub mod procfs;
pub mod quick;
pub mod resolver;
pub mod signals;
pub mod slots;
pub mod socket;
#[allow(unsafe_code)]
pub mod sys;
pub mod timers;
pub mod writer;
