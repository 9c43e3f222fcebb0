package node

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCNIConfig(t *testing.T) {
	got, err := cniConfig([]netip.Prefix{netip.MustParsePrefix("10.244.11.0/24"), netip.MustParsePrefix("fd44:0:0:11::/64")})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"cniVersion":"1.0.0","name":"lab","plugins":[` +
		`{"ipMasq":false,"ipam":{"dataDir":"/run/cni-ipam","ranges":[[{"subnet":"10.244.11.0/24"}],[{"subnet":"fd44:0:0:11::/64"}]],` +
		`"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],"type":"host-local"},"mtu":1500,"type":"ptp"},` +
		`{"capabilities":{"portMappings":true},"type":"portmap"}]}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestArgs(t *testing.T) {
	s := &Spec{
		Name:         "n1",
		Addresses:    []netip.Addr{netip.MustParseAddr("192.168.31.11"), netip.MustParseAddr("fd31::11")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/48")},
	}
	kubelet := kubeletArgs(s)
	if !slices.Contains(kubelet, "192.168.31.11,fd31::11") || slices.Contains(kubelet, "--cloud-provider") {
		t.Errorf("kubelet %v", kubelet)
	}
	s.Provider = "external"
	if kubelet = kubeletArgs(s); kubelet[len(kubelet)-1] != "external" {
		t.Errorf("kubelet %v", kubelet)
	}
	if proxy := proxyArgs(s); !slices.Contains(proxy, "10.244.0.0/16,fd44::/48") {
		t.Errorf("kube-proxy %v", proxy)
	}
}
