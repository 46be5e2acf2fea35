{{/*
== Objects that the sidecar needs beside the pods, once for a release

 - eventgate-sidecar.configuration.configmap: routes.yaml as a ConfigMap. It takes the root.
 - eventgate-sidecar.configuration.istio: with `istio.egress: mesh`, what the mesh has to know about each host of
   EventGate. It takes the root. Creating these objects needs more rights than deploying a model.
 - eventgate-sidecar.configuration.endpoints: host and port of every https endpoint in routes.yaml, as a YAML list, each
   once. It takes the root. Plain http is not among them: it stays with istio-proxy, which adds TLS to it.

The first returns nothing while the sidecar is not enabled; the second, unless eventgate-sidecar.name.prepared.

Helm keeps a ConfigMap that is no longer rendered: pods of an older revision mount it until they end.
*/}}

{{- define "eventgate-sidecar.configuration.configmap" -}}
{{- if (.Values.eventgate_sidecar | default dict).enabled }}
{{- include "eventgate-sidecar.validate.values" . }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "eventgate-sidecar.name.configmap" . }}
  annotations:
    helm.sh/resource-policy: keep
  labels:
    {{- include "eventgate-sidecar.name.labels" . | nindent 4 }}
immutable: {{ not .Values.eventgate_sidecar.reload.enabled }}
data:
  {{- /* toYaml finds a form for any text; after "|" an indented first line would be wrong. */}}
  {{- toYaml (dict "routes.yaml" .Values.eventgate_sidecar.routes) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.configuration.endpoints" -}}
{{- $found := dict -}}
{{- range (.Values.eventgate_sidecar.routes | fromYaml).upstreams -}}
{{- $upstream := . -}}
{{- range $datacenter := .datacenters | default (list "") -}}
{{- $url := $upstream.url | replace "{datacenter}" $datacenter | urlParse -}}
{{- if eq $url.scheme "https" -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default "443" | int -}}
{{- $host := regexReplaceAll ":[0-9]+$" $url.host "" -}}
{{- $_ := set $found $url.host (dict "host" $host "port" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $endpoints := list -}}
{{- range keys $found | sortAlpha -}}
{{- $endpoints = append $endpoints (get $found .) -}}
{{- end -}}
{{- toYaml $endpoints -}}
{{- end -}}

{{- define "eventgate-sidecar.configuration.istio" -}}
{{- $sidecar := .Values.eventgate_sidecar | default dict -}}
{{- if and (include "eventgate-sidecar.name.prepared" .) (eq (dig "istio" "egress" "" $sidecar) "mesh") }}
{{- include "eventgate-sidecar.validate.values" . }}
{{- $hosts := dict }}
{{- range include "eventgate-sidecar.configuration.endpoints" . | fromYamlArray }}
{{- if not (has .host $sidecar.istio.known_hosts) }}
{{- $_ := set $hosts .host (append (get $hosts .host | default list) .port) }}
{{- end }}
{{- end }}
{{- range $host, $ports := $hosts }}
{{- /* a.b-c and a-b.c need different names, and so do long hosts that begin alike. */}}
{{- $name := printf "eventgate-sidecar-%s-%s" ($host | replace "." "-" | trunc 36 | trimSuffix "-") ($host | sha256sum | trunc 8) }}
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata:
  name: {{ $name }}
  labels:
    {{- include "eventgate-sidecar.name.labels" $ | nindent 4 }}
spec:
  exportTo:
  - "."
  hosts:
  - {{ $host }}
  location: MESH_EXTERNAL
  ports:
  {{- range $ports }}
  - name: tls-eventgate-{{ . }}
    number: {{ . }}
    protocol: TLS
  {{- end }}
  # The sidecar resolves the name itself; Envoy connects to the address that it is given.
  resolution: NONE
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: {{ $name }}
  labels:
    {{- include "eventgate-sidecar.name.labels" $ | nindent 4 }}
spec:
  exportTo:
  - "."
  host: {{ $host }}
  trafficPolicy:
    connectionPool:
      tcp:
        connectTimeout: 1s
    # The sidecar speaks TLS itself, end to end.
    tls:
      mode: DISABLE
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: {{ $name }}
  labels:
    {{- include "eventgate-sidecar.name.labels" $ | nindent 4 }}
spec:
  exportTo:
  - "."
  hosts:
  - {{ $host }}
  tls:
  {{- range $ports }}
  - match:
    - port: {{ . }}
      sniHosts:
      - {{ $host }}
    route:
    - destination:
        host: {{ $host }}
        port:
          number: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}
