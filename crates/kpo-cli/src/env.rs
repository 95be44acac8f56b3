//! The environment variables that kpo reads, each once.

/// What a SIGTERM or SIGHUP means where `--on-sigterm` is not given: `detach` or `cancel`.
pub(crate) const ON_SIGTERM: &str = "KPO_ON_SIGTERM";

/// A variable and what it does.
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) meaning: &'static str,
}

/// All of them, in the order of the help.
pub(crate) const ALL: [Variable; 3] = [
    Variable {
        name: "KUBECONFIG",
        meaning: "The kubeconfig files, where --kubeconfig is not given. Default: ~/.kube/config.",
    },
    Variable {
        name: ON_SIGTERM,
        meaning: "What SIGTERM and SIGHUP mean, where --on-sigterm is not given: detach or cancel.",
    },
    Variable { name: "NO_COLOR", meaning: "Anything but empty: no colours. They are only used on a terminal anyway." },
];
