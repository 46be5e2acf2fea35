"""What docs/liftwing.md changes in a checkout of Wikimedia's deployment-charts, for charts/kserve-inference 0.4.21.

Every part can be run again: it leaves alone what is already as it should be, and values that people edit later.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.helm.edits import Edit, edited

ROOT = Path(__file__).parent.parent.parent
MODULES = ROOT / "helm" / "sextant" / "eventgate-sidecar"
NAME = MODULES.name
CHART = Path("charts/kserve-inference")
SERVICES = Path("helmfile.d/ml-services")
SHARED = SERVICES / "_eventgate-sidecar_"
ENVIRONMENTS = ("ml-staging-codfw", "ml-serve-codfw", "ml-serve-eqiad")
USED = ("configuration", "deployment", "model", "networkpolicy")
BASE_META = "2.0"
"""sextant finds no solution for the chart with 1.0, with or without the sidecar."""
SECONDS = 120

SIDECAR = '{{- $sidecar := dict "Root" $ "isvc" %s }}\n'
ANNOTATIONS = (
    '  {{- range $k, $v := include "eventgate-sidecar.deployment.annotations"'
    ' (merge (dict "annotations" %s) $sidecar) | fromYaml }}\n'
)
CONTAINER = Edit(
    ("if $container_config", "toYaml $container_config", "end }}"),
    """\
      {{- with include "eventgate-sidecar.model.container" (merge (dict "container" $container_config) $sidecar) }}
      {{- . | nindent 6 }}
      {{- end }}
    {{- with include "eventgate-sidecar.deployment.container" $sidecar }}
    {{- . | nindent 4 }}
    {{- end }}
""",
)
CONFIG = Edit(
    ("toYaml $final_predictor_config",),
    '    {{- include "eventgate-sidecar.model.config" (merge (dict "config" $final_predictor_config) $sidecar)'
    " | nindent 4 }}\n",
)
VOLUMES = """\
    {{- with include "eventgate-sidecar.deployment.volumes" (merge (dict "volumes" $predictor_volumes) $sidecar) }}
    volumes:
    {{- . | nindent 4 }}
"""
ENV = (
    '      {{- range include "eventgate-sidecar.model.env" (merge (dict "env" %s) $sidecar) | fromYamlArray }}\n'
)  # fmt: skip
PREDICTOR = (
    '    - name: {{ include "eventgate-sidecar.model.name" (merge (dict "name" (printf "kserve-predictor-%s))'
    " $sidecar) }}\n"
)

TEMPLATES = {
    "services.yaml": (
        Edit(
            ("range $k, $v := merge ($inference_settings.annotations",),
            "  {{- $annotations := merge ($inference_settings.annotations | default dict)"
            " ($.Values.inference.annotations | default dict) }}\n"
            "  " + SIDECAR % "$inference_name" + ANNOTATIONS % "$annotations",
        ),
        CONFIG,
        Edit(("if $predictor_volumes", "volumes:", "toYaml $predictor_volumes"), VOLUMES),
        Edit(("name: kserve-predictor-",), PREDICTOR % '%s" $inference_name'),
        Edit(
            ("range concat ($generic_predictor.base_env",),
            "      {{- $predictor_env := concat ($generic_predictor.base_env | default list)"
            " ($custom_predictor.custom_env | default list) }}\n" + ENV % "$predictor_env",
        ),
        CONTAINER,
    ),
    "revscoring_services.yaml": (
        Edit(("$model := .model",), SIDECAR % '(printf "%s-%s" .wiki $model)', "after"),
        Edit(
            ("range $k, $v := $.Values.inference.annotations",),
            ANNOTATIONS % "($.Values.inference.annotations | default dict)",
        ),
        CONFIG,
        Edit(
            (" containers:",),
            "    {{- $predictor_volumes := concat ($generic_predictor.volumes | default list)"
            " ($custom_predictor.volumes | default list) }}\n" + VOLUMES + "    {{- end }}\n",
            "before",
        ),
        Edit(("name: kserve-predictor-",), PREDICTOR % '%s-%s" .wiki $model'),
        Edit(("      {{- range $final_predictor_env",), ENV % "$final_predictor_env"),
        CONTAINER,
    ),
    "networkpolicy.yaml": (
        Edit(
            ("istio_sidecar.metrics_port", "protocol: TCP"),
            '      {{- include "eventgate-sidecar.networkpolicy.ingress" $ | nindent 6 }}\n',
            "after",
        ),
        Edit(
            ('include "base.networkpolicy.egress-basic"',),
            '    {{- include "eventgate-sidecar.networkpolicy.egress" $ | nindent 4 }}\n',
            "after",
        ),
    ),
}
CONFIGURATION = """\
{{ include "eventgate-sidecar.configuration.configmap" . }}
{{ include "eventgate-sidecar.configuration.istio" . }}
"""


def vendored(checkout: Path) -> None:
    """Let sextant take the modules into the chart; it also raises the chart's patch version."""
    command = ["sextant", "--modulepath", "modules", "vendor", "-f", str(CHART)]
    subprocess.run(command, cwd=checkout, check=True, timeout=SECONDS, capture_output=True)


def apply_chart(checkout: Path, vendor: Callable[[Path], None] = vendored) -> None:
    """Take the modules into the checkout and use them in the chart: step 2.

    Raises:
        Unknown: the chart is not the one that the edits were written for.

    """
    chart = checkout / CHART
    templates = {chart / "templates" / name: edits for name, edits in TEMPLATES.items()}
    new = {path: edited(path.read_text(), edits, str(path)) for path, edits in templates.items()}
    for path, text in {**new, chart / "templates" / "eventgate-sidecar.yaml": CONFIGURATION}.items():
        path.write_text(text)
    _add_modules(checkout / "modules" / NAME)
    _put_values(chart / "values.yaml")
    (chart / ".fixtures").mkdir(exist_ok=True)
    shutil.copy(MODULES.parent / "fixture.yaml", chart / ".fixtures" / f"{NAME}.yaml")
    if _vendored_are_old(chart):
        before = (chart / "Chart.yaml").read_text()
        first = not (chart / "templates" / "vendor" / NAME).exists()
        package = chart / "package.json"
        package.write_text(_packages(json.loads(package.read_text())))
        for outside in (chart / "templates" / "base").glob("meta_1.*.tpl"):
            outside.unlink()  # the same templates as the vendored module's, which would be defined twice
        vendor(checkout)
        (chart / "Chart.yaml").write_text(raised(before, "minor" if first else "patch"))


def apply_values(checkout: Path, image: str, version: str) -> None:
    """Write the values that services share, and let each service that sends events read them: step 3."""
    for name, text in shared_values(image, version).items():
        path = checkout / SHARED / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(text)
    for folder in emitting(checkout):
        for name in ("", *(f"-{each}" for each in ENVIRONMENTS)):
            link = folder / f"{NAME}{name}.yaml"
            if not link.is_symlink():
                link.symlink_to(f"../{SHARED.name}/values{name}.yaml")
        helmfile = folder / "helmfile.yaml"
        helmfile.write_text(edited(helmfile.read_text(), [READ_SHARED], str(helmfile)))


READ_SHARED = Edit(
    ('- "values.yaml"',),
    f'      - "{NAME}.yaml" # values of the sidecar that all services share\n'
    f'      - "{NAME}-{{{{ .Environment.Name }}}}.yaml"\n',
    "before",
)


def shared_values(image: str, version: str) -> dict[str, str]:
    """Return the files that services share, by name: what all have, and what those of an environment have."""
    routes = re.sub("(?m)^(?=.)", "    ", (ROOT / "routes.yaml").read_text())
    common = f"  image: {image}\n  version: {version}\n  prepare: true\n  routes: |\n{routes}"
    files = {"values.yaml": f"eventgate_sidecar:\n{common}"}
    for environment in ENVIRONMENTS:
        env = "staging" if "staging" in environment else "production"
        labels = f"  labels:\n    env: {env}\n    datacenter: {environment.rpartition('-')[2]}\n"
        networks = STAGING_NETWORKS if env == "staging" else ""
        files[f"values-{environment}.yaml"] = f"eventgate_sidecar:\n{labels}{networks}"
    return files


STAGING_NETWORKS = """\
  networkpolicy:
    dst_nets:
      - cidr: 10.64.16.55/32 # staging.svc.eqiad.wmnet
        ports:
          - port: 4492
            protocol: tcp
"""


def emitting(checkout: Path) -> Iterator[Path]:
    """Yield the folders of services that use the chart and tell a model server where to post events."""
    for folder in using_the_chart(checkout):
        if any("EVENTGATE_URL" in path.read_text() for path in folder.glob("values*.yaml")):
            yield folder


def using_the_chart(checkout: Path) -> Iterator[Path]:
    """Yield the folders of services that use the chart."""
    for helmfile in sorted((checkout / SERVICES).glob("[!_]*/helmfile.yaml")):
        if "wmf-stable/kserve-inference" in helmfile.read_text():
            yield helmfile.parent


def raised(chart: str, part: str) -> str:
    """Return Chart.yaml with the next minor or patch version."""
    major, minor, patch = map(int, str(yaml.safe_load(chart)["version"]).split("."))
    version = f"{major}.{minor + 1}.0" if part == "minor" else f"{major}.{minor}.{patch + 1}"
    return re.sub(r"(?m)^version: .*$", f"version: {version}", chart)


def _add_modules(folder: Path) -> None:
    """Add our versions of the modules to those that are there, which charts may have locked."""
    folder.mkdir(parents=True, exist_ok=True)
    ours: dict[str, Any] = json.loads((MODULES / "module.json").read_text())
    description = folder / "module.json"
    if description.exists():
        new = {(each["name"], each["version"]) for each in ours["modules"]}
        theirs = json.loads(description.read_text())["modules"]
        ours["modules"] = [each for each in theirs if (each["name"], each["version"]) not in new] + ours["modules"]
    description.write_text(json.dumps(ours, indent=4) + "\n")
    for path in MODULES.iterdir():
        if path.name != "module.json":
            shutil.copy(path, folder / path.name)


def _put_values(path: Path) -> None:
    ours = (MODULES / "values.yaml").read_text()
    before = re.sub(r"(?ms)^eventgate_sidecar:\n.*?(?=^\S|\Z)", "", path.read_text())
    path.write_text(f"{before.rstrip()}\n\n{ours}")


def _vendored_are_old(chart: Path) -> bool:
    vendor = chart / "templates" / "vendor" / NAME
    return {path.name: path.read_text() for path in vendor.glob("*.tpl")} != {
        path.name: path.read_text() for path in MODULES.glob("*.tpl")
    }


def _packages(packages: list[str]) -> str:
    version = next(iter(MODULES.glob("name_*.tpl"))).stem.removeprefix("name_").rpartition(".")[0]
    kept = [each for each in packages if not each.startswith(f"{NAME}.")]
    kept = [f"base.meta:{BASE_META}" if each.startswith("base.meta:") else each for each in kept]
    return json.dumps(kept + [f"{NAME}.{each}:{version}" for each in USED], indent=4) + "\n"
