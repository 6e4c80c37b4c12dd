//! The alarm-hub command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    alarm_hub::cli::run(std::env::args_os()).await
}
