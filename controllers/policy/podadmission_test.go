// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nodetermination/operator/api/v1alpha1"
	"github.com/nodetermination/operator/hack/operator"
)

// watcherSet returns a DaemonSet for Linux as the manager makes it.
func watcherSet(t *testing.T, settings watcherSettings) *appsv1.DaemonSet {
	t.Helper()
	return watcherSetOf(t, &linux, settings)
}

// watcherSetOf returns a DaemonSet as the manager makes it.
func watcherSetOf(t *testing.T, system *operatingSystem, settings watcherSettings) *appsv1.DaemonSet {
	t.Helper()
	policy := &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "shape", UID: "uid"}}
	source := v1alpha1.Source{Name: "metadata", IMDS: &v1alpha1.IMDSSource{MetricsPort: ptr.To[int32](9100)}}
	content, err := json.Marshal(system.daemonSet(policy, &source, settings))
	if err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := json.Unmarshal(content, ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

// asWatcher makes a pod one that a watcher's DaemonSet would have.
func asWatcher(pod *corev1.Pod) {
	none := ptr.To(false)
	pod.Spec.ServiceAccountName = watcher
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
	pod.Spec.Containers = []corev1.Container{{Name: watcher, Image: image, Command: []string{linux.command}, SecurityContext: &corev1.SecurityContext{
		AllowPrivilegeEscalation: none, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}}}
}

// impersonate returns a client of a user of these groups.
func impersonate(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := cluster.Get(t).Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	c, err := client.New(config, client.Options{Scheme: admin(t).Scheme(), Mapper: admin(t).RESTMapper()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNothingButWatchersRunsThere: whoever steals the manager's token can create DaemonSets in the watchers'
// namespace, and gets no node by that.
func TestNothingButWatchersRunsThere(t *testing.T) {
	t.Parallel()
	manager := impersonate(t, "system:serviceaccount:"+operator.Namespace+":"+operator.ServiceAccount)
	hostPath := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
	volume := func(source corev1.VolumeSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "more", VolumeSource: source})
		}
	}
	security := func(change func(*corev1.SecurityContext)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) { change(pod.Containers[0].SecurityContext) }
	}
	env := func(source corev1.EnvVarSource) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: "MORE", ValueFrom: &source})
		}
	}
	variable := func(name, value string) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	args := func(arg string) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) { pod.Containers[0].Args = append(pod.Containers[0].Args, arg) }
	}
	for name, test := range map[string]admissionTest{
		"a watcher": {change: func(*corev1.PodSpec) {}},
		"a watcher without the host's network, with more memory": {change: func(pod *corev1.PodSpec) {
			pod.HostNetwork, pod.Containers[0].Ports = false, nil
			pod.Containers[0].Resources = corev1.ResourceRequirements{}
		}},
		"another image": {func(pod *corev1.PodSpec) { pod.Containers[0].Image = "example.com/shell" }, "image has to be that of the manager, " + image + ", and is example.com/shell"},
		"another tag":   {func(pod *corev1.PodSpec) { pod.Containers[0].Image = image + "2" }, "--watcher-image="},
		"a watcher as a policy changes it": {change: func(pod *corev1.PodSpec) {
			*pod = podOf(t, richTemplate()).Spec
			pod.PriorityClassName = "" // which of them there are depends on the API server
			pod.Containers[0].Args = append(pod.Containers[0].Args, "--endpoint=http://[fd00:ec2::254]:80/", "--endpoint-mode=IPv6", "--log-level=debug", "--log-format=console", "--metrics-port=9808")
		}},
		"another flag":                           {args("--heartbeat-file=/manager"), "args are --policy="},
		"a flag with a space":                    {args("--log-level=debug --log-format=json"), "args are --policy="},
		"a word":                                 {args("probe"), "args are --policy="},
		"another probe":                          {func(pod *corev1.PodSpec) { pod.Containers[0].ReadinessProbe.Exec.Command = []string{"/manager"} }, "probes exec [/imds-watcher, probe]"},
		"a probe by HTTP":                        {func(pod *corev1.PodSpec) { pod.Containers[0].StartupProbe.ProbeHandler = httpProbe }, "probes exec [/imds-watcher, probe]"},
		"one more probe":                         {func(pod *corev1.PodSpec) { pod.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: httpProbe} }, "probes exec [/imds-watcher, probe]"},
		"another folder":                         {func(pod *corev1.PodSpec) { pod.Containers[0].WorkingDir = "/etc" }, "no workingDir"},
		"a process of the node":                  {func(pod *corev1.PodSpec) { pod.HostNetwork = true; pod.SecurityContext.WindowsOptions = hostProcess }, "no windowsOptions"},
		"a process of the node in the container": {security(func(c *corev1.SecurityContext) { c.WindowsOptions = hostProcess }), "no windowsOptions"},
		"no seccomp": {func(pod *corev1.PodSpec) {
			pod.SecurityContext.SeccompProfile.Type = corev1.SeccompProfileTypeUnconfined
		}, "profiles RuntimeDefault or Localhost"},
		"no AppArmor": {security(func(c *corev1.SecurityContext) {
			c.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}), "profiles RuntimeDefault or Localhost"},
		"root's group": {func(pod *corev1.PodSpec) { pod.SecurityContext.RunAsGroup = ptr.To[int64](0) }, "runAsNonRoot"},
		"certificates of one's own": {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "ca.crt", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations"}}}}}}}}), "volumes are of emptyDir"},
		"a kubeconfig":               {variable("KUBECONFIG", "/run/imds-watcher/config"), "env has"},
		"another API server":         {variable("KUBERNETES_SERVICE_HOST", "evil.example.com"), "env has"},
		"certificates by a variable": {variable("SSL_CERT_FILE", "/run/imds-watcher/ca.crt"), "env has"},
		"tokens in the log":          {variable("GODEBUG", "http2debug=2"), "env has"},
		"a secret for a proxy": {func(pod *corev1.PodSpec) {
			pod.Containers[0].Env = append(pod.Containers[0].Env, corev1.EnvVar{Name: "HTTPS_PROXY", ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "b"}}})
		}, "env has"},
		"another command":         {func(pod *corev1.PodSpec) { pod.Containers[0].Command = []string{"/manager"} }, "command has to be"},
		"the image's own command": {func(pod *corev1.PodSpec) { pod.Containers[0].Command = nil }, "command has to be"},
		"a lifecycle": {func(pod *corev1.PodSpec) {
			pod.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/manager"}}}}
		}, "no lifecycle"},
		"another service account": {func(pod *corev1.PodSpec) { pod.ServiceAccountName = "default" }, "serviceAccountName"},
		"one more container": {func(pod *corev1.PodSpec) {
			c := *pod.Containers[0].DeepCopy()
			c.Name, c.Ports = "more", nil
			pod.Containers = append(pod.Containers, c)
		}, "one container"},
		"an init container": {func(pod *corev1.PodSpec) {
			c := *pod.Containers[0].DeepCopy()
			c.Name, c.Ports, c.StartupProbe, c.ReadinessProbe = "more", nil, nil, nil
			pod.InitContainers = append(pod.InitContainers, c)
		}, "initContainers"},
		"the host's processes":     {func(pod *corev1.PodSpec) { pod.HostPID = true }, "hostPID"},
		"the host's IPC":           {func(pod *corev1.PodSpec) { pod.HostIPC = true }, "hostIPC"},
		"a path of the host":       {volume(hostPath), "volumes are of emptyDir"},
		"a secret as a volume":     {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "a"}}), "volumes are of emptyDir"},
		"a config map as a volume": {volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}}}), "volumes are of emptyDir"},
		"a projected secret": {volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}}}}}}), "volumes are of emptyDir"},
		"a claim":         {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "a"}}), "volumes are of emptyDir"},
		"a secret in env": {env(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "b"}}), "env has"},
		"secrets in envFrom": {func(pod *corev1.PodSpec) {
			pod.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}}}}
		}, "env has"},
		"privileged":             {security(func(c *corev1.SecurityContext) { c.Privileged, c.AllowPrivilegeEscalation = ptr.To(true), nil }), "not privileged"},
		"privilege escalation":   {security(func(c *corev1.SecurityContext) { c.AllowPrivilegeEscalation = nil }), "allowPrivilegeEscalation"},
		"a capability":           {security(func(c *corev1.SecurityContext) { c.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"} }), "capabilities"},
		"the usual capabilities": {security(func(c *corev1.SecurityContext) { c.Capabilities = nil }), "capabilities"},
		"no security context":    {func(pod *corev1.PodSpec) { pod.Containers[0].SecurityContext = nil }, "allowPrivilegeEscalation"},
		"root":                   {func(pod *corev1.PodSpec) { pod.SecurityContext = nil }, "runAsNonRoot"},
		"root by its number":     {security(func(c *corev1.SecurityContext) { c.RunAsUser = ptr.To[int64](0) }), "runAsNonRoot"},
		"root in the container":  {security(func(c *corev1.SecurityContext) { c.RunAsNonRoot = ptr.To(false) }), "runAsNonRoot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(t, manager, &linux)
		})
	}
}

// httpProbe asks somebody, from the node.
var httpProbe = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "169.254.169.254", Port: intstr.FromInt32(80)}}

// hostProcess makes a pod on Windows a process of the node.
var hostProcess = &corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true), RunAsUserName: ptr.To(`NT AUTHORITY\SYSTEM`)}

// admissionTest is a change of a watcher's pod and what the admission policy says to it.
type admissionTest struct {
	change func(*corev1.PodSpec)
	says   string // empty: it is admitted
}

// run creates a DaemonSet as the manager, and its pod.
func (test *admissionTest) run(t *testing.T, manager client.Client, system *operatingSystem) {
	t.Helper()
	eventually(t, func() error { // the API server takes a moment to know of a policy
		ds := watcherSetOf(t, system, settings)
		test.change(&ds.Spec.Template.Spec)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: "shape"}, Spec: ds.Spec.Template.Spec}
		for what, err := range map[string]error{
			"DaemonSet": manager.Create(t.Context(), ds, client.DryRunAll),
			"pod":       admin(t).Create(t.Context(), pod, client.DryRunAll),
		} {
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				return fmt.Errorf("%s: %w, want %q", what, err, test.says)
			}
		}
		return nil
	})
}

// TestNothingButWatchersRunsOnWindows, where a HostProcess container is a process of the node: all that it starts, reads and
// writes is fixed.
func TestNothingButWatchersRunsOnWindows(t *testing.T) {
	t.Parallel()
	manager := impersonate(t, "system:serviceaccount:"+operator.Namespace+":"+operator.ServiceAccount)
	const fixed = "on Windows they are HostProcess pods of NT AUTHORITY\\LocalService"
	container := func(change func(*corev1.Container)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) { change(&pod.Containers[0]) }
	}
	options := func(change func(*corev1.WindowsSecurityContextOptions)) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) { change(pod.SecurityContext.WindowsOptions) }
	}
	for name, test := range map[string]admissionTest{
		"a watcher": {change: func(*corev1.PodSpec) {}},
		"a watcher as a policy changes it": {change: func(pod *corev1.PodSpec) {
			*pod = daemonSetOf(t, &windows, &v1alpha1.IMDSSource{Endpoint: "http://[::1]:1338", LogLevel: "debug", PodTemplate: richTemplate()}, settings).Spec.Template.Spec
			pod.PriorityClassName = ""
		}},
		"the Linux command":   {container(func(c *corev1.Container) { c.Command = []string{"/imds-watcher"} }), "command has to be [imds-watcher.exe]"},
		"a shell":             {container(func(c *corev1.Container) { c.Command = []string{"powershell.exe"} }), "command has to be [imds-watcher.exe]"},
		"a shell in the args": {container(func(c *corev1.Container) { c.Args = []string{"--policy=a&calc"} }), "args are --policy="},
		"a variable in args":  {container(func(c *corev1.Container) { c.Args = []string{"--policy=%PATH%"} }), "args are --policy="},
		"a file of the node":  {container(func(c *corev1.Container) { c.Args = []string{`--termination-message-path=C:/Windows/win.ini`} }), "args are --policy="},
		"a shell in a probe":  {container(func(c *corev1.Container) { c.ReadinessProbe.Exec.Command = []string{"powershell.exe"} }), "probes exec [imds-watcher.exe, probe]"},
		"a shell at the end": {container(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"cmd.exe"}}}}
		}), "no lifecycle"},
		"another folder":        {container(func(c *corev1.Container) { c.WorkingDir = `C:/Windows` }), "no workingDir"},
		"a mount over a folder": {container(func(c *corev1.Container) { c.VolumeMounts[0].MountPath = `C:/Windows/System32` }), fixed},
		"a path of programs":    {container(func(c *corev1.Container) { c.Env = append(c.Env, corev1.EnvVar{Name: "PATH", Value: `C:/a`}) }), "env has"},
		"a kubeconfig":          {container(func(c *corev1.Container) { c.Env = append(c.Env, corev1.EnvVar{Name: "KUBECONFIG", Value: `C:/a`}) }), "env has"},
		"another account":       {options(func(o *corev1.WindowsSecurityContextOptions) { o.RunAsUserName = ptr.To(`NT AUTHORITY\SYSTEM`) }), fixed},
		"no account":            {options(func(o *corev1.WindowsSecurityContextOptions) { o.RunAsUserName = nil }), fixed},
		"a domain's account":    {options(func(o *corev1.WindowsSecurityContextOptions) { o.GMSACredentialSpecName = ptr.To("a") }), fixed},
		"an account of the container": {container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{WindowsOptions: &corev1.WindowsSecurityContextOptions{RunAsUserName: ptr.To(`NT AUTHORITY\SYSTEM`)}}
		}), fixed},
		"a path of the node": {func(pod *corev1.PodSpec) {
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "more", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: `C:/`}}})
		}, "volumes are of emptyDir"},
		"the Linux shape": {func(pod *corev1.PodSpec) { pod.OS = nil }, "command has to be [/imds-watcher]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(t, manager, &windows)
		})
	}
	t.Run("the account of the container runtime", func(t *testing.T) {
		eventually(t, func() error {
			ds := watcherSetOf(t, &windows, settings)
			ds.Spec.Template.Annotations = map[string]string{"microsoft.com/hostprocess-inherit-user": "true"}
			if err := manager.Create(t.Context(), ds, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "no annotations of microsoft.com") {
				return fmt.Errorf("%w, want it refused", err)
			}
			return nil
		})
	})
}

// TestWatchersEnvironment is what the Deployment says, which the manager cannot change, and nothing else.
func TestWatchersEnvironment(t *testing.T) {
	t.Parallel()
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"manager","args":["--log-level=info","--watcher-env=PROXY,EMPTY,SECRET,UNSET"],"env":[
		{"name":"PROXY","value":"http://$(POD_NAME):3128"},{"name":"EMPTY"},{"name":"OTHER","value":"a"},
		{"name":"SECRET","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}]}]}}}}`
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.Deployment}}
	if err := admin(t).Patch(t.Context(), deployment, client.RawPatch(types.StrategicMergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
	value := func(name, value string) []corev1.EnvVar { return []corev1.EnvVar{{Name: name, Value: value}} }
	field := func(name, path string) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}}
	}
	for name, test := range map[string]struct {
		env      []corev1.EnvVar
		admitted bool
	}{
		"what is named":                  {slices.Concat(field("NODE_NAME", "spec.nodeName"), value("PROXY", "http://$(POD_NAME):3128"), value("EMPTY", "")), true},
		"less":                           {nil, true},
		"what a policy may set":          {slices.Concat(value("HTTPS_PROXY", "http://a:3128"), value("no_proxy", "10.0.0.0/8"), value("GOMEMLIMIT", "32MiB"), value("TZ", "UTC")), true},
		"another value":                  {value("PROXY", "http://evil.example.com"), false},
		"a value for what is empty":      {value("EMPTY", "a"), false},
		"what is not named":              {value("OTHER", "a"), false},
		"what is named and not set":      {value("UNSET", ""), false},
		"a value for what is a secret":   {value("SECRET", ""), false},
		"a secret":                       {[]corev1.EnvVar{{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}, Key: "b"}}}}, false},
		"a field for what is a value":    {field("PROXY", "spec.nodeName"), false},
		"the name of another node":       {value("NODE_NAME", "other"), false},
		"another field as the node name": {field("NODE_NAME", "metadata.name"), false},
		"another API server":             {value("KUBERNETES_SERVICE_HOST", "evil.example.com"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eventually(t, func() error { // the API server takes a moment to know of the Deployment
				ds := watcherSet(t, settings)
				ds.Spec.Template.Spec.Containers[0].Env = test.env
				err := admin(t).Create(t.Context(), ds, client.DryRunAll)
				if test.admitted != (err == nil) || err != nil && !strings.Contains(err.Error(), "--watcher-env=") {
					return fmt.Errorf("%w, want it admitted: %t", err, test.admitted)
				}
				return nil
			})
		})
	}
}

// TestManagerCannotWidenItsRights: nor does the token do so in another way.
func TestManagerCannotWidenItsRights(t *testing.T) {
	t.Parallel()
	c := impersonate(t, "system:serviceaccount:"+operator.Namespace+":"+operator.ServiceAccount)
	elsewhere := watcherSet(t, settings)
	elsewhere.Namespace = operator.Namespace
	empty := client.RawPatch("application/merge-patch+json", []byte("{}"))
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: operator.Namespace, Name: operator.Deployment}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operator.WatcherNamespace}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operator.WatcherNamespace, Name: "a"}}
	asWatcher(pod)
	for name, err := range map[string]error{
		"a DaemonSet elsewhere":   c.Create(t.Context(), elsewhere, client.DryRunAll),
		"a pod":                   c.Create(t.Context(), pod, client.DryRunAll),
		"its own Deployment":      c.Patch(t.Context(), deployment, empty, client.DryRunAll),
		"the watchers' namespace": c.Patch(t.Context(), namespace, empty, client.DryRunAll),
		"another's secrets":       c.List(t.Context(), &corev1.SecretList{}, client.InNamespace("kube-system")),
		"the watchers' secrets":   c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(operator.WatcherNamespace)),
		"roles":                   c.List(t.Context(), &rbacv1.ClusterRoleList{}),
		"a policy":                c.Create(t.Context(), &v1alpha1.NodeTerminationPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, client.DryRunAll),
		"a token of another":      c.SubResource("token").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "default"}}, &authenticationv1.TokenRequest{}),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it forbidden", name, err)
		}
	}
}
