//! Where pods live on disk: a folder for the lab, one for each pod, both removed at their end; what a crash left behind is
//! swept at the next start.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use crate::runtime::{PodSetup, Volume, VolumeFile, VolumeSource};

/// What the names of labs' folders begin with.
const PREFIX: &str = "kpo-lab-";

/// The file that a living lab holds locked in its folder.
const LOCK: &str = "lock";

/// The folder of one runtime, removed when it is dropped.
#[derive(Debug)]
pub(super) struct LabFolder {
    path: PathBuf,
    /// Locked as long as this process lives, however it ends: that is how a sweep tells the living from the dead.
    _lock: File,
}

impl LabFolder {
    /// Sweeps what dead labs left in `parent`, then makes a folder there that only this user can enter.
    pub(super) fn create(parent: &Path) -> io::Result<Arc<Self>> {
        sweep(parent);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = crate::time::Time::wall_clock().0;
        let name = format!("{}-{number}-{now:x}", std::process::id());
        // Under another name until it is locked: a sweep by another lab would take it for a dead one's.
        let (fresh, path) = (parent.join(format!(".{PREFIX}{name}")), parent.join(format!("{PREFIX}{name}")));
        fs::DirBuilder::new().mode(0o700).create(&fresh)?;
        let lock = File::create(fresh.join(LOCK))?;
        lock.lock()?;
        fs::create_dir(fresh.join("pods"))?;
        fs::rename(&fresh, &path)?;
        Ok(Arc::new(Self { path, _lock: lock }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LabFolder {
    fn drop(&mut self) {
        remove_lab(&self.path);
    }
}

/// Removes a lab's folder, what tells of its death last: a removal that is cut short is ended by the next sweep.
fn remove_lab(path: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name() != LOCK) {
        remove(&entry.path());
    }
    remove(path);
}

/// Removes what labs that no longer live left behind: their folders, and kubeconfigs of their own.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for path in ours.map(|entry| entry.path()).filter(|path| belongs_to_us(path)) {
        if path.is_dir() {
            sweep_folder(&path);
        } else {
            sweep_kubeconfig(&path);
        }
    }
}

fn sweep_folder(path: &Path) {
    if let Ok(lock) = File::open(path.join(LOCK))
        && lock.try_lock().is_ok()
    {
        remove_lab(path);
    }
}

/// A kubeconfig holds a token; the lab that it is of holds it locked.
fn sweep_kubeconfig(path: &Path) {
    if path.extension().is_none_or(|extension| extension != "yaml") {
        return;
    }
    let Ok(file) = File::open(path) else { return };
    if file.try_lock().is_ok() && io::read_to_string(&file).is_ok_and(|text| crate::lab::is_kubeconfig(&text)) {
        // What is left shows at the next sweep.
        let _ = fs::remove_file(path);
    }
}

fn belongs_to_us(path: &Path) -> bool {
    let own = fs::metadata("/proc/self").map(|metadata| metadata.uid());
    match (own, fs::symlink_metadata(path)) {
        (Ok(own), Ok(found)) => !found.is_symlink() && found.uid() == own,
        (Err(_), Ok(found)) => !found.is_symlink(),
        _ => false,
    }
}

/// Removes a tree, also where containers took away its folders' write permission.
fn remove(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        open_up(path);
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!(path = %path.display(), %error, "a folder of the lab could not be removed");
        }
    }
}

fn open_up(path: &Path) {
    // What cannot be opened shows when it is removed.
    let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        open_up(&entry.path());
    }
}

/// The folder of one pod, removed when nobody needs it any more: the last of its containers included.
#[derive(Debug)]
pub(super) struct PodFolder {
    path: PathBuf,
    /// Keeps the lab's folder until the pod's is gone.
    _lab: Arc<LabFolder>,
}

impl PodFolder {
    pub(super) fn create(lab: &Arc<LabFolder>, number: u64) -> io::Result<Arc<Self>> {
        let path = lab.path().join("pods").join(number.to_string());
        for part in ["volumes", "containers"] {
            fs::create_dir_all(path.join(part))?;
        }
        Ok(Arc::new(Self { path, _lab: Arc::clone(lab) }))
    }

    /// A new folder for a container.
    pub(super) fn container(self: &Arc<Self>, name: &str, number: u64) -> io::Result<Arc<ContainerFolder>> {
        let path = self.path.join("containers").join(format!("{name}-{number}"));
        fs::create_dir(&path)?;
        Ok(Arc::new(ContainerFolder { path, _pod: Arc::clone(self) }))
    }

    /// A volume's folder, if the pod has it.
    pub(super) fn volume(&self, name: &str) -> Option<PathBuf> {
        let path = within(&self.path.join("volumes"), name)?;
        path.is_dir().then_some(path)
    }

    /// Makes the volumes; what containers wrote stays.
    pub(super) fn set_up(&self, setup: &PodSetup) -> io::Result<()> {
        for volume in &setup.volumes {
            self.set_up_volume(volume)?;
        }
        Ok(())
    }

    fn set_up_volume(&self, volume: &Volume) -> io::Result<()> {
        let name_is_path = || io::Error::new(io::ErrorKind::InvalidInput, "the volume's name is a path");
        let path = within(&self.path.join("volumes"), &volume.name).ok_or_else(name_is_path)?;
        // The kubelet's modes: `pkg/volume/emptydir` 0777, `pkg/volume/util/atomic_writer` 0755.
        match &volume.source {
            VolumeSource::EmptyDir => make_folder(&path, 0o777),
            VolumeSource::HostPath { path: host, make } => link_host_path(&path, host, *make),
            VolumeSource::Files(files) => {
                make_folder(&path, 0o755)?;
                files.iter().try_for_each(|file| write_file(&path, file))?;
                remove_others(&path, &path, files)
            }
        }
    }
}

impl Drop for PodFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The folder of one container: its root, its log, its message. Removed when runtime and thread have both let go of it.
#[derive(Debug)]
pub(super) struct ContainerFolder {
    path: PathBuf,
    /// Keeps the pod's folder until the container's is gone.
    _pod: Arc<PodFolder>,
}

impl ContainerFolder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ContainerFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Drops folders on a thread of its own. Removing what was a mount point a moment ago takes the kernel milliseconds each
/// (measured: 50 ms a container), too long for a lock that a cluster waits for.
#[derive(Debug)]
pub(super) struct Janitor {
    bin: Option<Sender<Box<dyn Send>>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    pub(super) fn new() -> io::Result<Self> {
        let (bin, waste) = channel::<Box<dyn Send>>();
        let work = move || waste.into_iter().for_each(drop);
        let thread = thread::Builder::new().name("lab-janitor".to_owned()).spawn(work)?;
        Ok(Self { bin: Some(bin), thread: Some(thread) })
    }

    /// Takes somebody's hold on a folder.
    pub(super) fn take(&self, hold: impl Send + 'static) {
        if let Some(bin) = &self.bin {
            // It only ends after the bin; should it have panicked, the hold is dropped here.
            let _ = bin.send(Box::new(hold));
        }
    }
}

impl Drop for Janitor {
    /// Waits until all is gone.
    fn drop(&mut self) {
        self.bin = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// A link where the volume's folder would be: it goes with the pod, what it leads to stays. The sentence is upstream's
/// (`pkg/volume/hostpath/host_path.go`).
fn link_host_path(volume: &Path, host: &Path, make: bool) -> io::Result<()> {
    if make {
        fs::create_dir_all(host)?;
    } else if !host.is_dir() {
        return Err(io::Error::other(format!("hostPath type check failed: {} is not a directory", host.display())));
    }
    if volume.is_symlink() { Ok(()) } else { symlink(host, volume) }
}

/// Replaces a file in one step, as the kubelet's atomic writer does.
fn write_file(volume: &Path, file: &VolumeFile) -> io::Result<()> {
    let leads_out = || io::Error::new(io::ErrorKind::InvalidInput, "a path leads out of the volume");
    let path = within(volume, &file.path).ok_or_else(leads_out)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let fresh = volume.join("..new");
    let mut handle = File::create(&fresh)?;
    handle.write_all(&file.content)?;
    handle.set_permissions(Permissions::from_mode(file.mode))?;
    fs::rename(fresh, path)
}

/// Removes files that the volume no longer has.
fn remove_others(volume: &Path, folder: &Path, files: &[VolumeFile]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(volume, &path, files)?;
        } else if !files.iter().any(|file| within(volume, &file.path).as_deref() == Some(&path)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Bytes that a tree takes up; what cannot be read counts nothing.
pub(super) fn usage(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => usage(&entry.path()),
        Ok(found) => found.len().min(found.blocks().saturating_mul(512)),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// A path without root, `.` and `..`.
pub(super) fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// A path of a container from its root on, without `.` and `..`: there is nothing above the root.
pub(super) fn rooted(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// A path within a volume that cannot lead out of it; None where it tries (`..`).
pub(super) fn within(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let fine = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    fine.then(|| folder.join(relative(path)))
}
