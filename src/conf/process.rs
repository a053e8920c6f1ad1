//! The typed part of `ingest { }`, `transcode { }` and `exec { }` of a vhost: programs that run beside the server.

/// `ff_log_dir` and `ff_log_level`: what ffmpeg has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FfLog {
    /// The directory of its logs. `None`, for `/dev/null`: there are none.
    pub dir: Option<String>,
    /// How much it says, in its own word. Default info.
    pub level: String,
}

/// What a job is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobKind {
    /// `ingest`: it makes streams.
    #[default]
    Ingest,
    /// `transcode`: it makes other forms of published streams.
    Transcode,
}

/// `ingest ID { }` or `transcode SCOPE { }` that is enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// Which of the two.
    pub kind: JobKind,
    /// The ID, or the scope: empty, `app` or `app/stream`.
    pub name: String,
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `input { type }`: it is a file, to be read in real time. Default on.
    pub file: bool,
    /// `input { url }`.
    pub url: String,
    /// `ffmpeg`: the program. Default `ffmpeg`.
    pub ffmpeg: String,
    /// `engine`, one process each. Of a transcode only those that are enabled.
    pub engines: Vec<Engine>,
}

/// `engine NAME { }`. Texts are empty and numbers 0 where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    /// Its name.
    pub name: String,
    /// `enabled`. Default off: an ingest copies then.
    pub enabled: bool,
    /// `perfile`: arguments before the input.
    pub perfile: Vec<String>,
    /// `iformat`: the container of the input; `off`: not said.
    pub iformat: String,
    /// `vfilter`: arguments after the input.
    pub vfilter: Vec<String>,
    /// `vcodec`: an encoder of ffmpeg, `copy`, or `vn`.
    pub vcodec: String,
    /// `vbitrate` in kbit/s.
    pub vbitrate: u32,
    /// `vfps` in thousandths.
    pub vfps: u64,
    /// `vwidth` in pixels.
    pub vwidth: u32,
    /// `vheight` in pixels.
    pub vheight: u32,
    /// `vthreads`.
    pub vthreads: u32,
    /// `vprofile`.
    pub vprofile: String,
    /// `vpreset`.
    pub vpreset: String,
    /// `vparams`: further arguments for the picture.
    pub vparams: Vec<String>,
    /// `acodec`: an encoder of ffmpeg, `copy`, or `an`.
    pub acodec: String,
    /// `abitrate` in kbit/s.
    pub abitrate: u32,
    /// `asample_rate` in Hz.
    pub asample_rate: u32,
    /// `achannels`.
    pub achannels: u32,
    /// `aparams`: further arguments for the sound.
    pub aparams: Vec<String>,
    /// `oformat`: the container of the output; `off`: not said.
    pub oformat: String,
    /// `output`: a URL or a file, with variables.
    pub output: String,
}

/// `exec { }`: programs for each published stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `publish`: programs with their arguments, each with variables.
    pub publish: Vec<Vec<String>>,
}

/// The blocks that are being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    pub(super) job: Job,
    pub(super) engine: Engine,
}

/// No value is set yet; the table of directives holds the defaults.
pub(super) const BLANK_EXEC: Exec = Exec { enabled: false, publish: Vec::new() };
