//! What this machine reaches at best, measured: bytes a second of a copy, and FLOP/s of a large matrix product.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::time;
use crate::device::cpu::gemm::{Matrix, Write, product};
use crate::ops::cases::random::normal;

/// Measured ceilings of a device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes a second, read and written, of a copy that no cache holds (on a GPU: of a sum of two tensors).
    pub copy_bytes_per_s: f64,
    /// FLOP/s of a large product of matrices in the device's storage type.
    pub matmul_flop_per_s: f64,
}

impl Ceilings {
    /// What a sum of this many operations and bytes takes at least, in seconds, and which of the two says so.
    pub fn floor(&self, flops: f64, bytes: f64) -> (f64, &'static str) {
        let (arithmetic, memory) = (flops / self.matmul_flop_per_s, bytes / self.copy_bytes_per_s);
        if memory > arithmetic { (memory, "memory") } else { (arithmetic, "arithmetic") }
    }
}

/// Elements of the copy: 256 MB, above any last-level cache's share.
const COPIED: usize = 64 << 20;
const SIDE: usize = 1024;
/// Elements in one piece of the copy.
const PIECE: usize = 1 << 16;
const SECONDS: f64 = 0.5;

/// Measures both on the CPU, in about a second.
pub fn measure() -> Ceilings {
    measure_in(SECONDS)
}

/// As [`measure`], in about this many seconds for each.
pub fn measure_in(seconds: f64) -> Ceilings {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let copy = time(seconds, 3, || {
        to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    let (a, b) = (normal(1, SIDE * SIDE, 1.0), normal(2, SIDE * SIDE, 1.0));
    let mut c = vec![0.0; SIDE * SIDE];
    let gemm = time(seconds, 3, || {
        product(&mut c, Write::Set, Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE));
    });
    Ceilings {
        copy_bytes_per_s: 8.0 * COPIED as f64 / (copy.min_ms * 1e-3),
        matmul_flop_per_s: 2.0 * (SIDE as f64).powi(3) / (gemm.min_ms * 1e-3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_memory_and_arithmetic_is_the_bound() {
        let ceilings = Ceilings { copy_bytes_per_s: 10.0, matmul_flop_per_s: 100.0 };
        assert_eq!(ceilings.floor(100.0, 20.0), (2.0, "memory"));
        assert_eq!(ceilings.floor(1000.0, 20.0), (10.0, "arithmetic"));
    }
}
