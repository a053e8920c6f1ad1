//! What the operator reads when a configuration is wrong: file, line, column, the line itself and a caret.

use std::fmt;

/// No run reports more mistakes than this, nor more warnings.
pub const MAX_REPORTS: usize = 100;
/// A source line is shown up to this many characters.
const MAX_SHOWN: usize = 120;

/// Whether the file loads nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file does not load.
    Error,
    /// The file loads.
    Warning,
}

/// A mistake in a configuration file. `Display` gives the whole report over several lines:
///
/// ```text
/// conf/x.conf:12:5: error: unknown directive `mw_latancy` in `play`; did you mean `mw_latency`?
///    12 |     mw_latancy 350;
///       |     ^^^^^^^^^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfError {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
    /// How many characters the mistake covers, at least 1.
    pub width: u32,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it, where there is more to say than the message does.
    pub help: Option<String>,
    /// The line of the file, without its end, cut to a length fit for a terminal.
    pub source_line: String,
}

/// Something that loads but may not do what was meant; [`ConfError::severity`] tells the two apart.
pub type Warning = ConfError;

impl fmt::Display for ConfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {kind}: {}", self.file, self.line, self.col, self.message)?;
        if !self.source_line.is_empty() {
            let indent = usize::try_from(self.col.saturating_sub(1)).unwrap_or(0);
            if indent < MAX_SHOWN {
                let width = usize::try_from(self.width.max(1)).unwrap_or(1).min(MAX_SHOWN - indent);
                write!(f, "\n{:5} | {}", self.line, self.source_line)?;
                write!(f, "\n{:5} | {:indent$}{:^<width$}", "", "", "")?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n{:5} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfError {}
