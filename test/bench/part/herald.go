package part

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/agent"
	"github.com/herald-lb/herald/pkg/announce/bgp"
	"github.com/herald-lb/herald/pkg/config"
)

const node = "n1"

// herald is Herald's agent with its BGP speaker.
type herald struct {
	agent    *agent.Agent
	cluster  announce.Cluster // with all Services
	stop     context.CancelFunc
	speaking *errgroup.Group
}

func newHerald(ctx context.Context, o announcing) (*herald, error) {
	parsed, err := config.Parse([]byte(heraldDocument(o.Routers)))
	if err != nil {
		return nil, err
	}
	h := &herald{cluster: announce.Cluster{
		Freshness: announce.Live, Config: parsed,
		Nodes: map[string]announce.Node{node: {Name: node, Addresses: []netip.Addr{nodeSide(o.Routers[0])}}},
	}}
	for i := range o.Most {
		h.cluster.Services = append(h.cluster.Services, announce.Service{
			Name: fmt.Sprintf("default/s%06d", i), UID: fmt.Sprint(i), Addresses: []netip.Addr{address(i)}, Ready: true, ReadyNodes: []string{node},
		})
	}
	log := slog.New(slog.DiscardHandler)
	r := &routers{changed: func() {}}
	r.speaker = bgp.New(bgp.Options{Logger: log, Notify: func(bgp.Status) { r.changed() }})
	h.agent = agent.New(agent.Options{
		Node: node, Layer2: nothing{}, BGP: r, Membership: nothing{}, Recorder: nothing{}, Log: log, Metrics: agent.NewMetrics(),
	})
	r.changed = h.agent.Wake
	ctx, h.stop = context.WithCancel(ctx)
	h.speaking, ctx = errgroup.WithContext(ctx)
	h.speaking.Go(func() error { return r.speaker.Run(ctx) })
	h.speaking.Go(func() error { return h.agent.Run(ctx) })
	h.agent.SetLinks(nil)
	h.agent.SetMembers(agent.Members{All: map[string]agent.Member{node: {Member: announce.Member{Name: node, Ready: true}, Alive: true}}})
	return h, h.announce(0)
}

func heraldDocument(routers []netip.Addr) string {
	var b strings.Builder
	b.WriteString("peers:\n")
	for _, r := range routers {
		fmt.Fprintf(&b, "- {peer-address: %v, peer-asn: %d, my-asn: %d}\n", r, routerASN, nodeASN)
	}
	b.WriteString("address-pools:\n- {name: default, protocol: bgp, addresses: [100.64.0.0/10]}\n")
	return b.String()
}

func (h *herald) announce(n int) error {
	now := h.cluster
	now.Services = now.Services[:n]
	h.agent.SetCluster(&now)
	return nil
}

func (h *herald) close() {
	h.stop()
	_ = h.speaking.Wait() // it was told to end
}

// routers lets the agent speak to the speaker, as the announcer does.
type routers struct {
	speaker *bgp.Speaker
	changed func()
}

// Apply makes the speaker hold the sessions that are wanted.
func (r *routers) Apply(all map[string]announce.PeerRoutes) {
	sessions := make(map[string]bgp.Desired, len(all))
	for name, p := range all {
		sessions[name] = bgp.Desired{Routes: p.Routes, Peer: bgp.Peer{
			LocalASN: p.Peer.MyASN, PeerASN: p.Peer.PeerASN, Address: p.Peer.Address, Port: p.Peer.Port, RouterID: p.RouterID,
			HoldTime: p.Peer.HoldTime, RestartTime: 90 * time.Second,
		}}
	}
	r.speaker.Apply(sessions)
}

// Settled reports whether the speaker has done all that it was asked for.
func (r *routers) Settled() bool {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	return r.speaker.Settled(over) == nil
}

// NextHops asks the kernel for this node's addresses towards the peers.
func (r *routers) NextHops(peers []config.Peer) map[string]announce.NextHops {
	out := make(map[string]announce.NextHops, len(peers))
	for i := range peers {
		if hops, err := bgp.FindNextHops(peers[i].Address, peers[i].SourceAddress); err == nil {
			out[peers[i].Name] = hops
		}
	}
	return out
}

// Sessions returns the sessions as the agent knows them.
func (r *routers) Sessions() []agent.Session {
	var out []agent.Session
	for _, s := range r.speaker.Statuses() {
		out = append(out, agent.Session{
			Peer: s.Peer, State: s.State.String(), Up: s.State == bgp.Established, Since: s.Since, Reason: s.Reason,
			LocalAddress: s.LocalAddress, GracefulRestart: s.GracefulRestart,
		})
	}
	slices.SortFunc(out, func(a, b agent.Session) int { return cmp.Compare(a.Peer, b.Peer) })
	return out
}

// nothing stands for what has nothing to do here: there is no LAN, no other
// node and no API server.
type nothing struct{}

// Apply does nothing.
func (nothing) Apply(agent.Desired) {}

// Owned returns no address.
func (nothing) Owned() []netip.Addr { return nil }

// Publish does nothing.
func (nothing) Publish(agent.Local) {}

// Record does nothing.
func (nothing) Record(agent.Notice) {}
