//! HTTP/1.x without I/O.   Spec: RFC 9110, RFC 9112.
pub mod request;
pub mod response;
pub mod websocket;
