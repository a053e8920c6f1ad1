//! The runnel program: options, configuration, then the server.
#![forbid(unsafe_code)]

use runnel::app::{banner, server::Server};
use runnel::conf::{self, Config, LogTank};
use runnel::net;
use std::process::ExitCode;

struct Command {
    file: Option<String>,
    test: bool,
    demo: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let command = match options(&args) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => return fail(&problem),
    };
    let config = match load(command.file.as_deref()) {
        Ok(config) => config,
        Err(problem) => return fail(&problem),
    };
    if command.test {
        println!("the configuration is good");
        return ExitCode::SUCCESS;
    }
    match serve(config, command.demo) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem),
    }
}

fn fail(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::FAILURE
}

/// Reads the options; `None` when they only asked for words.
fn options(args: &[String]) -> Result<Option<Command>, String> {
    let mut options = getopts::Options::new();
    options.optopt("c", "", "read the configuration from FILE (without it: built-in defaults)", "FILE");
    options.optflag("t", "", "test the configuration and exit: 0 when it is good");
    options.optflag("", "demo", "also play a built-in clip as live/demo");
    options.optflag("v", "version", "print the version and exit");
    options.optflag("h", "help", "print this help and exit");
    let usage = || options.usage("Usage: runnel [-c FILE] [-t] [--demo]\n\nA live streaming server.");
    let found = options.parse(args).map_err(|error| format!("{error}\n\n{}", usage()))?;
    if found.opt_present("h") {
        println!("{}", usage());
        return Ok(None);
    }
    if found.opt_present("v") {
        println!("runnel {}", env!("CARGO_PKG_VERSION"));
        return Ok(None);
    }
    if let Some(stray) = found.free.first() {
        return Err(format!("what is `{stray}`? A configuration file is named with -c\n\n{}", usage()));
    }
    let (test, demo) = (found.opt_present("t"), found.opt_present("demo"));
    Ok(Some(Command { file: found.opt_str("c"), test, demo }))
}

/// The configuration: of the file, or built in. Warnings go to standard error.
fn load(file: Option<&str>) -> Result<Config, String> {
    let Some(file) = file else { return Ok(Config::default()) };
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    match conf::load_bytes(file, &bytes) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{warning}");
            }
            Ok(loaded.config)
        }
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(format!("{}\n{} not usable: {} errors", lines.join("\n"), file, errors.len()))
        }
    }
}

fn serve(config: Config, demo: bool) -> Result<(), String> {
    net::log::start(config.log.level);
    if config.log.tank == LogTank::File {
        let file = &config.log.file;
        net::log::to_file(file).map_err(|error| format!("cannot write the log to {file}: {error}"))?;
    }
    let lan = if banner::names_lan(&config) { net::sys::lan_addresses() } else { Vec::new() };
    let text = banner::text(&config, &lan, demo);
    let pid_file = config.pid.clone();
    let mut server = Server::new(config)?;
    if demo {
        server.start_demo()?;
    }
    print!("{text}");
    if let Some(path) = &pid_file {
        let pid = format!("{}\n", std::process::id());
        std::fs::write(path, pid).map_err(|error| format!("cannot write the pid file {path}: {error}"))?;
    }
    let outcome = server.run().map_err(|error| format!("the poll failed: {error}"));
    if let Some(path) = &pid_file {
        let _ = std::fs::remove_file(path);
    }
    outcome
}
