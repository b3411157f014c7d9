{{- define "gvDetails" -}}
## {{ .GroupVersionString }}

{{ .Doc }}
{{ $gv := . }}
{{- range .SortedKinds }}
- {{ markdownRenderTypeLink ($gv.TypeForKind .) }}
{{- end }}
{{ range .SortedKinds }}{{ template "type" ($gv.TypeForKind .) }}{{ end }}
{{- range .SortedTypes }}{{ if not .GVK }}{{ template "type" . }}{{ end }}{{ end }}
{{- end -}}
