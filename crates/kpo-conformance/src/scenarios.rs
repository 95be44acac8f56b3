//! Each scenario, and what of it a real cluster plays: every file in `scenarios/` has a row.
//!
//! What controllers do that the cluster does not have (an autoscaler, a queue, a cloud) a body does in their place, by the requests that they send: what the
//! kubelet, the scheduler and the API server make of these is real.

use Played::{Body, Cannot};

/// Where a scenario is played.
enum Played {
    /// By these bodies.
    Body(&'static [&'static str]),
    /// By none, and why none can.
    Cannot(&'static str),
}

/// A scenario's file without its ending, and who plays it.
const SCENARIOS: &[(&str, Played)] = &[
    ("all_nodes_silent", Body(&["all_nodes_silent"])),
    ("api_down_at_the_create", Body(&["api_down_at_the_create"])),
    ("api_down_for_five_minutes", Body(&["api_server_killed"])),
    ("backoff", Body(&["backoff"])),
    ("budget_of_started", Body(&["budget_of_started"])),
    ("cancelled_and_followed", Body(&["cancelled_and_followed"])),
    ("cancelled_and_then_silent", Body(&["cancelled_and_then_silent"])),
    ("cancelled_during_backoff", Body(&["cancelled_during_backoff"])),
    ("cancelled_on_a_silent_node", Body(&["stopped_on_a_silent_node"])),
    ("cancelled_while_pulling", Body(&["cancelled_while_pulling"])),
    ("cancelled_while_queued", Body(&["cancelled_while_queued"])),
    ("cancelled_while_refused", Body(&["cancelled_while_refused"])),
    ("cancelled_while_running", Body(&["cancelled"])),
    ("cancelled_while_terminating", Body(&["cancelled_while_terminating"])),
    ("cancelled_while_the_create_is_tried_again", Body(&["cancelled_while_the_create_is_tried_again"])),
    ("collected_over_the_threshold", Body(&["collected_over_the_threshold"])),
    ("collected_right_after_success", Body(&["collected_right_after_success"])),
    ("config_map_comes_late", Body(&["config_map_comes_late"])),
    ("create_is_answered_500_after_all", Body(&["requests_refused"])),
    ("create_reply_is_lost", Body(&["create_reply_is_lost"])),
    ("critical_pod_preempts", Body(&["critical_pod_preempts"])),
    ("deadline_after_a_take_over", Body(&["deadline_after_a_take_over"])),
    ("deadline_of_the_template", Body(&["deadline_of_the_template"])),
    ("deleted_by_hand", Body(&["deleted_by_hand", "deleted_at_each_stage"])),
    ("evicted_by_drain", Body(&["evicted_while_running"])),
    ("evicted_by_karpenter", Body(&["evicted_by_karpenter"])),
    ("evicted_by_the_cluster_autoscaler", Body(&["evicted_by_the_cluster_autoscaler"])),
    ("evicted_while_pulling", Body(&["evicted_while_pulling"])),
    ("evicted_without_network", Body(&["evicted_before_start", "evicted_at_each_stage"])),
    ("exit_code", Body(&["exit_code"])),
    ("fails_while_it_is_stopped", Body(&["fails_while_it_is_stopped"])),
    ("fixed_name", Body(&["fixed_name"])),
    ("force_deleted_while_pulling", Body(&["force_deleted_while_waiting", "force_deleted_at_each_stage"])),
    ("gke_recreates_the_node", Body(&["gke_recreates_the_node"])),
    ("half_open_watch", Body(&["answers_stalled"])),
    ("held_by_a_finalizer_of_others", Body(&["held_by_a_finalizer_of_others"])),
    ("helm_deletes_a_pending_pod", Body(&["deleted_while_waiting", "deleted_at_each_stage"])),
    ("helm_deletes_and_it_comes_again", Body(&["helm_deletes_and_it_comes_again"])),
    ("image_comes_late", Body(&["image_comes_late"])),
    ("image_name_is_none", Body(&["image_name_is_none"])),
    ("image_never_comes", Body(&["image_never_comes"])),
    ("init_container_pulls_beside_a_mesh", Body(&["init_container_pulls_beside_a_mesh"])),
    ("init_container_pulls_beside_a_sidecar", Body(&["init_container_pulls_beside_a_sidecar"])),
    ("init_container_works_for_long", Body(&["init_container_works_for_long"])),
    ("init_fails", Body(&["init_fails"])),
    ("init_image_never_comes", Body(&["init_image_never_comes"])),
    ("injected_containers_do_not_count", Body(&["plain_sidecar_injected", "native_sidecar_injected"])),
    ("kept_after_failure", Body(&["kept_after_failure"])),
    ("kubelet_down_while_it_finishes", Body(&["kubelet_killed"])),
    ("kueue_evicts", Body(&["kueue_evicts"])),
    ("kueue_evicts_before_the_start", Body(&["kueue_evicts_before_the_start"])),
    ("label_stripped_from_a_live_pod", Body(&["beside_others", "label_stripped_from_a_live_pod"])),
    ("label_stripped_while_a_result_is_awaited", Body(&["label_stripped_while_a_result_is_awaited"])),
    ("log_at_the_very_end", Body(&["log_at_the_very_end"])),
    ("log_is_cut_in_a_line", Body(&["log_is_cut_in_a_line"])),
    ("log_rotates_behind_a_cut", Body(&["log_rotates_behind_a_cut"])),
    ("log_stream_is_cut", Body(&["log_is_cut_in_a_line", "connections_cut"])),
    ("logs_of_several_containers", Body(&["logs_of_all_kinds_of_containers"])),
    ("more_pods_with_the_label", Body(&["beside_others", "more_pods_with_the_label"])),
    ("name_is_taken", Body(&["name_is_taken"])),
    ("namespace_is_missing", Body(&["namespace_is_missing"])),
    ("never_rerun", Body(&["never_rerun"])),
    ("next_name_is_taken_for_a_while", Body(&["next_name_is_taken_for_a_while"])),
    ("no_gates", Body(&["no_gates"])),
    ("node_deleted", Body(&["node_deleted_at_each_stage"])),
    ("node_deleted_by_the_cloud", Body(&["node_gone_for_good"])),
    ("node_deleted_idempotent", Body(&["node_gone_for_good"])),
    ("node_gone_with_the_log", Body(&["node_gone_for_good"])),
    ("node_pressure", Body(&["node_under_pressure"])),
    ("node_rebooted", Body(&["node_rebooted"])),
    ("node_rebooted_records_lost", Body(&["node_rebooted_records_lost"])),
    ("node_shuts_down", Cannot("a kubelet learns of a shutdown from systemd-logind, which the cluster has not")),
    ("not_executable", Body(&["not_executable"])),
    ("not_kept_after_success", Body(&["not_kept_after_success"])),
    ("observer_dies_and_the_pod_is_preempted", Body(&["observer_dies_and_the_pod_is_preempted"])),
    ("observer_leaves", Body(&["detached_and_attached"])),
    ("one_line_says_it_all", Body(&["one_line_says_it_all"])),
    ("out_of_memory", Body(&["out_of_memory"])),
    ("out_of_service", Body(&["out_of_service"])),
    ("phase_unknown", Body(&["phase_unknown"])),
    ("pod_security_refuses", Body(&["pod_security_refuses"])),
    ("preempted_at_permit", Cannot("upstream's scheduler has no plugin that lets a pod wait at Permit")),
    ("preempted_finishes_in_grace", Body(&["preempted_finishes_in_grace"])),
    ("preempted_on_a_fresh_node", Body(&["preempted_before_start"])),
    ("preempted_stops_half_way", Body(&["preempted_stops_half_way"])),
    ("preempted_while_running", Body(&["preempted_while_running"])),
    ("preempted_while_running_idempotent", Body(&["preempted_while_running_idempotent"])),
    ("protected", Body(&["protected"])),
    ("protected_and_collected", Body(&["protected_and_deleted"])),
    ("provider_fails", Body(&["provider_fails"])),
    ("queue_timeout", Body(&["queue_timeout"])),
    ("queued_by_kueue", Body(&["queued_by_kueue"])),
    ("quota_demands_requests", Body(&["quota_demands_limits"])),
    ("quota_is_full_for_a_while", Body(&["quota_is_full"])),
    ("quota_is_full_for_too_long", Body(&["quota_is_full"])),
    (
        "records_lost_before_the_start_was_seen",
        Cannot("the kubelet would have to fall silent within the milliseconds between a start and its report"),
    ),
    ("records_lost_under_a_silent_kubelet", Body(&["records_lost_under_a_silent_kubelet"])),
    ("rejected_after_all", Body(&["rejected_after_all"])),
    ("rejected_between_two_reads", Body(&["rejected_between_two_reads"])),
    ("rejected_by_the_kubelet", Body(&["rejected_by_the_kubelet"])),
    ("rejected_for_its_node", Body(&["rejected_for_its_node"])),
    (
        "rejected_on_a_node_that_shuts_down",
        Cannot("a kubelet learns of a shutdown from systemd-logind, which the cluster has not"),
    ),
    ("rejected_then_it_runs", Body(&["rejected_then_it_runs"])),
    ("rejected_under_pressure", Body(&["node_under_pressure"])),
    ("replacement_gone_while_nobody_watched", Body(&["replacement_gone_while_nobody_watched"])),
    ("result_beyond_its_message", Body(&["spoilt_results"])),
    ("result_by_exec", Body(&["by_exec"])),
    ("result_by_sidecar", Body(&["by_sidecar", "collected_right_after_success"])),
    ("result_in_its_message", Body(&["by_message", "collected_right_after_success"])),
    ("result_that_is_cut", Body(&["result_that_is_cut"])),
    ("result_that_is_large", Body(&["by_sidecar_large"])),
    ("result_that_is_missing", Body(&["missing"])),
    ("result_that_is_no_json", Body(&["spoilt_results"])),
    ("result_that_is_too_large", Body(&["spoilt_results"])),
    ("retries_beside_one_that_runs", Body(&["retries_beside_one_that_runs"])),
    ("retries_of_the_user", Body(&["retries_of_the_user"])),
    ("retries_used_up", Body(&["retries_used_up"])),
    ("rights_are_missing", Body(&["each_right_missing"])),
    ("scale_up_is_not_charged", Body(&["scale_up_is_not_charged"])),
    ("scale_up_under_a_short_clock", Body(&["scale_up_is_not_charged"])),
    ("scale_up_will_not_help", Body(&["scale_up_will_not_help"])),
    ("schedule_timeout", Body(&["schedule_timeout"])),
    ("sidecar_not_yet_up", Body(&["sidecar_not_yet_up"])),
    ("sidecar_up_and_image_pulling", Body(&["sidecar_up_and_image_pulling"])),
    ("sidecars_run_on", Body(&["plain_sidecar_injected", "native_sidecar_injected"])),
    ("sidecars_run_on_in_a_kept_pod", Body(&["sidecars_run_on_in_a_kept_pod"])),
    ("stale_mark", Body(&["stale_mark"])),
    (
        "started_again_under_its_uid",
        Cannot("a runtime that forgets a start is one with a defect, and cannot be told to have it"),
    ),
    ("storage_over_a_containers_limit", Body(&["storage_over_a_containers_limit"])),
    ("storage_over_the_pods_limit", Body(&["storage_over_the_pods_limit"])),
    ("storm_of_429", Body(&["storm_of_429"])),
    ("succeeded_while_nobody_watched", Body(&["succeeded_while_nobody_watched"])),
    ("taint_evicted", Body(&["tainted_at_each_stage"])),
    ("taint_eviction_is_cancelled", Body(&["taint_eviction_is_cancelled"])),
    ("taken_over", Body(&["taken_over_through_cuts"])),
    ("timeout", Body(&["timeout"])),
    ("timeout_across_attempts", Body(&["timeout_across_attempts"])),
    ("timeout_on_a_silent_node", Body(&["stopped_on_a_silent_node"])),
    ("timeout_while_the_api_is_away", Body(&["timeout_while_the_api_is_away"])),
    ("token_expires", Body(&["token_ends_before_the_next"])),
    ("two_observers", Body(&["two_observers"])),
    ("two_observers_and_a_preemption", Body(&["two_observers_and_a_preemption"])),
    ("undisturbed", Body(&["undisturbed"])),
    ("unreachable_node", Body(&["node_silent"])),
    ("unreachable_node_replaced", Body(&["node_silent"])),
    ("unreachable_node_replaced_once_started", Body(&["node_silent"])),
    ("unreachable_then_back", Body(&["node_silent"])),
    ("unscheduled_and_deleted", Body(&["deleted_at_each_stage"])),
    ("unscheduled_and_held", Body(&["unscheduled_and_held"])),
    ("until_commit_committed", Body(&["until_commit_committed"])),
    ("until_commit_not_committed", Body(&["until_commit_not_committed"])),
    ("until_commit_unattested", Body(&["node_gone_for_good"])),
    ("volume_over_limit", Body(&["volume_over_limit"])),
    ("watch_ends_at_once", Body(&["watch_ends_at_once"])),
    ("watch_is_compacted", Body(&["watch_is_compacted"])),
    ("watch_is_forbidden", Body(&["watch_is_forbidden", "each_right_missing"])),
];

use crate::bodies::{BODIES, CLUSTER_ONLY};
use std::collections::BTreeSet;
use std::path::Path;

fn files() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let entries = std::fs::read_dir(folder).expect("the scenarios").map(|entry| entry.expect("a file").file_name());
    entries.filter_map(|name| Some(name.to_str()?.strip_suffix(".scenario")?.to_owned())).collect()
}

#[test]
fn every_scenario_has_one_row() {
    let rows: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    assert!(rows.is_sorted_by(|a, b| a < b), "the rows are in order, and none is there twice");
    let rows: BTreeSet<String> = rows.into_iter().map(str::to_owned).collect();
    let files = files();
    assert_eq!(files.difference(&rows).collect::<Vec<_>>(), Vec::<&String>::new(), "files without a row");
    assert_eq!(rows.difference(&files).collect::<Vec<_>>(), Vec::<&String>::new(), "rows without a file");
}

#[test]
fn every_row_names_bodies_that_there_are_or_a_reason() {
    let bodies: BTreeSet<&str> = BODIES.iter().chain(CLUSTER_ONLY).map(|body| body.name).collect();
    for (name, played) in SCENARIOS {
        match played {
            Body(played) => {
                assert!(!played.is_empty(), "{name} names no body");
                for body in *played {
                    assert!(bodies.contains(body), "{name} is said to be played by {body}, which there is not");
                }
            }
            Cannot(why) => assert!(!why.is_empty(), "{name} says no reason"),
        }
    }
}
