{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc }}
{{ if .References }}
Used by:{{ range $i, $type := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $type }}{{ end }}
{{ end }}
{{- if .Members }}
| field | type | meaning | bounds |
|---|---|---|---|
{{- range .Members }}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ template "type_members" . }} | {{ template "bounds" . }} |
{{- end }}
{{ end }}
{{- if .EnumValues }}
| value | meaning |
|---|---|
{{- range .EnumValues }}
| `{{ .Name }}` | {{ template "line" .Doc }} |
{{- end }}
{{ end }}
{{- end -}}
{{- end -}}

{{- /* What a field may hold. Values that the field's own type lists are left to that. */ -}}
{{- define "bounds" -}}
{{- $bounds := list -}}
{{- $listed := gt (len .Type.EnumValues) 0 -}}
{{- range .Validation -}}
  {{- $name := . | splitList ":" | initial | join ":" -}}
  {{- $value := . | splitList ":" | last | trim -}}
  {{- if eq $name "Required" -}}
    {{- $bounds = prepend $bounds "required" -}}
  {{- else if and (ne $name "Optional") (not (and $listed (eq $name "Enum"))) -}}
    {{- if contains "e+" $value }}{{ $value = $value | float64 | int64 | toString }}{{ end -}}
    {{- $bounds = append $bounds (printf "%s: %s" $name $value) -}}
  {{- end -}}
{{- end -}}
{{- join "<br>" $bounds -}}
{{- end -}}

{{- /* Text as one line of a table. */ -}}
{{- define "line" -}}
{{- markdownRenderFieldDoc . | replace "<br />" " " | trim -}}
{{- end -}}
