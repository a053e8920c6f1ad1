//! The configuration file: text to typed values, with every mistake reported at its place.
//!
//! The language is nginx's (`name args… ;` and `name args… { … }`), the directives are those of SRS where
//! SRS has them, so that an SRS user's file loads. Nothing here does I/O: the caller reads the file and
//! passes its name, which appears in messages only, and its text.
//!
//! ```text
//! text --parse--> tree of tokens with spans --compat--> the same in today's names
//!      --check, by the table in schema--> Config, warnings, or all the errors
//! ```
#![forbid(unsafe_code)]

mod check;
mod compat;
mod error;
mod parse;
pub mod schema;
mod srs;
mod suggest;
#[cfg(test)]
mod tests;
mod typed;
mod value;

use error::Reports;

pub use error::{ConfError, MAX_REPORTS, Severity, Warning};
pub use parse::{MAX_ARGS, MAX_DEPTH, MAX_FILE, MAX_TOKENS};
pub use typed::{
    Config, DEFAULT_VHOST, HttpRemux, HttpServer, HttpStatic, IpNet, Jitter, Listen, Log, LogTank, NoStream,
    OnBusy, Play, Publish, Vhost,
};
pub use value::Kind;

/// A configuration that loaded, and what is worth telling the operator about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// Things that loaded but may not do what the writer meant, in the order of the file.
    pub warnings: Vec<Warning>,
}

/// Reads the configuration in `text`; `file_name` appears in messages only.
///
/// # Errors
/// Every mistake of the file, in the order of the file; at most [`MAX_REPORTS`] of them.
pub fn load(file_name: &str, text: &str) -> Result<Loaded, Vec<ConfError>> {
    let mut reports = Reports::new(file_name, text);
    let config = match parse::parse(text, &mut reports) {
        Some(nodes) => check::check(nodes, &mut reports),
        None => Config::default(),
    };
    finish(reports, config)
}

/// As [`load`], of a file as it was read: not UTF-8 is an error too.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(file_name: &str, bytes: &[u8]) -> Result<Loaded, Vec<ConfError>> {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => return load(file_name, text),
        Err(error) => bytes.get(..error.valid_up_to()).unwrap_or_default(),
    };
    let text = String::from_utf8_lossy(valid);
    let line = text.split('\n').count();
    let col = text.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut reports = Reports::new(file_name, &text);
    let span = error::Span { line: at(line), col: at(col), width: 1 };
    reports.error(span, String::from("not a text file: it is not UTF-8 from here on"), None);
    finish(reports, Config::default())
}

fn finish(reports: Reports<'_>, config: Config) -> Result<Loaded, Vec<ConfError>> {
    reports.finish().map(|warnings| Loaded { config, warnings })
}
