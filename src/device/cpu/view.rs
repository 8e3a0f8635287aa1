//! Strided views of packed projections: rows are tokens, a head is a range of columns.
//!
//! Queries, keys and values may be columns of one packed buffer, and the heads of one row lie side by side, so two
//! tasks that own different heads write into the same rows. A `&mut [f32]` cannot be split that way; [`ViewMut`]
//! can, and keeps the borrow. Bounds are checked on every row, so a wrong size is a panic, never a stray write.

use std::marker::PhantomData;

/// Rows to read: row `r` starts at `data[r * row_stride]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Starts at the first column of the first row.
    pub data: &'a [f32],
    /// Values from one row to the next.
    pub row_stride: usize,
}

impl<'a> View<'a> {
    /// Columns `column .. column + len` of one row.
    #[inline(always)]
    pub fn row(&self, row: usize, column: usize, len: usize) -> &'a [f32] {
        &self.data[row * self.row_stride + column..][..len]
    }

    /// Asks for the cache lines of [`View::row`], which will be read soon.
    #[inline(always)]
    pub fn ask(&self, row: usize, column: usize, len: usize) {
        ask(self.data.as_ptr().wrapping_add(row * self.row_stride + column), len);
    }
}

/// Brings `len` values from `data` on into the second-level cache, if the processor finds time; where they lie does not
/// matter to it.
#[inline(always)]
fn ask(data: *const f32, len: usize) {
    const LINE: usize = 16;
    for line in (0..len).step_by(LINE) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing that the program could see, and does not fault whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(data.wrapping_add(line).cast());
        }
        // Elsewhere the language has no such instruction yet.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (data, line);
    }
}

/// Rows to write, from several tasks at once.
pub struct ViewMut<'a> {
    data: *mut f32,
    len: usize,
    row_stride: usize,
    columns: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `ViewMut` is a unique borrow of its columns; the only access is `row`, whose callers promise that no two
// rows alive at once share an element.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// All columns of `data`, whose rows lie `row_stride` apart.
    pub fn new(data: &'a mut [f32], row_stride: usize) -> Self {
        let (len, data) = (data.len(), data.as_mut_ptr());
        Self { data, len, row_stride, columns: row_stride, borrow: PhantomData }
    }

    /// `columns` columns of rows that lie `row_stride` apart, from `data` on; `len` values may be addressed.
    ///
    /// # Safety
    /// `len` values from `data` on are initialised and live as long as 'a, and nobody else reads or writes these
    /// columns meanwhile.
    pub(super) unsafe fn from_raw(data: *mut f32, len: usize, row_stride: usize, columns: usize) -> Self {
        Self { data, len, row_stride, columns, borrow: PhantomData }
    }

    /// Neighbouring column ranges of the given widths, each a view of its own: dq, dk, dv of a packed buffer.
    ///
    /// # Panics
    /// If the widths add up to more than `row_stride`.
    pub fn split_columns<const N: usize>(
        data: &'a mut [f32],
        row_stride: usize,
        widths: [usize; N],
    ) -> [Self; N] {
        assert!(widths.iter().sum::<usize>() <= row_stride, "the columns do not fit a row");
        let (total, base) = (data.len(), data.as_mut_ptr());
        let mut first = 0;
        widths.map(|columns| {
            let offset = first.min(total);
            first += columns;
            // SAFETY: `offset` is at most the length of `data`.
            let data = unsafe { base.add(offset) };
            Self { data, len: total - offset, row_stride, columns, borrow: PhantomData }
        })
    }

    /// Asks for the cache lines of a row, which will be written or read soon.
    #[inline(always)]
    pub fn ask(&self, row: usize, column: usize, len: usize) {
        ask(self.data.cast_const().wrapping_add(row * self.row_stride + column), len);
    }

    /// The same columns for a shorter time, so that a view can be used again after a call took it.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { borrow: PhantomData, ..*self }
    }

    /// Columns `column .. column + len` of one row.
    ///
    /// # Safety
    /// No other slice from this view that is alive may share an element with it.
    ///
    /// # Panics
    /// If the range does not lie within the view's columns and rows.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // disjoint by the contract above
    pub unsafe fn row(&self, row: usize, column: usize, len: usize) -> &mut [f32] {
        let start = row * self.row_stride + column;
        assert!(column + len <= self.columns && start + len <= self.len, "row {row} lies outside the view");
        // SAFETY: in bounds by the assertion, borrowed for 'a by construction, unique by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }
}
