//! The runnel program: options, then the server.
#![forbid(unsafe_code)]
fn main() {}
