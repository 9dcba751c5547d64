//! Texts recorded from nats-server.
#![allow(clippy::unwrap_used)]

use super::{BAD_REQUEST, EMPTY_REQUEST, Input, MALFORMED_REQUEST};
use crate::wire::requests::Action;
use crate::wire::{ApiError, DeliverPolicy, Discard, Time};

fn input(body: &str) -> Input<'_> {
    Input { body: body.as_bytes(), required_level: None, is_strict: true, is_enabled: true }
}

fn why<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.err_code), (400, 10025), "{error}");
    error.description.strip_prefix("invalid JSON: ").unwrap().to_owned()
}

#[test]
fn syntax() {
    // JS-005
    for (body, text) in [
        ("{", "unexpected EOF"),
        ("nul", "unexpected EOF"),
        ("{\"name\":\"A", "unexpected EOF"),
        ("{\"name\":\"A\"} x", "invalid character 'x' looking for beginning of value at offset 14"),
        (
            "{\"name\":\"A\",}",
            "invalid character '}' looking for beginning of object key string at offset 13",
        ),
        ("{\"name\" \"A\"}", "invalid character '\"' after object key at offset 9"),
        ("{\"name\":\"A\" \"b\":1}", "invalid character '\"' after object key:value pair at offset 13"),
        ("{\"name\":\"A\u{1}\"}", "invalid character '\\x01' in string at offset 11"),
        ("{\"name\":\"\\x\"}", "invalid escape sequence `\\x` in string at offset 11"),
        ("{\"name\":\"\\u12\"}", "invalid escape sequence `\\u12\"}` in string at offset 15"),
        ("{\"name\":tru}", "invalid character '}' in literal true (expecting 'e') at offset 12"),
        ("{\"name\":01}", "invalid character '1' after object key:value pair at offset 10"),
        ("{\"name\":-}", "invalid character '}' in numeric literal at offset 10"),
        ("{\"name\":1.}", "invalid character '}' in numeric literal at offset 11"),
        ("nope", "invalid character 'o' in literal null (expecting 'u') at offset 2"),
        ("\u{feff}{}", "invalid character '\\ufeff' looking for beginning of value at offset 3"),
        ("{'name':1}", "invalid character '\\'' looking for beginning of object key string at offset 2"),
        // Syntax counts before types.
        ("{\"name\":1, x}", "invalid character 'x' looking for beginning of object key string at offset 12"),
    ] {
        assert_eq!(why(input(body).stream_config()), text, "{body}");
    }
}

#[test]
fn types_and_unknown_fields() {
    // JS-005
    let field = |found: &str, path: &str, kind: &str| {
        format!(
            "json: cannot unmarshal {found} into Go struct field StreamConfigRequest.{path} of type {kind}"
        )
    };
    let item = |found: &str, path: &str, kind: &str| {
        format!("json: cannot unmarshal {found} into StreamConfigRequest.{path} of type {kind}")
    };
    let whole = |found: &str| {
        format!("json: cannot unmarshal {found} into Go value of type server.StreamConfigRequest")
    };
    for (body, text) in [
        ("[]", whole("array")),
        ("\"x\"", whole("string")),
        ("1", whole("number")),
        ("{\"foo\":1}", "json: unknown field \"foo\"".to_owned()),
        ("{\"f\\u00f6o\\\"\\n\":1}", "json: unknown field \"f\u{f6}o\\\"\\n\"".to_owned()),
        ("{\"mirror\":{\"foo\":1}}", "json: unknown field \"foo\"".to_owned()),
        ("{\"maxmsgs\":1}", "json: unknown field \"maxmsgs\"".to_owned()),
        ("{\"name\":1}", field("number", "name", "string")),
        ("{\"name\":true}", field("bool", "name", "string")),
        ("{\"max_msgs\":\"x\"}", field("string", "max_msgs", "int64")),
        ("{\"max_msgs\":1.5}", field("number 1.5", "max_msgs", "int64")),
        ("{\"max_bytes\":9223372036854775808}", field("number 9223372036854775808", "max_bytes", "int64")),
        ("{\"max_msg_size\":3000000000}", field("number 3000000000", "max_msg_size", "int32")),
        ("{\"first_seq\":-1}", field("number -1", "first_seq", "uint64")),
        ("{\"max_age\":\"1s\"}", field("string", "max_age", "time.Duration")),
        ("{\"subjects\":\"x\"}", field("string", "subjects", "[]string")),
        ("{\"subjects\":[1]}", item("number", "subjects.0", "string")),
        ("{\"subjects\":[\"a\",{}]}", item("object", "subjects.1", "string")),
        ("{\"sources\":[1]}", item("number", "sources.0", "server.StreamSource")),
        ("{\"sources\":[{\"name\":1}]}", field("number", "sources.0.name", "string")),
        ("{\"mirror\":\"x\"}", field("string", "mirror", "server.StreamSource")),
        ("{\"mirror\":{\"opt_start_seq\":-1}}", field("number -1", "mirror.opt_start_seq", "uint64")),
        ("{\"mirror\":{\"opt_start_time\":1}}", field("number", "mirror.opt_start_time", "time.Time")),
        ("{\"metadata\":[]}", field("array", "metadata", "map[string]string")),
        ("{\"metadata\":{\"a\":1}}", field("number", "metadata.a", "string")),
        ("{\"pedantic\":1}", field("number", "pedantic", "bool")),
        (
            "{\"consumer_limits\":{\"max_ack_pending\":true}}",
            field("bool", "consumer_limits.max_ack_pending", "int"),
        ),
        ("{\"retention\":\"x\"}", "can not unmarshal \"\\\"x\\\"\"".to_owned()),
        ("{\"retention\":null}", "can not unmarshal \"null\"".to_owned()),
        ("{\"retention\":[1, 2]}", "can not unmarshal \"[1, 2]\"".to_owned()),
        ("{\"storage\":\"FILE\"}", "can not unmarshal \"\\\"FILE\\\"\"".to_owned()),
        ("{\"compression\":\"x\"}", "unknown compression algorithm".to_owned()),
        ("{\"compression\":1}", "json: cannot unmarshal number into Go value of type string".to_owned()),
        // The first one counts.
        ("{\"max_msgs\":\"x\",\"foo\":1}", field("string", "max_msgs", "int64")),
        ("{\"foo\":1,\"max_msgs\":\"x\"}", "json: unknown field \"foo\"".to_owned()),
        ("{\"max_msgs\":\"x\"} {", field("string", "max_msgs", "int64")),
    ] {
        assert_eq!(why(input(body).stream_config()), text, "{body}");
    }
}

#[test]
fn what_is_let_through() {
    let body =
        "{\"NAME\":\"A\",\"discard\":\"NEW\",\"max_msgs\":null,\"subjects\":[null,\"b\"],\"max_bytes\":-0}";
    let config = input(body).stream_config().unwrap().config;
    assert_eq!((config.name.as_str(), config.discard, config.max_msgs), ("A", Discard::New, 0));
    assert_eq!(config.subjects, ["", "b"]);
    // Several values go over each other; none is an empty configuration.
    let twice = input("{\"name\":\"A\"}{\"description\":\"x\",\"pedantic\":true}").stream_config().unwrap();
    assert_eq!(
        (twice.config.name.as_str(), twice.config.description.as_str(), twice.pedantic),
        ("A", "x", true)
    );
    for body in ["", "  ", "null", "{}"] {
        assert_eq!(input(body).stream_config().unwrap().config.name, "", "{body}");
    }
    let lenient = Input { is_strict: false, ..input("{\"name\":\"A\",\"foo\":1,\"mirror\":{\"x\":2}}") };
    assert_eq!(lenient.stream_config().unwrap().config.name, "A");
    let wrong = Input { is_strict: false, ..input("{\"name\":\"A\"} x") };
    assert_eq!(why(wrong.stream_config()), "invalid character 'x' after top-level value");
}

#[test]
fn consumers() {
    let body = "{\"stream_name\":\"S\",\"action\":\"update\",\"config\":{\"deliver_policy\":\"undefined\",\
                \"opt_start_time\":\"2020-01-01T00:00:00+01:00\"}}";
    let request = input(body).consumer_create().unwrap();
    assert_eq!((request.action, request.config.deliver_policy), (Action::Update, DeliverPolicy::All));
    assert_eq!(request.config.opt_start_time, Time::parse("2019-12-31T23:00:00Z"));
    for (body, text) in [
        ("{\"action\":\"x\"}", "unknown consumer action: \"x\""),
        ("{\"action\":1}", "unknown consumer action: 1"),
        ("{\"config\":{\"priority_policy\":\"x\"}}", "unknown priority policy: \"x\""),
        (
            "{\"config\":{\"backoff\":[\"x\"]}}",
            "json: cannot unmarshal string into CreateConsumerRequest.config.backoff.0 of type time.Duration",
        ),
        (
            "{\"config\":1}",
            "json: cannot unmarshal number into Go struct field CreateConsumerRequest.config of type \
             server.ConsumerConfig",
        ),
    ] {
        assert_eq!(why(input(body).consumer_create()), text, "{body}");
    }
}

#[test]
fn empty_or_not() {
    // JS-003, JS-004
    for body in ["", "{}", " {} ", "{\n}"] {
        assert_eq!(input(body).empty(), Ok(()), "{body:?}");
        assert_eq!(input(body).msg_delete().unwrap_err().err_code, 10003, "{body:?}");
    }
    for body in ["x", "null", "[]", "{\"a\":1}", " "] {
        assert_eq!(input(body).empty().unwrap_err().err_code, 10038, "{body:?}");
    }
    for body in ["", "x", "1", "\"{}\""] {
        assert_eq!(input(body).stream_names(), Ok(Default::default()), "{body:?}");
    }
    assert_eq!(
        why(input(" \n[]").stream_names()),
        "json: cannot unmarshal array into Go value of type server.JSApiStreamNamesRequest"
    );
    assert_eq!(why(input("{\"subject\":\"x\"}").consumers()), "json: unknown field \"subject\"");
    assert_eq!(input("{\"seq\":1,\"keep\":1}").purge().unwrap_err().err_code, 10003);
}

#[test]
fn gets() {
    // JS-223, JS-233, JS-236
    for body in
        ["{\"batch\":1,\"seq\":1}", "{\"seq\":1,\"last_by_subj\":\"a\"}", "{\"no_hdr\":true}", "{\"seq\":0}"]
    {
        assert_eq!(input(body).msg_get().unwrap_err().err_code, 10003, "{body}");
    }
    assert!(input("{\"seq\":1,\"next_by_subj\":\"a\"}").msg_get().is_ok());
    for (body, status) in [
        ("", EMPTY_REQUEST),
        ("{}", EMPTY_REQUEST),
        ("{\"foo\":1}", EMPTY_REQUEST),
        ("x", MALFORMED_REQUEST),
        ("{\"seq\":\"x\"}", MALFORMED_REQUEST),
        ("{\"last_by_subj\":\"x\",\"seq\":1}", BAD_REQUEST),
        ("{\"last_by_subj\":\"x\",\"batch\":1}", BAD_REQUEST),
        ("{\"seq\":1,\"up_to_seq\":2,\"up_to_time\":\"2020-01-01T00:00:00Z\"}", BAD_REQUEST),
    ] {
        assert_eq!(input(body).direct_get(), Err(status), "{body}");
    }
    assert_eq!(input("{\"seq\":1}").direct_get_last("a"), Err(BAD_REQUEST));
    let request = input("{\"no_hdr\":true,\"foo\":1}").direct_get_last("a.b").unwrap();
    assert_eq!((request.last_by_subj.as_str(), request.no_hdr), ("a.b", true));
}

#[test]
fn unpin_and_reset_are_read_leniently() {
    // JC-164, JC-173
    for (body, text) in [
        ("", "unexpected end of JSON input"),
        ("{}", "consumer group not specified"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{\"group\":\"g\"} x", "invalid character 'x' after top-level value"),
    ] {
        assert_eq!(why(input(body).unpin()), text, "{body}");
    }
    assert_eq!(input("{\"group\":\"a b\"}").unpin().unwrap_err().err_code, 10162);
    assert!(input("{\"group\":\"g\",\"x\":1}").unpin().is_ok());
    assert_eq!(input("").reset().map(|request| request.seq), Ok(0));
    assert_eq!(input("{\"seq\":4,\"x\":1}").reset().map(|request| request.seq), Ok(4));
}

#[test]
fn level_and_account_come_in_their_order() {
    // JS-006, JS-007
    let refused = Input { required_level: Some(b"6"), is_enabled: false, ..input("{") };
    assert_eq!(refused.stream_config().unwrap_err().err_code, 10185);
    assert_eq!(refused.consumer_create().unwrap_err().err_code, 10025);
    assert_eq!(refused.consumer_info().unwrap_err().err_code, 10038);
    let disabled = Input { is_enabled: false, ..input("{") };
    assert_eq!(disabled.stream_config().unwrap_err().err_code, 10039);
}
