//! A pod's volumes: what the runtime is told of them, or the sentence that `FailedMount` carries.

use bytes::Bytes;
use serde_json::Value;

use super::env::Facts;
use crate::pod;
use crate::resource::Resource;
use crate::runtime::{Volume, VolumeFile, VolumeSource};

/// File modes of a volume without `defaultMode`.
const DEFAULT_MODE: u32 = 0o644;

/// The name prefix of the volume that admission adds to every pod.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// The pod's volumes; the error is `MountVolume.SetUp failed…` for the first that cannot be set up.
pub(super) fn volumes(facts: &Facts<'_>) -> Result<Vec<Volume>, String> {
    pod::list(&facts.pod["spec"], "volumes").iter().map(|volume| one(facts, volume)).collect()
}

fn one(facts: &Facts<'_>, volume: &Value) -> Result<Volume, String> {
    let name = volume["name"].as_str().unwrap_or_default();
    let optional = name.starts_with(TOKEN_VOLUME);
    let source =
        source(facts, volume).map_err(|why| format!("MountVolume.SetUp failed for volume \"{name}\" : {why}"))?;
    Ok(Volume { name: name.to_owned(), source, optional })
}

fn source(facts: &Facts<'_>, volume: &Value) -> Result<VolumeSource, String> {
    let given = |field: &str| volume.get(field).filter(|source| source.is_object());
    if given("emptyDir").is_some() {
        return Ok(VolumeSource::EmptyDir);
    }
    if let Some(host) = given("hostPath") {
        return host_path(host);
    }
    let mut files = Vec::new();
    if let Some(map) = given("configMap") {
        map_files(facts, Resource::ConfigMaps, map, mode(map), &mut files)?;
    } else if let Some(secret) = given("secret") {
        map_files(facts, Resource::Secrets, secret, mode(secret), &mut files)?;
    } else if let Some(api) = given("downwardAPI") {
        downward_files(facts, api, mode(api), &mut files)?;
    } else if let Some(projected) = given("projected") {
        for part in pod::list(projected, "sources") {
            projected_files(facts, part, mode(projected), &mut files)?;
        }
    } else {
        let kind =
            volume.as_object().into_iter().flatten().map(|(field, _)| field.as_str()).find(|field| *field != "name");
        return Err(format!("the lab has no volumes of the kind {}", kind.unwrap_or("given")));
    }
    Ok(VolumeSource::Files(files))
}

fn host_path(source: &Value) -> Result<VolumeSource, String> {
    let make = match source["type"].as_str().unwrap_or_default() {
        "" | "DirectoryOrCreate" => true,
        "Directory" => false,
        kind => return Err(format!("the lab has no hostPath of the type {kind}")),
    };
    Ok(VolumeSource::HostPath { path: source["path"].as_str().unwrap_or_default().into(), make })
}

fn mode(source: &Value) -> u32 {
    source["defaultMode"].as_u64().and_then(|mode| u32::try_from(mode).ok()).unwrap_or(DEFAULT_MODE)
}

/// The files of a configMap or secret: all keys, or those that `items` names.
fn map_files(
    facts: &Facts<'_>,
    resource: Resource,
    source: &Value,
    mode: u32,
    files: &mut Vec<VolumeFile>,
) -> Result<(), String> {
    let Some(data) = facts.data(resource, source)? else { return Ok(()) };
    let items = pod::list(source, "items");
    if items.is_empty() {
        files.extend(data.into_iter().map(|(path, content)| VolumeFile { path, mode, content: content.into() }));
        return Ok(());
    }
    for item in items {
        let (key, path) = (item["key"].as_str().unwrap_or_default(), item["path"].as_str().unwrap_or_default());
        match data.get(key) {
            Some(content) => files.push(VolumeFile { path: path.into(), mode, content: content.clone().into() }),
            None if source["optional"] == true => {}
            None => return Err(format!("references non-existent {} key: {key}", resource.kind().to_lowercase())),
        }
    }
    Ok(())
}

fn downward_files(facts: &Facts<'_>, source: &Value, mode: u32, files: &mut Vec<VolumeFile>) -> Result<(), String> {
    for item in pod::list(source, "items") {
        let field = item["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
        let content = facts.field(field).ok_or_else(|| format!("unsupported fieldPath: {field}"))?;
        let path = item["path"].as_str().unwrap_or_default().to_owned();
        files.push(VolumeFile { path, mode, content: content.into() });
    }
    Ok(())
}

/// One source of a projected volume. The token is no credential of the lab; a cluster CA that is missing is not waited for.
fn projected_files(facts: &Facts<'_>, part: &Value, mode: u32, files: &mut Vec<VolumeFile>) -> Result<(), String> {
    if let Some(token) = part.get("serviceAccountToken") {
        let path = token["path"].as_str().unwrap_or("token").to_owned();
        files.push(VolumeFile { path, mode, content: Bytes::from_static(b"the lab issues no tokens to pods") });
    } else if let Some(map) = part.get("configMap") {
        if map["name"] != "kube-root-ca.crt" || facts.data(Resource::ConfigMaps, map).is_ok() {
            map_files(facts, Resource::ConfigMaps, map, mode, files)?;
        }
    } else if let Some(secret) = part.get("secret") {
        map_files(facts, Resource::Secrets, secret, mode, files)?;
    } else if let Some(api) = part.get("downwardAPI") {
        downward_files(facts, api, mode, files)?;
    }
    Ok(())
}
