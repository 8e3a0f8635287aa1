//! Matrix products through the `gemm` crate, with the layouts that the ops need.

use gemm::Parallelism;

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
}
