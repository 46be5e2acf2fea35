{{/*
== Names of objects, and which InferenceServices get the sidecar

 - eventgate-sidecar.name.injected: `true` for an InferenceService that gets the sidecar, otherwise nothing.
   Usage:
   {{- if include "eventgate-sidecar.name.injected" (dict "Root" $ "isvc" $name) }}
 - eventgate-sidecar.name.prepared: `true` if the release has the objects around the pods, otherwise nothing. It takes
   the root.
 - eventgate-sidecar.name.configmap: the name of the ConfigMap with routes.yaml. It takes the root.
 - eventgate-sidecar.name.labels: the labels of the sidecar's objects. It takes the root.
*/}}

{{- define "eventgate-sidecar.name.injected" -}}
{{- $sidecar := .Root.Values.eventgate_sidecar | default dict -}}
{{- if and $sidecar.enabled (or (not (kindIs "slice" $sidecar.isvcs)) (not $sidecar.isvcs) (has .isvc $sidecar.isvcs)) -}}
true
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.name.prepared" -}}
{{- $sidecar := .Values.eventgate_sidecar | default dict -}}
{{- if or $sidecar.enabled $sidecar.prepare -}}
true
{{- end -}}
{{- end -}}

{{- /* Kubelet updates a mounted ConfigMap in running pods too. With a checksum in its name, a revision keeps its own. */ -}}
{{- define "eventgate-sidecar.name.configmap" -}}
{{- $sidecar := .Values.eventgate_sidecar -}}
{{- $checksum := ternary "" (printf "-%s" ($sidecar.routes | sha256sum | trunc 10)) $sidecar.reload.enabled -}}
{{- printf "%s-%s-eventgate-sidecar%s" (default .Chart.Name .Values.chartName) .Release.Name $checksum -}}
{{- end -}}

{{- define "eventgate-sidecar.name.labels" -}}
app: {{ default .Chart.Name .Values.chartName | trunc 63 | trimSuffix "-" }}
chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
release: {{ .Release.Name }}
heritage: {{ .Release.Service }}
app.kubernetes.io/component: eventgate-sidecar
{{- end -}}
