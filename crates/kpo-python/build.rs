//! Where a linker wants to know (macOS): Python's symbols come from the interpreter.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
