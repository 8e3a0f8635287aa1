//! Timing several things in turns, so that a clock that falls, or another program, meets all of them alike.

use std::time::Instant;

use crate::Result;

/// Whose turn it is: always that of the one that has had the smallest part of its time. Runs of equal length come as
/// A B A B; of a long and a short one, the short one's many runs are spread between the long one's few.
#[derive(Debug, Clone)]
pub struct Turns {
    seconds: f64,
    least: usize,
    /// Seconds that each has had, and its runs.
    had: Vec<(f64, usize)>,
}

impl Turns {
    /// For `count` things: each has its turns until it had `seconds` and at least `least` runs.
    pub fn new(count: usize, seconds: f64, least: usize) -> Turns {
        Turns { seconds, least, had: vec![(0.0, 0); count] }
    }

    /// The part of its time that one has had: from 1 on it is done.
    fn part(&self, number: usize) -> f64 {
        let (seconds, runs) = self.had[number];
        let of_time = if self.seconds > 0.0 { seconds / self.seconds } else { 1.0 };
        of_time.min(runs as f64 / self.least as f64).min(1.0)
    }

    /// Who goes next; `None` when all are done.
    pub fn next(&self) -> Option<usize> {
        let parts = (0..self.had.len()).map(|number| (number, self.part(number)));
        // The first of equals.
        let least = parts.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (least.1 < 1.0).then_some(least.0)
    }

    /// One had its turn, which took so long with all that went before it.
    pub fn took(&mut self, number: usize, seconds: f64) {
        self.had[number].0 += seconds;
        self.had[number].1 += 1;
    }

    /// The part of all time that is over, from 0 to 1.
    pub fn done(&self) -> f64 {
        let count = self.had.len();
        if count == 0 {
            return 1.0;
        }
        (0..count).map(|number| self.part(number)).sum::<f64>() / count as f64
    }
}

/// Seconds of each run of `count` things that take turns. `before(number, again)` goes before each run; `again` says that it
/// was this one's turn before, too. `body` tells how long its run took ([`clocked`]). `tell` hears what part is done.
///
/// # Errors
/// The first of `before` and `body`.
pub fn in_turns(
    mut turns: Turns,
    mut before: impl FnMut(usize, bool) -> Result<()>,
    mut body: impl FnMut(usize) -> Result<f64>,
    mut tell: impl FnMut(f64),
) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); turns.had.len()];
    let mut last = None;
    while let Some(number) = turns.next() {
        let began = Instant::now();
        before(number, last == Some(number))?;
        times[number].push(body(number)?);
        turns.took(number, began.elapsed().as_secs_f64());
        last = Some(number);
        tell(turns.done());
    }
    Ok(times)
}

/// Seconds that it takes.
///
/// # Errors
/// Its own.
pub fn clocked(run: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which things of these lengths have their turns.
    fn order(lengths: &[f64], seconds: f64, least: usize) -> Vec<usize> {
        let mut turns = Turns::new(lengths.len(), seconds, least);
        let mut order = Vec::new();
        while let Some(number) = turns.next() {
            turns.took(number, lengths[number]);
            order.push(number);
        }
        assert_eq!(turns.done(), 1.0);
        order
    }

    #[test]
    fn equals_take_turns_one_by_one() {
        assert_eq!(order(&[1.0, 1.0], 3.0, 1), [0, 1, 0, 1, 0, 1]);
        assert_eq!(order(&[9.0, 9.0, 9.0], 1.0, 2), [0, 1, 2, 0, 1, 2]);
        // No seconds at all: as many runs as must be.
        assert_eq!(order(&[1.0, 2.0], 0.0, 2), [0, 1, 0, 1]);
        assert_eq!(order(&[], 1.0, 2), [0usize; 0]);
    }

    #[test]
    fn the_runs_of_a_short_one_are_spread_over_the_time_of_a_long_one() {
        let order = order(&[0.25, 1.0], 8.0, 5);
        assert_eq!(order.iter().filter(|&&n| n == 0).count(), 32);
        assert_eq!(order.iter().filter(|&&n| n == 1).count(), 8);
        // However the time is cut, each part of it holds both in the same proportion.
        for part in order[2..].chunks_exact(10) {
            let long = part.iter().filter(|&&n| n == 1).count();
            assert!((1..=3).contains(&long), "{order:?}");
        }
        // One that is so long that its few runs take more than its time still meets the other throughout.
        let order = super::tests::order(&[0.1, 3.0], 1.0, 5);
        let places: Vec<usize> = (0..order.len()).filter(|&at| order[at] == 1).collect();
        assert_eq!(places.len(), 5);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 2), "{order:?}");
    }

    #[test]
    fn each_run_is_timed_without_what_goes_before_it() {
        let mut again = Vec::new();
        let mut told = Vec::new();
        let times = in_turns(
            Turns::new(2, 0.0, 3),
            |number, same| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                again.push((number, same));
                Ok(())
            },
            |_| clocked(|| Ok(())),
            |part| told.push(part),
        )
        .expect("it runs");
        assert!(times.iter().flatten().all(|&seconds| seconds < 0.02), "{times:?}");
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
        assert!(again.iter().all(|&(_, same)| !same) && again.len() == 6, "{again:?}");
        assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
        let failing =
            in_turns(Turns::new(1, 1.0, 1), |_, _| Ok(()), |_| Err(crate::Error::failed("no")), |_| ());
        assert!(failing.is_err());
    }
}
