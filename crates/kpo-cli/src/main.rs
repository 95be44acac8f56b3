//! The `kpo` command.

fn main() -> std::process::ExitCode {
    kpo_cli::main()
}
