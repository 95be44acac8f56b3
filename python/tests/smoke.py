"""A task on the lab, with nothing but the package: what a fresh install is tried with."""

import kpo

POD = {
    "kind": "Pod",
    "metadata": {"name": "smoke"},
    "spec": {"containers": [{"name": "base", "image": "b", "command": ["echo", "hello"]}]},
}

with kpo.lab("preemption") as lab:
    outcome = kpo.run(POD, client=lab.client(), check=True)
assert [attempt.verdict and attempt.verdict.kind for attempt in outcome.attempts] == ["disrupted", "succeeded"]
print(outcome.message)
