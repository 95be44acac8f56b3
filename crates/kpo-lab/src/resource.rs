//! The resources that the lab serves.

/// A resource of the Kubernetes API: what a URL path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `v1/namespaces`.
    Namespaces,
    /// `v1/pods`.
    Pods,
    /// `v1/nodes`.
    Nodes,
    /// `v1/events` and, the same objects in another form, `events.k8s.io/v1/events`.
    Events,
    /// `v1/configmaps`.
    ConfigMaps,
    /// `v1/secrets`.
    Secrets,
    /// `v1/serviceaccounts`.
    ServiceAccounts,
    /// `v1/resourcequotas`.
    ResourceQuotas,
    /// `v1/limitranges`.
    LimitRanges,
    /// `v1/podtemplates`.
    PodTemplates,
    /// `scheduling.k8s.io/v1/priorityclasses`.
    PriorityClasses,
    /// `apps/v1/daemonsets`.
    DaemonSets,
    /// `coordination.k8s.io/v1/leases`.
    Leases,
    /// `policy/v1/poddisruptionbudgets`.
    PodDisruptionBudgets,
}

/// What discovery says of one resource.
struct Row {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
}

const fn row(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
) -> Row {
    Row { group, kind, plural, short, namespaced }
}

impl Resource {
    /// Every resource, in discovery's order.
    pub const ALL: [Resource; 14] = [
        Resource::Namespaces,
        Resource::Pods,
        Resource::Nodes,
        Resource::Events,
        Resource::ConfigMaps,
        Resource::Secrets,
        Resource::ServiceAccounts,
        Resource::ResourceQuotas,
        Resource::LimitRanges,
        Resource::PodTemplates,
        Resource::PriorityClasses,
        Resource::DaemonSets,
        Resource::Leases,
        Resource::PodDisruptionBudgets,
    ];

    const fn row(self) -> Row {
        match self {
            Resource::Namespaces => row("", "Namespace", "namespaces", &["ns"], false),
            Resource::Pods => row("", "Pod", "pods", &["po"], true),
            Resource::Nodes => row("", "Node", "nodes", &["no"], false),
            Resource::Events => row("", "Event", "events", &["ev"], true),
            Resource::ConfigMaps => row("", "ConfigMap", "configmaps", &["cm"], true),
            Resource::Secrets => row("", "Secret", "secrets", &[], true),
            Resource::ServiceAccounts => row("", "ServiceAccount", "serviceaccounts", &["sa"], true),
            Resource::ResourceQuotas => row("", "ResourceQuota", "resourcequotas", &["quota"], true),
            Resource::LimitRanges => row("", "LimitRange", "limitranges", &["limits"], true),
            Resource::PodTemplates => row("", "PodTemplate", "podtemplates", &[], true),
            Resource::PriorityClasses => row("scheduling.k8s.io", "PriorityClass", "priorityclasses", &["pc"], false),
            Resource::DaemonSets => row("apps", "DaemonSet", "daemonsets", &["ds"], true),
            Resource::Leases => row("coordination.k8s.io", "Lease", "leases", &[], true),
            Resource::PodDisruptionBudgets => {
                row("policy", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], true)
            }
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        self.row().group
    }

    /// The version within the group: all are `v1`.
    pub const fn version(self) -> &'static str {
        "v1"
    }

    /// `apiVersion` as objects carry it: `v1`, `apps/v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The kind: `Pod`.
    pub const fn kind(self) -> &'static str {
        self.row().kind
    }

    /// The plural, as in paths: `pods`.
    pub const fn plural(self) -> &'static str {
        self.row().plural
    }

    /// kubectl's short names: `po`.
    pub const fn short_names(self) -> &'static [&'static str] {
        self.row().short
    }

    /// Whether objects live in namespaces.
    pub const fn namespaced(self) -> bool {
        self.row().namespaced
    }

    /// `pods`, or `daemonsets.apps`: how error messages name the resource.
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// The resource of a path's group and plural. `events.k8s.io` is the core group's events.
    pub fn find(group: &str, plural: &str) -> Option<Resource> {
        if group == "events.k8s.io" && plural == "events" {
            return Some(Resource::Events);
        }
        Resource::ALL.into_iter().find(|r| r.group() == group && r.plural() == plural)
    }

    /// The resource of an object's kind.
    pub fn of_kind(kind: &str) -> Option<Resource> {
        Resource::ALL.into_iter().find(|r| r.kind() == kind)
    }

    /// Whether `metadata.generation` is kept: 1 on creation, one more with each change of the spec.
    pub(crate) const fn has_generation(self) -> bool {
        matches!(self, Resource::Pods | Resource::DaemonSets | Resource::PodDisruptionBudgets)
    }

    /// Whether the resource has a `status` subresource, so that plain writes leave the status alone.
    pub const fn has_status(self) -> bool {
        matches!(
            self,
            Resource::Namespaces
                | Resource::Pods
                | Resource::Nodes
                | Resource::ResourceQuotas
                | Resource::DaemonSets
                | Resource::PodDisruptionBudgets
        )
    }
}
