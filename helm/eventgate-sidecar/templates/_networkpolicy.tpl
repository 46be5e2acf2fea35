{{/*
== What the sidecar needs in the release's NetworkPolicy; both take the root

 - eventgate-sidecar.networkpolicy.ingress: items of the `ports` of an ingress rule: the port of the metrics.
 - eventgate-sidecar.networkpolicy.egress: items of `egress`: addresses of EventGate.

Both return nothing while no InferenceService gets the sidecar.
*/}}

{{- define "eventgate-sidecar.networkpolicy.ingress" -}}
{{- if (.Values.eventgate_sidecar | default dict).enabled -}}
- port: {{ .Values.eventgate_sidecar.metrics.port }}
  protocol: TCP
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.networkpolicy.egress" -}}
{{- if (.Values.eventgate_sidecar | default dict).enabled -}}
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
