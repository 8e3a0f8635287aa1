//! A row-major product in the words of cublasLt, which is column-major.
//!
//! A row-major matrix is the transpose of the column-major one in the same bytes. So `out = a b` is asked for as
//! `out' = b' a'`: the factors change places, rows and columns change names, and nothing is copied.

use serde::{Deserialize, Serialize};

use crate::device::gpu::{self, Factor, Product, Scaled, Span};
use crate::graph::DType;

/// A matrix as cublasLt is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layout {
    pub rows: u64,
    pub columns: u64,
    /// Elements from one column to the next.
    pub leading: i64,
    pub kind: Kind,
    /// The product reads its transpose.
    pub transposed: bool,
    /// Bytes, a power of two, at most [`ALIGNED`]: some algorithms need more than others.
    pub alignment: u32,
}

/// An element type of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    F32,
    BF16,
    F16,
}

/// The largest alignment that cublasLt distinguishes.
pub const ALIGNED: u32 = 256;

/// Everything that the choice of an algorithm depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    pub first: Layout,
    pub second: Layout,
    pub out: Layout,
    /// The product is added to what `out` holds.
    pub add: bool,
    #[serde(default, skip_serializing_if = "Epilogue::is_none")]
    pub epilogue: Epilogue,
}

/// What the library does beside a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Epilogue {
    #[default]
    None,
    Bias,
    BiasRelu,
    /// Sums over the inner size of the second factor: of the rows of a row-major product's first one.
    RowSums,
}

impl Epilogue {
    fn is_none(&self) -> bool {
        *self == Epilogue::None
    }

    /// Of a product as launch code asks for it.
    fn of(product: &Product) -> Epilogue {
        match &product.epilogue {
            None => Epilogue::None,
            Some(gpu::Epilogue::Bias(_)) => Epilogue::Bias,
            Some(gpu::Epilogue::BiasRelu(_)) => Epilogue::BiasRelu,
            Some(gpu::Epilogue::RowSums(_)) => Epilogue::RowSums,
        }
    }
}

impl Shape {
    /// `addresses` are those of a, b and out. `None` where an element type has no product.
    pub fn of(product: &Product, [a, b, out]: [u64; 3]) -> Option<Shape> {
        let factor = |factor: &Factor, address| layout(&factor.span, factor.transposed, address);
        Some(Shape {
            first: factor(&product.b, b)?,
            second: factor(&product.a, a)?,
            out: layout(&product.out, false, out)?,
            add: product.write == Scaled::Add,
            epilogue: Epilogue::of(product),
        })
    }

    /// For error messages: the product as it was asked for.
    pub fn words(&self) -> String {
        let Shape { first, second, out, .. } = self;
        let factor = |l: &Layout| {
            let turned = if l.transposed { "transposed " } else { "" };
            format!("{turned}{} x {} {:?} (row stride {})", l.columns, l.rows, l.kind, l.leading)
        };
        format!("{} by {} into {}", factor(second), factor(first), factor(out))
    }
}

fn layout(span: &Span, transposed: bool, address: u64) -> Option<Layout> {
    let kind = match span.dtype {
        DType::F32 => Kind::F32,
        DType::BF16 => Kind::BF16,
        DType::F16 => Kind::F16,
        DType::U32 | DType::U8 => return None,
    };
    // The stride of a single row is never walked, but cublasLt wants it to be as long as the row.
    let leading = span.row_stride.max(span.columns);
    Some(Layout {
        rows: span.columns as u64,
        columns: span.rows as u64,
        leading: leading as i64,
        kind,
        transposed,
        alignment: 1 << address.trailing_zeros().min(ALIGNED.trailing_zeros()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::plan::Region;

    fn span(rows: usize, columns: usize, row_stride: usize) -> Span {
        let (name, region) = ("x".into(), Region::Work);
        Span { name, region, offset: 0, rows, columns, row_stride, dtype: DType::BF16 }
    }

    /// What cublasLt is documented to compute, on column-major memory.
    fn column_major(shape: &Shape, first: &[f64], second: &[f64], out: &mut [f64]) {
        let at = |l: &Layout, data: &[f64], row: u64, column: u64| {
            let (row, column) = if l.transposed { (column, row) } else { (row, column) };
            assert!(row < l.rows && column < l.columns && l.leading as u64 >= l.rows);
            data[(row + column * l.leading as u64) as usize]
        };
        let inner = if shape.first.transposed { shape.first.rows } else { shape.first.columns };
        for column in 0..shape.out.columns {
            for row in 0..shape.out.rows {
                let sum: f64 = (0..inner)
                    .map(|k| at(&shape.first, first, row, k) * at(&shape.second, second, k, column))
                    .sum();
                let place = &mut out[(row + column * shape.out.leading as u64) as usize];
                *place = if shape.add { *place + sum } else { sum };
            }
        }
    }

    #[test]
    fn a_row_major_product_is_a_column_major_one_with_its_factors_exchanged() {
        let (m, n, k) = (3, 5, 4);
        for (turn_a, turn_b, add) in
            [(false, false, false), (true, false, true), (false, true, false), (true, true, true)]
        {
            // Strides longer than the rows, as views of packed tensors have them.
            let a =
                if turn_a { Factor::transposed(span(k, m, m + 2)) } else { Factor::new(span(m, k, k + 1)) };
            let b =
                if turn_b { Factor::transposed(span(n, k, k + 3)) } else { Factor::new(span(k, n, n + 1)) };
            let out = span(m, n, n + 4);
            let write = if add { Scaled::Add } else { Scaled::Set };
            let numbers = |len: usize, by: f64| (0..len).map(|i| (i as f64 * by).sin()).collect::<Vec<_>>();
            let (left, right) = (numbers(64, 0.7), numbers(64, 1.3));
            let at = |f: &Factor, data: &[f64], row: usize, column: usize| {
                let (row, column) = if f.transposed { (column, row) } else { (row, column) };
                data[row * f.span.row_stride + column]
            };
            let mut wanted = numbers(64, 0.1);
            for row in 0..m {
                for column in 0..n {
                    let sum: f64 = (0..k).map(|i| at(&a, &left, row, i) * at(&b, &right, i, column)).sum();
                    let place = &mut wanted[row * out.row_stride + column];
                    *place = if add { *place + sum } else { sum };
                }
            }
            let shape = Shape::of(&Product::new(out, write, a, b), [256, 256, 256]).unwrap();
            let mut found = numbers(64, 0.1);
            column_major(&shape, &right, &left, &mut found);
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-12, "{shape:?}");
            }
        }
    }

    #[test]
    fn alignment_and_strides_are_what_the_addresses_and_rows_allow() {
        let product =
            Product::new(span(1, 6, 2), Scaled::Set, Factor::new(span(1, 4, 0)), Factor::new(span(4, 6, 8)));
        let shape = Shape::of(&product, [2, 4096, 48]).unwrap();
        assert_eq!((shape.second.alignment, shape.first.alignment, shape.out.alignment), (2, 256, 16));
        assert_eq!((shape.second.leading, shape.first.leading, shape.out.leading), (4, 8, 6));
        let text = serde_json::to_string(&shape).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), shape);
    }
}
