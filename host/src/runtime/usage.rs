//! What the process uses of the machine, as Linux tells in `/proc/self`.

use super::clock::now_ns;
use parking_lot::Mutex;

/// A share of the processor is taken over at least this long.
const INTERVAL_NS: u64 = 1_000_000_000;
/// The unit of times in `/proc/self/stat`: Linux shows hundredths of a second on every machine.
const TICK_NS: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident, not virtual.
    pub mem_bytes: u64,
    /// Of one core; with several cores it may be above 100.
    pub cpu_percent: f64,
    pub cores: usize,
}

/// The last measurement of processor time.
struct Measured {
    at_ns: u64,
    busy_ns: u64,
    percent: f64,
}

static LAST: Mutex<Measured> = Mutex::new(Measured { at_ns: 0, busy_ns: 0, percent: 0.0 });

/// As of now; the processor's share since the last call that was more than a second ago. What cannot be read is 0.
pub fn usage() -> Usage {
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    Usage {
        mem_bytes: resident_bytes(&read("/proc/self/status")),
        cpu_percent: cpu_percent(now_ns(), busy_ns(&read("/proc/self/stat"))),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

fn cpu_percent(now_ns: u64, busy_ns: u64) -> f64 {
    let mut last = LAST.lock();
    let elapsed_ns = now_ns.saturating_sub(last.at_ns);
    if elapsed_ns >= INTERVAL_NS {
        let busy = busy_ns.saturating_sub(last.busy_ns) as f64;
        let tenths = (busy / elapsed_ns as f64 * 1000.0).round();
        *last = Measured { at_ns: now_ns, busy_ns, percent: tenths / 10.0 };
    }
    last.percent
}

fn resident_bytes(status: &str) -> u64 {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = kilobytes.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn busy_ns(stat: &str) -> u64 {
    let (user_ns, system_ns) = times_ns(stat);
    user_ns + system_ns
}

/// User and system time, of the `stat` of a process or thread, whose name stands in parentheses and may hold anything.
pub(super) fn times_ns(stat: &str) -> (u64, u64) {
    let Some((_, fields)) = stat.rsplit_once(") ") else { return (0, 0) };
    // The 14th and 15th field of the line; `fields` starts with the third.
    let mut times_ns = fields.split(' ').skip(11).map(|field| field.parse::<u64>().unwrap_or(0) * TICK_NS);
    (times_ns.next().unwrap_or(0), times_ns.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   14872 kB\nVmSwap:\t 0 kB\n"), 14872 * 1024);
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0";
        assert_eq!(busy_ns(stat), 2_000_000_000);
        assert_eq!((resident_bytes(""), busy_ns("")), (0, 0));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = usage();
        assert!(usage.mem_bytes > 1 << 20 && usage.cores > 0);
    }
}
