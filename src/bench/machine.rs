//! What may falsify a timing: data left in the caches, and a clock that falls while the program runs.

use std::fs;

use rayon::prelude::*;

/// Bytes of the largest cache where the system does not tell.
const ASSUMED: usize = 64 << 20;
/// Elements that one thread writes at a time.
const PIECE: usize = 1 << 16;

/// Drives everything else out of the caches.
#[derive(Debug)]
pub struct Flush {
    buffer: Vec<u64>,
    round: u64,
}

impl Flush {
    /// For this machine: twice its largest cache.
    pub fn new() -> Flush {
        let bytes = 2 * largest_cache().unwrap_or(ASSUMED);
        Flush { buffer: vec![0; bytes / size_of::<u64>()], round: 0 }
    }

    /// Writes the whole buffer, on all cores.
    pub fn run(&mut self) {
        self.round += 1;
        let round = self.round;
        self.buffer.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(|word| *word = round));
        std::hint::black_box(&self.buffer);
    }
}

impl Default for Flush {
    fn default() -> Self {
        Flush::new()
    }
}

/// Bytes of the largest cache of the first core, where Linux tells.
pub fn largest_cache() -> Option<usize> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    caches.filter_map(|cache| size(&fs::read_to_string(cache.ok()?.path().join("size")).ok()?)).max()
}

/// `512K` and `32M` as bytes.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 1 << 10),
        (at, 'M') => (&text[..at], 1 << 20),
        (at, 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// The mean clock of all cores in megahertz, where Linux tells.
pub fn clock_mhz() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let clocks: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect();
    (!clocks.is_empty()).then(|| clocks.iter().sum::<f64>() / clocks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(size("512K\n"), Some(512 << 10));
        assert_eq!(size("32M"), Some(32 << 20));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("big"), None);
        assert_eq!(size(""), None);
    }

    #[test]
    fn a_flush_writes_all_of_its_buffer() {
        let mut flush = Flush { buffer: vec![0; 3 * PIECE / 2], round: 0 };
        flush.run();
        flush.run();
        assert!(flush.buffer.iter().all(|&word| word == 2));
    }
}
