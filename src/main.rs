//! The runnel program: options, configuration, then the server.
#![forbid(unsafe_code)]

use runnel::app::server::Server;
use runnel::app::service::{self, Notice, PidFile};
use runnel::app::setup::{self, Setup, log_settings};
use runnel::app::{banner, qr};
use runnel::conf::{Config, Loaded, LogTank, reference};
use runnel::net;
use runnel::net::handover::{Inherited, Program, VARIABLE};
use std::io::IsTerminal;
use std::process::ExitCode;

/// What is asked for.
enum Task {
    Run { demo: bool },
    Test,
    Show,
}

fn main() -> ExitCode {
    let mut inherited = match Inherited::receive() {
        Ok(inherited) => inherited,
        Err(problem) => return fail(&problem),
    };
    let notice = inherited.as_mut().map(|inherited| Notice::to_predecessor(inherited.take_news()));
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (task, setup) = match options(&args) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => return fail(&problem),
    };
    let loaded = match setup.load() {
        Ok(loaded) => loaded,
        Err(problem) => return fail(&notice.unwrap_or_default().failed(problem)),
    };
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    match task {
        Task::Run { demo } => match serve(setup, loaded, demo, inherited.zip(notice)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(&problem),
        },
        Task::Test => test(&setup, &loaded),
        Task::Show => {
            print!("{}", loaded.effective);
            println!("\n{}", setup::memory_note(&loaded.config));
            ExitCode::SUCCESS
        }
    }
}

fn fail(problem: &str) -> ExitCode {
    if !problem.is_empty() {
        eprintln!("{problem}");
    }
    ExitCode::FAILURE
}

/// Reads the options; `None` when they only asked for words.
fn options(args: &[String]) -> Result<Option<(Task, Setup)>, String> {
    let mut options = getopts::Options::new();
    options.optopt("c", "", "read the configuration from FILE (without it: built-in defaults)", "FILE");
    options.optflag("e", "", "read no file: the built-in defaults and the environment only");
    options.optflag("t", "", "test the configuration and exit: 0 when it is good");
    options.optflag("T", "", "print the configuration in force, with where each value comes from, and exit");
    options.optflag("", "demo", "also play a built-in clip as live/demo");
    options.optopt("", "explain", "tell what a directive does and exit", "DIRECTIVE");
    options.optflag("", "directives", "print the reference of all directives (Markdown) and exit");
    options.optflag("v", "version", "print the version and exit (also -V)");
    options.optflag("g", "", "print name and version as servers sign themselves and exit (also -G)");
    options.optflag("h", "help", "print this help and exit (also -?)");
    let brief = "Usage: runnel [-c FILE] [-t | -T] [--demo]\n\nA live streaming server.";
    let usage = || options.usage(brief);
    let modern: Vec<String> = args.iter().map(|arg| modern(arg)).collect();
    let found = options.parse(&modern).map_err(|error| format!("{error}\n\n{}", usage()))?;
    let version = env!("CARGO_PKG_VERSION");
    if found.opt_present("h") {
        println!("{}", usage());
    } else if found.opt_present("v") {
        println!("runnel {version}");
    } else if found.opt_present("g") {
        println!("runnel/{version}");
    } else if found.opt_present("directives") {
        print!("{}", reference::page());
    } else if let Some(name) = found.opt_str("explain") {
        println!("{}", reference::explain(&name)?);
    } else if let Some(stray) = found.free.first() {
        return Err(format!("what is `{stray}`? A configuration file is named with -c\n\n{}", usage()));
    } else {
        let task = match (found.opt_present("T"), found.opt_present("t")) {
            (true, _) => Task::Show,
            (false, true) => Task::Test,
            (false, false) => Task::Run { demo: found.opt_present("demo") },
        };
        let file = found.opt_str("c").filter(|_| !found.opt_present("e"));
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter(|(name, _)| name != VARIABLE).filter_map(text).collect();
        return Ok(Some((task, Setup::new(file, environment))));
    }
    Ok(None)
}

/// Options that SRS writes in two ways.
fn modern(arg: &str) -> String {
    match arg {
        "-V" => "-v",
        "-G" => "-g",
        "-?" => "-h",
        other => other,
    }
    .to_owned()
}

/// `-t`: also looks whether what is to be written can be.
fn test(setup: &Setup, loaded: &Loaded) -> ExitCode {
    let faults = setup::faults(loaded);
    if faults.is_empty() {
        println!("{} is good", setup.name());
        return ExitCode::SUCCESS;
    }
    let s = if faults.len() == 1 { "" } else { "s" };
    fail(&format!("{}\n{} is not usable: {} error{s}", faults.join("\n"), setup.name(), faults.len()))
}

/// `from`: the process whose place this one takes, and the way back to it.
fn serve(
    mut setup: Setup,
    loaded: Loaded,
    demo: bool,
    from: Option<(Inherited, Notice)>,
) -> Result<(), String> {
    let Loaded { config, mut files, .. } = loaded;
    let work_dir = config.work_dir.as_deref().filter(|dir| !matches!(*dir, "" | "./"));
    let absolute = |file: &String| std::path::absolute(file).ok()?.into_os_string().into_string().ok();
    if work_dir.is_some() {
        files = files.iter().map(|file| absolute(file).unwrap_or_else(|| file.clone())).collect();
    }
    let program = program(&setup, demo);
    let (inherited, notice) =
        from.map_or((None, None), |(inherited, notice)| (Some(inherited), Some(notice)));
    if let Some(dir) = work_dir {
        setup.make_absolute();
        if let Err(error) = std::env::set_current_dir(dir) {
            let why = format!("cannot change to work_dir {dir}: {error}");
            return Err(notice.unwrap_or_default().failed(why));
        }
    }
    let notice = match notice {
        Some(notice) => notice,
        None if config.daemon => service::detach()?,
        None => Notice::default(),
    };
    let (mut server, pid) = match start(config, demo, inherited) {
        Ok(started) => started,
        Err(why) => return Err(notice.failed(why)),
    };
    notice.ready()?;
    net::notify::tell("READY=1\n");
    net::log::capture_output();
    server.watch(setup, files);
    server.may_hand_over(program, pid);
    server.run().map_err(|error| format!("the poll failed: {error}"))
}

/// How to start this program again.
fn program(setup: &Setup, demo: bool) -> Program {
    let mut setup = setup.clone();
    setup.make_absolute();
    let file = setup.file().map(|file| ["-c".into(), file.into()]);
    Program::this(file.into_iter().flatten().chain(demo.then(|| "--demo".into())).collect())
}

/// Opens everything that can fail, or takes over what another process has open.
fn start(
    config: Config,
    demo: bool,
    inherited: Option<Inherited>,
) -> Result<(Server, Option<PidFile>), String> {
    net::log::start(&log_settings(&config.log))?;
    let Some(mut inherited) = inherited else { return start_anew(config, demo) };
    let (user, pid) = (config.user.clone(), config.pid.clone());
    let lock = inherited.take_lock();
    let mut server = Server::taking_over(config, inherited.into_sockets())?;
    if demo {
        server.start_demo()?;
    }
    if let Some(user) = &user {
        service::become_user(user, None)?;
    }
    let pid = pid.map(|path| PidFile::take_over(&path, lock)).transpose()?;
    Ok((server, pid))
}

fn start_anew(config: Config, demo: bool) -> Result<(Server, Option<PidFile>), String> {
    if config.daemon && config.log.tank == LogTank::Console {
        log::warn!(target: "server", "daemon is on and log_tank is console: nothing is logged from here on");
    }
    let pid = config.pid.as_deref().map(PidFile::take).transpose()?;
    let lan = if banner::names_lan(&config) { net::sys::lan_addresses() } else { Vec::new() };
    let mut text = banner::text(&config, &lan, demo);
    if std::io::stdout().is_terminal()
        && let Some(url) = banner::first_http_url(&config, &lan, demo)
    {
        text += &qr::text(&url).map(|code| format!("\n{code}")).unwrap_or_default();
    }
    let user = config.user.clone();
    let mut server = Server::new(config)?;
    if demo {
        server.start_demo()?;
    }
    net::log::say(&text);
    if let Some(user) = &user {
        service::become_user(user, pid.as_ref())?;
    }
    Ok((server, pid))
}
