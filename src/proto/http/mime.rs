//! Media types by file name extension, and how long such files may be kept.   Spec: RFC 9110, section 8.3;
//! RFC 9111, section 5.2.2; RFC 8216 (HLS), RFC 9559 and the registrations of the types.

/// What is not in the table.
const UNKNOWN: &str = "application/octet-stream";

/// Extension and type; sorted for readers, few enough to be searched from the start.
const TYPES: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("flv", "video/x-flv"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("log", "text/plain; charset=utf-8"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("m4v", "video/mp4"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("srt", "application/x-subrip"),
    ("svg", "image/svg+xml"),
    ("swf", "application/x-shockwave-flash"),
    ("ts", "video/mp2t"),
    ("txt", "text/plain; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml; charset=utf-8"),
];

/// Types whose files are replaced while they are watched: pages, scripts, playlists.
const CHANGING: &[&str] =
    &["text/", "application/json", "application/vnd.apple.mpegurl", "application/dash+xml"];

/// The media type of a file by its name.
pub fn of(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some((_, extension)) = file.rsplit_once('.') else { return UNKNOWN };
    let found = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    found.map_or(UNKNOWN, |(_, kind)| kind)
}

/// `Cache-Control` for a file of that media type. Playlists and pages are asked for again each time, which costs a
/// 304; media is kept for a minute, since recordings grow under their name.
pub fn cache_control(media_type: &str) -> &'static str {
    if CHANGING.iter().any(|kind| media_type.starts_with(kind)) { "no-cache" } else { "max-age=60" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_by_the_last_extension() {
        assert_eq!(of("vod/a.b.FLV"), "video/x-flv");
        assert_eq!(of("x.m3u8"), "application/vnd.apple.mpegurl");
        for name in ["x", "x.unknown", "a.mp4/x", "", "."] {
            assert_eq!(of(name), UNKNOWN, "{name}");
        }
        assert!(TYPES.is_sorted_by_key(|(extension, _)| *extension));
    }

    #[test]
    fn playlists_and_pages_are_asked_for_again() {
        for name in ["a.m3u8", "a.mpd", "index.html", "a.js", "a.json"] {
            assert_eq!(cache_control(of(name)), "no-cache", "{name}");
        }
        for name in ["a.mp4", "a.ts", "a.flv", "a.png", "a"] {
            assert_eq!(cache_control(of(name)), "max-age=60", "{name}");
        }
    }
}
