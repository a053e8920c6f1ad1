//! Memory that is written once and then lent to the kernel, page by page, instead of being copied for each socket.
//!
//! Soundness: a lent page is read by the kernel at any time until the last socket that got it has had it acknowledged. So
//! bytes are only ever appended, never changed; and when the memory is unmapped, the kernel keeps the pages that it still
//! needs, and nobody else can reach them.

use super::files::moved;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// What is mapped is a multiple of this, in bytes: on many machines one huge page, which costs the kernel less to lend.
const UNIT: usize = 2 << 20;

/// Memory that is appended to and lent.
#[derive(Debug)]
pub struct Pages {
    at: NonNull<u8>,
    size: usize,
    used: usize,
}

impl Pages {
    /// Room for at least `len` bytes.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for 0 bytes or more than there can be.
    pub fn new(len: usize) -> io::Result<Pages> {
        let size = len.checked_next_multiple_of(UNIT).filter(|size| (1..=isize::MAX as usize).contains(size));
        let size = size.ok_or(io::ErrorKind::InvalidInput)?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, wherever the kernel likes; nothing that exists is touched.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the range is the mapping just made; this is advice, which changes no contents. A refusal is no loss.
        unsafe { libc::madvise(at.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
        Ok(Pages { at, size, used: 0 })
    }

    /// Bytes that are mapped.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes that were appended.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes that can still be appended.
    pub fn room(&self) -> usize {
        self.size - self.used
    }

    /// Appends `bytes` and says whether there was room for them.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        // SAFETY: `used + bytes.len()` is at most `size`, so the target is in the mapping; what lies from `used` on was
        // never lent; `bytes` cannot overlap it, since no reference into the mapping is ever handed out.
        unsafe { self.at.as_ptr().add(self.used).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.used += bytes.len();
        true
    }

    /// Lends up to `len` bytes from offset `begin` to a pipe, without a copy and without waiting, and says how many.
    ///
    /// # Errors
    /// What the system says: `WouldBlock` when the pipe has no room; `InvalidInput` for bytes that were not appended.
    pub fn lend(&self, begin: usize, len: usize, pipe: &File) -> io::Result<usize> {
        let end =
            begin.checked_add(len).filter(|end| *end <= self.used).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: `begin` is at most `used`, so inside the mapping.
        let base = unsafe { self.at.as_ptr().add(begin) };
        let part = libc::iovec { iov_base: base.cast(), iov_len: end - begin };
        // SAFETY: the pipe is open through the call; the range is in the mapping, and its bytes never change again.
        moved(|| unsafe { libc::vmsplice(pipe.as_raw_fd(), &part, 1, libc::SPLICE_F_NONBLOCK) })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is what mmap gave, and no pointer into it outlives this.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_appended_is_lent_and_no_more() {
        let mut pages = Pages::new(1).unwrap();
        assert_eq!((pages.size(), pages.room()), (UNIT, UNIT));
        assert!(pages.append(&[1; 5000]) && pages.append(&[2; 5000]));
        assert!(!pages.append(&vec![3; UNIT]));
        let (mut read, write, _) = super::super::pipe(64 << 10).unwrap();
        assert_eq!(pages.lend(4000, 3000, &write).unwrap(), 3000);
        assert!(pages.lend(9000, 1001, &write).is_err() && pages.lend(usize::MAX, 2, &write).is_err());
        // The pages outlive their mapping.
        drop(pages);
        let mut got = [0; 3000];
        read.read_exact(&mut got).unwrap();
        assert!(got[..1000].iter().all(|byte| *byte == 1) && got[1000..].iter().all(|byte| *byte == 2));
        assert!(Pages::new(0).is_err() && Pages::new(usize::MAX).is_err());
    }
}
