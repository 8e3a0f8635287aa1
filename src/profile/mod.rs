//! Where time and memory go, against what arithmetic predicts and what this machine allows.

pub mod attention;
pub mod rates;
pub mod step_time;
pub mod train;
