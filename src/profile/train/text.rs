//! The profile of a step for people.

use super::{Part, Report};
use crate::train::budget::bytes;

/// Rows of the table of operations that are shown.
const SHOWN: usize = 16;

pub fn told(report: &Report) -> String {
    let r = report;
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let mut text = format!(
        "{} of {} parameters, batch {}, on {} ({} threads)\n\
         step    {:.1} ms (p10 {:.1}, p90 {:.1}), {:.1} samples/s; a batch is made in {:.1} ms beside it\n\
         FLOPs   {:.2} G a step, {:.1} GFLOP/s: {} of a large product here{}\n\
         floor   {:.1} ms, what the ceilings ({:.0} GFLOP/s, {:.1} GB/s) allow for these operations\n\
         shares  products {}, attention {}, others {}, update {}, between them {}\n\
         memory  {}\n\n",
        r.model,
        r.parameters,
        r.batch,
        r.device,
        r.threads,
        r.step.median_s * 1e3,
        r.step.p10_s * 1e3,
        r.step.p90_s * 1e3,
        r.samples_per_s,
        r.data_s * 1e3,
        r.flops * 1e-9,
        r.flop_per_s * 1e-9,
        percent(r.share_of_ceiling),
        r.mfu.map_or(String::new(), |mfu| format!(", {} of the datasheet's peak (MFU)", percent(mfu))),
        r.floor_s * 1e3,
        r.ceilings.matmul_flop_per_s * 1e-9,
        r.ceilings.copy_bytes_per_s * 1e-9,
        percent(r.shares.products),
        percent(r.shares.attention),
        percent(r.shares.others),
        percent(r.shares.update),
        percent(r.shares.rest),
        r.bytes.line(),
    );
    text.push_str(&table("operation", &r.ops));
    text.push('\n');
    text.push_str(&table("layer", &r.layers));
    text
}

fn table(head: &str, parts: &[Part]) -> String {
    let mut text = format!(
        "{head:<24} {:<8} {:>6} {:>9} {:>6} {:>9} {:>7} {:>10}\n",
        "pass", "times", "ms", "share", "floor ms", "of best", "written"
    );
    for part in parts.iter().take(SHOWN) {
        text.push_str(&format!(
            "{:<24} {:<8} {:>6.0} {:>9.2} {:>4.0} % {:>9.2} {:>5.0} % {:>10}\n",
            part.name,
            part.pass,
            part.count,
            part.seconds * 1e3,
            100.0 * part.share,
            part.floor_s * 1e3,
            100.0 * part.share_of_ceiling,
            bytes(part.written_bytes as usize),
        ));
    }
    if let Some(rest) = parts.get(SHOWN..).filter(|rest| !rest.is_empty()) {
        let seconds: f64 = rest.iter().map(|part| part.seconds).sum();
        text.push_str(&format!(
            "{:<24} {:<8} {:>6} {:>9.2}\n",
            format!("{} more", rest.len()),
            "",
            "",
            seconds * 1e3
        ));
    }
    text
}
