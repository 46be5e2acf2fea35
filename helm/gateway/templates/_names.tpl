{{- define "gateway.name" -}}
{{- printf "%s-gateway" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.selector" -}}
app: {{ .Chart.Name }}
release: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
heritage: {{ .Release.Service }}
{{- end -}}

{{- define "gateway.configmap" -}}
{{- printf "%s-routes-%s" (include "gateway.name" .) (.Values.routes | sha256sum | trunc 8) -}}
{{- end -}}
