//! The bodies, by what they are about.

mod cancel;
mod clocks;
mod disruption;
mod door;
mod ends;
mod faults;
mod images;
mod injected;
mod kubelets;
mod library;
mod log;
mod names;
mod observer;
mod outage;
mod preempted;
mod refusal;
mod reruns;
mod result;
mod rights;
mod signed;
mod silent;
mod slot;
mod stages;
mod token;
mod whole;

use crate::Error;
use crate::cluster::Namespace;
use crate::container;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

/// A thing to be shown.
pub(crate) struct Body {
    pub(crate) name: &'static str,
    /// The module it is in.
    room: &'static str,
    pub(crate) run: for<'a> fn(&'a Namespace<'a>) -> LocalBoxFuture<'a, Result<(), Error>>,
}

impl Body {
    /// Whether a name is a part of its own, or that of the module it is in.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.contains(name) || self.room == name
    }

    /// Whether others may be played beside it: it touches nothing but its own namespace, and leaves the machine time for others.
    pub(crate) fn is_modest(&self) -> bool {
        !ALONE.contains(&self.room) && !ALONE.contains(&self.name)
    }
}

/// Modules and bodies that a node, a component or the machine's two cores suffer from.
const ALONE: &[&str] = &[
    "faults",
    "stages",
    "outage",
    "silent",
    "token",
    "burst",
    "rotated_under_way",
    "preempted_before_start",
    "preempted_while_running",
    "evicted_by_the_cluster_autoscaler",
    "provider_fails",
    "critical_pod_preempts",
    "taint_eviction_is_cancelled",
    "node_under_pressure",
    "node_rebooted",
    "node_rebooted_records_lost",
    "records_lost_under_a_silent_kubelet",
    "rejected_after_all",
    "rejected_between_two_reads",
    "cancelled_and_then_silent",
];

macro_rules! bodies {
    ($($room:ident: $($name:ident)*;)*) => {
        &[$($(Body { name: stringify!($name), room: stringify!($room), run: |namespace| Box::pin($room::$name(namespace)) },)*)*]
    };
}

/// What the lab has nothing for: Roles are no objects there, and nothing of it can fail by itself.
pub(crate) const CLUSTER_ONLY: &[Body] = bodies! {
    rights: smallest_roles smallest_role_to_follow exec_with_its_role each_right_missing;
    stages: preempted_at_each_stage evicted_at_each_stage tainted_at_each_stage deleted_at_each_stage
        force_deleted_at_each_stage node_deleted_at_each_stage;
    outage: api_server_killed api_server_paused etcd_killed kubelet_killed kubelet_paused containerd_killed
        controllers_killed watch_is_compacted;
    log: rotated_under_way;
    kubelets: node_under_pressure node_rebooted node_rebooted_records_lost records_lost_under_a_silent_kubelet rejected_after_all
        rejected_between_two_reads cancelled_and_then_silent;
    silent: node_silent all_nodes_silent stopped_on_a_silent_node out_of_service node_gone_for_good;
    token: token_ends_before_the_next;
    images: image_comes_late;
    signed: provider_fails evicted_while_pulling;
    injected: plain_sidecar_injected native_sidecar_injected failing_sidecar_injected
        no_gates init_container_pulls_beside_a_mesh result_that_is_cut sidecars_run_on_in_a_kept_pod;
};

/// All that both worlds play.
pub(crate) const BODIES: &[Body] = bodies! {
    clocks: timeout_while_the_api_is_away;
    ends: volume_over_limit storage_over_the_pods_limit storage_over_a_containers_limit init_fails init_container_works_for_long
        not_executable out_of_memory deadline_of_the_template config_map_comes_late not_kept_after_success collected_over_the_threshold
        log_at_the_very_end logs_of_all_kinds_of_containers;
    whole: undisturbed exit_code init_containers name_in_use sidecar_runs_on kept_after_success kept_after_failure;
    log: burst several_containers log_rotates_behind_a_cut;
    result: by_sidecar by_sidecar_large by_message by_exec missing spoilt_results
        beside_one_that_runs_on;
    disruption: preempted_before_start preempted_while_running evicted_before_start evicted_while_running
        deleted_while_waiting force_deleted_while_running succeeds_in_its_grace namesake_in_its_place namesake_of_the_next;
    observer: cancelled detached_and_attached killed_and_taken_over succeeded_while_nobody_watched protected_and_deleted two_observers;
    faults: connections_cut requests_refused answers_stalled killed_at_each_request killed_after_taking_over followed_through_cuts taken_over_through_cuts;
    cancel: cancelled_while_pulling cancelled_while_queued cancelled_while_refused cancelled_while_the_create_is_tried_again
        cancelled_while_terminating cancelled_and_followed;
    clocks: timeout queue_timeout queued_by_kueue schedule_timeout scale_up_will_not_help scale_up_is_not_charged
        deadline_after_a_take_over;
    door: api_down_at_the_create create_reply_is_lost storm_of_429 log_is_cut_in_a_line watch_ends_at_once
        collected_right_after_success fails_while_it_is_stopped watch_is_forbidden;
    kubelets: rejected_by_the_kubelet rejected_for_its_node rejected_then_it_runs critical_pod_preempts taint_eviction_is_cancelled;
    library: fixed_name beside_others;
    names: name_is_taken next_name_is_taken_for_a_while more_pods_with_the_label label_stripped_from_a_live_pod
        label_stripped_while_a_result_is_awaited;
    images: image_name_is_none image_never_comes init_image_never_comes;
    reruns: deleted_by_hand helm_deletes_and_it_comes_again force_deleted_while_waiting unscheduled_and_held budget_of_started
        retries_used_up retries_beside_one_that_runs until_commit_committed until_commit_not_committed;
    signed: evicted_by_karpenter evicted_by_the_cluster_autoscaler gke_recreates_the_node kueue_evicts
        kueue_evicts_before_the_start stale_mark phase_unknown;
    preempted: never_rerun protected held_by_a_finalizer_of_others one_line_says_it_all retries_of_the_user
        preempted_finishes_in_grace preempted_stops_half_way preempted_while_running_idempotent cancelled_during_backoff
        observer_dies_and_the_pod_is_preempted two_observers_and_a_preemption timeout_across_attempts backoff sidecar_not_yet_up
        sidecar_up_and_image_pulling init_container_pulls_beside_a_sidecar replacement_gone_while_nobody_watched;
    refusal: pod_security_refuses quota_is_full quota_demands_limits namespace_is_missing;
};

/// Arguments of `run` for a shell script.
fn shell(flags: &[&str], script: &str) -> Vec<String> {
    container::run("task", flags, script)
}

/// The argument that lets a container wait before it starts: it is assigned, and its kubelet cannot make it.
const WAITS_FOR_SETTINGS: &str = r#"spec.containers[0].envFrom=[{"configMapRef":{"name":"settings"}}]"#;

/// The argument that gives the task an image which nobody has.
const NO_IMAGE_SET: &str = "spec.containers[0].image=kpo.rs/missing:1";

/// Runs until it is told to end.
const ENDURES: &str = "trap 'exit 143' TERM; while true; do sleep 0.2; done";

impl Namespace<'_> {
    /// What the container of [`WAITS_FOR_SETTINGS`] waits for.
    async fn give_settings(&self) -> Result<(), Error> {
        self.post(&self.path("configmaps"), &json!({"metadata": {"name": "settings"}, "data": {"A": "b"}})).await?;
        Ok(())
    }

    /// Takes it away again.
    async fn take_settings(&self) -> Result<(), Error> {
        self.delete(&self.path("configmaps/settings"), &json!({})).await?;
        Ok(())
    }
}

fn is_waiting(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
}

/// Whether a container's status says that its image cannot be had.
fn is_without_image(status: &Value) -> bool {
    let waits_for = &status["state"]["waiting"]["reason"];
    waits_for == "ErrImagePull" || waits_for == "ImagePullBackOff"
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["containerStatuses"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["state"]["running"].is_object()))
}

/// Fails unless two values are the same.
fn same(what: &str, is: &Value, expected: &Value) -> Result<(), Error> {
    if is == expected { Ok(()) } else { Err(format!("{what}: expected {expected}, is {is}").into()) }
}
