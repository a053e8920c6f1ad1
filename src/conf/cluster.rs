//! The typed part of `cluster { }` of a vhost: an edge, which has its streams from other servers.

/// `cluster { }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `mode`: true for `remote`, an edge. Default local.
    pub remote: bool,
    /// `origin`: `host:port` each, the host an address or a name; not empty on an edge. Default: none.
    pub origins: Vec<String>,
    /// `token_traverse`: origins are asked about each client. Default off.
    pub token_traverse: bool,
    /// `vhost`: under which vhost origins are asked; `[vhost]` is the name of this one. Default `[vhost]`.
    pub vhost: String,
}

impl Cluster {
    /// Whether an origin is asked about each client.
    pub fn asks(&self) -> bool {
        self.remote && self.token_traverse
    }

    /// The origin after this one, in the order of the file, then from the first again; the first if it is none.
    pub fn after(&self, origin: &str) -> Option<&str> {
        let next = self.origins.iter().position(|own| own == origin).map_or(0, |at| at + 1);
        self.origins.get(next).or(self.origins.first()).map(String::as_str)
    }
}

/// No value is set yet; the table of directives holds the defaults.
pub(super) const BLANK_CLUSTER: Cluster =
    Cluster { remote: false, origins: Vec::new(), token_traverse: false, vhost: String::new() };
