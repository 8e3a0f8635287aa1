//! What this machine reaches at best, measured: bytes a second of a copy, and FLOP/s of a large matrix product.

use rayon::prelude::*;
use serde::Serialize;

use super::time;
use crate::device::cpu::gemm::{Matrix, Write, product};
use crate::ops::cases::random::normal;

/// Measured ceilings of the CPU device.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ceiling {
    /// Bytes a second, read and written, of a copy that no cache holds.
    pub bytes_per_second: f64,
    /// Of a 1024-cubed f32 product.
    pub flops_per_second: f64,
}

/// Elements of the copy: 256 MB, above any last-level cache's share.
const COPIED: usize = 64 << 20;
const SIDE: usize = 1024;
/// Elements in one piece of the copy.
const PIECE: usize = 1 << 16;
const SECONDS: f64 = 0.5;

/// Measures both, in about a second.
pub fn measure() -> Ceiling {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let copy = time(SECONDS, 3, || {
        to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    let (a, b) = (normal(1, SIDE * SIDE, 1.0), normal(2, SIDE * SIDE, 1.0));
    let mut c = vec![0.0; SIDE * SIDE];
    let gemm = time(SECONDS, 3, || {
        product(&mut c, Write::Set, Matrix::new(&a, SIDE, SIDE), Matrix::new(&b, SIDE, SIDE));
    });
    Ceiling {
        bytes_per_second: 8.0 * COPIED as f64 / (copy.min_ms * 1e-3),
        flops_per_second: 2.0 * (SIDE as f64).powi(3) / (gemm.min_ms * 1e-3),
    }
}
