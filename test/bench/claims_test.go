package bench

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/herald-lb/herald/pkg/announce"
)

func TestClaims(t *testing.T) {
	n1, n2 := announce.MAC{1}, announce.MAC{2}
	a, b := netip.MustParseAddr("10.99.128.1"), netip.MustParseAddr("10.99.128.2")
	w := &claims{nodes: map[announce.MAC]string{n1: "n1", n2: "n2"}, now: map[netip.Addr]claim{}}
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	w.saw(n1, a, at(1))
	w.saw(n1, a, at(2))                                 // again
	w.saw(announce.MAC{3}, a, at(3))                    // no node
	w.saw(n1, netip.MustParseAddr("10.99.0.11"), at(4)) // not of the pool
	if diff := cmp.Diff(claim{"n1", at(1)}, w.owner(a), cmp.AllowUnexported(claim{})); diff != "" || w.moved() != 0 {
		t.Errorf("owner: -want +got\n%s; moved %d times, want 0", diff, w.moved())
	}
	w.saw(n2, a, at(5))
	if got := w.owner(a); got.node != "n2" || w.moved() != 1 {
		t.Errorf("owner %v, moved %d times; want n2, once", got, w.moved())
	}
	left := w.unowned([]netip.Addr{a, b}, func(c claim) bool { return c.node != "" })
	if diff := cmp.Diff([]string{b.String()}, []string{left[0].String()}); diff != "" || len(left) != 1 {
		t.Errorf("without an owner: %v, want %v", left, b)
	}
}
