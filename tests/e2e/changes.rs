//! What happens to a stream while pages play it, in a real browser: a camera stands for seconds while its microphone goes on, the
//! picture changes its size, a track comes late, the time line leaps. Pages go on, with our player and with others.
use crate::browser::play;
use crate::support::clips;
use crate::support::flv::{self, Tag};
use crate::support::note;
use crate::support::paced::{Paced, repeated};
use crate::support::poll;
use crate::support::server::Server;
use std::time::Duration;

/// A player and the address that it is given, from the server's own on.
type Player = (&'static [&'static str], &'static str);

const PAGE: Player = (&["--own"], "#/live/x");
const MPEGTS_JS: Player = (&["--player", "mpegts.js"], "live/x.flv");
const FLV_JS: Player = (&["--player", "flv.js"], "live/x.flv");
const HLS_JS: Player = (&["--player", "hls.js"], "live/x.m3u8");

/// Publishes `tags`, plays them in a page, and makes `happen` what is to happen when the page has played for a while. The page
/// must get where `wants` has it. Gives what it saw.
fn watched(
    name: &str,
    (player, address): Player,
    variant: &str,
    tags: Vec<Tag>,
    wants: &[&str],
    happen: impl FnOnce(&Paced),
) -> String {
    let server = Server::start(&format!(
        "listen 127.0.0.1:$RTMP;\nhttp_server {{ enabled on; listen 127.0.0.1:$HTTP; }}\n\
         vhost __defaultVhost__ {{ http_remux {{ enabled on; }}\n\
         hls {{ enabled on; hls_fragment 2; hls_variant {variant}; }} }}\n"
    ));
    let publisher = Paced::publish(server.rtmp, "x", tags);
    let url = format!("http://127.0.0.1:{}/{address}", server.http);
    let arguments = [player, &["--url", &url], wants].concat();
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| play(&server, name, &arguments));
        // Of a page that asks for HLS the log does not tell.
        let came = || match address.ends_with(".m3u8") {
            true => server.connections() > 1,
            false => server.log().contains("viewer of live/x came"),
        };
        assert!(poll(Duration::from_secs(30), came), "{}", server.log());
        std::thread::sleep(Duration::from_secs(3));
        happen(&publisher);
        watching.join().expect("the page")
    });
    note(&format!("{name}: {seen}"));
    seen
}

/// The camera stands. A browser by itself goes on without pictures for three seconds, so this is longer. The page may stand still
/// for `still` seconds.
fn stands(name: &str, player: Player, variant: &str, still: &str) -> String {
    let wants = ["--seconds", "14", "--still", still];
    watched(name, player, variant, flv::read(&clips::clock()), &wants, |camera| {
        camera.stand(Duration::from_secs(8));
    })
}

/// The sound goes on without a break: over fragmented MP4 the last picture lasts. A page that had nothing in its buffer just then
/// does stand still, so it may be tried again.
#[test]
fn the_page_goes_on_when_the_camera_stands() {
    let goes_on = |_| {
        let seen = stands("stands-page", PAGE, "fmp4", "12");
        let (_, still) = seen.rsplit_once("\"still\":").unwrap();
        still.trim_end_matches('}').parse::<f64>().unwrap() < 1.5
    };
    assert!((0..3).any(goes_on));
}

#[test]
fn mpegts_js_goes_on_when_the_camera_stands() {
    stands("stands-mpegts", MPEGTS_JS, "fmp4", "12");
}

#[test]
fn flv_js_goes_on_when_the_camera_stands() {
    stands("stands-flv", FLV_JS, "fmp4", "12");
}

#[test]
fn hls_js_goes_on_when_the_camera_stands() {
    stands("stands-hls", HLS_JS, "fmp4", "15");
}

#[test]
fn hls_js_goes_on_with_ts_when_the_camera_stands() {
    stands("stands-hls-ts", HLS_JS, "ts", "15");
}

/// From 640x360 with sound of 44.1 kHz to 320x240 with sound of 48 kHz.
fn changes_size(name: &str, player: Player, variant: &str) {
    let other = repeated(&flv::read(&clips::other()), 6);
    watched(name, player, variant, flv::read(&clips::clock()), &["--width", "320"], |encoder| {
        encoder.go_on_with(other, 0);
    });
}

#[test]
fn the_page_plays_on_in_another_size() {
    changes_size("size-page", PAGE, "fmp4");
}

#[test]
fn mpegts_js_plays_on_in_another_size() {
    changes_size("size-mpegts", MPEGTS_JS, "fmp4");
}

#[test]
fn flv_js_plays_on_in_another_size() {
    changes_size("size-flv", FLV_JS, "fmp4");
}

#[test]
fn hls_js_plays_on_in_another_size_of_ts() {
    changes_size("size-hls-ts", HLS_JS, "ts");
}

#[test]
fn hls_js_plays_on_in_another_size_of_mp4() {
    changes_size("size-hls-mp4", HLS_JS, "fmp4");
}

/// The microphone is taken away: the picture moves on. (In FLV there is nobody to put silence in its place.)
fn falls_silent(name: &str, player: Player, variant: &str) {
    let clip = flv::read(&clips::clock());
    let picture: Vec<Tag> = clip.iter().filter(|tag| tag.kind != 8).cloned().collect();
    let wants = ["--seconds", "14", "--still", "8"];
    watched(name, player, variant, clip, &wants, |encoder| encoder.go_on_with(picture, 0));
}

#[test]
fn hls_js_plays_on_without_sound_in_ts() {
    falls_silent("silent-hls-ts", HLS_JS, "ts");
}

#[test]
fn hls_js_plays_on_without_sound_in_mp4() {
    falls_silent("silent-hls-mp4", HLS_JS, "fmp4");
}

/// First sound alone, then both: the picture is seen.
#[test]
fn the_page_shows_a_picture_that_comes_late() {
    let clip = flv::read(&clips::clock());
    let sound = clip.iter().filter(|tag| tag.kind == 8).cloned().collect();
    watched("late-picture", PAGE, "fmp4", sound, &["--width", "640"], |encoder| encoder.go_on_with(clip, 0));
}

/// A day ahead, as an encoder whose clock is set, and back to zero, as one that plays its file again.
#[test]
fn the_page_goes_on_over_leaps_of_the_time_line() {
    let clip = flv::read(&clips::clock());
    let wants = ["--seconds", "12", "--still", "6"];
    watched("leaps-page", PAGE, "fmp4", clip.clone(), &wants, |encoder| {
        encoder.go_on_with(clip.clone(), 24 * 3600 * 1000);
        std::thread::sleep(Duration::from_secs(3));
        encoder.go_on_with(clip, -6000);
    });
}
