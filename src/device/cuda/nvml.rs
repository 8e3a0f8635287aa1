//! The energy counter and the clock of a GPU, through NVML, NVIDIA's library for its drivers' measurements, loaded at run time.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use cudarc::driver::sys;
use libloading::{Library, Symbol};

use super::usable;

/// NVML's `NVML_SUCCESS`.
const SUCCESS: c_int = 0;
/// NVML's number of the multiprocessors' clock.
const MULTIPROCESSORS: c_int = 1;
/// Bytes of a PCI bus id with its end: `00000000:65:00.0`.
const BUS_ID: usize = 32;
/// As the driver brings it.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "nvml.dll"];

type Device = *mut c_void;
type Initialise = unsafe extern "C" fn() -> c_int;
type ByBusId = unsafe extern "C" fn(*const c_char, *mut Device) -> c_int;
type Clock = unsafe extern "C" fn(Device, c_int, *mut c_uint) -> c_int;
type TotalEnergy = unsafe extern "C" fn(Device, *mut c_ulonglong) -> c_int;

/// A GPU's board, whose energy is counted since the driver was loaded.
#[derive(Debug)]
pub struct Board {
    /// Keeps the functions and the handle valid; it is never told to shut down.
    library: Library,
    device: Device,
}

/// What the multiprocessors of `cuda:number` run at, in megahertz; `None` where nothing tells.
pub fn clock_mhz(number: u32) -> Option<f64> {
    let board = Board::found(number).ok()?;
    // SAFETY: the signature of NVML's header.
    let clock: Symbol<Clock> = unsafe { board.library.get(b"nvmlDeviceGetClockInfo\0") }.ok()?;
    let mut megahertz = 0;
    // SAFETY: the library was initialised, the handle is its own, and there is a place to write to.
    (unsafe { clock(board.device, MULTIPROCESSORS, &mut megahertz) } == SUCCESS)
        .then_some(f64::from(megahertz))
}

impl Board {
    /// That of `cuda:number`. The two libraries may number GPUs differently, so it is found by its place on the bus.
    ///
    /// # Errors
    /// In words, why its energy cannot be read.
    pub fn of(number: u32) -> Result<Board, String> {
        let board = Board::found(number)?;
        match board.millijoules() {
            Some(_) => Ok(board),
            None => Err("this GPU has no energy counter".into()),
        }
    }

    fn found(number: u32) -> Result<Board, String> {
        let card = usable(number).map_err(|error| error.to_string())?;
        let mut id = [0 as c_char; BUS_ID];
        // SAFETY: the device was found by the driver, and there are as many bytes to write to.
        let found = unsafe { sys::cuDeviceGetPCIBusId(id.as_mut_ptr(), BUS_ID as c_int, card.device()) };
        if found != sys::CUresult::CUDA_SUCCESS {
            return Err(format!("the driver does not tell the bus id of cuda:{number}"));
        }
        // SAFETY: the driver ended the id with a zero byte within the buffer, which began as zeroes.
        Board::at(unsafe { CStr::from_ptr(id.as_ptr()) })
    }

    fn at(bus_id: &CStr) -> Result<Board, String> {
        // SAFETY: NVIDIA's library may be loaded at any time; its initialisers do nothing but its own set-up.
        let library = LIBRARIES.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
        let library = library.ok_or_else(|| format!("{} was not found", LIBRARIES[0]))?;
        let mut device = std::ptr::null_mut();
        let status = {
            // SAFETY: these are the signatures of NVML's header.
            let both = unsafe {
                (
                    library.get::<Initialise>(b"nvmlInit_v2\0"),
                    library.get::<ByBusId>(b"nvmlDeviceGetHandleByPciBusId_v2\0"),
                )
            };
            let (Ok(initialise), Ok(by_bus_id)) = both else {
                return Err(format!("{} is too old", LIBRARIES[0]));
            };
            // SAFETY: it is called before all others; it may be called again.
            match unsafe { initialise() } {
                // SAFETY: the library is initialised, the id ends with a zero byte, and there is a place to write to.
                SUCCESS => unsafe { by_bus_id(bus_id.as_ptr(), &mut device) },
                status => status,
            }
        };
        if status != SUCCESS {
            return Err(format!("NVML does not find the GPU (its error {status})"));
        }
        Ok(Board { library, device })
    }

    /// Millijoules since the driver was loaded; `None` where the GPU does not count.
    pub fn millijoules(&self) -> Option<u64> {
        // SAFETY: the signature of NVML's header; GPUs before Volta answer with an error.
        let total: Symbol<TotalEnergy> =
            unsafe { self.library.get(b"nvmlDeviceGetTotalEnergyConsumption\0") }.ok()?;
        let mut energy = 0;
        // SAFETY: the library was initialised, the handle is its own, and there is a place to write to.
        (unsafe { total(self.device, &mut energy) } == SUCCESS).then_some(energy)
    }
}
