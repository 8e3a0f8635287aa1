//! A launch's parameters as cuLaunchKernel takes them: one address for each.

use std::ffi::c_void;

use crate::device::gpu::{Param, Span};

/// Parameters in memory of their own, each aligned to 8 bytes.
#[derive(Debug, Default)]
pub struct Arguments {
    words: Vec<u64>,
    /// The word at which each parameter starts.
    starts: Vec<usize>,
}

impl Arguments {
    /// `address` gives a tensor's place in the device's memory.
    pub fn pack(params: &[Param], address: impl Fn(&Span) -> u64) -> Arguments {
        let mut packed = Arguments::default();
        for param in params {
            match param {
                Param::Tensor { span, .. } => packed.push(&address(span).to_ne_bytes()),
                Param::Absent { .. } => packed.push(&0u64.to_ne_bytes()),
                Param::Word(word) => packed.push(&word.to_ne_bytes()),
                Param::Float(value) => packed.push(&value.to_ne_bytes()),
                Param::Long(value) => packed.push(&value.to_ne_bytes()),
                Param::Bytes(bytes) => packed.push(bytes),
            }
        }
        packed
    }

    fn push(&mut self, bytes: &[u8]) {
        self.starts.push(self.words.len());
        for piece in bytes.chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..piece.len()].copy_from_slice(piece);
            self.words.push(u64::from_ne_bytes(word));
        }
        if bytes.is_empty() {
            self.words.push(0);
        }
    }

    /// Addresses into `self`, for a call during which it is borrowed.
    pub fn pointers(&mut self) -> Vec<*mut c_void> {
        let Arguments { words, starts } = self;
        starts.iter().map(|&start| (&raw mut words[start]).cast()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use crate::graph::plan::Region;

    #[test]
    fn each_parameter_lies_where_its_pointer_says() {
        let span = Span {
            name: "x".into(),
            region: Region::Work,
            offset: 64,
            rows: 2,
            columns: 3,
            row_stride: 3,
            dtype: DType::BF16,
        };
        let params = [
            Param::Tensor { span, writable: true },
            Param::Absent { writable: false },
            Param::Word(7),
            Param::Float(1.5),
            Param::Long(1 << 40),
            Param::Bytes((1..=13).collect()),
            Param::Word(9),
        ];
        let mut packed = Arguments::pack(&params, |span| 0x7000_0000_0000 + span.offset as u64);
        let pointers = packed.pointers();
        assert_eq!(pointers.len(), params.len());
        // SAFETY: each points to a parameter of that size in `packed`, which is alive.
        unsafe {
            assert_eq!(*pointers[0].cast::<u64>(), 0x7000_0000_0040);
            assert_eq!(*pointers[1].cast::<u64>(), 0);
            assert_eq!(*pointers[2].cast::<u32>(), 7);
            assert_eq!(*pointers[3].cast::<f32>(), 1.5);
            assert_eq!(*pointers[4].cast::<u64>(), 1 << 40);
            let bytes = std::slice::from_raw_parts(pointers[5].cast::<u8>(), 13);
            assert_eq!(bytes, (1..=13).collect::<Vec<u8>>());
            assert_eq!(*pointers[6].cast::<u32>(), 9);
        }
        assert!(pointers.iter().all(|pointer| pointer.cast::<u64>().is_aligned()));
    }
}
