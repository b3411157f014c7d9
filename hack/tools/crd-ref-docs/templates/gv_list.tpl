{{- define "gvList" -}}
# API reference

Generated from the types in [api](../api) by `make docs`.
{{ range . }}
{{ template "gvDetails" . }}
{{- end }}
{{- end -}}
