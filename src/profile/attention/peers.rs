//! Other programs on the same work: their JSON, read and put beside.

use std::path::Path;

use super::fit::power_law;
use super::report::{Peer, PeerFit, Point};
use super::setting::Setting;
use super::summary::upper_half;
use crate::error::At;
use crate::{Error, Result};

/// Reads one program's report, or a list of them.
///
/// # Errors
/// If the file cannot be read, or is no such JSON.
pub fn read(file: &Path) -> Result<Vec<Peer>> {
    let text = std::fs::read_to_string(file).at("read", file)?;
    let wrong = |error: serde_json::Error| {
        Error::failed(format!(
            "{}: {error}; --peers takes the JSON that benches/peers/attention.py writes",
            file.display()
        ))
    };
    match serde_json::from_str(&text).map_err(wrong)? {
        list @ serde_json::Value::Array(_) => serde_json::from_value(list).map_err(wrong),
        one => Ok(vec![serde_json::from_value(one).map_err(wrong)?]),
    }
}

/// Keeps what was profiled here too, and fits what lies in the upper half of the lengths.
///
/// # Errors
/// If a point is of other work than here.
pub fn beside(file: &Path, mut peers: Vec<Peer>, s: &Setting, own: &[Point]) -> Result<Vec<Peer>> {
    for peer in &mut peers {
        peer.points.retain(|point| {
            s.patterns.contains(&point.pattern)
                && s.passes.contains(&point.pass)
                && s.lengths.contains(&point.length)
        });
        check_work(file, peer, own)?;
        peer.fits = fits(peer, s, own);
    }
    Ok(peers)
}

/// Times of other work are no comparison: the visible pairs must be the same.
fn check_work(file: &Path, peer: &Peer, own: &[Point]) -> Result<()> {
    for theirs in &peer.points {
        let ours = own
            .iter()
            .find(|p| p.pattern == theirs.pattern && p.pass == theirs.pass && p.length == theirs.length);
        if let (Some(pairs), Some(ours)) = (theirs.visible_pairs, ours)
            && pairs != ours.visible_pairs
        {
            return Err(Error::failed(format!(
                "{}: {} {} at {} has {pairs} visible pairs, here it has {}; run both with the same --batch and --heads",
                file.display(),
                theirs.pattern,
                theirs.pass.name(),
                theirs.length,
                ours.visible_pairs
            )));
        }
    }
    Ok(())
}

fn fits(peer: &Peer, s: &Setting, own: &[Point]) -> Vec<PeerFit> {
    let upper = upper_half(&s.lengths);
    let mut fits: Vec<PeerFit> = Vec::new();
    for point in &peer.points {
        if fits.iter().any(|f| f.pattern == point.pattern && f.pass == point.pass && f.way == point.way) {
            continue;
        }
        let same = peer
            .points
            .iter()
            .filter(|p| p.pattern == point.pattern && p.pass == point.pass && p.way == point.way);
        let measured: Vec<(usize, f64)> = same.filter_map(|p| Some((p.length, p.median_s?))).collect();
        let in_upper: Vec<(f64, f64)> =
            measured.iter().filter(|(n, _)| upper.contains(n)).map(|&(n, t)| (n as f64, t)).collect();
        let law = power_law(&in_upper);
        let both = measured.iter().filter_map(|&(n, theirs)| {
            let ours =
                own.iter().find(|p| p.pattern == point.pattern && p.pass == point.pass && p.length == n);
            Some((n, theirs / ours?.median_s?))
        });
        let longest = both.max_by_key(|(n, _)| *n);
        fits.push(PeerFit {
            pattern: point.pattern.clone(),
            pass: point.pass,
            way: point.way.clone(),
            time_exponent: law.map(|law| law.exponent),
            ci95: law.and_then(|law| law.ci95),
            times_evoke: longest.map(|(_, times)| times),
            at_length: longest.map(|(n, _)| n),
        });
    }
    fits
}
