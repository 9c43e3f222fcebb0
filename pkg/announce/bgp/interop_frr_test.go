package bgp

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/herald-lb/herald/pkg/announce/bgp/bgptest"
	"github.com/herald-lb/herald/pkg/config"
)

// testLog collects the Speaker's log for a test.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// running is a Speaker that runs until the test ends.
type running struct {
	*Speaker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	history []Status
}

func start(t *testing.T) *running {
	r := &running{t: t, done: make(chan struct{})}
	r.Speaker = New(Options{Logger: testLog(t), Notify: func(s Status) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.history = append(r.history, s)
	}})
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(r.done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

func (r *running) status(name string) Status {
	for _, s := range r.Statuses() {
		if s.Peer == name {
			return s
		}
	}
	return Status{}
}

func (r *running) waitFor(name string, state State, within time.Duration) Status {
	r.t.Helper()
	var last Status
	bgptest.Eventually(r.t, within, name+" becomes "+state.String(), func() error {
		if last = r.status(name); last.State != state {
			return fmt.Errorf("it is %s: %s", last.State, last.Reason)
		}
		return nil
	})
	return last
}

const frrBase = `
hostname %[1]s
log timestamp precision 3
router bgp %[2]d
 bgp router-id 10.255.0.%[3]d
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp bestpath as-path multipath-relax
 timers bgp 3 9
`

// frrNeighbor is a neighbour for both families.
func frrNeighbor(addr string, asn uint32, more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, " neighbor %s remote-as %d\n neighbor %s passive\n", addr, asn, addr)
	for _, m := range more {
		fmt.Fprintf(&b, " neighbor %s %s\n", addr, m)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n  neighbor %s activate\n exit-address-family\n", family, addr)
	}
	return b.String()
}

// frrRoute is a path of "show bgp … json".
type frrRoute struct {
	Prefix    string
	NextHops  []string
	Path      string
	LocalPref uint32
	Community string
	Large     string
	Stale     bool
}

func frrRoutes(t *testing.T, r *bgptest.Router, family string) map[string]frrRoute {
	t.Helper()
	var table struct {
		Routes map[string][]struct {
			Path     string `json:"path"`
			LocPrf   uint32 `json:"locPrf"`
			Stale    bool   `json:"stale"`
			NextHops []struct {
				IP   string `json:"ip"`
				Used bool   `json:"used"`
			} `json:"nexthops"`
		} `json:"routes"`
	}
	out := r.Vtysh("show bgp " + family + " unicast json")
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	routes := map[string]frrRoute{}
	for prefix, paths := range table.Routes {
		route := frrRoute{Prefix: prefix, Path: paths[0].Path, LocalPref: paths[0].LocPrf, Stale: paths[0].Stale}
		for _, p := range paths {
			for _, nh := range p.NextHops {
				if nh.Used || len(p.NextHops) == 1 {
					route.NextHops = append(route.NextHops, nh.IP)
				}
			}
		}
		slices.Sort(route.NextHops)
		routes[prefix] = route
	}
	return routes
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func route4(p string) Route {
	return Route{Prefix: prefix(p), NextHop: addr("10.1.0.1"), LocalPref: 100}
}

func TestFRRSession(t *testing.T) {
	bgptest.Run(t, testFRRSession, bgptest.FRR...)
}

func testFRRSession(t *testing.T) {
	r := bgptest.NewRouter(t, "rt1", bgptest.Link{Node: []string{"10.1.0.1/24", "2001:db8:1::1/64"}, Router: []string{"10.1.0.2/24", "2001:db8:1::2/64"}})
	r.StartFRR(fmt.Sprintf(frrBase, "rt1", 65000, 1) + frrNeighbor("10.1.0.1", 64512))
	s := start(t)
	p := Peer{LocalASN: 64512, PeerASN: 65000, Address: addr("10.1.0.2"), Port: 179, RouterID: addr("10.1.0.1"), HoldTime: 9 * time.Second, RestartTime: 120 * time.Second}
	began := time.Now()
	s.Apply(map[string]Desired{"rt1": {Peer: p, Routes: []Route{
		{Prefix: prefix("192.0.2.1/32"), NextHop: addr("10.1.0.1"), Communities: []config.Community{64512<<16 | 1}},
		{Prefix: prefix("2001:db8:ffff::1/128"), NextHop: addr("2001:db8:1::1")},
	}}})
	st := s.waitFor("rt1", Established, 20*time.Second)
	t.Logf("up after %s: %+v", time.Since(began), st)
	bgptest.Eventually(t, 5*time.Second, "routes", func() error {
		if v4, v6 := frrRoutes(t, r, "ipv4"), frrRoutes(t, r, "ipv6"); len(v4) != 1 || len(v6) != 1 {
			return fmt.Errorf("%v %v", v4, v6)
		}
		return nil
	})
	t.Log(frrRoutes(t, r, "ipv4"), frrRoutes(t, r, "ipv6"))
	t.Log(r.Vtysh("show bgp ipv4 unicast 192.0.2.1/32"))
	t.Log(r.IP("route", "show", "proto", "bgp"))
	t.Log(r.IP("-6", "route", "show", "proto", "bgp"))
}
