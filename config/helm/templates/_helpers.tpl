{{/* The image, by digest if there is one. */}}
{{- define "node-termination-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else }}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of the manager's service account. */}}
{{- define "node-termination-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (printf "%snode-termination-manager" .Values.namePrefix) }}
{{- end }}

{{/* Whether policies stay when the release or its values have none: with Helm v4. Empty: they do not. */}}
{{- define "node-termination-operator.keepsPolicies" -}}
{{- if semverCompare ">=4.0.0-0" .Capabilities.HelmVersion.Version }}true{{ end }}
{{- end }}
