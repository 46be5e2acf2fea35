{{/*
== What the sidecar changes about the model's own container

 - eventgate-sidecar.model.name: the container's name; `name` is the one it has without the sidecar.
   Usage:
   - name: {{ include "eventgate-sidecar.model.name" (dict "Root" $ "isvc" $name "name" "kserve-predictor-x") }}
 - eventgate-sidecar.model.env: takes its env and returns it with EVENTGATE_URL pointing at the sidecar, once.
   Usage:
   {{- range include "eventgate-sidecar.model.env" (dict "Root" $ "isvc" $name "env" $env) | fromYamlArray }}
 - eventgate-sidecar.model.container: takes its further settings (resources, ports, …) and returns them with the port
   that Knative wants to see as soon as there are two containers.
   Usage:
   {{- include "eventgate-sidecar.model.container" (dict "Root" $ "isvc" $name "container" $config) | nindent 6 }}
 - eventgate-sidecar.model.config: takes the settings of the predictor around it and returns them as they are, unless
   one of them does not go together with a second container.
   Usage:
   {{- include "eventgate-sidecar.model.config" (dict "Root" $ "isvc" $name "config" $config) | nindent 4 }}

Each returns what it was given for an InferenceService that does not get the sidecar.
*/}}

{{- /* KServe gives this name to a container that is alone. Among several it looks for it, and crashes without. */ -}}
{{- define "eventgate-sidecar.model.name" -}}
{{- ternary "kserve-container" .name (eq "true" (include "eventgate-sidecar.name.injected" .)) -}}
{{- end -}}

{{- define "eventgate-sidecar.model.env" -}}
{{- $env := .env | default list -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- $url := printf "http://127.0.0.1:%v/v1/events" .Root.Values.eventgate_sidecar.port -}}
{{- $ours := list (dict "name" "EVENTGATE_URL" "value" $url) -}}
{{- $all := list -}}
{{- range $env -}}
{{- if ne .name "EVENTGATE_URL" -}}
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
{{- fail (printf "%s: predictor.container has %s of its own, which would be there twice beside that of the chart; %s" $.isvc $key (ternary "use predictor.custom_env" (printf "leave %s out" $key) (eq $key "env"))) -}}
{{- end -}}
{{- end -}}
{{- if gt (len ($container.ports | default list)) 1 -}}
{{- fail (printf "%s: predictor.container.ports has %d ports, and Knative takes one in the whole pod; leave the port that the model serves" .isvc (len $container.ports)) -}}
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
      "volumes" "write them as predictor.volumes, where the sidecar's can join them" -}}
{{- range $key, $why := $instead -}}
{{- if hasKey $config $key -}}
{{- fail (printf "%s: predictor.config has %s: %s" $.isvc $key $why) -}}
{{- end -}}
{{- end -}}
{{- $timeout := $config.timeout | default 300 | int -}}
{{- $drain := include "eventgate-sidecar.validate.seconds" .Root.Values.eventgate_sidecar.drain | int -}}
{{- /* Knative waits 30 s without a request before SIGTERM, and the sidecar needs a few at the end. */ -}}
{{- if gt (add $drain 35) $timeout -}}
{{- fail (printf "%s: a pod ends %d seconds after it is asked to (predictor.config.timeout, 300 where it is not set), and 30 go by before SIGTERM: eventgate_sidecar.drain is %s, and may be %ds at most" .isvc $timeout .Root.Values.eventgate_sidecar.drain (max 0 (sub $timeout 35))) -}}
{{- end -}}
{{- end -}}
{{- if $config -}}
{{- toYaml $config -}}
{{- end -}}
{{- end -}}
