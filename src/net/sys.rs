//! All of runnel's `unsafe`: the few calls that neither std nor a crate in use offers.
//!
//! Each function says why it is sound; none hands out a raw pointer or descriptor.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

mod files;
mod pages;
pub use files::{
    file_system, open_beneath, open_by_steps, open_cached, pages_in_memory, pipe, read_in_memory, splice_in,
    splice_out,
};
pub use pages::Pages;

/// Raises the limit of open files as far as it goes and gives what is in force then.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the whole of both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 256;
        }
        let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
            limit = wanted;
        }
    }
    #[allow(clippy::useless_conversion)] // 32 bits wide on some targets
    u64::try_from(limit.rlim_cur).unwrap_or(u64::MAX)
}

/// Fills `into` from the kernel's random source. Before that source is ready (early boot) it is filled from the
/// clock, which is good enough for the filler of a handshake.
pub fn random(into: &mut [u8]) {
    // SAFETY: the pointer and length are those of a live, writable slice.
    let got = unsafe { libc::getrandom(into.as_mut_ptr().cast(), into.len(), libc::GRND_NONBLOCK) };
    if usize::try_from(got).is_ok_and(|got| got == into.len()) {
        return;
    }
    let mut state = unix_time().as_nanos() as u64 | 1;
    for byte in into {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
}

/// Has glibc give back the free pages of its heap, also those between others that are in use.
#[cfg(target_env = "gnu")]
pub fn trim_heap() {
    // SAFETY: takes no pointer; the allocator locks itself.
    unsafe { libc::malloc_trim(0) };
}

/// Points standard output and standard error at `file`.
///
/// # Errors
/// What the system says.
pub fn redirect_output(file: &std::fs::File) -> io::Result<()> {
    for target in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors are open; dup2 replaces the target in one step.
        if unsafe { libc::dup2(file.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Points standard input at `file`.
///
/// # Errors
/// What the system says.
pub fn redirect_input(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: both descriptors are open; dup2 replaces the target in one step.
    match unsafe { libc::dup2(file.as_raw_fd(), libc::STDIN_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether standard output takes a line now without waiting, and has not been closed at its other end.
pub fn output_has_room() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDOUT_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd, which the kernel only writes `revents` of.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ready == 1 && poll.revents == libc::POLLOUT
}

/// Whether this process may write to `path` as far as its permissions tell.
pub fn may_write(path: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a valid C string; the call only looks.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

/// Whether this process may change to the directory `path`.
pub fn may_enter(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a valid C string; the call only looks.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

/// A copy of a descriptor that programs started from now on inherit, until it is dropped.
///
/// # Errors
/// What the system says.
pub fn inheritable(file: &impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open through the call.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_DUPFD, FIRST_FREE) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the call succeeded, so the descriptor is open, and nobody else has it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// The first descriptor after standard input, output and error.
const FIRST_FREE: RawFd = 3;

/// The descriptor `number` that the process was started with; it is not inherited any further. To be called before the
/// program has opened anything, once for each number.
///
/// # Errors
/// When there is none, when it is one of the three standard ones, or when it was opened by this program itself.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let none = || io::Error::from(io::ErrorKind::NotFound);
    if number < FIRST_FREE {
        return Err(none());
    }
    // SAFETY: harmless for any number; what is not open gives an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // All that this program opens is closed on exec, so what is not was there at its start, and has no owner yet.
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(none());
    }
    // SAFETY: the descriptor is open, as was just seen; setting the flag makes a second call for it fail.
    unsafe {
        if libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Has a program that `command` starts lead a process group, inherit no descriptor but the standard three, and end when
/// the thread ends that starts it, so also when this process is killed.
pub fn tie(command: &mut Command) {
    /// `CLOSE_RANGE_CLOEXEC`, since Linux 5.11.
    const CLOSE_ON_EXEC: libc::c_uint = 1 << 2;
    /// Descriptors looked at on older kernels. All of ours are closed on exec anyway, but for those that are about to be
    /// handed over to another process, which are among the first that are free.
    const LOOKED_AT: RawFd = 4096;
    let parent = std::process::id();
    command.process_group(0);
    let prepare = move || {
        // SAFETY: nothing but system calls, which are allowed between fork and exec, and none has memory effects. What
        // is not open gives an error, which does not matter.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
            // It may have ended before it was asked for.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if libc::syscall(libc::SYS_close_range, FIRST_FREE, libc::c_uint::MAX, CLOSE_ON_EXEC) != 0 {
                for fd in FIRST_FREE..LOOKED_AT {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
        }
        Ok(())
    };
    // SAFETY: the closure neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
}

/// Sends a signal to a process and all of its group, which it leads. It must not have been waited for yet, or its number
/// could be another's.
pub fn signal_group(leader: u32, signal: libc::c_int) {
    // 0 and 1 would mean our own group, and everybody.
    if let Some(group) = libc::pid_t::try_from(leader).ok().filter(|leader| *leader > 1) {
        // SAFETY: has no memory effects.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Whether the process runs as this user and group already.
pub fn runs_as(user: u32, group: u32) -> bool {
    // SAFETY: these have no memory effects.
    unsafe { libc::geteuid() == user && libc::getegid() == group }
}

/// Locks `file` for as long as it, or a copy of it in a child, is open. `false`: another process has it.
///
/// # Errors
/// What the system says.
pub fn try_lock(file: &std::fs::File) -> io::Result<bool> {
    // SAFETY: the descriptor is open through the call.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Splits the process in two: `true` in the new one, which belongs to no terminal.
///
/// # Errors
/// What the system says; `Unsupported` when there is more than one thread, of which only one would be left.
pub fn fork() -> io::Result<bool> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "more than one thread runs"));
    }
    // SAFETY: this is the only thread, so no lock is held by another that would be missing in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: has no memory effects. It cannot fail: a new child leads no group.
            unsafe { libc::setsid() };
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Whether the process has the rights of root.
pub fn is_root() -> bool {
    // SAFETY: has no memory effects.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes another user for good: no further groups, then the group, then the user.
///
/// # Errors
/// Which step failed; the process should end then.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    let check = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let groups: [libc::gid_t; 1] = [group];
    // SAFETY: the list lives through the call and its length is given; the others have no memory effects.
    unsafe {
        check(libc::setgroups(1, groups.as_ptr()))?;
        check(libc::setgid(group))?;
        check(libc::setuid(user))
    }
}

/// Gives `file` to a user and a group.
///
/// # Errors
/// What the system says.
pub fn give_to(file: &std::fs::File, user: u32, group: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open through the call.
    match unsafe { libc::fchown(file.as_raw_fd(), user, group) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The calls of the C library that take a time, beyond 2038 too. On 32-bit machines the plain names in musl (1.2) and
/// glibc (2.34) are for programs with 32 bits of time, and fail or wrap then; std (with musl) and the crate libc know no
/// others.
#[cfg(target_pointer_width = "32")]
mod time {
    /// `struct timespec` with 64 bits of time: the nanoseconds stand in the low half of that word, whichever comes first.
    #[repr(C)]
    struct Timespec64 {
        seconds: i64,
        nanoseconds: i64,
    }

    unsafe extern "C" {
        fn __clock_gettime64(clock: libc::c_int, time: *mut Timespec64) -> libc::c_int;
        fn __localtime64_r(time: *const i64, into: *mut libc::tm) -> *mut libc::tm;
    }

    pub(super) fn now() -> std::time::Duration {
        let mut time = Timespec64 { seconds: 0, nanoseconds: 0 };
        // SAFETY: the C library writes one timespec, which is what this is (see its `struct timespec`).
        if unsafe { __clock_gettime64(libc::CLOCK_REALTIME, &mut time) } != 0 {
            return std::time::Duration::ZERO;
        }
        let nanoseconds = (time.nanoseconds & 0xffff_ffff) as u32;
        std::time::Duration::new(u64::try_from(time.seconds).unwrap_or(0), nanoseconds.min(999_999_999))
    }

    pub(super) fn local(unix_seconds: u64, into: &mut libc::tm) {
        let time = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
        // SAFETY: both live through the call; `struct tm` is the same for both widths of time.
        unsafe { __localtime64_r(&time, into) };
    }
}

#[cfg(not(target_pointer_width = "32"))]
mod time {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    pub(super) fn now() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    pub(super) fn local(unix_seconds: u64, into: &mut libc::tm) {
        #[allow(deprecated)] // because its width will change, where it is not this
        let time = libc::time_t::try_from(unix_seconds).unwrap_or(libc::time_t::MAX);
        // SAFETY: both live through the call.
        unsafe { libc::localtime_r(&time, into) };
    }
}

/// Time since 1970; zero while the clock is before that.
pub fn unix_time() -> std::time::Duration {
    time::now()
}

/// Date and time of a Unix time in UTC, as (year, month, day, hour, minute, second).
pub fn utc_time(unix_seconds: u64) -> (i32, u32, u32, u32, u32, u32) {
    let (days, seconds) = (unix_seconds / 86_400, (unix_seconds % 86_400) as u32);
    // Days are counted from 1 March of year 0, so that the day in doubt, 29 February, is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = (day - (153 * month + 2) / 5) as u32 + 1;
    let (month, later) = if month < 10 { (month as u32 + 3, 0) } else { (month as u32 - 9, 1) };
    let year = i32::try_from(era * 400 + year + later).unwrap_or(i32::MAX);
    (year, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Local date and time of a Unix time, as (year, month, day, hour, minute, second).
pub fn local_time(unix_seconds: u64) -> (i32, u32, u32, u32, u32, u32) {
    // SAFETY: an all-zero `tm` is valid (its pointer may be null).
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    time::local(unix_seconds, &mut tm);
    let part = |value: i32| u32::try_from(value).unwrap_or(0);
    (
        tm.tm_year.saturating_add(1900),
        part(tm.tm_mon + 1),
        part(tm.tm_mday),
        part(tm.tm_hour),
        part(tm.tm_min),
        part(tm.tm_sec),
    )
}

/// Addresses of this machine's interfaces that are up, loopback and link-local ones left out.
pub fn lan_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success the list is valid until freeifaddrs; each node and address is only read, and an address
    // is read as the type that its family names.
    unsafe {
        if libc::getifaddrs(&mut list) != 0 {
            return found;
        }
        let mut node = list;
        while !node.is_null() {
            let up = (*node).ifa_flags & libc::IFF_UP as libc::c_uint != 0;
            if up && !(*node).ifa_addr.is_null() {
                found.extend(address((*node).ifa_addr));
            }
            node = (*node).ifa_next;
        }
        libc::freeifaddrs(list);
    }
    found.retain(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && (ip.segments()[0] & 0xffc0) != 0xfe80,
    });
    found.sort();
    found.dedup();
    found
}

/// # Safety
/// `addr` points to a socket address whose type is the one that its family names.
unsafe fn address(addr: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: see above.
    unsafe {
        match i32::from((*addr).sa_family) {
            libc::AF_INET => {
                let ip = (*addr.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(ip))))
            }
            libc::AF_INET6 => {
                let ip = (*addr.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                Some(IpAddr::V6(Ipv6Addr::from(ip)))
            }
            _ => None,
        }
    }
}

/// What the kernel has counted of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, in milliseconds.
    pub user_ms: u64,
    /// Processor time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// The most memory that was resident at one time, in KiB.
    pub max_rss: u64,
    /// Page faults without reading, with reading; blocks read, written; waits of its own will, against it.
    pub counts: [u64; 6],
}

/// See [`Usage`].
pub fn usage() -> Usage {
    // SAFETY: an all-zero rusage is valid, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    #[allow(clippy::unnecessary_cast)] // 32 bits wide on some targets
    let count = |n: libc::c_long| u64::try_from(n as i64).unwrap_or(0);
    #[allow(clippy::unnecessary_cast)]
    let ms = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec as i64).unwrap_or(0);
        seconds * 1000 + u64::try_from(time.tv_usec as i64).unwrap_or(0) / 1000
    };
    Usage {
        user_ms: ms(usage.ru_utime),
        system_ms: ms(usage.ru_stime),
        max_rss: count(usage.ru_maxrss),
        counts: [
            count(usage.ru_minflt),
            count(usage.ru_majflt),
            count(usage.ru_inblock),
            count(usage.ru_oublock),
            count(usage.ru_nvcsw),
            count(usage.ru_nivcsw),
        ],
    }
}

/// Bytes in a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: has no memory effects.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// What TCP knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Round-trip time in microseconds.
    pub rtt_us: u32,
    /// Segments that were sent and not acknowledged.
    pub unacked: u32,
    /// Segments that were sent again, ever.
    pub resent: u32,
}

/// See [`TcpInfo`]; `None` when the kernel does not tell.
pub fn tcp_info(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    // The kernel's `struct tcp_info` begins with 8 bytes, which are followed by words of 32 bits.
    const WORDS: usize = 26;
    let mut words = [0u32; WORDS];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the buffer is live and as long as `length` says; the kernel writes at most that much.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            words.as_mut_ptr().cast(),
            &mut length,
        )
    };
    let [_, _, _, _, _, _, unacked, _, _, _, _, _, _, _, _, _, _, rtt_us, _, _, _, _, _, _, _, resent] =
        words;
    let whole = result == 0 && usize::try_from(length).is_ok_and(|n| n >= size_of_val(&words));
    whole.then_some(TcpInfo { rtt_us, unacked, resent })
}

/// This machine's name.
pub fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is live and its length is given; the last byte stays zero.
    let ok = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } == 0;
    ok.then(|| CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_file_limit_is_at_least_the_usual_one() {
        assert!(raise_open_files() >= 256);
    }

    #[test]
    fn random_bytes_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        random(&mut a);
        random(&mut b);
        assert_ne!(a, b);
    }

    #[test]
    fn local_time_is_plausible() {
        let (year, month, day, ..) = local_time(1_700_000_000);
        assert_eq!((year, month), (2023, 11));
        assert!((14..=15).contains(&day));
        assert_eq!(utc_time(1_700_000_000), (2023, 11, 14, 22, 13, 20));
        assert!(unix_time().as_secs() > 1_700_000_000);
    }

    #[test]
    fn time_goes_on_after_2038_on_every_machine() {
        for (unix, date) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_399, (2000, 2, 28, 23, 59, 59)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (951_868_800, (2000, 3, 1, 0, 0, 0)),
            (2_147_483_647, (2038, 1, 19, 3, 14, 7)),
            (2_147_483_648, (2038, 1, 19, 3, 14, 8)),
            (4_107_542_399, (2100, 2, 28, 23, 59, 59)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
            (4_294_967_296, (2106, 2, 7, 6, 28, 16)),
            (253_402_300_799, (9999, 12, 31, 23, 59, 59)),
        ] {
            assert_eq!(utc_time(unix), date);
        }
        // Wherever this runs, local time is within a day of UTC.
        for unix in [2_147_483_648 + 40 * 86_400, 4_294_967_296 + 40 * 86_400] {
            let (local, utc) = (local_time(unix), utc_time(unix));
            assert_eq!((local.0, local.1), (utc.0, utc.1));
            assert!(local.2.abs_diff(utc.2) <= 1, "{local:?} {utc:?}");
        }
    }

    #[test]
    fn a_descriptor_is_inherited_once_and_only_if_it_was_meant_to_be() {
        let file = File::open("/dev/null").unwrap();
        assert!(inherited(file.as_raw_fd()).is_err(), "our own");
        let copy = inheritable(&file).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(copy);
        let taken = inherited(number).unwrap();
        assert!(inherited(number).is_err(), "twice");
        drop(taken);
        assert!(inherited(number).is_err() && inherited(0).is_err() && inherited(-1).is_err());
    }

    #[test]
    fn a_lock_is_held_against_others() {
        let path = std::env::temp_dir().join(format!("runnel-lock-{}", std::process::id()));
        let open = || std::fs::File::options().create(true).append(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        assert!(try_lock(&first).unwrap() && !try_lock(&second).unwrap());
        drop(first);
        assert!(try_lock(&second).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn lan_addresses_hold_no_loopback() {
        assert!(lan_addresses().iter().all(|ip| !ip.is_loopback()));
    }
}
