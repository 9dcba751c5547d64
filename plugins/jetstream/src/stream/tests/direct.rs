//! Reading messages: for the API and directly.

use super::Rig;
use crate::stream::GetRequest;
use crate::wire::Time;

fn rig() -> Rig {
    let mut rig = Rig::new(|_| {});
    for (n, (subject, lines)) in
        [("s.a", &[][..]), ("s.b", &["X: y"]), ("s.a", &[]), ("s.c", &[]), ("s.a", &["X: z"]), ("s.b.c", &[])]
            .into_iter()
            .enumerate()
    {
        rig.publish(subject, lines, &format!("body{}", n + 1));
    }
    rig
}

/// Each answer: the headers without those that are always there, and the payload.
fn ask(rig: &mut Rig, subject: &str, body: &str) -> Vec<String> {
    let subject = format!("$JS.API.DIRECT.GET.S{subject}");
    rig.call(|stream, call| stream.direct_get(subject.as_bytes(), b"", body.as_bytes(), b"r", call));
    let short = |headers: &str| {
        let lines = headers.split("\r\n").filter(|line| {
            !["Nats-Stream", "Nats-Time-Stamp", "Nats-Subject"].iter().any(|name| line.starts_with(name))
        });
        let text = lines.collect::<Vec<_>>().join(" ").replace("NATS/1.0 ", "").replace("Nats-", "");
        text.trim_end().to_owned()
    };
    rig.said().into_iter().map(|(_, headers, payload)| format!("{}|{payload}", short(&headers))).collect()
}

#[test]
fn one_message_with_where_it_was_stored() {
    let mut rig = rig();
    rig.call(|stream, call| stream.direct_get(b"$JS.API.DIRECT.GET.S.s.b", b"", b"", b"r", call));
    let headers = "NATS/1.0\r\nX: y\r\nNats-Stream: S\r\nNats-Subject: s.b\r\nNats-Sequence: 2\r\n\
                   Nats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n";
    assert_eq!(rig.said(), [("r".to_owned(), headers.to_owned(), "body2".to_owned())]);
    for (body, expected) in [
        (r#"{"seq":1}"#, "Sequence: 1|body1"),
        (r#"{"seq":2,"no_hdr":true}"#, "|body2"),
        (r#"{"last_by_subj":"s.*"}"#, "X: z Sequence: 5|body5"),
        (r#"{"next_by_subj":"s.b"}"#, "X: y Sequence: 2|body2"),
        (r#"{"start_time":"2020-01-01T00:00:00Z"}"#, "Sequence: 1|body1"),
        (r#"{"seq":99}"#, "404 Message Not Found|"),
        ("", "408 Empty Request|"),
        ("{}", "408 Empty Request|"),
        (r#"{"batch":2}"#, "408 Empty Request|"),
        ("x", "408 Malformed Request|"),
        ("[]", "408 Malformed Request|"),
        (r#"{"seq":1,"last_by_subj":"a"}"#, "408 Bad Request|"),
        (r#"{"multi_last":["s.a"],"last_by_subj":"a"}"#, "408 Bad Request|"),
    ] {
        assert_eq!(ask(&mut rig, "", body), [expected], "{body}");
    }
    assert_eq!(ask(&mut rig, ".s.a", r#"{"seq":1}"#), ["408 Bad Request|"]);
    assert_eq!(ask(&mut rig, ".zz", ""), ["404 Message Not Found|"]);
}

#[test]
fn a_batch_says_how_much_is_left() {
    let mut rig = rig();
    assert_eq!(
        ask(&mut rig, "", r#"{"seq":1,"next_by_subj":"s.a","batch":2}"#),
        [
            "Sequence: 1 Num-Pending: 2 Last-Sequence: 0|body1",
            "Sequence: 3 Num-Pending: 1 Last-Sequence: 1|body3",
            "204 EOB Num-Pending: 1 Last-Sequence: 3|",
        ]
    );
    assert_eq!(ask(&mut rig, "", r#"{"seq":4,"batch":10,"max_bytes":1}"#).len(), 2);
    assert_eq!(ask(&mut rig, "", r#"{"seq":99,"batch":10}"#), ["404 Message Not Found|"]);
}

#[test]
fn the_last_of_several_subjects() {
    let mut rig = rig();
    assert_eq!(
        ask(&mut rig, "", r#"{"multi_last":["s.*"],"no_hdr":true}"#),
        [
            "X: y Sequence: 2 Num-Pending: 2 Last-Sequence: 0|body2",
            "Sequence: 4 Num-Pending: 1 Last-Sequence: 2|body4",
            "X: z Sequence: 5 Num-Pending: 0 Last-Sequence: 4|body5",
            "204 EOB Num-Pending: 0 Last-Sequence: 5 UpTo-Sequence: 6|",
        ]
    );
    assert_eq!(
        ask(&mut rig, "", r#"{"multi_last":["s.a","s.b"],"up_to_seq":3,"batch":1}"#),
        [
            "X: y Sequence: 2 Num-Pending: 1 Last-Sequence: 0|body2",
            "204 EOB Num-Pending: 1 Last-Sequence: 2 UpTo-Sequence: 3|",
        ]
    );
    for body in [r#"{"multi_last":["zz"]}"#, r#"{"multi_last":["s.*"],"up_to_time":"2020-01-01T00:00:00Z"}"#]
    {
        assert_eq!(ask(&mut rig, "", body), ["404 No Results|"], "{body}");
    }
}

#[test]
fn the_api_gets_one_message() {
    let mut rig = rig();
    let mut get = |change: &dyn Fn(&mut GetRequest)| {
        let mut request = GetRequest::default();
        change(&mut request);
        rig.stream.get_message(&request).map(|message| message.seq).map_err(|why| why.err_code)
    };
    assert_eq!(get(&|_| {}), Err(10003));
    assert_eq!(get(&|request| request.seq = 3), Ok(3));
    assert_eq!(get(&|request| request.seq = 99), Err(10037));
    assert_eq!(get(&|request| request.last_by_subj = "s.a".to_owned()), Ok(5));
    assert_eq!(get(&|request| request.start_time = Time::parse("2020-01-01T00:00:00Z")), Ok(1));
    assert_eq!(
        get(&|request| {
            request.seq = 2;
            request.next_by_subj = "s.a".to_owned();
        }),
        Ok(3)
    );
    assert_eq!(
        get(&|request| {
            request.seq = 2;
            request.batch = 1;
        }),
        Err(10003)
    );
}
