//! Handing listening sockets over to a new process of the program, as an upgrade does it.
//!
//! ```text
//!   old:  start ──► Successor: reads what the new one says ──► "ready": it has all  │ anything else, or the end: it has failed
//!   new:  Inherited::receive ──► take (each socket that it wants) ──► say "ready", or why not
//! ```
//!
//! The new process inherits its descriptors and finds their numbers in one variable of its environment:
//! `1;PID;NEWS;LOCK;KEY=NUMBER,…`, where 1 is the version of this form, PID the process that hands over, NEWS a socket to
//! report to it, LOCK the locked pid file (or `-`), and KEY where a socket listens.
//!
//! Invariants: the variable counts only if it names the process that started this one; a number counts only if it was
//! inherited, and as a listener only if it listens where its key says. What is not taken is closed.
#![forbid(unsafe_code)]

use super::poll::MAX_LISTENERS;
use super::{log, sys};
use mio::net::UnixStream;
use socket2::{Socket, Type};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The variable of the environment.
pub const VARIABLE: &str = "RUNNEL_HANDOVER";
/// What the new process says when it has taken over.
pub const READY: &str = "ready";
/// Bytes of what it says that are kept.
const MAX_NEWS: usize = 4096;
/// Bytes of the variable.
const MAX_VARIABLE: usize = 2048;

/// How this program was started, to start it again.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
}

impl Program {
    /// This program, to be run again with `args` where it runs now. Its path is kept as it was given, so that a link
    /// that is pointed to another program, or a file that is replaced, is what runs then.
    pub fn this(args: Vec<OsString>) -> Program {
        let given = std::env::args_os().next().map(PathBuf::from);
        let given = given.filter(|path| path.components().count() > 1);
        let absolute = given.and_then(|path| std::path::absolute(path).ok()).filter(|path| path.exists());
        let path = absolute.or_else(|| std::env::current_exe().ok()).unwrap_or_default();
        Program { path, args, dir: std::env::current_dir().ok() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where a socket listens, as the variable names it.
fn key(addr: Option<IpAddr>, port: u16) -> String {
    addr.map_or_else(|| format!("*:{port}"), |addr| SocketAddr::new(addr, port).to_string())
}

/// A new process that is on its way.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    news: UnixStream,
    said: Vec<u8>,
}

/// What has become of it.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// It has not said anything yet.
    None,
    /// It has all.
    Ready,
    /// It has given up, for the reason it gives.
    Failed(String),
    /// It has closed its end without a word, and may be ending.
    Silent,
}

impl Successor {
    /// Starts `program` with copies of the sockets, each with where it listens (address and port as configured), and of
    /// the pid file.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start<'a>(
        program: &Program,
        lock: Option<&File>,
        sockets: impl Iterator<Item = (Option<IpAddr>, u16, BorrowedFd<'a>)>,
    ) -> io::Result<Successor> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        // The copies live until the process has been started, and no other is started meanwhile.
        let news = sys::inheritable(&theirs)?;
        let lock = lock.map(sys::inheritable).transpose()?;
        let mut copies: Vec<OwnedFd> = Vec::new();
        let mut list = String::new();
        for (addr, port, socket) in sockets {
            let copy = sys::inheritable(&socket)?;
            let comma = if list.is_empty() { "" } else { "," };
            list += &format!("{comma}{}={}", key(addr, port), copy.as_raw_fd());
            copies.push(copy);
        }
        let lock_number = lock.as_ref().map_or_else(|| "-".to_owned(), |fd| fd.as_raw_fd().to_string());
        let value = format!("1;{};{};{lock_number};{list}", std::process::id(), news.as_raw_fd());
        let mut command = Command::new(&program.path);
        command.args(&program.args).env(VARIABLE, value).stdin(Stdio::null());
        if let Some(console) = log::console() {
            command.stdout(console);
        }
        // Another user may not be allowed into the directory where root started the program.
        if let Some(dir) = program.dir.as_deref().filter(|dir| sys::may_enter(dir)) {
            command.current_dir(dir);
        }
        let child = command.spawn()?;
        Ok(Successor { child, news: UnixStream::from_std(ours), said: Vec::new() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its news come, for registration.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.news
    }

    /// Reads what it has said.
    pub fn news(&mut self) -> News {
        let mut bytes = [0; 512];
        loop {
            match self.news.read(&mut bytes) {
                Ok(n @ 1..) => {
                    let room = MAX_NEWS.saturating_sub(self.said.len());
                    self.said.extend(bytes.iter().take(n.min(room)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return News::None,
                Ok(0) | Err(_) => break,
            }
        }
        match String::from_utf8_lossy(&self.said).trim() {
            READY => News::Ready,
            "" => News::Silent,
            words => News::Failed(words.to_owned()),
        }
    }

    /// How it has ended; one that has not is ended.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

/// What another process has handed over to this one.
#[derive(Debug)]
pub struct Inherited {
    news: Option<File>,
    lock: Option<File>,
    sockets: Sockets,
}

/// Listening sockets that were handed over, each under where it listens.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, TcpListener)>);

impl Inherited {
    /// What the environment tells of; `None` when there is nothing, or nothing that is meant for this process. To be
    /// called before anything is opened.
    ///
    /// # Errors
    /// What of it is not as it should be; the process that hands over is told the same.
    pub fn receive() -> Result<Option<Inherited>, String> {
        let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let value = value.into_string().ok().filter(|v| v.len() <= MAX_VARIABLE).unwrap_or_default();
        let mut parts = value.split(';');
        let (version, pid) = (parts.next(), parts.next().and_then(|pid| pid.parse().ok()));
        if pid != Some(std::os::unix::process::parent_id()) {
            return Ok(None);
        }
        let bad = |what: &str| format!("{VARIABLE} is not usable: {what}");
        if version != Some("1") {
            return Err(bad("it is of another version"));
        }
        let news = parts.next().and_then(number).ok_or_else(|| bad("nobody to report to"))?;
        let mut news = File::from(sys::inherited(news).map_err(|_| bad("nobody to report to"))?);
        let rest = (parts.next(), parts.next(), parts.next());
        match descriptors(rest) {
            Ok((lock, sockets)) => Ok(Some(Inherited { news: Some(news), lock, sockets })),
            Err(what) => {
                let _ = io::Write::write_all(&mut news, bad(what).as_bytes());
                Err(bad(what))
            }
        }
    }

    /// Where to say whether all went well.
    pub fn take_news(&mut self) -> Option<File> {
        self.news.take()
    }

    /// The pid file, locked.
    pub fn take_lock(&mut self) -> Option<File> {
        self.lock.take()
    }

    /// The listening sockets.
    pub fn into_sockets(self) -> Sockets {
        self.sockets
    }
}

fn number(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// The pid file and the sockets.
fn descriptors(
    parts: (Option<&str>, Option<&str>, Option<&str>),
) -> Result<(Option<File>, Sockets), &'static str> {
    let (Some(lock), Some(list), None) = parts else { return Err("it has not five parts") };
    let lock = match lock {
        "-" => None,
        text => {
            let fd = number(text).and_then(|n| sys::inherited(n).ok()).ok_or("there is no pid file")?;
            let file = File::from(fd);
            if !file.metadata().is_ok_and(|data| data.is_file()) {
                return Err("the pid file is no file");
            }
            Some(file)
        }
    };
    let mut sockets = Vec::new();
    for entry in list.split(',').filter(|entry| !entry.is_empty()) {
        let (key, fd) = entry.split_once('=').ok_or("a socket has no number")?;
        let fd = number(fd).and_then(|n| sys::inherited(n).ok()).ok_or("a socket is not there")?;
        if sockets.len() >= MAX_LISTENERS {
            return Err("there are too many sockets");
        }
        sockets.push((key.to_owned(), listener(key, fd).ok_or("a socket is not what it is called")?));
    }
    Ok((lock, Sockets(sockets)))
}

/// The descriptor as a listener, if it is one and listens where its key says.
fn listener(key: &str, fd: OwnedFd) -> Option<TcpListener> {
    let socket = Socket::from(fd);
    let listens = socket.is_listener().ok()? && socket.r#type().ok()? == Type::STREAM;
    let at = socket.local_addr().ok()?.as_socket()?;
    let (addr, port) = key.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let fits = match addr {
        "*" => at.ip().is_unspecified(),
        addr => addr.trim_matches(['[', ']']).parse() == Ok(at.ip()),
    };
    let ours = listens && fits && (port == 0 || port == at.port());
    ours.then(|| socket.set_nonblocking(true).is_ok()).filter(|ok| *ok)?;
    Some(socket.into())
}

impl Sockets {
    /// The socket that listens at an address and port as configured.
    pub fn take(&mut self, addr: Option<IpAddr>, port: u16) -> Option<mio::net::TcpListener> {
        let wanted = key(addr, port);
        let at = self.0.iter().position(|(key, _)| *key == wanted)?;
        Some(mio::net::TcpListener::from_std(self.0.swap_remove(at).1))
    }
}

/// A socket for [`Successor::start`].
pub fn borrow(socket: &impl AsFd) -> BorrowedFd<'_> {
    socket.as_fd()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    fn listening() -> (TcpListener, u16) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    fn copy(of: &impl AsFd) -> i32 {
        sys::inheritable(of).unwrap().into_raw_fd()
    }

    #[test]
    fn what_is_handed_over_is_taken_by_where_it_listens() {
        let (a, pa) = listening();
        let (b, pb) = listening();
        let list = format!("127.0.0.1:{pa}={},127.0.0.1:0={}", copy(&a), copy(&b));
        let (lock, mut sockets) = descriptors((Some("-"), Some(&list), None)).unwrap();
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(
            lock.is_none() && sockets.take(None, pa).is_none() && sockets.take(Some(local), pb).is_none()
        );
        let port = |s: Option<mio::net::TcpListener>| s.unwrap().local_addr().unwrap().port();
        assert_eq!(port(sockets.take(Some(local), pa)), pa);
        assert_eq!(port(sockets.take(Some(local), 0)), pb, "a port that the system chose");
        assert!(sockets.take(Some(local), pa).is_none(), "once");
    }

    #[test]
    fn nothing_is_believed_that_is_not_so() {
        let (socket, port) = listening();
        let file = File::open("/dev/null").unwrap();
        let connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        for list in [
            format!("127.0.0.1:{port}={}", copy(&file)),
            format!("127.0.0.1:{port}={}", copy(&connected)),
            format!("127.0.0.2:{port}={}", copy(&socket)),
            format!("*:{port}={}", copy(&socket)),
            format!("127.0.0.1:1={}", copy(&socket)),
            format!("127.0.0.1:{port}={}", socket.as_raw_fd()),
            format!("127.0.0.1:{port}=0"),
            format!("127.0.0.1:{port}=-1"),
            format!("127.0.0.1:{port}"),
            format!("={}", copy(&socket)),
            "a=b".to_owned(),
            ",=,".to_owned(),
        ] {
            assert!(descriptors((Some("-"), Some(&list), None)).is_err(), "{list}");
        }
        let dev = copy(&file).to_string();
        for lock in ["", "x", "0", "99999", &dev] {
            assert!(descriptors((Some(lock), Some(""), None)).is_err(), "{lock}");
        }
        assert!(descriptors((Some("-"), None, None)).is_err());
        assert!(descriptors((Some("-"), Some(""), Some(""))).is_err());
        assert!(descriptors((Some("-"), Some(""), None)).is_ok());
        // The copies above that were refused are closed, and this one is still what it was.
        assert_eq!(socket.local_addr().unwrap().port(), port);
    }
}
