package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// component is one process of the control plane.
type component struct {
	name string
	args []string
	env  []string // beside what all have
	// ready tells why the component is not ready yet, or nil. Where it is nil, the component is
	// ready when it runs: it catches up on what others asked for in the meantime.
	ready func(context.Context) error
}

// config is what the components of one control plane have in common.
type config struct {
	dir      string
	auditLog string
	// apiServerCPUs are the cores that the API server may use at a time; 0 for all.
	apiServerCPUs int
	pki           *pki
	server        string // the API server's URL
	port          int
	client        *http.Client // an administrator's
}

// newConfig writes all the files that the components read into dir. The administrator's kubeconfig
// goes to the path given.
func newConfig(dir, kubeconfig string, opts runOptions, port int) (*config, error) {
	certs, err := newPKI(dir)
	if err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	c := &config{
		dir: dir, auditLog: opts.auditLog, apiServerCPUs: opts.apiServerCPUs, pki: certs, port: port, server: fmt.Sprintf("https://127.0.0.1:%d", port),
	}

	admin, tlsConfig, err := certs.client(c.server, "admin")
	if err != nil {
		return nil, err
	}
	c.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: tlsConfig}}
	files := map[string][]byte{
		kubeconfig:               admin,
		c.path("kwok.yaml"):      []byte(kwokConfig()),
		c.path("audit.yaml"):     []byte(auditPolicy),
		c.path("scheduler.yaml"): fmt.Appendf(nil, schedulerConfig, c.path("kube-scheduler.kubeconfig")),
	}
	for _, user := range []string{"kube-controller-manager", "kube-scheduler", "kwok"} {
		if files[c.path(user+".kubeconfig")], _, err = certs.client(c.server, "system:"+user); err != nil {
			return nil, err
		}
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

const schedulerConfig = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: %q, qps: 1000, burst: 2000}
`

func (c *config) path(name string) string { return filepath.Join(c.dir, name) }

// components lists the processes in the order in which they are started. Those after the API server
// would retry at growing intervals if they came before it; the one that is waited for is last.
func (c *config) components() []*component {
	return []*component{c.etcd(), c.apiServer(), c.scheduler(), c.kwok(), c.controllerManager()}
}

// etcd listens on sockets in its working directory, so nobody else on the machine gets at it. It
// does not wait for the disk: what it has written outlives it, only not a crash of the machine.
func (c *config) etcd() *component {
	return &component{name: "etcd", args: []string{
		"--name=controlplane",
		"--data-dir=" + c.path("etcd"),
		"--unsafe-no-fsync",
		"--quota-backend-bytes=4294967296",
		"--listen-client-urls=" + etcdSocket,
		"--advertise-client-urls=" + etcdSocket,
		"--listen-peer-urls=" + etcdPeerSocket,
		"--initial-advertise-peer-urls=" + etcdPeerSocket,
		"--initial-cluster=controlplane=" + etcdPeerSocket,
		"--log-level=warn",
	}}
}

// etcd takes a host and port for the name of a socket in the working directory, which is how the
// length of the directory's name does not matter.
const (
	etcdSocket     = "unix://etcd:1"
	etcdPeerSocket = "unix://etcd:2"
)

func (c *config) apiServer() *component {
	args := []string{
		"--etcd-servers=" + etcdSocket,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.port),
		"--permit-port-sharing", // with our own reservation of the port
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + c.pki.path("apiserver.crt"),
		"--tls-private-key-file=" + c.pki.path("apiserver.key"),
		"--client-ca-file=" + c.pki.path("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", // kubelets may do what they may in a cluster
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.pki.path("sa.pub"),
		"--service-account-signing-key-file=" + c.pki.path("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged",
		"--profiling=false",
	}
	if c.auditLog != "" {
		args = append(args, "--audit-log-path="+c.auditLog, "--audit-policy-file="+c.path("audit.yaml"), "--audit-log-maxsize=0")
	}
	var env []string
	if c.apiServerCPUs > 0 {
		env = []string{fmt.Sprintf("GOMAXPROCS=%d", c.apiServerCPUs)}
	}
	return &component{name: "kube-apiserver", args: args, env: env, ready: func(ctx context.Context) error {
		return c.get(ctx, "/readyz")
	}}
}

func (c *config) controllerManager() *component {
	return &component{name: "kube-controller-manager", args: []string{
		"--kubeconfig=" + c.path("kube-controller-manager.kubeconfig"),
		"--kube-api-qps=1000", "--kube-api-burst=2000",
		"--leader-elect=false",
		"--secure-port=0",
		"--controllers=" + strings.Join(controllers, ","),
		"--root-ca-file=" + c.pki.path("ca.crt"),
		"--service-account-private-key-file=" + c.pki.path("sa.key"),
		"--flex-volume-plugin-dir=" + c.path("volume-plugins"), // the default is in /usr, and is created
		"--profiling=false",
	}, ready: func(ctx context.Context) error {
		// Pods can be created once the service account that they run as is there.
		return c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
	}}
}

// controllers are those of kube-controller-manager that matter to nodes and what runs on them.
var controllers = []string{
	"cronjob-controller",
	"daemonset-controller",
	"deployment-controller",
	"disruption-controller",
	"endpoints-controller",
	"endpointslice-controller",
	"garbage-collector-controller",
	"job-controller",
	"namespace-controller",
	"node-lifecycle-controller",
	"persistentvolume-attach-detach-controller",
	"persistentvolume-binder-controller",
	"persistentvolume-protection-controller",
	"persistentvolumeclaim-protection-controller",
	"pod-garbage-collector-controller",
	"replicaset-controller",
	"root-ca-certificate-publisher-controller",
	"serviceaccount-controller",
	"serviceaccount-token-controller",
	"statefulset-controller",
	"taint-eviction-controller",
	"ttl-after-finished-controller",
	"validatingadmissionpolicy-status-controller",
}

func (c *config) scheduler() *component {
	return &component{name: "kube-scheduler", args: []string{
		"--config=" + c.path("scheduler.yaml"),
		"--secure-port=0",
	}}
}

func (c *config) kwok() *component {
	return &component{name: "kwok", args: []string{
		"--config=" + c.path("kwok.yaml"),
		"--kubeconfig=" + c.path("kwok.kubeconfig"),
	}}
}

// get asks the API server for a path and returns nil for 200 OK, else an error with the answer.
func (c *config) get(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// soReusePort is SO_REUSEPORT of Linux, which package syscall does not have for all architectures.
const soReusePort = 15

// reservePort finds a free port on the loopback interface and keeps it until this process ends:
// while the API server is stopped, nobody else may get its port. The socket is bound but does not
// listen, so all connections are for the process that does, which needs SO_REUSEPORT as well.
func reservePort() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	inet, ok := addr.(*syscall.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("socket has the address %v", addr)
	}
	return inet.Port, nil
}
