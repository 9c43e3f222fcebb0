package lab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/herald-lb/herald/test/internal/node"
	"github.com/herald-lb/herald/test/internal/rig"
)

// Nodes lists the names of the lab's nodes, n1 first.
func (l *Lab) Nodes() []string {
	var names []string
	for _, h := range l.state.Hosts {
		if h.Node {
			names = append(names, h.Name)
		}
	}
	return names
}

// node finds a node's host.
func (l *Lab) node(name string) (rig.Host, error) {
	h, err := l.state.Host(name)
	if err == nil && !h.Node {
		err = fmt.Errorf("host %q is no node: the nodes are %s", name, strings.Join(l.Nodes(), ", "))
	}
	return h, err
}

// firstBoot writes a node's spec and boots it.
func (l *Lab) firstBoot(ctx context.Context, name string, provider CloudProvider) error {
	h, err := l.node(name)
	if err != nil {
		return err
	}
	router, err := l.state.Host(Router)
	if err != nil {
		return err
	}
	spec := l.spec(name)
	spec.Namespace, spec.Group, spec.Bin = l.state.Namespace(name), l.state.UnitGroup(name), l.state.Bin
	spec.Images = rig.Dir(l.state.Name, "images")
	spec.Addresses, spec.PodCIDRs = hostAddresses(h), podCIDRs(h)
	spec.ClusterCIDRs = l.families(pods4, pods6)
	spec.Gateway = hostAddresses(router)[0]
	spec.Provider = string(provider)
	spec.MachineID = fmt.Sprintf("%032x", h.IPv6.Addr().As16())
	if spec.Kubeconfig, err = l.kubeconfig(userNode + name); err != nil {
		return err
	}
	if spec.ProxyConfig, err = l.kubeconfig(userProxy); err != nil {
		return err
	}
	if err := spec.Write(); err != nil {
		return err
	}
	return l.boot(ctx, name)
}

// boot starts a node's first process.
func (l *Lab) boot(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, l.state.Helper(), "boot", l.spec(name).Dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("boot node %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// WaitNodesReady waits until the nodes are Ready and their kube-proxies have
// put the cluster's Services into effect.
func (l *Lab) WaitNodesReady(ctx context.Context, names ...string) error {
	var logs []string
	for _, name := range names {
		logs = append(logs, l.spec(name).BootLog(), l.spec(name).Log("kube-proxy"), l.spec(name).Log("kubelet"))
	}
	return l.WaitFor(ctx, Wait{
		What: "nodes " + strings.Join(names, ", ") + " to be Ready", Timeout: 4 * time.Minute, Logs: logs,
		Done: func(ctx context.Context) (bool, string) {
			for _, name := range names {
				ok, seen := l.nodeReady(ctx, name)
				if ok {
					ok, seen = l.proxyReady(ctx, name)
				}
				if !ok {
					return false, name + ": " + seen
				}
			}
			return true, ""
		},
	})
}

// WaitNodeNotReady waits until the control plane has noticed that a node is
// gone.
func (l *Lab) WaitNodeNotReady(ctx context.Context, name string) error {
	return l.WaitFor(ctx, Wait{
		What: "node " + name + " not to be Ready any more", Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			ok, seen := l.nodeReady(ctx, name)
			return !ok && seen != "", "Ready"
		},
	})
}

func (l *Lab) nodeReady(ctx context.Context, name string) (ok bool, seen string) {
	n, err := l.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return false, err.Error()
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue, c.Message
		}
	}
	return false, "no status yet"
}

// proxyReady asks a node's kube-proxy whether it is in step.
func (l *Lab) proxyReady(ctx context.Context, name string) (ok bool, seen string) {
	h, err := l.node(name)
	if err != nil {
		return false, err.Error()
	}
	const healthPort = 10256
	_, err = l.Get(ctx, ControlPlane, "http://"+netip.AddrPortFrom(hostAddresses(h)[0], healthPort).String()+"/healthz")
	if err != nil {
		return false, "kube-proxy: " + err.Error()
	}
	return true, ""
}

// NodeCommand returns a command that runs inside a node: in its namespaces, with
// its disk, and with the cluster's programs in its PATH. It ends with the node's
// power, but goes on when the node is frozen.
func (l *Lab) NodeCommand(ctx context.Context, name string, argv ...string) (*exec.Cmd, error) {
	if _, err := l.node(name); err != nil {
		return nil, err
	}
	pid, err := l.initPid(name)
	if err != nil {
		return nil, err
	}
	enter := []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--"}
	cmd, err := l.state.Command(ctx, name, append(enter, argv...)...)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(os.Environ(), "PATH="+node.Path)
	return cmd, nil
}

// NodeExec runs a command inside a node and returns what it printed.
func (l *Lab) NodeExec(ctx context.Context, name string, argv ...string) (string, error) {
	cmd, err := l.NodeCommand(ctx, name, argv...)
	if err != nil {
		return "", err
	}
	return output(cmd, name)
}

// initPid is the process id of a node's first process, as this machine sees it.
func (l *Lab) initPid(name string) (int, error) {
	pids, err := l.state.UnitGroup(name).Pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err == nil && isInit(string(status)) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("node %s is not on", name)
}

// isInit tells a node's first process by its ids: the machine's, and 1 in the
// node. The first process of a pod has a third.
func isInit(status string) bool {
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return len(fields) == 2 && fields[1] == "1"
		}
	}
	return false
}

// Load gives an image to every node: to those that are off, when they are next
// on.
func (l *Lab) Load(ctx context.Context, archive string) error {
	name := filepath.Base(archive)
	if err := copyFile(archive, rig.Dir(l.state.Name, "images", name), 0o600); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range l.Nodes() {
		group.Go(func() error {
			// A mark of an earlier archive of that name would hide this one.
			mark := filepath.Join(l.spec(n).Dir, "var", "lib", node.ImportMark(name))
			if err := os.RemoveAll(mark); err != nil {
				return err
			}
			if running, err := l.state.Running(n); err != nil || !running {
				return err
			}
			_, err := l.NodeExec(ctx, n, "/run/lab/bin/ctr", "-n", "k8s.io", "images", "import", "/run/lab/images/"+name)
			if err != nil {
				return err
			}
			return os.WriteFile(mark, nil, 0o600)
		})
	}
	return group.Wait()
}

// NodeAddresses are a node's addresses on the LAN, the primary family first.
func (l *Lab) NodeAddresses(name string) ([]netip.Addr, error) {
	h, err := l.node(name)
	return hostAddresses(h), err
}
