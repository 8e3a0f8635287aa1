//! Matrix products as launch code asks for them.

use super::Span;

/// One factor of a product.
#[derive(Debug, Clone)]
pub struct Factor {
    pub span: Span,
    /// The factor is the transpose of the matrix that lies in memory.
    pub transposed: bool,
}

impl Factor {
    pub fn new(span: Span) -> Factor {
        Factor { span, transposed: false }
    }

    pub fn transposed(span: Span) -> Factor {
        Factor { span, transposed: true }
    }

    /// Rows and columns, as the product sees them.
    pub fn shape(&self) -> (usize, usize) {
        let Span { rows, columns, .. } = self.span;
        if self.transposed { (columns, rows) } else { (rows, columns) }
    }
}

/// What becomes of what the output held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaled {
    /// It is overwritten.
    Set,
    /// The product is added to it.
    Add,
}

/// `out = a b` or `out += a b`, row-major, summed in f32.
#[derive(Debug, Clone)]
pub struct Product {
    pub out: Span,
    pub a: Factor,
    pub b: Factor,
    pub write: Scaled,
}

impl Product {
    /// # Panics
    /// If the shapes do not fit: ops check theirs when they are traced.
    pub fn new(out: Span, write: Scaled, a: Factor, b: Factor) -> Product {
        let ((m, k), (inner, n)) = (a.shape(), b.shape());
        assert!(
            k == inner && (out.rows, out.columns) == (m, n),
            "a product of {m} x {k} and {inner} x {n} into {} x {}",
            out.rows,
            out.columns
        );
        Product { out, a, b, write }
    }
}
