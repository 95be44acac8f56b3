//! The Python package: its tests, in a virtual environment of its own, and its wheels.

use crate::bench::target;
use crate::cluster;
use crate::run::{Step, all, both, say};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wheel is smaller than this.
const LARGEST: u64 = 6 << 20;
/// What wheels are built for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// The oldest system they run on: glibc 2.17.
const PLATFORM: &str = "manylinux2014";

/// What mypy is told of code that imports Airflow, whose own types are not looked at.
const TYPES: [&str; 4] = ["-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports"];

/// A virtual environment.
struct Venv(PathBuf);

impl Venv {
    /// Makes it anew. The interpreter is $KPO_PYTHON's, else the PATH's.
    fn fresh(name: &str) -> Result<Self, String> {
        let place = target()?.join("python").join(name);
        // It may not be there yet.
        let _ = fs::remove_dir_all(&place);
        let python = std::env::var_os("KPO_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(&place);
        all([Step::new("virtual environment", command)])?;
        Ok(Self(place))
    }

    /// The one with the tools.
    fn of_tools() -> Result<Self, String> {
        Self::of("tools", "python/requirements.txt")
    }

    /// One that holds what that file says; it is made where that has changed.
    fn of(name: &'static str, requirements: &str) -> Result<Self, String> {
        let place = target()?.join("python").join(name);
        let install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements];
        holds(&place, requirements, || all([Step::new(name, Self::fresh(name)?.run("python", &install))]))?;
        Ok(Self(place))
    }

    /// A folder with what that file says, which is no part of it.
    fn beside(&self, name: &'static str, requirements: &str) -> Result<PathBuf, String> {
        let place = target()?.join("python").join(name);
        let install =
            ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", requirements, "--target"];
        let mut command = self.run("python", &install);
        command.arg(&place);
        holds(&place, requirements, || {
            // It may not be there yet.
            let _ = fs::remove_dir_all(&place);
            all([Step::new(name, command)])
        })?;
        Ok(place)
    }

    /// Builds the package into it, as it is here.
    fn develop(&self, name: &'static str) -> Step {
        self.develop_as("dev", name)
    }

    fn develop_as(&self, profile: &str, name: &'static str) -> Step {
        Step::new(name, self.run("maturin", &["develop", "--quiet", "--locked", "--profile", profile]))
    }

    fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// A program of it, as if it were activated.
    fn run(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin().join(program));
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.bin()).chain(std::env::split_paths(&rest));
        // A path with a colon in it would not have come out of PATH.
        command.env("PATH", std::env::join_paths(path).unwrap_or(rest.clone()));
        command.env("VIRTUAL_ENV", &self.0).env("PIP_DISABLE_PIP_VERSION_CHECK", "1").args(arguments);
        command
    }
}

/// Makes a folder anew that does not hold what that file says.
fn holds(place: &Path, requirements: &str, make: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let wanted = fs::read_to_string(requirements).map_err(|error| format!("{requirements}: {error}"))?;
    let stamp = place.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    make()?;
    fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// Builds the package, checks its looks and its types, runs its tests. Arguments are pytest's.
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    let venv = Venv::of_tools()?;
    all([
        venv.develop("package"),
        Step::new("formatting", venv.run("ruff", &["format", "--check", "--quiet", "python"])),
        Step::new("lint", venv.run("ruff", &["check", "--quiet", "python"])),
        Step::new("types", venv.run("python", &["-m", "mypy"])),
        Step::new("stubs", venv.run("python", &["-m", "mypy.stubtest", "kpo._kpo"])),
        Step::new("tests", venv.run("python", &["-m", "pytest"])).args(arguments),
    ])
}

/// Tests the operator with Airflow 3 and Airflow 2: the same tests. Arguments are pytest's.
pub(crate) fn test_airflow(arguments: &[String]) -> Result<(), String> {
    let (three, two) = (
        Venv::of("airflow3", "python/requirements-airflow3.txt")?,
        Venv::of("airflow2", "python/requirements-airflow2.txt")?,
    );
    let clouds = three.beside("clouds", "python/requirements-clouds.txt")?;
    let sources = files(Path::new("python/kpo/airflow"))?;
    let sources = sources.iter().filter(|file| file.extension().is_some_and(|extension| extension == "py"));
    let sources: Vec<String> = sources.map(|file| file.display().to_string()).collect();
    let tests = ["-m", "pytest", "python/tests_airflow"];
    all([
        three.develop("package, Airflow 3"),
        Step::new("types", three.run("python", &TYPES)).args(&sources),
        two.develop("package, Airflow 2"),
    ])?;
    // Each waits for its clusters most of the time.
    both(
        Step::new("tests, Airflow 3", three.run("python", &tests))
            .args(arguments)
            .env("KPO_CLOUDS", &clouds.to_string_lossy()),
        Step::new("tests, Airflow 2", two.run("python", &tests)).args(arguments),
    )
}

/// The operator in an Airflow whose parts are processes, on the lab or a real cluster, which is brought up. Further arguments are pytest's.
pub(crate) fn airflow_real(arguments: &[String]) -> Result<(), String> {
    let (on, rest) = arguments.split_first().ok_or("on what? lab or cluster")?;
    if on == "cluster" {
        cluster::run(&["up".to_owned(), "2".to_owned()])?;
    }
    let venv = Venv::of("airflow3", "python/requirements-airflow3.txt")?;
    let tests = ["-m", "pytest", "python/tests_real", "--cluster", on, "--cluster-folder", &cluster::folder()];
    all([
        venv.develop("package"),
        Step::new("types", venv.run("python", &TYPES)).args(&["python/tests_real".to_owned()]),
        Step::new("tests", venv.run("python", &tests)).args(rest),
    ])
}

/// What tasks cost in such an Airflow, on the lab, beside upstream's: the package is built as it is in a wheel.
pub(crate) fn airflow_figures(arguments: &[String]) -> Result<(), String> {
    let venv = Venv::of("airflow3", "python/requirements-airflow3.txt")?;
    all([
        venv.develop_as("wheel", "package"),
        Step::new("figures", venv.run("python", &["-m", "pytest", "python/tests_real", "-m", "figures"]))
            .args(arguments),
    ])
}

/// Builds the wheels, and tries the one for this machine where nothing else is installed.
pub(crate) fn wheels(_: &[String]) -> Result<(), String> {
    // Before anything is built: each takes minutes.
    let found = TARGETS.iter().map(|target| Ok((*target, compiler(target)?)));
    let compilers = found.collect::<Result<Vec<(&str, String)>, String>>()?;
    let (venv, place) = (Venv::of_tools()?, target()?.join("wheels"));
    // None of an older version shall be taken for this one's.
    let _ = fs::remove_dir_all(&place);
    for (target, rustc) in compilers {
        let mut build = venv.run("maturin", &["build", "--profile", "wheel", "--locked", "--zig"]);
        build.args(["--compatibility", PLATFORM, "--target", target, "--out"]).arg(&place).env("RUSTC", &rustc);
        all([Step::new("wheel", build)])?;
    }
    let wheels = files(&place)?;
    wheels.iter().try_for_each(|wheel| check(wheel))?;
    let own = format!("_{}.whl", std::env::consts::ARCH);
    let own = wheels
        .iter()
        .find(|wheel| wheel.to_string_lossy().ends_with(&own))
        .ok_or("there is no wheel for this machine")?;
    try_out(own)
}

/// The compiler that can build for it: the project's own; else $KPO_RUSTC's, such as Debian's rustc-web with libstd-rust-web-dev:arm64.
fn compiler(target: &str) -> Result<String, String> {
    let named = [Some("rustc".to_owned()), std::env::var("KPO_RUSTC").ok()];
    for rustc in named.into_iter().flatten() {
        let output = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output();
        let printed = output.map_err(|error| format!("{rustc}: {error}"))?.stdout;
        if Path::new(String::from_utf8_lossy(&printed).trim()).is_dir() {
            return Ok(rustc);
        }
    }
    Err(format!(
        "{target}: its standard library is not installed (rustup target add {target}; or name a compiler that has it by $KPO_RUSTC)"
    ))
}

fn files(place: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn check(wheel: &Path) -> Result<(), String> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let size = fs::metadata(wheel).map_err(|error| format!("{name}: {error}"))?.len();
    let listing = Command::new("python3").args(["-m", "zipfile", "--list"]).arg(wheel).output();
    let listing = listing.map_err(|error| format!("python3: {error}"))?.stdout;
    say(&format!("{name}: {size} bytes"));
    if size >= LARGEST {
        return Err(format!("{name} is not smaller than {LARGEST} bytes"));
    }
    if !String::from_utf8_lossy(&listing).contains(".dist-info/sboms/") {
        return Err(format!("{name} has no list of what is in it (PEP 770)"));
    }
    Ok(())
}

/// Installs it where there is nothing else, and runs a task with it.
fn try_out(wheel: &Path) -> Result<(), String> {
    let venv = Venv::fresh("clean")?;
    let wheel = wheel.display().to_string();
    all([
        Step::new("install", venv.run("python", &["-m", "pip", "install", "--quiet", "--no-index", &wheel])),
        Step::new("a task", venv.run("python", &["-I", "python/tests/smoke.py"])),
        Step::new("command line", venv.run("kpo", &["run", "--quiet", "--lab", "--image", "b", "--", "true"])),
    ])
}
