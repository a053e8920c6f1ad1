//! Telling a supervisor how it stands, by the socket that it names in the environment.   Spec: sd_notify(3).
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable of the environment.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells the supervisor that wants to know, if there is one: lines of `NAME=VALUE`. One that does not listen is none.
pub fn tell(lines: &str) {
    if let Some(to) = std::env::var_os(VARIABLE) {
        let _ = send(&to, lines);
    }
}

fn send(to: &OsStr, lines: &str) -> std::io::Result<()> {
    let address = match to.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(to)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_by_path_and_by_name() {
        let name = format!("runnel-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, to) in [(by_path, path.clone().into_os_string()), (by_name, format!("@{name}").into())] {
            send(&to, "READY=1\n").unwrap();
            let mut bytes = [0; 64];
            let n = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..n], b"READY=1\n");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "x").is_err() && send(OsStr::new(""), "x").is_err());
    }
}
