//! The `evoke` program: everything is in the library, errors become one line here.

use std::process::ExitCode;

fn main() -> ExitCode {
    evoke::cli::main()
}
