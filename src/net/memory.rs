//! The memory of the machine: what is left of it, what this process has, and giving back what is not needed.
//!
//! A limit of a control group (containers, systemd's `MemoryMax`) counts as the machine's memory where it is smaller.
//! Groups of version 2 and 1 are read where they are usually mounted; the process's own group and those above it count.

use std::fs;
use std::path::Path;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes that this process could take now before the machine or its control group runs out; `None` when the system does
/// not tell.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups(&own).iter().filter_map(|group| left_in(group)).chain(machine).min()
}

/// Bytes of this process that are in memory.
pub fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&text, "VmRSS:")
}

/// Has the allocator give free memory back to the system. musl's does so by itself.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    super::sys::trim_heap();
}

/// `MemAvailable` (Linux 3.14 and later), before it what is free or can be had by dropping caches.
fn of_machine(meminfo: &str) -> Option<u64> {
    let one = |key| kilobytes(meminfo, key);
    one("MemAvailable:")
        .or_else(|| Some(one("MemFree:")? + one("Buffers:").unwrap_or(0) + one("Cached:").unwrap_or(0)))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The directories of the memory groups of a process, and of those above them.
fn groups(own: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => GROUPS.to_owned(),
            list if list.split(',').any(|name| name == "memory") => format!("{GROUPS}/memory"),
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            found.push(format!("{mount}{path}"));
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => break,
            }
        }
    }
    found
}

/// What is left below the limit of a group, if it has one.
fn left_in(group: &str) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(Path::new(group).join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit version 2 says "max", version 1 a number beyond any machine.
    let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes"))?;
    let taken = read("memory.current").or_else(|| read("memory.usage_in_bytes")).unwrap_or(0);
    Some(limit.saturating_sub(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_what_is_left() {
        let text = "MemTotal:      60000 kB\nMemFree:  1000 kB\nMemAvailable:      30000 kB\nCached: 5 kB\n";
        assert_eq!(of_machine(text), Some(30_000 << 10));
        let old = "MemTotal: 60000 kB\nMemFree: 1000 kB\nBuffers: 20 kB\nCached: 300 kB\n";
        assert_eq!(of_machine(old), Some(1_320 << 10));
        assert_eq!(of_machine("MemTotal: 5 kB\n"), None);
        assert_eq!(of_machine("MemAvailable: many kB\n"), None);
        assert!(available().is_some() && resident().is_some_and(|bytes| bytes > 100 << 10));
    }

    #[test]
    fn groups_are_looked_up_to_the_root() {
        assert_eq!(
            groups("0::/system.slice/runnel.service\n"),
            ["/sys/fs/cgroup/system.slice/runnel.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"]
        );
        assert_eq!(
            groups("4:cpu,cpuacct:/x\n3:memory:/docker\n1:name=systemd:/\n"),
            ["/sys/fs/cgroup/memory/docker", "/sys/fs/cgroup/memory"]
        );
        assert_eq!(groups("0::/"), ["/sys/fs/cgroup"]);
        assert!(groups("nonsense").is_empty());
    }
}
