//! The embedded kernels on a GPU: each file is loaded when the first of its kernels is asked for.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Mutex;

use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule, CUresult};

use super::driver::{Context, check};
use crate::device::kernels::{MODULES, Module};
use crate::{Error, Result};

/// Dynamic shared memory that every launch may have; above it a kernel must be told first (CUDA C++ Programming Guide,
/// "Shared Memory" of each compute capability).
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// A kernel that is ready to launch.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    pub function: CUfunction,
    /// Threads of a block: what its launch bounds say.
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

// SAFETY: a function is a name within a module that is never unloaded; any thread may launch it.
unsafe impl Send for Kernel {}

#[derive(Debug)]
struct Loaded(CUmodule);

// SAFETY: modules may be asked from any thread, and are never unloaded.
unsafe impl Send for Loaded {}

/// What was loaded so far.
#[derive(Debug)]
pub struct Modules {
    context: Context,
    loaded: Mutex<HashMap<&'static str, Loaded>>,
    kernels: Mutex<HashMap<String, Kernel>>,
}

impl Modules {
    pub fn new(context: Context) -> Modules {
        Modules { context, loaded: Mutex::default(), kernels: Mutex::default() }
    }

    /// The kernel of that name, whose file is loaded now if it was not.
    ///
    /// # Errors
    /// If there is no such kernel, or the driver cannot load it.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let mut kernels = self.kernels.lock().expect("no thread panics with it");
        if let Some(&kernel) = kernels.get(name) {
            return Ok(kernel);
        }
        let module = MODULES
            .iter()
            .find(|module| module.kernels.contains(&name))
            .ok_or_else(|| Error::failed(format!("{name}: no such kernel in this build")))?;
        let kernel = find(self.load(module)?, name)?;
        kernels.insert(name.into(), kernel);
        Ok(kernel)
    }

    fn load(&self, module: &Module) -> Result<CUmodule> {
        let mut loaded = self.loaded.lock().expect("no thread panics with it");
        if let Some(found) = loaded.get(module.name) {
            return Ok(found.0);
        }
        self.context.enter()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a fatbin says its own length; the driver copies what it needs. `raw` is a place to write to.
        let status = unsafe { sys::cuModuleLoadData(&mut raw, module.fatbin.as_ptr().cast()) };
        check(status, &format!("load the kernels of {}.cu", module.name))?;
        loaded.insert(module.name, Loaded(raw));
        Ok(raw)
    }
}

/// A kernel of a loaded file, with what its declaration (`EVOKE_KERNEL`) says.
fn find(module: CUmodule, name: &str) -> Result<Kernel> {
    let text = |name: String| CString::new(name).map_err(|_| Error::failed("a kernel's name holds a zero"));
    let mut function = std::ptr::null_mut();
    let c_name = text(name.to_string())?;
    // SAFETY: the module is loaded, the name ends with a zero byte, and there is a place to write to.
    check(
        unsafe { sys::cuModuleGetFunction(&mut function, module, c_name.as_ptr()) },
        &format!("find the kernel {name}"),
    )?;
    let attribute = |which: CUfunction_attribute| -> Result<u32> {
        let mut value = 0;
        // SAFETY: the function is loaded, and there is a place to write to.
        check(unsafe { sys::cuFuncGetAttribute(&mut value, which, function) }, &format!("describe {name}"))?;
        Ok(value as u32)
    };
    let threads = attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?;
    let shared = shared_bytes(module, name, &text(format!("{name}_shared_bytes"))?)?;
    if shared > SHARED_WITHOUT_ASKING {
        let which = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        let status = unsafe { sys::cuFuncSetAttribute(function, which, shared as i32) };
        if status == CUresult::CUDA_ERROR_INVALID_VALUE {
            return Err(Error::failed(format!(
                "{name} needs {shared} bytes of shared memory a block, more than this GPU has"
            )));
        }
        check(status, &format!("give {name} its shared memory"))?;
    }
    Ok(Kernel { function, threads, shared })
}

/// The number that the kernel's declaration left in the module.
fn shared_bytes(module: CUmodule, name: &str, symbol: &CString) -> Result<u32> {
    let (mut address, mut bytes, mut value) = (0, 0, 0u32);
    // SAFETY: the module is loaded, the name ends with a zero byte, and there are places to write to.
    check(
        unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, symbol.as_ptr()) },
        &format!("find how much shared memory {name} needs"),
    )?;
    if bytes != size_of::<u32>() {
        return Err(Error::failed(format!("{name}_shared_bytes has {bytes} bytes, not 4")));
    }
    // SAFETY: so many bytes are there, as the driver says, and `value` has as many; the copy is done when it returns.
    check(
        unsafe { sys::cuMemcpyDtoH_v2((&raw mut value).cast(), address, bytes) },
        &format!("tell how much shared memory {name} needs"),
    )?;
    Ok(value)
}
