package lab

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/test/internal/rig"
)

var (
	asker = net.HardwareAddr{2, 0, 0, 0x31, 0, 0x64}
	owner = net.HardwareAddr{2, 0, 0, 0x31, 0, 0x0b}
)

// arpReply is the frame by which the owner answers for an address.
func arpReply(t *testing.T, address string) []byte {
	t.Helper()
	p, err := arp.NewPacket(arp.OperationReply, owner, netip.MustParseAddr(address), asker, netip.MustParseAddr("192.168.31.100"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return frame(t, ethernet.EtherTypeARP, payload)
}

func advertisementOf(t *testing.T, address string, options ...ndp.Option) []byte {
	t.Helper()
	a, to := netip.MustParseAddr(address), netip.MustParseAddr("fd31::100")
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Solicited: true, TargetAddress: a, Options: options}, a, to)
	if err != nil {
		t.Fatal(err)
	}
	return frame(t, ethernet.EtherTypeIPv6, append(ipv6Header(a, to, len(message)), message...))
}

func frame(t *testing.T, kind ethernet.EtherType, payload []byte) []byte {
	t.Helper()
	b, err := (&ethernet.Frame{Source: owner, Destination: asker, EtherType: kind, Payload: payload}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswerIn(t *testing.T) {
	question := func(from, to string) []byte {
		b, err := ask(asker, netip.MustParseAddr(from), netip.MustParseAddr(to))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	other := net.HardwareAddr{2, 9, 9, 9, 9, 9}
	for _, tt := range []struct {
		name, address string
		frame         []byte
		want          net.HardwareAddr
	}{
		{"ARP", "192.168.31.11", arpReply(t, "192.168.31.11"), owner},
		{"ARP for another address", "192.168.31.12", arpReply(t, "192.168.31.11"), nil},
		{"the question itself", "192.168.31.11", question("192.168.31.100", "192.168.31.11"), nil},
		{"NDP without option", "fd31::11", advertisementOf(t, "fd31::11"), owner},
		{"NDP with option", "fd31::11", advertisementOf(t, "fd31::11", &ndp.LinkLayerAddress{Direction: ndp.Target, Addr: other}), other},
		{"NDP for another address", "fd31::12", advertisementOf(t, "fd31::11"), nil},
		{"the NDP question itself", "fd31::11", question("fd31::100", "fd31::11"), nil},
		{"cut short", "fd31::11", advertisementOf(t, "fd31::11")[:40], nil},
		{"nothing", "fd31::11", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := answerIn(tt.frame, netip.MustParseAddr(tt.address))
			if ok != (tt.want != nil) || ok && got != announce.MAC(tt.want) {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
}

func TestIsInit(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tlabhelper\nNSpid:\t4711\t1\n":   true,
		"Name:\tcontainerd\nNSpid:\t4712\t6\n":  false,
		"Name:\tpause\nNSpid:\t4713\t60\t1\n":   false,
		"Name:\tetcd\nNSpid:\t1\n":              false,
		"Name:\tsomething without namespaces\n": false,
	} {
		if got := isInit(status); got != want {
			t.Errorf("isInit(%q) = %v", status, got)
		}
	}
}

func TestPodCIDRs(t *testing.T) {
	l := newLab(&rig.State{}, new(bytes.Buffer))
	h := l.hostAt("n2", 12)
	got := podCIDRs(h)
	if len(got) != 2 || got[0].String() != "10.244.12.0/24" || got[1].String() != "fd44:0:0:12::/64" {
		t.Errorf("prefixes of %v: %v", h, got)
	}
	l.state.IPv6Only = true
	if got := podCIDRs(l.hostAt("n2", 12)); len(got) != 1 || got[0].String() != "fd44:0:0:12::/64" {
		t.Errorf("prefixes of an IPv6-only node: %v", got)
	}
}

func TestWaitForSaysWhatItSaw(t *testing.T) {
	log := filepath.Join(t.TempDir(), "kubelet.log")
	if err := os.WriteFile(log, []byte("first\nlast words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLab(&rig.State{}, new(bytes.Buffer))
	err := l.WaitFor(t.Context(), Wait{
		What: "pigs to fly", Timeout: 150 * time.Millisecond, Logs: []string{log},
		Done: func(context.Context) (bool, string) { return false, "no wings" },
	})
	for _, want := range []string{"pigs to fly", "not within 150ms", "no wings", "last words"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	err = l.WaitFor(ctx, Wait{What: "x", Timeout: time.Minute, Done: func(context.Context) (bool, string) { return false, "" }})
	if !errors.Is(err, stop) {
		t.Errorf("error = %v, want the reason why the context ended", err)
	}
}
