package e2e

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/herald"
)

// rounds is how often a test repeats what it does: HERALD_TEST_ROUNDS, else once.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("HERALD_TEST_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 1
}

// However the owner fails, another node answers in both families, and when it
// is back one node does. How long clients waited is logged.
func TestFailover(t *testing.T) {
	c := onCluster(t)
	s := c.site(t, "failover", 2)
	for _, fault := range []struct {
		name       string
		make, mend func(owner string) error
		back       bool // the owner's announcer comes back by itself
	}{
		{"cable cut", c.CutCable, c.MendCable, false},
		{"powered off", func(n string) error { return c.PowerOff(context.Background(), n) }, func(n string) error { return c.PowerOn(context.Background(), n) }, false},
		{"announcer killed", func(n string) error { return c.KillProcess(n, herald.Announcer, unix.SIGKILL) }, func(string) error { return nil }, true},
		{"frozen", func(n string) error { return c.Freeze(context.Background(), n) }, c.Thaw, false},
	} {
		t.Run(fault.name, func(t *testing.T) {
			for range rounds() {
				s.failover(t, fault.make, fault.mend, fault.back)
			}
		})
	}
}

func (s *site) failover(t *testing.T, fault, mend func(string) error, back bool) {
	t.Helper()
	s.settled(t)
	before := s.owner
	if before == s.server {
		t.Fatalf("the web server is on the owner %s", before)
	}
	owners := s.WatchOwners(s.both())
	defer owners.Stop()
	asking := s.ask(t, s.both())
	s.must(t, fault(before))
	mended := false
	defer func() {
		if !mended {
			s.must(t, mend(before))
		}
	}()
	s.moved(t, owners, s.both(), before)
	if !back {
		time.Sleep(time.Second) // nobody is to take it away again
		for _, a := range s.both() {
			if moves := owners.Moves(a); len(moves) != 2 {
				t.Errorf("%v went from node to node: %v", a, moves)
			}
		}
	}
	asking.reports(t)
	mended = true
	asking = s.ask(t, s.both())
	s.must(t, mend(before))
	s.settled(t)
	if s.owner != before {
		t.Errorf("%s has the address, %s had it before", s.owner, before)
	}
	asking.noneMoved(t, 1) // it comes back in one move
}
