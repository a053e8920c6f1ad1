//! Where the configuration comes from: the file, what it includes, and the environment. Read at the start, tested
//! by `-t`, and read again at a reload.

use crate::conf::schema::Context;
use crate::conf::{self, Config, HlsStorage, Loaded, LogTank, MAX_FILE};
use crate::media::dvr::names::Template;
use crate::net::{files, log, memory, sys};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The places that a configuration is made from.
#[derive(Debug, Clone)]
pub struct Setup {
    file: Option<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// The file, or without one what is built in; the environment overrides either.
    pub fn new(file: Option<String>, environment: Vec<(String, String)>) -> Setup {
        Setup { file, environment }
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        self.file.as_deref().unwrap_or("the built-in configuration")
    }

    /// The file, unless all is built in.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Keeps the file within reach when the working directory changes.
    pub fn make_absolute(&mut self) {
        let absolute = self.file.as_deref().and_then(|file| std::path::absolute(file).ok());
        if let Some(path) = absolute.and_then(|path| path.into_os_string().into_string().ok()) {
            self.file = Some(path);
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// All mistakes, each with its place, over several lines.
    pub fn load(&self) -> Result<Loaded, String> {
        let main = match self.file.as_deref() {
            Some(file) => {
                let bytes = files::read(file, MAX_FILE);
                Some((file, bytes.map_err(|error| format!("cannot read {file}: {error}"))?))
            }
            None => None,
        };
        let main = main.as_ref().map(|(file, bytes)| (*file, bytes.as_slice()));
        let mut loader = |pattern: &str| files::read_matching(pattern, MAX_FILE);
        conf::load_all(main, &self.environment, &mut loader).map_err(|errors| {
            let mut text: String = errors.iter().map(|error| format!("{error}\n")).collect();
            let s = if errors.len() == 1 { "" } else { "s" };
            text += &format!("{} is not usable: {} error{s}", self.name(), errors.len());
            text
        })
    }
}

/// The log's settings in the form of the layer below.
pub fn log_settings(log: &conf::Log) -> log::Settings {
    log::Settings {
        level: log.level,
        place: match log.tank {
            LogTank::Console => log::Place::Console,
            LogTank::File => log::Place::File(log.file.clone()),
            LogTank::Syslog => log::Place::Syslog(log.socket.clone()),
        },
        max_size: log.max_size,
        keep: log.keep,
        ring: usize::try_from(log.ring).unwrap_or(usize::MAX),
        utc: log.utc,
        access: log.access.clone(),
    }
}

/// What `max_memory` comes to on this machine now, as a comment of the configuration.
pub fn memory_note(config: &Config) -> String {
    let left = memory::available();
    let shown = left.map_or_else(|| String::from("an unknown amount"), |bytes| format!("{} MB", bytes >> 20));
    match super::memory::budget(config.max_memory, left) {
        0 => format!("# max_memory: no bound ({shown} of memory is left)"),
        bytes => format!("# max_memory: {} MB ({shown} of memory is left)", bytes >> 20),
    }
}

/// What of the configuration cannot work on this machine, each with its place; nothing is changed by looking.
pub fn faults(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let base = PathBuf::from(config.work_dir.as_deref().unwrap_or(""));
    let mut faults = Vec::new();
    let mut tell = |name: &str, fault: Option<String>| {
        if let Some(fault) = fault {
            let origin = loaded.effective.origin(Context::Root, name);
            faults.push(format!("{origin}: error: `{name}`: {fault}"));
        }
    };
    if let Some(dir) = &config.work_dir {
        tell("work_dir", (!Path::new(dir).is_dir()).then(|| format!("{dir} is not a directory")));
    }
    if let Some(pid) = &config.pid {
        tell("pid", write_fault(&base.join(pid)));
    }
    if config.log.tank == LogTank::File {
        tell("log_file", write_fault(&base.join(&config.log.file)));
    }
    if let Some(access) = &config.log.access {
        tell("access_log", write_fault(&base.join(access)));
    }
    let user = config.user.as_deref().map(super::service::find_user);
    match user {
        Some(Ok((user, group))) if !sys::is_root() && !sys::runs_as(user, group) => {
            tell("user", Some(String::from("only root can become another user")));
        }
        Some(Err(ref why)) => tell("user", Some(why.clone())),
        _ => {}
    }
    trees(loaded, &base, user.and_then(Result::ok), &mut faults);
    faults
}

/// The directories that are made when there is something to write to them.
fn trees(loaded: &Loaded, base: &Path, user: Option<(u32, u32)>, faults: &mut Vec<String>) {
    let (config, effective) = (&loaded.config, &loaded.effective);
    let mut look = |dir: &str, (context, name): (Context, &str), vhost: &str| {
        if let Some(fault) = tree_fault(&base.join(dir), user) {
            let origin = effective.origin_in(vhost, context, name);
            faults.push(format!("{origin}: error: `{name}`: {fault}"));
        }
    };
    for vhost in &config.vhosts {
        if vhost.dvr.enabled {
            look(Template::new(&vhost.dvr.path).root(), (Context::Dvr, "dvr_path"), &vhost.name);
        }
        if vhost.hls.enabled && vhost.hls.storage != HlsStorage::Ram {
            look(&vhost.hls.path, (Context::Hls, "hls_path"), &vhost.name);
            if let Some(keys) = vhost.hls.key_file_path.as_ref().filter(|_| vhost.hls.keys) {
                look(keys, (Context::Hls, "hls_key_file_path"), &vhost.name);
            }
        }
    }
    if let Some(dir) = config.ff_log.dir.as_ref().filter(|_| config.vhosts.iter().any(|v| !v.jobs.is_empty()))
    {
        look(dir, (Context::Root, "ff_log_dir"), "");
    }
}

/// Why no file can be made below a directory that is made if it is not there; `user` is who is to write there.
fn tree_fault(dir: &Path, user: Option<(u32, u32)>) -> Option<String> {
    let dir = dir.components().as_path();
    let there = dir.ancestors().find(|above| above.as_os_str().is_empty() || above.exists())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let data = std::fs::metadata(there).ok()?;
    // Root, who looks, may write where the one that it becomes may not.
    let may = |(user, group)| {
        let shift = if data.uid() == user {
            6
        } else if data.gid() == group {
            3
        } else {
            0
        };
        user == 0 || data.mode() >> shift & 3 == 3
    };
    let fault = if !data.is_dir() {
        "is not a directory"
    } else if !sys::may_write(there) || !user.filter(|_| sys::is_root()).is_none_or(may) {
        "may not be written to"
    } else {
        return None;
    };
    Some(if there == dir {
        format!("{} {fault}", there.display())
    } else {
        format!("{} cannot be made: {} {fault}", dir.display(), there.display())
    })
}

/// Why the file cannot be written, if it cannot.
fn write_fault(path: &Path) -> Option<String> {
    let shown = path.display();
    if path.is_dir() {
        return Some(format!("{shown} is a directory"));
    }
    if path.exists() {
        return (!sys::may_write(path)).then(|| format!("{shown} may not be written to"));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Some(format!("there is no directory {}", parent.display()));
    }
    (!sys::may_write(parent)).then(|| format!("no file can be made in {}", parent.display()))
}
