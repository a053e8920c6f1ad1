//! What the operator reads when a configuration is wrong: file, line, column, the line itself and a caret.

use std::fmt;

use super::source::Sources;

/// No run reports more mistakes than this, nor more warnings.
pub const MAX_REPORTS: usize = 100;
/// A source line is shown up to this many characters.
const MAX_SHOWN: usize = 120;

/// A place in a file: line and column in characters, both from 1, and a length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The number of the text among the sources.
    pub(super) file: u16,
    pub(super) line: u32,
    pub(super) col: u32,
    pub(super) width: u32,
}

impl Span {
    /// The first character of the file.
    pub(super) const START: Self = Self { file: 0, line: 1, col: 1, width: 1 };

    /// The place right behind this one, where a `;` is missing.
    pub(super) fn after(self) -> Self {
        Self { col: self.col.saturating_add(self.width), width: 1, ..self }
    }
}

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

/// Gathers what is found in a file and in what it includes.
pub(super) struct Reports<'t> {
    sources: &'t Sources,
    /// In the order of the files, then of the lines.
    list: Vec<(Span, ConfError)>,
    counts: [usize; 2],
    /// The reference of directives, unpacked when the first report needs it.
    pub(super) page: Option<String>,
}

impl<'t> Reports<'t> {
    pub(super) fn new(sources: &'t Sources) -> Self {
        Self { sources, list: Vec::new(), counts: [0; 2], page: None }
    }

    /// Reports what keeps the file from loading.
    pub(super) fn error(&mut self, span: Span, message: String, help: Option<String>) {
        self.push(Severity::Error, span, message, help);
    }

    /// Reports what loads but should be looked at.
    pub(super) fn warn(&mut self, span: Span, message: String, help: Option<String>) {
        self.push(Severity::Warning, span, message, help);
    }

    /// Whether a further error would only be counted, so that no work needs to go into its words.
    pub(super) fn is_full(&self) -> bool {
        let [errors, _] = self.counts;
        errors >= MAX_REPORTS
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, help: Option<String>) {
        let [errors, warnings] = &mut self.counts;
        let count = if severity == Severity::Error { errors } else { warnings };
        *count += 1;
        if *count > MAX_REPORTS {
            return;
        }
        let source = self.sources.get(span.file);
        let source_line = source.map(|s| shown(&s.text, span.line)).unwrap_or_default();
        let file = source.map(|s| s.name.to_string()).unwrap_or_default();
        let (line, col, width) = (span.line, span.col, span.width);
        let place = |s: &Span| (s.file, s.line, s.col);
        // Few and nearly in order, so that this takes the place of a sort, which is larger than the rest here.
        let at = self.list.partition_point(|(other, _)| place(other) <= place(&span));
        let report = ConfError { severity, file, line, col, width, message, help, source_line };
        self.list.insert(at, (span, report));
    }

    /// All that was found: `Ok` the warnings, or `Err` the errors.
    pub(super) fn finish(mut self) -> Result<Vec<Warning>, Vec<ConfError>> {
        let [errors, _] = self.counts;
        if errors == 0 {
            return Ok(self.list.into_iter().map(|(_, report)| report).collect());
        }
        self.list.retain(|(_, e)| e.severity == Severity::Error);
        if let Some((_, last)) = self.list.last_mut().filter(|_| errors > MAX_REPORTS) {
            last.help = Some(format!("{} more mistakes are not shown", errors - MAX_REPORTS));
        }
        Err(self.list.into_iter().map(|(_, report)| report).collect())
    }
}

/// A line of `text` as a terminal can show it.
fn shown(text: &str, line: u32) -> String {
    let index = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let shown = text.lines().nth(index).unwrap_or("").chars().take(MAX_SHOWN);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}
