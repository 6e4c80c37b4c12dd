//! The alarm-hub command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // An alarm for everybody wakes more sessions than a worker's own queue holds: most of them get into the queue that
    // all workers share. By default one task in a dozen comes from there as long as a worker has others, and thousands of
    // clients that come back at once are always others: so alarms would wait for the end of the storm.
    runtime.enable_all().global_queue_interval(1);
    match runtime.build() {
        Ok(runtime) => runtime.block_on(alarm_hub::cli::run(std::env::args_os())),
        Err(cause) => {
            eprintln!("error: cannot start threads: {cause}");
            ExitCode::FAILURE
        }
    }
}
