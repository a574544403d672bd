{{- define "ood-monitor.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ood-monitor.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ood-monitor.labels" -}}
{{ include "ood-monitor.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ood-monitor.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* Ends with what to do if a setting that is a secret has a value. */}}
{{- define "ood-monitor.refuse-secrets" -}}
{{- range $section, $keys := .config }}
{{- if kindIs "map" $keys }}
{{- range $key, $value := $keys }}
{{- if and (regexMatch "(password|^token|^webhook_url|^heartbeat_url)$" $key) $value }}
{{- fail (printf "config.%s.%s is a secret and does not belong into values: put it into a Secret and name that under `secrets`, with setting: %s__%s__%s" $section $key $.prefix (upper $section) (upper $key)) }}
{{- end }}
{{- if and (kindIs "string" $value) (regexMatch "://[^/]*@" $value) }}
{{- fail (printf "config.%s.%s holds a user or a password in its URL: put the password into a Secret and name that under `secrets`" $section $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* monitor.yml: what was given, and over it what the chart decides. */}}
{{- define "ood-monitor.config" -}}
{{- include "ood-monitor.refuse-secrets" (dict "config" .Values.config "prefix" "OOD_MONITOR") }}
{{- $ignored := required "config.kafka.bootstrap_servers is empty: name the brokers, such as kafka.kafka:9092" .Values.config.kafka.bootstrap_servers }}
{{- $ignored = required "config.redis.url is empty: name the store, such as redis://redis.redis:6379/0" .Values.config.redis.url }}
{{- $fixed := dict "http" (dict "port" 9100 "host" "0.0.0.0") }}
{{- if not .Values.config.models }}
{{- $_ := set $fixed "model" (dict "artifact" "/artifact/line.safetensors") }}
{{- end }}
{{- if .Values.config.kafka.topics }}
{{- $_ := set $fixed "kafka" (dict "topic" "") }}
{{- end }}
{{- toYaml (mustMergeOverwrite (deepCopy .Values.config) $fixed) }}
{{- end }}

{{- define "ood-monitor.ingest-config" -}}
{{- include "ood-monitor.refuse-secrets" (dict "config" .Values.ingest.config "prefix" "OOD_INGEST") }}
{{- if and .Values.config.kafka.topics (not (dig "kafka" "topic" "" .Values.ingest.config)) }}
{{- fail "config.kafka.topics names several topics: name the one that ingest writes to in ingest.config.kafka.topic" }}
{{- end }}
{{- $shared := dict }}
{{- range $key, $value := .Values.config.kafka }}
{{- if or (has $key (list "bootstrap_servers" "topic" "client" "security_protocol")) (hasPrefix "sasl_" $key) (hasPrefix "ssl_" $key) }}
{{- $_ := set $shared $key $value }}
{{- end }}
{{- end }}
{{- $fixed := dict "http" (dict "port" (int .Values.ingest.port) "host" "0.0.0.0") }}
{{- $base := dict "kafka" $shared "logging" (dict "format" "json") }}
{{- toYaml (mustMergeOverwrite $base (deepCopy .Values.ingest.config) $fixed) }}
{{- end }}

{{- /* A volume of the files that OOD_..._SECRETS_DIR names. */}}
{{- define "ood-monitor.secrets-volume" -}}
name: secrets
projected:
  defaultMode: 0440
  sources:
    - secret:
        name: {{ .token.secret }}
        items: [{key: {{ .token.key }}, path: {{ .prefix }}__HTTP__TOKEN}]
    {{- range .secrets }}
    - secret:
        name: {{ required "secrets: each entry names a Secret: secret" .secret }}
        items: [{key: {{ required "secrets: each entry names the key in its Secret: key" .key }}, path: {{ required "secrets: each entry names the setting that it is the value of: setting" .setting }}}]
    {{- end }}
{{- end }}

{{- define "ood-monitor.pod-security" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ood-monitor.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Whether a restart helps, and whether work is done. No token is asked for these. */}}
{{- define "ood-monitor.probes" -}}
startupProbe:
  httpGet: {path: /-/healthy, port: http, scheme: {{ .scheme }}}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /-/healthy, port: http, scheme: {{ .scheme }}}
  periodSeconds: 15
  timeoutSeconds: 3
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /-/ready, port: http, scheme: {{ .scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}

{{- define "ood-monitor.placing" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- /* What a process with the settings of a worker needs: the artifact, and where it finds its files. */}}
{{- define "ood-monitor.init" -}}
{{- if .Values.artifact.image }}
initContainers:
  - name: artifact
    image: {{ .Values.artifact.image }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: ["cp", {{ printf "/%s" (trimPrefix "/" .Values.artifact.path) | quote }}, "/artifact/line.safetensors"]
    securityContext: {{ include "ood-monitor.container-security" . | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 32Mi}
      limits: {memory: 128Mi}
    volumeMounts:
      - {name: artifact, mountPath: /artifact}
{{- end }}
{{- end }}

{{- define "ood-monitor.mounts" -}}
volumeMounts:
  - {name: config, mountPath: /etc/ood-monitor, readOnly: true}
  - {name: secrets, mountPath: /run/secrets/ood-monitor, readOnly: true}
  {{- if and .Values.artifact.claim (not .Values.config.models) }}
  - {name: artifact, mountPath: /artifact/line.safetensors, subPath: {{ trimPrefix "/" .Values.artifact.path }}, readOnly: true}
  {{- else }}
  - {name: artifact, mountPath: /artifact, readOnly: true}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{- define "ood-monitor.volumes" -}}
volumes:
  - name: config
    configMap: {name: {{ include "ood-monitor.name" . }}}
  - {{ include "ood-monitor.secrets-volume" (dict "token" .Values.httpToken "secrets" .Values.secrets "prefix" "OOD_MONITOR") | nindent 4 | trim }}
  - name: artifact
    {{- if .Values.artifact.claim }}
    persistentVolumeClaim: {claimName: {{ .Values.artifact.claim }}, readOnly: true}
    {{- else }}
    emptyDir: {}
    {{- end }}
  - name: tmp            # the compiled kernels are copied here
    emptyDir: {sizeLimit: 256Mi}
  {{- with .Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
