//! What the kernel tells in /proc, as text. Such files are made in memory when they are read, so no disk is waited for.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Read;

/// Bytes of a file that are read.
const MAX: u64 = 64 << 10;

/// The text of `/proc/NAME`, its first 64 KiB; empty when there is none.
pub fn read(name: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{name}")) {
        let _ = file.take(MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The working directory, as far as it is text; empty when it is gone.
pub fn cwd() -> String {
    std::env::current_dir().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process_and_of_nothing_that_is_not_there() {
        let stat = read("self/stat");
        assert!(stat.starts_with(&std::process::id().to_string()), "{stat}");
        assert_eq!(read("no/such/file"), "");
        assert!(cwd().starts_with('/'));
    }
}
