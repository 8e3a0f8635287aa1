//! The README's table of operations, made from the registry, so that it cannot say what is not so.

use serde::Serialize;

use super::{Gradient, REGISTRY};

/// One operation of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub op: &'static str,
    /// What it computes.
    pub meaning: &'static str,
    /// Cases whose outputs are compared with double precision.
    pub checked: usize,
    /// Of these, cases whose gradients are compared with central differences.
    pub gradients: usize,
    /// Cases that `evoke bench` times.
    pub timed: usize,
    pub devices: &'static [&'static str],
}

/// Every operation has a form on these: [`Op`](crate::ops::Op) asks for the first, and `tests/emulated.rs` runs every
/// case's kernels.
const DEVICES: &[&str] = &["cpu", "cuda"];

/// All operations, in the order of the registry.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for entry in REGISTRY {
        let cases = (entry.cases)();
        for &(op, meaning) in entry.ops {
            let own = cases.iter().filter(|case| case.op == op);
            let (checked, timed): (Vec<_>, Vec<_>) = own.partition(|case| case.reference.is_some());
            let gradients = checked.iter().filter(|case| case.gradient != Gradient::None).count();
            let (checked, timed) = (checked.len(), timed.len());
            rows.push(Row { op, meaning, checked, gradients, timed, devices: DEVICES });
        }
    }
    rows
}

/// The rows as a table in Markdown, without a line end at its end.
pub fn markdown(rows: &[Row]) -> String {
    let mut lines = vec![
        "| operation | what it computes | cases checked | gradients checked | cases timed | devices |"
            .to_string(),
        "|---|---|---|---|---|---|".to_string(),
    ];
    // An operation without a gradient says so; a nought would look like one that nobody checks.
    let count = |n: usize| if n == 0 { "-".to_string() } else { n.to_string() };
    lines.extend(rows.iter().map(|row| {
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            row.op,
            row.meaning,
            count(row.checked),
            count(row.gradients),
            count(row.timed),
            row.devices.join(", ")
        )
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cases::all;

    #[test]
    fn every_case_belongs_to_a_row_and_every_row_has_cases() {
        let rows = rows();
        for row in &rows {
            assert!(row.checked + row.timed > 0, "{} has no case", row.op);
            assert_eq!(rows.iter().filter(|other| other.op == row.op).count(), 1, "{} stands twice", row.op);
            assert!(!row.meaning.contains('|'), "{}: a bar would end the cell", row.op);
        }
        // A case that its entry does not name would be counted nowhere.
        assert_eq!(rows.iter().map(|row| row.checked + row.timed).sum::<usize>(), all().len());
    }
}
