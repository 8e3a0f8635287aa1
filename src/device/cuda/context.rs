//! Which GPUs are there, why one cannot be used, and the one that is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use cudarc::driver::sys::{self, CUdevice, CUdevice_attribute, CUresult};

use super::driver::{Context, check};
use super::gemm::Products;
use super::modules::Modules;
use crate::device::kernels;
use crate::{Error, Result};

/// The driver must run programs of this CUDA release: the kernels are compiled with it.
const RELEASE: (i32, i32) = (13, 0);
/// The first NVIDIA driver that does.
const FIRST_DRIVER: &str = "580";
/// The oldest GPUs that the kernels run on: Ampere.
const OLDEST: (i32, i32) = (8, 0);

/// A GPU of this machine.
#[derive(Debug, Clone)]
pub struct Card {
    pub number: u32,
    pub name: String,
    pub capability: (i32, i32),
    pub multiprocessors: i32,
    pub memory_total: usize,
    /// The highest clocks of the multiprocessors and of the memory, in Hz; 0 where the driver does not tell.
    pub clock: u64,
    pub memory_clock: u64,
    /// Bytes of the second-level cache; 0 where the driver does not tell.
    cache: usize,
    device: CUdevice,
}

impl Card {
    /// As the driver calls it.
    pub(super) fn device(&self) -> CUdevice {
        self.device
    }
}

/// What the driver told when it was first asked.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// The newest CUDA release whose programs the driver runs: `13.0`. `None` where there is no driver.
    pub driver: Option<String>,
    pub cards: Vec<Card>,
    /// Why no GPU can be used at all.
    pub fault: Option<String>,
    /// The version of cublasLt, where it was found: `13.0.2`.
    pub cublas: Option<String>,
}

/// What is there. The driver is asked once.
pub fn survey() -> &'static Survey {
    static SURVEY: OnceLock<Survey> = OnceLock::new();
    SURVEY.get_or_init(|| {
        let mut survey = Survey::default();
        // SAFETY: it tries to load the library and lets it go.
        if unsafe { cudarc::cublaslt::sys::is_culib_present() } {
            // SAFETY: the library is there, and every version has this function. 130002 is 13.0.2.
            let version = unsafe { cudarc::cublaslt::sys::cublasLtGetVersion() };
            survey.cublas = Some(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100));
        }
        survey.fault = look(&mut survey).err().map(|error| error.to_string());
        survey
    })
}

fn look(survey: &mut Survey) -> Result<()> {
    // SAFETY: it tries to load the library and lets it go.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::failed("no NVIDIA driver was found (libcuda)"));
    }
    let mut version = 0;
    // SAFETY: the library is there, and there is a place to write to; every driver has this function.
    check(unsafe { sys::cuDriverGetVersion(&mut version) }, "tell the driver's version")?;
    // 13020 is 13.2.
    let (major, minor) = (version / 1000, version % 1000 / 10);
    survey.driver = Some(format!("{major}.{minor}"));
    if (major, minor) < RELEASE {
        return Err(Error::failed(format!(
            "the NVIDIA driver runs CUDA {major}.{minor}, but the kernels need {}.{}: update it to {FIRST_DRIVER} or newer",
            RELEASE.0, RELEASE.1
        )));
    }
    // SAFETY: the library is there.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_ERROR_NO_DEVICE => return Err(Error::failed("the NVIDIA driver finds no GPU")),
        status => check(status, "be initialised (does the driver's kernel module run? see nvidia-smi)")?,
    }
    let mut count = 0;
    // SAFETY: the driver is initialised, and there is a place to write to.
    check(unsafe { sys::cuDeviceGetCount(&mut count) }, "be counted")?;
    for number in 0..count {
        survey.cards.push(card(number)?);
    }
    if count == 0 {
        return Err(Error::failed("the NVIDIA driver finds no GPU"));
    }
    Ok(())
}

fn card(number: i32) -> Result<Card> {
    let mut device = 0;
    // SAFETY: the driver is initialised, and there is a place to write to.
    check(unsafe { sys::cuDeviceGet(&mut device, number) }, "be found")?;
    let attribute = |which: CUdevice_attribute| -> Result<i32> {
        let mut value = 0;
        // SAFETY: the device is there, and there is a place to write to.
        check(unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) }, "be described")?;
        Ok(value)
    };
    let mut name = [0u8; 256];
    // SAFETY: as many bytes are there; the last stays zero.
    let status = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32 - 1, device) };
    check(status, "tell its name")?;
    let mut memory_total = 0;
    // SAFETY: the device is there, and there is a place to write to.
    check(unsafe { sys::cuDeviceTotalMem_v2(&mut memory_total, device) }, "tell its memory")?;
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    use CUdevice_attribute as A;
    let hertz = |which: A| attribute(which).map_or(0, |kilohertz| 1000 * u64::from(kilohertz.max(0) as u32));
    Ok(Card {
        number: number as u32,
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        capability: (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_total,
        clock: hertz(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock: hertz(A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        cache: attribute(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).map_or(0, |bytes| bytes.max(0) as usize),
        device,
    })
}

/// The GPU of that number, if it can be used.
///
/// # Errors
/// In one line, why not.
pub fn usable(number: u32) -> Result<&'static Card> {
    let survey = survey();
    if let Some(fault) = &survey.fault {
        return Err(Error::failed(fault.clone()));
    }
    let Some(card) = survey.cards.get(number as usize) else {
        let last = survey.cards.len() - 1;
        let have = if last == 0 {
            "the only GPU is cuda:0".into()
        } else {
            format!("there are cuda:0 to cuda:{last}")
        };
        return Err(Error::failed(format!("there is no GPU {number}; {have}")));
    };
    let (major, minor) = card.capability;
    if card.capability < OLDEST {
        return Err(Error::failed(format!(
            "GPU {number} ({}) has compute capability {major}.{minor}, but the kernels need {}.{} (Ampere) or newer",
            card.name, OLDEST.0, OLDEST.1
        )));
    }
    if kernels::MODULES.is_empty() {
        return Err(Error::failed(kernels::NONE));
    }
    if !kernels::run_on(kernels::ARCHS, card.capability) {
        return Err(Error::failed(format!(
            "GPU {number} ({}) has compute capability {major}.{minor}, but this build's kernels are for {}: build with \
             EVOKE_CUDA_ARCHS=all",
            card.name,
            kernels::ARCHS.join(", ")
        )));
    }
    if survey.cublas.is_none() {
        return Err(Error::failed(
            "cuBLAS was not found (libcublasLt): install it with the CUDA toolkit 13, or with pip install nvidia-cublas \
             and its lib folder in LD_LIBRARY_PATH",
        ));
    }
    Ok(card)
}

/// Free and all bytes of a GPU's memory.
///
/// # Errors
/// If the driver does not tell.
pub fn memory(card: &Card) -> Result<(usize, usize)> {
    Context::of(card.device)?.memory()
}

/// A GPU in use: its context, kernels and products, shared by all that runs on it.
#[derive(Debug)]
pub struct Gpu {
    pub context: Context,
    pub modules: Modules,
    pub products: Products,
    /// Bytes of the second-level cache; 0 where the driver does not tell.
    pub cache: usize,
}

impl Gpu {
    /// Opens a GPU, or gives the one that is open.
    ///
    /// # Errors
    /// As [`usable`], and if the driver fails.
    pub fn open(number: u32) -> Result<Arc<Gpu>> {
        static OPEN: Mutex<Option<HashMap<u32, Arc<Gpu>>>> = Mutex::new(None);
        let mut open = OPEN.lock().expect("no thread panics with it");
        let open = open.get_or_insert_default();
        if let Some(gpu) = open.get(&number) {
            return Ok(gpu.clone());
        }
        let card = usable(number)?;
        let context = Context::of(card.device)?;
        context.enter()?;
        let products = Products::new(context, card)?;
        let gpu = Arc::new(Gpu { context, modules: Modules::new(context), products, cache: card.cache });
        open.insert(number, gpu.clone());
        Ok(gpu)
    }
}
