//! Command lines in, commands out; signals to processes that do not exist.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::signal::{Processes, Request, Signal, SignalError, Target};
use super::{Command, Failure, parse, usage};
use crate::config::Overrides;
use crate::config::options::Options;

fn command(line: &str) -> Command {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse("natsd", &words)
}

fn failure(line: &str) -> Failure {
    match command(line) {
        Command::Fail(failure) => failure,
        other => panic!("{line}: {other:?}"),
    }
}

fn options(line: &str) -> Options {
    let mut options = Options::default();
    match command(line) {
        Command::Run(flags) => flags.options(&mut options),
        other => panic!("{line}: {other:?}"),
    }
    options
}

#[test]
fn words_and_flags_ask_for_texts() {
    // CFG-303, CFG-304
    for line in ["-v", "--version", "version", "-v foo", "version foo", "-D version"] {
        assert_eq!(command(line), Command::Version, "{line}");
    }
    for line in ["-h", "--help", "help", "HELP"] {
        assert_eq!(command(line), Command::Help, "{line}");
    }
    assert_eq!(command("--help_tls"), Command::HelpTls);
}

#[test]
fn unknown_words_fail_and_unknown_flags_show_the_usage() {
    let unknown = failure("foo");
    assert_eq!((unknown.message.as_str(), unknown.code), ("natsd: unrecognized command: \"foo\"", 1));
    let flag = failure("-zzz");
    assert_eq!((flag.message.as_str(), flag.code), ("flag provided but not defined: -zzz", 0));
    assert!(flag.with_usage);
}

#[test]
fn a_test_needs_a_file() {
    // CFG-307
    assert_eq!(
        failure("-t").message,
        "natsd: must specify [-c, --config] option to check configuration file syntax"
    );
    match command("-t -c a.conf") {
        Command::TestConfig(flags) => assert_eq!(flags.config, Some(PathBuf::from("a.conf"))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plugins_is_a_command_with_flags_before_or_after() {
    for line in ["--plugins-dir a --plugins_dir=b plugins", "plugins --plugins-dir a --plugins-dir b"] {
        match command(line) {
            Command::Plugins(flags) => {
                assert_eq!(flags.plugins_dirs, [PathBuf::from("a"), PathBuf::from("b")])
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    assert_eq!(failure("plugins list").message, "natsd: plugins takes no argument \"list\"");
}

#[test]
fn flags_of_the_core_become_options() {
    let options = options(
        "-a 127.0.0.1 -p -1 -n me -P pid --ports_file_dir d --client_advertise h:1 -l log -T=false --logtime_utc \
         -s -r udp://x:1 -DVV --log_size_limit 10 --max_traced_msg_len 5 --user u --pass p --auth t",
    );
    assert_eq!((options.host.as_str(), options.port, options.server_name.as_str()), ("127.0.0.1", -1, "me"));
    assert_eq!(options.files.pid_file, Some(PathBuf::from("pid")));
    assert_eq!(options.files.ports_file_dir, Some(PathBuf::from("d")));
    assert_eq!(options.client_advertise.as_deref(), Some("h:1"));
    let log = &options.log;
    assert_eq!((log.debug, log.trace, log.trace_verbose), (true, true, true));
    assert_eq!((log.logtime, log.logtime_utc, log.syslog, log.size_limit_bytes), (false, true, true, 10));
    assert_eq!(options.limits.max_traced_msg_len, 5);
    let auth = &options.auth;
    assert_eq!(
        (auth.user.as_deref(), auth.password.as_deref(), auth.token.as_deref()),
        (Some("u"), Some("p"), Some("t"))
    );
}

#[test]
fn port_zero_leaves_the_port_to_the_file() {
    assert_eq!(options("-p 0").port, 4222);
}

#[test]
fn tls_flags_need_certificate_and_key() {
    // CFG-306
    assert_eq!(failure("--tls").message, "natsd: TLS Server certificate must be present and valid");
    assert_eq!(
        failure("--tlsverify --tlscert c").message,
        "natsd: TLS Server private key must be present and valid"
    );
    let tls = options("--tlsverify --tlscert c --tlskey k --tlscacert a").tls.unwrap();
    assert_eq!(tls.certs, [(PathBuf::from("c"), PathBuf::from("k"))]);
    assert!(tls.verify);
    assert!(options("--tls=false --tlscert c").tls.is_none());
}

#[test]
fn what_natsd_does_not_do_is_said() {
    assert_eq!(
        failure("--profile 6060").message,
        "natsd: the flag -profile is not supported by natsd: Go profiling"
    );
}

#[test]
fn the_usage_names_every_flag() {
    let text = usage("natsd");
    for flag in
        ["--addr", "--port", "--plugins-dir", "-sl,--signal", "-js, --jetstream", "--tlscacert", "--help_tls"]
    {
        assert!(text.contains(flag), "{flag}");
    }
    assert!(text.starts_with("\nUsage: natsd [options]"));
}

#[derive(Default)]
struct FakeProcesses {
    running: Vec<i32>,
    sent: RefCell<Vec<(i32, Signal)>>,
}

impl Processes for FakeProcesses {
    fn named(&self, _: &[&str]) -> Vec<i32> {
        self.running.clone()
    }

    fn pid_file(&self, path: &Path) -> Option<String> {
        (path == Path::new("/run/x.pid")).then(|| "77".to_owned())
    }

    fn send(&self, pid: i32, signal: Signal) -> Result<(), String> {
        if pid == 999_999 {
            return Err("no such process".to_owned());
        }
        self.sent.borrow_mut().push((pid, signal));
        Ok(())
    }
}

fn signal(text: &str, running: &[i32]) -> Result<Vec<(i32, Signal)>, String> {
    let processes = FakeProcesses { running: running.to_vec(), ..FakeProcesses::default() };
    let request = Request::parse(text).map_err(|error| error.to_string())?;
    request.send(&processes).map_err(|error| error.to_string())?;
    Ok(processes.sent.into_inner())
}

#[test]
fn a_signal_goes_to_a_pid_a_file_a_prefix_or_the_only_server() {
    // CFG-309
    assert_eq!(signal("reload=12", &[]), Ok(vec![(12, Signal::Reload)]));
    assert_eq!(signal("stop=/run/x.pid", &[]), Ok(vec![(77, Signal::Stop)]));
    assert_eq!(signal("ldm=1*", &[10, 11, 20]), Ok(vec![(10, Signal::LameDuck), (11, Signal::LameDuck)]));
    assert_eq!(signal("quit=*", &[10, 20]), Ok(vec![(10, Signal::Quit), (20, Signal::Quit)]));
    assert_eq!(signal("quit=3*", &[10, 20]), Ok(Vec::new()));
    assert_eq!(signal("reopen", &[5]), Ok(vec![(5, Signal::Reopen)]));
    let Command::Signal(request) = command("--signal term=7") else { panic!() };
    assert_eq!(request, Request { signal: Signal::Term, target: Target::Pid(7) });
}

#[test]
fn signals_that_cannot_be_sent_say_why_in_the_words_of_nats_server() {
    for (text, running, error) in [
        ("foo", &[][..], "unknown signal \"foo\""),
        ("reload=abc", &[], "invalid pid: abc"),
        ("reload=-5", &[], "invalid pid: -5"),
        ("reload", &[], "no nats-server processes running"),
        ("reload", &[1, 2], "multiple nats-server processes running:\n1\n2"),
        ("reload=999999", &[], "\nsignal \"reload\" 999999: no such process"),
    ] {
        assert_eq!(signal(text, running), Err(error.to_owned()), "{text}");
    }
    assert_eq!(Request::parse("x"), Err(SignalError::UnknownSignal("x".to_owned())));
}
