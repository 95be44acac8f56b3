//! The pod as it was asked for, as far as sentences name it.

use serde_json::Value;

/// A pod's manifest. `None`: it is not known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a>(pub(crate) Option<&'a Value>);

impl<'a> Asked<'a> {
    fn container(self, name: &str) -> Option<&'a Value> {
        let spec = &self.0?["spec"];
        let mut all =
            ["initContainers", "containers"].map(|list| spec[list].as_array()).into_iter().flatten().flatten();
        all.find(|container| container["name"] == name)
    }

    /// The image of that container.
    pub(super) fn image(self, container: &str) -> Option<&'a str> {
        self.container(container)?["image"].as_str()
    }

    /// The limit of memory of that container, as it was written.
    pub(super) fn memory_limit(self, container: &str) -> Option<String> {
        match &self.container(container)?["resources"]["limits"]["memory"] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}
