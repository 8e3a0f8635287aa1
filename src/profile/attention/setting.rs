//! What is profiled, and how it is written on the command line.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::ops::attention::pattern::Pattern;
use crate::{Error, Result};

/// One way through attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    Forward,
    Backward,
    /// One new query against the cached keys of all tokens before it.
    Decode,
}

impl Pass {
    pub const fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Decode => "decode",
        }
    }

    /// Floating point operations a visible pair and channel.
    pub const fn flops(self) -> f64 {
        match self {
            Pass::Forward | Pass::Decode => 4.0,
            Pass::Backward => 10.0,
        }
    }
}

/// What is profiled.
#[derive(Debug, Clone)]
pub struct Setting {
    /// One text for all heads, or one for each, as [`Pattern::parse_heads`] reads them.
    pub patterns: Vec<String>,
    /// Rising.
    pub lengths: Vec<usize>,
    pub batch: usize,
    pub heads: usize,
    /// Channels of a head.
    pub head_size: usize,
    pub passes: Vec<Pass>,
    pub device: Device,
    /// Seconds that all measuring together may take, about.
    pub seconds: f64,
    pub seed: u64,
    pub feed_forward: FeedForward,
}

/// The feed-forward layer that attention is compared with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedForward {
    /// Where the sizes come from.
    pub model: String,
    pub width: usize,
    pub inside: usize,
}

impl Setting {
    pub fn width(&self) -> usize {
        self.heads * self.head_size
    }

    /// The patterns of the heads at one length.
    ///
    /// # Errors
    /// If a text is no pattern.
    pub fn at(&self, pattern: &str, length: usize) -> Result<Vec<Pattern>> {
        Pattern::parse_heads(pattern, self.heads, Some(length))
    }

    /// Refuses what cannot be profiled.
    ///
    /// # Errors
    /// If a number is 0, a pattern unknown, or a pattern has no place in a profile over tokens.
    pub fn check(&self) -> Result<()> {
        for (name, number) in [
            ("--batch", self.batch),
            ("--heads", self.heads),
            ("--head-size", self.head_size),
            ("--lengths", self.lengths.len()),
            ("--patterns", self.patterns.len()),
            ("--passes", self.passes.len()),
        ] {
            if number == 0 {
                return Err(Error::usage(format!("{name}: at least one is needed")));
            }
        }
        if !(self.seconds > 0.0 && self.seconds.is_finite()) {
            return Err(Error::usage(format!("--seconds {}: more than 0 is needed", self.seconds)));
        }
        for (text, &length) in self.patterns.iter().flat_map(|p| self.lengths.iter().map(move |l| (p, l))) {
            if self.at(text, length)?.iter().any(|pattern| !pattern.shifts()) {
                return Err(Error::usage(format!(
                    "--patterns {text}: it is of samples that look at frames, and a profile has tokens alone"
                )));
            }
        }
        Ok(())
    }
}

/// More than this is no sequence that any machine attends to.
const LONGEST: usize = 1 << 24;

/// Reads `1k,2k,4k`, or `1k..32k` for doublings; `k` is 1024. Sorted, each once.
///
/// # Errors
/// What is no length.
pub fn lengths(text: &str) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once("..") {
            None => all.push(length(word)?),
            Some((from, to)) => {
                let (from, to) = (length(from)?, length(to.trim_start_matches('='))?);
                if from > to {
                    return Err(Error::usage(format!(
                        "--lengths {word}: the first must not be above the last"
                    )));
                }
                all.extend(std::iter::successors(Some(from), |n| Some(2 * n)).take_while(|&n| n <= to));
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    if all.is_empty() { Err(Error::usage("--lengths: at least one is needed")) } else { Ok(all) }
}

/// One length: `1500`, `16k`, `1m`.
///
/// # Errors
/// What is no length, or is out of bounds.
pub fn length(word: &str) -> Result<usize> {
    let word = word.trim();
    let (digits, unit) = match word.as_bytes().last() {
        Some(b'k' | b'K') => (&word[..word.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&word[..word.len() - 1], 1 << 20),
        _ => (word, 1),
    };
    let number = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    number.filter(|n| (1..=LONGEST).contains(n)).ok_or_else(|| {
        Error::usage(format!(
            "--lengths {word}: a length is a number from 1 to 16m, such as 1500, 4k or 1k..32k"
        ))
    })
}

/// Splits a list of patterns at its commas, but for those inside `band:3,1`; `;` separates too.
pub fn patterns(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for part in text.split(';') {
        let mut open = false;
        for word in part.split(',') {
            let first = word.split([':', ' ', '+']).next().unwrap_or_default();
            // A side of a window is a number or `all`, perhaps with more behind; `2*full` begins with a number too.
            let side = first == "all" || (!first.is_empty() && first.bytes().all(|b| b.is_ascii_digit()));
            match all.last_mut().filter(|_| open && side) {
                Some(last) => {
                    last.push(',');
                    last.push_str(word);
                }
                None => all.push(word.trim().to_string()),
            }
            open = true;
        }
    }
    all.retain(|pattern| !pattern.is_empty());
    let mut seen = std::collections::HashSet::new();
    all.retain(|pattern| seen.insert(pattern.clone()));
    all
}

/// Reads `forward,backward,decode`.
///
/// # Errors
/// Another word.
pub fn passes(text: &str) -> Result<Vec<Pass>> {
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let pass = [Pass::Forward, Pass::Backward, Pass::Decode].into_iter().find(|pass| pass.name() == word);
        all.push(pass.ok_or_else(|| {
            Error::usage(format!("--passes {word}: no such pass; there are forward, backward and decode"))
        })?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_lists_and_doublings() {
        assert_eq!(lengths("1k..8k").unwrap(), [1024, 2048, 4096, 8192]);
        assert_eq!(lengths("64..300, 1k,64").unwrap(), [64, 128, 256, 1024]);
        assert_eq!(lengths("1m").unwrap(), [1 << 20]);
        for wrong in ["", "0", "k", "4k..1k", "99m", "1.5k", "-3"] {
            assert!(lengths(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_comma_within_a_window_stays_there() {
        assert_eq!(
            patterns("full,band:3,1,dilated:2,all:5, strided:sqrt ,2*band:8,2 2*full;causal,full"),
            ["full", "band:3,1", "dilated:2,all:5", "strided:sqrt", "2*band:8,2 2*full", "causal"]
        );
    }

    #[test]
    fn passes_come_in_order_and_once() {
        assert_eq!(passes("decode,forward,decode").unwrap(), [Pass::Forward, Pass::Decode]);
        assert!(passes("sideways").unwrap_err().to_string().contains("no such pass"));
    }
}
