{{- define "type_members" -}}
{{- if eq .Name "metadata" -}}
The standard metadata of every object of Kubernetes.
{{- else -}}
{{ template "line" .Doc }}
{{- end -}}
{{- end -}}
