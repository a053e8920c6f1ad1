//! The files of the service kit, run by the programs that they are for: OpenWrt's procd (as far as a shell can stand for
//! it), systemd, logrotate.
use crate::service::{BIN, SOON, Service};
use crate::support::poll;
use std::path::{Path, PathBuf};
use std::process::Command;

fn kit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/service").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What rc.common and procd do, in little: an instance is a process that is started in the background with the
/// parameters given, and told signals by name.
const RC_COMMON: &str = r##"
procd_open_instance() { rm -f "$STATE".*; command=; env=; }
procd_set_param() {
    name=$1; shift
    printf '%s\n' "$name $*" >> "$STATE.params"
    case $name in
        command) command=$* ;;
        env) env=$* ;;
    esac
}
procd_close_instance() {
    env $env $command >> "$STATE.out" 2>&1 < /dev/null &
    echo $! > "$STATE.pid"
}
procd_send_signal() {
    [ "$1" = runnel ] && [ "$2" = '*' ] || exit 9
    kill "-$3" "$(cat "$STATE.pid")"
}
procd_add_reload_trigger() { printf '%s\n' "trigger $1" >> "$STATE.params"; }
script=$1 action=$2
. "$script"
case $action in
    start)
        [ "$USE_PROCD" = 1 ] || exit 9
        start_service || exit
        service_triggers
        ;;
    reload) reload_service ;;
    stop) kill -TERM "$(cat "$STATE.pid")" ;;
    *)
        case " $EXTRA_COMMANDS " in
            *" $action "*) "$action" ;;
            *) exit 8 ;;
        esac
        ;;
esac
"##;

#[test]
fn the_script_for_openwrt_does_its_work_under_procd() {
    for shell in ["busybox sh", "dash"] {
        let service = Service::new("daemon on; log_tank console;");
        let dir = &service.dir;
        let script = kit("openwrt");
        assert!(script.starts_with("#!/bin/sh /etc/rc.common\n"));
        let script = script.replace("/usr/bin/runnel", BIN);
        let script = script.replace("/etc/runnel/runnel.conf", service.conf().to_str().unwrap());
        std::fs::write(dir.join("runnel"), script).unwrap();
        std::fs::write(dir.join("rc.common"), RC_COMMON).unwrap();
        let run = |action: &str| -> (i32, String) {
            let mut words = shell.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(dir.join("rc.common")).arg(dir.join("runnel")).arg(action);
            command.env("STATE", dir.join("state")).current_dir("/");
            service.run(command)
        };
        let state = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        assert_eq!(run("start").0, 0, "{shell}");
        assert!(poll(SOON, || service.up()), "{}", state("state.out"));
        // In the foreground, whatever the file says, with its log where procd takes it from.
        let pid: u32 = state("state.pid").trim().parse().unwrap();
        assert_eq!(service.pid(), Some(pid), "{shell}");
        let params = state("state.params");
        for line in
            ["respawn 3600 5 5", "stdout 1", "stderr 1", "limits nofile=65536 65536", "trigger runnel"]
        {
            assert!(params.lines().any(|l| l == line), "{shell}: {line} in {params}");
        }
        let says = |words: &str| poll(SOON, || state("state.out").contains(words));
        service.write("daemon on; log_tank console; max_connections 7;");
        assert_eq!(run("reload").0, 0, "{shell}");
        assert!(says("max_connections changed"), "{shell}: {}", state("state.out"));
        assert_eq!(run("rotate").0, 0);
        assert!(says("opened again"), "{shell}: {}", state("state.out"));
        assert_eq!(run("check").0, 0);
        // A mistake in the file harms nobody who runs, and starts nobody.
        service.write("oops;");
        let before = state("state.out").len();
        assert!(run("reload").0 != 0 && run("check").0 != 0, "{shell}");
        assert!(service.up() && state("state.out").len() == before);
        service.write("grace_start_wait 0; grace_final_wait 0; log_tank console;");
        assert_eq!(run("reload").0, 0);
        assert!(says("grace_final_wait changed"), "{shell}: {}", state("state.out"));
        assert_eq!(run("grace").0, 0);
        assert!(service.ends(), "{shell}: {}", state("state.out"));
        service.write("oops;");
        assert!(run("start").0 != 0 && !service.up(), "{shell}");
        assert_eq!(run("nonsense").0, 8);
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let service = Service::new("");
    let unit = service.dir.join("runnel.service");
    let verify = |text: String| -> String {
        std::fs::write(&unit, text).unwrap();
        let out = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
        let out = out.expect("systemd-analyze; ./tests/run installs it");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        said.lines().filter(|line| line.contains("runnel")).map(|line| format!("{line}\n")).collect()
    };
    let text = kit("runnel.service").replace("/usr/bin/runnel", BIN);
    assert_eq!(verify(text.clone()), "");
    assert!(!verify(text.replace("ProtectHome=", "ProtectHouse=")).is_empty(), "it does not look");
}

#[test]
fn logrotate_puts_the_log_aside_and_the_program_goes_on_in_a_new_file() {
    let service = Service::new("daemon on; log_max_size 0; access_log access.log;");
    assert_eq!(service.start().0, 0);
    let dir = &service.dir;
    let sample = kit("runnel.logrotate").replace("/var/log/runnel/", &format!("{}/", dir.display()));
    let sample = sample.replace("/var/run/runnel.pid", dir.join("runnel.pid").to_str().unwrap());
    // It reads no file that others may write to.
    std::fs::write(dir.join("rotate"), sample).unwrap();
    std::fs::set_permissions(dir.join("rotate"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let here = |name: &str| -> PathBuf { dir.join(name) };
    for round in 1..3 {
        let mut command = Command::new("/usr/sbin/logrotate");
        command.arg("-f").arg("-s").arg(here("state")).arg(here("rotate"));
        let (status, said) = service.run(command);
        assert_eq!(status, 0, "{said}");
        let again = || service.log().contains("opened again");
        assert!(
            here("runnel.log.1").exists() && poll(SOON, again),
            "round {round}: {said} {}",
            service.log()
        );
    }
    assert!(here("runnel.log.2.gz").exists(), "the older one is compressed");
    service.signal("TERM");
    assert!(service.ends());
    assert!(service.log().contains("stopped"), "{}", service.log());
}
