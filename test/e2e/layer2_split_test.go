package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/herald"
)

// oneOwner waits until each address has one owner, and says how long it took
// until that was so for good.
func (s *site) oneOwner(t *testing.T, o *herald.Owners, since time.Time) time.Duration {
	t.Helper()
	const calm = 2 * time.Second
	var last time.Time
	eventually(t, 20*time.Second, "each address has one owner", func() error {
		for _, a := range s.addresses {
			if d, _ := o.Settled(a); d < calm {
				return fmt.Errorf("%v: %v", a, o.Last(a).Hosts)
			}
		}
		return nil
	})
	for _, a := range s.addresses {
		if at := o.Last(a).At; at.After(last) {
			last = at
		}
	}
	return max(last.Sub(since), 0)
}

// healsWithin is the goal for a healed partition, and what asking adds to it.
const healsWithin = time.Second + 250*time.Millisecond

// The owner and the others don't see each other, clients see both: each side
// may have an owner. There is one when they see each other again.
func TestPartitionHeals(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "partition", 2)
	heal, err := c.Part(t.Context(), s.owner)
	c.must(t, err)
	time.Sleep(3 * time.Second) // they find each other down
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	time.Sleep(time.Second)
	for _, a := range s.addresses {
		t.Logf("%v during the partition: %v", a, o.Last(a).Hosts)
		if len(o.Last(a).Hosts) == 0 {
			t.Errorf("nobody answers for %v", a)
		}
	}
	c.must(t, heal())
	if took := s.oneOwner(t, o, time.Now()); took > healsWithin {
		t.Errorf("two owners for %v after the partition healed", took)
	} else {
		t.Logf("one owner %v after the partition healed", took)
	}
}

// The owner and the next in line are cut off; the third takes over, and gives
// back when the cables are mended.
func TestAllButOneCutOff(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "cut-off", 2)
	left := s.server // it has the web server, too
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	for _, node := range c.Nodes() {
		if node != left {
			c.must(t, c.CutCable(node))
			t.Cleanup(func() { c.must(t, c.MendCable(node)) })
		}
	}
	eventually(t, 20*time.Second, "the one that is left answers", func() error {
		for _, a := range s.addresses {
			if owner := o.Last(a).Owner(); owner != left {
				return fmt.Errorf("%v: %q", a, owner)
			}
		}
		return nil
	})
	for _, node := range c.Nodes() {
		c.must(t, c.MendCable(node))
	}
	t.Logf("one owner for good %v after the cables were mended", s.oneOwner(t, o, time.Now()))
	s.settled(t)
}

// Announcers that don't hear each other, on a LAN that works, leave it at that.
func TestMembersBlockedNobodyMoves(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "blocked", 3)
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.both())
	clear, err := c.BlockMembers(t.Context())
	c.must(t, err)
	time.Sleep(6 * time.Second)
	c.must(t, clear())
	time.Sleep(3 * time.Second)
	asking.none(t)
	unmoved(t, o, s.addresses)
	s.settled(t)
}

// The owner's members' traffic alone is blocked: the others find it down, and
// the LAN tells them that it is not.
func TestOwnerUnheardKeepsItsAddresses(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "unheard", 3)
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	asking := s.ask(t, s.both())
	clear, err := c.Filter(t.Context(), s.owner, herald.MembersTraffic()...)
	c.must(t, err)
	time.Sleep(6 * time.Second)
	c.must(t, clear())
	time.Sleep(3 * time.Second)
	asking.none(t)
	unmoved(t, o, s.both())
	s.settled(t)
}

// Every cable is cut for a while, the router's and the client's not.
func TestAllCutOffAndBack(t *testing.T) {
	needsTime(t)
	c := onCluster(t)
	s := c.site(t, "all-cut", 2)
	before := s.owner
	o := s.WatchOwners(s.addresses)
	defer o.Stop()
	for _, node := range c.Nodes() {
		c.must(t, c.CutCable(node))
		t.Cleanup(func() { c.must(t, c.MendCable(node)) })
	}
	time.Sleep(4 * time.Second)
	for _, node := range slices.Backward(c.Nodes()) {
		c.must(t, c.MendCable(node))
	}
	mended := time.Now()
	t.Logf("one owner for good %v after the cables were mended", s.oneOwner(t, o, mended))
	s.settled(t)
	if s.owner != before {
		t.Errorf("%s has the address, %s had it before", s.owner, before)
	}
}
