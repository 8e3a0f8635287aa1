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

/// What a product does beside, while its numbers are at hand.
#[derive(Debug, Clone)]
pub enum Epilogue {
    /// A row of as many elements as `out` has columns, of its type, is added to each row of the product.
    Bias(Span),
    /// The same, and what is below 0 becomes 0.
    BiasRelu(Span),
    /// f32, as many as `a` has rows: the sum of each, written over what was there.
    RowSums(Span),
}

impl Epilogue {
    /// What it reads or writes.
    pub fn span(&self) -> &Span {
        match self {
            Epilogue::Bias(span) | Epilogue::BiasRelu(span) | Epilogue::RowSums(span) => span,
        }
    }
}

/// `out = a b` or `out += a b`, row-major, summed in f32. An epilogue works on the sum before it is rounded.
#[derive(Debug, Clone)]
pub struct Product {
    pub out: Span,
    pub a: Factor,
    pub b: Factor,
    pub write: Scaled,
    pub epilogue: Option<Epilogue>,
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
        Product { out, a, b, write, epilogue: None }
    }

    /// The same with an epilogue.
    ///
    /// # Panics
    /// If its span has another length.
    pub fn with(mut self, epilogue: Epilogue) -> Product {
        let wanted = match epilogue {
            Epilogue::RowSums(_) => self.a.shape().0,
            _ => self.out.columns,
        };
        assert_eq!(epilogue.span().len(), wanted, "elements of an epilogue");
        self.epilogue = Some(epilogue);
        self
    }
}
