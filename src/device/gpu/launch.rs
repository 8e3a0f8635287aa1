//! A kernel's launch: its parameters in order, and its grid.

use super::Backend;
use crate::graph::DType;
use crate::graph::plan::Region;
use crate::{Error, Result};

/// Rows of elements in a device's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// For error messages.
    pub name: String,
    pub region: Region,
    /// Bytes from the region's start.
    pub offset: usize,
    pub rows: usize,
    pub columns: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    pub dtype: DType,
}

impl Span {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes from the first element to the end of the last one.
    pub fn bytes(&self) -> usize {
        match self.len() {
            0 => 0,
            _ => ((self.rows - 1) * self.row_stride + self.columns) * self.dtype.bytes(),
        }
    }

    /// The same elements of a flat f32 parameter, in the region that holds its copy in `storage`.
    pub(super) fn copy_in(mut self, storage: DType) -> Span {
        self.region = Region::Copy;
        self.offset = self.offset / DType::F32.bytes() * storage.bytes();
        self.dtype = storage;
        self
    }

    /// The name of the element type in kernels' names.
    ///
    /// # Panics
    /// If it is no floating point type.
    pub fn suffix(&self) -> &'static str {
        match self.dtype {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            DType::U32 | DType::U8 => panic!("{}: no kernel is named after its type", self.name),
        }
    }
}

/// One parameter of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// A tensor that the kernel only reads, or that it writes.
    Tensor {
        span: Span,
        writable: bool,
    },
    /// A tensor that is not there: null. `writable` as the kernel declares it.
    Absent {
        writable: bool,
    },
    Word(u32),
    Float(f32),
    Long(u64),
    /// A struct by value.
    Bytes(Vec<u8>),
}

/// A launch in the making.
#[must_use = "a launch happens when `grid` is called"]
pub struct Launch<'l> {
    name: String,
    params: Vec<Param>,
    backend: &'l mut dyn Backend,
}

impl<'l> Launch<'l> {
    pub(super) fn new(name: &str, backend: &'l mut dyn Backend) -> Self {
        Launch { name: name.into(), params: Vec::new(), backend }
    }

    /// The next parameter: a tensor that the kernel writes.
    pub fn out(mut self, span: Span) -> Self {
        self.params.push(Param::Tensor { span, writable: true });
        self
    }

    /// As [`Launch::out`]; null where there is none.
    pub fn out_or_null(mut self, span: Option<Span>) -> Self {
        self.params.push(match span {
            Some(span) => Param::Tensor { span, writable: true },
            None => Param::Absent { writable: true },
        });
        self
    }

    /// The next parameter: a tensor that the kernel only reads.
    pub fn read(mut self, span: Span) -> Self {
        self.params.push(Param::Tensor { span, writable: false });
        self
    }

    /// As [`Launch::read`]; null where there is none.
    pub fn read_or_null(mut self, span: Option<Span>) -> Self {
        self.params.push(match span {
            Some(span) => Param::Tensor { span, writable: false },
            None => Param::Absent { writable: false },
        });
        self
    }

    /// The next parameter: a size, `int` or `unsigned` in the kernel.
    ///
    /// # Panics
    /// If it is above the largest `int`.
    pub fn size(mut self, value: usize) -> Self {
        let value = i32::try_from(value).expect("a size that fits an int: ops refuse larger ones");
        self.params.push(Param::Word(value as u32));
        self
    }

    /// The next parameter: any 32 bits.
    pub fn word(mut self, value: u32) -> Self {
        self.params.push(Param::Word(value));
        self
    }

    pub fn float(mut self, value: f32) -> Self {
        self.params.push(Param::Float(value));
        self
    }

    /// The next parameter: `uint64_t` in the kernel.
    pub fn long(mut self, value: u64) -> Self {
        self.params.push(Param::Long(value));
        self
    }

    /// The next parameter: a struct by value, whose Rust form is laid out as the kernel's.
    pub fn plain<T: bytemuck::NoUninit>(mut self, value: &T) -> Self {
        self.params.push(Param::Bytes(bytemuck::bytes_of(value).to_vec()));
        self
    }

    /// Launches on `x` blocks.
    ///
    /// # Errors
    /// As [`Backend::launch`].
    pub fn grid(self, x: usize) -> Result<()> {
        self.grid3(x, 1, 1)
    }

    /// Launches on `x * y * z` blocks; nothing happens where one of them is 0.
    ///
    /// # Errors
    /// As [`Backend::launch`], and if the grid is larger than a GPU takes.
    pub fn grid3(self, x: usize, y: usize, z: usize) -> Result<()> {
        // Largest grid in y and z (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
        const MOST: usize = 65_535;
        if x * y * z == 0 {
            return Ok(());
        }
        if x > i32::MAX as usize || y > MOST || z > MOST {
            return Err(Error::failed(format!(
                "{}: a grid of {x} x {y} x {z} blocks is too large; use a smaller batch",
                self.name
            )));
        }
        self.backend.launch(&self.name, [x as u32, y as u32, z as u32], &self.params)
    }
}
