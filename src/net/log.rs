//! The log: simple_logger with a time in front, on the console or in a file that can be opened again.
#![forbid(unsafe_code)]

use super::sys;
use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::fs::OpenOptions;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// simple_logger writes the line; this puts the local time before it.
struct Stamped(SimpleLogger);

impl Log for Stamped {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day, hour, minute, second) = sys::local_time(since.as_secs());
        let millis = since.subsec_millis();
        self.0.log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!(
                    "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03} {}",
                    record.args()
                ))
                .build(),
        );
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Starts logging to standard output. A second call changes only the level.
pub fn start(level: LevelFilter) {
    let logger = Box::new(Stamped(SimpleLogger::new().with_level(LevelFilter::Trace)));
    let _ = log::set_boxed_logger(logger);
    log::set_max_level(level);
}

/// Sends the log to a file, which is made if it is not there and added to if it is. Called again after the file
/// was moved away, it opens a new one.
///
/// # Errors
/// What the system says of the path.
pub fn to_file(path: &str) -> io::Result<()> {
    sys::redirect_output(&OpenOptions::new().create(true).append(true).open(path)?)
}
