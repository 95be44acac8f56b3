//! A container's root: folders of its own, and the machine's programs bound into it read-only.
//!
//! The skeleton (folders, mount points, links) is made here, in the pod's folder; the mounts are a list of steps that the
//! child makes in a mount namespace of its own, so that they are never visible outside and end with it.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::folder::{relative, rooted};
use super::launch::Bind;
use super::spawn::MountStep;

/// What of the machine a container sees, where it exists: programs, libraries, settings.
const HOST_FOLDERS: [&str; 12] =
    ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt", "/nix", "/gnu", "/sys"];

/// Folders that a container has for itself, with their modes.
const OWN_FOLDERS: [(&str, u32); 10] = [
    ("/dev", 0o755),
    ("/dev/shm", 0o1777),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/tmp", 0o1777),
    ("/var", 0o755),
    ("/var/tmp", 0o1777),
];

/// Devices that every container has (`/dev` of runc).
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Links in `/dev`.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// A root under construction.
#[derive(Debug)]
pub(super) struct Root {
    dir: PathBuf,
    /// What is bound so far: later binds may lie within earlier ones.
    binds: Vec<Bind>,
    steps: Vec<MountStep>,
}

/// Builds the root in the empty folder `dir`: the steps that the child has to make, in order.
///
/// # Errors
/// If the skeleton cannot be made: no room, or a mount point below something that is no folder.
pub(super) fn build(dir: &Path, host: &[PathBuf], binds: &[Bind], read_only: bool) -> io::Result<Vec<MountStep>> {
    let mut root = Root { dir: dir.to_owned(), binds: Vec::new(), steps: Vec::new() };
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    root.steps.push(MountStep::Bind { source: c_path(dir)?, target: c_path(dir)? });
    for (path, mode) in OWN_FOLDERS {
        root.own_folder(path, mode)?;
    }
    for folder in HOST_FOLDERS.iter().map(Path::new).chain(host.iter().map(PathBuf::as_path)) {
        root.host(folder, binds)?;
    }
    root.name_service()?;
    root.devices()?;
    let mut ordered: Vec<&Bind> = binds.iter().collect();
    ordered.sort_by_key(|bind| bind.path.components().count());
    for bind in ordered {
        root.bind(bind)?;
    }
    if read_only {
        root.read_only(dir, false)?;
    }
    Ok(root.steps)
}

/// Makes a working directory that is not there yet, as runc does. One below the machine's own folders cannot be made: the
/// child then says that it is missing.
pub(super) fn make_working_dir(dir: &Path, binds: &[Bind], path: &Path) {
    let root = Root { dir: dir.to_owned(), binds: binds.to_vec(), steps: Vec::new() };
    let path = rooted(path);
    let place = root.place(&path);
    if !is_host(&path) {
        // The child's chdir finds out whether it worked.
        let _ = fs::create_dir_all(place);
    }
}

/// Whether a path lies in what is the machine's.
fn is_host(path: &Path) -> bool {
    HOST_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

impl Root {
    fn own_folder(&self, path: &str, mode: u32) -> io::Result<()> {
        let folder = self.inside(Path::new(path));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))
    }

    /// Shows something of the machine, read-only. Where a volume is to be mounted at a path in it that does not exist, the
    /// folder is taken apart: one of its own, with each entry bound by itself.
    fn host(&mut self, path: &Path, binds: &[Bind]) -> io::Result<()> {
        let Ok(kind) = fs::symlink_metadata(path).map(|metadata| metadata.file_type()) else {
            return Ok(());
        };
        if kind.is_symlink() {
            return symlink(fs::read_link(path)?, self.inside(path));
        }
        let missing = |bind: &Bind| bind.path != path && bind.path.starts_with(path) && !bind.path.exists();
        if kind.is_dir() && binds.iter().any(missing) {
            fs::create_dir_all(self.inside(path))?;
            for entry in fs::read_dir(path)? {
                self.host(&entry?.path(), binds)?;
            }
            return Ok(());
        }
        if !kind.is_dir() && !kind.is_file() {
            return Ok(());
        }
        self.bind(&Bind { path: path.to_owned(), source: path.to_owned(), read_only: true })
    }

    /// `/etc/resolv.conf` is often a link to somewhere below `/run`.
    fn name_service(&mut self) -> io::Result<()> {
        let Ok(target) = fs::canonicalize("/etc/resolv.conf") else { return Ok(()) };
        if is_host(&target) {
            return Ok(());
        }
        self.bind(&Bind { path: target.clone(), source: target, read_only: true })
    }

    fn devices(&mut self) -> io::Result<()> {
        for device in DEVICES.iter().map(Path::new).filter(|device| device.exists()) {
            self.bind(&Bind { path: device.to_owned(), source: device.to_owned(), read_only: false })?;
        }
        for (path, target) in LINKS {
            symlink(target, self.inside(Path::new(path)))?;
        }
        self.steps.push(MountStep::Proc { target: c_path(&self.inside(Path::new("/proc")))? });
        Ok(())
    }

    fn bind(&mut self, bind: &Bind) -> io::Result<()> {
        let path = self.follow_top_link(&bind.path);
        let folder = fs::metadata(&bind.source)?.is_dir();
        make_mount_point(&self.place(&path), folder)?;
        let target = self.inside(&path);
        self.steps.push(MountStep::Bind { source: c_path(&bind.source)?, target: c_path(&target)? });
        if bind.read_only {
            self.read_only(&target, true)?;
        }
        self.binds.push(Bind { path, ..bind.clone() });
        Ok(())
    }

    fn read_only(&mut self, target: &Path, recursive: bool) -> io::Result<()> {
        let source = self.binds.iter().rev().find(|bind| self.inside(&bind.path) == target);
        let keep = flags_of(source.map_or(&self.dir, |bind| &bind.source));
        self.steps.push(MountStep::ReadOnly { target: c_path(target)?, keep, recursive });
        Ok(())
    }

    /// `/bin/x` is `/usr/bin/x` where `/bin` is a link.
    fn follow_top_link(&self, path: &Path) -> PathBuf {
        let mut parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
        let Some(first) = parts.next() else { return path.to_owned() };
        match fs::read_link(self.dir.join(first)) {
            Ok(target) => Path::new("/").join(target).join(parts.collect::<PathBuf>()),
            Err(_) => path.to_owned(),
        }
    }

    /// The path on the machine at which a path of the container lies once everything is mounted.
    fn inside(&self, path: &Path) -> PathBuf {
        self.dir.join(relative(path))
    }

    /// The path on the machine at which a path of the container has to be made now, before anything is mounted.
    fn place(&self, path: &Path) -> PathBuf {
        let holder = self.binds.iter().filter(|bind| path.starts_with(&bind.path));
        match holder.max_by_key(|bind| bind.path.components().count()) {
            Some(bind) => match path.strip_prefix(&bind.path) {
                Ok(rest) if rest.as_os_str().is_empty() => bind.source.clone(),
                Ok(rest) => bind.source.join(rest),
                Err(_) => self.inside(path),
            },
            None => self.inside(path),
        }
    }
}

/// An existing file or folder of the right kind, made if there is none. Nothing of the machine's is ever made or changed:
/// folders in which something is missing were taken apart before.
fn make_mount_point(place: &Path, folder: bool) -> io::Result<()> {
    if place.exists() {
        return Ok(());
    }
    if folder {
        return fs::create_dir_all(place);
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create_new(place).map(|_| ())
}

/// A path for a system call.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    c_text(path.as_os_str())
}

/// A text for a system call.
pub(super) fn c_text(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The mount flags that a read-only remount has to repeat: an unprivileged one may not drop them.
#[allow(unsafe_code)]
fn flags_of(path: &Path) -> libc::c_ulong {
    let Ok(path) = c_path(path) else { return 0 };
    // SAFETY: a string, and a struct that the kernel fills; zeroes are valid for it.
    let found = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &raw mut stat) == 0 { stat.f_flag } else { 0 }
    };
    // ST_NOSUID, ST_NODEV, ST_NOEXEC have the values of MS_NOSUID, MS_NODEV, MS_NOEXEC; the access time's have others.
    let times = [
        (libc::ST_NOATIME, libc::MS_NOATIME),
        (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
        (libc::ST_RELATIME, libc::MS_RELATIME),
    ];
    let kept = found & (libc::ST_NOSUID | libc::ST_NODEV | libc::ST_NOEXEC);
    times.iter().filter(|(set, _)| found & set != 0).fold(kept, |kept, (_, flag)| kept | flag)
}
