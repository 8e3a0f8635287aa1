//! Which GPUs to compile for.

use std::process::Command;

use crate::toolchain::Nvcc;

/// One target of nvcc: `90a`, machine code of one kind of GPU; `compute_80`, code that GPUs compile for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arch(String);

/// Every target of `EVOKE_CUDA_ARCHS=all`: Ampere, Ada, Hopper, Blackwell, and what comes later.
const ALL: [&str; 7] = ["80", "86", "89", "90a", "100", "120", PORTABLE];
/// GPUs that nvcc does not know yet compile this when the program starts.
const PORTABLE: &str = "compute_80";

impl Arch {
    pub fn name(&self) -> &str {
        &self.0
    }

    /// nvcc's option for it.
    pub fn option(&self) -> String {
        match self.0.strip_prefix("compute_") {
            Some(number) => format!("-gencode=arch=compute_{number},code=compute_{number}"),
            None => format!("-gencode=arch=compute_{0},code=sm_{0}", self.0),
        }
    }
}

/// `EVOKE_CUDA_ARCHS`: what was asked for.
pub enum Wanted {
    None,
    /// Those of the GPUs here.
    Present,
    These(Vec<Arch>),
}

/// Reads `EVOKE_CUDA_ARCHS`: a list such as `80,90a`, `all` or `none`; not set: those of the GPUs here, else all.
pub fn wanted() -> Result<Wanted, String> {
    match std::env::var("EVOKE_CUDA_ARCHS").as_deref().map(str::trim) {
        Ok("all") => Ok(Wanted::These(all())),
        Ok("none") => Ok(Wanted::None),
        Ok(list) if !list.is_empty() => {
            let mut archs: Vec<Arch> = Vec::new();
            for one in list.split(',') {
                let arch = parse(one.trim())?;
                if !archs.contains(&arch) {
                    archs.push(arch);
                }
            }
            Ok(Wanted::These(archs))
        }
        _ => Ok(Wanted::Present),
    }
}

fn all() -> Vec<Arch> {
    ALL.map(|a| Arch(a.into())).to_vec()
}

fn parse(name: &str) -> Result<Arch, String> {
    let short = name.trim_start_matches("sm_");
    let digits = short.trim_start_matches("compute_").trim_end_matches(['a', 'f']);
    match digits.parse::<u32>() {
        Ok(number) if number < 80 => {
            Err(format!("EVOKE_CUDA_ARCHS: {name} is too old; the kernels need sm_80 (Ampere) or newer"))
        }
        Ok(_) => Ok(Arch(short.into())),
        Err(_) => Err(format!(
            "EVOKE_CUDA_ARCHS: {name:?} is no architecture; give a list such as 80,90a, or all, or none"
        )),
    }
}

/// Those of the GPUs in this machine, as the driver's tool tells; all where it tells of none. One that `nvcc` does not
/// know compiles the portable code for itself.
pub fn present(nvcc: &Nvcc) -> Vec<Arch> {
    let told = Command::new("nvidia-smi").args(["--query-gpu=compute_cap", "--format=csv,noheader"]).output();
    let text = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    let known = Command::new(&nvcc.path).arg("--list-gpu-code").output();
    let known = known.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default();
    let mut archs: Vec<Arch> = Vec::new();
    for line in text.lines() {
        let number: String = line.trim().split('.').collect();
        if !number.parse::<u32>().is_ok_and(|number| number >= 80) {
            continue;
        }
        let name = match number.as_str() {
            // Hopper's own instructions are only there under this name.
            "90" => "90a".into(),
            _ if known.split_whitespace().any(|code| code == format!("sm_{number}")) => number,
            _ => PORTABLE.into(),
        };
        if !archs.iter().any(|arch| arch.0 == name) {
            archs.push(Arch(name));
        }
    }
    if archs.is_empty() { all() } else { archs }
}
