{{/*
== What things are called, and which InferenceServices are meant

 - eventgate-sidecar.name.injected: `true` for an InferenceService that gets the sidecar, otherwise nothing.
   Usage:
   {{- if include "eventgate-sidecar.name.injected" (dict "Root" $ "isvc" $name) }}
 - eventgate-sidecar.name.object: the name of an object that belongs to the sidecar. It takes the root.
 - eventgate-sidecar.name.annotations: takes the annotations of an InferenceService and returns them with ours.
   Usage:
   {{- include "eventgate-sidecar.name.annotations" (dict "Root" $ "isvc" $name "annotations" $annotations) | nindent 4 }}
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

{{- define "eventgate-sidecar.name._labels" -}}
app: {{ default .Chart.Name .Values.chartName | trunc 63 | trimSuffix "-" }}
chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
release: {{ .Release.Name }}
heritage: {{ .Release.Service }}
{{- end -}}

{{- define "eventgate-sidecar.name.annotations" -}}
{{- $annotations := deepCopy (.annotations | default dict) -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- $sidecar := .Root.Values.eventgate_sidecar -}}
{{- /* Revisions are immutable: without this one a change of routes would make none. */ -}}
{{- if not $sidecar.reload.enabled -}}
{{- $_ := set $annotations "checksum/eventgate-sidecar" ($sidecar.routes | trim | sha256sum) -}}
{{- end -}}
{{- if $sidecar.metrics.scrape -}}
{{- $_ := set $annotations "eventgate-sidecar.wikimedia.org/scrape" "true" -}}
{{- $_ := set $annotations "eventgate-sidecar.wikimedia.org/port" ($sidecar.metrics.port | toString) -}}
{{- end -}}
{{- if eq $sidecar.istio.egress "bypass" -}}
{{- $key := "traffic.sidecar.istio.io/excludeOutboundPorts" -}}
{{- $ports := include "eventgate-sidecar.configuration._endpoints" .Root | fromYamlArray -}}
{{- $all := compact (splitList "," (get $annotations $key)) -}}
{{- range $ports -}}
{{- $all = append $all (.port | toString) -}}
{{- end -}}
{{- if $all -}}
{{- $_ := set $annotations $key ($all | uniq | join ",") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $annotations -}}
{{- toYaml $annotations -}}
{{- end -}}
{{- end -}}
