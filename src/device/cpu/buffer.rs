//! A zeroed region of memory that starts on a cache line.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::graph::plan::ALIGNMENT;

const ALIGNED: NonZeroUsize = NonZeroUsize::new(ALIGNMENT).unwrap();

/// From here on a buffer asks for huge pages (2 MiB): rows of attention's classes and of transposed products lie further
/// apart than a page of 4 KiB, so that each of them would need an address translation of its own.
const HUGE: usize = 4 << 20;

/// Owned bytes, aligned for every element type and for whole vectors.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
    /// What the bytes are part of, where they are many; else they are the allocator's.
    map: Option<MmapMut>,
}

// SAFETY: a Buffer owns its memory alone, like a Vec<u8>.
unsafe impl Send for Buffer {}
// SAFETY: shared references only read, like a Vec<u8>'s.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `bytes` zeroes. Large ones cost nothing until they are touched.
    pub fn new(bytes: usize) -> Buffer {
        if bytes == 0 {
            // No memory, but aligned as if there were, so that an empty buffer casts to any element type.
            return Buffer { start: NonNull::without_provenance(ALIGNED), bytes, map: None };
        }
        let layout = Self::layout(bytes);
        if bytes >= HUGE {
            let Ok(mut map) = MmapMut::map_anon(bytes) else { handle_alloc_error(layout) };
            // Where the system has none, its own pages do.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            // A map begins on a page, and is not null.
            let start = NonNull::new(map.as_mut_ptr()).expect("a mapped address");
            return Buffer { start, bytes, map: Some(map) };
        }
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Buffer { start, bytes, map: None }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGNMENT).expect("a size that fits the address space")
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The first byte. Writing through it is up to the executor, see [`super::Args`].
    pub(in crate::device) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` initialised bytes start here, and nobody writes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes > 0 && self.map.is_none() {
            // SAFETY: allocated in `new` with this very layout.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
        }
    }
}
