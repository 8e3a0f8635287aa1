//! What the cases cannot say: thread counts, silence to the bit, and errors.

use super::cases::cases;
use crate::device::Device;
use crate::ops::cases::check::check;

#[test]
fn cases_agree_with_double_precision_on_the_cpu() {
    let mut checked = 0;
    for case in cases().iter().filter(|case| case.reference.is_some()) {
        let outcome = check(case, Device::Cpu, 1).unwrap();
        println!("{:.1e} {}", outcome.error, outcome.name);
        assert!(outcome.ok, "{outcome:?}");
        checked += 1;
    }
    assert!(checked > 25, "only {checked} cases");
}
