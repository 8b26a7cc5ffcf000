{{- define "tokenward.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tokenward.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tokenward.labels" -}}
{{ include "tokenward.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "tokenward.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "tokenward.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "tokenward.fullname" .) -}}
{{- end -}}

{{/* A value as TOML writes it. Helm reads every number as a float. */}}
{{- define "tokenward.toml.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* tokenward.toml: what the values say, and what follows from how the pod is made. */}}
{{- define "tokenward.toml" -}}
{{- $server := dict "listen" "0.0.0.0:50051" -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $server "tls_cert" "/etc/tokenward/tls/tls.crt" -}}
{{- $_ := set $server "tls_key" "/etc/tokenward/tls/tls.key" -}}
{{- if .Values.tls.clientCa -}}
{{- $_ := set $server "tls_client_ca" "/etc/tokenward/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- $secrets := "/etc/tokenward/secrets" -}}
{{- $made := dict "server" $server "http" (dict "listen" "0.0.0.0:9464") -}}
{{- $_ := set $made "database" (dict "url_file" (printf "%s/database-url" $secrets)) -}}
{{- if .Values.callers.secretName -}}
{{- $_ := set $made "callers" (dict "file" "/etc/tokenward/callers/callers.toml") -}}
{{- end -}}
{{- $redis := dict -}}
{{- if .Values.secret.keys.redisUrl -}}{{- $_ := set $redis "url_file" (printf "%s/redis-url" $secrets) -}}{{- end -}}
{{- if .Values.secret.keys.redisPassword -}}{{- $_ := set $redis "password_file" (printf "%s/redis-password" $secrets) -}}{{- end -}}
{{- $_ := set $made "redis" $redis -}}
{{- $cache := dict -}}
{{- if .Values.secret.keys.cacheMacKey -}}{{- $_ := set $cache "mac_key_file" (printf "%s/cache-mac-key" $secrets) -}}{{- end -}}
{{- if .Values.secret.keys.cacheMacKeyPrevious -}}{{- $_ := set $cache "mac_key_previous_file" (printf "%s/cache-mac-key-previous" $secrets) -}}{{- end -}}
{{- $_ := set $made "cache" $cache -}}
{{- $knox := dict -}}
{{- if .Values.secret.keys.knoxRedisUrl -}}{{- $_ := set $knox "url_file" (printf "%s/knox-redis-url" $secrets) -}}{{- end -}}
{{- if .Values.secret.keys.knoxRedisPassword -}}{{- $_ := set $knox "password_file" (printf "%s/knox-redis-password" $secrets) -}}{{- end -}}
{{- $_ := set $made "knox_redis" $knox -}}
{{- $all := mustMergeOverwrite (deepCopy .Values.config) $made -}}
{{- if .Values.secret.keys.redisUrl -}}{{- $_ := unset $all.redis "url" -}}{{- end -}}
{{- range $section := keys $all | sortAlpha }}
{{- $settings := get $all $section }}
{{- if $settings }}
[{{ $section }}]
{{- range $key := keys $settings | sortAlpha }}
{{ $key }} = {{ include "tokenward.toml.value" (get $settings $key) }}
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- define "tokenward.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tokenward.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "tokenward.volumeMounts" -}}
- {name: config, mountPath: /etc/tokenward/tokenward.toml, subPath: tokenward.toml, readOnly: true}
- {name: secrets, mountPath: /etc/tokenward/secrets, readOnly: true}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The configuration is read once, so it may be mounted by subPath; what is reloaded may not. */}}
{{- define "tokenward.volumes" -}}
- name: secrets
  secret:
    secretName: {{ .Values.secret.name }}
    defaultMode: 0440
    items:
      - {key: database-url, path: database-url}
      {{- if .Values.secret.keys.redisUrl }}
      - {key: redis-url, path: redis-url}
      {{- end }}
      {{- if .Values.secret.keys.redisPassword }}
      - {key: redis-password, path: redis-password}
      {{- end }}
      {{- if .Values.secret.keys.cacheMacKey }}
      - {key: cache-mac-key, path: cache-mac-key}
      {{- end }}
      {{- if .Values.secret.keys.cacheMacKeyPrevious }}
      - {key: cache-mac-key-previous, path: cache-mac-key-previous}
      {{- end }}
      {{- if .Values.secret.keys.knoxRedisUrl }}
      - {key: knox-redis-url, path: knox-redis-url}
      {{- end }}
      {{- if .Values.secret.keys.knoxRedisPassword }}
      - {key: knox-redis-password, path: knox-redis-password}
      {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
