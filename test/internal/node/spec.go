package node

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// Spec is everything a node needs to know to boot.
type Spec struct {
	Name      string
	Namespace string // network namespace
	Group     cgroup.Group
	Dir       string // its disk, and this spec
	Bin       string // the cluster's programs
	Images    string // image archives, imported at boot

	Addresses    []netip.Addr   // of the node itself, the primary family first
	PodCIDRs     []netip.Prefix // of the node's own pods
	ClusterCIDRs []netip.Prefix // of all pods
	Gateway      netip.Addr
	Kubeconfig   string // content
	ProxyConfig  string // content of kube-proxy's kubeconfig
	Provider     string // the kubelet's --cloud-provider
	MachineID    string
}

const specFile = "node.json"

// Write writes the spec into the node's directory, where Load finds it.
func (s *Spec) Write() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, specFile), b, 0o600)
}

// Load reads the spec of the node whose directory it is.
func Load(dir string) (*Spec, error) {
	b, err := os.ReadFile(filepath.Join(dir, specFile))
	if err != nil {
		return nil, err
	}
	s := new(Spec)
	return s, json.Unmarshal(b, s)
}

// BootLog is where the output of the node's own start goes.
func (s *Spec) BootLog() string { return filepath.Join(s.Dir, "boot.log") }

// Log is where the output of one of the node's daemons goes, as seen from
// outside the node.
func (s *Spec) Log(daemon string) string {
	return filepath.Join(s.Dir, "var", "log", daemon+".log")
}

// Release lets a node that boots for the first time start its kubelet and
// kube-proxy: before the API server answers, they would only wait longer and
// longer between tries.
func (s *Spec) Release() error {
	return os.WriteFile(filepath.Join(s.Dir, "var", released), nil, 0o600)
}

// released is in the node's /var.
const released = "lib/released"
