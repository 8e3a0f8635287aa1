//! 16-bit floating point numbers to f32 and back, whole slices at a time.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::graph::DType;

/// Rounds `values` to nearest even into `out`, which holds as many elements of `dtype`.
///
/// # Panics
/// If `dtype` is no floating point type.
pub fn round(dtype: DType, values: &[f32], out: &mut [u8]) {
    match dtype {
        DType::F32 => out.copy_from_slice(bytemuck::cast_slice(values)),
        DType::BF16 => {
            let out: &mut [u16] = bytemuck::cast_slice_mut(out);
            out.iter_mut().zip(values).for_each(|(o, v)| *o = bf16::from_f32(*v).to_bits());
        }
        DType::F16 => {
            let out: &mut [u16] = bytemuck::cast_slice_mut(out);
            out.iter_mut().zip(values).for_each(|(o, v)| *o = f16::from_f32(*v).to_bits());
        }
        DType::U32 | DType::U8 => panic!("{dtype:?} holds no floating point numbers"),
    }
}

/// The elements of `bytes` as f32; borrowed where they are.
///
/// # Panics
/// If `dtype` is no floating point type.
pub fn widen(dtype: DType, bytes: &[u8]) -> Cow<'_, [f32]> {
    let halves = |bytes| bytemuck::cast_slice::<u8, u16>(bytes).iter();
    match dtype {
        DType::F32 => Cow::Borrowed(bytemuck::cast_slice(bytes)),
        DType::BF16 => Cow::Owned(halves(bytes).map(|h| bf16::from_bits(*h).to_f32()).collect()),
        DType::F16 => Cow::Owned(halves(bytes).map(|h| f16::from_bits(*h).to_f32()).collect()),
        DType::U32 | DType::U8 => panic!("{dtype:?} holds no floating point numbers"),
    }
}

/// Each value as it is after a round trip through `dtype`.
pub fn rounded(dtype: DType, values: &[f32]) -> Vec<f32> {
    match dtype {
        DType::F32 => values.to_vec(),
        _ => {
            let mut bytes = vec![0u16; values.len()];
            round(dtype, values, bytemuck::cast_slice_mut(&mut bytes));
            widen(dtype, bytemuck::cast_slice(&bytes)).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        // bf16 has 8 bits of precision: 1 + 2^-8 lies half way to the next, and goes to the even one below.
        assert_eq!(rounded(DType::BF16, &[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]), [1.0, 1.015625]);
        assert_eq!(rounded(DType::F16, &[65519.0, 65520.0]), [65504.0, f32::INFINITY]);
        assert!(rounded(DType::BF16, &[f32::NAN])[0].is_nan());
    }
}
