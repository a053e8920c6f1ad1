//! Figures of the process and the machine, from the kernel.
//!
//! What is not measured is `null`. Loads are fractions (0.5 is one processor half in use) since the last time that they
//! were asked for, at least a second ago; at first, since the start of the process or of the machine.

use super::View;
use crate::app::json::{Json, Milli, OrNull};
use crate::app::world::World;
use crate::net::{clock, procfs, sys};

/// The least time in milliseconds over which a load is measured.
const SPAN_MS: u64 = 1_000;

/// Processor time at a moment, and what was used before.
#[derive(Debug, Default)]
pub(super) struct Load {
    at_ms: u64,
    own_ms: u64,
    all: (u64, u64),
    /// Thousandths.
    own: u64,
    system: u64,
}

impl Load {
    /// Measures anew, unless that was just done.
    pub(super) fn sample(&mut self, now: u64) {
        let usage = sys::usage();
        let ms = now.saturating_sub(self.at_ms);
        if self.at_ms > 0 && ms < SPAN_MS {
            return;
        }
        let own_ms = usage.user_ms + usage.system_ms;
        let all = machine();
        let (busy, whole) = (all.0.saturating_sub(self.all.0), all.1.saturating_sub(self.all.1));
        self.own = own_ms.saturating_sub(self.own_ms).saturating_mul(1000) / ms.max(1);
        self.system = busy.saturating_mul(1000).checked_div(whole).unwrap_or(0);
        (self.at_ms, self.own_ms, self.all) = (now, own_ms, all);
    }
}

impl super::State {
    /// Measures what is measured between two requests.
    pub fn sample(&mut self, now: u64, received: u64, sent: u64) {
        self.load.sample(now);
        self.received.note(now, received);
        self.sent.note(now, sent);
    }
}

/// The fields of the first line of /proc/stat.
fn cpu_line() -> Vec<u64> {
    let text = procfs::read("stat");
    let line = text.lines().next().unwrap_or_default();
    line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()
}

/// Ticks in which the machine was busy, and all.
fn machine() -> (u64, u64) {
    let fields = cpu_line();
    // The last two, of guests, are part of the first two.
    let all: u64 = fields.iter().take(8).sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    (all.saturating_sub(idle), all)
}

/// The fields of /proc/self/stat, from the state on; the name before may hold anything.
fn own_stat() -> (String, Vec<String>) {
    let text = procfs::read("self/stat");
    let (head, rest) = text.rsplit_once(") ").unwrap_or_default();
    let name = head.split_once('(').map_or("", |(_, name)| name);
    (name.to_owned(), rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Resident memory in bytes.
pub(super) fn resident() -> u64 {
    let (_, fields) = own_stat();
    fields.get(21).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0).saturating_mul(sys::page_size())
}

/// A figure of /proc/meminfo in KiB.
fn memory(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn share(part: u64, whole: u64) -> Milli {
    Milli(part.saturating_mul(1000).checked_div(whole).unwrap_or(0))
}

/// A number as the kernel writes it, if it is one.
fn number(text: Option<&str>) -> &str {
    let fits = |text: &&str| {
        text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().all(|b| b"-.0123456789".contains(&b))
    };
    text.filter(fits).unwrap_or("null")
}

/// RAM and swap in use, as shares.
fn in_use(text: &str) -> (Milli, Milli) {
    let of = |name| memory(text, name);
    let used = of("MemTotal").saturating_sub(of("MemFree") + of("Buffers") + of("Cached"));
    let swap = of("SwapTotal");
    (share(used, of("MemTotal")), share(swap.saturating_sub(of("SwapFree")), swap))
}

pub(super) fn meminfos(json: &mut Json) {
    let text = procfs::read("meminfo");
    let of = |name| memory(&text, name);
    let (ram, swap) = in_use(&text);
    json.open("data");
    json.put("ok", &true);
    json.put("sample_time", &clock::unix_ms());
    json.put("percent_ram", &ram);
    json.put("percent_swap", &swap);
    let total = of("MemTotal");
    let free = of("MemFree") + of("Buffers") + of("Cached");
    json.put("MemActive", &total.saturating_sub(of("MemFree")));
    json.put("RealInUse", &total.saturating_sub(free));
    json.put("NotInUse", &free);
    for name in ["MemTotal", "MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree"] {
        json.put(name, &of(name));
    }
    json.close();
}

pub(super) fn rusages(_: &World, json: &mut Json) {
    let usage = sys::usage();
    let [minor, major, read, written, voluntary, forced] = usage.counts;
    json.open("data");
    json.put("ok", &true);
    json.put("sample_time", &clock::unix_ms());
    for (name, value) in [
        ("ru_utime", usage.user_ms),
        ("ru_stime", usage.system_ms),
        ("ru_maxrss", usage.max_rss),
        ("ru_minflt", minor),
        ("ru_majflt", major),
        ("ru_inblock", read),
        ("ru_oublock", written),
        ("ru_nvcsw", voluntary),
        ("ru_nivcsw", forced),
    ] {
        json.put(name, &value);
    }
    // Linux counts none of these.
    for name in ["ru_ixrss", "ru_idrss", "ru_isrss", "ru_nswap", "ru_msgsnd", "ru_msgrcv", "ru_nsignals"] {
        json.put(name, &0);
    }
    json.close();
}

/// The fields of /proc/self/stat from the fourth on (proc(5)).
const STAT: &str = "ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime priority \
    nice num_threads itrealvalue starttime vsize rss rsslim startcode endcode startstack kstkesp kstkeip signal blocked \
    sigignore sigcatch wchan nswap cnswap exit_signal processor rt_priority policy delayacct_blkio_ticks guest_time \
    cguest_time";

pub(super) fn self_proc_stats(world: &World, json: &mut Json) {
    let (name, fields) = own_stat();
    let mut fields = fields.iter();
    json.open("data");
    json.put("ok", &!name.is_empty());
    json.put("sample_time", &clock::unix_ms());
    json.put("percent", &Milli(world.api.load.own));
    json.put("pid", &std::process::id());
    json.text("comm", &name);
    json.text("state", fields.next().map_or("", |state| state));
    for (name, value) in STAT.split(' ').filter(|name| !name.is_empty()).zip(fields) {
        json.put(name, &number(Some(value)));
    }
    json.close();
}

pub(super) fn system_proc_stats(world: &World, json: &mut Json) {
    let fields = cpu_line();
    json.open("data");
    json.put("ok", &!fields.is_empty());
    json.put("sample_time", &clock::unix_ms());
    json.put("percent", &Milli(world.api.load.system));
    let names = ["user", "nice", "sys", "idle", "iowait", "irq", "softirq", "steal", "guest"];
    names.iter().zip(fields).for_each(|(name, ticks)| json.put(name, &ticks));
    json.close();
}

/// Adds the figures of the process and the machine as `data`.
pub fn summaries(view: &View<'_>, json: &mut Json) {
    let world = view.world;
    let text = procfs::read("meminfo");
    let (_, stat) = own_stat();
    json.open("data");
    json.put("ok", &true);
    json.put("now_ms", &clock::unix_ms());
    json.open("self");
    json.text("version", env!("CARGO_PKG_VERSION"));
    json.put("pid", &std::process::id());
    json.put("ppid", &OrNull(stat.get(1).and_then(|ppid| ppid.parse::<u32>().ok())));
    json.text("argv", &procfs::read("self/cmdline").trim_end_matches('\0').replace('\0', " "));
    json.text("cwd", &procfs::cwd());
    let resident = resident() / 1024;
    json.put("mem_kbyte", &resident);
    json.put("mem_percent", &share(resident, memory(&text, "MemTotal")));
    json.put("cpu_percent", &Milli(world.api.load.own));
    json.put("srs_uptime", &(world.now / 1000));
    json.close();
    json.open("system");
    machine_summary(view, &text, json);
    json.close();
    json.close();
}

fn machine_summary(view: &View<'_>, meminfo: &str, json: &mut Json) {
    let world = view.world;
    let (ram, swap) = in_use(meminfo);
    json.put("cpu_percent", &Milli(world.api.load.system));
    for name in ["disk_read_KBps", "disk_write_KBps", "disk_busy_percent"] {
        json.put(name, &"null");
    }
    json.put("mem_ram_kbyte", &memory(meminfo, "MemTotal"));
    json.put("mem_ram_percent", &ram);
    json.put("mem_swap_kbyte", &memory(meminfo, "SwapTotal"));
    json.put("mem_swap_percent", &swap);
    let cpus = procfs::read("stat").lines().filter(|line| line.starts_with("cpu")).count().saturating_sub(1);
    json.put("cpus", &cpus);
    json.put("cpus_online", &cpus);
    let uptime = procfs::read("uptime");
    let mut fields = uptime.split_ascii_whitespace();
    json.put("uptime", &number(fields.next()));
    json.put("ilde_time", &number(fields.next()));
    let load = procfs::read("loadavg");
    for (name, value) in ["load_1m", "load_5m", "load_15m"].iter().zip(load.split_ascii_whitespace()) {
        json.put(name, &number(Some(value)));
    }
    network(json);
    let now = clock::unix_ms();
    json.put("srs_sample_time", &now);
    json.put("srs_recv_bytes", &world.received);
    json.put("srs_send_bytes", &world.sent);
    sockets(json);
    json.put("conn_srs", &view.conns.len());
    json.open("runnel");
    let kbps = |rate: &crate::app::rate::Rate, bytes| OrNull(rate.kbps(world.now, bytes));
    json.put("recv_kbps", &kbps(&world.api.received, world.received));
    json.put("send_kbps", &kbps(&world.api.sent, world.sent));
    json.put("skipped_gops", &world.api.skips);
    json.put("media_bytes", &super::lists::kept(world));
    json.close();
}

/// Bytes of the network's interfaces: those to other machines, and all (`…i`).
fn network(json: &mut Json) {
    let (mut outside, mut all) = ((0u64, 0u64), (0u64, 0u64));
    for line in procfs::read("net/dev").lines() {
        let Some((name, figures)) = line.split_once(':') else { continue };
        let figures: Vec<u64> = figures.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let (received, sent) = (figures.first().copied().unwrap_or(0), figures.get(8).copied().unwrap_or(0));
        all = (all.0 + received, all.1 + sent);
        if name.trim() != "lo" {
            outside = (outside.0 + received, outside.1 + sent);
        }
    }
    json.put("net_sample_time", &clock::unix_ms());
    json.put("net_recv_bytes", &outside.0);
    json.put("net_send_bytes", &outside.1);
    json.put("net_recvi_bytes", &all.0);
    json.put("net_sendi_bytes", &all.1);
}

fn sockets(json: &mut Json) {
    let text = procfs::read("net/sockstat");
    let figure = |line: &str, name: &str| -> Option<u64> {
        let mut words = text.lines().find_map(|l| l.strip_prefix(line))?.split_ascii_whitespace();
        words.find(|word| *word == name)?;
        words.next()?.parse().ok()
    };
    let snmp = procfs::read("net/snmp");
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap_or_default(), tcp.next().unwrap_or_default());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let established = pairs.find(|(name, _)| *name == "CurrEstab").and_then(|(_, n)| n.parse::<u64>().ok());
    let (tcp, waiting) = (figure("TCP:", "inuse"), figure("TCP:", "tw"));
    json.put("conn_sys", &OrNull(tcp.map(|n| n + waiting.unwrap_or(0))));
    json.put("conn_sys_et", &OrNull(established));
    json.put("conn_sys_tw", &OrNull(waiting));
    json.put("conn_sys_udp", &OrNull(figure("UDP:", "inuse")));
}
