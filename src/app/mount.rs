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

/// The path of a stream by a mount, percent-encoded; `None` when the mount names no stream.
pub fn path(mount: &str, app: &str, stream: &str) -> Option<String> {
    let template = mount.split_once('/')?.1;
    let (before, suffix) = template.split_once("[stream]")?;
    let mut out = String::from("/");
    match before.split_once("[app]") {
        None => out.push_str(before),
        Some((prefix, between)) => {
            out.push_str(prefix);
            percent_encode(app, &mut out);
            out.push_str(between);
        }
    }
    percent_encode(stream, &mut out);
    out.push_str(suffix);
    Some(out)
}

/// Appends `text` with every byte escaped that means something in a URL; slashes stay.
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_back_to_its_stream() {
        for mount in ["[vhost]/[app]/[stream].flv", "/[app]/[stream].ts", "cam.lan/tv/[app]-[stream].flv"] {
            for (app, stream) in [("live", "x"), ("a/b", "ü #1?%"), ("live", "\"<script>&'")] {
                let path = path(mount, app, stream).unwrap();
                assert!(path.is_ascii() && !path.contains(['<', '"', ' ', '?', '#']), "{path}");
                let hit = matches(mount, &path).unwrap();
                let decoded = |text| crate::wire::names::percent_decode(text).unwrap();
                assert_eq!((decoded(hit.app.unwrap()), decoded(hit.stream)), (app.into(), stream.into()));
            }
        }
        assert_eq!(path("[vhost]/flv/[stream].flv", "live", "7").as_deref(), Some("/flv/7.flv"));
        assert_eq!(path("[vhost]/all.flv", "live", "7"), None);
    }

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
