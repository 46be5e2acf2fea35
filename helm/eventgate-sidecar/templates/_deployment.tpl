{{/*
== What the sidecar adds to the pod of an InferenceService

 - eventgate-sidecar.deployment.container: the container, as an item of `containers`. The model's must come before it, because
   KServe overwrites the first.
   Usage:
   {{- include "eventgate-sidecar.deployment.container" (dict "Root" $ "isvc" $name) | nindent 4 }}
 - eventgate-sidecar.deployment.volumes: takes the volumes of a predictor and returns them with ours.
   Usage:
   {{- include "eventgate-sidecar.deployment.volumes" (dict "Root" $ "isvc" $name "volumes" $volumes) | nindent 4 }}
 - eventgate-sidecar.deployment.annotations: takes the annotations of an InferenceService and returns them with ours.
   Usage:
   {{- include "eventgate-sidecar.deployment.annotations" (dict "Root" $ "isvc" $name "annotations" $annotations) | nindent 4 }}

For an InferenceService that does not get the sidecar, the first returns nothing, and the others what they were given.

Do not add ports, probes, fieldRef or lifecycle here: Knative rejects the first three, and the API server silently drops
lifecycle. A volume that no container mounts is also rejected.
*/}}

{{- define "eventgate-sidecar.deployment.annotations" -}}
{{- $annotations := deepCopy (.annotations | default dict) -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- include "eventgate-sidecar.validate.values" .Root -}}
{{- $sidecar := .Root.Values.eventgate_sidecar -}}
{{- if $sidecar.metrics.scrape -}}
{{- $_ := set $annotations "eventgate-sidecar.wikimedia.org/scrape" "true" -}}
{{- $_ := set $annotations "eventgate-sidecar.wikimedia.org/port" ($sidecar.metrics.port | toString) -}}
{{- end -}}
{{- if eq $sidecar.istio.egress "bypass" -}}
{{- $key := "traffic.sidecar.istio.io/excludeOutboundPorts" -}}
{{- $ports := include "eventgate-sidecar.configuration.endpoints" .Root | fromYamlArray -}}
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

{{- define "eventgate-sidecar.deployment.container" -}}
{{- if include "eventgate-sidecar.name.injected" . -}}
{{- $sidecar := .Root.Values.eventgate_sidecar -}}
{{- $labels := list (printf "isvc=%s" .isvc) -}}
{{- range $name, $value := $sidecar.labels -}}
{{- $labels = append $labels (printf "%s=%s" $name $value) -}}
{{- end -}}
- name: eventgate-sidecar
  image: {{ printf "%s:%s" $sidecar.image $sidecar.version | quote }}
  imagePullPolicy: {{ (.Root.Values.docker | default dict).imagePullPolicy | default "IfNotPresent" }}
  args:
  - serve
  env:
  - name: SIDECAR_ROUTES
    value: /etc/eventgate-sidecar/routes.yaml
  - name: SIDECAR_LISTEN
    value: {{ printf "127.0.0.1:%v" $sidecar.port | quote }}
  - name: SIDECAR_ADMIN
    value: {{ printf "0.0.0.0:%v" $sidecar.metrics.port | quote }}
  - name: SIDECAR_LABELS
    value: {{ $labels | sortAlpha | join "," | quote }}
  - name: SIDECAR_DRAIN
    value: {{ $sidecar.drain | quote }}
  {{- if $sidecar.spool.enabled }}
  - name: SIDECAR_SPOOL
    value: /var/spool/eventgate-sidecar
  - name: SIDECAR_ON_EXIT
    value: {{ $sidecar.spool.on_exit }}
  {{- with $sidecar.spool.hand_over }}
  - name: SIDECAR_HAND_OVER
    value: {{ . | quote }}
  {{- end }}
  {{- end }}
  - name: SIDECAR_LAST_GOOD
    value: /var/lib/eventgate-sidecar/routes.yaml
  {{- if $sidecar.tap.enabled }}
  - name: SIDECAR_TAP
    value: "1"
  {{- end }}
  {{- range $name, $value := $sidecar.otel }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  volumeMounts:
  {{- /* A folder, not a file with subPath: only a folder follows changes of its ConfigMap. */}}
  - name: eventgate-sidecar-routes
    mountPath: /etc/eventgate-sidecar
    readOnly: true
  {{- if $sidecar.spool.enabled }}
  - name: eventgate-sidecar-spool
    mountPath: /var/spool/eventgate-sidecar
  {{- end }}
  - name: eventgate-sidecar-last-good
    mountPath: /var/lib/eventgate-sidecar
  resources:
    {{- toYaml $sidecar.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop:
      - ALL
    readOnlyRootFilesystem: true
    runAsGroup: {{ $sidecar.user }}
    runAsNonRoot: true
    runAsUser: {{ $sidecar.user }}
    seccompProfile:
      type: RuntimeDefault
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.deployment.volumes" -}}
{{- with .volumes }}
{{- toYaml . }}
{{- end }}
{{- if include "eventgate-sidecar.name.injected" . }}
{{- range .volumes }}
{{- if hasPrefix "eventgate-sidecar-" .name }}
{{- fail (printf "%s: predictor.volumes has %s, and names that begin with eventgate-sidecar- are for the sidecar; rename it" $.isvc .name) }}
{{- end }}
{{- end }}
{{- if .volumes }}
{{ end -}}
- name: eventgate-sidecar-routes
  configMap:
    name: {{ include "eventgate-sidecar.name.configmap" .Root }}
{{- with .Root.Values.eventgate_sidecar.spool }}
{{- if .enabled }}
- name: eventgate-sidecar-spool
  emptyDir:
    sizeLimit: {{ .size }}
{{- end }}
{{- end }}
- name: eventgate-sidecar-last-good
  emptyDir:
    sizeLimit: 8Mi
{{- end }}
{{- end -}}
