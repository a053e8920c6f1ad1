//! Opening, reading and moving files in ways that neither wait nor leave their root.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

/// How a file is opened that a peer has named: never created, never waited for (a pipe), never the terminal.
const READ_ONLY: libc::c_int =
    libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_LARGEFILE;

/// The kernel's `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens the relative `path` below the directory `root` for reading. Links that stay below `root` are followed (not
/// on kernels before 5.6, see [`open_by_steps`]); the kernel itself sees that no part of the path leads out, even
/// while the tree is being changed.
///
/// # Errors
/// What the system says: `EXDEV` for a path that leads out.
pub fn open_beneath(root: &File, path: &Path) -> io::Result<File> {
    // Renames elsewhere can make the kernel unsure of a `..` in a link: it asks to try again.
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let opened = open_at_2(root, path, READ_ONLY, BENEATH);
        match opened.as_ref().map_err(io::Error::raw_os_error) {
            Err(Some(libc::EAGAIN)) => continue,
            // EPERM is what some sandboxes answer to calls that they do not know.
            Err(Some(libc::ENOSYS | libc::EPERM)) => return open_by_steps(root, path),
            _ => return opened,
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// As [`open_beneath`], but on the file system of `root` only, and only if the kernel has all that it looks up in memory.
/// `still`: reading the file is to leave no trace, which the kernel grants to its owner and to root.
///
/// # Errors
/// What the system says: `EAGAIN` when it would have to wait, `EXDEV` for another file system too, `EPERM` for a file of
/// others, `EINVAL` before Linux 5.12.
pub fn open_cached(root: &File, path: &Path, still: bool) -> io::Result<File> {
    let flags = if still { READ_ONLY | libc::O_NOATIME } else { READ_ONLY };
    open_at_2(root, path, flags, BENEATH | libc::RESOLVE_NO_XDEV | libc::RESOLVE_CACHED)
}

const BENEATH: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;

fn open_at_2(root: &File, path: &Path, flags: libc::c_int, resolve: u64) -> io::Result<File> {
    let name = match path.as_os_str().as_bytes() {
        b"" => CString::from(c"."),
        bytes => CString::new(bytes)?,
    };
    let how = OpenHow { flags: flags as u64, mode: 0, resolve };
    // SAFETY: the name is a C string and `how` an open_how of the size given; both live through the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, root.as_raw_fd(), name.as_ptr(), &how, size_of::<OpenHow>())
    };
    match libc::c_int::try_from(fd) {
        // SAFETY: the call succeeded, so the descriptor is open, and nobody else has it.
        Ok(fd @ 0..) => Ok(unsafe { File::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number by which the kernel knows the kind of file system that `file` is on. May wait for it.
///
/// # Errors
/// What the system says.
pub fn file_system(file: &File) -> io::Result<u32> {
    // SAFETY: an all-zero statfs is valid; the descriptor is open through the call, which only writes to it.
    let told = unsafe {
        let mut told: libc::statfs = std::mem::zeroed();
        match libc::fstatfs(file.as_raw_fd(), &mut told) {
            0 => told,
            _ => return Err(io::Error::last_os_error()),
        }
    };
    // As wide as a register, and signed or not, on this machine or that; the number has 32 bits.
    #[allow(clippy::unnecessary_cast)]
    let kind = told.f_type as u32;
    Ok(kind)
}

/// How many pages of the first `len` bytes of a file are in memory, or on their way there; `len` is not 0. Does not wait.
///
/// # Errors
/// What the system says: `ENOSYS` before Linux 6.5, `EPERM` for a file of others.
pub fn pages_in_memory(file: &File, len: u64) -> io::Result<u64> {
    /// `cachestat`. Calls as new as this one stand at one distance from each other on every machine.
    const SYS_CACHESTAT: libc::c_long = libc::SYS_openat2 + 14;
    // The kernel's `struct cachestat_range`, offset and length, and `struct cachestat`, of which the first is asked for.
    let (range, mut told, none): ([u64; 2], [u64; 5], libc::c_uint) = ([0, len], [0; 5], 0);
    // SAFETY: the descriptor is open and both arrays live through the call; the kernel reads 16 bytes and writes 40.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), told.as_mut_ptr(), none) };
    let [pages, ..] = told;
    if result == 0 { Ok(pages) } else { Err(io::Error::last_os_error()) }
}

/// Reads the beginning of a file as far as the kernel has it in memory. What it has not it may ask the disk for, so see
/// [`pages_in_memory`] first.
///
/// # Errors
/// What the system says: `WouldBlock` when not even the first byte is there, `EOPNOTSUPP` for file systems that cannot tell.
pub fn read_in_memory(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // The offset is 0, in two registers everywhere.
    let at: libc::c_ulong = 0;
    // SAFETY: the descriptor is open, and the one part is the live, writable slice.
    moved(|| unsafe {
        let (fd, parts) = (file.as_raw_fd(), 1 as libc::c_ulong);
        let read = libc::syscall(libc::SYS_preadv2, fd, &part, parts, at, at, libc::RWF_NOWAIT);
        libc::ssize_t::try_from(read).unwrap_or(-1)
    })
}

/// As [`open_beneath`] for kernels without `openat2`: segment by segment, and no symbolic link is followed at all.
///
/// # Errors
/// What the system says: `ELOOP` or `ENOTDIR` for a link; `InvalidInput` for a path that is not plain.
pub fn open_by_steps(root: &File, path: &Path) -> io::Result<File> {
    let mut at = root.try_clone()?;
    let mut segments = path.components().peekable();
    if segments.peek().is_none() {
        return open_at(&at, c".", READ_ONLY);
    }
    while let Some(segment) = segments.next() {
        let Component::Normal(name) = segment else { return Err(io::ErrorKind::InvalidInput.into()) };
        let flags = match segments.peek() {
            Some(_) => libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
            None => READ_ONLY,
        };
        at = open_at(&at, &CString::new(name.as_bytes())?, flags | libc::O_NOFOLLOW)?;
    }
    Ok(at)
}

fn open_at(dir: &File, name: &CStr, flags: libc::c_int) -> io::Result<File> {
    // SAFETY: the name is a C string that lives through the call; without O_CREAT no mode is read.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A pipe that nobody waits at, its ends closed in children: where to read, where to write, and how many bytes it holds,
/// about `wanted` if the system grants that.
///
/// # Errors
/// What the system says.
pub fn pipe(wanted: usize) -> io::Result<(File, File, usize)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors into the array.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let [read, write] = ends;
    // SAFETY: the call succeeded, so both are open, and nobody else has them.
    let (read, write) = unsafe { (File::from_raw_fd(read), File::from_raw_fd(write)) };
    let wanted = libc::c_int::try_from(wanted).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open through both calls, which have no memory effects. A refusal leaves the usual size.
    let size = unsafe {
        libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, wanted);
        libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ)
    };
    match usize::try_from(size) {
        Ok(size @ 1..) => Ok((read, write, size)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves up to `len` bytes of `file` from offset `at` into a pipe, without a copy; may wait for the disk, not for room in
/// the pipe. 0: the file ends before `at`.
///
/// # Errors
/// What the system says: `EINVAL` for files that cannot be moved so.
pub fn splice_in(file: &File, at: u64, pipe: &File, len: usize) -> io::Result<usize> {
    let mut at = libc::loff_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (from, to) = (file.as_raw_fd(), pipe.as_raw_fd());
    // SAFETY: both descriptors are open through the call; the offset lives through it; the pipe's is not given.
    moved(|| unsafe { libc::splice(from, &mut at, to, std::ptr::null_mut(), len, libc::SPLICE_F_NONBLOCK) })
}

/// Moves up to `len` bytes from a pipe into a socket, without a copy and without waiting. `more`: further bytes follow.
///
/// # Errors
/// What the system says: `WouldBlock` when the socket has no room.
pub fn splice_out(pipe: &File, socket: &impl AsRawFd, len: usize, more: bool) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
    let (from, to) = (pipe.as_raw_fd(), socket.as_raw_fd());
    let none = std::ptr::null_mut;
    // SAFETY: both descriptors are open through the call, and no offsets are given.
    moved(|| unsafe { libc::splice(from, none(), to, none(), len, flags) })
}

/// What a call says that moves bytes, tried again when a signal comes.
pub(super) fn moved(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        if let Ok(n) = usize::try_from(call()) {
            return Ok(n);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
