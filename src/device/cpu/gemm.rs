//! Matrix products through the `gemm` crate, with the layouts that the ops need.

use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

use super::parallel;

/// A matrix operand: `rows x columns`, element (i, j) at `data[i * row_stride + j * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows one after another.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Row-major with `row_stride` elements from one row to the next.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let last = if rows * columns == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(
            last <= data.len(),
            "a matrix of {rows} x {columns} needs {last} elements, not {}",
            data.len()
        );
        Matrix { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The transpose, without a copy.
    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some of its rows.
    pub fn some_rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        Matrix { data: &self.data[rows.start * self.row_stride..], rows: rows.len(), ..self }
    }
}

/// Whether a product adds to what is there or overwrites it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Set,
    Add,
}

/// `out = a b` or `out += a b`, `out` row-major and contiguous, on all cores.
///
/// Repeats bit for bit: the cores share rows and columns, never the inner sum.
pub fn product(out: &mut [f32], write: Write, a: Matrix, b: Matrix) {
    product_with(out, write, a, b, Parallelism::Rayon(0));
}

/// Rows from which a product is cut into strips of rows.
const TALL: usize = 1024;
/// Strips come in such numbers, so that they are shared evenly among as many cores; most rows of a strip.
const STRIPS: usize = 16;
const STRIP_ROWS: usize = 512;

/// Rows of a strip of a product of so many rows on so many cores; all of them where it is not tall, or the cores too many.
fn strip(rows: usize, cores: usize) -> usize {
    let strips = if rows < 2 * TALL { STRIPS / 2 } else { STRIPS * rows.div_ceil(STRIPS * STRIP_ROWS) };
    if rows < TALL || strips < cores { rows.max(1) } else { rows.div_ceil(strips) }
}

/// Sizes up to which the crate cuts the inner sum in another way.
const SMALL: usize = 64;
/// Most columns of a strip of a weight's gradient.
const STRIP_COLUMNS: usize = 256;

/// `out = a b`, and `finish(first_row, rows_of_out)` with the widest vector instructions on pieces of its rows, on all cores.
///
/// A tall product goes strip by strip, each on one core: they need not wait for each other, as they do inside a shared
/// product, and a strip is finished while it is in the cache. The crate cuts the inner sum by its length alone, so strips
/// give the bits of the whole.
pub fn product_finished(out: &mut [f32], a: Matrix, b: Matrix, finish: impl Fn(usize, &mut [f32]) + Sync) {
    let width = b.columns;
    let strip = strip(a.rows, rayon::current_num_threads());
    let out = &mut out[..a.rows * width];
    if strip >= a.rows {
        product(out, Write::Set, a, b);
        return parallel::rows(out, width, finish);
    }
    out.par_chunks_mut(strip * width).enumerate().for_each(|(n, out)| {
        let first = n * strip;
        product_here(out, Write::Set, a.some_rows(first..first + out.len() / width), b);
        parallel::vectorized(
            #[inline(always)]
            || finish(first, out),
        );
    });
}

/// As [`product_finished`], after `begin(first_row, rows_of_a)` has made the rows of `a`, which are row-major.
pub fn product_begun(
    out: &mut [f32],
    a: &mut [f32],
    columns: usize,
    b: Matrix,
    begin: impl Fn(usize, &mut [f32]) + Sync,
) {
    let (width, rows) = (b.columns, a.len() / columns);
    let strip = strip(rows, rayon::current_num_threads());
    if strip >= rows {
        parallel::rows(a, columns, begin);
        return product(out, Write::Set, Matrix::new(a, rows, columns), b);
    }
    let strips = out.par_chunks_mut(strip * width).zip(a.par_chunks_mut(strip * columns));
    strips.enumerate().for_each(|(n, (out, a))| {
        parallel::vectorized(
            #[inline(always)]
            || begin(n * strip, a),
        );
        product_here(out, Write::Set, Matrix::new(a, a.len() / columns, columns), b);
    });
}

/// `out += a^T b` of two tall row-major matrices, the gradient of a weight: strips of columns of `a`, each on one core with
/// the whole inner sum, where there are enough for all cores. (In a shared product the cores wait for each other after every
/// piece of the long inner sum: as fast while nothing else runs, half as fast where something does.)
pub fn product_of_transposed(out: &mut [f32], a: Matrix, b: Matrix) {
    let a = a.transposed();
    let (rows, width) = (a.rows, b.columns);
    let strip = rows.div_ceil(rayon::current_num_threads()).next_multiple_of(16).min(STRIP_COLUMNS);
    if strip <= SMALL || width <= SMALL {
        return product(out, Write::Add, a, b);
    }
    out[..rows * width].par_chunks_mut(strip * width).enumerate().for_each(|(n, out)| {
        let first = n * strip;
        product_here(out, Write::Add, a.some_rows(first..first + out.len() / width), b);
    });
}

/// As [`product`], on the calling thread alone: for products inside a parallel piece.
pub fn product_here(out: &mut [f32], write: Write, a: Matrix, b: Matrix) {
    product_with(out, write, a, b, Parallelism::None);
}

fn product_with(out: &mut [f32], write: Write, a: Matrix, b: Matrix, parallelism: Parallelism) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner sizes of a product: {m}x{k} and {}x{n}", b.rows);
    assert!(out.len() >= m * n, "a product of {m}x{n} into {} elements", out.len());
    let alpha = if write == Write::Add { 1.0 } else { 0.0 };
    // SAFETY: `Matrix::strided` and the assertion above checked that every element addressed lies in its slice;
    // `out` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            alpha,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_adds_and_transposes() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, 0.0, 1.0]);
        let mut out = [f32::NAN; 4];
        product(&mut out, Write::Set, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 2));
        assert_eq!(out, [5.0, 5.0, 14.0, 11.0]);
        product(&mut out, Write::Add, Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3).transposed());
        assert_eq!(out, [5.0 + 7.0, 5.0 + 4.0, 14.0 + 16.0, 11.0 + 10.0]);
    }

    fn values(seed: usize, len: usize) -> Vec<f32> {
        (0..len).map(|e| ((e * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
    }

    #[test]
    fn strips_cover_every_row_once_and_are_shared_evenly() {
        for rows in [0, 1, 1023, 1024, 1025, 2047, 2048, 3136, 16_000, 262_144] {
            let strip = strip(rows, 2);
            assert!(strip > 0 && (rows < TALL || SMALL < strip && strip <= STRIP_ROWS), "{rows}: {strip}");
            let last = rows.div_ceil(strip).saturating_sub(1) * strip;
            assert!(rows == 0 || last < rows, "{rows}: {strip}");
        }
        assert_eq!((strip(3136, 16), strip(16_000, 2), strip(3136, 17)), (196, 500, 3136));
    }

    #[test]
    fn strips_give_the_whole_products_bits() {
        for (rows, inner, width) in
            [(1024, 40, 24), (2050, 33, 7), (1500, 130, 300), (700, 64, 128), (1, 3, 5)]
        {
            let (x, w) = (values(1, rows * inner), values(2, inner * width));
            let (a, b) = (Matrix::new(&x, rows, inner), Matrix::new(&w, inner, width));
            let mut whole = vec![f32::NAN; rows * width];
            product_here(&mut whole, Write::Set, a, b);
            whole.iter_mut().for_each(|v| *v += 1.0);
            let mut finished = vec![f32::NAN; rows * width];
            product_finished(&mut finished, a, b, |_, rows| rows.iter_mut().for_each(|v| *v += 1.0));
            assert!(finished == whole, "{rows} x {inner} x {width}");
            // Made of the numbers of its rows, while it is multiplied.
            let (mut made, mut begun) = (vec![f32::NAN; rows * inner], vec![f32::NAN; rows * width]);
            product_begun(&mut begun, &mut made, inner, b, |first, rows| {
                rows.copy_from_slice(&x[first * inner..][..rows.len()]);
            });
            begun.iter_mut().for_each(|v| *v += 1.0);
            assert!(begun == whole && made == x, "{rows} x {inner} x {width}");
        }
    }

    #[test]
    fn a_weights_gradient_adds_the_sum_over_all_rows_whatever_the_number_of_cores() {
        for (rows, outputs, inputs) in
            [(1000, 300, 70), (1500, 130, 65), (1200, 130, 33), (77, 64, 5), (1, 1, 1)]
        {
            let (dy, x) = (values(3, rows * outputs), values(4, rows * inputs));
            let (a, b) = (Matrix::new(&dy, rows, outputs), Matrix::new(&x, rows, inputs));
            let gradient = |threads| {
                let mut dw = vec![1.0; outputs * inputs];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| product_of_transposed(&mut dw, a, b));
                dw
            };
            let dw = gradient(1);
            for (n, dw) in dw.iter().enumerate() {
                let (o, i) = (n / inputs, n % inputs);
                let sum: f64 =
                    (0..rows).map(|r| f64::from(dy[r * outputs + o]) * f64::from(x[r * inputs + i])).sum();
                assert!(
                    (f64::from(*dw) - 1.0 - sum).abs() < 1e-4,
                    "{rows}: dw[{o}, {i}] is {dw}, not 1 + {sum}"
                );
            }
            let mut shared = vec![1.0; outputs * inputs];
            product(&mut shared, Write::Add, a.transposed(), b);
            assert!(dw == shared, "strips against the shared product, {rows} x {outputs} x {inputs}");
            assert!(
                [2, 3, 5].map(gradient).iter().all(|other| *other == dw),
                "{rows} x {outputs} x {inputs}"
            );
        }
    }
}
