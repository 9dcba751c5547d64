//! The trie against a plain list of patterns.

use super::*;

fn found(trie: &Trie, subject: &str) -> Vec<u32> {
    let mut v = vec![];
    trie.matches(subject.as_bytes(), |_, s| v.push(s.index));
    v.sort();
    let mut batch = vec![];
    let mut steps = vec![(0, 0, 0)];
    trie.match_batch(|_| subject.as_bytes(), &mut steps, &mut vec![], |_, s| batch.push(s.index));
    batch.sort();
    assert_eq!(v, batch);
    v
}

#[test]
fn wildcards_match_as_core_150_says() {
    let mut t = Trie::default();
    for (i, s) in ["a.b", "a.*", "a.>", ">", "*.b", "a*b", "a.averylongtokenindeed.c"].iter().enumerate() {
        t.insert(s.as_bytes(), b"", 0, Sid::long(0), i as u32);
    }
    assert_eq!(found(&t, "a.b"), [0, 1, 2, 3, 4]);
    assert_eq!(found(&t, "a"), [3]);
    assert_eq!(found(&t, "a*b"), [3, 5]);
    assert_eq!(found(&t, "a.averylongtokenindeed.c"), [2, 3, 6]);
    assert_eq!(found(&t, "a.*"), [1, 2, 3]);
}

#[test]
fn random_inserts_and_removes_agree_with_a_plain_list() {
    let mut t = Trie::default();
    let mut live: Vec<(u32, String, u32)> = vec![];
    let mut x = 88172645463325252u64;
    let mut rnd = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 20) % n
    };
    let tokens = ["a", "b", "*", "a-token-longer-than-eleven", "c"];
    for i in 0..4000u32 {
        if rnd(3) > 0 || live.is_empty() {
            let mut s: Vec<&str> = (0..1 + rnd(4)).map(|_| tokens[rnd(5) as usize]).collect();
            if rnd(6) == 0 {
                s.push(">");
            }
            let s = s.join(".");
            let n = t.insert(s.as_bytes(), b"", 0, Sid::long(0), i);
            assert_eq!(t.subject(n), s.as_bytes());
            live.push((n, s, i));
        } else {
            let k = rnd(live.len() as u64) as usize;
            t.remove(live.swap_remove(k).0);
        }
        if i % 16 == 0 {
            let subject =
                (0..1 + rnd(4)).map(|_| ["a", "b", "c", "a-token-longer-than-eleven"][rnd(4) as usize]);
            let subject = subject.collect::<Vec<_>>().join(".");
            let mut want: Vec<u32> = live.iter().filter(|l| naive(&l.1, &subject)).map(|l| l.2).collect();
            want.sort();
            assert_eq!(found(&t, &subject), want, "{subject}");
        }
    }
    for (n, ..) in live {
        t.remove(n);
    }
    assert_eq!((t.len(), t.edges_used, t.free_nodes.len() + 1), (0, 0, t.nodes.len()));
}

fn naive(pattern: &str, subject: &str) -> bool {
    let (mut p, mut s) = (pattern.split('.'), subject.split('.'));
    loop {
        match (p.next(), s.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
