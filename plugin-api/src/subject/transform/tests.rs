//! Subjects before and after, checked against nats-server.
use super::Transform;

fn apply(source: &str, destination: &str, subject: &str) -> Option<String> {
    let transform = Transform::new(source, destination).ok()?;
    let mut out = Vec::new();
    let matched = transform.apply(subject.as_bytes(), &mut || 7 << 33, &mut out);
    matched.then(|| String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn functions() {
    for (source, destination, subject, expected) in [
        ("foo.*.*", "bar.$2.$1", "foo.a.b", "bar.b.a"),
        ("foo.*.*", "bar.{{wildcard(2)}}.{{ Wildcard( 1 ) }}", "foo.a.b", "bar.b.a"),
        ("foo.>", "bar.>", "foo.a.b", "bar.a.b"),
        (">", "all.>", "foo.a", "all.foo.a"),
        (">", ">", "x.y", "x.y"),
        ("foo", "bar.baz", "foo", "bar.baz"),
        ("*.>", "$1.x.>", "a.b.c", "a.x.b.c"),
        ("a.*", "{{splitfromleft(1,2)}}", "a.12345", "12.345"),
        ("a.*", "{{SplitFromRight(1,2)}}", "a.12345", "123.45"),
        ("a.*", "{{slicefromleft(1,2)}}", "a.12345", "12.34.5"),
        ("a.*", "{{slicefromright(1,2)}}", "a.12345", "1.23.45"),
        ("a.*", "{{slicefromleft(1,9)}}", "a.12345", "12345"),
        ("a.*", "{{left(1,2)}}-{{x", "a.12345", "{{left(1,2)}}-{{x"),
        ("a.*", "{{left(1,2)}}", "a.12345", "12"),
        ("a.*", "{{right(1,2)}}", "a.12345", "45"),
        ("a.*", "{{split(1,-)}}", "a.-x-y--z-", "x.y.z"),
        ("a.*", "p.{{random(5)}}", "a.b", "p.2"),
        ("a", "p.{{partition(0)}}", "a", "p.0"),
        // Recorded from nats-server: FNV-1a of the tokens without dots.
        ("foo.*.*", "p.{{partition(10,1,2)}}", "foo.a.b", "p.6"),
        ("foo.*.*", "p.{{partition(10)}}", "foo.a.b", "p.4"),
        ("foo.*.*", "p.{{partition(7,2,1)}}", "foo.hello.world", "p.6"),
        ("foo.x", "q.{{partition(5,9)}}", "foo.x", "q.0"),
        ("foo.*", "x.{{partition(-3,1)}}", "foo.12345", "x.1136836824"),
        ("foo.*", "x.$0", "foo.1", "x.foo"),
        ("foo.*", "x.{{ Right( 1 , 2 ) }}", "foo.12345", "x.45"),
    ] {
        assert_eq!(apply(source, destination, subject).as_deref(), Some(expected), "{source} {destination}");
    }
    assert_eq!(apply("foo.*", "bar.$1", "foo.a.b"), None);
}

#[test]
fn errors() {
    let wrong = "invalid mapping destination: ";
    for (source, destination, expected) in [
        ("foo.*", "bar.*", "invalid subject".to_owned()),
        ("foo.>", "bar", "invalid subject".to_owned()),
        ("foo", "bar.$1", format!("{wrong}wildcard index out of range in $1")),
        ("foo.*", "bar.$2", format!("{wrong}wildcard index out of range in $2: [2]")),
        (
            "foo.*",
            "{{wildcard()}}",
            format!("{wrong}not enough arguments passed to the function in {{{{wildcard()}}}}"),
        ),
        (
            "foo.*",
            "{{wildcard(1,2)}}",
            format!("{wrong}too many arguments passed to the function in {{{{wildcard(1,2)}}}}"),
        ),
        (
            "foo.*",
            "{{wildcard(x)}}",
            format!("{wrong}function argument is invalid or in the wrong format in {{{{wildcard(x)}}}}"),
        ),
        ("foo.*", "{{nope(1)}}", format!("{wrong}unknown function in {{{{nope(1)}}}}")),
        ("foo.*", "{{éfoo(1)}}", format!("{wrong}unknown function in {{{{éfoo(1)}}}}")),
        ("foo.*", "a..b", format!("{wrong}invalid transform")),
        ("foo.>", ">.b", format!("{wrong}invalid transform in b")),
        ("foo", "a b", format!("{wrong}invalid transform")),
    ] {
        let error = Transform::checked(source, destination).unwrap_err().to_string();
        assert_eq!(error, expected, "{source} {destination}");
    }
}
