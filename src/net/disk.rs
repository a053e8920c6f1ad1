//! Files without waiting for a disk: a helper thread does what can block (open, stat, read) and wakes the loop.
//!
//! ```text
//!   loop ── ask (bounded queue) ──► helper thread ── answer, wake ──► loop
//! ```
//!
//! A flash card, a disk that spins up or a network share can take seconds for a read; the loop must not take part in
//! that. `sendfile` on the loop would, for it waits for pages. A [`Pipe`] parts the two halves of `sendfile`: the thread
//! moves pages of the file into it and may wait, the loop moves them on into a socket and cannot. What can be had without
//! any waiting is another matter, see [`Quick`].
//!
//! Invariants: questions are answered in order, each once; at most [`QUEUE`] wait. A file is opened below its root
//! only: neither `..` nor a symbolic link leads out, however the tree changes meanwhile. Files are closed by the thread too
//! ([`Lent`]): closing may ask the other side of a file system, or free the blocks of a file that was deleted.
#![forbid(unsafe_code)]

use super::poll::Waker;
use super::quick::Quick;
use super::sys;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Questions that wait at most; more are refused.
pub const QUEUE: usize = 1024;

/// What there is at a path.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open for reading.
    File(File, Stat),
    /// A directory.
    Directory,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Seconds of Unix time of the last change; 0 for times before 1970.
    pub modified: u64,
    /// And nanoseconds.
    pub nanos: u32,
}

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing of that name.
    Absent,
    /// Not for everybody: no right to read it, no regular file, or outside the root.
    Forbidden,
    /// No descriptor or memory left for now.
    Exhausted,
    /// The disk failed, in the words of the system.
    Broken(String),
}

impl Trouble {
    /// What an error of [`Disk`] means to whoever asked for the file.
    pub fn of(error: &io::Error) -> Trouble {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::ELOOP) => Trouble::Absent,
            Some(libc::EACCES | libc::EPERM | libc::EXDEV | libc::ENXIO) => Trouble::Forbidden,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Trouble::Exhausted,
            _ if error.kind() == io::ErrorKind::PermissionDenied => Trouble::Forbidden,
            _ if error.kind() == io::ErrorKind::InvalidInput => Trouble::Absent,
            _ => Trouble::Broken(error.to_string()),
        }
    }
}

/// Where files come from. It lives on the helper thread: its calls may block.
pub trait Disk: Send {
    /// Opens `path`, which is relative, below the directory `root`.
    ///
    /// # Errors
    /// What the system says; `PermissionDenied` for what is neither file nor directory, or lies outside the root.
    fn open(&mut self, root: &Path, path: &Path) -> io::Result<Found>;

    /// Reads at offset `at` until `into` is full or the file ends; gives the bytes read.
    ///
    /// # Errors
    /// What the system says.
    fn read(&mut self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Moves at most `len` bytes at offset `at` into an empty pipe, without a copy; 0 when the file has ended. This disk
    /// cannot, unless it says otherwise.
    ///
    /// # Errors
    /// What the system says; such a file has to be read.
    fn fill(&mut self, file: &File, at: u64, pipe: &mut Pipe, len: usize) -> io::Result<usize> {
        let _ = (file, at, pipe, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The directory `root` as the loop itself may have files from it. This disk always has to be asked, unless it says
    /// otherwise.
    fn quick(&mut self, root: &Path) -> Option<Quick> {
        let _ = root;
        None
    }
}

/// A pipe that carries pieces of a file to a socket: the helper thread fills it, which may take the time of the disk; the
/// loop empties it, which takes none. The bytes stay where the kernel has them.
#[derive(Debug)]
pub struct Pipe {
    read: File,
    write: File,
    /// Bytes that it holds, if they begin at the start of a page.
    size: usize,
    /// Bytes in it.
    filled: usize,
}

impl Pipe {
    /// An empty pipe for about `wanted` bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(wanted: usize) -> io::Result<Pipe> {
        let (read, write, size) = sys::pipe(wanted)?;
        Ok(Pipe { read, write, size, filled: 0 })
    }

    /// Bytes in it.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Moves bytes into a socket that does not wait.
    ///
    /// # Errors
    /// What the system says: `WouldBlock` when the socket has no room.
    pub fn empty_into(&mut self, socket: &impl AsRawFd, budget: usize) -> io::Result<usize> {
        let len = self.filled.min(budget);
        let moved = sys::splice_out(&self.read, socket, len, len < self.filled)?;
        self.filled = self.filled.saturating_sub(moved);
        // Who is told of nothing forever would ask forever.
        if moved == 0 && len > 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(moved) }
    }
}

/// The disks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Disk for Local {
    fn open(&mut self, root: &Path, path: &Path) -> io::Result<Found> {
        let file = sys::open_beneath(&File::open(root)?, path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Ok(Found::Directory);
        }
        // A pipe or a device could block for ever, or do something when it is read.
        if !meta.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Found::File(file, Stat::of(&meta)))
    }

    fn read(&mut self, file: &File, mut at: u64, mut into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len();
        while !into.is_empty() {
            match file.read_at(into, at) {
                Ok(0) => break,
                Ok(n) => {
                    at = at.saturating_add(n as u64);
                    into = into.get_mut(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - into.len())
    }

    fn fill(&mut self, file: &File, at: u64, pipe: &mut Pipe, len: usize) -> io::Result<usize> {
        let moved = sys::splice_in(file, at, &pipe.write, len.min(pipe.size))?;
        pipe.filled = pipe.filled.saturating_add(moved);
        Ok(moved)
    }

    fn quick(&mut self, root: &Path) -> Option<Quick> {
        Quick::of(root)
    }
}

impl Stat {
    /// What the system says of a file.
    pub fn of(meta: &Metadata) -> Stat {
        Stat {
            size: meta.len(),
            modified: u64::try_from(meta.mtime()).unwrap_or(0),
            nanos: u32::try_from(meta.mtime_nsec()).unwrap_or(0),
        }
    }
}

/// A file that a helper thread closes, whoever lets go of it.
#[derive(Debug)]
pub struct Lent {
    /// There until it is let go of.
    file: Option<File>,
    closer: Closer,
}

impl Lent {
    /// The file.
    ///
    /// # Errors
    /// None: it is there until it is let go of.
    pub fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.closer.0.close(file);
        }
    }
}

/// The way of files to the thread that closes them.
#[derive(Clone)]
pub struct Closer(Arc<dyn Close>);

impl std::fmt::Debug for Closer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closer")
    }
}

impl Closer {
    /// Sees to it that a file is closed by the thread.
    pub fn lend(&self, file: File) -> Lent {
        Lent { file: Some(file), closer: self.clone() }
    }
}

trait Close: Send + Sync {
    fn close(&self, file: File);
}

/// A helper thread: it works on questions of type `Q` one after another.
#[derive(Debug)]
pub struct Helper<Q, A> {
    desk: Arc<Desk<Q, A>>,
}

/// What the loop and the thread share. Channels of std would do; their several kinds take 15 KB of the MIPS program.
#[derive(Debug)]
struct Desk<Q, A> {
    papers: Mutex<Papers<Q, A>>,
    /// There is a question, or the end.
    asked: Condvar,
}

#[derive(Debug)]
struct Papers<Q, A> {
    questions: VecDeque<Q>,
    answers: VecDeque<A>,
    /// Files that are to be closed.
    closing: Vec<File>,
    /// Nobody asks any more.
    over: bool,
}

impl<Q, A> Desk<Q, A> {
    /// A poisoned lock means that the other thread panicked; what it guards is still whole.
    fn papers(&self) -> MutexGuard<'_, Papers<Q, A>> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question, as soon as there is one; `None` at the end. Closes files meanwhile.
    fn question(&self) -> Option<Q> {
        let mut papers = self.papers();
        while !papers.over {
            if !papers.closing.is_empty() {
                let closing = std::mem::take(&mut papers.closing);
                drop(papers);
                drop(closing);
                papers = self.papers();
                continue;
            }
            match papers.questions.pop_front() {
                None => papers = self.asked.wait(papers).unwrap_or_else(PoisonError::into_inner),
                question => return question,
            }
        }
        None
    }
}

impl<Q: Send, A: Send> Close for Desk<Q, A> {
    fn close(&self, file: File) {
        self.papers().closing.push(file);
        self.asked.notify_one();
    }
}

impl<Q: Send + 'static, A: Send + 'static> Helper<Q, A> {
    /// Starts the thread; `work` gets the way to have files closed too. It ends when the helper is dropped and the work in
    /// hand is done; nobody waits for it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        name: &str,
        waker: Waker,
        mut work: impl FnMut(Q, &Closer) -> A + Send + 'static,
    ) -> io::Result<Helper<Q, A>> {
        let (questions, answers) = (VecDeque::new(), VecDeque::new());
        let papers = Papers { questions, answers, closing: Vec::new(), over: false };
        let desk = Arc::new(Desk { papers: Mutex::new(papers), asked: Condvar::new() });
        let mine = desk.clone();
        let closer = Closer(desk.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(question) = mine.question() {
                let answer = work(question, &closer);
                mine.papers().answers.push_back(answer);
                waker.wake();
            }
        })?;
        Ok(Helper { desk })
    }

    /// Hands over a question; gives it back when too many wait, or too many answers.
    ///
    /// # Errors
    /// The question, untouched.
    pub fn ask(&self, question: Q) -> Result<(), Q> {
        let mut papers = self.desk.papers();
        if papers.questions.len() >= QUEUE || papers.answers.len() >= QUEUE {
            return Err(question);
        }
        papers.questions.push_back(question);
        self.desk.asked.notify_one();
        Ok(())
    }

    /// The way to have files closed.
    pub fn closer(&self) -> Closer {
        Closer(self.desk.clone())
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<A> {
        self.desk.papers().answers.pop_front()
    }
}

impl<Q, A> Drop for Helper<Q, A> {
    fn drop(&mut self) {
        self.desk.papers().over = true;
        self.desk.asked.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::poll::{Poll, Who};
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::mpsc::channel;

    /// A tree of its own for one test: `root` with files, and a secret beside it.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let dir = std::env::temp_dir().join(format!("runnel-disk-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(dir.join("root/sub")).unwrap();
            std::fs::write(dir.join("secret"), "secret").unwrap();
            std::fs::write(dir.join("root/a.txt"), "hello").unwrap();
            std::fs::write(dir.join("root/sub/b.txt"), "world").unwrap();
            Tree(dir)
        }

        fn root(&self) -> PathBuf {
            self.0.join("root")
        }

        fn open(&self, path: &str) -> io::Result<Found> {
            Local.open(&self.root(), Path::new(path))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn text(found: io::Result<Found>) -> String {
        let Ok(Found::File(file, stat)) = found else { panic!("no file: {found:?}") };
        let mut bytes = vec![0; 100];
        let n = Local.read(&file, 0, &mut bytes).unwrap();
        assert_eq!(n as u64, stat.size);
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    #[test]
    fn files_open_below_the_root() {
        let tree = Tree::new("plain");
        assert_eq!(text(tree.open("a.txt")), "hello");
        assert_eq!(text(tree.open("sub/b.txt")), "world");
        assert!(matches!(tree.open("sub"), Ok(Found::Directory)));
        assert!(matches!(tree.open(""), Ok(Found::Directory)));
        assert_eq!(tree.open("nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(tree.open("a.txt/x").is_err());
    }

    /// The two ways to open, of new kernels and of old ones.
    fn both(tree: &Tree, path: &str) -> [io::Result<File>; 2] {
        let root = File::open(tree.root()).unwrap();
        [sys::open_beneath(&root, Path::new(path)), sys::open_by_steps(&root, Path::new(path))]
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let tree = Tree::new("out");
        let root = tree.root();
        symlink("../secret", root.join("up")).unwrap();
        symlink(tree.0.join("secret"), root.join("absolute")).unwrap();
        symlink("..", root.join("parent")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("/proc/self/root/etc", root.join("magic")).unwrap();
        symlink("sub/../../secret", root.join("winding")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for path in [
            "up",
            "absolute",
            "parent/secret",
            "etc/passwd",
            "magic/passwd",
            "winding",
            "loop",
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            "a\0b",
        ] {
            for opened in both(&tree, path) {
                assert!(opened.is_err(), "{path}");
            }
        }
    }

    #[test]
    fn links_within_the_root_are_followed_where_the_kernel_can_tell() {
        let tree = Tree::new("links");
        symlink("sub/b.txt", tree.root().join("link")).unwrap();
        symlink("sub", tree.root().join("dir")).unwrap();
        let [beneath, steps] = both(&tree, "link");
        assert!(beneath.is_ok() && steps.is_err());
        let [beneath, steps] = both(&tree, "dir/b.txt");
        assert!(beneath.is_ok() && steps.is_err());
        let [beneath, steps] = both(&tree, "sub/b.txt");
        assert!(beneath.is_ok() && steps.is_ok());
    }

    #[test]
    fn only_files_are_opened_and_a_pipe_does_not_block() {
        let tree = Tree::new("pipe");
        let pipe = tree.root().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(tree.open("pipe").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn offsets_beyond_four_gigabytes_are_read() {
        let tree = Tree::new("sparse");
        let path = tree.root().join("big");
        let file = File::create(&path).unwrap();
        let size = (5 << 30) + 3;
        file.set_len(size).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
        let Ok(Found::File(file, stat)) = tree.open("big") else { panic!("no file") };
        assert_eq!(stat.size, size);
        let mut bytes = [0xff; 8];
        assert_eq!(Local.read(&file, size - 5, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes, b"\0\0end\xff\xff\xff");
        assert_eq!(Local.read(&file, size, &mut bytes).unwrap(), 0);
    }

    #[test]
    fn a_pipe_carries_a_file_to_a_socket_without_waiting() {
        use std::io::Read;
        let tree = Tree::new("splice");
        let data: Vec<u8> = (0..600_000u32).map(|n| (n.wrapping_mul(40_503) >> 9) as u8).collect();
        std::fs::write(tree.root().join("big"), &data).unwrap();
        let Ok(Found::File(file, _)) = tree.open("big") else { panic!("no file") };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new(128 << 10).unwrap();
        let (mut at, mut got) = (1001, Vec::new());
        while at < data.len() {
            let filled = Local.fill(&file, at as u64, &mut pipe, 300_000).unwrap();
            assert!(filled > 0 && filled == pipe.filled());
            at += filled;
            while pipe.filled() > 0 {
                match pipe.empty_into(&sender, 7000) {
                    Ok(moved) => assert!(moved > 0 && moved <= 7000),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        let mut some = vec![0; 100_000];
                        let n = receiver.read(&mut some).unwrap();
                        got.extend_from_slice(&some[..n]);
                    }
                }
            }
        }
        assert_eq!(Local.fill(&file, data.len() as u64, &mut pipe, 9).unwrap(), 0, "the end");
        drop(sender);
        receiver.read_to_end(&mut got).unwrap();
        assert!(got == data[1001..]);
        // A full pipe takes no more, and says so rather than wait.
        let mut total = 0;
        let full = loop {
            match Local.fill(&file, 0, &mut pipe, 300_000) {
                Ok(n) => total += n,
                Err(error) => break error,
            }
        };
        assert!(full.kind() == io::ErrorKind::WouldBlock && total >= 64 << 10, "{full} after {total}");
    }

    #[test]
    fn a_slow_answer_comes_in_order_and_wakes_the_loop() {
        let mut poll = Poll::new().unwrap();
        let (go, gate) = channel::<()>();
        let helper = Helper::start("test", poll.waker().unwrap(), move |n: u32, _: &Closer| {
            let _ = gate.recv();
            n * 2
        })
        .unwrap();
        helper.ask(1).unwrap();
        helper.ask(2).unwrap();
        // The thread is held up: the loop is not.
        let mut events = Vec::new();
        poll.wait(Some(0), &mut events).unwrap();
        assert!(events.is_empty() && helper.answer().is_none());
        go.send(()).unwrap();
        go.send(()).unwrap();
        let mut answers = Vec::new();
        while answers.len() < 2 {
            events.clear();
            poll.wait(None, &mut events).unwrap();
            assert!(events.iter().all(|event| event.who == Who::Waker));
            answers.extend(std::iter::from_fn(|| helper.answer()));
        }
        assert_eq!(answers, [2, 4]);
    }

    #[test]
    fn too_many_questions_are_given_back() {
        let poll = Poll::new().unwrap();
        let (go, gate) = channel::<()>();
        let helper = Helper::start("test", poll.waker().unwrap(), move |n: usize, _: &Closer| {
            let _ = gate.recv();
            n
        })
        .unwrap();
        let taken = (0..3 * QUEUE).take_while(|n| helper.ask(*n).is_ok()).count();
        assert!((QUEUE..=QUEUE + 1).contains(&taken), "{taken}");
        drop(go);
    }
}
