//! Which GPUs to compile for.

use std::process::Command;

/// One target of nvcc.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arch(pub String);

/// Every target of `EVOKE_CUDA_ARCHS=all`: Ampere, Ada, Hopper, Blackwell.
const ALL: [&str; 6] = ["80", "86", "89", "90a", "100", "120"];
/// What GPUs that come later compile for themselves when the program starts.
const PORTABLE: &str = "80";

impl Arch {
    /// nvcc's option for it.
    pub fn option(&self) -> String {
        let name = &self.0;
        format!("-gencode=arch=compute_{name},code=sm_{name}")
    }

    /// nvcc's option for code that later GPUs compile for themselves.
    pub fn portable_option() -> String {
        format!("-gencode=arch=compute_{PORTABLE},code=compute_{PORTABLE}")
    }
}

/// `EVOKE_CUDA_ARCHS`: a list such as `80,90a`, `all` or `none`; not set: those of the GPUs here, else all.
pub fn wanted() -> Result<Vec<Arch>, String> {
    let all = || ALL.map(|a| Arch(a.into())).to_vec();
    match std::env::var("EVOKE_CUDA_ARCHS").as_deref() {
        Ok("all") => Ok(all()),
        Ok("none") => Ok(Vec::new()),
        Ok(list) if !list.trim().is_empty() => list.split(',').map(|one| parse(one.trim())).collect(),
        _ => {
            let here = present();
            Ok(if here.is_empty() { all() } else { here })
        }
    }
}

fn parse(name: &str) -> Result<Arch, String> {
    let name = name.trim_start_matches("sm_");
    let digits = name.trim_end_matches(['a', 'f']);
    match digits.parse::<u32>() {
        Ok(number) if number >= 80 && name.len() - digits.len() <= 1 => Ok(Arch(name.into())),
        Ok(number) if number < 80 => {
            Err(format!("EVOKE_CUDA_ARCHS: sm_{number} is too old; the kernels need sm_80 (Ampere) or newer"))
        }
        _ => Err(format!(
            "EVOKE_CUDA_ARCHS: {name:?} is no architecture; give a list such as 80,90a, or all, or none"
        )),
    }
}

/// Those of the GPUs in this machine, as the driver's tool tells; empty where there is none.
fn present() -> Vec<Arch> {
    let told = Command::new("nvidia-smi").args(["--query-gpu=compute_cap", "--format=csv,noheader"]).output();
    let Ok(told) = told else { return Vec::new() };
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut archs: Vec<Arch> = Vec::new();
    for line in text.lines() {
        let number: String = line.chars().filter(char::is_ascii_digit).collect();
        // Hopper's own instructions are only there under this name.
        let name = if number == "90" { "90a".into() } else { number };
        if let Ok(arch) = parse(&name)
            && !archs.contains(&arch)
        {
            archs.push(arch);
        }
    }
    archs
}
