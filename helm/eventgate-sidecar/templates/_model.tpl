{{/*
== What the sidecar changes about the model's own container

 - eventgate-sidecar.model.name: the container's name; `name` is the one it has without the sidecar.
   Usage:
   - name: {{ include "eventgate-sidecar.model.name" (dict "Root" $ "isvc" $name "name" "kserve-predictor-x") }}
 - eventgate-sidecar.model.env: takes its env and returns it with EVENTGATE_URL pointing at the sidecar, once.
   Usage:
   {{- range include "eventgate-sidecar.model.env" (dict "Root" $ "isvc" $name "env" $env) | fromYamlArray }}
 - eventgate-sidecar.model.container: takes its further settings (resources, ports, …) and returns them with the port
   that Knative needs if there are two containers.
   Usage:
   {{- include "eventgate-sidecar.model.container" (dict "Root" $ "isvc" $name "container" $config) | nindent 6 }}
 - eventgate-sidecar.model.config: takes the settings of the predictor around it and returns them unchanged, or fails if
   one of them does not work with a second container.
   Usage:
   {{- include "eventgate-sidecar.model.config" (dict "Root" $ "isvc" $name "config" $config) | nindent 4 }}

Each returns what it was given for an InferenceService that does not get the sidecar.
*/}}

{{- /* KServe gives this name to a single container. With several, it looks for this name and crashes if there is none. */ -}}
{{- define "eventgate-sidecar.model.name" -}}
{{- ternary "kserve-container" .name (eq "true" (include "eventgate-sidecar.name.injected" .)) -}}
{{- end -}}

{{- define "eventgate-sidecar.model.env" -}}
{{- $env := .env | default list -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- $url := printf "http://127.0.0.1:%v/v1/events" .Root.Values.eventgate_sidecar.port -}}
{{- $ours := list (dict "name" "EVENTGATE_URL" "value" $url) -}}
{{- $all := list -}}
{{- $names := list -}}
{{- range $env -}}
{{- if ne .name "EVENTGATE_URL" -}}
{{- if has .name $names -}}
{{- fail (printf "%s: the model's env has %s twice, and the API server takes a name once; remove one" $.isvc .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $all = append $all . -}}
{{- else -}}
{{- $all = concat $all $ours -}}
{{- $ours = list -}}
{{- end -}}
{{- end -}}
{{- $env = concat $all $ours -}}
{{- end -}}
{{- if $env -}}
{{- toYaml $env -}}
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.model.container" -}}
{{- $container := deepCopy (.container | default dict) -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- range $key := list "name" "image" "env" -}}
{{- if hasKey $container $key -}}
{{- fail (printf "%s: predictor.container has %s, which the chart sets too; %s" $.isvc $key (ternary "use predictor.custom_env" (printf "remove %s" $key) (eq $key "env"))) -}}
{{- end -}}
{{- end -}}
{{- if gt (len ($container.ports | default list)) 1 -}}
{{- fail (printf "%s: predictor.container.ports has %d ports, but Knative allows one in the whole pod; keep the port that the model serves" .isvc (len $container.ports)) -}}
{{- end -}}
{{- if not $container.ports -}}
{{- $_ := set $container "ports" (list (dict "containerPort" 8080 "protocol" "TCP")) -}}
{{- end -}}
{{- end -}}
{{- if $container -}}
{{- toYaml $container -}}
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.model.config" -}}
{{- $config := .config | default dict -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- $instead := dict
      "containers" "the chart writes the containers"
      "initContainers" "Knative rejects them"
      "volumes" "put them in predictor.volumes, so that the sidecar's can be added" -}}
{{- range $key, $why := $instead -}}
{{- if hasKey $config $key -}}
{{- fail (printf "%s: predictor.config has %s: %s" $.isvc $key $why) -}}
{{- end -}}
{{- end -}}
{{- $timeout := $config.timeout | default 300 | int -}}
{{- $drain := include "eventgate-sidecar.validate.seconds" .Root.Values.eventgate_sidecar.drain | int -}}
{{- /* Knative waits 30 s without a request before SIGTERM, and the sidecar needs a few seconds at the end. */ -}}
{{- if gt (add $drain 35) $timeout -}}
{{- fail (printf "%s: a pod is killed %d seconds after its deletion (predictor.config.timeout, 300 by default), and 30 of them pass before SIGTERM: eventgate_sidecar.drain is %s; use at most %ds" .isvc $timeout .Root.Values.eventgate_sidecar.drain (max 0 (sub $timeout 35))) -}}
{{- end -}}
{{- end -}}
{{- if $config -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}
