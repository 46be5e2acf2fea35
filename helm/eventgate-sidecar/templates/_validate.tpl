{{/*
== Checks of the values: reports all problems at once, each with its fix

 - eventgate-sidecar.validate.values: fails if eventgate_sidecar cannot work. It takes the root. The other modules
   call it; a chart need not.
 - eventgate-sidecar.validate.seconds: takes 60s or 2m and returns 60 or 120; for anything else it returns nothing.

A private template here takes the root and returns a line for each problem. Nothing here relies on values.schema.json:
charts that vendor these templates have none.
*/}}

{{- define "eventgate-sidecar.validate.values" -}}
{{- $problems := include "eventgate-sidecar.validate._keys" . | trim -}}
{{- if not $problems -}}
{{- range $check := list "_isvcs" "_image" "_labels" "_ports" "_drain" "_resources" "_spool" "_otel" "_user" "_istio" "_networkpolicy" "_routes" -}}
{{- $problems = printf "%s\n%s" $problems (include (printf "eventgate-sidecar.validate.%s" $check) $ | trim) | trim -}}
{{- end -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n%s" (regexReplaceAll "\\s*\n+\\s*" $problems "\n")) -}}
{{- end -}}
{{- end -}}

{{- /* The keys, and the type of each. Helm reads a number as a float64 or an int64. */ -}}
{{- define "eventgate-sidecar.validate._keys" -}}
{{- $known := dict
      "" (dict "enabled" "bool" "prepare" "bool" "isvcs" "slice" "image" "string" "version" "string" "labels" "map"
               "routes" "string" "reload" "map" "spool" "map" "tap" "map" "otel" "map" "port" "int" "drain" "string"
               "metrics" "map" "resources" "map" "user" "int" "istio" "map" "networkpolicy" "map")
      "reload" (dict "enabled" "bool")
      "spool" (dict "enabled" "bool" "size" "string" "on_exit" "string" "hand_over" "string")
      "tap" (dict "enabled" "bool")
      "metrics" (dict "port" "int" "scrape" "bool")
      "istio" (dict "egress" "string" "known_hosts" "slice")
      "networkpolicy" (dict "dst_nets" "slice") -}}
{{- $words := dict
      "bool" "true or false, without quotes" "int" "a whole number, without quotes" "string" "a string (quote a number)"
      "slice" "a list" "map" "a map of keys" -}}
{{- range $section, $kinds := $known }}
{{- /* Helm adds `global` to the values of every dependency. */}}
{{- $values := omit $.Values.eventgate_sidecar "global" }}
{{- $path := "eventgate_sidecar" }}
{{- if $section }}
{{- $values = get $values $section }}
{{- $path = printf "eventgate_sidecar.%s" $section }}
{{- end }}
{{- if kindIs "map" $values }}
{{- range $key, $value := $values }}
{{- $kind := get $kinds $key }}
{{- $whole := and (hasPrefix "int" $kind) (not (kindIs "string" $value)) (regexMatch "^[0-9]+$" ($value | toString)) }}
{{- if not $kind }}
{{ $path }}.{{ $key }} is not known; the keys are {{ keys $kinds | sortAlpha | join ", " }}
{{- else if not (or $whole (kindIs $kind $value)) }}
{{ $path }}.{{ $key }} is {{ toJson $value }}; use {{ get $words $kind }}
{{- end }}
{{- end }}
{{- range $name := keys $kinds | sortAlpha }}
{{- if not (hasKey $values $name) }}
{{ $path }}.{{ $name }} is missing; take it from the values.yaml of the version in use
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._isvcs" -}}
{{- $names := list }}
{{- range $key, $isvc := .Values.inference_services | default dict }}
{{- $names = append $names ((default dict $isvc).name | default $key) }}
{{- end }}
{{- range .Values.revscoring_inference_services | default list }}
{{- $names = append $names (printf "%s-%s" .wiki (.model | default $.Values.inference.model)) }}
{{- end }}
{{- $seen := list }}
{{- range $names }}
{{- if has . $seen }}
the release has two InferenceServices named {{ . | quote }}, of which only one can exist; rename or remove one
{{- end }}
{{- $seen = append $seen . }}
{{- end }}
{{- range .Values.eventgate_sidecar.isvcs }}
{{- if not (has . $names) }}
eventgate_sidecar.isvcs names {{ . | quote }}, which this release does not have; it has {{ $names | sortAlpha | join ", " | default "none" }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._image" -}}
{{- with .Values.eventgate_sidecar }}
{{- if not .image }}
eventgate_sidecar.image is empty; give the image's name without a tag, such as docker-registry.discovery.wmnet/repos/machine-learning/eventgate-sidecar
{{- else if regexMatch "@|:[^/]*$" .image }}
eventgate_sidecar.image is {{ .image | quote }}; remove the tag and set it as version
{{- end }}
{{- if not (regexMatch "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$" (.version | toString)) }}
eventgate_sidecar.version is {{ .version | toString | quote }}; give the tag of the image
{{- else if eq .version "latest" }}
eventgate_sidecar.version is "latest", which changes from day to day; give the tag of one build
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._labels" -}}
{{- $labels := .Values.eventgate_sidecar.labels }}
{{- if not $labels.env }}
eventgate_sidecar.labels.env is empty; set it to what these pods are, such as env: staging or env: production
{{- end }}
{{- if hasKey $labels "isvc" }}
eventgate_sidecar.labels.isvc is {{ $labels.isvc | quote }}, but it is set for each InferenceService; remove it
{{- end }}
{{- range $name, $value := $labels }}
{{- if not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" $name) }}
eventgate_sidecar.labels has {{ $name | quote }}; a label's name has up to 63 letters, digits, dots, dashes and underscores
{{- end }}
{{- if and $value (or (not (kindIs "string" $value)) (regexMatch "[,\\s]" ($value | toString))) }}
eventgate_sidecar.labels.{{ $name }} is {{ $value | toString | quote }}; use a string without commas and spaces (quote a number)
{{- else if and (not $value) (ne $name "env") }}
eventgate_sidecar.labels.{{ $name }} is empty; give it a value, or remove it
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._ports" -}}
{{- $owners := dict
      "8008" "queue-proxy's profiler" "8012" "queue-proxy" "8013" "queue-proxy" "8022" "queue-proxy" "8080" "the model"
      "8081" "the model's gRPC" "8112" "queue-proxy" "9081" "KServe's agent" "9088" "KServe's metrics"
      "9090" "queue-proxy's metrics" "9091" "queue-proxy's metrics" -}}
{{- with .Values.eventgate_sidecar }}
{{- range $path, $port := dict "port" .port "metrics.port" .metrics.port }}
{{- $owner := get $owners ($port | toString) }}
{{- if and (ge ($port | int) 15000) (le ($port | int) 15090) }}
{{- $owner = "istio-proxy" }}
{{- end }}
{{- if or (lt ($port | int) 1024) (gt ($port | int) 65535) }}
eventgate_sidecar.{{ $path }} is {{ $port }}; use a port from 1024 to 65535
{{- else if $owner }}
eventgate_sidecar.{{ $path }} is {{ $port }}, where {{ $owner }} listens in the same pod; use another port
{{- end }}
{{- end }}
{{- if eq (.port | int) (.metrics.port | int) }}
eventgate_sidecar.port and metrics.port are both {{ .port }}; use two different ports
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate.seconds" -}}
{{- if regexMatch "^[0-9]{1,5}(s|m)$" (. | toString) -}}
{{- mul (regexFind "^[0-9]+" . | atoi) (ternary 60 1 (hasSuffix "m" .)) -}}
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.validate._drain" -}}
{{- $drain := .Values.eventgate_sidecar.drain }}
{{- if not (include "eventgate-sidecar.validate.seconds" $drain) }}
eventgate_sidecar.drain is {{ $drain | toString | quote }}; use whole seconds or minutes, such as 60s or 2m
{{- end }}
{{- end -}}

{{- /* 200m, 0.2 or 1 in thousandths of a core. */ -}}
{{- define "eventgate-sidecar.validate._millicores" -}}
{{- $text := . | toString -}}
{{- if regexMatch "^[0-9]+m$" $text -}}
{{- trimSuffix "m" $text -}}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+)?$" $text -}}
{{- round (mulf 1000 (float64 $text)) 0 | int -}}
{{- end -}}
{{- end -}}

{{- /* 200Mi, 1Gi, 200M or 1G in MiB, rounded down. */ -}}
{{- define "eventgate-sidecar.validate._mebibytes" -}}
{{- $text := . | toString -}}
{{- if regexMatch "^[0-9]+(Mi|Gi|M|G)$" $text -}}
{{- $number := regexFind "^[0-9]+" $text | float64 -}}
{{- $factor := get (dict "Mi" 1.0 "Gi" 1024.0 "M" 0.95367431640625 "G" 953.67431640625) (regexFind "[A-Za-z]+$" $text) -}}
{{- mulf $number $factor | floor | int -}}
{{- end -}}
{{- end -}}

{{- define "eventgate-sidecar.validate._resources" -}}
{{- $resources := .Values.eventgate_sidecar.resources }}
{{- $rules := dict
      "cpu" (dict "read" "_millicores" "least" 100 "shown" "100m" "form" "200m")
      "memory" (dict "read" "_mebibytes" "least" 100 "shown" "100Mi" "form" "200Mi") }}
{{- range $kind := list "requests" "limits" }}
{{- $given := get $resources $kind | default dict }}
{{- range $name, $rule := $rules }}
{{- $path := printf "eventgate_sidecar.resources.%s.%s" $kind $name }}
{{- $amount := include (printf "eventgate-sidecar.validate.%s" $rule.read) (get $given $name) }}
{{- if not $amount }}
{{ $path }} is {{ get $given $name | toString | quote }}; use a value such as {{ $rule.form }}
{{- else if lt ($amount | int) $rule.least }}
{{ $path }} is {{ get $given $name | toString }}, less than LimitRanges allow; use at least {{ $rule.shown }}
{{- else if eq $kind "limits" }}
{{- $request := include (printf "eventgate-sidecar.validate.%s" $rule.read) (dig "requests" $name "" $resources) }}
{{- if and $request (lt ($amount | int) ($request | int)) }}
{{ $path }} is {{ get $given $name | toString }}, less than its request of {{ dig "requests" $name "" $resources }}; use at least that much
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $_ := omit $given "cpu" "memory" }}
eventgate_sidecar.resources.{{ $kind }}.{{ $name }} is set; only cpu and memory are allowed{{ if eq $name "ephemeral-storage" }} (a limit here would apply to the whole pod, including the model){{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._spool" -}}
{{- $size := .Values.eventgate_sidecar.spool.size }}
{{- $mebibytes := include "eventgate-sidecar.validate._mebibytes" $size }}
{{- if not $mebibytes }}
eventgate_sidecar.spool.size is {{ $size | toString | quote }}; use a value such as 640Mi
{{- else if or (lt ($mebibytes | int) 640) (gt ($mebibytes | int) 4096) }}
eventgate_sidecar.spool.size is {{ $size }}; use 640Mi, to which spool, salvage and files set aside can grow, to 4Gi
{{- end }}
{{- $word := .Values.eventgate_sidecar.spool.on_exit }}
{{- if not (has $word (list "keep" "print")) }}
eventgate_sidecar.spool.on_exit is {{ $word | toString | quote }}; use keep or print
{{- end }}
{{- with .Values.eventgate_sidecar.spool.hand_over }}
{{- if not (regexMatch "^https?://[^/\\s]+/\\S+$" .) }}
eventgate_sidecar.spool.hand_over is {{ . | quote }}; use a full URL such as http://main-gateway.gateways.svc.cluster.local:8888/v1/events
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._otel" -}}
{{- range $name, $value := .Values.eventgate_sidecar.otel }}
{{- if not (regexMatch "^OTEL_[A-Z0-9_]+$" $name) }}
eventgate_sidecar.otel has {{ $name | quote }}; the names of OpenTelemetry's variables begin with OTEL_
{{- else if or (not (kindIs "string" $value)) (not $value) }}
eventgate_sidecar.otel.{{ $name }} is {{ $value | toString | quote }}; use a string (quote a number), or remove it
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._user" -}}
{{- $user := .Values.eventgate_sidecar.user }}
{{- if or (not (regexMatch "^[0-9]+$" ($user | toString))) (lt ($user | int) 1) (eq ($user | int) 1337) }}
eventgate_sidecar.user is {{ $user | toString | quote }}; use the uid of the image's user, a number; not 0, which is root, and not 1337, which is istio-proxy
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._istio" -}}
{{- $istio := .Values.eventgate_sidecar.istio }}
{{- if not (has $istio.egress (list "bypass" "mesh")) }}
eventgate_sidecar.istio.egress is {{ $istio.egress | toString | quote }}; use bypass or mesh
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._networkpolicy" -}}
{{- range $index, $net := .Values.eventgate_sidecar.networkpolicy.dst_nets }}
{{- $path := printf "eventgate_sidecar.networkpolicy.dst_nets[%d]" $index }}
{{- $net = kindIs "map" $net | ternary $net dict }}
{{- if not (regexMatch "^([0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}|[0-9a-fA-F:]*:[0-9a-fA-F:.]*/[0-9]{1,3})$" ($net.cidr | toString)) }}
{{ $path }}.cidr is {{ $net.cidr | default "" | toString | quote }}; use an address and the length of its prefix, such as 10.64.16.55/32
{{- end }}
{{- if or (not (kindIs "slice" $net.ports)) (not $net.ports) }}
{{ $path }}.ports is empty, which would open every port; list EventGate's, such as port: 4492
{{- end }}
{{- range $port := kindIs "slice" $net.ports | ternary $net.ports list }}
{{- $number := dig "port" "" (kindIs "map" $port | ternary $port dict) }}
{{- if or (kindIs "string" $number) (not (regexMatch "^[0-9]{1,5}$" ($number | toString))) (lt ($number | int) 1) (gt ($number | int) 65535) }}
{{ $path }}.ports has port {{ toJson $number }}; use a number from 1 to 65535
{{- else if not (has (dig "protocol" "tcp" $port | toString | lower) (list "tcp" "udp")) }}
{{ $path }}.ports has protocol {{ $port.protocol | toString | quote }}; use tcp or udp
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._routes" -}}
{{- $text := .Values.eventgate_sidecar.routes }}
{{- $bypass := eq "bypass" (.Values.eventgate_sidecar.istio.egress | toString) }}
{{- if not (kindIs "string" $text) }}
eventgate_sidecar.routes is a {{ kindOf $text }}; give the text of routes.yaml: after `routes: |`, or with --set-file eventgate_sidecar.routes=routes.yaml
{{- else if not ($text | trim) }}
eventgate_sidecar.routes is empty; give the text of routes.yaml: after `routes: |`, or with --set-file eventgate_sidecar.routes=routes.yaml
{{- else if gt (len $text) 1000000 }}
eventgate_sidecar.routes has {{ len $text }} bytes; a ConfigMap takes at most 1000000
{{- else }}
{{- $routes := fromYaml $text }}
{{- if and (hasKey $routes "Error") (eq (len $routes) 1) }}
eventgate_sidecar.routes is not YAML: {{ $routes.Error | replace "\n" " " }}; `eventgate-sidecar check` shows more
{{- else }}
{{- include "eventgate-sidecar.validate._routes_keys" $routes }}
{{- $upstreams := $routes.upstreams | default dict }}
{{- if kindIs "map" $upstreams }}
{{- range $name, $upstream := $upstreams }}
{{- include "eventgate-sidecar.validate._upstream" (dict "name" $name "upstream" $upstream "bypass" $bypass) }}
{{- end }}
{{- range $index, $route := kindIs "slice" $routes.routes | ternary $routes.routes list }}
{{- include "eventgate-sidecar.validate._route" (dict "index" $index "route" $route "upstreams" (keys $upstreams | sortAlpha)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._routes_keys" -}}
{{- if ne (.version | toString) "1" }}
eventgate_sidecar.routes: version is {{ .version | toString | quote }}; the sidecar reads version: 1
{{- end }}
{{- range $key, $_ := omit . "version" "upstreams" "routes" "tests" }}
eventgate_sidecar.routes: {{ $key }} is not known; the keys are version, upstreams, routes and tests
{{- end }}
{{- if or (not (kindIs "map" .upstreams)) (not .upstreams) }}
eventgate_sidecar.routes: upstreams must have at least one EventGate with its url
{{- end }}
{{- if or (not (kindIs "slice" .routes)) (not .routes) }}
eventgate_sidecar.routes: routes must have at least one route; without one, every event is refused
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._upstream" -}}
{{- $url := dig "url" "" (kindIs "map" .upstream | ternary .upstream dict) | toString }}
{{- $path := printf "eventgate_sidecar.routes: upstreams.%s" .name }}
{{- if not (regexMatch "^https?://[^/\\s]+/[^\\s]+$" $url) }}
{{ $path }}.url is {{ $url | quote }}; write the full URL, such as https://eventgate-main.discovery.wmnet:4492/v1/events
{{- else if and (contains "{datacenter}" $url) (not .upstream.datacenters) }}
{{ $path }} has {datacenter} in its url but no datacenters; list them in order of preference
{{- else if and .upstream.datacenters (not (contains "{datacenter}" $url)) }}
{{ $path }} has datacenters but no {datacenter} in its url; put it where their URLs differ
{{- else if and .bypass (hasPrefix "https:" $url) (regexMatch "^https://[^/:]+(:443)?/" $url) }}
{{ $path }}.url is {{ $url | quote }}: bypassing port 443 would also take the model's own connections past istio-proxy; use EventGate's own port, or set eventgate_sidecar.istio.egress to mesh
{{- end }}
{{- end -}}

{{- define "eventgate-sidecar.validate._route" -}}
{{- $route := kindIs "map" .route | ternary .route dict }}
{{- $path := printf "eventgate_sidecar.routes: routes[%d]" .index }}
{{- if not $route.name }}
{{ $path }} has no name; answers and metrics use it
{{- end }}
{{- if and $route.to $route.reject }}
{{ $path }} has both to and reject; keep one
{{- else if and (not $route.to) (not $route.reject) }}
{{ $path }} has neither to nor reject; add to with the upstream that takes its events, or reject with the reason to refuse them
{{- else if and $route.to (not (has ($route.to | toString) .upstreams)) }}
{{ $path }}.to is {{ $route.to | toString | quote }}, but no upstream has that name; the upstreams are {{ .upstreams | join ", " | default "none" }}
{{- end }}
{{- end -}}
