package agent

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// waitingFor says what this node waits for before it is ready, or "".
func (a *Agent) waitingFor(in input, now time.Time) string {
	switch {
	case in.cluster == nil || in.cluster.Freshness == announce.Incomplete:
		return "the API server"
	case !in.haveLinks:
		return "the list of links"
	case in.members == nil:
		return "the membership"
	case in.cluster.Config == nil && in.cluster.ConfigProblem != "":
		return "a configuration that can be applied: " + in.cluster.ConfigProblem
	case a.state.Load().local.Ready || a.settled(in.members, now):
		return ""
	}
	return "other members"
}

// settled reports whether this node has been among its fellow members for long
// enough to know who has which address, and to be sure that it is not the view
// that is incomplete.
func (a *Agent) settled(m *Members, now time.Time) bool {
	others := 0
	for name, member := range m.All {
		if name != a.options.Node && member.Alive {
			others++
		}
	}
	if a.joined.IsZero() {
		a.joined = now
	}
	if a.started.IsZero() || a.company != others {
		a.started, a.company = now, others
	}
	since := now.Sub(a.started)
	switch {
	case now.Sub(a.joined) >= settleMost:
		return true
	case others == 0 && m.Others == 0:
		return since >= settleAlone
	case others == 0:
		return since >= settleMissing
	case others < m.Others:
		return since >= settleSome
	}
	return since >= settleAll
}

// describe says what this node tells the others of itself.
func (a *Agent) describe(in input, ready bool) Local {
	l := Local{Ready: ready, Draining: a.draining, Links: in.links}
	if in.cluster != nil {
		copy(l.ConfigHash[:], in.cluster.Hash[:])
	}
	return l
}

func (a *Agent) publish(l Local, now time.Time) {
	if a.local != nil && reflect.DeepEqual(*a.local, l) {
		return
	}
	if a.local == nil || a.local.Ready != l.Ready {
		a.readyAt = now
		a.log.Info("this node's readiness", "ready", l.Ready, "links", len(l.Links))
	}
	a.local = &l
	a.options.Membership.Publish(l)
}

// decide makes the plan of a state and hands it to the layer-2 speaker. It
// returns false if nothing that the plan depends on has changed.
func (a *Agent) decide(before, after *state, now time.Time) bool {
	if before.input.cluster == after.input.cluster && before.input.members == after.input.members &&
		(before.waiting == "") == (after.waiting == "") && reflect.DeepEqual(before.local, after.local) {
		return false
	}
	began := time.Now()
	after.plan = announce.Decide(a.snapshot(after))
	after.tenures = advance(before.tenures, &after.plan, now)
	a.options.Layer2.Apply(a.desired(after))
	a.options.Metrics.decided(time.Since(began))
	a.report(announce.Diff(before.plan, after.plan))
	return true
}

// snapshot gathers what a decision depends on. Of itself a node knows best.
func (a *Agent) snapshot(s *state) announce.Snapshot {
	c, self := s.input.cluster, a.options.Node
	members := make(map[string]announce.Member, len(s.input.members.All)+1)
	for name, m := range s.input.members.All {
		if m.Alive {
			members[name] = m.Member
		}
	}
	members[self] = announce.Member{Name: self, Ready: s.waiting == "", Draining: s.local.Draining, Links: s.local.Links}
	return announce.Snapshot{Self: self, Config: c.Config, Services: c.Services, Nodes: c.Nodes, Members: members}
}

// desired says what the layer-2 speaker is to bring about.
func (a *Agent) desired(s *state) Desired {
	members := *s.input.members
	d := Desired{Self: a.options.Node, Members: members.All, Links: s.local.Links, Pools: poolRanges(s.input.cluster.Config)}
	d.Addresses = make([]Address, 0, len(s.plan.Addresses))
	for i := range s.plan.Addresses {
		p := &s.plan.Addresses[i]
		if !p.Layer2() {
			continue
		}
		from, predecessor := s.tenures[i].from, s.predecessor(i, a.options.Node)
		d.Addresses = append(d.Addresses, Address{
			Address: p, From: from, Predecessor: predecessor,
			NeedsWitness: (members.Isolated || members.All[from].NeedsWitness) && predecessor != Unheard,
		})
	}
	return d
}

// poolRanges returns the ranges of all layer-2 pools, sorted.
func poolRanges(c *config.Config) []netipx.IPRange {
	if c == nil {
		return nil
	}
	var ranges []netipx.IPRange
	for _, p := range c.Pools {
		if p.Protocol == config.Layer2 {
			ranges = append(ranges, p.Ranges...)
		}
	}
	slices.SortFunc(ranges, func(a, b netipx.IPRange) int { return a.From().Compare(b.From()) })
	return ranges
}

// report logs and counts changes of owner. There may be thousands at once.
func (a *Agent) report(changes []announce.Change) {
	var gained, lost []string
	for _, c := range changes {
		switch a.options.Node {
		case c.To:
			gained = append(gained, c.Addr.String())
		case c.From:
			lost = append(lost, c.Addr.String())
		}
	}
	a.options.Metrics.changed(len(gained), len(lost), len(changes)-len(gained)-len(lost))
	if len(gained) > 0 {
		a.log.Info("elected", "count", len(gained), "addresses", abridge(gained))
	}
	if len(lost) > 0 {
		a.log.Info("no longer elected", "count", len(lost), "addresses", abridge(lost))
	}
}

func abridge(list []string) string {
	const most = 10
	if len(list) > most {
		return strings.Join(list[:most], " ") + " …"
	}
	return strings.Join(list, " ")
}

// tell passes what the speakers saw on to the users of the Services concerned:
// of a new owner once, however often it begins to answer.
func (a *Agent) tell(s *state, observations []Observation) {
	for _, o := range observations {
		d, i, ok := s.find(o)
		if !ok {
			continue
		}
		reason, message := o.Reason, o.Message
		if o.Took {
			if s.tenures[i].told {
				continue
			}
			s.tenures = slices.Clone(s.tenures)
			s.tenures[i].told = true
			reason = "Announcing"
			message = fmt.Sprintf("announcing %s from node %q via %s", o.Addr, a.options.Node, strings.Join(d.Links, ", "))
		}
		if reason != "" {
			a.record(s, d, Notice{Warning: !o.Took, Reason: reason, Message: message})
		}
	}
}

// find returns the decision about the address of an observation, and its index.
func (s *state) find(o Observation) (*announce.Address, int, bool) {
	i, ok := s.plan.Index(o.Addr)
	if !ok {
		return nil, 0, false
	}
	return &s.plan.Addresses[i], i, true
}

// record tells each Service on an address.
func (a *Agent) record(s *state, d *announce.Address, n Notice) {
	for _, name := range d.Services {
		svc, ok := s.input.cluster.Service(name)
		if !ok {
			continue
		}
		n.Service, n.UID = svc.Name, svc.UID
		a.options.Recorder.Record(n)
	}
}
