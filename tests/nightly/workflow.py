"""Executes the `run:` steps of a GitHub workflow on this machine: jobs, matrix, env, outputs, conditions.

    python -m tests.nightly.workflow .github/workflows/nightly.yml schedule

What it cannot execute is named: steps with `uses:`. Secrets and labels of runners do not exist here. It is no GitHub
runner; it shows that the commands of a workflow do what they say, in their order, with the values that they get.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = re.compile(r"\s*('(?:[^']|'')*'|\d+|[A-Za-z_][\w-]*(?:\.[\w-]+)*|==|!=|&&|\|\||[!(),])")
STEP_S = 600


@dataclass(slots=True, kw_only=True)
class Done:
    """What a job came to.

    Attributes:
        name: with its values of the matrix.
        ok: whether each step that counts went well.
        output: of all steps, and what was not executed.
        summary: what was written to GITHUB_STEP_SUMMARY.
        unproven: steps that could not be executed here.
        steps: outcome by name or number.
    """

    name: str
    ok: bool = True
    output: str = ""
    summary: str = ""
    unproven: list[str] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)


class Expression:
    """GitHub's expressions as far as workflows here use them.

    Args:
        context: `github`, `env`, `matrix`, `steps`, `vars`, `secrets`, `inputs` by name.
        failed: whether a step of the job failed.
    """

    def __init__(self, context: Mapping[str, Any], failed: bool) -> None:
        self._context = context
        self._failed = failed
        self._words: list[str] = []

    def fill(self, text: str) -> Any:
        """A text with its `${{ }}`; one that is nothing else gives the value itself."""
        whole = re.fullmatch(r"\$\{\{(.*?)\}\}", text.strip(), re.DOTALL)
        if whole:
            return self.value(whole[1])
        return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _text(self.value(found[1])), text)

    def value(self, expression: str) -> Any:
        """What an expression says."""
        self._words = TOKEN.findall(expression)
        if "".join(self._words) != re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", expression):
            raise ValueError(f"not understood: {expression}")
        found = self._either()
        if self._words:
            raise ValueError(f"not understood: {expression}, from {self._words[0]}")
        return found

    def _either(self) -> Any:
        found = self._both()
        while self._next("||"):
            other = self._both()
            found = found or other
        return found

    def _both(self) -> Any:
        found = self._compared()
        while self._next("&&"):
            other = self._compared()
            found = found and other
        return found

    def _compared(self) -> Any:
        found = self._one()
        for sign in ("==", "!="):
            if self._next(sign):
                return (_text(found) == _text(self._one())) == (sign == "==")
        return found

    def _one(self) -> Any:
        word = self._words.pop(0)
        if word == "!":
            return not self._one()
        if word == "(":
            found = self._either()
            self._words.pop(0)
            return found
        if word.startswith("'"):
            return word[1:-1].replace("''", "'")
        if word.isdecimal():
            return int(word)
        if self._next("("):
            arguments = [] if self._next(")") else [self._either()]
            if arguments:
                self._words.pop(0)
            return self._call(word, arguments)
        return self._known(word)

    def _next(self, word: str) -> bool:
        if self._words and self._words[0] == word:
            self._words.pop(0)
            return True
        return False

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "fromJson":
            return json.loads(arguments[0])
        return {"always": True, "failure": self._failed, "success": not self._failed}[name]

    def _known(self, path: str) -> Any:
        found: Any = self._context
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return "" if found is None else found


def _text(value: object) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def execute(
    workflow: Path,
    event: str,
    *,
    folder: Path,
    environ: Mapping[str, str],
    variables: Mapping[str, str] = {},
    payload: Mapping[str, Any] = {},
) -> list[Done]:
    """Execute the jobs one after the other, each combination of its matrix for itself.

    Args:
        workflow: the file.
        event: such as `schedule`.
        folder: in which the steps are run.
        environ: what the machine's own environment is to them.
        variables: of the repository.
        payload: what GitHub tells of the event.
    """
    read: Any = importlib.import_module("yaml").safe_load(workflow.read_text(encoding="utf-8"))
    context: dict[str, Any] = {
        "github": {
            "event_name": event,
            "event": payload,
            "server_url": "https://github.com",
            "repository": "o/r",
            "run_id": "1",
            "ref": "main",
        },
        "vars": dict(variables),
        "secrets": {},
        "inputs": {},
    }
    found = []
    for name, job in read["jobs"].items():
        plain = Expression(context, failed=False)
        if "if" in job and not plain.value(str(job["if"])):
            continue
        matrix = job.get("strategy", {}).get("matrix", {})
        axes = {
            axis: plain.fill(values) if isinstance(values, str) else values for axis, values in matrix.items()
        }
        for values in _product(axes):
            found.append(_job(name, job, context | {"matrix": values}, folder, environ))
    return found


def _product(axes: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}]
    for axis, values in axes.items():
        found = [row | {axis: value} for row in found for value in values]
    return found


def _job(name: str, job: Any, context: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Done:
    done = Done(name=" ".join([name, *map(str, context["matrix"].values())]))
    context = context | {"steps": {}, "env": {}}
    env = {
        key: _text(Expression(context, failed=False).fill(str(text)))
        for key, text in job.get("env", {}).items()
    }
    context["env"] = env
    for number, step in enumerate(job["steps"], start=1):
        title = step.get("name") or step.get("uses") or f"step {number}"
        words = Expression(context, failed=not done.ok)
        if not words.value(str(step.get("if", "success()"))):
            outcome = "skipped"
        elif "uses" in step:
            done.unproven.append(f"uses: {step['uses']}")
            outcome = "success"
        else:
            own = {key: _text(words.fill(str(text))) for key, text in step.get("env", {}).items()}
            outcome = _run(
                _text(words.fill(step["run"])),
                done,
                context=context,
                step=step.get("id"),
                folder=folder,
                environ={**environ, **env, **own},
            )
        done.steps[title] = outcome
        done.ok = done.ok and outcome != "failure"
        if "id" in step:
            context["steps"].setdefault(step["id"], {"outputs": {}})["outcome"] = outcome
    return done


def _run(
    command: str,
    done: Done,
    *,
    context: dict[str, Any],
    step: str | None,
    folder: Path,
    environ: Mapping[str, str],
) -> str:
    with tempfile.TemporaryDirectory() as place:
        files = {name: Path(place) / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        process = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=folder,
            env={**environ, **{name: str(path) for name, path in files.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_S,
            check=False,
        )
        done.output += f"$ {command.strip()}\n{process.stdout}"
        done.summary += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        lines = files["GITHUB_OUTPUT"].read_text(encoding="utf-8").splitlines()
        if step:
            context["steps"][step] = {"outputs": dict(line.split("=", 1) for line in lines)}
    return "success" if process.returncode == 0 else "failure"


if __name__ == "__main__":
    for result in execute(Path(sys.argv[1]), sys.argv[2], folder=Path.cwd(), environ=os.environ):
        print(f"== {result.name}: {'green' if result.ok else 'red'}\n{result.output}")
        print("\n".join(f"not executed here: {what}" for what in result.unproven))
