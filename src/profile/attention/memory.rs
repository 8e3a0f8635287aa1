//! By how much this process grew, where the system tells (Linux). A pass allocates nothing, so that its level after a
//! run is its highest.

/// A moment from which growth is counted.
#[derive(Debug)]
pub struct Since {
    resident: usize,
}

impl Since {
    pub fn now() -> Option<Since> {
        resident().map(|resident| Since { resident })
    }

    /// Bytes by which the process is larger now.
    pub fn growth(&self) -> Option<usize> {
        resident().map(|now| now.saturating_sub(self.resident))
    }
}

/// Bytes of the process that are in memory.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_held_is_seen() {
        let Some(since) = Since::now() else {
            eprintln!("memory_that_is_held_is_seen: SKIPPED, no /proc/self/status");
            return;
        };
        let held = vec![1u8; 256 << 20];
        std::hint::black_box(&held);
        // Other tests take and give memory at the same time.
        assert!(since.growth().is_some_and(|growth| growth > 128 << 20));
    }
}
