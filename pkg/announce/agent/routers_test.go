package agent

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// fakeBGP stands for the speaker.
type fakeBGP struct {
	mu       sync.Mutex // guards the fields below
	applied  []applied
	sessions []Session
	asked    int
}

type applied struct {
	at  time.Time
	all map[string]announce.PeerRoutes
}

func (f *fakeBGP) Apply(all map[string]announce.PeerRoutes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = append(f.applied, applied{time.Now(), all})
}

func (f *fakeBGP) Settled() bool { return true }

func (f *fakeBGP) NextHops(peers []config.Peer) map[string]announce.NextHops {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	out := map[string]announce.NextHops{}
	for _, p := range peers {
		out[p.Name] = announce.NextHops{IPv4: netip.MustParseAddr("10.0.0.1")}
	}
	return out
}

func (f *fakeBGP) Sessions() []Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions
}

func (f *fakeBGP) set(a *Agent, s ...Session) {
	f.mu.Lock()
	f.sessions = s
	f.mu.Unlock()
	a.Wake()
}

// text says what routers are told at the moment, such as "tor: 192.0.2.1/32
// leaving".
func (f *fakeBGP) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.applied) == 0 {
		return "nothing was said"
	}
	return f.applied[len(f.applied)-1].text()
}

func (a applied) text() string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(a.all)) {
		line := name + ":"
		for _, r := range a.all[name].Routes {
			line += " " + r.Prefix.String()
			if r.Leaving {
				line += " leaving"
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// bgpCluster has a Service on both nodes, and one on this node alone.
func bgpCluster(t *testing.T, change func(map[string]announce.Node)) *announce.Cluster {
	t.Helper()
	c, err := config.Parse([]byte(`
peers:
- {name: gr, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.254}
- {name: tor, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.253}
address-pools:
- {name: p, protocol: bgp, addresses: [192.0.2.0/24]}
`))
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]announce.Node{self: {Name: self}, other: {Name: other}}
	if change != nil {
		change(nodes)
	}
	return &announce.Cluster{
		Freshness: announce.Live, Config: c, Nodes: nodes,
		Services: []announce.Service{
			{Name: "shop/both", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Ready: true},
			{Name: "shop/here", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Ready: true, Local: true, ReadyNodes: []string{self}},
		},
	}
}

func cordon(nodes map[string]announce.Node) {
	nodes[self] = announce.Node{Name: self, Unschedulable: true}
}

const (
	allRoutes = "gr: 192.0.2.1/32 192.0.2.2/32; tor: 192.0.2.1/32 192.0.2.2/32"
	leaving   = "gr: 192.0.2.1/32 leaving 192.0.2.2/32; tor: 192.0.2.1/32 leaving 192.0.2.2/32"
	left      = "gr: 192.0.2.2/32; tor: 192.0.2.2/32"
)

func up(name string) Session { return Session{Peer: name, State: "established", Up: true} }

// startBGP returns an agent that announces all there is.
func startBGP(t *testing.T) (*Agent, *fakes, func()) {
	t.Helper()
	a, f, stop := start(t)
	a.SetLinks(links)
	a.SetCluster(bgpCluster(t, nil))
	synctest.Wait()
	if got := f.bgp.text(); got != "nothing was said" {
		t.Errorf("before the node is ready: %s", got)
	}
	a.SetMembers(members(alive()))
	settle()
	if got := f.bgp.text(); got != allRoutes {
		t.Errorf("announced: %s", got)
	}
	return a, f, stop
}

func TestCordonTakesRoutesAwayInTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := startBGP(t)
		defer stop()
		n := len(f.bgp.applied)
		a.SetCluster(bgpCluster(t, cordon))
		time.Sleep(shutdownWait - 10*time.Millisecond)
		synctest.Wait()
		if got := f.bgp.text(); got != leaving {
			t.Errorf("at first: %s", got)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if got := f.bgp.text(); got != left {
			t.Errorf("then: %s", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := f.bgp.text(); got != left || len(f.bgp.applied) != n+2 {
			t.Errorf("later: %s, after %d calls", got, len(f.bgp.applied)-n)
		}
		a.SetCluster(bgpCluster(t, nil))
		settle()
		if got := f.bgp.text(); got != allRoutes {
			t.Errorf("after uncordon: %s", got)
		}
		if f.bgp.asked > 4 {
			t.Errorf("asked for next hops %d times", f.bgp.asked)
		}
	})
}

func TestStopDrainsRoutes(t *testing.T) {
	const gr = "gr: 192.0.2.1/32 192.0.2.2/32; tor: 192.0.2.1/32 leaving 192.0.2.2/32"
	for name, c := range map[string]struct {
		sessions []Session
		cordoned bool
		want     []string
	}{
		"routers forget":     {[]Session{up("gr"), up("tor")}, false, []string{leaving, left}},
		"a router keeps":     {[]Session{{Peer: "gr", Up: true, GracefulRestart: true}, up("tor")}, false, []string{gr, "gr: 192.0.2.1/32 192.0.2.2/32; tor: 192.0.2.2/32"}},
		"but watches by BFD": {[]Session{{Peer: "gr", Up: true, GracefulRestart: true, BFD: "up"}, up("tor")}, false, []string{leaving, left}},
		"is not there":       {[]Session{{Peer: "gr", GracefulRestart: true}, up("tor")}, false, []string{leaving, left}},
		"cordoned before":    {[]Session{{Peer: "gr", Up: true, GracefulRestart: true}, up("tor")}, true, []string{left}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, f, stop := startBGP(t)
				f.bgp.set(a, c.sessions...)
				if c.cordoned {
					a.SetCluster(bgpCluster(t, cordon))
					time.Sleep(shutdownWait)
				}
				settle()
				n, began := len(f.bgp.applied), time.Now()
				stop()
				if took := time.Since(began); took > drainPatience/2+time.Second || took < linger && !c.cordoned {
					t.Errorf("stopping took %v", took)
				}
				var got []string
				for _, a := range f.bgp.applied[n:] {
					got = append(got, a.text())
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("said (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Over a session that has nothing to say any more the router is told goodbye,
// so that it does not wait for a restart.
func TestStopEndsEmptySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := startBGP(t)
		c := bgpCluster(t, nil)
		c.Services = c.Services[:1]
		a.SetCluster(c)
		settle()
		stop()
		if got := f.bgp.text(); got != "" {
			t.Errorf("at last: %s", got)
		}
	})
}

func TestNewsOfSessions(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	down := Session{Peer: "tor", Reason: "no answer"}
	for name, c := range map[string]struct {
		at   []time.Duration
		seen []Session
		want []string
	}{
		"up":                      {[]time.Duration{0, time.Hour}, []Session{up("tor"), up("tor")}, []string{"0s BGPSessionUp"}},
		"never up":                {[]time.Duration{0, 14 * time.Second, 15 * time.Second, time.Hour}, []Session{down, down, down, down}, []string{"15s BGPSessionDown"}},
		"late":                    {[]time.Duration{0, 14 * time.Second}, []Session{down, up("tor")}, []string{"14s BGPSessionUp"}},
		"down":                    {[]time.Duration{0, time.Hour}, []Session{up("tor"), down}, []string{"0s BGPSessionUp", "1h0m0s BGPSessionDown"}},
		"flaps":                   {[]time.Duration{0, time.Second, 2 * time.Second, 2 * time.Minute}, []Session{up("tor"), down, up("tor"), up("tor")}, []string{"0s BGPSessionUp"}},
		"down soon, and so stays": {[]time.Duration{0, time.Second, 59 * time.Second, time.Minute}, []Session{up("tor"), down, down, down}, []string{"0s BGPSessionUp", "1m0s BGPSessionDown"}},
	} {
		t.Run(name, func(t *testing.T) {
			var n news
			var got []string
			for i, at := range c.at {
				for _, notice := range n.take(start.Add(at), c.seen[i:i+1]) {
					got = append(got, at.String()+" "+notice.Reason)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("news (-want +got):\n%s", diff)
			}
			if n.take(start, nil); len(n.sessions) != 0 {
				t.Error("a session that is gone is not forgotten")
			}
		})
	}
}

func TestStatusShowsRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := startBGP(t)
		defer stop()
		c := bgpCluster(t, nil)
		c.Config.Peers[1].PasswordSecret = "key"
		c.Passwords = map[string]announce.Password{"key": {Problem: "there is no Secret key"}}
		a.SetCluster(c)
		f.bgp.set(a, up("gr"))
		settle()
		peers := a.Status().Peers
		if len(peers) != 2 || peers[0].State != "established" || len(peers[0].Routes) != 2 {
			t.Fatalf("%+v", peers)
		}
		if peers[1].State != "held" || peers[1].Reason != "there is no Secret key" {
			t.Errorf("%+v", peers[1])
		}
	})
}
