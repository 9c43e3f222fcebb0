package router_test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/router"
)

const frrConfig = `
router bgp 64512
 bgp router-id 192.168.31.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 192.168.31.101 remote-as 64513
 neighbor 192.168.31.101 bfd
 address-family ipv4 unicast
  neighbor 192.168.31.101 activate
 exit-address-family
exit
bfd
 peer 192.168.31.101
  receive-interval 200
  transmit-interval 200
 exit
exit
`

const birdConfig = `
router id 192.168.31.101;
protocol device {}
protocol static { ipv4; route 198.51.100.7/32 unreachable; }
protocol kernel { ipv4 { export none; }; }
protocol bfd { interface "eth0" { min rx interval 200 ms; min tx interval 200 ms; }; }
protocol bgp frr {
	local 192.168.31.101 as 64513;
	neighbor 192.168.31.1 as 64512;
	bfd on;
	connect delay time 1; connect retry time 1; error wait time 1, 2;
	ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
`

// TestRouters lets FRR and BIRD speak with each other, by BGP and BFD.
func TestRouters(t *testing.T) {
	if testing.Short() {
		t.Skip("brings up a cluster: not in short mode")
	}
	if err := lab.Preflight(); err != nil {
		t.Skip(err)
	}
	l, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprintf("t%d-rt", os.Getpid()%100000), Nodes: 1, Progress: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := l.AddHost("peer"); err != nil {
		t.Fatal(err)
	}
	if a, err := l.Address("peer", netip.IPv4Unspecified()); err != nil || a.String() != "192.168.31.101" {
		t.Fatalf("address of peer: %v, %v", a, err)
	}
	f, err := router.StartFRR(t.Context(), l, lab.Router, frrConfig)
	if err != nil {
		t.Fatal(err)
	}
	b, err := router.StartBIRD(t.Context(), l, "peer", birdConfig)
	if err != nil {
		t.Fatal(err)
	}
	waitKernelRoute(t, l, "198.51.100.7")
	waitBFD(t, l, f)

	if err := b.Configure(t.Context(), strings.Replace(birdConfig, "198.51.100.7", "198.51.100.8", 1)); err != nil {
		t.Fatal(err)
	}
	waitKernelRoute(t, l, "198.51.100.8")
	if err := b.Configure(t.Context(), "nonsense"); err == nil {
		t.Error("BIRD took nonsense")
	}
	if err := f.Configure(t.Context(), "nonsense\n"); err == nil {
		t.Error("FRR took nonsense")
	}
	if err := b.Daemon().Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitKernelRoute(t, l, "")
	if err := b.Daemon().Thaw(); err != nil {
		t.Fatal(err)
	}
	waitKernelRoute(t, l, "198.51.100.8")
	if err := b.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// waitKernelRoute waits until all that the router's kernel has by BGP is a route
// to this address, or nothing.
func waitKernelRoute(t *testing.T, l *lab.Lab, address string) {
	t.Helper()
	err := l.WaitFor(t.Context(), lab.Wait{
		What: "the only BGP route to be to " + cmp.Or(address, "nowhere"), Timeout: 40 * time.Second,
		Done: func(ctx context.Context) (bool, string) {
			out, err := l.Exec(ctx, lab.Router, "ip", "route", "show", "proto", "bgp")
			to, _, _ := strings.Cut(out, " ")
			return err == nil && to == address, fmt.Sprint(out, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func waitBFD(t *testing.T, l *lab.Lab, f *router.FRR) {
	t.Helper()
	err := l.WaitFor(t.Context(), lab.Wait{
		What: "BFD to be up", Timeout: 20 * time.Second,
		Done: func(ctx context.Context) (bool, string) {
			var peers []struct{ Peer, Status string }
			if err := f.JSON(ctx, "show bfd peers json", &peers); err != nil {
				return false, err.Error()
			}
			return len(peers) == 1 && peers[0].Status == "up", fmt.Sprint(peers)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}
