package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakes stand for the speakers, the membership and the API server. The agent
// calls them from its one goroutine; tests read them after synctest.Wait.
type fakes struct {
	desired   []Desired
	owned     atomic.Pointer[[]netip.Addr]
	published []Local
	notices   []Notice

	readyAt, claimedAt time.Time // the first times

	bgp fakeBGP
}

func (f *fakes) Apply(d Desired) {
	f.desired = append(f.desired, d)
	if f.claimedAt.IsZero() && slices.ContainsFunc(d.Addresses, func(a Address) bool { return a.Mine() }) {
		f.claimedAt = time.Now()
	}
}
func (f *fakes) Owned() []netip.Addr {
	if owned := f.owned.Load(); owned != nil {
		return *owned
	}
	return nil
}
func (f *fakes) own(addrs ...netip.Addr) { f.owned.Store(&addrs) }
func (f *fakes) Publish(l Local) {
	f.published = append(f.published, l)
	if f.readyAt.IsZero() && l.Ready {
		f.readyAt = time.Now()
	}
}
func (f *fakes) Record(n Notice) { f.notices = append(f.notices, n) }

func (f *fakes) last(t *testing.T) Desired {
	t.Helper()
	if len(f.desired) == 0 {
		t.Fatal("nothing was desired of the speaker")
	}
	return f.desired[len(f.desired)-1]
}

const (
	self  = "n1"
	other = "n2"
)

var (
	// Who is elected for an address follows from its hash: see the test below.
	mine   = netip.MustParseAddr("10.0.0.2")
	theirs = netip.MustParseAddr("10.0.0.7")
)

func TestFixtureAddressesBelongToWhomTheTestsThink(t *testing.T) {
	if !announce.Outranks(self, other, mine) || !announce.Outranks(other, self, theirs) {
		t.Error("choose other addresses for mine and theirs")
	}
}

func cluster(t *testing.T) *announce.Cluster {
	t.Helper()
	c, err := config.Parse([]byte("address-pools: [{name: lan, protocol: layer2, addresses: [10.0.0.0/24]}]"))
	if err != nil {
		t.Fatal(err)
	}
	return &announce.Cluster{
		Freshness: announce.Live, Config: c, Hash: [32]byte{1, 2, 3}, Generation: 7,
		Services: []announce.Service{
			{Name: "shop/api", UID: "u1", Addresses: []netip.Addr{theirs}, Ready: true},
			{Name: "shop/web", UID: "u2", Addresses: []netip.Addr{mine}, Ready: true},
		},
		Nodes: map[string]announce.Node{self: {Name: self}, other: {Name: other}},
	}
}

var links = []announce.Link{{Name: "eth0", Index: 2, MAC: announce.MAC{2, 0, 0, 0, 0, 1}, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}}

// members returns a view with this node and, if it is not nil, the other one.
func members(o *Member) Members {
	m := Members{All: map[string]Member{self: {Member: announce.Member{Name: self}, Alive: true}}, Others: 1}
	if o != nil {
		o.Name = other
		m.All[other] = *o
	}
	return m
}

func alive() *Member {
	return &Member{Member: announce.Member{Ready: true, Links: links}, Alive: true}
}

// start runs an agent in the bubble and returns a function that stops it.
func start(t *testing.T) (*Agent, *fakes, context.CancelFunc) {
	f := &fakes{}
	a := New(Options{
		Node: self, Layer2: f, BGP: &f.bgp, Membership: f, Recorder: f,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, f, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func settle() {
	time.Sleep(3*poll + settleAll + lead)
	synctest.Wait()
}

func owners(d Desired) map[string]string {
	out := map[string]string{}
	for _, a := range d.Addresses {
		out[a.Addr.String()] = a.Owner
	}
	return out
}

func TestJoinsOthersBeforeItClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		a.SetMembers(members(nil))
		a.SetCluster(&announce.Cluster{})
		settle()
		if len(f.desired) > 0 {
			t.Errorf("decided on an incomplete cluster: %+v", f.desired)
		}
		if err := a.Readiness(); err == nil || err.Error() != "waiting for the API server" {
			t.Errorf("readiness: %v", err)
		}
		a.SetCluster(cluster(t))
		a.SetLinks(links)
		settle()
		if diff := cmp.Diff(map[string]string{mine.String(): "", theirs.String(): ""}, owners(f.last(t))); diff != "" {
			t.Errorf("claimed before it joined (-want +got):\n%s", diff)
		}
		if f.published[len(f.published)-1].Ready {
			t.Error("told others that it is ready before it joined")
		}
		// Now the other one is seen. This node can't know for how long it has
		// had the address, and whether it made sure that nobody else does: so
		// the LAN is asked, where it answers if it has it.
		a.SetMembers(members(alive()))
		settle()
		d := f.last(t)
		if diff := cmp.Diff(map[string]string{mine.String(): self, theirs.String(): other}, owners(d)); diff != "" {
			t.Errorf("owners (-want +got):\n%s", diff)
		}
		if !f.published[len(f.published)-1].Ready || a.Readiness() != nil {
			t.Errorf("not ready: %v", a.Readiness())
		}
		if got := d.Addresses[0]; got.From != other || got.Predecessor != Nobody {
			t.Errorf("%s is taken from %q %v", got.Addr, got.From, got.Predecessor)
		}
	})
}

// TestSpeakerKnowsThePools: those whose questions it is to count, and no others.
func TestSpeakerKnowsThePools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		a.SetLinks(links)
		a.SetMembers(members(alive()))
		for document, want := range map[string][]string{
			"address-pools: [{name: lan, protocol: layer2, addresses: [10.0.0.0/24]}]": {"10.0.0.0-10.0.0.255"},
			`address-pools:
- {name: b, protocol: layer2, addresses: [10.0.2.0-10.0.2.9, "fd00::/120"]}
- {name: routed, protocol: bgp, addresses: [10.0.1.0/24]}
- {name: a, protocol: layer2, addresses: [10.0.0.7/32]}`: {"10.0.0.7-10.0.0.7", "10.0.2.0-10.0.2.9", "fd00::-fd00::ff"},
		} {
			parsed, err := config.Parse([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			c := cluster(t)
			c.Config = parsed
			a.SetCluster(c)
			settle()
			var got []string
			for _, r := range f.last(t).Pools {
				got = append(got, r.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
		}
	})
}

func TestWaitsUntilItKnowsTheOthers(t *testing.T) {
	for _, c := range []struct {
		name     string
		others   int // that should be there
		arrivals []time.Duration
		from, to time.Duration
	}{
		{"all are there", 2, []time.Duration{0, 0}, settleAll + lead, settleAll + lead + 100*time.Millisecond},
		{"the last comes late", 2, []time.Duration{0, 300 * time.Millisecond}, 300*time.Millisecond + settleAll + lead, 500*time.Millisecond + lead},
		{"one is missing", 2, []time.Duration{0}, settleSome + lead, settleSome + lead + 100*time.Millisecond},
		{"all are missing", 2, nil, settleMissing + lead, settleMissing + lead + 100*time.Millisecond},
		{"there should be none", 0, nil, settleAlone + lead, settleAlone + lead + 100*time.Millisecond},
		{"they come one by one", 30, slices.Repeat([]time.Duration{400 * time.Millisecond}, 29), settleMost + lead, settleMost + lead + 100*time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _, stop := start(t)
				defer stop()
				a.SetCluster(cluster(t))
				a.SetLinks(links)
				began := time.Now()
				m := Members{All: map[string]Member{self: {Alive: true}}, Others: c.others}
				a.SetMembers(m)
				go func() {
					for i, after := range c.arrivals {
						time.Sleep(after)
						m.All = maps.Clone(m.All)
						m.All[fmt.Sprint("other", i)] = *alive()
						a.SetMembers(m)
					}
				}()
				for a.Readiness() != nil {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(began); took < c.from || took > c.to {
					t.Errorf("ready after %v, want %v to %v", took, c.from, c.to)
				}
				time.Sleep(settleMost) // let the arrivals end
			})
		})
	}
}

func TestOthersHearOfItBeforeItClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		a.SetCluster(cluster(t))
		a.SetLinks(links)
		a.SetMembers(members(alive()))
		settle()
		if f.readyAt.IsZero() || f.claimedAt.Sub(f.readyAt) < lead {
			t.Errorf("ready at %v, claimed at %v", f.readyAt, f.claimedAt)
		}
	})
}

func TestKnowsTheOwnerBeforeItself(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  *Member
		after   *Member
		from    string
		want    Predecessor
		witness bool
	}{
		{name: "never used", before: nil, after: nil, want: Nobody},
		{name: "planned move from a living node", before: alive(), after: &Member{Member: announce.Member{Ready: true, Draining: true, Links: links}, Alive: true}, from: other, want: Alive},
		{name: "failover", before: alive(), after: &Member{Member: announce.Member{Ready: true, Links: links}, Down: "host gone"}, from: other, want: Down},
		{name: "failover by this node's verdict alone", before: alive(), after: &Member{Down: "unknown", NeedsWitness: true}, from: other, want: Down, witness: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, f, stop := start(t)
				defer stop()
				a.SetCluster(cluster(t))
				a.SetLinks(links)
				a.SetMembers(members(c.before))
				settle()
				time.Sleep(firstUse)
				a.SetMembers(members(c.after))
				time.Sleep(settleMissing + 2*beat)
				synctest.Wait()
				for _, got := range f.last(t).Addresses {
					if got.Addr != theirs {
						continue
					}
					if !got.Mine() || got.From != c.from || got.Predecessor != c.want || got.NeedsWitness != c.witness {
						t.Errorf("mine %v, from %q %v, witness %v", got.Mine(), got.From, got.Predecessor, got.NeedsWitness)
					}
				}
			})
		})
	}
}

// Where all nodes start at once, the first to be ready has no time to find out
// whether an address is free before the one that is elected for good is ready too.
func TestPredecessorOfAnOwner(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	plan := func(owner string, links ...string) *announce.Plan {
		return &announce.Plan{Addresses: []announce.Address{{Addr: mine, Owner: owner, Links: links}}}
	}
	type election struct {
		at    int // milliseconds
		owner string
	}
	const cutOff = "cut off"
	for name, c := range map[string]struct {
		elections []election
		down      bool
		want      Predecessor
	}{
		"the first":                      {[]election{{0, "n1"}}, false, Nobody},
		"after a brief one":              {[]election{{0, "n2"}, {300, "n1"}}, false, Nobody},
		"after two brief ones":           {[]election{{0, "n3"}, {300, "n2"}, {600, "n1"}}, false, Nobody},
		"after a brief one that died":    {[]election{{0, "n2"}, {300, "n1"}}, true, Down},
		"after one that had time":        {[]election{{0, "n2"}, {2000, "n1"}}, false, Alive},
		"brief, but after one with time": {[]election{{0, "n3"}, {2000, "n2"}, {2300, "n1"}}, false, Alive},
		"again, after a brief vacancy":   {[]election{{0, "n1"}, {2000, ""}, {2100, "n1"}}, false, Itself},
		"again, after it was cut off":    {[]election{{0, "n1"}, {2000, cutOff}, {2100, "n1"}}, false, Unheard},
	} {
		s := &state{input: input{members: &Members{All: map[string]Member{"n2": {Alive: !c.down}, "n3": {Alive: true}}}}}
		for _, e := range c.elections {
			p := plan(e.owner, "eth0")
			if e.owner == cutOff {
				p = plan("n2")
			}
			s.tenures = advance(s.tenures, p, at(e.at))
		}
		if got := s.predecessor(0, self); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAGapWithoutEndpointsIsNoChangeOfOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		c := cluster(t)
		a.SetCluster(c)
		a.SetLinks(links)
		a.SetMembers(members(alive()))
		settle()
		time.Sleep(firstUse)
		without := *c
		without.Services = slices.Clone(c.Services)
		without.Services[1].Ready = false
		for range 3 {
			a.Observe(Observation{Addr: mine, Took: true})
			a.SetCluster(&without)
			settle()
			if got := owners(f.last(t))[mine.String()]; got != "" {
				t.Errorf("owner without endpoints: %q", got)
			}
			a.SetCluster(c)
			settle()
			if got := f.last(t).Addresses[0]; !got.Mine() || got.From != self || got.Predecessor != Itself {
				t.Errorf("after the gap: mine %v, from %q %v", got.Mine(), got.From, got.Predecessor)
			}
		}
		want := []Notice{{Service: "shop/web", UID: "u2", Reason: "Announcing", Message: `announcing 10.0.0.2 from node "n1" via eth0`}}
		if diff := cmp.Diff(want, f.notices); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})
}

func TestTellsServicesWhatSpeakersSaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		c := cluster(t)
		c.Services[0].Addresses = []netip.Addr{mine}
		a.SetCluster(c)
		a.SetLinks(links)
		a.SetMembers(members(alive()))
		settle()
		a.Observe(Observation{Addr: mine, Reason: "AddressConflict", Message: "somebody else has it"})
		a.Observe(Observation{Addr: mine}) // only wakes
		a.Observe(Observation{Addr: netip.MustParseAddr("10.9.9.9"), Took: true})
		settle()
		want := []Notice{
			{Service: "shop/api", UID: "u1", Warning: true, Reason: "AddressConflict", Message: "somebody else has it"},
			{Service: "shop/web", UID: "u2", Warning: true, Reason: "AddressConflict", Message: "somebody else has it"},
		}
		if diff := cmp.Diff(want, f.notices); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})
}

func TestStopWaitsUntilOthersHaveTakenOver(t *testing.T) {
	for _, c := range []struct {
		name      string
		members   Members
		takenOver time.Duration // 0: never
		from, to  time.Duration
	}{
		{"taken over", members(alive()), 300 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond},
		{"nobody takes over", members(alive()), 0, drainPatience, drainPatience + 100*time.Millisecond},
		{"nobody could", members(nil), 0, 0, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, f, stop := start(t)
				a.SetCluster(cluster(t))
				a.SetLinks(links)
				a.SetMembers(c.members)
				time.Sleep(settleMissing + 2*beat)
				f.own(mine)
				began := time.Now()
				if c.takenOver > 0 {
					time.AfterFunc(c.takenOver, func() { f.own() })
				}
				stop()
				if took := time.Since(began); took < c.from || took > c.to {
					t.Errorf("stopped after %v, want %v to %v", took, c.from, c.to)
				}
				if last := f.published[len(f.published)-1]; !last.Draining {
					t.Error("the others were not told")
				}
			})
		})
	}
}

func TestIsolatedNodeAsksForWitnesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		a.SetCluster(cluster(t))
		a.SetLinks(links)
		m := members(nil)
		m.Isolated = true
		a.SetMembers(m)
		time.Sleep(settleMissing + 2*beat)
		synctest.Wait()
		for _, got := range f.last(t).Addresses {
			if !got.Mine() || !got.NeedsWitness {
				t.Errorf("%s: mine %v, witness %v", got.Addr, got.Mine(), got.NeedsWitness)
			}
		}
	})
}

func TestUnusableConfigurationKeepsTheNodeUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, stop := start(t)
		defer stop()
		c := cluster(t)
		c.Config, c.ConfigProblem = nil, "line 1: what is this"
		a.SetCluster(c)
		a.SetLinks(links)
		a.SetMembers(members(alive()))
		settle()
		if err := a.Readiness(); err == nil {
			t.Error("ready with a configuration that can not be applied")
		}
		c = cluster(t)
		c.Config = nil // there is none yet: nothing to serve, and nothing wrong
		a.SetCluster(c)
		settle()
		if err := a.Readiness(); err != nil {
			t.Errorf("readiness: %v", err)
		}
	})
}

func TestStatusAndMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f, stop := start(t)
		defer stop()
		if a.Readiness() == nil {
			t.Error("ready before the first step")
		}
		o := alive()
		o.ConfigHash = [8]byte{1, 2, 3}
		a.SetCluster(cluster(t))
		a.SetLinks(links)
		a.SetMembers(members(o))
		f.own(mine)
		settle()
		got := a.Status()
		want := Status{
			Node: self, Ready: true, Cluster: "live", Generation: 7,
			ConfigHash: "0102030000000000000000000000000000000000000000000000000000000000",
			Links:      []LinkStatus{{Name: "eth0", MAC: "02:00:00:00:00:01", Prefixes: links[0].Prefixes}},
			Members:    []MemberStatus{{Node: self, Alive: true}, {Node: other, Alive: true, Ready: true, SameConfig: true}},
			Peers:      []PeerStatus{},
			Addresses: []AddressStatus{
				{Address: mine, Pool: "lan", Protocol: "layer2", Services: []string{"shop/web"}, Owner: self, From: other, FromState: "nobody", Mine: true, Answering: true, Reason: announce.Announced, Links: []string{"eth0"}, Order: []string{self, other}},
				{Address: theirs, Pool: "lan", Protocol: "layer2", Services: []string{"shop/api"}, Owner: other, FromState: "nobody", Reason: announce.NotElected, Links: []string{"eth0"}, Order: []string{other, self}},
			},
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		a.options.Metrics.Register(prometheus.NewPedanticRegistry())
		if n := testutil.ToFloat64(a.options.Metrics.addresses.WithLabelValues("Announced")); n != 1 {
			t.Errorf("%v addresses announced, want 1", n)
		}
		if n := testutil.ToFloat64(a.options.Metrics.members.WithLabelValues("same")); n != 1 {
			t.Errorf("%v members with the same configuration, want 1", n)
		}
		if err := a.Health(time.Now()); err != nil {
			t.Error(err)
		}
		if err := a.Health(time.Now().Add(time.Minute)); err == nil {
			t.Error("healthy a minute after the last round of the loop")
		}
	})
}
