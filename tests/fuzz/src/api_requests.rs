//! Requests to `$JS.API.`: a subject, and whatever may come as its body.

use natsd_jetstream::api::assets::Assets;
use natsd_jetstream::api::decode::Input;
use natsd_jetstream::api::limits::{ServerBytes, ServerLimits, Tiers};
use natsd_jetstream::api::subject::Request;
use natsd_jetstream::api::validate::{Rules, stream};
use natsd_jetstream::wire::StreamConfig;
use std::fmt::Debug;

pub const WORDS: &[&[u8]] = &[
    b"$JS.API.STREAM.CREATE.S\n",
    b"$JS.API.CONSUMER.CREATE.S.C.a.>\n",
    b"$JS.API.DIRECT.GET.S\n",
    b"\"name\":\"S\"",
    b"\"subjects\":[\"a.>\",\"b.*\"]",
    b"\"max_age\":-9223372036854775808",
    b"\"max_msgs\":1e400",
    b"\"seq\":18446744073709551616",
    b"\"retention\":\"workqueue\"",
    b"\"sources\":[{\"name\":\"O\",\"subject_transforms\":[{\"src\":\"a.*\",\"dest\":\"b.{{partition(3,1)}}\"}]}]",
    b"\"mirror\":{\"name\":\"O\",\"opt_start_time\":\"2024-02-30T00:00:00Z\"}",
    b"\"metadata\":{\"natsd.store\":\"x\"}",
    b"\"republish\":{\"src\":\">\",\"dest\":\"r.>\"}",
    b"\"config\":{\"filter_subjects\":[\"a\",\"a.>\"],\"backoff\":[1,2]}",
    b"\\ud800",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":",
    b"null",
    b"true",
];

/// The subject is the first line, the body all the rest. Whatever is taken strictly is taken leniently, as the same;
/// a configuration that was found right is right, and unchanged, when it is looked at again.
pub fn api_requests(input: &[u8]) {
    let (subject, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b""[..]),
    };
    if let Some(request) = Request::parse(subject) {
        assert!(subject.starts_with(b"$JS.API."));
        let _ = (request.reply_type(), request.is_info());
    }
    let strict = Input { body, required_level: None, is_strict: true, is_enabled: true };
    let lenient = Input { is_strict: false, ..strict };
    both(strict.stream_names(), lenient.stream_names());
    both(strict.stream_list(), lenient.stream_list());
    both(strict.consumers(), lenient.consumers());
    both(strict.stream_info(), lenient.stream_info());
    both(strict.purge(), lenient.purge());
    both(strict.msg_delete(), lenient.msg_delete());
    both(strict.msg_get(), lenient.msg_get());
    both(strict.snapshot(), lenient.snapshot());
    both(strict.restore(), lenient.restore());
    both(strict.consumer_create(), lenient.consumer_create());
    both(strict.pause(), lenient.pause());
    both(strict.unpin(), lenient.unpin());
    both(strict.reset(), lenient.reset());
    both(strict.direct_get(), lenient.direct_get());
    both(strict.stream_config(), lenient.stream_config());
    let _ = (strict.empty(), strict.consumer_info(), strict.ignored());
    let _ = Input { required_level: Some(body), ..strict }.ignored();
    if let Ok(text) = std::str::from_utf8(subject) {
        both(strict.direct_get_last(text), lenient.direct_get_last(text));
    }
    if let Ok(request) = lenient.stream_config() {
        judge(&request.config);
    }
}

fn both<T: Debug, E: Debug>(strict: Result<T, E>, lenient: Result<T, E>) {
    if let Ok(strict) = strict {
        let lenient = lenient.expect("what is right strictly is right leniently");
        assert_eq!(format!("{strict:?}"), format!("{lenient:?}"));
    }
}

fn judge(config: &StreamConfig) {
    let (server, account, assets) = (ServerLimits::default(), Tiers::default(), Assets::default());
    let bytes = ServerBytes { max_memory: -1, max_file: -1, reserved_memory: 0, reserved_file: 0 };
    let rules =
        Rules { server: &server, bytes: &bytes, account: &account, assets: &assets, is_pedantic: false };
    if let Ok(checked) = stream::check(config, &rules) {
        assert_eq!(stream::check(&checked, &rules).expect("it was right"), checked);
    }
}
