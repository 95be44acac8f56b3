//! Canaries: what is secret is nowhere but where it has to be.

mod common;

use common::cluster::Cluster;
use common::kpo;
use kpo_lab::Resource;
use serde_json::Value;

const ENV: &str = "canary-of-an-env-value";
const TOKEN: &str = "canary-of-a-token";
const PLUGIN: &str = "canary-of-a-plugins-output";

/// Kubeconfigs whose token is a canary: written down, and given by a plugin, beside whose answer it prints another.
fn kubeconfigs(cluster: &Cluster) -> [String; 2] {
    cluster.lab().grant(TOKEN, kpo_lab::api::User::admin());
    let text = cluster.lab().kubeconfig_for(TOKEN).unwrap();
    let answer = serde_json::json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": TOKEN}, "ignored": PLUGIN});
    let answer = cluster.file("answer.json", &answer.to_string());
    let program = format!("command: sh, args: [-c, \"echo {PLUGIN} >&2; cat {answer}\"]");
    let exec = format!("exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, {program}}}");
    let by_plugin = text.replace(&format!("token: {TOKEN}"), &exec);
    [cluster.file("token.yaml", &text), cluster.file("plugin.yaml", &by_plugin)]
}

#[test]
fn secrets_are_in_no_output_no_event_and_no_annotation() {
    let cluster = Cluster::of("node node-1\ncontainer base runs 50ms exit 3 says \"hello\"\n");
    for (number, kubeconfig) in kubeconfigs(&cluster).iter().enumerate() {
        for (form, flags) in [("plain", &["-vvv"][..]), ("json", &["-vv", "-o", "json"]), ("events", &["-o", "events"])]
        {
            let name = format!("t-{number}-{form}");
            let variable = format!("SECRET={ENV}");
            let run = [
                "run",
                "--kubeconfig",
                kubeconfig,
                "--image=x",
                "--name",
                &name,
                "--env",
                &variable,
                "--on-finish=keep",
            ];
            let ran = kpo(&[&run, flags].concat());
            assert_eq!(ran.code, Some(3), "{}", ran.err);
            let others = [
                vec!["why", &name],
                vec!["why", &name, "-o", "json"],
                vec!["ls", "-o", "yaml"],
                vec!["attach", &name, "-o", "json"],
                vec!["cancel", &name],
            ];
            let told = others.map(|command| {
                let ran = kpo(&[command.as_slice(), &["--kubeconfig", kubeconfig]].concat());
                ran.out + &ran.err
            });
            let said = format!("{}{}{}", ran.out, ran.err, told.concat());
            for canary in [ENV, TOKEN, PLUGIN] {
                assert!(!said.contains(canary), "{name}: {canary} is in {said}");
            }
        }
    }
    let all = cluster.lab().with(|_, world| {
        let of = |resource| world.store().list(resource, None).map(|object| Value::clone(object)).collect::<Vec<_>>();
        (of(Resource::Pods), of(Resource::Events))
    });
    let (mut pods, events) = all;
    assert_eq!(pods.len(), 6);
    for pod in &mut pods {
        let env = pod["spec"]["containers"][0]["env"].take();
        assert!(env.to_string().contains(ENV), "it is what the manifest asked for: {env}");
        // Its compressed copy travels with the pod; nothing else of it does.
        pod["metadata"]["annotations"]["kpo.rs/manifest"].take();
    }
    let rest = format!("{pods:?}{events:?}");
    for canary in [ENV, TOKEN, PLUGIN] {
        assert!(!rest.contains(canary), "{canary} is in {rest}");
    }
}

/// A plugin that fails, a token that is refused, a manifest that is wrong: nothing of them is shown.
#[test]
fn secrets_are_in_no_error() {
    let cluster = Cluster::of("node node-1\n");
    let [_, by_plugin] = kubeconfigs(&cluster);
    let nonsense = std::fs::read_to_string(&by_plugin).unwrap().replace("cat ", "echo no json: ");
    let fails = std::fs::read_to_string(&by_plugin)
        .unwrap()
        .replace(&format!("echo {PLUGIN} >&2; cat"), &format!("echo {PLUGIN}; exit 7 #"));
    let refused = cluster.lab().kubeconfig_for(&format!("{TOKEN}-of-nobody")).unwrap();
    let broken = format!("apiVersion: v1\nusers:\n- name: u\n  user: {{token: {TOKEN}\n");
    for text in [nonsense, fails, refused, broken] {
        let ran = kpo(&["run", "--kubeconfig", &cluster.file("wrong.yaml", &text), "--image=x", "-vvv", "-o", "json"]);
        assert_eq!(ran.code, Some(125), "{}", ran.err);
        for canary in [TOKEN, PLUGIN] {
            assert!(!ran.out.contains(canary) && !ran.err.contains(canary), "{canary}: {}{}", ran.out, ran.err);
        }
    }
    let pod = format!(
        "kind: Pod\nmetadata: {{name: t}}\nspec: {{containers: [{{name: a, image: b, env: [{{name: S, value: {ENV}, value: {ENV}}}]}}]}}\n"
    );
    for flags in [
        vec![cluster.file("pod.yaml", &pod)],
        vec![format!("--env={ENV}")],
        vec![format!("--set=containers[7].env[0].value={ENV}")],
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let ran = kpo(&[&["run", "--image=x", "-o", "json"][..], &flags].concat());
        assert!(
            ran.code == Some(2) && !ran.err.contains(ENV) && !ran.out.contains(ENV),
            "{flags:?}: {}{}",
            ran.out,
            ran.err
        );
    }
}
