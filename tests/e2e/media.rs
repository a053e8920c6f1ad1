//! What is published arrives: every publisher to every player, every kind of content, frame by frame.
use crate::support::clips;
use crate::support::flv::{self, Tag};
use crate::support::frames;
use crate::support::http::Viewer;
use crate::support::poll;
use crate::support::server::{Server, usual_vhost};
use crate::support::tools::{self, PLAYERS, Play, Player, Publisher, ffmpeg_publish};
use std::path::Path;
use std::time::Duration;

/// Longer than any clip of this module, with the time that tools take to start and to end.
const CLIP: Duration = Duration::from_secs(40);

/// How long a viewer may wait for the next tag.
const TAG: Duration = Duration::from_secs(10);

/// Starts players before there is a stream, and gives them the time to ask for it.
fn waiting(server: &Server, players: &[Player], stream: &str) -> Vec<Play> {
    let players: Vec<Play> = players.iter().map(|player| player.play(server, stream)).collect();
    // A player has asked when the server holds a connection for it.
    let asked = poll(Duration::from_secs(10), || server.connections() >= players.len());
    assert!(asked, "{} of {} players have connected", server.connections(), players.len());
    std::thread::sleep(Duration::from_millis(500));
    players
}

/// Plays a clip from a publisher to players that were there before, and fails unless each got every frame.
fn relay(publisher: Publisher, players: &[Player], clip: &Path) -> Vec<(Player, frames::Frames)> {
    relay_by(&Server::usual(), publisher, players, clip)
}

/// The same by a server that is there.
pub(crate) fn relay_by(
    server: &Server,
    publisher: Publisher,
    players: &[Player],
    clip: &Path,
) -> Vec<(Player, frames::Frames)> {
    let mut players = waiting(server, players, "x");
    let mut publish = publisher.publish(server, clip, "x");
    publish.success(CLIP);
    let sent = match publisher {
        Publisher::Gstreamer => frames::of(&server.dir().join("sent.flv")),
        _ => frames::of(clip),
    };
    let received = players.iter_mut().map(|play| {
        play.finish(Duration::from_secs(10));
        let who = format!("{publisher:?} to {:?}", play.player);
        let got = frames::of(&play.file);
        frames::assert_all(&got, &sent, &who, play.player.may_lose());
        (play.player, got)
    });
    let received = received.collect();
    drop((players, publish));
    server.assert_idle();
    received
}

#[test]
fn ffmpeg5_to_every_player() {
    relay(Publisher::Ffmpeg5, &PLAYERS, &clips::av());
}

#[test]
fn ffmpeg7_to_every_player() {
    relay(Publisher::Ffmpeg7, &PLAYERS, &clips::av());
}

#[test]
fn gstreamer_to_every_player() {
    relay(Publisher::Gstreamer, &PLAYERS, &clips::av());
}

/// The clip of the matrix does have B-frames, so their composition times are compared there.
#[test]
fn b_frames_keep_their_order() {
    let received = relay(Publisher::Ffmpeg5, &[Player::Rtmpdump, Player::Curl], &clips::av());
    for (player, frames) in received {
        let reordered = frames["video"].iter().filter(|frame| frame.pts > frame.dts + 40).count();
        assert!(reordered > 20, "{player:?}: {reordered} frames are shown out of the order of decoding");
    }
}

const SOME: [Player; 4] = [Player::Ffmpeg5Rtmp, Player::Ffmpeg5Http, Player::Rtmpdump, Player::Curl];

#[test]
fn audio_alone() {
    relay(Publisher::Ffmpeg5, &SOME, &clips::audio_only());
}

#[test]
fn video_alone() {
    relay(Publisher::Ffmpeg5, &SOME, &clips::video_only());
}

#[test]
fn mp3_audio() {
    relay(Publisher::Ffmpeg5, &SOME, &clips::mp3());
}

/// HEVC as Enhanced RTMP. ffmpeg 5.1 does not know it, and rtmpdump and curl do not care what they carry.
#[test]
fn hevc_by_enhanced_rtmp() {
    let players = [Player::Ffmpeg7Rtmp, Player::Ffmpeg7Http, Player::Rtmpdump, Player::Curl];
    relay(Publisher::Ffmpeg7, &players, &clips::hevc());
}

#[test]
fn keyframes_of_two_megabytes() {
    let clip = clips::big_keys();
    let tags = flv::read(&clip);
    let smallest = tags.iter().filter(|tag| tag.is_key()).map(|tag| tag.data.len()).min().unwrap();
    assert!(smallest > 2_000_000, "the smallest keyframe of the clip has {smallest} bytes");
    relay(Publisher::Ffmpeg5, &SOME, &clip);
}

/// 16,775 s: 0xFFFFFF ms, where RTMP and FLV need their extended timestamps, is passed 2.2 s later.
const OFFSET: &str = "16775";

fn past_24_bits(vhost: &str, check: fn(&[Tag])) {
    let server = Server::vhost(vhost);
    let clip = clips::av();
    let mut players = waiting(&server, &SOME, "x");
    let mut publish = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "x", &["-output_ts_offset", OFFSET]);
    publish.success(CLIP);
    let sent = frames::of(&clip);
    for play in &mut players {
        play.finish(Duration::from_secs(10));
        frames::assert_all(&frames::of(&play.file), &sent, &format!("{:?}", play.player), 0);
        check(&flv::read(&play.file));
    }
}

/// By default each viewer's time begins at zero.
#[test]
fn timestamps_past_24_bits_from_the_publisher() {
    past_24_bits(&usual_vhost("resume_wait 0;"), |tags| {
        flv::assert_monotonic(tags);
        let last = tags[tags.len() - 1].ts;
        assert!(last < 20_000, "the viewer's time ends at {last}");
    });
}

/// With `time_jitter off` the publisher's own time reaches the viewer.
#[test]
fn timestamps_past_24_bits_to_the_viewer() {
    let vhost = usual_vhost("resume_wait 0;").replace("play {", "play { time_jitter off;");
    past_24_bits(&vhost, |tags| {
        flv::assert_monotonic(tags);
        let last = tags[tags.len() - 1].ts;
        assert!((0x0100_0000..0x0100_0000 + 20_000).contains(&last), "the viewer's time ends at {last}");
        let before = tags.iter().filter(|tag| tag.is_frame() && tag.ts < 0x00ff_ffff).count();
        assert!(before > 50, "{before} frames come before 0xFFFFFF");
    });
}

/// What a late joiner gets first: metadata and headers, then a keyframe, from which on nothing is missing.
#[test]
fn a_late_joiner_starts_at_a_keyframe() {
    let server = Server::usual();
    let clip = clips::av();
    let mut publish = ffmpeg_publish(&tools::ffmpeg(), &server, &clip, "x", &[]);
    let mut first = Viewer::join(server.http, "/live/x.flv");
    first.until(TAG, |tag| tag.is_picture() && tag.ts > 3000);
    let mut late = Viewer::join(server.http, "/live/x.flv");
    let mut rtmp = Player::Rtmpdump.play(&server, "x");
    let tags = late.rest(TAG);
    publish.success(CLIP);
    rtmp.finish(Duration::from_secs(10));

    assert_eq!(late.flags(), Some(5), "the flags of the FLV header: audio and video");
    for (who, tags) in [("HTTP-FLV", tags), ("RTMP", flv::read(&rtmp.file))] {
        let opening: Vec<&Tag> = tags.iter().take_while(|tag| !tag.is_frame()).collect();
        assert!(opening.iter().any(|tag| tag.kind == 18), "{who}: metadata comes first");
        assert!(opening.iter().any(|tag| tag.is_video_header()), "{who}: then the header of video");
        assert!(opening.iter().any(|tag| tag.is_audio_header()), "{who}: and that of audio");
        let picture = tags.iter().find(|tag| tag.is_picture()).unwrap();
        assert!(picture.is_key(), "{who}: the first picture is a keyframe");
        assert!(tags.iter().find(|tag| tag.is_frame()).unwrap().ts < 100, "{who}: time begins at zero");
        flv::assert_monotonic(&tags);
        let source = flv::read(&clip);
        let start = flv::assert_run(&tags, &source, 9);
        assert!(start > 0, "{who}: the joiner was late");
        flv::assert_run(&tags, &source, 8);
        let last = source.iter().rfind(|tag| tag.is_picture()).unwrap();
        assert_eq!(
            &tags.iter().rfind(|tag| tag.is_picture()).unwrap().data,
            &last.data,
            "{who}: the last picture"
        );
    }
}
