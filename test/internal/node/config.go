package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

// The files of a node's configuration, in its own /etc.
const (
	containerdConfig = "/etc/containerd.toml"
	kubeletConfig    = "/etc/kubelet.yaml"
	kubeconfig       = "/etc/kubernetes/kubelet.conf"
	proxyKubeconfig  = "/etc/kubernetes/kube-proxy.conf"
)

// PauseImage holds the sandboxes of pods.
const PauseImage = "localhost/pause:1"

const containerdTOML = `version = 3
root = '/var/lib/containerd'
state = '/run/containerd'
oom_score = 0
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '` + PauseImage + `'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['` + binDir + `/cni']
    conf_dir = '/etc/cni/net.d'
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '%s'
        SystemdCgroup = false
`

const kubeletYAML = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
oomScoreAdj: 0
failSwapOn: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
resolvConf: /etc/resolv.conf
staticPodPath: /etc/kubernetes/manifests
volumePluginDir: /var/lib/kubelet/volume-plugins
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 4s
`

// writeConfig writes the node's configuration files.
func writeConfig(s *Spec) error {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	cni, err := cniConfig(s.PodCIDRs)
	if err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for _, a := range s.Addresses {
		hosts += fmt.Sprintf("%v %s\n", a, s.Name)
	}
	for _, f := range []struct{ path, content string }{
		{"/etc/hosts", hosts},
		{"/etc/resolv.conf", fmt.Sprintf("nameserver %v\n", s.Gateway)},
		{"/etc/machine-id", s.MachineID + "\n"},
		{"/etc/cni/net.d/10-lab.conflist", cni},
		{containerdConfig, fmt.Sprintf(containerdTOML, runc)},
		{kubeletConfig, kubeletYAML},
		{kubeconfig, s.Kubeconfig},
		{proxyKubeconfig, s.ProxyConfig},
	} {
		// It may be a link into a directory that the node does not have.
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(f.path, []byte(f.content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// cniConfig connects pods by a point-to-point link each.
func cniConfig(podCIDRs []netip.Prefix) (string, error) {
	type object = map[string]any
	var routes []object
	var ranges [][]object
	for _, p := range podCIDRs {
		ranges = append(ranges, []object{{"subnet": p.String()}})
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if p.Addr().Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, object{"dst": all.String()})
	}
	b, err := json.Marshal(object{"cniVersion": "1.0.0", "name": "lab", "plugins": []object{
		{"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": object{"type": "host-local", "dataDir": "/run/cni-ipam", "routes": routes, "ranges": ranges}},
		{"type": "portmap", "capabilities": object{"portMappings": true}},
	}})
	return string(b), err
}

func kubeletArgs(s *Spec) []string {
	args := []string{
		"--config", kubeletConfig, "--kubeconfig", kubeconfig,
		"--hostname-override", s.Name, "--node-ip", join(s.Addresses), "--v", "2",
	}
	if s.Provider != "" {
		args = append(args, "--cloud-provider", s.Provider)
	}
	return args
}

func proxyArgs(s *Spec) []string {
	return []string{
		"--kubeconfig", proxyKubeconfig, "--hostname-override", s.Name,
		"--proxy-mode", "nftables", "--cluster-cidr", join(s.ClusterCIDRs), "--nodeport-addresses", "primary",
		// These are the whole machine's: leave them as they are.
		"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0",
	}
}

func join[T fmt.Stringer](values []T) string {
	var s []string
	for _, v := range values {
		s = append(s, v.String())
	}
	return strings.Join(s, ",")
}
