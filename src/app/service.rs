//! Being a service: the background, the pid file, another user.

use crate::net::handover::READY;
use crate::net::{log, sys};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};

/// The way back to the process that started this one and waits for news: the one at the terminal, or the one whose place
/// this one takes.
#[derive(Debug, Default)]
pub struct Notice {
    to: Option<File>,
    /// The terminal is left once all is open.
    leave: bool,
}

/// Goes on in the background, in a new process. The one that was started stays until it hears from there; it ends with
/// the same status as the start.
///
/// # Errors
/// When the system has no process to give.
pub fn detach() -> Result<Notice, String> {
    let fail = |error: std::io::Error| format!("cannot run in the background: {error}");
    let (mut reader, writer) = std::io::pipe().map_err(fail)?;
    if sys::fork().map_err(fail)? {
        return Ok(Notice { to: Some(OwnedFd::from(writer).into()), leave: true });
    }
    drop(writer);
    let mut news = String::new();
    let _ = reader.read_to_string(&mut news);
    if news != READY {
        eprintln!("{}", if news.is_empty() { "it ended at its start" } else { &news });
    }
    std::process::exit(i32::from(news != READY));
}

impl Notice {
    /// For the process whose place this one takes.
    pub fn to_predecessor(to: Option<File>) -> Notice {
        Notice { to, leave: false }
    }

    /// The start has succeeded: the terminal is left, if this is to run in the background.
    ///
    /// # Errors
    /// When it cannot be left.
    pub fn ready(self) -> Result<(), String> {
        let Some(mut writer) = self.to else { return Ok(()) };
        if self.leave {
            log::leave_console().map_err(|error| format!("cannot leave the terminal: {error}"))?;
        }
        let _ = writer.write_all(READY.as_bytes());
        Ok(())
    }

    /// The start has failed. What is left to be told here: nothing where the process at the terminal tells it.
    pub fn failed(self, why: String) -> String {
        let told = self.to.is_some_and(|mut writer| writer.write_all(why.as_bytes()).is_ok());
        if told { String::new() } else { why }
    }
}

/// A pid file that is held; it goes with this value, unless another process has written its own number there.
#[derive(Debug)]
pub struct PidFile {
    path: String,
    file: File,
}

impl PidFile {
    /// Writes the pid into the file and locks it, so that no second process can have it.
    ///
    /// # Errors
    /// Who has it, or why it cannot be written.
    pub fn take(path: &str) -> Result<PidFile, String> {
        let fail = |error: std::io::Error| format!("cannot write the pid file {path}: {error}");
        loop {
            let mut options = File::options();
            let mut file =
                options.read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
            if !sys::try_lock(&file).map_err(fail)? {
                let mut pid = String::new();
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
                let pid: String = pid.chars().filter(char::is_ascii_digit).collect();
                return Err(format!("it runs already: process {pid} holds the pid file {path}"));
            }
            // The one who held it may have removed it between our opening and our locking.
            let same = |a: &std::fs::Metadata| {
                file.metadata().is_ok_and(|b| (a.dev(), a.ino()) == (b.dev(), b.ino()))
            };
            if !std::fs::metadata(path).is_ok_and(|data| same(&data)) {
                continue;
            }
            write_pid(&file).map_err(fail)?;
            return Ok(PidFile { path: path.to_owned(), file });
        }
    }

    /// As [`PidFile::take`], from a process that has it at this path and has handed it over.
    ///
    /// # Errors
    /// As [`PidFile::take`].
    pub fn take_over(path: &str, held: Option<File>) -> Result<PidFile, String> {
        let same = |file: &File| {
            let (a, b) = (file.metadata().ok()?, std::fs::metadata(path).ok()?);
            ((a.dev(), a.ino()) == (b.dev(), b.ino())).then_some(())
        };
        let Some(file) = held.filter(|file| same(file).is_some()) else { return PidFile::take(path) };
        write_pid(&file).map_err(|error| format!("cannot write the pid file {path}: {error}"))?;
        Ok(PidFile { path: path.to_owned(), file })
    }

    /// The file, to hand it over.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes our number again: who was to take over has not.
    pub fn restore(&self) {
        let _ = write_pid(&self.file);
    }
}

/// Whoever reads the first line meanwhile finds a number.
fn write_pid(file: &File) -> std::io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let mut bytes = [0; 32];
        let length = self.file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        if text.lines().next() != Some(&std::process::id().to_string()) {
            return;
        }
        if std::fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

/// Becomes the user (`user` or `user:group`) for good; the log's files and the pid file become theirs.
///
/// # Errors
/// What of it is not possible.
pub fn become_user(name: &str, pid: Option<&PidFile>) -> Result<(), String> {
    let (user, group) = find_user(name)?;
    if !sys::is_root() && sys::runs_as(user, group) {
        return Ok(());
    }
    if !sys::is_root() {
        return Err(format!("cannot become {name}: only root can become another user"));
    }
    let _ = log::give_to(user, group);
    if let Some(pid) = pid {
        let _ = sys::give_to(&pid.file, user, group);
    }
    sys::become_user(user, group).map_err(|error| format!("cannot become {name}: {error}"))
}

/// The numbers of `user` or `user:group`, from /etc/passwd and /etc/group.
///
/// # Errors
/// Who is not there.
pub fn find_user(name: &str) -> Result<(u32, u32), String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    lookup(name, &read("/etc/passwd"), &read("/etc/group"))
}

fn lookup(name: &str, passwd: &str, groups: &str) -> Result<(u32, u32), String> {
    let (user, group) = name.split_once(':').map_or((name, None), |(u, g)| (u, Some(g)));
    let line = |text: &str, name: &str| -> Option<Vec<String>> {
        let fits = |line: &&str| line.split(':').next() == Some(name);
        Some(text.lines().find(fits)?.split(':').map(str::to_owned).collect())
    };
    let number = |line: Option<&Vec<String>>, at: usize| line.and_then(|l| l.get(at)?.parse::<u32>().ok());
    let entry = line(passwd, user);
    let uid = user.parse().ok().or_else(|| number(entry.as_ref(), 2));
    let uid = uid.ok_or_else(|| format!("there is no user `{user}`"))?;
    let by_number = || {
        let fits = |line: &&str| line.split(':').nth(2) == Some(user);
        passwd.lines().find(fits)?.split(':').nth(3)?.parse().ok()
    };
    let gid = match group {
        Some(group) => {
            let found = group.parse().ok().or_else(|| number(line(groups, group).as_ref(), 2));
            found.ok_or_else(|| format!("there is no group `{group}`"))?
        }
        None => number(entry.as_ref(), 3).or_else(by_number).unwrap_or(uid),
    };
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nbad line\n";
        let groups = "root:x:0:\nvideo:x:44:nobody\n";
        let find = |name: &str| lookup(name, passwd, groups);
        assert_eq!(find("nobody"), Ok((65534, 65533)));
        assert_eq!(find("nobody:video"), Ok((65534, 44)));
        assert_eq!(find("65534"), Ok((65534, 65533)));
        assert_eq!(find("1000"), Ok((1000, 1000)));
        assert_eq!(find("1000:7"), Ok((1000, 7)));
        assert_eq!(find("bob"), Err(String::from("there is no user `bob`")));
        assert_eq!(find("nobody:x"), Err(String::from("there is no group `x`")));
        assert!(find("").is_err() && find("bad line").is_err());
    }

    #[test]
    fn a_pid_file_is_for_one_and_goes_with_it() {
        let path = std::env::temp_dir().join(format!("runnel-pid-{}", std::process::id()));
        let path = path.to_str().unwrap();
        std::fs::write(path, "999999999 left by a crash").unwrap();
        let first = PidFile::take(path).unwrap();
        let pid = std::process::id();
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{pid}\n"));
        let refused = PidFile::take(path).unwrap_err();
        assert!(refused.contains(&format!("process {pid} holds the pid file")), "{refused}");
        drop(first);
        assert!(!std::path::Path::new(path).exists());
        assert!(PidFile::take("/nowhere/x.pid").unwrap_err().contains("/nowhere/x.pid"));
    }
}
