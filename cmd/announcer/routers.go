package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/agent"
	"github.com/herald-lb/herald/pkg/announce/bfd"
	"github.com/herald-lb/herald/pkg/announce/bgp"
	"github.com/herald-lb/herald/pkg/config"
)

// restartTime is how long routers are asked to keep this node's routes while
// its announcer restarts: no longer than they believe a dead node, by the
// hold-time that peers have if nothing else is configured.
const restartTime = 90 * time.Second

// routers lets the agent speak to the BGP speaker, and brings it together with
// BFD, by the names of the peers.
type routers struct {
	log     *slog.Logger
	speaker *bgp.Speaker
	bfd     *bfd.Manager
	changed func() // a session has changed; it must not block

	paths map[string]bfd.Status // as BFD told last; its goroutine's

	mu   sync.Mutex // guards held
	held map[string]string
}

func newRouters(log *slog.Logger) *routers {
	r := &routers{log: log, changed: func() {}, paths: map[string]bfd.Status{}}
	r.speaker = bgp.New(bgp.Options{Logger: log, Notify: func(bgp.Status) { r.changed() }})
	r.bfd = bfd.New(bfd.Options{Logger: log, Notify: r.pathChanged})
	return r
}

// Apply makes the speaker and BFD hold the sessions that are wanted.
func (r *routers) Apply(all map[string]announce.PeerRoutes) {
	sessions, paths, held := map[string]bgp.Desired{}, map[string]bfd.SessionConfig{}, map[string]string{}
	for name, p := range all {
		if p.Held != "" {
			held[name] = p.Held
			continue
		}
		sessions[name] = bgp.Desired{Peer: bgpPeer(&p), Routes: p.Routes}
		if p.BFD != nil {
			paths[name] = bfdSession(&p)
		}
	}
	r.mu.Lock()
	before := r.held
	r.held = held
	r.mu.Unlock()
	for name, why := range held {
		if before[name] != why {
			r.log.Warn("no BGP session", "peer", name, "reason", why)
		}
	}
	r.speaker.Apply(sessions)
	r.bfd.Apply(paths)
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
		hops, err := bgp.FindNextHops(peers[i].Address, peers[i].SourceAddress)
		if err != nil {
			r.log.Debug("this node's addresses towards a router are not known", "peer", peers[i].Name, "err", err)
			continue // the session says why
		}
		out[peers[i].Name] = hops
	}
	return out
}

// Sessions returns the sessions as the agent knows them.
func (r *routers) Sessions() []agent.Session {
	paths := map[string]bfd.Status{}
	for _, s := range r.bfd.States() {
		paths[s.Key] = s
	}
	r.mu.Lock()
	held := maps.Clone(r.held)
	r.mu.Unlock()
	var out []agent.Session
	for _, s := range r.speaker.Statuses() {
		delete(held, s.Peer)
		session := agent.Session{
			Peer: s.Peer, State: s.State.String(), Up: s.State == bgp.Established, Since: s.Since, Reason: s.Reason,
			LocalAddress: s.LocalAddress, GracefulRestart: s.GracefulRestart,
		}
		if path, ok := paths[s.Peer]; ok {
			session.BFD, session.BFDReason = path.State.String(), path.Reason
		}
		out = append(out, session)
	}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		out = append(out, agent.Session{Peer: name, State: "held", Reason: held[name]})
	}
	slices.SortFunc(out, func(a, b agent.Session) int { return cmp.Compare(a.Peer, b.Peer) })
	return out
}

// pathChanged ends a session whose path has broken, and has one tried at once
// whose path works. A router that ends BFD by intent says nothing of the path
// (RFC 5882, section 3.2).
func (r *routers) pathChanged(s bfd.Status) {
	was := r.paths[s.Key]
	r.paths[s.Key] = s
	switch {
	case s.State == was.State && s.Flaps == was.Flaps:
		return
	case s.State == bfd.Up:
		r.speaker.Retry(s.Key)
	case s.Flaps > was.Flaps && s.RemoteState != bfd.AdminDown:
		r.speaker.Reset(s.Key, "BFD: "+s.Reason)
	}
	r.changed()
}

// bgpPeer says in the speaker's words how to hold a session.
func bgpPeer(p *announce.PeerRoutes) bgp.Peer {
	return bgp.Peer{
		LocalASN: p.Peer.MyASN, PeerASN: p.Peer.PeerASN, Address: p.Peer.Address, Port: p.Peer.Port,
		SourceAddress: p.Peer.SourceAddress, RouterID: p.RouterID,
		HoldTime: p.Peer.HoldTime, KeepaliveTime: p.Peer.KeepaliveTime, ConnectTime: p.Peer.ConnectTime,
		Password: p.Peer.Password, Multihop: p.Peer.EBGPMultihop,
		RestartTime: restartTime, KeepOnNotification: p.BFD != nil,
	}
}

// bfdSession says in BFD's words how to watch the path to a router.
func bfdSession(p *announce.PeerRoutes) bfd.SessionConfig {
	return bfd.SessionConfig{
		Peer: p.Peer.Address, Local: p.Peer.SourceAddress, Multihop: p.Multihop, MinimumTTL: p.BFD.MinimumTTL,
		TransmitInterval: p.BFD.TransmitInterval, ReceiveInterval: p.BFD.ReceiveInterval,
		DetectMultiplier: p.BFD.DetectMultiplier, Passive: p.BFD.PassiveMode,
	}
}
