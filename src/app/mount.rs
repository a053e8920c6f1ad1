//! `mount`: which path of the HTTP port is which stream.
//!
//! A mount is host and path, such as `[vhost]/[app]/[stream].flv`. The host part is for people to read: which vhost
//! answers is decided by the request's host. `[app]` may span several segments, `[stream]` is one.

/// Where a path leads to. Percent-encoding is still in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The app, when the mount says where it stands.
    pub app: Option<&'a str>,
    /// The stream.
    pub stream: &'a str,
}

/// Matches a request path with a mount.
pub fn matches<'a>(mount: &str, path: &'a str) -> Option<Hit<'a>> {
    let template = mount.split_once('/')?.1;
    let path = path.strip_prefix('/')?;
    let (before, suffix) = template.split_once("[stream]")?;
    let rest = path.strip_suffix(suffix)?;
    let hit = match before.split_once("[app]") {
        None => Hit { app: None, stream: rest.strip_prefix(before)? },
        Some((prefix, between)) => {
            let (app, stream) = rest.strip_prefix(prefix)?.rsplit_once(between)?;
            Hit { app: Some(app), stream }
        }
    };
    let whole =
        !hit.stream.is_empty() && !hit.stream.contains('/') && hit.app.is_none_or(|app| !app.is_empty());
    whole.then_some(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_streams() {
        let hit = |mount, path| matches(mount, path).map(|hit| (hit.app.unwrap_or("-"), hit.stream));
        let usual = "[vhost]/[app]/[stream].flv";
        assert_eq!(hit(usual, "/live/x.flv"), Some(("live", "x")));
        assert_eq!(hit(usual, "/a/b/x.y.flv"), Some(("a/b", "x.y")));
        assert_eq!(hit("[vhost]/flv/[stream].flv", "/flv/7.flv"), Some(("-", "7")));
        assert_eq!(hit("cam.lan/tv/[app]-[stream].flv", "/tv/live-x.flv"), Some(("live", "x")));
        for path in ["/x.flv", "/live/.flv", "//x.flv", "/live/x.ts", "live/x.flv", "/", "*", ""] {
            assert_eq!(hit(usual, path), None, "{path}");
        }
    }
}
