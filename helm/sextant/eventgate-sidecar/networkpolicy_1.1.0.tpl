{{/*
== What the sidecar needs in the release's NetworkPolicy; both take the root

 - eventgate-sidecar.networkpolicy.ingress: items of the `ports` of an ingress rule: the port of the metrics.
 - eventgate-sidecar.networkpolicy.egress: items of `egress`: addresses of EventGate.

Both return nothing unless eventgate-sidecar.name.prepared.
*/}}

{{- define "eventgate-sidecar.networkpolicy.ingress" -}}
{{- if include "eventgate-sidecar.name.prepared" . -}}
{{- include "eventgate-sidecar.validate.values" . -}}
- port: {{ .Values.eventgate_sidecar.metrics.port }}
  protocol: TCP
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.networkpolicy.egress" -}}
{{- if include "eventgate-sidecar.name.prepared" . -}}
{{- include "eventgate-sidecar.validate.values" . -}}
{{- range .Values.eventgate_sidecar.networkpolicy.dst_nets }}
- to:
  - ipBlock:
      cidr: {{ .cidr }}
  ports:
  {{- range .ports }}
  - port: {{ .port }}
    protocol: {{ .protocol | default "tcp" | upper }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end -}}
