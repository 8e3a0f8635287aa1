//! cublasLt's descriptors, each owned by one value.

use cudarc::cublaslt::sys::{self, cublasStatus_t};

use super::shape::{Epilogue, Kind, Layout, Shape};
use crate::{Error, Result};

/// What cublasLt answered, as an error that says what was tried.
pub(super) fn check(status: cublasStatus_t, what: &str) -> Result<()> {
    match status {
        cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        _ => Err(Error::failed(format!("cublasLt cannot {what}: {status:?}"))),
    }
}

fn kind(kind: Kind) -> sys::cudaDataType {
    match kind {
        Kind::F32 => sys::cudaDataType::CUDA_R_32F,
        Kind::BF16 => sys::cudaDataType::CUDA_R_16BF,
        Kind::F16 => sys::cudaDataType::CUDA_R_16F,
    }
}

#[derive(Debug)]
pub(super) struct Matrix(pub sys::cublasLtMatrixLayout_t);

impl Matrix {
    fn new(layout: &Layout) -> Result<Matrix> {
        let mut raw = std::ptr::null_mut();
        let Layout { rows, columns, leading, .. } = *layout;
        // SAFETY: the library is there, and there is a place to write to.
        let status =
            unsafe { sys::cublasLtMatrixLayoutCreate(&mut raw, kind(layout.kind), rows, columns, leading) };
        check(status, "describe a matrix")?;
        Ok(Matrix(raw))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: made in `new`. An error has nobody to go to.
        unsafe { sys::cublasLtMatrixLayoutDestroy(self.0) };
    }
}

#[derive(Debug)]
struct Operation(sys::cublasLtMatmulDesc_t);

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: made in `Descriptors::new`. An error has nobody to go to.
        unsafe { sys::cublasLtMatmulDescDestroy(self.0) };
    }
}

#[derive(Debug)]
struct Preference(sys::cublasLtMatmulPreference_t);

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: made in `Descriptors::preference`. An error has nobody to go to.
        unsafe { sys::cublasLtMatmulPreferenceDestroy(self.0) };
    }
}

/// A product, described.
#[derive(Debug)]
pub(super) struct Descriptors {
    operation: Operation,
    pub first: Matrix,
    pub second: Matrix,
    pub out: Matrix,
}

// SAFETY: descriptors are plain memory of the library's, only read after they were made.
unsafe impl Send for Descriptors {}
// SAFETY: as above.
unsafe impl Sync for Descriptors {}

impl Descriptors {
    pub fn new(shape: &Shape) -> Result<Descriptors> {
        let mut raw = std::ptr::null_mut();
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        // SAFETY: the library is there, and there is a place to write to.
        let status =
            unsafe { sys::cublasLtMatmulDescCreate(&mut raw, compute, sys::cudaDataType::CUDA_R_32F) };
        check(status, "describe a product")?;
        let operation = Operation(raw);
        use sys::cublasLtMatmulDescAttributes_t as A;
        for (which, transposed) in [
            (A::CUBLASLT_MATMUL_DESC_TRANSA, shape.first.transposed),
            (A::CUBLASLT_MATMUL_DESC_TRANSB, shape.second.transposed),
        ] {
            // cublasOperation_t: 0 as it is, 1 transposed.
            let value = i32::from(transposed);
            // SAFETY: the descriptor is alive, and the attribute is a 32-bit number.
            let status = unsafe {
                sys::cublasLtMatmulDescSetAttribute(raw, which, (&raw const value).cast(), size_of::<i32>())
            };
            check(status, "transpose a factor")?;
        }
        let described = |which: A, value: u32| {
            // SAFETY: the descriptor is alive, and the attribute is a 32-bit number.
            let status = unsafe {
                sys::cublasLtMatmulDescSetAttribute(raw, which, (&raw const value).cast(), size_of::<u32>())
            };
            check(status, "describe an epilogue")
        };
        use sys::cublasLtEpilogue_t as E;
        let epilogue = match shape.epilogue {
            Epilogue::None => None,
            Epilogue::Bias => Some((E::CUBLASLT_EPILOGUE_BIAS, kind(shape.out.kind))),
            Epilogue::BiasRelu => Some((E::CUBLASLT_EPILOGUE_RELU_BIAS, kind(shape.out.kind))),
            Epilogue::RowSums => Some((E::CUBLASLT_EPILOGUE_BGRADB, kind(Kind::F32))),
        };
        if let Some((epilogue, bias)) = epilogue {
            described(A::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as u32)?;
            described(A::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias as u32)?;
        }
        let (first, second) = (Matrix::new(&shape.first)?, Matrix::new(&shape.second)?);
        Ok(Descriptors { operation, first, second, out: Matrix::new(&shape.out)? })
    }

    /// Says where the bias of an epilogue is, or where its sums go. Products of one shape differ in it, so nobody else may
    /// use the descriptors until the product is queued.
    pub fn aside(&self, address: u64) -> Result<()> {
        let which = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
        // SAFETY: the descriptor is alive, and the attribute is an address.
        let status = unsafe {
            sys::cublasLtMatmulDescSetAttribute(
                self.operation.0,
                which,
                (&raw const address).cast(),
                size_of::<u64>(),
            )
        };
        check(status, "place an epilogue")
    }

    pub fn operation(&self) -> sys::cublasLtMatmulDesc_t {
        self.operation.0
    }

    /// The algorithms that the library proposes, the most promising first.
    pub fn candidates(
        &self,
        handle: sys::cublasLtHandle_t,
        shape: &Shape,
        workspace: usize,
    ) -> Result<Vec<sys::cublasLtMatmulAlgo_t>> {
        let preference = Self::preference(shape, workspace)?;
        // SAFETY: the type is plain numbers and an enum of which zero is a value.
        let mut found: [sys::cublasLtMatmulHeuristicResult_t; MOST] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // SAFETY: all descriptors are alive, and there is room for as many results as are asked for.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                handle,
                self.operation.0,
                self.first.0,
                self.second.0,
                self.out.0,
                self.out.0,
                preference.0,
                MOST as i32,
                found.as_mut_ptr(),
                &mut count,
            )
        };
        let good = |result: &&sys::cublasLtMatmulHeuristicResult_t| {
            result.state == cublasStatus_t::CUBLAS_STATUS_SUCCESS
        };
        let found: Vec<_> =
            found[..(count.max(0) as usize).min(MOST)].iter().filter(good).map(|r| r.algo).collect();
        if status == cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED || found.is_empty() {
            return Err(Error::failed(format!(
                "cublasLt has no product for {}: choose sizes that are multiples of 8",
                shape.words()
            )));
        }
        check(status, "propose an algorithm")?;
        Ok(found)
    }

    fn preference(shape: &Shape, workspace: usize) -> Result<Preference> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the library is there, and there is a place to write to.
        check(unsafe { sys::cublasLtMatmulPreferenceCreate(&mut raw) }, "take a preference")?;
        let preference = Preference(raw);
        use sys::cublasLtMatmulPreferenceAttributes_t as A;
        let workspace = (workspace as u64).to_ne_bytes();
        let number = |value: u32| value.to_ne_bytes();
        let (first, second, out) =
            (number(shape.first.alignment), number(shape.second.alignment), number(shape.out.alignment));
        let reduction = number(REDUCTION_IN_ORDER);
        let settings: [(A, &[u8]); 6] = [
            (A::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace),
            (A::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &first),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &second),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out),
            (A::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out),
        ];
        for (which, value) in settings {
            // SAFETY: the preference is alive, and each attribute has the size of its number.
            let status = unsafe {
                sys::cublasLtMatmulPreferenceSetAttribute(raw, which, value.as_ptr().cast(), value.len())
            };
            check(status, "take a preference")?;
        }
        Ok(preference)
    }
}

/// Candidates to ask for. The best is nearly always among the first few.
const MOST: usize = 8;

/// Partial sums are kept in f32 in the workspace and added up in one order (CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE):
/// the scheme that adds in place would round each of them to the output's type.
const REDUCTION_IN_ORDER: u32 = 2;
