//! A step as a trace that Perfetto and Chrome open: one slice an operation, one track a pass.

use serde_json::{Value, json};

use super::{Report, pass_of};

/// The last step, in the Trace Event Format: times in microseconds from the step's start.
pub fn trace(report: &Report) -> Value {
    let tracks = ["forward", "backward", "update"];
    let names = tracks.iter().enumerate().map(|(number, name)| {
        json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": number + 1, "args": {"name": name}})
    });
    let slices = report.last.iter().map(|timed| {
        let track = tracks.iter().position(|&name| name == pass_of(timed)).unwrap_or(0) + 1;
        json!({
            "ph": "X",
            "name": timed.op,
            "cat": pass_of(timed),
            "ts": timed.start * 1e6,
            "dur": timed.seconds * 1e6,
            "pid": 1,
            "tid": track,
            "args": {"layer": timed.layer, "flops": timed.flops, "bytes": timed.bytes},
        })
    });
    json!({"traceEvents": names.chain(slices).collect::<Vec<_>>(), "displayTimeUnit": "ms"})
}
