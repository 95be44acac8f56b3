//! The files of a scripted pod: volumes that its containers share, and what each wrote for itself.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::behaviour::Content;
use crate::runtime::{ContainerSpec, PodSetup, VolumeSource};

/// Where a path of a container leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Into a volume, at a path relative to its root.
    Volume(String, String),
    /// Into the container's own file system.
    Own(String, String),
}

/// The files of one pod.
#[derive(Clone, Default)]
pub(super) struct Files {
    volumes: Vec<String>,
    contents: BTreeMap<Place, Content>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.contents.keys()).finish()
    }
}

impl Files {
    /// Makes the volumes; what containers wrote stays.
    pub(super) fn set_up(&mut self, setup: &PodSetup) {
        self.volumes = setup.volumes.iter().map(|volume| volume.name.clone()).collect();
        for volume in &setup.volumes {
            if let VolumeSource::Files(files) = &volume.source {
                for file in files {
                    let place = Place::Volume(volume.name.clone(), tidy(&file.path));
                    self.contents.insert(place, Content::Bytes(file.content.clone()));
                }
            }
        }
    }

    pub(super) fn write(&mut self, spec: &ContainerSpec, path: &str, content: Content) {
        self.contents.insert(place(spec, path), content);
    }

    pub(super) fn read(&self, spec: &ContainerSpec, path: &str) -> Option<Bytes> {
        match self.contents.get(&place(spec, path))? {
            Content::Bytes(bytes) => Some(bytes.clone()),
            Content::Size(_) => None,
        }
    }

    /// Forgets what a container wrote outside volumes, as its end does.
    pub(super) fn forget_container(&mut self, name: &str) {
        self.contents.retain(|place, _| !matches!(place, Place::Own(container, _) if container == name));
    }

    /// Bytes that a container wrote outside of volumes.
    pub(super) fn own_usage(&self, name: &str) -> u64 {
        let own = |place: &Place| matches!(place, Place::Own(container, _) if container == name);
        self.contents.iter().filter(|(place, _)| own(place)).map(|(_, content)| content.len()).sum()
    }

    /// Bytes in a volume; None if the pod has none of that name.
    pub(super) fn usage(&self, volume: &str) -> Option<u64> {
        self.volumes.iter().any(|name| name == volume).then(|| {
            self.contents
                .iter()
                .filter(|(place, _)| matches!(place, Place::Volume(name, _) if name == volume))
                .map(|(_, content)| content.len())
                .sum()
        })
    }
}

/// The longest mount that holds the path decides, as in a mount table.
fn place(spec: &ContainerSpec, path: &str) -> Place {
    let path = tidy(path);
    let mounts = spec.mounts.iter().filter_map(|mount| {
        let rest = path.strip_prefix(&tidy(&mount.path))?;
        (rest.is_empty() || rest.starts_with('/') || tidy(&mount.path).is_empty()).then_some((mount, rest))
    });
    match mounts.max_by_key(|(mount, _)| mount.path.len()) {
        Some((mount, rest)) => {
            let inner = format!("{}/{rest}", mount.sub_path.as_deref().unwrap_or_default());
            Place::Volume(mount.volume.clone(), tidy(&inner))
        }
        None => Place::Own(spec.name.clone(), path),
    }
}

/// A path without empty and `.` parts, relative to the root it is in.
fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}
