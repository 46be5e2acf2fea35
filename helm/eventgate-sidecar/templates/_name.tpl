{{/*
== Names of objects, and which InferenceServices get the sidecar

 - eventgate-sidecar.name.injected: `true` for an InferenceService that gets the sidecar, otherwise nothing.
   Usage:
   {{- if include "eventgate-sidecar.name.injected" (dict "Root" $ "isvc" $name) }}
 - eventgate-sidecar.name.object: the name of an object that belongs to the sidecar. It takes the root.
 - eventgate-sidecar.name.labels: the labels of such an object. It takes the root.
*/}}

{{- define "eventgate-sidecar.name.injected" -}}
{{- $sidecar := .Root.Values.eventgate_sidecar | default dict -}}
{{- if and $sidecar.enabled (or (not $sidecar.isvcs) (has .isvc $sidecar.isvcs)) -}}
true
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.name.object" -}}
{{- $release := printf "%s-%s" (default .Chart.Name .Values.chartName) .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- printf "%s-eventgate-sidecar" $release -}}
{{- end -}}

{{- define "eventgate-sidecar.name.labels" -}}
app: {{ default .Chart.Name .Values.chartName | trunc 63 | trimSuffix "-" }}
chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
release: {{ .Release.Name }}
heritage: {{ .Release.Service }}
{{- end -}}
