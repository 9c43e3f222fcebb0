package agent

import (
	"net/netip"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// firstUse is how long the first owner of an address may take to find out whether
// it is free. Whoever is elected earlier than that can't know that it was.
const firstUse = 1500 * time.Millisecond

// tenure says who owns an address and who did before. A time without an owner
// is no change of owner: one that comes back follows itself.
type tenure struct {
	addr        netip.Addr
	owner, from string
	since       time.Time // of owner
	untried     bool      // from was the first, and not for long enough to use it
	vacant      bool      // nobody is elected; owner was the last
	linked      bool      // this node has a link that serves it
	returned    bool      // this node had none when owner was elected
	told        bool      // the Services on it have been told of this owner
}

// advance returns the tenures under a new plan, given those under the one
// before and the time. An address that the new plan does not have is forgotten.
func advance(before []tenure, plan *announce.Plan, now time.Time) []tenure {
	after := make([]tenure, len(plan.Addresses))
	for i := range plan.Addresses {
		a := &plan.Addresses[i]
		for len(before) > 0 && before[0].addr.Less(a.Addr) {
			before = before[1:]
		}
		t := tenure{addr: a.Addr}
		if len(before) > 0 && before[0].addr == a.Addr {
			t = before[0]
		}
		if a.Owner != "" && (a.Owner != t.owner || t.vacant) {
			t.told = t.told && a.Owner == t.owner
			t.untried = (t.from == "" || t.untried) && now.Sub(t.since) < firstUse
			t.from, t.owner, t.since, t.returned = t.owner, a.Owner, now, !t.linked
		}
		t.vacant, t.linked = a.Owner == "", len(a.Links) > 0
		after[i] = t
	}
	return after
}

// predecessor says what became of the previous owner of an address, by its
// index in the plan, as far as the members tell.
func (s *state) predecessor(i int, self string) Predecessor {
	from := s.tenures[i].from
	switch {
	case from == "":
		return Nobody
	case s.tenures[i].returned:
		return Unheard
	case s.tenures[i].untried && s.input.members.All[from].Alive:
		// It may be found in use still. If from has begun to use it after
		// all, it answers, and that is as good as knowing.
		return Nobody
	case from == self:
		return Itself
	case s.input.members.All[from].Alive:
		return Alive
	}
	return Down
}
