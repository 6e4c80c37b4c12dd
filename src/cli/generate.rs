//! `generate`: what a package has beside the binary, from the definition of the command line.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_complete::{Shell, generate_to};

use super::Failure;

/// What `generate` is told.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Where to: man pages below man/, completions beside it
    #[arg(value_name = "DIRECTORY")]
    to: PathBuf,
}

pub fn run(arguments: &Arguments, command: Command) -> Result<(), Failure> {
    write(arguments, command).map_err(|cause| Failure::Failed(format!("{}: {cause}", arguments.to.display())))
}

fn write(Arguments { to }: &Arguments, command: Command) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    fs::create_dir_all(to.join("man"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "alarm-hub", to)?;
    }
    clap_mangen::generate_to(command, to.join("man"))
}
