//! RTMP: handshake, chunk stream, messages, and the two ends of a session.
pub mod acks;
pub mod chunk;
pub mod client;
pub mod command;
pub mod handshake;
pub mod message;
pub mod server;

#[cfg(test)]
mod tests;
