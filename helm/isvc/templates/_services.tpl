{{/*
An InferenceService is rendered in two steps: `isvc.services` makes one list of both kinds of values, each item with
its name, annotations, env and predictor, and `isvc.inferenceservice` renders an item.
*/}}

{{- define "isvc.labels" -}}
app-wmf: {{ .Chart.Name }}
chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
release: {{ .Release.Name }}
{{- end -}}

{{- define "isvc.services" -}}
{{- $services := list -}}
{{- range $key, $settings := .Values.inference_services -}}
{{- $settings = $settings | default dict -}}
{{- $predictor := $settings.predictor | default dict -}}
{{- $services = append $services (dict
      "name" ($settings.name | default $key | toString) "annotations" $settings.annotations "predictor" $predictor
      "env" list "tag" $predictor.image_version) -}}
{{- end -}}
{{- range .Values.revscoring_inference_services -}}
{{- $predictor := .predictor | default dict -}}
{{- $services = append $services (dict
      "name" (include "isvc.revscoring_name" (dict "Root" $ "isvc" .)) "annotations" dict "predictor" $predictor
      "env" (include "isvc.revscoring_env" (dict "Root" $ "isvc" .) | fromYamlArray) "tag" $predictor.version) -}}
{{- end -}}
{{- toYaml $services -}}
{{- end -}}

{{- define "isvc.revscoring_name" -}}
{{ .isvc.wiki }}-{{ required "inference.model is empty; name the model of revscoring_inference_services" (.isvc.model | default .Root.Values.inference.model) }}
{{- end -}}

{{- define "isvc.revscoring_env" -}}
{{- $values := .Root.Values -}}
{{- $host := .isvc.host | default (printf "%s.wikipedia.org" (trimSuffix "wiki" .isvc.wiki)) -}}
{{- $model := .isvc.model | default $values.inference.model -}}
{{- $bucket := .isvc.s3_storage_base_uri | default $values.inference.s3_storage_base_uri -}}
{{- $own := concat ($values.inference.predictor.base_env | default list) (dig "predictor" "custom_env" list .isvc) -}}
{{- $names := list -}}
{{- range $own -}}
{{- $names = append $names .name -}}
{{- end -}}
- name: INFERENCE_NAME
  value: {{ include "isvc.revscoring_name" . }}
{{- if not (has "WIKI_URL" $names) }}
- name: WIKI_URL
  value: {{ printf "%s://%s:%v" $values.transparent_proxy_protocol $host $values.transparent_proxy_port }}
{{- end }}
- name: WIKI_HOST
  value: {{ $host }}
- name: STORAGE_URI
  value: {{ printf "%s/%s/%s/%s/" $bucket $model (.isvc.use_model_from_wiki | default .isvc.wiki) .isvc.version }}
{{- end -}}

{{- define "isvc.inferenceservice" -}}
{{- $values := .Root.Values -}}
{{- $isvc := .isvc -}}
{{- $common := $values.inference.predictor -}}
{{- $predictor := $isvc.predictor -}}
{{- $args := dict "Root" .Root "isvc" $isvc.name -}}
{{- $scrape := ternary (dict "prometheus.io/scrape" "true") dict $values.monitoring.enabled -}}
{{- $annotations := merge dict ($isvc.annotations | default dict) ($values.inference.annotations | default dict) $scrape (dict "prometheus.io/port" "9091") -}}
{{- $config := merge dict ($predictor.config | default dict) ($common.config | default dict) -}}
{{- $container := merge dict ($predictor.container | default dict) ($common.container | default dict) -}}
{{- $volumes := concat ($common.volumes | default list) ($predictor.volumes | default list) -}}
{{- $env := concat $isvc.env ($common.base_env | default list) ($predictor.custom_env | default list) -}}
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {{ $isvc.name }}
  annotations:
    {{- include "eventgate-sidecar.deployment.annotations" (merge (dict "annotations" $annotations) $args) | nindent 4 }}
  labels:
    {{- include "isvc.labels" .Root | nindent 4 }}
    {{- with $values.inference.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  predictor:
    {{- with include "eventgate-sidecar.model.config" (merge (dict "config" $config) $args) }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "eventgate-sidecar.deployment.volumes" (merge (dict "volumes" $volumes) $args) }}
    volumes:
    {{- . | nindent 4 }}
    {{- end }}
    containers:
    - name: {{ include "eventgate-sidecar.model.name" (merge (dict "name" (printf "kserve-predictor-%s" $isvc.name)) $args) }}
      image: {{ printf "%s/%s:%s" $values.docker.registry ($predictor.image | default $common.image | required (printf "%s: it has no image, and neither has inference.predictor" $isvc.name)) ($isvc.tag | default $common.version | required (printf "%s: it has no image_version, and inference.predictor has no version" $isvc.name)) | quote }}
      imagePullPolicy: {{ $values.docker.imagePullPolicy }}
      {{- with include "eventgate-sidecar.model.env" (merge (dict "env" $env) $args) }}
      env:
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "eventgate-sidecar.model.container" (merge (dict "container" $container) $args) }}
      {{- . | nindent 6 }}
      {{- end }}
    {{- with include "eventgate-sidecar.deployment.container" $args }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
