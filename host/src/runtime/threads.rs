//! The threads of the process and what they are doing, as Linux tells in `/proc/self/task`.

use super::usage::times_ns;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Thread {
    /// As tools of the system show it.
    pub id: u64,
    pub name: String,
    /// `running`, `sleeping`, ….
    pub state: &'static str,
    /// Where in the kernel it waits; empty if it does not, or the system does not tell.
    pub waits_in: String,
    pub user_ns: u64,
    pub system_ns: u64,
}

/// By their ids. One that ends meanwhile is left out.
pub fn threads() -> Vec<Thread> {
    let listed = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut ids: Vec<u64> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter().filter_map(thread).collect()
}

fn thread(id: u64) -> Option<Thread> {
    let read = |what: &str| std::fs::read_to_string(format!("/proc/self/task/{id}/{what}"));
    let stat = read("stat").ok()?;
    let state = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let waits_in = read("wchan").unwrap_or_default();
    let (user_ns, system_ns) = times_ns(&stat);
    Some(Thread {
        id,
        name: read("comm").ok()?.trim_end().to_owned(),
        state: match state.as_bytes().first() {
            Some(b'R') => "running",
            Some(b'S') => "sleeping",
            Some(b'D') => "disk sleep",
            Some(b'T' | b't') => "stopped",
            _ => "unknown",
        },
        waits_in: if waits_in == "0" { String::new() } else { waits_in },
        user_ns,
        system_ns,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::threads;

    #[test]
    fn the_thread_that_asks_is_among_them_and_runs() {
        let work = std::thread::Builder::new().name("asks".to_owned()).spawn(threads);
        let threads = work.unwrap().join().unwrap();
        let own: Vec<_> = threads.iter().filter(|thread| thread.name == "asks").collect();
        assert!(matches!(own[..], [own] if own.state == "running" && own.id > 0), "{threads:?}");
        assert!(threads.is_sorted_by_key(|thread| thread.id));
    }
}
