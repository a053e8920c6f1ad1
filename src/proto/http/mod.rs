//! HTTP/1.x without I/O.   Spec: RFC 9110, RFC 9112.
pub mod client;
pub mod conditional;
pub mod mime;
pub mod path;
pub mod range;
pub mod request;
pub mod response;
pub mod websocket;
