//! Grammar and runner of scenarios: the cluster, the task, what happens, what is expected.
