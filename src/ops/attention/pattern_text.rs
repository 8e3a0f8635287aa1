//! Patterns as text, for configurations: `band:256`, `dilated:256:8`, `strided:sqrt`.
//!
//! | text | pattern |
//! |---|---|
//! | `full` `causal` | every key; every key up to the query |
//! | `band:LEFT` `band:LEFT,RIGHT` | window; without `RIGHT` it looks back only |
//! | `dilated:LEFT:STEP` `dilated:LEFT,RIGHT:STEP` | the same over every `STEP`th key |
//! | `strided:PERIOD` `strided-local:PERIOD` `strided-column:PERIOD` | Sparse Transformer: merged, or one of its heads |
//! | `fixed:LENGTH:COUNT` `fixed-local:LENGTH` `fixed-summary:LENGTH:COUNT` | the same with blocks; the last `COUNT` keys of each are its summary, or with `:FIRST` behind it those from `FIRST` on |
//! | `in-time:LEFT,RIGHT:TOKENS:FRAMES/SAMPLES` | frames of `TOKENS` about the one shown |
//!
//! `LEFT` and `RIGHT` may be `all`. A period, step or length may be `sqrt`, which is the power of two nearest the root of
//! the sequence's length. Behind any of them, `+prefix:COUNT` adds keys that every query sees. Printing a pattern gives
//! such a text back, the shortest one: `strided-local:128` is printed as the `band:128` it is.

use std::fmt;
use std::str::FromStr;

use super::pattern::{ALL, Kind, Pattern, Rate};
use crate::{Error, Result};

impl Pattern {
    /// Reads one pattern; `length` is the tokens of the sequence, which `sqrt` needs.
    ///
    /// # Errors
    /// If the text is no pattern, or an impossible one.
    pub fn parse(text: &str, length: Option<usize>) -> Result<Pattern> {
        let pattern = read(text.trim(), length)
            .map_err(|why| Error::usage(format!("attention pattern `{}`: {why}", text.trim())))?;
        pattern.check()?;
        Ok(pattern)
    }

    /// Reads one pattern for all heads, or one for each: `band:256 band:256 dilated:256:8 full`, also written
    /// `2*band:256 dilated:256:8 full`.
    ///
    /// # Errors
    /// If a text is no pattern, or there are neither one nor `heads`.
    pub fn parse_heads(text: &str, heads: usize, length: Option<usize>) -> Result<Vec<Pattern>> {
        let mut all = Vec::new();
        for word in text.split_whitespace() {
            let (count, word) = match word.split_once('*') {
                Some((count, word)) => (count.parse().ok().filter(|n| (1..=heads).contains(n)), word),
                None => (Some(1), word),
            };
            let count = count.ok_or_else(|| {
                Error::usage(format!(
                    "attention patterns `{text}`: before a `*` stands a number from 1 to {heads}"
                ))
            })?;
            all.extend(std::iter::repeat_n(Pattern::parse(word, length)?, count));
        }
        if all.len() != 1 && all.len() != heads {
            return Err(Error::usage(format!(
                "attention patterns `{text}`: {} for {heads} heads; give one for all or one for each",
                all.len()
            )));
        }
        Ok(all)
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pattern> {
        Pattern::parse(text, None)
    }
}

/// What is wrong, in words.
type Why = String;

const FORMS: &str = "known are full, causal, band:256, dilated:256:8, strided:128, strided-local:128, \
                     strided-column:128, fixed:128:16, fixed-local:128, fixed-summary:128:16, in-time:1,0:49:3/16000";

fn read(text: &str, length: Option<usize>) -> std::result::Result<Pattern, Why> {
    if let Some((pattern, prefix)) = text.split_once("+prefix:") {
        return Ok(read(pattern, length)?.with_prefix(number(prefix)?));
    }
    let words: Vec<&str> = text.split(':').collect();
    let period = |word: &str| if word == "sqrt" { near_root(length) } else { number(word) };
    Ok(match *words.as_slice() {
        ["full"] => Pattern::full(),
        ["causal"] => Pattern::causal(),
        ["band", window] => {
            let (left, right) = reaching(window)?;
            Pattern::banded(left, right)
        }
        ["dilated", window, step] => {
            let (left, right) = reaching(window)?;
            Pattern::dilated(left, right, period(step)?)
        }
        ["strided", stride] => Pattern::strided(period(stride)?),
        ["strided-local", stride] => Pattern::strided_local(positive(period(stride)?)?),
        ["strided-column", stride] => Pattern::strided_column(period(stride)?),
        ["fixed-local", block] => Pattern::fixed_local(period(block)?),
        ["fixed" | "fixed-summary", block, count, ref first @ ..] if first.len() <= 1 => {
            let (block, count) = (period(block)?, number(count)?);
            let last = block
                .checked_sub(count)
                .ok_or_else(|| format!("a summary of {count} keys does not fit a block of {block}"))?;
            let first = first.first().map_or(Ok(last), |word| number(word))?;
            if words[0] == "fixed" {
                Pattern::fixed(block, first, count)
            } else {
                Pattern::fixed_summary(block, first, count)
            }
        }
        ["in-time", window, tokens, rate] => {
            let (left, right) = sides(window)?;
            let (frames, samples) =
                rate.split_once('/').ok_or("its rate is FRAMES/SAMPLES, such as 3/16000")?;
            Pattern::in_time(left, right, number(tokens)?, Rate::new(number(frames)?, number(samples)?))
        }
        _ => return Err(format!("no such form; {FORMS}")),
    })
}

/// `LEFT` or `LEFT,RIGHT`.
fn sides(window: &str) -> std::result::Result<(u32, u32), Why> {
    let side = |word: &str| if word == "all" { Ok(ALL) } else { number(word) };
    match window.split_once(',') {
        Some((left, right)) => Ok((side(left)?, side(right)?)),
        None => Ok((side(window)?, 0)),
    }
}

/// The sides of a band, which must see more than its own key.
fn reaching(window: &str) -> std::result::Result<(u32, u32), Why> {
    match sides(window)? {
        (0, 0) => Err("a band must reach at least 1".into()),
        sides => Ok(sides),
    }
}

fn positive(period: u32) -> std::result::Result<u32, Why> {
    if period == 0 { Err("a band must reach at least 1".into()) } else { Ok(period) }
}

fn number(word: &str) -> std::result::Result<u32, Why> {
    match word.parse::<i128>() {
        Ok(n) if n < 0 => Err(format!("{n} is negative; it counts keys")),
        Ok(n) => u32::try_from(n).ok().filter(|&n| n != ALL).ok_or_else(|| format!("{n} is too large")),
        Err(_) => Err(format!("`{word}` is not a number")),
    }
}

/// The power of two nearest the root of the length.
fn near_root(length: Option<usize>) -> std::result::Result<u32, Why> {
    let length = length.ok_or("`sqrt` needs the length of the sequence, which is not known here")?;
    let below = 1u64 << (length.max(1).ilog2() / 2);
    // The root lies in below .. 2 below: which half of it?
    let nearest = if 4 * length as u64 > 9 * below * below { 2 * below } else { below };
    u32::try_from(nearest).map_err(|_| format!("the root of {length} is too large"))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (kind, prefix) = self.parts();
        match kind {
            Kind::Band { left: ALL, right: ALL, dilation: 1 } => f.write_str("full")?,
            Kind::Band { left: ALL, right: 0, dilation: 1 } => f.write_str("causal")?,
            Kind::Band { left: ALL, right: 0, dilation } => write!(f, "strided-column:{dilation}")?,
            Kind::Band { left, right, dilation: 1 } => write!(f, "band:{}", Sides(left, right))?,
            Kind::Band { left, right, dilation } => write!(f, "dilated:{}:{dilation}", Sides(left, right))?,
            Kind::Strided { stride } => write!(f, "strided:{stride}")?,
            Kind::Block { length } => write!(f, "fixed-local:{length}")?,
            Kind::Summary { length, first, count } => {
                write!(f, "fixed-summary:{}", Blocks(length, first, count))?;
            }
            Kind::Fixed { length, first, count } => write!(f, "fixed:{}", Blocks(length, first, count))?,
            Kind::Frames { left, right, tokens, rate } => {
                write!(f, "in-time:{}:{tokens}:{}/{}", Sides(left, right), rate.frames, rate.queries)?;
            }
        }
        if prefix > 0 { write!(f, "+prefix:{prefix}") } else { Ok(()) }
    }
}

struct Sides(u32, u32);

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let side = |n: u32| if n == ALL { "all".into() } else { n.to_string() };
        f.write_str(&side(self.0))?;
        if self.1 == 0 { Ok(()) } else { write!(f, ",{}", side(self.1)) }
    }
}

struct Blocks(u32, u32, u32);

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Blocks(length, first, count) = *self;
        write!(f, "{length}:{count}")?;
        if u64::from(first) + u64::from(count) == u64::from(length) { Ok(()) } else { write!(f, ":{first}") }
    }
}

#[cfg(test)]
#[path = "pattern_text_tests.rs"]
mod tests;
