//! What is live, as JSON for the page.   Spec: RFC 8259.
//!
//! ```json
//! {"server":"runnel","version":"0.1.0","rtmp_port":1935,"http_port":8080,"more":0,"streams":[
//!   {"vhost":"__defaultVhost__","app":"live","stream":"x","viewers":1,"publisher":true,"recording":false,
//!    "seconds":7,"kbps":900,
//!    "video":{"codec":"H264","width":1280,"height":720,"profile":"High","level":"3.1"},
//!    "audio":{"codec":"AAC LC","rate":48000,"channels":2},
//!    "mime":"video/mp4; codecs=\"avc1.64001f,mp4a.40.2\"",
//!    "urls":{"rtmp":"/live/x","flv":"/live/x.flv"}}]}
//! ```
//!
//! A client sees the streams of the vhost that its request reaches, as with any other resource. What is not known is
//! `null`. `urls` has paths: of the RTMP port for `rtmp`, else of the HTTP port, by the extension of each `mount` that
//! can carry the stream. `viewers` counts those of HLS too. `recording` is true while a file is written. `publisher` is
//! false while the stream waits for its encoder to come back. At most [`MAX_LISTED`] streams are told of, in order of
//! their names; `more` counts the others. With `max_memory` there is also
//! `"memory":{"max":16777216,"used":9000000,"level":"no_gops","note":"there are no GOP caches"}` before `streams`.

use super::hub::{Live, Publisher};
use super::json::{OrNull, Text};
use super::memory::Guard;
use super::mount::{self, percent_encode};
use super::world::World;
use crate::conf::{HlsStorage, Vhost};
use crate::media::frame::HeaderKey;
use crate::media::hls::About;
use crate::media::package::Container;
use crate::media::stream::Stream;
use crate::wire::avtag::{self, AudioCodec, VideoCodec};
use crate::wire::mp4::config;
use crate::wire::{aac, av1, avc, hevc, names};
use std::fmt::{self, Write};

/// Streams in one answer at most.
pub const MAX_LISTED: usize = 500;

/// The list for a client that names this host and sends this query.
///
/// # Errors
/// The status to answer with, and why.
pub fn json(world: &World, host: Option<&str>, query: &str) -> Result<String, (u16, String)> {
    let asked = names::from_http(host, ("-", "-"), query).map_err(|error| (400, error.to_string()))?;
    let vhost = world.config.vhost(asked.name.vhost());
    let vhost = vhost.ok_or_else(|| (404, format!("no vhost serves {}", asked.name.vhost())))?;
    // A vhost that was named in the query has to be named in each URL too.
    let mut suffix = String::new();
    if asked.param("vhost").or(asked.param("domain")).is_some() {
        suffix.push_str("?vhost=");
        percent_encode(&vhost.name, &mut suffix);
    }
    let of_vhost =
        |live: &&Live| live.vhost.name == vhost.name && !live.ended && live.publisher != Publisher::Vacant;
    let mut streams: Vec<&Live> = world.hub.iter().filter(of_vhost).collect();
    streams.sort_unstable_by(|a, b| a.name.cmp(&b.name));

    let config = &world.config;
    let port = |listen: &[crate::conf::Listen]| listen.first().map_or(0, |listen| listen.port);
    let mut out = String::with_capacity(256 + 512 * streams.len().min(MAX_LISTED));
    let _ = write!(
        out,
        r#"{{"server":"runnel","version":{},"rtmp_port":{},"http_port":{},"more":{},"#,
        Text(env!("CARGO_PKG_VERSION")),
        port(&config.listen),
        port(&config.http_server.listen),
        streams.len().saturating_sub(MAX_LISTED),
    );
    write_memory(&mut out, &world.memory);
    out.push_str("\"streams\":[");
    for (n, live) in streams.iter().take(MAX_LISTED).enumerate() {
        out.push_str(if n > 0 { "," } else { "" });
        write_stream(&mut out, live, vhost, &suffix, world.now);
    }
    out.push_str("]}");
    Ok(out)
}

fn write_memory(out: &mut String, memory: &Guard) {
    if memory.budget() == 0 {
        return;
    }
    let level = memory.level();
    let _ = write!(
        out,
        r#""memory":{{"max":{},"used":{},"level":{},"note":{}}},"#,
        memory.budget(),
        memory.used().total(),
        Text(level.name()),
        Text(level.meaning()),
    );
}

fn write_stream(out: &mut String, live: &Live, vhost: &Vhost, suffix: &str, now: u64) {
    let name = &live.name;
    let rate = live.rate.kbps(now, live.stream.counters().bytes);
    let _ = write!(
        out,
        r#"{{"vhost":{},"app":{},"stream":{},"viewers":{},"publisher":{},"recording":{},"seconds":{},"kbps":{},"#,
        Text(name.vhost()),
        Text(name.app()),
        Text(name.stream()),
        live.viewers(),
        matches!(live.publisher, Publisher::Live(_)),
        live.dvr.as_ref().is_some_and(|dvr| dvr.is_recording()),
        now.saturating_sub(live.since) / 1000,
        OrNull(rate),
    );
    let (video, audio) = (Video::of(&live.stream), Audio::of(&live.stream));
    let mime = mime(video.as_ref(), audio.as_ref());
    let mime = mime.as_deref().map(Text);
    let _ = write!(
        out,
        r#""video":{},"audio":{},"mime":{},"urls":{{"#,
        OrNull(video),
        OrNull(audio),
        OrNull(mime)
    );
    for (n, (kind, url)) in urls(live, vhost, suffix).iter().enumerate() {
        let _ = write!(out, "{}{}:{}", if n > 0 { "," } else { "" }, Text(kind), Text(url));
    }
    out.push_str("}}");
}

/// The ways to a stream: their kinds, each once, and paths.
fn urls<'a>(live: &Live, vhost: &'a Vhost, suffix: &str) -> Vec<(&'a str, String)> {
    let (app, stream) = (live.name.app(), live.name.stream());
    // RTMP players send the path as it is written, so nothing is escaped in it.
    let mut urls = vec![("rtmp", format!("/{app}/{stream}{suffix}"))];
    for mount in vhost.http_remux.mounts.iter().filter(|_| vhost.http_remux.enabled) {
        let Some((_, kind)) = mount.rsplit_once('.') else { continue };
        let fits = Container::of_extension(kind).is_none_or(|container| live.fits(container));
        if !fits || urls.iter().any(|(known, _)| *known == kind) {
            continue;
        }
        if let Some(path) = mount::path(mount, app, stream) {
            urls.push((kind, path + suffix));
        }
    }
    let hls = &vhost.hls;
    let served = hls.enabled && hls.storage != HlsStorage::Disk;
    urls.extend(mount::path(&hls.mount, app, stream).filter(|_| served).map(|path| ("hls", path + suffix)));
    urls
}

/// What a multivariant playlist of HLS says of a stream of which `audio` and `video` are served.
pub fn about(stream: &Stream, audio: bool, video: bool) -> About {
    let picture = Video::of(stream).filter(|_| video);
    let sound = Audio::of(stream).filter(|_| audio);
    let size =
        picture.as_ref().map(|picture| picture.size).filter(|(width, height)| *width > 0 && *height > 0);
    // What is not said of one track must not be said of the other either. MP3 has a name of its own in HLS.
    let codecs = picture.map(|picture| picture.mp4).into_iter().chain(sound.map(|sound| sound.mp4));
    let codecs: Option<Vec<String>> =
        codecs.map(|codec| codec.map(|codec| codec.replace("mp4a.6b", "mp4a.40.34"))).collect();
    About { codecs: codecs.map(|codecs| codecs.join(",")).filter(|codecs| !codecs.is_empty()), size }
}

/// What is known of the picture.
#[derive(Debug)]
pub(super) struct Video {
    pub(super) codec: VideoCodec,
    /// Of the coded picture; zeros while unknown.
    pub(super) size: (u32, u32),
    pub(super) profile: Option<&'static str>,
    pub(super) level: Option<String>,
    /// As in the `codecs` parameter of RFC 6381; `None` when browsers play it from no MP4.
    mp4: Option<String>,
}

impl Video {
    pub(super) fn of(stream: &Stream) -> Option<Video> {
        let codec = stream.video()?;
        let mut video = Video { codec, size: (0, 0), profile: None, level: None, mp4: None };
        let Some(message) = stream.codec().get(HeaderKey::Video(0)) else { return Some(video) };
        let tag = avtag::video(message);
        let record = tag.data(message);
        match codec {
            // The header is of what came before.
            _ if codec != tag.codec => {}
            VideoCodec::Avc => {
                if let Some(config) = avc::parse_config(record) {
                    video.size = (config.width, config.height);
                    video.profile = Some(avc::profile_name(config.profile));
                    video.level = Some(format!("{}.{}", config.level / 10, config.level % 10));
                }
                video.mp4 = config::avc(record).map(|config| config.codec);
            }
            VideoCodec::Hevc => {
                if let Some(config) = hevc::parse_config(record) {
                    video.size = (config.width, config.height);
                    video.profile = Some(hevc::profile_name(config.profile));
                    video.level = Some(format!("{}.{}", config.level / 30, config.level % 30 / 3));
                }
                video.mp4 = config::hevc(record).map(|config| config.codec);
            }
            VideoCodec::Av1 => {
                if let Some(config) = av1::parse_config(record) {
                    video.size = (config.width, config.height);
                    video.level = Some(format!("{}.{}", 2 + config.level / 4, config.level % 4));
                }
                video.mp4 = config::av1(record).map(|config| config.codec);
            }
            _ => {}
        }
        Some(video)
    }
}

impl fmt::Display for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = self.codec.to_string();
        let level = self.level.as_deref().map(Text);
        let (width, height) = self.size;
        let known = |n: u32| OrNull((n > 0).then_some(n));
        write!(f, r#"{{"codec":{},"width":{},"height":{},"#, Text(&codec), known(width), known(height))?;
        write!(f, r#""profile":{},"level":{}}}"#, OrNull(self.profile.map(Text)), OrNull(level))
    }
}

/// What is known of the sound.
#[derive(Debug)]
pub(super) struct Audio {
    pub(super) codec: String,
    pub(super) rate: Option<u32>,
    pub(super) channels: Option<u8>,
    /// As for [`Video`].
    mp4: Option<String>,
}

impl Audio {
    pub(super) fn of(stream: &Stream) -> Option<Audio> {
        let codec = stream.audio()?;
        let mut audio = Audio { codec: codec.to_string(), rate: None, channels: None, mp4: None };
        let message = stream.codec().get(HeaderKey::Audio(0));
        let header = message.map(|message| avtag::audio(message).data(message));
        match codec {
            AudioCodec::Aac => {
                if let Some(config) = header.and_then(aac::parse_config) {
                    audio.codec = config.profile_name().to_owned();
                    audio.rate = Some(config.output_rate);
                    let channels = if config.ps { 2 } else { config.channels };
                    audio.channels = (channels > 0).then_some(channels);
                }
                audio.mp4 = header.and_then(config::aac).map(|config| config.codec);
            }
            AudioCodec::Mp3 | AudioCodec::Mp38k => audio.mp4 = Some("mp4a.6b".to_owned()),
            AudioCodec::Opus => audio.mp4 = Some("opus".to_owned()),
            AudioCodec::Flac => audio.mp4 = Some("flac".to_owned()),
            _ => {}
        }
        Some(audio)
    }
}

impl fmt::Display for Audio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audio { codec, rate, channels, .. } = self;
        write!(f, r#"{{"codec":{},"rate":{},"channels":{}}}"#, Text(codec), OrNull(*rate), OrNull(*channels))
    }
}

/// The type of the stream as fragmented MP4. A picture whose sound goes into none is had without; `None` for anything
/// else that goes into none or is not known yet.
fn mime(video: Option<&Video>, audio: Option<&Audio>) -> Option<String> {
    let sound = audio.and_then(|audio| audio.mp4.as_deref());
    match (video, sound) {
        (None, sound) => Some(format!("audio/mp4; codecs=\"{}\"", sound?)),
        (Some(video), None) => Some(format!("video/mp4; codecs=\"{}\"", video.mp4.as_deref()?)),
        (Some(video), Some(sound)) => {
            Some(format!("video/mp4; codecs=\"{},{sound}\"", video.mp4.as_deref()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::demo::Demo;
    use crate::app::hub::{Source, StreamId};
    use crate::app::memory::Used;
    use crate::app::world::Timer;
    use crate::conf::Config;
    use crate::media::frame::Kind;
    use crate::net::slots::Id;
    use crate::wire::names::StreamName;
    use bytes::Bytes;
    use std::net::Ipv4Addr;
    use std::rc::Rc;

    fn by() -> Source {
        Source::Peer(Id::from_token(1), Ipv4Addr::LOCALHOST.into())
    }

    fn world() -> World {
        World::new(Rc::new(Config::default()))
    }

    fn publish(world: &mut World, vhost: &str, stream: &str) -> StreamId {
        let settings = world.config.vhost(vhost).unwrap().clone();
        let name = StreamName::new(vhost, "live", stream).unwrap().with_vhost(&settings.name).unwrap();
        world.publish(&name, &settings, by()).unwrap()
    }

    fn list(world: &World) -> String {
        json(world, Some("192.168.1.7:8080"), "").unwrap()
    }

    #[test]
    fn the_demo_is_described_as_it_is() {
        let mut world = world();
        let mut demo = Demo::start(&mut world).unwrap();
        while world.now < 6_000 {
            world.now = world.timers.next().unwrap();
            while let Some(timer) = world.timers.pop(world.now) {
                if timer == Timer::Demo {
                    demo.turn(&mut world);
                }
            }
        }
        let text = list(&world);
        let (head, kbps) = text.split_once(r#""kbps":"#).unwrap();
        let (kbps, rest) = kbps.split_once(',').unwrap();
        assert!((10..5_000).contains(&kbps.parse::<u32>().unwrap()), "{kbps}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            head,
            format!(
                r#"{{"server":"runnel","version":"{version}","rtmp_port":1935,"http_port":8080,"more":0,"streams":[{{"vhost":"__defaultVhost__","app":"live","stream":"demo","viewers":0,"publisher":true,"recording":false,"seconds":6,"#
            )
        );
        for part in [
            r#""video":{"codec":"H264","width":640,"height":360,"profile":"#,
            r#""audio":{"codec":"AAC LC","rate":"#,
            r#""mime":"video/mp4; codecs=\"avc1."#,
            r#""urls":{"rtmp":"/live/demo","flv":"/live/demo.flv""#,
            r#","hls":"/live/demo.m3u8"}"#,
        ] {
            assert!(rest.contains(part), "{part} in {rest}");
        }
    }

    #[test]
    fn what_is_not_known_is_null() {
        let mut world = world();
        publish(&mut world, "", "x");
        let text = list(&world);
        assert!(text.contains(r#""kbps":null,"video":null,"audio":null,"mime":null,"urls""#), "{text}");
    }

    #[test]
    fn a_budget_of_memory_and_what_is_given_up_for_it_are_told() {
        let mut world = world();
        publish(&mut world, "", "x");
        assert!(!list(&world).contains("memory"));
        world.memory.set_budget(1000);
        let used = Used { feeds: 900, ..Used::default() };
        world.memory.weigh(0, used);
        let memory = |level, note| {
            format!(r#""memory":{{"max":1000,"used":900,"level":"{level}","note":"{note}"}},"streams":["#)
        };
        assert!(list(&world).contains(&memory("normal", "everything is as configured")));
        world.memory.weigh(0, Used { feeds: 1001, ..used });
        world.memory.weigh(0, used);
        assert!(list(&world).contains(&memory("derived", "other containers store nothing ahead")));
    }

    #[test]
    fn names_cannot_break_out() {
        let mut world = world();
        publish(&mut world, "", "<script>\"'&\u{fc} x");
        let text = list(&world);
        assert!(text.contains(r##""stream":"\u003cscript\u003e\"'\u0026ü x""##), "{text}");
        assert!(!text.contains(['<', '>', '&']), "{text}");
        assert!(text.contains("%22%27%26%C3%BC%20x.flv\""), "{text}");
        let all: String = (0..=0x1ff).filter_map(char::from_u32).chain(['\u{2028}', '\u{1f600}']).collect();
        let escaped = Text(&all).to_string();
        assert!(!escaped.contains(|c: char| c.is_ascii_control() || matches!(c, '\u{2028}' | '<')));
        assert!(
            escaped.starts_with(r#""\u0000\u0001"#)
                && escaped.contains(r##" !\"#$"##)
                && escaped.contains(r"[\\]")
        );
    }

    #[test]
    fn each_host_sees_its_own_streams() {
        let mut config = Config::default();
        let mut cams = crate::conf::Vhost { name: "Cams.lan".into(), ..Default::default() };
        cams.http_remux.enabled = false;
        config.vhosts.push(Rc::new(cams));
        let mut world = World::new(Rc::new(config));
        publish(&mut world, "", "open");
        publish(&mut world, "cams.lan", "door");
        let (ours, theirs) = (list(&world), json(&world, Some("cams.lan"), "").unwrap());
        assert!(ours.contains("open") && !ours.contains("door"), "{ours}");
        assert!(theirs.contains(r#""urls":{"rtmp":"/live/door"}"#) && !theirs.contains("open"), "{theirs}");
        let named = json(&world, Some("192.168.1.7"), "vhost=cams.lan").unwrap();
        assert!(named.contains(r#""rtmp":"/live/door?vhost=Cams.lan""#), "{named}");
        assert_eq!(json(&world, Some("a"), "vhost=a/../b").unwrap_err().0, 400);
    }

    #[test]
    fn a_stream_without_its_encoder_is_told_apart_and_one_that_ended_is_gone() {
        let mut world = world();
        let id = publish(&mut world, "", "x");
        world.unpublish(id, by());
        assert!(list(&world).contains(r#""publisher":false"#));
        world.now = 15_000;
        world.check_stream(id);
        assert!(list(&world).ends_with(r#""streams":[]}"#));
    }

    #[test]
    fn thousands_of_streams_are_cut_off_and_counted() {
        let mut world = world();
        for n in 0..MAX_LISTED + 7 {
            publish(&mut world, "", &format!("s{n}"));
        }
        let text = list(&world);
        assert!(text.contains(r#""more":7,"#));
        assert_eq!(text.matches(r#""vhost""#).count(), MAX_LISTED);
    }

    #[test]
    fn the_type_names_what_is_in_the_file() {
        let mut world = world();
        let id = publish(&mut world, "", "x");
        let mut put = |kind, payload: &'static [u8]| {
            world.ingest(id, by(), kind, 0, Bytes::from_static(payload));
            list(&world)
        };
        let sound = put(Kind::Audio, b"\xaf\x00\x12\x10");
        assert!(sound.contains(r#""mime":"audio/mp4; codecs=\"mp4a.40.2\"""#), "{sound}");
        assert!(sound.contains(r#""audio":{"codec":"AAC LC","rate":44100,"channels":2}"#), "{sound}");
        assert!(sound.contains(r#""mp4":"/live/x.mp4""#) && !sound.contains(".mp3"), "{sound}");
        let avc = b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x0b\x67\x42\xc0\x1e\xd9\x03\xc5\x68\x40\0\0\x01\0\x02\x68\xce";
        let both = put(Kind::Video, avc);
        assert!(both.contains(r#""width":240,"height":160,"profile":"Baseline","level":"3.0""#), "{both}");
        assert!(both.contains(r#"codecs=\"avc1.42c01e,mp4a.40.2\"""#), "{both}");
        let speex = put(Kind::Audio, b"\xb6speex");
        assert!(speex.contains(r#""codec":"Speex","rate":null,"channels":null"#), "{speex}");
        let vp6 = put(Kind::Video, b"\x14\0vp6");
        assert!(vp6.contains(r#""codec":"VP6","width":null"#) && vp6.contains(r#""mime":null"#), "{vp6}");
        assert!(!vp6.contains(".mp4"), "{vp6}");
    }
}
