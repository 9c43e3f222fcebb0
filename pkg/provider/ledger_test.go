package provider

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var year = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// aged returns what a Service asks for that is so many seconds old.
func aged(name string, age int, edit ...func(*v1.Service)) ask {
	return asks(loadBalancer(name, append(edit, func(s *v1.Service) {
		s.CreationTimestamp = metav1.NewTime(year.Add(-time.Duration(age) * time.Second))
	})...))
}

// parsed returns the configuration with one pool.
func parsed(t testing.TB, ranges ...string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(pool("a", ranges...)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// accept makes the ledger accept a configuration.
func (l *ledger) accept(c *config.Config) []decision {
	_, out := l.reconfigure(func(strandedFunc) verdict { return verdict{outcome: accepted, config: c} })
	return out
}

// summary is a decision in short.
func summary(decisions ...decision) []string {
	var out []string
	for _, d := range decisions {
		s := fmt.Sprint(d.key.Name, " ", d.addresses)
		if d.refusal != nil {
			s += " " + d.refusal.Reason.String()
		}
		for _, c := range d.cleared {
			s += " lost " + c.Address.String()
		}
		out = append(out, s)
	}
	return out
}

func expect(t *testing.T, what string, got []decision, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, summary(got...)); diff != "" {
		t.Errorf("%s: decisions differ (-want +got):\n%s", what, diff)
	}
}

func TestLedgerServesTheOldestFirst(t *testing.T) {
	l := newLedger(newCollectors())
	first, others := l.ensure(aged("first", 30))
	expect(t, "no configuration", append(others, first), "first [] NoConfiguration")
	l.ensure(aged("older", 50))
	l.ensure(aged("younger", 10))
	expect(t, "configuration", l.accept(parsed(t, "192.0.2.0/31")), "older [192.0.2.0]", "first [192.0.2.1]", "younger [] PoolExhausted")

	// Given back, but still shown: nobody gets it.
	l.release("default/first")
	expect(t, "draining", l.reconsider())
	l.observe("default/first", []netip.Addr{netip.MustParseAddr("192.0.2.1")})
	expect(t, "still shown", l.reconsider())

	// A newcomer comes before anybody reconsidered: who waited gets it.
	l.observe("default/first", nil)
	newcomer, others := l.ensure(aged("newcomer", 0))
	expect(t, "freed", append(others, newcomer), "younger [192.0.2.1]", "newcomer [] PoolExhausted")

	// A change of reason is a decision, the same reason again is none.
	l.wake()
	expect(t, "nothing new", l.reconsider())
	l.release("default/newcomer")
	if _, refusals := l.usage(); refusals[ipam.PoolExhausted] != 0 {
		t.Errorf("%v still wait", refusals)
	}
}

func TestLedgerPrime(t *testing.T) {
	l := newLedger(newCollectors())
	adopt := func(name string, age int, shown string) adoption {
		a := adoption{ask: aged(name, age)}
		if shown != "" {
			a.shown = []netip.Addr{netip.MustParseAddr(shown)}
		}
		return a
	}
	deleting := adopt("deleting", 99, "192.0.2.1")
	deleting.deleting = true
	c := parsed(t, "192.0.2.0/30")
	l.prime(c, []adoption{
		adopt("waits", 90, ""), deleting, adopt("young", 1, "192.0.2.0"), adopt("twice", 0, "192.0.2.0"), adopt("outside", 5, "198.51.100.1"),
	})
	_, decisions := l.reconfigure(func(strandedFunc) verdict { return verdict{outcome: unchanged} })
	expect(t, "prime", decisions, "waits [192.0.2.2]", "outside [192.0.2.3] lost 198.51.100.1", "twice [] PoolExhausted lost 192.0.2.0")
	for range 3 {
		d, others := l.ensure(aged("young", 1))
		expect(t, "idempotent", append(others, d), "young [192.0.2.0]")
	}
}

func TestLedgerWithoutConfiguration(t *testing.T) {
	l := newLedger(newCollectors())
	l.accept(parsed(t, "192.0.2.0/30"))
	l.ensure(aged("held", 9))
	_, decisions := l.reconfigure(func(strandedFunc) verdict { return verdict{outcome: absent, missing: "gone"} })
	expect(t, "deleted", decisions)
	held, _ := l.ensure(aged("held", 9, func(s *v1.Service) { s.Spec.LoadBalancerIP = "192.0.2.2" }))
	other, _ := l.ensure(aged("other", 9))
	expect(t, "without", []decision{held, other}, "held [192.0.2.0]", "other [] NoConfiguration")
	_, decisions = l.reconfigure(func(strandedFunc) verdict { return verdict{outcome: unchanged} })
	expect(t, "back", decisions, "other [192.0.2.1]")
}

func TestLedgerKeepsWhatNonsenseHolds(t *testing.T) {
	l := newLedger(newCollectors())
	l.accept(parsed(t, "192.0.2.0/30"))
	l.ensure(aged("web", 9))
	d, _ := l.ensure(aged("web", 9, annotated("herald-lb.io/loadBalancerIPs", "typo")))
	expect(t, "typo", []decision{d}, "web [192.0.2.0] InvalidRequest")
	d, _ = l.ensure(aged("new", 9, annotated("herald-lb.io/loadBalancerIPs", "typo")))
	expect(t, "typo of a new one", []decision{d}, "new [] InvalidRequest")
}

func TestLedgerReaddresses(t *testing.T) {
	l := newLedger(newCollectors())
	l.accept(parsed(t, "192.0.2.0/30"))
	for i := range 3 {
		l.ensure(aged(fmt.Sprint("web", i), 9-i))
	}
	expect(t, "smaller", l.accept(parsed(t, "192.0.2.1/32", "198.51.100.0/32")),
		"web0 [198.51.100.0] lost 192.0.2.0", "web2 [] PoolExhausted lost 192.0.2.2")
}

func TestLedgerAddsTheSecondFamily(t *testing.T) {
	l := newLedger(newCollectors())
	both := func(s *v1.Service) {
		policy := v1.IPFamilyPolicyPreferDualStack
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []v1.IPFamily{v1.IPv4Protocol, v1.IPv6Protocol}, &policy
	}
	l.accept(parsed(t, "192.0.2.0/30"))
	d, _ := l.ensure(aged("web", 9, both))
	expect(t, "one", []decision{d}, "web [192.0.2.0]")
	expect(t, "both", l.accept(parsed(t, "192.0.2.0/30", "2001:db8::/126")), "web [192.0.2.0 2001:db8::]")
}

func BenchmarkLedgerFreedWithWaiters(b *testing.B) {
	l := newLedger(newCollectors())
	l.accept(parsed(b, "192.0.2.0/30"))
	for i := range 10_000 {
		l.ensure(aged(fmt.Sprint("web", i), 20_000-i))
	}
	next := 0
	for b.Loop() {
		uid := types.UID(fmt.Sprint("default/web", next))
		l.release(uid)
		l.observe(uid, nil)
		l.reconsider()
		l.ensure(aged(fmt.Sprint("web", next), next))
		next = (next + 1) % 10_000
	}
}
