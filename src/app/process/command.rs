//! Command lines: those of ffmpeg for `ingest` and `transcode`, in the order in which SRS writes them, and variables in
//! them.
//!
//! Invariants: arguments go to the program as they are, no shell is involved. Variables are replaced once, so a stream
//! whose name looks like one stays what it is. A name never becomes an option, a second option of an RTMP URL, or a
//! command of a script that the operator wrote as one argument: such a line is refused.

use crate::conf::{Engine, Job, JobKind};
use crate::media::dvr::names::When;
use crate::wire::names::printable;

/// What a shell takes for more than a letter; in an argument that is a script, no variable may hold it.
const SHELL: &[char] =
    &['&', ';', '|', '<', '>', '$', '`', '"', '\'', '(', ')', '{', '}', '*', '!', '#', '~', '\\'];
/// Characters of a name in a message.
const QUOTED: usize = 80;

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// To be taken as it is.
    Plain(String),
    /// With variables in it.
    Template(String),
}

/// What variables stand for, beside the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vars {
    /// `[vhost]`.
    pub vhost: String,
    /// `[app]`.
    pub app: String,
    /// `[stream]`.
    pub stream: String,
    /// `[engine]`.
    pub engine: String,
    /// `[url]`: the stream at this server.
    pub url: String,
    /// `[tcUrl]`, as the publisher has sent it.
    pub tc_url: String,
    /// `[pageUrl]`.
    pub page_url: String,
    /// `[port]` of RTMP.
    pub port: u16,
}

/// The variable that `text` begins with: what it stands for, and what follows.
fn variable<'t>(text: &'t str, vars: &Vars, when: When) -> Option<(String, &'t str)> {
    let (name, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (year, month, day, hour, minute, second) = when.date;
    let value = match name {
        "vhost" => vars.vhost.clone(),
        "app" => vars.app.clone(),
        "stream" => vars.stream.clone(),
        "engine" => vars.engine.clone(),
        "url" => vars.url.clone(),
        "tcUrl" => vars.tc_url.clone(),
        "pageUrl" => vars.page_url.clone(),
        "swfUrl" => String::new(),
        "port" => vars.port.to_string(),
        "2006" => format!("{year:04}"),
        "01" => format!("{month:02}"),
        "02" => format!("{day:02}"),
        "15" => format!("{hour:02}"),
        "04" => format!("{minute:02}"),
        "05" => format!("{second:02}"),
        "999" => format!("{:03}", when.unix_ms % 1000),
        "timestamp" => when.unix_ms.to_string(),
        _ => return None,
    };
    Some((value, rest))
}

/// `text` with what its variables stand for, and what each of them brought in.
fn replace(text: &str, vars: &Vars, when: When) -> (String, Vec<String>) {
    let (mut out, mut brought, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find('[') {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(before);
        match variable(from, vars, when) {
            Some((value, after)) => {
                out.push_str(&value);
                brought.push(value);
                rest = after;
            }
            None => {
                out.push('[');
                rest = from.strip_prefix('[').unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    (out, brought)
}

/// `text` with what its variables stand for.
pub fn expand(text: &str, vars: &Vars, when: When) -> String {
    replace(text, vars, when).0
}

/// The arguments, ready for the program.
///
/// # Errors
/// Which argument would not mean what was meant, because of a name in it.
pub fn finish(line: &[Arg], vars: &Vars, when: When) -> Result<Vec<String>, String> {
    let one = |arg: &Arg| match arg {
        Arg::Plain(text) => Ok(text.clone()),
        Arg::Template(text) => {
            let (out, brought) = replace(text, vars, when);
            match danger(text, &out, &brought) {
                Some(what) => Err(format!("\"{}\" {what}; it is not run", printable(&out, QUOTED))),
                None => Ok(out),
            }
        }
    };
    line.iter().map(one).collect()
}

fn danger(template: &str, out: &str, brought: &[String]) -> Option<&'static str> {
    let script = template.contains(char::is_whitespace);
    let blank = |text: &String| text.contains(char::is_whitespace);
    if out.starts_with('-') && !template.starts_with('-') {
        Some("would be taken for an option")
    } else if out.contains("://") && brought.iter().any(blank) {
        Some("is no URL: there is a space in a name")
    } else if script
        && brought.iter().any(|text| text.contains(SHELL) || text.starts_with('-') || blank(text))
    {
        Some("could be a command to a shell, because of a name in it")
    } else {
        None
    }
}

/// The line of a program of `exec`: its path as it is, its arguments with variables.
pub fn exec(words: &[String]) -> Vec<Arg> {
    let mut words = words.iter().cloned();
    let program = words.next().into_iter().map(Arg::Plain);
    program.chain(words.map(Arg::Template)).collect()
}

/// The line of ffmpeg for an engine of a job that reads `input`. An ingest whose engine is off, or does not say with
/// what to encode, copies.
pub fn ffmpeg(job: &Job, engine: &Engine, input: &str, level: &str) -> Vec<Arg> {
    let ingest = job.kind == JobKind::Ingest;
    let copies = ingest && (!engine.enabled || engine.vcodec.is_empty() || engine.acodec.is_empty());
    let mut line = Line(vec![Arg::Plain(job.ffmpeg.clone())]);
    line.words(&["-hide_banner", "-nostdin", "-nostats", "-loglevel", level]);
    if ingest && job.file {
        line.words(&["-re"]);
    }
    line.all(&engine.perfile);
    let iformat = if engine.iformat.is_empty() && !ingest { "flv" } else { &engine.iformat };
    line.text("-f", iformat);
    line.words(&["-i"]);
    line.0.push(Arg::Template(input.to_owned()));
    if copies {
        line.words(&["-vcodec", "copy", "-acodec", "copy"]);
    } else {
        line.all(&engine.vfilter);
        line.picture(engine);
        line.sound(engine);
    }
    let rtmp = engine.output.starts_with("rtmp");
    line.text("-f", if engine.oformat.is_empty() && rtmp { "flv" } else { &engine.oformat });
    line.words(&["-y"]);
    line.0.push(Arg::Template(engine.output.clone()));
    line.0
}

struct Line(Vec<Arg>);

impl Line {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(|word| Arg::Plain((*word).to_owned())));
    }

    fn all(&mut self, words: &[String]) {
        self.0.extend(words.iter().cloned().map(Arg::Plain));
    }

    /// `off` and nothing: it is not said.
    fn text(&mut self, name: &str, value: &str) {
        if !matches!(value, "" | "off") {
            self.words(&[name, value]);
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        if value > 0 {
            self.words(&[name, &value.to_string()]);
        }
    }

    fn picture(&mut self, engine: &Engine) {
        match engine.vcodec.as_str() {
            "vn" => return self.words(&["-vn"]),
            "" | "copy" => return self.words(&["-vcodec", "copy"]),
            codec => self.words(&["-vcodec", codec]),
        }
        self.number("-b:v", u64::from(engine.vbitrate) * 1000);
        match (engine.vfps / 1000, engine.vfps % 1000) {
            (whole, 0) => self.number("-r", whole),
            (whole, part) => self.words(&["-r", &format!("{whole}.{part:03}")]),
        }
        if engine.vwidth > 0 && engine.vheight > 0 {
            let (width, height) = (engine.vwidth, engine.vheight);
            self.words(&["-s", &format!("{width}x{height}"), "-aspect", &format!("{width}:{height}")]);
        }
        self.number("-threads", u64::from(engine.vthreads));
        self.text("-profile:v", &engine.vprofile);
        self.text("-preset", &engine.vpreset);
        self.all(&engine.vparams);
    }

    fn sound(&mut self, engine: &Engine) {
        match engine.acodec.as_str() {
            "an" => return self.words(&["-an"]),
            "" | "copy" => return self.words(&["-acodec", "copy"]),
            codec => self.words(&["-acodec", codec]),
        }
        self.number("-b:a", u64::from(engine.abitrate) * 1000);
        self.number("-ar", u64::from(engine.asample_rate));
        self.number("-ac", u64::from(engine.achannels));
        self.all(&engine.aparams);
    }
}
