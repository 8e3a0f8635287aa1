//! What a run will hold in memory, known before step 0.

use serde::Serialize;

use crate::device::{self, Device};
use crate::graph::plan::{Program, Region};
use crate::graph::{DType, Graph};
use crate::nn::Parameters;
use crate::{Error, Result};

/// Bytes by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub weights: usize,
    pub moments: usize,
    pub gradients: usize,
    pub activations: usize,
    pub workspace: usize,
    pub total: usize,
}

impl Budget {
    /// Plans the largest training step of a model, without taking any memory. `gradients` holds those of parameters;
    /// those of activations stand with the activations, whose memory they share.
    pub fn of(step: Graph, parameters: &Parameters, average: bool, device: Device) -> Budget {
        let step = Program::new(step, Region::Work);
        let trained = 4 * parameters.trained();
        let averages = if average { trained } else { 0 };
        let copied = match device.storage() {
            DType::F32 => 0,
            storage => storage.bytes() * (parameters.trained() + parameters.constant()),
        };
        let mut budget = Budget {
            weights: trained + 4 * parameters.constant() + copied + averages,
            moments: 2 * trained,
            gradients: trained,
            activations: step.arena - step.usage.workspace,
            workspace: step.usage.workspace,
            total: 0,
        };
        budget.total =
            budget.weights + budget.moments + budget.gradients + budget.activations + budget.workspace;
        budget
    }

    /// Refuses what cannot fit, and says what would help.
    ///
    /// # Errors
    /// If the total is above `available` bytes.
    pub fn check(&self, available: Option<usize>, batch: usize) -> Result<()> {
        let Some(available) = available.filter(|&available| self.total > available) else { return Ok(()) };
        let fixed = self.weights + self.moments + self.gradients;
        let each = (self.activations + self.workspace).div_ceil(batch.max(1)).max(1);
        let fits = available.saturating_sub(fixed) / each;
        let advice = match fits {
            0 => "choose a smaller model".to_string(),
            n => format!("train.batch = {n} would fit (with train.accumulate to keep the sum)"),
        };
        Err(Error::failed(format!(
            "the run needs {} ({}) and {} are free; {advice}",
            bytes(self.total),
            self.line(),
            bytes(available)
        )))
    }

    fn rows(&self) -> [(&'static str, usize); 6] {
        [
            ("weights", self.weights),
            ("moments", self.moments),
            ("gradients", self.gradients),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("total", self.total),
        ]
    }

    /// A table for people.
    pub fn table(&self) -> String {
        self.rows().map(|(name, size)| format!("{name:<12} {:>10}", bytes(size))).join("\n")
    }

    /// The same in one line.
    pub fn line(&self) -> String {
        self.rows().map(|(name, size)| format!("{name} {}", bytes(size))).join(", ")
    }
}

/// Most samples of a batch that are looked at: more than any machine holds.
const MOST: usize = 1 << 24;

/// The largest batch that takes at most `available` bytes: it does and one more sample would not. 0 where a single
/// sample is too much. A batch that cannot be planned does not fit.
pub fn largest_batch(planned: impl Fn(usize) -> Result<Budget>, available: usize) -> usize {
    let total = |batch: usize| planned(batch).ok().map(|budget| budget.total);
    let fits = |batch: usize| total(batch).is_some_and(|total| total <= available);
    let (Some(one), Some(two)) = (total(1), total(2)) else { return usize::from(fits(1)) };
    if one > available {
        return 0;
    }
    // Memory grows nearly as a line, so the place is near; from there in doubling steps to both sides of it.
    let each = two.saturating_sub(one).max(1);
    let guess = (1 + (available - one) / each).min(MOST);
    let (mut low, mut high, mut step) = (1, guess + 1, 1);
    if fits(guess) {
        low = guess;
        while fits(high) {
            if high >= MOST {
                return MOST;
            }
            (low, high, step) = (high, high + step, 2 * step);
        }
    } else {
        high = guess;
        while high > step + 1 && !fits(high - step) {
            (high, step) = (high - step, 2 * step);
        }
        low = if high > step + 1 { high - step } else { low };
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        *(if fits(middle) { &mut low } else { &mut high }) = middle;
    }
    low
}

/// Bytes that a run may still take on a device, where it tells.
pub fn available(device: Device) -> Option<usize> {
    match device {
        Device::Cuda(number) => device::cuda::available(number),
        _ => available_memory(),
    }
}

/// Bytes that programs may still take, where the system tells.
pub fn available_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

/// The most memory that this process has held, in bytes, where the system tells.
pub fn peak_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

/// `12.3 MB`, in powers of ten.
pub fn bytes(count: usize) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.1} MB", c / 1e6),
        c => format!("{:.1} kB", c / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_fits_and_the_next_one_does_not() {
        // A line, one with steps, and one that bends, as plans do where other tensors become the largest.
        let shapes: [fn(usize) -> usize; 3] =
            [|n| 1000 + 70 * n, |n| 500 + n.next_multiple_of(16) * 13, |n| 300 + n * n / 8 + 11 * n];
        for shape in shapes {
            let planned = |batch| Ok(Budget { total: shape(batch), ..Budget::default() });
            for available in [0, 1000, 1070, 1071, 5000, 12_345, 99_999, 10_000_000] {
                let batch = largest_batch(planned, available);
                assert!(batch == 0 || shape(batch) <= available, "{batch} in {available}");
                assert!(shape(batch + 1) > available, "{batch} in {available}");
            }
        }
        // What a device refuses does not fit, however much memory there is.
        let refused = |batch| match batch {
            0..=37 => Ok(Budget { total: batch, ..Budget::default() }),
            _ => Err(Error::failed("too many elements")),
        };
        assert_eq!(largest_batch(refused, usize::MAX), 37);
        assert_eq!(largest_batch(|_| Err(Error::failed("never")), usize::MAX), 0);
    }

    #[test]
    fn a_run_that_does_not_fit_names_the_batch_that_would() {
        let budget = Budget {
            weights: 100,
            moments: 200,
            gradients: 100,
            activations: 900,
            workspace: 100,
            total: 1400,
        };
        assert!(budget.check(Some(1400), 10).is_ok() && budget.check(None, 10).is_ok());
        let error = budget.check(Some(1000), 10).unwrap_err().to_string();
        assert!(error.contains("train.batch = 6 would fit"), "{error}");
        assert!(budget.check(Some(300), 10).unwrap_err().to_string().contains("smaller model"));
    }
}
