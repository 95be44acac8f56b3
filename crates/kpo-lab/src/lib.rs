//! An embedded Kubernetes cluster for tests and trials: API server, scheduler, DaemonSets, nodes, kubelet.
