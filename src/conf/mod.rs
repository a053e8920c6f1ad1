//! The configuration: text to typed values, with every mistake reported at its place.
//!
//! The language is nginx's (`name args… ;` and `name args… { … }`), the directives are those of SRS where
//! SRS has them, so that an SRS user's file loads. Nothing here does I/O: the caller reads the file and
//! passes its name and its bytes, the variables of the environment, and a function that reads what is included.
//!
//! ```text
//! text --parse--> tree of tokens with spans --include--> of several files --compat--> in today's names
//!      --environment--> overridden --check, by the table in schema--> Config, warnings, or all the errors
//! ```
#![forbid(unsafe_code)]

mod check;
mod cluster;
mod compat;
#[cfg(test)]
mod corpus_tests;
mod effective;
mod env;
mod error;
mod guard;
mod hooks;
mod include;
#[cfg(test)]
mod notes;
mod parse;
mod process;
pub mod reference;
pub mod schema;
mod source;
#[cfg(test)]
mod sources_tests;
mod srs;
mod suggest;
#[cfg(test)]
mod tests;
mod typed;
mod value;

use env::Environment;
use error::{Reports, Span};
use source::{Source, Sources};

pub use cluster::Cluster;
pub use effective::{Block, Effective, Origin, Setting};
pub use error::{ConfError, MAX_REPORTS, Severity, Warning};
pub use guard::{Act, HttpApi, Refer, Rule, Security};
pub use hooks::{Heartbeat, HttpHooks, Url};
pub use parse::{MAX_ARGS, MAX_DEPTH, MAX_FILE, MAX_TOKENS};
pub use process::{Engine, Exec, FfLog, Job, JobKind};
pub use source::{MAX_INCLUDE_DEPTH, MAX_INCLUDED, MAX_TOTAL};
pub use typed::{
    Config, DEFAULT_VHOST, Dvr, DvrPlan, Forward, Hls, HlsOnError, HlsStorage, HlsVariant, HttpRemux,
    HttpServer, HttpStatic, IpNet, Jitter, Listen, Log, LogTank, NoStream, OnBusy, Play, Publish, Vhost,
};
pub use value::Kind;

/// What runs without a file, as a file.
pub const BUILT_IN: &str = "http_server { enabled on; }\nhttp_api { enabled on; listen 8080; crossdomain off; allow_kick off; }\n\
     vhost __defaultVhost__ {\n    http_remux { enabled on; }\n    \
     hls { enabled on; hls_fragment 2s; hls_window 12s; hls_aof_ratio 6; }\n}\n";

/// A configuration that loaded, and what is worth telling the operator about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// Things that loaded but may not do what the writer meant, in the order of the file.
    pub warnings: Vec<Warning>,
    /// What was set, and where.
    pub effective: Effective,
    /// The files that were read, the main one first.
    pub files: Vec<String>,
}

/// Reads the files that a pattern names (`*`, `?` and `[…]` may stand in it): their names and bytes, in the order in
/// which they count. A pattern with none of these that names no file is an error; the text says why.
pub type Loader<'l> = dyn FnMut(&str) -> Result<Vec<(String, Vec<u8>)>, String> + 'l;

/// Reads the configuration in `text`, which includes nothing; `file_name` appears in messages only.
///
/// # Errors
/// Every mistake of the file, in the order of the file; at most [`MAX_REPORTS`] of them.
pub fn load(file_name: &str, text: &str) -> Result<Loaded, Vec<ConfError>> {
    load_bytes(file_name, text.as_bytes())
}

/// As [`load`], of a file as it was read: not UTF-8 is an error too.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(file_name: &str, bytes: &[u8]) -> Result<Loaded, Vec<ConfError>> {
    load_all(Some((file_name, bytes)), &[], &mut |_| Err(String::from("there is no file to include here")))
}

/// Reads the configuration in `main`, its name and bytes (without it: what runs without a file), with the variables
/// of the environment (name and value) that override it. `loader` reads what it includes.
///
/// # Errors
/// Every mistake of all files; at most [`MAX_REPORTS`] of them.
pub fn load_all(
    main: Option<(&str, &[u8])>,
    environment: &[(String, String)],
    loader: &mut Loader<'_>,
) -> Result<Loaded, Vec<ConfError>> {
    let variables: Vec<(String, String)> =
        environment.iter().filter(|(name, _)| env::concerns(name)).cloned().collect();
    let sources = Sources::new(variables.len());
    let mut reports = Reports::new(&sources);
    let file = match main {
        Some((name, bytes)) => add_file(&sources, name, bytes, None, &mut reports),
        None => sources.add(Source {
            name: "(built in)".into(),
            text: String::from(BUILT_IN),
            kind: source::Kind::BuiltIn,
            included_at: None,
        }),
    };
    let nodes = file.and_then(|file| parse::parse(&sources, file, &mut reports));
    let environment = Environment::read(&sources, &variables, &mut reports);
    let Some(nodes) = nodes else {
        return Err(reports.finish().err().unwrap_or_default());
    };
    let (config, effective) = check::check(nodes, &sources, &environment, loader, &mut reports);
    let files = sources.all().filter(|s| s.kind == source::Kind::File).map(|s| s.name.to_string());
    let files = files.collect();
    reports.finish().map(|warnings| Loaded { config, warnings, effective, files })
}

/// Adds a file as it was read, or reports why it cannot be used. Its text stays known to the reports all the same.
fn add_file(
    sources: &Sources,
    name: &str,
    bytes: &[u8],
    included_at: Option<Span>,
    reports: &mut Reports<'_>,
) -> Option<u16> {
    let too_large = bytes.len() > MAX_FILE;
    let (valid, text) = match std::str::from_utf8(bytes) {
        _ if too_large => (false, String::new()),
        Ok(text) => (true, text.to_owned()),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            (false, String::from_utf8_lossy(valid).into_owned())
        }
    };
    let line = text.split('\n').count();
    let col = text.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let source = Source { name: name.into(), text, kind: source::Kind::File, included_at };
    let Some(file) = sources.add(source) else {
        let place = included_at.unwrap_or(Span::START);
        let message = format!("more than {MAX_INCLUDED} files or {MAX_TOTAL} bytes in all are not read");
        sources.stop(place, message, reports);
        return None;
    };
    if too_large {
        let message = format!("the file has more than {MAX_FILE} bytes, which is the most that is read");
        reports.error(Span { file, ..Span::START }, message, None);
    } else if !valid {
        let span = Span { file, line: at(line), col: at(col), width: 1 };
        reports.error(span, String::from("not a text file: it is not UTF-8 from here on"), None);
    }
    (valid && !too_large).then_some(file)
}
