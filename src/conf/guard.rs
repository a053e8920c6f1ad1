//! The typed part of `http_api { }`, and of `security { }` and `refer { }` of a vhost.

use super::typed::{IpNet, Listen};

/// `http_api { }`: the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpApi {
    /// `enabled`. Default: off in a file, on without a file.
    pub enabled: bool,
    /// `listen`; never empty. What stands in [`super::HttpServer::listen`] too is shared with it. Default: port 1985
    /// (without a file 8080).
    pub listen: Vec<Listen>,
    /// `crossdomain`: pages of other hosts may read the answers, also as JSONP. Default on (without a file off).
    pub crossdomain: bool,
    /// `allow_kick`: clients may be disconnected. Default on (without a file off).
    pub allow_kick: bool,
    /// `raw_api { enabled }`. Default off.
    pub raw: bool,
    /// `raw_api { allow_reload }`. Default off.
    pub allow_reload: bool,
    /// `auth { enabled }`. Default off.
    pub auth: bool,
    /// `auth { username }`; not empty when `auth` is on.
    pub username: String,
    /// `auth { password }`; not empty when `auth` is on.
    pub password: String,
}

/// `security { }`: addresses that may publish and play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `allow`. Default: none.
    pub allow: Vec<Rule>,
    /// `deny`. Default: none.
    pub deny: Vec<Rule>,
}

/// A rule of `security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub act: Act,
    /// Whom it is about; `None`: everybody.
    pub net: Option<IpNet>,
}

/// What a client wants with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// To send it.
    Publish,
    /// To watch it.
    Play,
}

impl Act {
    /// The word that rules have for it.
    pub fn word(self) -> &'static str {
        match self {
            Act::Publish => "publish",
            Act::Play => "play",
        }
    }
}

/// `refer { }`: hosts of pages that may publish and play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refer {
    /// `enabled`. Default off.
    pub enabled: bool,
    /// `all`: for both; in lower case. Empty, the default: not asked.
    pub all: Vec<String>,
    /// `publish`: as `all`.
    pub publish: Vec<String>,
    /// `play`: as `all`.
    pub play: Vec<String>,
}

/// No value is set yet; the table of directives holds the defaults.
pub(super) const BLANK_API: HttpApi = HttpApi {
    enabled: false,
    listen: Vec::new(),
    crossdomain: false,
    allow_kick: false,
    raw: false,
    allow_reload: false,
    auth: false,
    username: String::new(),
    password: String::new(),
};

/// As [`BLANK_API`].
pub(super) const BLANK_SECURITY: Security = Security { enabled: false, allow: Vec::new(), deny: Vec::new() };

/// As [`BLANK_API`].
pub(super) const BLANK_REFER: Refer =
    Refer { enabled: false, all: Vec::new(), publish: Vec::new(), play: Vec::new() };
