package agent

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// Status is the loop's state for people and tools. Its JSON form is part of the
// program's interface; the names in it do not follow those in the code.
type Status struct {
	Node          string          `json:"node"`
	Ready         bool            `json:"ready"`
	WaitingFor    string          `json:"waitingFor,omitempty"`
	Draining      bool            `json:"draining,omitempty"`
	Cluster       string          `json:"cluster"` // incomplete, saved or live
	Generation    int64           `json:"generation"`
	ConfigHash    string          `json:"configHash,omitempty"`
	ConfigProblem string          `json:"configProblem,omitempty"`
	Links         []LinkStatus    `json:"links"`
	Members       []MemberStatus  `json:"members"`
	Addresses     []AddressStatus `json:"addresses"`
	Peers         []PeerStatus    `json:"peers"`
}

// PeerStatus is a router, the session with it, and what it is told.
type PeerStatus struct {
	Peer            string        `json:"peer"`
	Address         netip.Addr    `json:"address"`
	LocalASN        uint32        `json:"localASN"`
	PeerASN         uint32        `json:"peerASN"`
	State           string        `json:"state"`
	Since           *time.Time    `json:"since,omitempty"`
	Reason          string        `json:"reason,omitempty"` // why there is no session, or why the last one ended
	GracefulRestart bool          `json:"gracefulRestart"`
	BFD             string        `json:"bfd,omitempty"`
	BFDReason       string        `json:"bfdReason,omitempty"`
	Problems        []string      `json:"problems,omitempty"`
	Routes          []RouteStatus `json:"routes"`
}

// RouteStatus is what a router is told of one prefix.
type RouteStatus struct {
	Prefix           netip.Prefix `json:"prefix"`
	NextHop          netip.Addr   `json:"nextHop"`
	LocalPref        *uint32      `json:"localPref,omitempty"` // for iBGP
	Communities      []string     `json:"communities,omitempty"`
	LargeCommunities []string     `json:"largeCommunities,omitempty"`
	Leaving          bool         `json:"leaving,omitempty"` // it is about to be withdrawn
}

// LinkStatus is one of this node's links.
type LinkStatus struct {
	Name     string         `json:"name"`
	MAC      string         `json:"mac"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// MemberStatus is what this node knows of another one's announcer.
type MemberStatus struct {
	Node       string     `json:"node"`
	Address    netip.Addr `json:"address"`
	Alive      bool       `json:"alive"`
	Down       string     `json:"down,omitempty"`
	Ready      bool       `json:"ready"`
	Draining   bool       `json:"draining,omitempty"`
	SameConfig bool       `json:"sameConfig"`
	Since      time.Time  `json:"since"`
}

// AddressStatus is the decision about one address.
type AddressStatus struct {
	Address   netip.Addr      `json:"address"`
	Pool      string          `json:"pool,omitempty"`
	Protocol  string          `json:"protocol,omitempty"`
	Services  []string        `json:"services"`
	Owner     string          `json:"owner,omitempty"`
	From      string          `json:"from,omitempty"` // the owner before
	FromState string          `json:"fromState"`      // nobody, alive, itself, down or unheard: what became of it
	Mine      bool            `json:"mine"`
	Answering bool            `json:"answering"` // this node answers for it at this moment
	Reason    announce.Reason `json:"reason"`
	Links     []string        `json:"links,omitempty"`
	Order     []string        `json:"order,omitempty"`
}

// Status returns the state of the loop.
func (a *Agent) Status() Status {
	s := a.state.Load()
	out := Status{
		Node: a.options.Node, Ready: s.local.Ready, WaitingFor: s.waiting, Draining: s.local.Draining,
		Cluster: announce.Incomplete.String(),
	}
	if c := s.input.cluster; c != nil {
		out.Cluster, out.Generation, out.ConfigProblem = c.Freshness.String(), c.Generation, c.ConfigProblem
		if c.Config != nil {
			out.ConfigHash = hex.EncodeToString(c.Hash[:])
		}
	}
	for _, l := range s.local.Links {
		out.Links = append(out.Links, LinkStatus{Name: l.Name, MAC: l.MAC.String(), Prefixes: l.Prefixes})
	}
	out.Members = memberStatuses(s)
	out.Addresses = a.addressStatuses(s)
	out.Peers = peerStatuses(s.routes, a.options.BGP.Sessions())
	return out
}

func peerStatuses(routes map[string]announce.PeerRoutes, sessions []Session) []PeerStatus {
	out := []PeerStatus{}
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		p := routes[name]
		st := PeerStatus{
			Peer: name, Address: p.Peer.Address, LocalASN: p.Peer.MyASN, PeerASN: p.Peer.PeerASN,
			State: "held", Reason: p.Held, Problems: p.Problems, Routes: make([]RouteStatus, len(p.Routes)),
		}
		if i := slices.IndexFunc(sessions, func(s Session) bool { return s.Peer == name }); i >= 0 && p.Held == "" {
			s := sessions[i]
			st.State, st.Since, st.Reason = s.State, &s.Since, s.Reason
			st.GracefulRestart, st.BFD, st.BFDReason = s.GracefulRestart, s.BFD, s.BFDReason
		}
		for i := range p.Routes {
			st.Routes[i] = routeStatus(&p.Routes[i], p.Peer.MyASN == p.Peer.PeerASN)
		}
		out = append(out, st)
	}
	return out
}

func routeStatus(r *announce.BGPRoute, ibgp bool) RouteStatus {
	st := RouteStatus{Prefix: r.Prefix, NextHop: r.NextHop, Leaving: r.Leaving}
	if ibgp {
		st.LocalPref = &r.LocalPref
	}
	for _, c := range r.Communities {
		st.Communities = append(st.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range r.LargeCommunities {
		st.LargeCommunities = append(st.LargeCommunities, fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2))
	}
	return st
}

// Health returns an error if the loop has not come round for longer than it
// ever should.
func (a *Agent) Health(now time.Time) error {
	const limit = 15 * beat
	last := a.beats.Load()
	if last == 0 {
		return nil // it has not begun
	}
	if since := now.Sub(time.Unix(0, last)); since > limit {
		return fmt.Errorf("the loop has not come round for %s", since.Round(time.Second))
	}
	return nil
}

// Readiness returns an error that says what this node waits for, or nil if it
// serves, and its routers had the time to hear of it.
func (a *Agent) Readiness() error {
	s := a.state.Load()
	switch {
	case s.waiting != "":
		return fmt.Errorf("waiting for %s", s.waiting)
	case !s.greeted && s.input.cluster.Config != nil:
		return errors.New("waiting for sessions with routers")
	}
	return nil
}

func memberStatuses(s *state) []MemberStatus {
	if s.input.members == nil {
		return nil
	}
	var out []MemberStatus
	for _, name := range slices.Sorted(maps.Keys(s.input.members.All)) {
		m := s.input.members.All[name]
		out = append(out, MemberStatus{
			Node: name, Address: m.Address, Alive: m.Alive, Down: m.Down, Ready: m.Ready, Draining: m.Draining,
			SameConfig: m.ConfigHash == s.local.ConfigHash, Since: m.Since,
		})
	}
	return out
}

func (a *Agent) addressStatuses(s *state) []AddressStatus {
	owned := a.options.Layer2.Owned() // sorted
	out := make([]AddressStatus, len(s.plan.Addresses))
	for i := range s.plan.Addresses {
		p := &s.plan.Addresses[i]
		_, answering := slices.BinarySearchFunc(owned, p.Addr, netip.Addr.Compare)
		out[i] = AddressStatus{
			Address: p.Addr, Pool: p.Pool, Protocol: string(p.Protocol), Services: p.Services,
			Owner: p.Owner, From: s.tenures[i].from, FromState: s.predecessor(i, a.options.Node).String(), Mine: p.Mine(), Answering: answering,
			Reason: p.Reason, Links: p.Links, Order: p.Order,
		}
	}
	return out
}
