{{/* Labels of every object. */}}
{{- define "dizuo.labels" -}}
app.kubernetes.io/name: dizuo-operator
app.kubernetes.io/part-of: dizuo
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels by which the operator's pods are found. They never change. */}}
{{- define "dizuo.selector" -}}
app.kubernetes.io/name: dizuo-operator
{{- end }}

{{/* An image reference: dict "image" (repository, tag, digest) "default" (tag where none is set). */}}
{{- define "dizuo.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .default }}
{{- end -}}
{{- end }}
