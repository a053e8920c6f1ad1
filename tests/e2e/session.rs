//! The life of a stream: who may publish, what becomes of its viewers, how soon a picture comes.
use crate::support::flv::{self, Tag};
use crate::support::http::{Http, Viewer};
use crate::support::rtmp::Rtmp;
use crate::support::server::{Server, usual_vhost};
use crate::support::tools::{self, Player, Publisher, ffmpeg_publish};
use crate::support::{clips, note, poll};
use std::time::{Duration, Instant};

const CLIP: Duration = Duration::from_secs(40);
const TAG: Duration = Duration::from_secs(10);

fn headers(tags: &[Tag]) -> Vec<&Tag> {
    tags.iter().filter(|tag| tag.is_video_header()).collect()
}

/// Fails unless `tags` holds two different video headers, each followed by a keyframe; gives the second's place.
fn assert_changed(tags: &[Tag]) -> usize {
    let headers = headers(tags);
    let first = headers.first().expect("a header of video");
    let second = headers.iter().find(|tag| tag.data != first.data).expect("a changed header of video");
    let at = tags.iter().position(|tag| tag.data == second.data).unwrap();
    let next = tags[at..].iter().find(|tag| tag.is_picture()).expect("a picture after the header");
    assert!(next.is_key(), "the first picture after the changed header is a keyframe");
    at
}

#[test]
fn takeover_keeps_the_viewers() {
    let server = Server::vhost(&usual_vhost("resume_wait 1s;"));
    let mut first = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(TAG, |tag| tag.is_picture() && tag.ts > 2000);

    let mut second = Publisher::Ffmpeg5.publish(&server, &clips::other(), "x");
    tags.extend(viewer.rest(TAG));
    second.success(CLIP);
    let status = first.wait(Duration::from_secs(5));
    assert!(!status.success(), "the first publisher was not told: {}", first.tail());

    let at = assert_changed(&tags);
    flv::assert_monotonic(&tags);
    let source = flv::read(&clips::other());
    assert_eq!(
        flv::assert_run(&tags[at..], &source, 9),
        0,
        "the second publisher's pictures from the first on"
    );
    let pictures = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_picture()).count();
    assert_eq!(pictures(&tags[at..]), pictures(&source), "the second publisher's pictures");
}

#[test]
fn a_busy_name_is_refused() {
    let vhost = usual_vhost("resume_wait 0;").replace("takeover_same_ip", "reject");
    let server = Server::vhost(&vhost);
    let clip = clips::av();
    let mut first = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(TAG, Tag::is_key);

    let mut second = Rtmp::live(server.rtmp);
    second.ask_publish("x");
    second.expect("NetStream.Publish.BadName");
    let mut third = Publisher::Ffmpeg5.publish(&server, &clips::other(), "x");
    assert!(!third.wait(TAG).success(), "ffmpeg was refused: {}", third.tail());

    tags.extend(viewer.rest(TAG));
    first.success(CLIP);
    flv::assert_run(&tags, &flv::read(&clip), 9);
    assert_eq!(headers(&tags).len(), 1, "only the first publisher is seen");

    // The name is free again.
    let mut fourth = Rtmp::publish(server.rtmp, "x");
    fourth.send(&flv::read(&clip)[..10]);
}

#[test]
fn a_publisher_that_comes_back_keeps_its_viewers() {
    let server = Server::vhost(&usual_vhost("resume_wait 15s;"));
    let mut first = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut rtmp = Player::Rtmpdump.play(&server, "x");
    let mut tags = viewer.until(TAG, |tag| tag.is_picture() && tag.ts > 2000);
    first.kill();
    std::thread::sleep(Duration::from_secs(2));

    let mut second = Publisher::Ffmpeg5.publish(&server, &clips::other(), "x");
    let mut pictures = flv::read(&clips::other()).iter().filter(|tag| tag.is_picture()).count();
    let mut changed = false;
    let first_header = headers(&tags)[0].data.clone();
    tags.extend(viewer.until(TAG, |tag| {
        changed |= tag.is_video_header() && tag.data != first_header;
        pictures -= usize::from(changed && tag.is_picture());
        pictures == 0
    }));
    second.success(CLIP);
    flv::assert_monotonic(&tags);
    let at = assert_changed(&tags);
    assert_eq!(flv::assert_run(&tags[at..], &flv::read(&clips::other()), 9), 0);
    assert!(rtmp.process.running(), "the RTMP viewer left: {}", rtmp.process.tail());
    rtmp.process.signal("INT");
    rtmp.process.wait(TAG);
    assert_changed(&flv::read(&rtmp.file));
}

#[test]
fn a_publisher_that_stays_away_ends_the_stream() {
    let server = Server::vhost(&usual_vhost("resume_wait 2s;"));
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::av(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut rtmp = Player::Ffmpeg5Rtmp.play(&server, "x");
    viewer.until(TAG, |tag| tag.is_picture() && tag.ts > 2000);
    publish.kill();
    let killed = Instant::now();
    viewer.rest(TAG);
    let waited = killed.elapsed();
    assert!((1500..5000).contains(&waited.as_millis()), "the response ended {waited:?} after the publisher");
    rtmp.finish(Duration::from_secs(5));
    drop((viewer, rtmp));
    server.assert_idle();
}

#[test]
fn the_end_of_a_stream_ends_its_responses() {
    let server = Server::usual();
    let mut curl = Player::Curl.play(&server, "x");
    let mut rtmp = Player::Ffmpeg5Rtmp.play(&server, "x");
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clips::audio_only(), "x");
    publish.success(CLIP);
    let end = Instant::now();
    // curl fails with 18 when a chunked body has no last chunk.
    curl.process.success(Duration::from_secs(3));
    rtmp.finish(Duration::from_secs(3));
    note(&format!(
        "end of a stream: its viewers ended within {} ms of the publisher",
        end.elapsed().as_millis()
    ));
    drop((curl, rtmp, publish));
    server.assert_idle();
}

#[test]
fn the_first_picture_comes_at_once() {
    const LIMIT: Duration = Duration::from_millis(300);
    let server = Server::usual();
    let _publish = Publisher::Ffmpeg5.publish(&server, &clips::long_gop(), "x");
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut times = Vec::new();
    for second in 4..9 {
        viewer.until(TAG, |tag| tag.is_picture() && tag.ts >= second * 1000);
        let asked = Instant::now();
        let mut late = Viewer::join(server.http, "/live/x.flv");
        let tags = late.until(TAG, Tag::is_key);
        let took = asked.elapsed();
        assert!(
            headers(&tags).len() == 1 && tags[tags.len() - 1].ts < 100,
            "headers, then the keyframe at zero"
        );
        assert!(
            took < LIMIT,
            "the first keyframe came {took:?} after the request, {second} s into a GOP of 10 s"
        );
        times.push(took.as_micros() as f64 / 1000.0);
    }
    note(&format!("first keyframe after the request, GOP of 10 s, five joins: {times:.1?} ms"));
}

#[test]
fn a_viewer_waits_for_the_publisher() {
    let server = Server::usual();
    let clip = clips::av();
    let mut http = Http::connect(server.http);
    http.get("/live/x.flv", "");
    std::thread::sleep(Duration::from_secs(2));
    let mut publish = Publisher::Ffmpeg5.publish(&server, &clip, "x");
    let tags = Viewer::started(http).rest(TAG);
    publish.success(CLIP);
    let source = flv::read(&clip);
    for kind in [8, 9] {
        assert_eq!(flv::assert_run(&tags, &source, kind), 0, "from the first frame of type {kind}");
    }
    let count = |tags: &[Tag]| tags.iter().filter(|tag| tag.is_frame()).count();
    assert_eq!(count(&tags), count(&source), "every frame");
}

#[test]
fn the_wait_for_a_publisher_has_an_end() {
    let server = Server::vhost(&usual_vhost("resume_wait 0;").replace("wait 10s", "wait 1s"));
    let mut http = Http::connect(server.http);
    let asked = Instant::now();
    http.get("/live/nobody.flv", "");
    let head = http.head();
    let waited = asked.elapsed();
    assert_eq!(head.status, 404);
    assert!((900..3000).contains(&waited.as_millis()), "404 came after {waited:?}");
    assert_eq!(http.body(&head).iter().filter(|byte| **byte == b'\n').count(), 1, "a body of one line");
}

#[test]
fn without_waiting_an_unknown_stream_is_404() {
    let server = Server::vhost(&usual_vhost("resume_wait 0;").replace("no_stream wait", "no_stream 404"));
    let mut http = Http::connect(server.http);
    let asked = Instant::now();
    http.get("/live/nobody.flv", "");
    let head = http.head();
    assert_eq!(head.status, 404);
    assert!(asked.elapsed() < Duration::from_millis(500), "404 came after {:?}", asked.elapsed());
    let body = http.body(&head);
    assert!(body.ends_with(b"\n") && body.len() > 1, "a body of one line: {body:?}");
}

/// A viewer that waits and leaves is forgotten at once, with nothing to write that would tell.
#[test]
fn a_viewer_that_stops_waiting_is_let_go() {
    let server = Server::usual();
    let waiting: Vec<Http> = (0..20)
        .map(|_| {
            let mut http = Http::connect(server.http);
            http.get("/live/nobody.flv", "");
            http
        })
        .collect();
    assert!(poll(Duration::from_secs(5), || server.connections() >= 20));
    drop(waiting);
    server.assert_idle();
}

/// One connection may end a publication and begin another.
#[test]
fn publish_again_on_one_connection() {
    let server = Server::usual();
    let tags = flv::read(&clips::av());
    let mut rtmp = Rtmp::publish(server.rtmp, "x");
    rtmp.send(&tags[..60]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    viewer.until(TAG, Tag::is_key);
    rtmp.unpublish("x");
    viewer.rest(TAG);
    rtmp.create_stream(6.0);
    rtmp.ask_publish("x");
    rtmp.expect("NetStream.Publish.Start");
}

/// ffmpeg keeps the timestamps of its source, so a second, later clip may begin far from where the first ended.
#[test]
fn a_jump_in_the_publishers_time_does_not_reach_the_viewer() {
    let server = Server::vhost(&usual_vhost("resume_wait 10s;"));
    let clip = clips::other();
    let mut first = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "x", &["-output_ts_offset", "5000"]);
    let mut viewer = Viewer::join(server.http, "/live/x.flv");
    let mut tags = viewer.until(TAG, |tag| tag.is_picture() && tag.ts > 2000);
    first.kill();
    let _second = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "x", &[]);
    let before = tags[tags.len() - 1].ts;
    tags.extend(viewer.until(TAG, |tag| tag.is_picture() && tag.ts > before + 3000));
    flv::assert_monotonic(&tags);
    let largest = tags.windows(2).map(|pair| pair[1].ts.saturating_sub(pair[0].ts)).max().unwrap();
    assert!(largest < 3000, "the viewer's time jumps by {largest} ms");
}
