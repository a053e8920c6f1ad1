use super::command::{Arg, Vars, exec, expand, ffmpeg, finish};
use super::*;
use crate::conf;

fn jobs(vhost: &str) -> Vec<conf::Job> {
    conf::load("t", &format!("vhost v {{ {vhost} }}")).unwrap().config.vhosts[0].jobs.clone()
}

fn when() -> When {
    When { date: (2031, 2, 3, 4, 5, 6), unix_ms: 1_234_567 }
}

fn line(vhost: &str, input: &str, vars: &Vars) -> String {
    let job = jobs(vhost).remove(0);
    finish(&ffmpeg(&job, &job.engines[0], input, "info"), vars, when()).unwrap().join(" ")
}

const START: &str = "-hide_banner -nostdin -nostats -loglevel info";

#[test]
fn an_engine_says_all_that_its_directives_say_in_the_order_of_srs() {
    let vars = Vars {
        vhost: "v".into(),
        app: "live".into(),
        stream: "x".into(),
        engine: "ff".into(),
        url: "rtmp://127.0.0.1:1935/live/x".into(),
        port: 1935,
        ..Vars::default()
    };
    let all = "transcode { enabled on; ffmpeg /opt/ffmpeg; engine ff { enabled on; \
        perfile { re; rtsp_transport tcp; } iformat flv; \
        vfilter { i ./logo.png; filter_complex '[0:v][01]overlay=10:10 [app]'; } \
        vcodec libx264; vbitrate 1500; vfps 29.97; vwidth 768; vheight 320; vthreads 12; vprofile main; \
        vpreset medium; vparams { t 100; bf 3; } \
        acodec libfdk_aac; abitrate 70; asample_rate 44100; achannels 2; aparams { profile:a aac_low; } \
        oformat flv; output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; } }";
    assert_eq!(
        line(all, "[url]", &vars),
        format!(
            "/opt/ffmpeg {START} -re -rtsp_transport tcp -f flv -i rtmp://127.0.0.1:1935/live/x \
             -i ./logo.png -filter_complex [0:v][01]overlay=10:10 [app] \
             -vcodec libx264 -b:v 1500000 -r 29.970 -s 768x320 -aspect 768:320 -threads 12 -profile:v main \
             -preset medium -t 100 -bf 3 \
             -acodec libfdk_aac -b:a 70000 -ar 44100 -ac 2 -profile:a aac_low \
             -f flv -y rtmp://127.0.0.1:1935/live?vhost=v/x_ff"
        )
    );
    let little = "transcode { enabled on; engine { enabled on; vcodec vn; acodec an; output a; oformat off; iformat off; } }";
    assert_eq!(line(little, "[url]", &vars), format!("ffmpeg {START} -i {} -vn -an -y a", vars.url));
    let none = "transcode { enabled on; engine { enabled on; vfps 25; vbitrate 3; output rtmp://h/a/b; } }";
    assert_eq!(
        line(none, "[url]", &vars),
        format!("ffmpeg {START} -f flv -i {} -vcodec copy -acodec copy -f flv -y rtmp://h/a/b", vars.url)
    );
}

#[test]
fn an_ingest_copies_unless_its_engine_is_on_and_says_with_what_to_encode() {
    let vars = Vars { port: 7, vhost: "v".into(), ..Vars::default() };
    let copied =
        format!("ffmpeg {START} -re -i a.mp4 -vcodec copy -acodec copy -f flv -y rtmp://h:7/live?vhost=v/x");
    for engine in ["enabled off; vcodec libx264; acodec aac;", "enabled on; vcodec libx264;", ""] {
        let ingest = format!(
            "ingest a {{ enabled on; input {{ url a.mp4; }} \
             engine {{ {engine} output rtmp://h:[port]/live?vhost=[vhost]/x; }} }}"
        );
        assert_eq!(line(&ingest, "a.mp4", &vars), copied, "{engine}");
    }
    let stream = "ingest { enabled on; input { type stream; url rtsp://c/; } engine { enabled on; vcodec copy; \
                  acodec aac; output x.ts; } }";
    assert_eq!(
        line(stream, "rtsp://c/", &vars),
        format!("ffmpeg {START} -i rtsp://c/ -vcodec copy -acodec aac -y x.ts")
    );
}

#[test]
fn a_stream_cannot_name_itself_into_another_command() {
    let words = |line: &str, stream: &str| {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let vars = Vars { stream: stream.into(), url: format!("rtmp://h/live/{stream}"), ..Vars::default() };
        finish(&exec(&words), &vars, when())
    };
    // As one argument, whatever is in it.
    for name in [";rm -rf ~", "%s%n", "$(id)", "`id`", "a'b", "*", "[app]", "[port]", "&", "|sh"] {
        assert_eq!(words("prog x[stream]", name).unwrap(), ["prog", &format!("x{name}")], "{name}");
    }
    for name in ["-i", ";rm", "%d", "$(id)"] {
        assert_eq!(words("prog -i [url]", name).unwrap()[2], format!("rtmp://h/live/{name}"));
    }
    let refused = |line: &str, name: &str, why: &str| {
        let told = words(line, name).unwrap_err();
        assert!(told.contains(why) && told.contains("not run"), "{line} {name}: {told}");
    };
    refused("prog [stream]", "-i", "would be taken for an option");
    refused("prog -i [url]", "x live=1 socks=evil", "there is a space");
    for name in [";rm", "$(id)", "`id`", "a|b", "a'b", "a b", "-r"] {
        refused("sh -c ffmpeg_-i_[stream]", name, "a command to a shell");
    }
    assert_eq!(words("sh -c ffmpeg_-i_[url]", "x-1.2").unwrap()[2], "ffmpeg -i rtmp://h/live/x-1.2");
    // The program is never a variable.
    assert_eq!(words("[stream] a", "/bin/sh").unwrap()[0], "[stream]");
}

#[test]
fn variables_are_replaced_once_and_others_stay() {
    let vars = Vars { app: "[stream]".into(), stream: "s".into(), ..Vars::default() };
    let text = "[app]/[stream]/[2006]-[01]-[02]_[15].[04].[05].[999]-[timestamp][x][[stream][stream[";
    assert_eq!(expand(text, &vars, when()), "[stream]/s/2031-02-03_04.05.06.567-1234567[x][s[stream[");
    assert_eq!(exec(&[String::from("a"), String::from("[app]")])[1], Arg::Template("[app]".into()));
}

struct Rig {
    programs: Programs,
    quiet: Quiet,
    now: u64,
    live: bool,
}

impl Rig {
    fn new() -> Rig {
        Rig { programs: Programs::default(), quiet: Quiet::default(), now: 0, live: true }
    }

    /// Without a waker no program is ever started, which is a failure like others.
    fn turn(&mut self, list: &[Wanted]) -> Option<u64> {
        let live = self.live;
        let mut around = Around {
            now: self.now,
            when: when(),
            is_live: &|_| live,
            register: &|_| Ok(()),
            quiet: &mut self.quiet,
        };
        self.programs.want(list.to_vec(), |_| false, &mut around);
        self.programs.turn(&mut around)
    }
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        stream: None,
        label: name.into(),
        directive: "ffmpeg",
        log: None,
        line: vec![Arg::Plain(name.into())],
        vars: Vars::default(),
        output: None,
        fault: None,
    }
}

#[test]
fn what_fails_at_once_is_tried_ever_more_seldom() {
    let mut rig = Rig::new();
    let list = [wanted("a")];
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let next = rig.turn(&list).unwrap();
        pauses.push(next - rig.now);
        rig.now = next;
    }
    assert_eq!(pauses, [3_000, 6_000, 12_000, 24_000, 48_000, 60_000, 60_000, 60_000]);
    assert_eq!(rig.turn(&[]), None);
    assert!(!rig.programs.is_used());
}

#[test]
fn programs_are_bounded_and_what_is_there_stays() {
    let mut rig = Rig::new();
    let all: Vec<Wanted> = (0..MAX_PROGRAMS + 5).map(|n| wanted(&n.to_string())).collect();
    rig.turn(&all);
    assert_eq!(rig.programs.tasks.len(), MAX_PROGRAMS);
    rig.turn(&all[3..]);
    assert_eq!(rig.programs.tasks.len(), MAX_PROGRAMS);
    assert!(rig.programs.tasks.iter().any(|task| task.wanted == all[MAX_PROGRAMS + 2]));
    assert!(rig.programs.tasks.iter().all(|task| task.wanted != all[MAX_PROGRAMS + 3]));
}

#[test]
fn a_transcode_waits_for_its_publisher_and_its_output_is_known() {
    let mut rig = Rig::new();
    let name = StreamName::new("", "live", "x_low").unwrap();
    let stream = Some(StreamId::of(crate::net::slots::Id::from_token(1)));
    let list = [Wanted { stream, output: Some(name.clone()), ..wanted("a") }];
    rig.live = false;
    assert_eq!(rig.turn(&list), None, "nothing is due while the publisher is away");
    assert!(rig.programs.is_output(&name));
    rig.live = true;
    assert!(rig.turn(&list).is_some());
    rig.turn(&[]);
    assert!(!rig.programs.is_output(&name), "neither a program nor a stream is there");
}
