//! Sessions of both ends, without sockets: recorded clients under every kind of split, the orders in which
//! encoders send their commands, and our own client against our own server.

use super::chunk::{ChunkReader, Limits, Message, write_message};
use super::client::{self, ClientSession, Mode, Target};
use super::command::{Command, Reply};
use super::handshake::{ClientHandshake, Entropy};
use super::message::kind;
use super::server::{Event, ServerSession, SessionError, Settings};
use crate::wire::amf0::Value;
use crate::wire::flv::TagType;
use bytes::Bytes;

fn server() -> ServerSession {
    ServerSession::new(Entropy([7; 64]), 0, false)
}

/// Lets everybody in, and answers as the application would.
fn serve(
    session: &mut ServerSession,
    mut input: &[u8],
    out: &mut Vec<u8>,
) -> Result<Vec<Event>, SessionError> {
    let mut events = Vec::new();
    while let Some(event) = session.feed(&mut input, out)? {
        match &event {
            Event::Connect(connect) => session.accept_connect(connect, Settings::default(), out),
            Event::FcPublish { tid, stream } => session.answer_fc_publish(*tid, stream, None, out),
            Event::Publish { msid, stream } => session.accept_publish(*msid, stream, out),
            Event::Play { msid, stream, .. } => session.accept_play(*msid, stream, out),
            _ => {}
        }
        events.push(event);
    }
    assert!(input.is_empty());
    Ok(events)
}

/// The server's messages in `out`, which begins with a handshake.
fn said(out: &[u8]) -> Vec<Message> {
    let mut input = &out[1 + 2 * 1536..];
    let mut reader = ChunkReader::new(Limits::default());
    std::iter::from_fn(|| reader.feed(&mut input).unwrap()).collect()
}

fn commands(out: &[u8]) -> Vec<(u32, Command)> {
    let commands = said(out).into_iter().filter(|message| message.kind == kind::COMMAND_AMF0);
    commands.map(|message| (message.msid, Command::decode(&message.payload, false).unwrap())).collect()
}

/// `name code` of each command that the server sent.
fn spoken(out: &[u8]) -> Vec<String> {
    let code = |command: &Command| {
        let code = command.args.iter().find_map(|arg| arg.get("code")).and_then(Value::as_str);
        code.map(|code| format!(" {code}")).unwrap_or_default()
    };
    commands(out).iter().map(|(_, command)| format!("{}{}", command.name, code(command))).collect()
}

const RECORDED: [(&str, &[u8]); 4] = [
    ("ffmpeg publishes", include_bytes!("../../../tests/recorded/ffmpeg-publish.bin")),
    ("GStreamer publishes", include_bytes!("../../../tests/recorded/gstreamer-publish.bin")),
    ("ffmpeg plays", include_bytes!("../../../tests/recorded/ffmpeg-play.bin")),
    ("rtmpdump plays", include_bytes!("../../../tests/recorded/rtmpdump-play.bin")),
];

#[test]
fn recorded_clients_are_understood() {
    for (who, bytes) in RECORDED {
        let events = serve(&mut server(), bytes, &mut Vec::new()).unwrap();
        let count = |kind: TagType| {
            events.iter().filter(|event| matches!(event, Event::Media { kind: k, .. } if *k == kind)).count()
        };
        if who.ends_with("publishes") {
            assert!(events.iter().any(|event| matches!(event, Event::Publish { .. })), "{who}");
            assert!(count(TagType::Video) >= 15 && count(TagType::Audio) >= 20, "{who}");
            assert!(count(TagType::Script) >= 1, "{who}");
            assert!(events.iter().any(|event| matches!(event, Event::Closed)), "{who}");
        } else {
            assert!(events.iter().any(|event| matches!(event, Event::Play { .. })), "{who}");
        }
    }
}

#[test]
fn recorded_clients_give_the_same_events_under_every_split() {
    for (who, bytes) in RECORDED {
        let mut whole_out = Vec::new();
        let whole = serve(&mut server(), bytes, &mut whole_out).unwrap();
        let check = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut session, mut out, mut events) = (server(), Vec::new(), Vec::new());
            for piece in pieces {
                events.extend(serve(&mut session, piece, &mut out).unwrap());
            }
            assert!(events == whole && out == whole_out, "{who}");
        };
        check(&mut bytes.chunks(1));
        for cut in (0..bytes.len()).step_by(7) {
            check(&mut [&bytes[..cut], &bytes[cut..]].into_iter());
        }
        let mut seed = 99u32;
        for _ in 0..50 {
            let mut rest = bytes;
            check(&mut std::iter::from_fn(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let size = ((seed >> 16) as usize % 700 + 1).min(rest.len());
                let (piece, more) = rest.split_at(size);
                rest = more;
                (size > 0).then_some(piece)
            }));
        }
    }
}

#[test]
fn recorded_clients_cut_short_or_damaged_never_panic() {
    for (_, bytes) in RECORDED {
        for cut in (0..bytes.len()).step_by(11) {
            let _ = serve(&mut server(), &bytes[..cut], &mut Vec::new());
            let mut damaged = bytes.to_vec();
            damaged[cut] ^= 0x55;
            let mut session = server();
            let mut input = damaged.as_slice();
            let mut out = Vec::new();
            while let Ok(Some(event)) = session.feed(&mut input, &mut out) {
                if let Event::Connect(connect) = event {
                    session.accept_connect(&connect, Settings::default(), &mut out);
                }
            }
        }
    }
}

/// A client that says whatever it likes.
struct Peer {
    session: ServerSession,
    out: Vec<u8>,
}

impl Peer {
    fn greeted() -> Peer {
        let mut peer = Peer { session: server(), out: Vec::new() };
        let mut hello = Vec::new();
        ClientHandshake::new(Entropy([1; 64]), 0, false).start(&mut hello);
        hello.extend([0; 1536]);
        assert!(matches!(peer.hear(&hello).unwrap()[..], [Event::Greeted(..)]));
        peer
    }

    fn connected() -> Peer {
        let mut peer = Peer::greeted();
        let object =
            Value::object([("app", Value::string("live")), ("tcUrl", Value::string("rtmp://h/live"))]);
        assert!(matches!(peer.say(0, "connect", 1.0, &[object]).unwrap()[..], [Event::Connect(_)]));
        peer
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<Vec<Event>, SessionError> {
        serve(&mut self.session, bytes, &mut self.out)
    }

    fn send(
        &mut self,
        kind: u8,
        msid: u32,
        timestamp: u32,
        payload: &[u8],
    ) -> Result<Vec<Event>, SessionError> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 3, kind, msid, timestamp, payload);
        self.hear(&bytes)
    }

    fn say(&mut self, msid: u32, name: &str, tid: f64, args: &[Value]) -> Result<Vec<Event>, SessionError> {
        let mut bytes = Vec::new();
        Reply { out: &mut bytes, chunk_size: 128 }.command(msid, name, tid, args);
        self.hear(&bytes)
    }

    /// A command with a null object and these strings.
    fn tell(&mut self, msid: u32, name: &str, tid: f64, words: &[&str]) -> Vec<Event> {
        let args: Vec<Value> =
            std::iter::once(Value::Null).chain(words.iter().map(|word| Value::string(*word))).collect();
        self.say(msid, name, tid, &args).unwrap()
    }
}

fn publishes(events: &[Event], name: &str) -> bool {
    events.iter().any(|event| matches!(event, Event::Publish { stream, .. } if stream == name))
}

#[test]
fn the_answer_to_connect_has_the_chunk_size_before_anything_long() {
    let peer = Peer::connected();
    let kinds: Vec<u8> = said(&peer.out).iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [5, 6, 1, 20, 20]);
    assert_eq!(spoken(&peer.out), ["_result NetConnection.Connect.Success", "onBWDone"]);
}

#[test]
fn encoders_publish_in_every_order() {
    let mut fmle = Peer::connected();
    fmle.tell(0, "releaseStream", 2.0, &["x"]);
    fmle.tell(0, "FCPublish", 3.0, &["x"]);
    fmle.say(0, "createStream", 4.0, &[Value::Null]).unwrap();
    assert!(publishes(&fmle.tell(1, "publish", 5.0, &["x", "live"]), "x"));
    assert_eq!(
        spoken(&fmle.out)[2..],
        [
            "_result",
            "_result",
            "onFCPublish NetStream.Publish.Start",
            "_result",
            "onStatus NetStream.Publish.Start"
        ]
    );
    let fc = commands(&fmle.out).into_iter().find(|(_, command)| command.name == "onFCPublish").unwrap();
    assert_eq!(fc.1.tid, 3.0, "hardware encoders look for their transaction id");

    let mut flash = Peer::connected();
    flash.say(0, "createStream", 2.0, &[Value::Null]).unwrap();
    assert!(publishes(&flash.tell(1, "publish", 3.0, &["x", "live"]), "x"));

    let mut haivision = Peer::connected();
    haivision.say(0, "createStream", 2.0, &[Value::Null]).unwrap();
    haivision.tell(0, "releaseStream", 3.0, &["x"]);
    haivision.tell(0, "FCPublish", 4.0, &["x"]);
    assert!(publishes(&haivision.tell(1, "publish", 0.0, &["x"]), "x"), "the type is missing, the tid is 0");

    let mut hasty = Peer::connected();
    assert!(
        publishes(&hasty.tell(0, "publish", 2.0, &["x", "live"]), "x"),
        "without createStream, on stream 0"
    );
    assert_eq!(hasty.send(kind::VIDEO, 0, 0, b"\x17\x01\0\0\0").unwrap().len(), 1);
}

#[test]
fn a_connection_can_publish_again_after_each_way_of_stopping() {
    let mut peer = Peer::connected();
    for (stop, msid, args) in [
        ("FCUnpublish", 0, vec![Value::Null, Value::string("x")]),
        ("closeStream", 1, vec![Value::Null]),
        ("deleteStream", 0, vec![Value::Null, Value::Number(1.0)]),
    ] {
        assert!(publishes(&peer.tell(1, "publish", 0.0, &["x"]), "x"));
        assert_eq!(peer.say(msid, stop, 9.0, &args).unwrap(), [Event::Closed], "{stop}");
        assert_eq!(peer.send(kind::VIDEO, 1, 0, b"\x17\x01\0\0\0").unwrap(), [], "media after {stop}");
    }
}

#[test]
fn a_second_stream_on_one_connection_is_refused_in_words() {
    let mut peer = Peer::connected();
    assert!(publishes(&peer.tell(1, "publish", 0.0, &["x"]), "x"));
    assert_eq!(peer.tell(2, "publish", 0.0, &["y"]), []);
    assert_eq!(spoken(&peer.out).last().unwrap(), "onStatus NetStream.Publish.BadName");
    assert_eq!(peer.tell(2, "play", 0.0, &["y"]), []);
    assert_eq!(spoken(&peer.out).last().unwrap(), "onStatus NetStream.Play.Failed");
}

#[test]
fn every_command_that_wants_an_answer_gets_one() {
    for name in
        ["getStreamLength", "_checkbw", "releaseStream", "somethingNew", "FCSubscribe", "deleteStream"]
    {
        let mut peer = Peer::connected();
        let before = commands(&peer.out).len();
        peer.tell(0, name, 8.0, &["x"]);
        let after = commands(&peer.out);
        assert_eq!(after.len(), before + 1, "{name}");
        assert_eq!(after.last().unwrap().1.tid, 8.0, "{name}");
        peer.tell(0, name, 0.0, &["x"]);
        let silent = usize::from(name == "FCSubscribe");
        assert_eq!(commands(&peer.out).len(), before + 1 + silent, "{name} with tid 0");
    }
}

#[test]
fn create_stream_gives_new_ids_and_is_bounded() {
    let mut peer = Peer::connected();
    let create = |peer: &mut Peer| peer.say(0, "createStream", 2.0, &[Value::Null]);
    create(&mut peer).unwrap();
    create(&mut peer).unwrap();
    let ids: Vec<f64> = commands(&peer.out).iter().filter_map(|(_, command)| command.number(1)).collect();
    assert_eq!(ids, [1.0, 2.0]);
    let error = std::iter::repeat_with(|| create(&mut peer)).find_map(Result::err).unwrap();
    assert_eq!(error, SessionError::TooManyStreams);
}

#[test]
fn commands_before_connect_end_the_connection() {
    for name in ["createStream", "publish", "play", "FCPublish"] {
        let mut peer = Peer::greeted();
        assert_eq!(
            peer.say(0, name, 1.0, &[Value::Null, Value::string("x")]),
            Err(SessionError::NotConnected)
        );
    }
}

#[test]
fn amf3_envelopes_and_pings_and_aggregates() {
    let mut peer = Peer::connected();
    let mut create = vec![0];
    create.extend(crate::wire::amf0::encode_all(&[
        Value::string("createStream"),
        Value::Number(2.0),
        Value::Null,
    ]));
    peer.send(kind::COMMAND_AMF3, 0, 0, &create).unwrap();
    assert_eq!(spoken(&peer.out).last().unwrap(), "_result");
    peer.send(kind::USER_CONTROL, 0, 0, &[0, 6, 1, 2, 3, 4]).unwrap();
    assert_eq!(said(&peer.out).last().unwrap().payload[..], [0, 7, 1, 2, 3, 4]);
    peer.tell(1, "publish", 0.0, &["x"]);
    let meta = peer.send(kind::DATA_AMF3, 1, 0, b"\0\x02\0\x01a").unwrap();
    let expect =
        Event::Media { kind: TagType::Script, timestamp: 0, payload: Bytes::from_static(b"\x02\0\x01a") };
    assert_eq!(meta, [expect]);
    let mut aggregate = Vec::new();
    for (kind, time, body) in [(9u8, 100u8, b"v"), (8, 120, b"a")] {
        aggregate.extend([kind, 0, 0, 1, 0, 0, time, 0, 0, 0, 0]);
        aggregate.extend(body);
        aggregate.extend([0, 0, 0, 12]);
    }
    let parts = peer.send(kind::AGGREGATE, 1, 1000, &aggregate).unwrap();
    let times: Vec<u32> = parts
        .iter()
        .map(|event| match event {
            Event::Media { timestamp, .. } => *timestamp,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [1000, 1020]);
}

#[test]
fn a_player_hears_what_players_wait_for() {
    let mut peer = Peer::connected();
    let args = [Value::Null, Value::string("x"), Value::Number(-2.0), Value::Number(1500.0)];
    let events = peer.say(1, "play", 0.0, &args).unwrap();
    assert_eq!(events, [Event::Play { msid: 1, stream: "x".into(), duration_ms: Some(1500) }]);
    let tail: Vec<(u8, u32)> =
        said(&peer.out).iter().skip(5).map(|message| (message.kind, message.msid)).collect();
    assert_eq!(tail, [(4, 0), (20, 1), (20, 1), (18, 1)]);
    assert_eq!(spoken(&peer.out)[2..], ["onStatus NetStream.Play.Reset", "onStatus NetStream.Play.Start"]);
    assert_eq!(
        peer.say(1, "pause", 0.0, &[Value::Null, Value::Boolean(true)]).unwrap(),
        [Event::Pause(true)]
    );
    assert_eq!(
        peer.say(1, "pause", 0.0, &[Value::Null, Value::Boolean(false)]).unwrap(),
        [Event::Pause(false)]
    );
    assert_eq!(peer.say(1, "seek", 0.0, &[Value::Null, Value::Number(5.0)]).unwrap(), []);
    assert_eq!(spoken(&peer.out).last().unwrap(), "onStatus NetStream.Seek.Failed");
    assert_eq!(peer.say(1, "closeStream", 0.0, &[Value::Null]).unwrap(), [Event::Closed]);
}

#[test]
fn a_refused_publish_hears_bad_name_and_never_start() {
    let mut peer = Peer::connected();
    let mut out = Vec::new();
    peer.session.answer_fc_publish(3.0, "x", Some("busy"), &mut out);
    let mut bytes = Vec::new();
    Reply { out: &mut bytes, chunk_size: 128 }.command(1, "publish", 4.0, &[Value::Null, Value::string("x")]);
    let mut input = bytes.as_slice();
    let event = peer.session.feed(&mut input, &mut out).unwrap();
    assert!(matches!(event, Some(Event::Publish { msid: 1, .. })));
    peer.session.reject(1, "NetStream.Publish.BadName", "busy", &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(text.contains("NetStream.Publish.BadName") && text.contains("busy"));
    assert!(!text.contains("NetStream.Publish.Start"));
}

#[test]
fn what_was_received_is_acknowledged_modulo_2_32() {
    let mut peer = Peer::connected();
    peer.tell(1, "publish", 0.0, &["x"]);
    let before = said(&peer.out).iter().filter(|message| message.kind == kind::ACK).count();
    for n in 0..40 {
        peer.send(kind::VIDEO, 1, n * 40, &[0x27; 100_000]).unwrap();
    }
    let acks: Vec<u32> = said(&peer.out)
        .iter()
        .filter(|message| message.kind == kind::ACK)
        .skip(before)
        .map(|message| u32::from_be_bytes(message.payload[..].try_into().unwrap()))
        .collect();
    assert_eq!(acks.len(), 3);
    assert!(u64::from(*acks.last().unwrap()) <= peer.session.received() && acks.is_sorted());
}

/// Our client and our server, each fed what the other says in pieces of `piece` bytes.
fn converse(mode: Mode, piece: usize, complex: bool) -> (ClientSession, ServerSession, Vec<Event>) {
    let target = Target {
        tc_url: "rtmp://h/live".into(),
        app: "live".into(),
        stream: "x".into(),
        mode,
        chunk_size: 4096,
        complex,
        page_url: if complex { "http://p/".into() } else { String::new() },
        via: if complex { "a,b".into() } else { String::new() },
    };
    let (mut to_server, mut to_client, mut heard) = (Vec::new(), Vec::new(), Vec::new());
    let mut client = ClientSession::start(target, Entropy([3; 64]), 0, &mut to_server);
    let mut server = server();
    let mut started = false;
    while !(to_server.is_empty() && to_client.is_empty()) {
        for bytes in std::mem::take(&mut to_server).chunks(piece) {
            heard.extend(serve(&mut server, bytes, &mut to_client).unwrap());
        }
        for bytes in std::mem::take(&mut to_client).chunks(piece) {
            let mut input = bytes;
            while let Some(event) = client.feed(&mut input, &mut to_server).unwrap() {
                started |= event == client::Event::Started;
            }
        }
    }
    assert!(started);
    (client, server, heard)
}

#[test]
fn our_client_and_our_server_understand_each_other() {
    for piece in [1, 100, 100_000] {
        for complex in [false, true] {
            let (mut client, mut server, heard) = converse(Mode::Publish, piece, complex);
            let via = heard.iter().find_map(|event| match event {
                Event::Connect(connect) => Some(connect.via.clone()),
                _ => None,
            });
            assert_eq!(via, Some(complex.then(|| "a,b".into())));
            assert_eq!(client.framing(), Some((4096, 1)));
            let mut bytes = Vec::new();
            client.send(TagType::Video, 0x0100_0000, &[5; 10_000], &mut bytes);
            client.stop(&mut bytes);
            let events = serve(&mut server, &bytes, &mut Vec::new()).unwrap();
            assert!(matches!(&events[..], [
                Event::Media { kind: TagType::Video, timestamp: 0x0100_0000, payload },
                Event::Closed,
            ] if payload[..] == [5; 10_000]));
            converse(Mode::Play, piece, complex);
        }
    }
}

#[test]
fn our_client_plays_what_a_server_sends() {
    for piece in [1, 7, 1000] {
        let (mut client, mut server, heard) = converse(Mode::Play, piece, false);
        assert!(heard.iter().any(|event| matches!(event, Event::Play { stream, .. } if stream == "x")));
        let mut bytes = Vec::new();
        let mut reply = Reply { out: &mut bytes, chunk_size: 60_000 };
        for aside in ["|RtmpSampleAccess", "onStatus"] {
            reply.data(1, &[Value::string(aside), Value::Boolean(true)]);
        }
        reply.data(1, &[Value::string("onMetaData"), Value::Null]);
        write_message(&mut bytes, 60_000, 6, kind::VIDEO, 1, 40, &[7; 70_000]);
        write_message(&mut bytes, 60_000, 4, kind::DATA_AMF3, 1, 41, b"\0\x02\0\x01a");
        server.end("NetStream.Play.Stop", "The stream is over.", &mut bytes);
        let (mut events, mut out) = (Vec::new(), Vec::new());
        for mut input in bytes.chunks(piece) {
            while let Some(event) = client.feed(&mut input, &mut out).unwrap() {
                events.push(event);
            }
        }
        let media = |event: &client::Event| match event {
            client::Event::Media { kind, timestamp, payload } => (*kind, *timestamp, payload.len()),
            other => panic!("{other:?}"),
        };
        let (ends, rest) = (events.split_off(3), events);
        assert_eq!(media(&rest[0]), (TagType::Script, 0, 14));
        assert_eq!(media(&rest[1]), (TagType::Video, 40, 70_000));
        assert_eq!(media(&rest[2]), (TagType::Script, 41, 4));
        assert_eq!(ends, [client::Event::Paused, client::Event::Ended]);
        client.ping(5, &mut out);
        client.stop(&mut out);
        let mut answer = Vec::new();
        assert_eq!(serve(&mut server, &out, &mut answer).unwrap(), []);
        assert!(answer.windows(6).any(|part| part == [0, 7, 0, 0, 0, 5]), "the ping is answered");
    }
}

#[test]
fn our_client_hears_why_it_was_refused() {
    let (mut client, mut server, _) = converse(Mode::Play, 100, true);
    let mut bytes = Vec::new();
    server.reject(1, "NetStream.Play.StreamNotFound", "nobody publishes x", &mut bytes);
    let heard = client.feed(&mut bytes.as_slice(), &mut Vec::new()).unwrap();
    let expect = client::Event::Refused {
        code: "NetStream.Play.StreamNotFound".into(),
        description: "nobody publishes x".into(),
        redirect: String::new(),
    };
    assert_eq!(heard, Some(expect));
    let (mut client, ..) = converse(Mode::Play, 100, false);
    let text = |key: &'static str, text: &'static str| (key, Value::string(text));
    let ex = Value::object([("code", Value::Number(302.0)), text("redirect", "rtmp://b:1936/live")]);
    let status = [text("level", "error"), text("code", "NetConnection.Connect.Rejected"), ("ex", ex)];
    let mut bytes = Vec::new();
    let args = [Value::Null, Value::object(status)];
    Reply { out: &mut bytes, chunk_size: 60_000 }.command(0, "onStatus", 0.0, &args);
    let heard = client.feed(&mut bytes.as_slice(), &mut Vec::new()).unwrap();
    assert!(
        matches!(heard, Some(client::Event::Refused { redirect, .. }) if redirect == "rtmp://b:1936/live")
    );
}

#[test]
fn who_can_connect_anew_is_told_so_and_asked_to_once() {
    let number = Value::Number;
    for (caps, can) in [
        (number(1.0), true),
        (number(15.0), true),
        (number(14.0), false),
        (number(-1.0), false),
        (number(f64::NAN), false),
        (Value::string("1"), false),
    ] {
        let mut peer = Peer::greeted();
        let object = Value::object([("app", Value::string("live")), ("capsEx", caps)]);
        peer.say(0, "connect", 1.0, &[object]).unwrap();
        let told = commands(&peer.out).iter().any(|(_, c)| c.args.iter().any(|a| a.get("capsEx").is_some()));
        assert_eq!(told, can);
        assert_eq!(peer.session.ask_to_reconnect(&mut peer.out), can);
        assert!(!peer.session.ask_to_reconnect(&mut peer.out), "a second time");
        let asked = "onStatus NetConnection.Connect.ReconnectRequest";
        assert_eq!(spoken(&peer.out).iter().filter(|said| *said == asked).count(), usize::from(can));
    }
    assert!(!Peer::greeted().session.ask_to_reconnect(&mut Vec::new()), "before connect");
}
