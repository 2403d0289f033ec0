//! How busy this machine is, as far as its system says it in a file that costs nothing to read: Linux. Elsewhere nothing is told.

use std::fs::read_to_string;

/// Parts of all there is, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub processor: f32,
    pub memory: f32,
}

/// Reads the load between one call and the next; the first tells that since the machine's start.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    last: Ticks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl LoadMeter {
    pub fn read(&mut self) -> Load {
        let ticks = read_to_string("/proc/stat").ok().as_deref().and_then(ticks);
        let processor = ticks.map_or(0.0, |now| busy(std::mem::replace(&mut self.last, now), now));
        let memory = read_to_string("/proc/meminfo").ok().as_deref().and_then(memory).unwrap_or_default();
        Load { processor, memory }
    }
}

fn busy(from: Ticks, to: Ticks) -> f32 {
    let (idle, all) = (to.idle.saturating_sub(from.idle), to.all.saturating_sub(from.all));
    if all == 0 { 0.0 } else { (1.0 - idle as f64 / all as f64).clamp(0.0, 1.0) as f32 }
}

/// Of the line of all processors: user nice system idle iowait irq softirq steal.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map_while(|number| number.parse().ok()).collect();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some(Ticks { idle, all: numbers.iter().sum() })
}

fn memory(meminfo: &str) -> Option<f32> {
    let of = |name: &str| -> Option<f64> {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (of("MemTotal:")?, of("MemAvailable:")?);
    (total > 0.0).then(|| (1.0 - available / total).clamp(0.0, 1.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_that_since_the_last_reading() {
        let first = ticks("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 2 3\n").unwrap();
        assert_eq!(first, Ticks { idle: 80, all: 100 });
        let second = ticks("cpu  40 0 10 100 30 20 0 0 9 9\n").unwrap();
        assert_eq!((busy(Ticks::default(), first), busy(first, second), busy(second, second)), (0.2, 0.5, 0.0));
    }

    #[test]
    fn memory_is_what_is_not_available() {
        assert_eq!(memory("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  250 kB\n"), Some(0.75));
    }

    #[test]
    fn files_of_another_kind_say_nothing() {
        assert_eq!((ticks(""), ticks("cpu  1 2\n"), memory("MemTotal: 5 kB")), (None, None, None));
    }
}
