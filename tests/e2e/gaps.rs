//! A camera that stands for seconds while its microphone goes on: pages go on too, with our player and with others.
use crate::browser::play;
use crate::support::clips;
use crate::support::flv;
use crate::support::note;
use crate::support::paced::Paced;
use crate::support::poll;
use crate::support::server::Server;
use std::time::Duration;

/// How long the camera stands. A browser by itself goes on without pictures for three seconds.
const STANDS: Duration = Duration::from_secs(8);

/// Plays until `seconds` were played, in the middle of which the camera stands; what was seen. The picture may stand still
/// for `still` seconds in the page.
fn across(name: &str, player: &[&str], end: &str, seconds: &str, still: &str) {
    let server = Server::start(
        "listen 127.0.0.1:$RTMP;\nhttp_server { enabled on; listen 127.0.0.1:$HTTP; }\n\
         vhost __defaultVhost__ { http_remux { enabled on; } hls { enabled on; hls_fragment 2; hls_variant fmp4; } }\n",
    );
    let publisher = Paced::publish(server.rtmp, "x", flv::read(&clips::clock()));
    let port = server.http;
    let url = if end.is_empty() {
        format!("http://127.0.0.1:{port}/#/live/x")
    } else {
        format!("http://127.0.0.1:{port}/live/x{end}")
    };
    let arguments = [player, &["--url", &url, "--seconds", seconds, "--still", still]].concat();
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| play(&server, name, &arguments));
        // A page that asks for HLS is no viewer that the log tells of.
        let came =
            || server.log().contains("viewer of live/x came") || end == ".m3u8" && server.connections() > 1;
        assert!(poll(Duration::from_secs(30), came), "{}", server.log());
        std::thread::sleep(Duration::from_secs(3));
        publisher.stand(STANDS);
        watching.join().unwrap()
    });
    note(&format!("a camera that stands: {name} {seen}"));
}

/// The sound goes on at once: over fragmented MP4 the last picture lasts.
#[test]
fn the_page_goes_on_when_the_camera_stands() {
    across("page-stands", &["--own"], "", "14", "2.5");
}

#[test]
fn mpegts_js_goes_on_when_the_camera_stands() {
    across("mpegts-stands", &["--player", "mpegts.js"], ".flv", "14", "12");
}

#[test]
fn flv_js_goes_on_when_the_camera_stands() {
    across("flv-stands", &["--player", "flv.js"], ".flv", "14", "12");
}

#[test]
fn hls_js_goes_on_when_the_camera_stands() {
    across("hls-stands", &["--player", "hls.js"], ".m3u8", "14", "15");
}
