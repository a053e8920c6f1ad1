//! What the kernel says about a process: CPU time, memory, write calls. Linux only; elsewhere all is zero.

use std::fs::read_to_string;
use std::time::Instant;

const NS_PER_TICK: u64 = 10_000_000;

/// Readings of one process at one time.
#[derive(Clone)]
pub struct Sample {
    /// When it was taken.
    pub at: Instant,
    /// CPU time of all threads, user and system together.
    pub cpu_ns: u64,
    /// Time that its threads were ready to run and had no core: a measure of how disturbed the run was.
    pub wait_ns: u64,
    /// Resident memory in KiB.
    pub rss_kb: u64,
    /// Of it anonymous memory: heap and stacks, without the program file.
    pub anon_kb: u64,
    /// Calls of write and writev so far.
    pub writes: u64,
    /// Pages that all TCP sockets of the machine hold in the kernel, in KiB.
    pub tcp_kb: u64,
}

impl Sample {
    /// Reads everything about `pid`.
    pub fn take(pid: u32) -> Sample {
        let (cpu_ns, wait_ns) = schedule(pid).unwrap_or_else(|| (ticks(pid).unwrap_or(0), 0));
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let io = read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Sample {
            at: Instant::now(),
            cpu_ns,
            wait_ns,
            rss_kb: field(&status, "VmRSS:"),
            anon_kb: field(&status, "RssAnon:"),
            writes: field(&io, "syscw:"),
            tcp_kb: tcp_kb(),
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Run time and waiting time of all threads, in nanoseconds, where the kernel keeps them.
fn schedule(pid: u32) -> Option<(u64, u64)> {
    let mut sum = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        let mut words = text.split_whitespace();
        sum.0 += words.next()?.parse::<u64>().ok()?;
        sum.1 += words.next()?.parse::<u64>().ok()?;
    }
    (sum.0 > 0).then_some(sum)
}

/// `utime + stime`, which count in hundredths of a second.
fn ticks(pid: u32) -> Option<u64> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    let mut words = rest.split_whitespace().skip(11);
    let user: u64 = words.next()?.parse().ok()?;
    let system: u64 = words.next()?.parse().ok()?;
    Some((user + system) * NS_PER_TICK)
}

fn tcp_kb() -> u64 {
    let text = read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

/// Processor, cores and kernel, for the head of a report.
pub fn machine() -> String {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = cpu.lines().filter(|line| line.starts_with("model name")).collect::<Vec<_>>();
    let model = models.first().and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, m)| m);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
