//! Matrix products by cublasLt, with plans of our own: an algorithm is chosen once for a shape, by measurement, and kept.
//!
//! Algorithms differ in the last bits, so which one runs must not depend on the clock of the day: the choices of a
//! machine are kept in the user's cache folder, so that two runs on one machine are equal, and a run keeps those that
//! it used in its own folder, so that a resume goes on with the same ones. Where neither can be written down,
//! cublasLt's first proposal is taken, unmeasured.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::sys;
use serde::{Deserialize, Serialize};

use super::context::Card;
use super::descriptors::{Descriptors, check};
use super::driver::{Context, Stream};
use super::owned::{DeviceBytes, Event};
use super::shape::Shape;
use crate::{Error, Result};

/// Scratch of a product, taken once: what cuBLAS recommends for Hopper.
pub const WORKSPACE: usize = 32 << 20;
/// Timed runs of a candidate, after one that is not.
const RUNS: usize = 5;

/// An algorithm, as cublasLt lets it be stored and used again by the same version.
type Algorithm = [u64; 8];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Choice {
    shape: Shape,
    /// `None` for a product with an epilogue that is slower than the same in kernels.
    algorithm: Option<Algorithm>,
}

/// Choices as a file keeps them. They hold for one kind of GPU and one version of cublasLt.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Choices {
    gpu: String,
    cublas: usize,
    plans: Vec<Choice>,
}

#[derive(Debug)]
struct Plan {
    /// Held while a product is queued: an epilogue's address is in them.
    descriptors: Mutex<Descriptors>,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The products of one GPU.
#[derive(Debug)]
pub struct Products {
    context: Context,
    handle: sys::cublasLtHandle_t,
    gpu: String,
    version: usize,
    /// The machine's file of choices.
    cache: Option<PathBuf>,
    state: Mutex<State>,
}

// SAFETY: a cublasLt handle may be used by any thread, several at once.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

#[derive(Debug, Default)]
struct State {
    plans: HashMap<Shape, Arc<Plan>>,
    choices: HashMap<Shape, Option<Algorithm>>,
}

/// Where a product's parts are on the GPU.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub a: u64,
    pub b: u64,
    pub out: u64,
    /// Of an epilogue's bias or sums; 0 without one.
    pub aside: u64,
    /// [`WORKSPACE`] bytes.
    pub workspace: u64,
}

impl Products {
    pub fn new(context: Context, card: &Card) -> Result<Products> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the library was found, a context is current, and there is a place to write to.
        check(unsafe { sys::cublasLtCreate(&mut handle) }, "start")?;
        // SAFETY: the library is there.
        let version = unsafe { sys::cublasLtGetVersion() };
        let cache = cache_folder().map(|folder| {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            folder.join(format!("gemm-plans-{}-{version}.json", card.name.replace(|c| plain(c) == '-', "-")))
        });
        let gpu = format!("{} ({} multiprocessors)", card.name, card.multiprocessors);
        let products = Products { context, handle, gpu, version, cache, state: Mutex::default() };
        if let Some(text) = products.cache.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) {
            products.prefer(&text);
        }
        Ok(products)
    }

    /// Takes over the choices that [`Products::chosen`] wrote, and forgets plans that were made otherwise. Returns how
    /// many; none where they are of another kind of GPU or version of cublasLt.
    pub fn prefer(&self, text: &str) -> usize {
        let Ok(given) = serde_json::from_str::<Choices>(text) else { return 0 };
        if given.gpu != self.gpu || given.cublas != self.version {
            return 0;
        }
        let mut state = self.state.lock().expect("no thread panics with it");
        state.plans.clear();
        let count = given.plans.len();
        state.choices.extend(given.plans.into_iter().map(|choice| (choice.shape, choice.algorithm)));
        count
    }

    /// The choices so far, as JSON. The same choices are the same text.
    pub fn chosen(&self) -> String {
        let state = self.state.lock().expect("no thread panics with it");
        self.text(&state)
    }

    fn text(&self, state: &State) -> String {
        // By their words, so that the file does not depend on the order in a hash table.
        let sorted: BTreeMap<String, Choice> = state
            .choices
            .iter()
            .map(|(shape, &algorithm)| (format!("{shape:?}"), Choice { shape: shape.clone(), algorithm }))
            .collect();
        let plans = sorted.into_values().collect();
        let choices = Choices { gpu: self.gpu.clone(), cublas: self.version, plans };
        serde_json::to_string(&choices).expect("plain numbers and names")
    }

    /// Queues a product. `capturing`: nothing may be measured now.
    ///
    /// # Errors
    /// If cublasLt has no such product.
    ///
    /// # Safety
    /// The addresses must be those that `shape` was made of, of matrices that lie there; `out` must overlap neither
    /// factor, and nobody else uses the workspace until the product is done.
    pub unsafe fn run(&self, shape: &Shape, at: Addresses, stream: &Stream, capturing: bool) -> Result<()> {
        // SAFETY: passed on.
        let plan = unsafe { self.plan(shape, at, stream, capturing) }?;
        let descriptors = plan.descriptors.lock().expect("no thread panics with it");
        // SAFETY: passed on.
        unsafe { self.launch(&descriptors, &plan.algorithm, shape, at, stream) }
    }

    /// Whether the product with an epilogue is faster than `plain` and the `kernels` that do the same. It is measured once,
    /// and kept with the algorithms; where nothing can be measured or kept, the answer is no.
    ///
    /// # Errors
    /// If the GPU fails.
    ///
    /// # Safety
    /// As [`Products::run`] for both.
    pub unsafe fn fuses(
        &self,
        fused: &Shape,
        plain: &Shape,
        at: Addresses,
        stream: &Stream,
        capturing: bool,
        kernels: &mut dyn FnMut() -> Result<()>,
    ) -> Result<bool> {
        let known = self.state.lock().expect("no thread panics with it").choices.get(fused).copied();
        if let Some(known) = known {
            return Ok(known.is_some());
        }
        if capturing || self.cache.is_none() {
            return Ok(false);
        }
        // SAFETY: passed on; what `out` holds is not touched by either.
        let (with, without) = unsafe {
            (self.best(fused, at, stream), self.best(plain, Addresses { aside: 0, ..at }, stream)?)
        };
        let (start, end) = (Event::new(self.context, true)?, Event::new(self.context, true)?);
        kernels()?;
        start.record(stream)?;
        for _ in 0..RUNS {
            kernels()?;
        }
        end.record(stream)?;
        end.wait()?;
        let apart = without.0 + end.milliseconds_since(&start)?;
        // A product that the library does not have with this epilogue is no failure.
        let algorithm = with.ok().filter(|with| with.0 < apart).map(|with| with.1.data);
        let mut state = self.state.lock().expect("no thread panics with it");
        state.choices.insert(fused.clone(), algorithm);
        self.keep(&state);
        Ok(algorithm.is_some())
    }

    /// The fastest algorithm for a shape, with the time of its runs.
    ///
    /// # Safety
    /// As [`Products::run`]. What `out` holds is not touched.
    unsafe fn best(
        &self,
        shape: &Shape,
        at: Addresses,
        stream: &Stream,
    ) -> Result<(f32, sys::cublasLtMatmulAlgo_t)> {
        let descriptors = Descriptors::new(shape)?;
        if at.aside != 0 {
            descriptors.aside(at.aside)?;
        }
        let candidates = descriptors.candidates(self.handle, shape, WORKSPACE)?;
        // SAFETY: passed on.
        let (time, best) = unsafe { self.fastest(&descriptors, &candidates, shape, at, stream) }?;
        Ok((time, candidates[best]))
    }

    /// # Safety
    /// As [`Products::run`].
    unsafe fn plan(
        &self,
        shape: &Shape,
        at: Addresses,
        stream: &Stream,
        capturing: bool,
    ) -> Result<Arc<Plan>> {
        let mut state = self.state.lock().expect("no thread panics with it");
        if let Some(plan) = state.plans.get(shape) {
            return Ok(plan.clone());
        }
        let descriptors = Descriptors::new(shape)?;
        if at.aside != 0 {
            descriptors.aside(at.aside)?;
        }
        let known =
            state.choices.get(shape).copied().flatten().map(|data| sys::cublasLtMatmulAlgo_t { data });
        let algorithm = match known.filter(|algorithm| self.is_good(&descriptors, algorithm)) {
            Some(algorithm) => algorithm,
            None => {
                let candidates = descriptors.candidates(self.handle, shape, WORKSPACE)?;
                let measure = self.cache.is_some() && !capturing && candidates.len() > 1;
                let best = if measure {
                    // SAFETY: passed on.
                    unsafe { self.fastest(&descriptors, &candidates, shape, at, stream) }?.1
                } else {
                    0
                };
                if !capturing {
                    state.choices.insert(shape.clone(), Some(candidates[best].data));
                    self.keep(&state);
                }
                candidates[best]
            }
        };
        let plan = Arc::new(Plan { descriptors: Mutex::new(descriptors), algorithm });
        if !capturing {
            state.plans.insert(shape.clone(), plan.clone());
        }
        Ok(plan)
    }

    /// Whether this library, on this GPU, runs a stored algorithm within the workspace.
    fn is_good(&self, descriptors: &Descriptors, algorithm: &sys::cublasLtMatmulAlgo_t) -> bool {
        // SAFETY: the type is plain numbers and an enum of which zero is a value.
        let mut result: sys::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        let Descriptors { first, second, out, .. } = descriptors;
        // SAFETY: all descriptors are alive, and there is a place to write to.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                self.handle,
                descriptors.operation(),
                first.0,
                second.0,
                out.0,
                out.0,
                algorithm,
                &mut result,
            )
        };
        check(status, "check an algorithm").is_ok() && result.workspaceSize <= WORKSPACE
    }

    /// The time and the place of the candidate that takes least.
    ///
    /// # Safety
    /// As [`Products::run`]. What `out` holds is not touched.
    unsafe fn fastest(
        &self,
        descriptors: &Descriptors,
        candidates: &[sys::cublasLtMatmulAlgo_t],
        shape: &Shape,
        mut at: Addresses,
        stream: &Stream,
    ) -> Result<(f32, usize)> {
        // The result goes elsewhere meanwhile: added several times it would be wrong.
        let bytes = shape.out.leading as usize * shape.out.columns as usize * size_of::<f32>();
        let elsewhere = DeviceBytes::new(self.context, bytes)?;
        at.out = elsewhere.at(0, bytes);
        // SAFETY: the memory was taken just now.
        unsafe { stream.fill(at.out, 0, bytes) }?;
        let (start, end) = (Event::new(self.context, true)?, Event::new(self.context, true)?);
        let mut best = (f32::INFINITY, 0);
        for (i, candidate) in candidates.iter().enumerate() {
            // SAFETY: passed on, with memory of the same size for the output.
            let run = || unsafe { self.launch(descriptors, candidate, shape, at, stream) };
            // One that fails is not chosen; the next may do.
            if run().is_err() {
                continue;
            }
            start.record(stream)?;
            for _ in 0..RUNS {
                run()?;
            }
            end.record(stream)?;
            end.wait()?;
            let taken = end.milliseconds_since(&start)?;
            if taken < best.0 {
                best = (taken, i);
            }
        }
        stream.finish()?;
        if best.0.is_infinite() {
            return Err(Error::failed(format!("cublasLt runs no product for {}", shape.words())));
        }
        Ok(best)
    }

    /// # Safety
    /// As [`Products::run`].
    unsafe fn launch(
        &self,
        descriptors: &Descriptors,
        algorithm: &sys::cublasLtMatmulAlgo_t,
        shape: &Shape,
        at: Addresses,
        stream: &Stream,
    ) -> Result<()> {
        let (one, kept) = (1.0f32, if shape.add { 1.0f32 } else { 0.0 });
        if at.aside != 0 {
            descriptors.aside(at.aside)?;
        }
        let Descriptors { first, second, out, .. } = descriptors;
        let memory = |address: u64| address as usize as *mut c_void;
        // SAFETY: the descriptors are alive; the addresses are the caller's promise.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle,
                descriptors.operation(),
                (&raw const one).cast(),
                memory(at.b),
                first.0,
                memory(at.a),
                second.0,
                (&raw const kept).cast(),
                memory(at.out),
                out.0,
                memory(at.out),
                out.0,
                algorithm,
                memory(at.workspace),
                WORKSPACE,
                stream.raw.cast(),
            )
        };
        check(status, "compute a product")
    }

    /// Writes the choices to the machine's file. A cache that cannot be written is no failure.
    fn keep(&self, state: &State) {
        let Some(path) = &self.cache else { return };
        let aside = path.with_extension(format!("{}.partial", std::process::id()));
        if std::fs::write(&aside, self.text(state)).is_ok() {
            let _ = std::fs::rename(&aside, path);
        }
    }
}

/// The user's cache folder of this program, made where it is not there.
fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    let folder = base.join("evoke");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}
