//! What is read, and what is refused: in the words that a person sees.

use super::*;
use serde_json::json;

fn file(text: &str) -> Request {
    Request { file: Some(Source { name: "task.yaml".into(), text: text.into() }), ..Request::default() }
}

fn read(request: Request) -> Manifest {
    manifest(request).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(request: Request) -> String {
    manifest(request).expect_err("it was taken").to_string()
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: squeeze
  namespace: prod
  uid: 5b1d
  labels: {app: juice}
spec:
  somethingNew: {kept: [1.0, yes]}
  terminationGracePeriodSeconds: 5
  initContainers:
  - {name: wash, image: busybox}
  containers:
  - {name: proxy, image: envoy}
  - name: base
    image: busybox
    env:
    - {name: A, value: a}
status: {phase: Running}
";

#[test]
fn a_pod_is_taken_as_it_is() {
    let manifest = read(file(POD));
    assert_eq!(manifest.name.as_deref(), Some("squeeze"));
    assert_eq!(manifest.namespace.as_deref(), Some("prod"));
    assert_eq!(manifest.container, "base");
    assert_eq!(manifest.counted, ["wash", "proxy", "base"]);
    assert_eq!(manifest.grace_seconds, 5);
    assert_eq!(manifest.pod["spec"]["somethingNew"], json!({"kept": [1, true]}));
    assert_eq!(manifest.pod["metadata"], json!({"name": "squeeze", "namespace": "prod", "labels": {"app": "juice"}}));
    assert_eq!(manifest.pod.get("status"), None);
    assert_eq!(manifest.pod["spec"].get("restartPolicy"), None, "nothing is added");
    let null = read(Request { set: vec!["restartPolicy=null".into()], ..file(POD) });
    assert_eq!(null.pod, manifest.pod);
}

/// It was a task's pod.
#[test]
fn a_pod_of_kpos_can_be_handed_in_again() {
    let marked = "labels: {app: juice, kpo.rs/task: old}\n  annotations: {kpo.rs/stopping: cancelledByUser, kpo.rs/expires: x, team: a}";
    let manifest = read(file(&POD.replace("labels: {app: juice}", marked)));
    let metadata =
        json!({"name": "squeeze", "namespace": "prod", "labels": {"app": "juice"}, "annotations": {"team": "a"}});
    assert_eq!(manifest.pod["metadata"], metadata);
}

/// An empty name is none.
#[test]
fn a_node_that_is_named_is_known_to_decisions() {
    let names = |set: &str| {
        let set = vec![set.to_owned()];
        read(Request { image: Some("busybox".into()), set, ..Request::default() }).template().names_its_node
    };
    assert_eq!(
        ["spec.nodeName=node-1", "spec.nodeName=\"\"", "spec.priorityClassName=high"].map(names),
        [true, false, false]
    );
}

#[test]
fn flags_go_into_the_own_container() {
    let mut request = file(POD);
    request.image = Some("alpine".into());
    request.args = vec!["echo".into(), "hi".into()];
    request.env = vec!["B=x=y".into(), "A=".into()];
    request.set = vec![
        "spec.containers[name=proxy].resources.limits.memory=512Mi".into(),
        "metadata.annotations.\"a.b/c\"='1'".into(),
        "priority=3".into(),
    ];
    let spec = read(request).pod["spec"].clone();
    let env = json!([{"name": "A", "value": ""}, {"name": "B", "value": "x=y"}]);
    assert_eq!(spec["containers"][1], json!({"name": "base", "image": "alpine", "args": ["echo", "hi"], "env": env}));
    assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"memory": "512Mi"}}));
    assert_eq!(spec["priority"], json!(3));
}

#[test]
fn an_image_and_a_command_are_a_pod() {
    let request = Request {
        image: Some("busybox".into()),
        name: Some("hi".into()),
        command: true,
        args: vec!["echo".into(), "hello".into()],
        ..Request::default()
    };
    let wanted = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hi"},
        "spec": {"containers": [{"name": "base", "image": "busybox", "command": ["echo", "hello"]}]}});
    assert_eq!(read(request.clone()).pod, wanted);
    let named = read(Request { container: Some("juicer".into()), ..request });
    assert_eq!((named.container.as_str(), &named.pod["spec"]["containers"][0]["name"]), ("juicer", &json!("juicer")));
}

/// `--set` comes last, and may be what names the image.
#[test]
fn a_command_is_kept_where_only_set_makes_the_container() {
    let (args, env) = (vec!["echo".to_owned(), "hi".into()], vec!["A=b".to_owned()]);
    let set = vec!["containers[0].image=busybox".to_owned()];
    let made = read(Request { args: args.clone(), env, set: set.clone(), ..Request::default() });
    let env = json!([{"name": "A", "value": "b"}]);
    let wanted = json!([{"name": "base", "args": ["echo", "hi"], "env": env, "image": "busybox"}]);
    assert_eq!(made.pod["spec"]["containers"], wanted);
    let named = vec!["containers[0].name=own".to_owned()];
    let made = read(Request { args, set: [set, named].concat(), ..Request::default() });
    assert_eq!(made.pod["spec"]["containers"][0], json!({"name": "own", "args": ["echo", "hi"], "image": "busybox"}));
}

#[test]
fn a_command_takes_the_manifests_arguments_with_it() {
    let pod = "kind: Pod\nspec: {containers: [{name: a, image: b, command: [old], args: [its, args]}]}";
    let with =
        |command| read(Request { command, args: vec!["new".into()], ..file(pod) }).pod["spec"]["containers"][0].clone();
    assert_eq!(with(true), json!({"name": "a", "image": "b", "command": ["new"]}));
    assert_eq!(with(false), json!({"name": "a", "image": "b", "command": ["old"], "args": ["new"]}));
}

const JOB: &str = "\
apiVersion: batch/v1
kind: Job
metadata: {name: nightly, namespace: prod}
spec:
  backoffLimit: 4
  activeDeadlineSeconds: 3600
  parallelism: 1
  template:
    metadata: {labels: {a: b}}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: x}]
";

#[test]
fn a_job_gives_its_template_its_name_and_the_total_clock() {
    let manifest = read(file(JOB));
    assert_eq!(manifest.total, Some(Duration::from_secs(3600)));
    assert_eq!(manifest.unused, ["spec.backoffLimit"]);
    let without = read(file(&JOB.replace("backoffLimit: 4", "backoffLimit: 0")));
    assert_eq!(without.unused, [""; 0], "no retries are what a task has by itself");
    assert_eq!(manifest.pod["metadata"], json!({"labels": {"a": "b"}, "name": "nightly", "namespace": "prod"}));
    assert_eq!(manifest.pod["kind"], "Pod");
    let indented: String = JOB.lines().skip(3).map(|line| format!("    {line}\n")).collect();
    let cron = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: c}}\nspec:\n  schedule: '* * * * *'\n  jobTemplate:\n{indented}"
    );
    let manifest = read(file(&cron));
    assert_eq!(manifest.unused, ["spec.jobTemplate.spec.backoffLimit", "spec.schedule"]);
    assert_eq!((manifest.total, manifest.container.as_str()), (Some(Duration::from_secs(3600)), "main"));
    let template =
        "apiVersion: v1\nkind: PodTemplate\nmetadata: {name: t}\ntemplate: {spec: {containers: [{name: a, image: b}]}}";
    assert_eq!(read(file(template)).pod["metadata"]["name"], "t");
}

#[test]
fn what_a_job_asks_that_a_task_is_not_is_refused_by_name() {
    let with = |line: &str| refusal(file(&JOB.replace("  parallelism: 1\n", &format!("  {line}\n"))));
    assert!(with("completions: 3").starts_with("task.yaml:7:3: the Job asks for completions: 3. A task is one pod"));
    assert!(with("parallelism: 2").contains("the Job asks for parallelism: 2."));
    assert!(with("completionMode: Indexed").contains("completionMode: Indexed."));
    assert!(with("podFailurePolicy: {rules: []}").contains("podFailurePolicy: …. Use --rerun"));
    for (line, said) in [
        (
            "completions: '3'",
            "task.yaml:7:3: spec.completions must be a whole number, not a text. Take off the quotes.",
        ),
        ("parallelism: [1]", "task.yaml:7:3: spec.parallelism must be a whole number, not a list."),
        ("completionMode: 1", "task.yaml:7:3: spec.completionMode must be a text, not a number."),
        ("suspend: 'yes'", "task.yaml:7:3: spec.suspend must be a boolean, not a text."),
    ] {
        assert!(with(line).starts_with(said), "{}", with(line));
    }
    let soon = refusal(file(&JOB.replace("Seconds: 3600", "Seconds: x")));
    let said = "task.yaml:6:3: spec.activeDeadlineSeconds must be a whole number of seconds, not a text.";
    assert!(soon.starts_with(said), "{soon}");
    let restarts = refusal(file(&JOB.replace("Never", "OnFailure")));
    assert!(
        restarts.starts_with("task.yaml:11:7: the Job asks for restartPolicy: OnFailure. kpo makes a new pod"),
        "{restarts}"
    );
}

#[test]
fn a_suspended_job_is_noticed() {
    let suspended = |line: &str| read(file(&JOB.replace("  parallelism: 1\n", line))).suspended;
    assert_eq!(suspended("  suspend: true\n").as_deref(), Some("spec.suspend"));
    assert_eq!(suspended("  suspend: false\n"), None);
    assert_eq!(suspended("  suspend: null\n"), None);
}

/// An effective restart policy other than Never: the pod's is Never, and a container's own may say otherwise.
#[test]
fn no_container_is_started_again_by_its_kubelet() {
    let pod = |init: &str, main: &str| {
        let containers = format!("  - {{name: base, image: x{main}}}");
        file(&format!(
            "kind: Pod\nspec:\n  initContainers:\n  - {{name: wash, image: x{init}}}\n  containers:\n{containers}\n"
        ))
    };
    for (init, main) in
        [("", ""), (", restartPolicy: Always", ", restartPolicy: Never"), (", restartPolicy: Never", "")]
    {
        assert_eq!(read(pod(init, main)).counted, ["wash", "base"]);
    }
    let said = [
        refusal(pod("", ", restartPolicy: Always")),
        refusal(pod("", ", restartPolicy: OnFailure")),
        refusal(pod(", restartPolicy: OnFailure", "")),
        refusal(pod("", ", restartPolicy: Never, restartPolicyRules: [{action: Restart}]")),
        refusal(pod(", restartPolicyRules: [{action: Restart}]", "")),
        refusal(pod("", ", stdin: true")),
        refusal(pod(", tty: true", "")),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_fault_is_shown_where_it_stands() {
    let always = refusal(file(&JOB.replace("restartPolicy: Never", "restartPolicy: Always")));
    insta::assert_snapshot!(always, @r#"
    task.yaml:11:7: unknown value for restartPolicy: "Always". A task ends; use Never, or leave it out.
       11 │       restartPolicy: Always
          │       ^^^^^^^^^^^^^
    "#);
    let broken = ["kind: Pod\nspec: {containers: [}\n", "a: 1\na: 2\n", "kind: Pod\n\tspec: 1\n"];
    insta::assert_snapshot!(broken.map(|text| refusal(file(text))).join("\n"), @r"
    task.yaml:2:20: not valid YAML: mismatched bracket '[' closed by '}'.
       2 │ spec: {containers: [}
         │                    ^
    task.yaml:2:1: not valid YAML: duplicate mapping key `a` is not allowed here.
       2 │ a: 2
         │ ^
    task.yaml:1:7: not valid YAML: while scanning a plain scalar, found a tab.
       1 │ kind: Pod
         │       ^
    ");
}

#[test]
fn each_fault_has_its_sentence() {
    let pod = |tail: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: t}}\nspec:\n  containers:\n{tail}\n");
    let cases = [
        file(""),
        file("# only a comment\n"),
        file("kind: Pod\n---\nkind: Pod\n"),
        file("apiVersion: v1\n"),
        file("apiVersion: apps/v1\nkind: Deployment\n"),
        file("apiVersion: v1\nkind: Job\n"),
        file("kind: Pod\nspec: {}\n"),
        file(&pod("  - {name: a, image: x}\n  - {name: a, image: z}")),
        file(&pod("  - name: a")),
        file(&pod("  - image: a")),
        file(&pod("  - {name: A, image: x}")),
        file(&pod("  - {name: a, image: x, args: [1]}")),
        file(&pod("  - {name: a, image: x, env: [{name: X, value: 8080}]}")),
        file(&pod("  - {}")),
        file(&POD.replace("squeeze", "Fresh_Squeeze")),
        file(&POD.replace("squeeze", &"a".repeat(60))),
        file(&POD.replace("{app: juice}", "{app: true}")),
        file(&POD.replace("Seconds: 5", "Seconds: soon")),
        Request { namespace: Some("dev".into()), ..file(POD) },
        Request { container: Some("main".into()), ..file(POD) },
        Request { env: vec!["SECRET".into()], ..file(POD) },
        Request { set: vec!["spec".into()], ..file(POD) },
        Request { set: vec!["containers[name=x].image=y".into()], ..file(POD) },
        Request { set: vec!["restartPolicy=Always".into()], ..file(POD) },
        Request { set: vec!["containers[name=base].image=".into()], ..file(POD) },
        Request { set: vec!["nodeSelector.a=true".into()], ..file(POD) },
        Request::default(),
    ];
    let said: Vec<String> = cases.into_iter().map(refusal).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn no_env_value_is_ever_shown() {
    let secret = "hunter2";
    let broken = |env: &str| format!("kind: Pod\nspec:\n  containers:\n  - name: a\n    env:\n    - name: P\n{env}\n");
    let cases = [
        file(&broken("      value: \"hunter2")),
        file(&broken("      value: [hunter2")),
        file(&broken("      value: |\n        a\n       hunter2")),
        file(&broken("      value: {hunter2: 1}")),
        file(&broken("      value: hunter2: x")),
        file(
            "{\"kind\":\"Pod\",\"spec\":{\"containers\":[{\"name\":\"a\",\"env\":[{\"name\":\"P\",\"value\":\"hunter2\"}],}}",
        ),
        Request { env: vec!["=hunter2".into()], ..file(POD) },
        Request { set: vec!["containers[9].env[0].value=hunter2".into()], ..file(POD) },
        Request { set: vec!["containers[0].env[0].value=[hunter2".into()], ..file(POD) },
    ];
    for request in cases {
        let debug = format!("{request:?}");
        let said = manifest(request).expect_err("it was taken");
        assert!(!format!("{said} {said:?} {debug}").contains(secret), "{said}");
    }
    let taken = Request { env: vec!["P=hunter2".into()], ..file(POD) };
    assert!(!format!("{:?} {:?}", taken.clone(), read(taken)).contains(secret));
}
