package lab

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/rig"
)

// The programs of the control plane, as they are called in logs.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

// auditPolicy writes down who did what to which object, and no content.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`

// AuditLog is the API server's log of requests, a JSON object per line, if
// [Options.AuditLog] asked for one.
func (l *Lab) AuditLog() string { return l.state.Log("audit") }

// startControlPlane starts etcd and the API server; the others follow when it
// answers.
func (l *Lab) startControlPlane(o Options) error {
	cp, err := l.state.Host(ControlPlane)
	if err != nil {
		return err
	}
	services := l.families(services4, services6)
	inside := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for _, p := range services {
		inside = append(inside, p.Addr().Next())
	}
	if err := l.writePKI(append(inside, hostAddresses(cp)...)); err != nil {
		return err
	}
	if err := os.WriteFile(l.pki("audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	server := l.apiServerArgs(hostAddresses(cp)[0], services)
	if o.AuditLog {
		server = append(server, "--audit-policy-file", l.pki("audit.yaml"), "--audit-log-path", l.AuditLog())
	}
	processes := []rig.Process{
		{Name: etcd, Args: []string{
			"--data-dir", rig.Dir(l.state.Name, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", "http://127.0.0.1:2380",
		}},
		{Name: apiServer, Args: server},
		{Name: controllerManager, Args: []string{
			"--kubeconfig", l.pki("admin.conf"), "--cloud-provider", "external", "--leader-elect=false",
			"--service-account-private-key-file", l.pki("accounts.key"), "--root-ca-file", l.pki("ca.crt"),
			// Each node has the prefixes of its pods from the start.
			"--controllers", "*,-node-ipam-controller",
			"--node-monitor-period", "2s", "--node-monitor-grace-period", "16s",
			"--concurrent-service-endpoint-syncs", "10", "--kube-api-qps", "500", "--kube-api-burst", "1000",
		}},
		{Name: scheduler, Args: []string{
			"--kubeconfig", l.pki("scheduler.conf"), "--authentication-kubeconfig", l.pki("scheduler.conf"),
			"--authorization-kubeconfig", l.pki("scheduler.conf"), "--leader-elect=false",
		}},
	}
	for i, p := range processes {
		processes[i].Host = ControlPlane
		processes[i].Args = append([]string{filepath.Join(l.state.Bin, p.Name)}, p.Args...)
	}
	if err := l.state.Update(func(s *rig.State) error { s.Processes = processes; return nil }); err != nil {
		return err
	}
	if err := l.startProcess(etcd); err != nil {
		return err
	}
	return l.startProcess(apiServer)
}

func (l *Lab) apiServerArgs(address netip.Addr, services []netip.Prefix) []string {
	ranges := services[0].String()
	for _, p := range services[1:] {
		ranges += "," + p.String()
	}
	return []string{
		"--etcd-servers", "http://127.0.0.1:2379", "--secure-port", "6443",
		"--bind-address", "::", "--advertise-address", address.String(),
		"--tls-cert-file", l.pki("apiserver.crt"), "--tls-private-key-file", l.pki("apiserver.key"),
		"--service-cluster-ip-range", ranges,
		// Room for the node ports of 10,000 Services, clear of the kubelet's own
		// and of those that clients connect from.
		"--service-node-port-range", "10300-32767",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", l.pki("accounts.key"), "--service-account-signing-key-file", l.pki("accounts.key"),
		"--token-auth-file", l.pki("tokens.csv"), "--authorization-mode", "Node,RBAC",
		"--enable-admission-plugins", "NodeRestriction", "--allow-privileged=true",
		"--kubelet-preferred-address-types", "InternalIP",
		"--default-not-ready-toleration-seconds", "10", "--default-unreachable-toleration-seconds", "10",
		"--v", "1",
	}
}

func (l *Lab) startProcess(name string) error {
	p, err := l.state.Process(name)
	if err != nil {
		return err
	}
	return l.state.Start(p)
}

// StopAPIServer ends the API server at once, as a crash would, and with it the
// programs that go by what they saw of it: where they elect a leader, as they do
// by default, they end when they could not reach it for ten seconds. Left
// running they would come back with a view as old as the outage, and call all
// nodes unreachable and all pods unready.
func (l *Lab) StopAPIServer(ctx context.Context) error {
	for _, name := range []string{apiServer, controllerManager, scheduler} {
		if err := l.state.UnitGroup(name).Kill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// StartAPIServer starts what StopAPIServer ended, and returns when the API server
// is ready.
func (l *Lab) StartAPIServer(ctx context.Context) error {
	if err := l.startProcess(apiServer); err != nil {
		return err
	}
	if err := l.waitAPIServer(ctx); err != nil {
		return err
	}
	return l.startControllers()
}

// startControllers starts what needs an API server that is ready.
func (l *Lab) startControllers() error {
	for _, name := range []string{controllerManager, scheduler} {
		if err := l.startProcess(name); err != nil {
			return err
		}
	}
	return nil
}

// FreezeEtcd stops etcd where it stands, so that the API server waits for it.
func (l *Lab) FreezeEtcd(ctx context.Context) error {
	return l.state.UnitGroup(etcd).Freeze(ctx)
}

// ThawEtcd undoes FreezeEtcd.
func (l *Lab) ThawEtcd() error { return l.state.UnitGroup(etcd).Thaw() }

// KillControlPlane sends a signal to a program of the control plane, such as
// kube-scheduler. It does not come back by itself.
func (l *Lab) KillControlPlane(name string, sig unix.Signal) error {
	if _, err := l.state.Process(name); err != nil {
		return err
	}
	_, err := l.state.UnitGroup(name).Signal(sig, func(int) bool { return true })
	return err
}
