//! Which program listens at a port, as far as /proc tells: for the message about a port that is taken.
#![forbid(unsafe_code)]

use std::fs;

/// The state "listening" in /proc/net/tcp.
const LISTENING: &str = "0A";
/// Processes that are looked at.
const MAX_PROCESSES: usize = 4096;
/// Descriptors of one process that are looked at.
const MAX_FILES: usize = 1024;

/// `nginx (pid 1234)`, for the program that listens at the TCP port; `None` where that is not for us to know.
pub fn listener(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<&str> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let mut pids = processes.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).take(MAX_PROCESSES);
    let has = |pid: &String| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let mut links = files.take(MAX_FILES).filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.any(|link| wanted.iter().any(|w| link.as_os_str() == w.as_str()))
    };
    let pid = pids.find(has)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    Some(format!("{} (pid {pid})", if name.is_empty() { "a program" } else { &name }))
}

/// The sockets that listen at `port`, from a table of /proc/net.
fn inodes(table: &str, port: u16) -> Vec<&str> {
    let wanted = format!("{port:04X}");
    let inode = |line: &str| -> Option<usize> {
        let mut words = line.split_ascii_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let fits = state == LISTENING && local.rsplit_once(':')?.1 == wanted;
        fits.then_some(9)
    };
    table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(inode(line)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:078F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
                     1: 0100007F:078F 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
                     2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n\
                     garbage\n\n";
        assert_eq!(inodes(table, 1935), ["4711"]);
        assert_eq!(inodes(table, 22), ["4713"]);
        assert!(inodes(table, 80).is_empty() && inodes("", 80).is_empty());
    }

    #[test]
    fn the_one_who_listens_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let name = listener(port).expect("this process may look at itself");
        assert!(name.ends_with(&format!("(pid {})", std::process::id())), "{name}");
    }
}
