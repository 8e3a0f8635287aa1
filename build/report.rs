//! What ptxas says of each kernel: registers, shared memory, spills.

use std::fmt::Write;
use std::path::Path;

use crate::compile::Module;

/// One kernel on one target.
#[derive(Debug, Default, Clone)]
struct Row {
    kernel: String,
    arch: String,
    registers: u32,
    shared_bytes: u32,
    stack_bytes: u32,
    spill_bytes: u32,
}

/// The names of the kernels in a log, each once.
pub fn kernels(log: &str) -> Vec<String> {
    let mut names: Vec<String> = rows(log).into_iter().map(|row| row.kernel).collect();
    names.sort();
    names.dedup();
    names
}

/// Reads ptxas's lines. A function that was not inlined is reported after the kernel that calls it, and counts as that
/// kernel's. Lines of another form leave 0 registers, which the test that reads the report sees.
fn rows(log: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut parts = rest.split('\'');
            let kernel = parts.next().unwrap_or_default().to_string();
            let arch = parts.nth(1).unwrap_or_default().trim_start_matches("sm_").to_string();
            rows.push(Row { kernel, arch, ..Row::default() });
        }
        let Some(row) = rows.last_mut() else { continue };
        if let Some(stack) = before(line, " bytes stack frame") {
            row.stack_bytes = row.stack_bytes.max(stack);
            row.spill_bytes += before(line, " bytes spill stores").unwrap_or(0)
                + before(line, " bytes spill loads").unwrap_or(0);
        }
        if let Some(registers) = before(line, " registers") {
            row.registers = registers;
            row.shared_bytes = before(line, " bytes smem").unwrap_or(0);
        }
    }
    rows
}

/// The number that stands before `what`.
fn before(line: &str, what: &str) -> Option<u32> {
    let end = line.find(what)?;
    line[..end].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Writes `kernels-report.json`: a list of objects, a kernel and a target each.
pub fn write(to: &Path, modules: &[Module]) -> Result<(), String> {
    let mut lines = Vec::new();
    for module in modules {
        for row in rows(&module.log) {
            let mut line = String::new();
            let _ = write!(
                line,
                "  {{\"kernel\": \"{}\", \"file\": \"{}\", \"arch\": \"{}\", \"registers\": {}, \"shared_bytes\": {}, \
                 \"stack_bytes\": {}, \"spill_bytes\": {}}}",
                row.kernel,
                module.name,
                row.arch,
                row.registers,
                row.shared_bytes,
                row.stack_bytes,
                row.spill_bytes
            );
            lines.push(line);
        }
    }
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    std::fs::write(to, text).map_err(|e| format!("{}: {e}", to.display()))
}
