package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/bfd"
	"github.com/herald-lb/herald/pkg/announce/bgp"
	"github.com/herald-lb/herald/pkg/config"
)

func peerRoutes(t *testing.T) announce.PeerRoutes {
	t.Helper()
	c, err := config.Parse([]byte(`
peers:
- {name: tor, my-asn: 64512, peer-asn: 64513, peer-address: 10.0.0.1, peer-port: 1179, source-address: 10.0.0.9, hold-time: 9s,
   connect-time: 5s, password: s3cret, ebgp-multihop: true, bfd-profile: fast}
bfd-profiles: [{name: fast, transmit-interval: 50, receive-interval: 60, detect-multiplier: 4, passive-mode: true, minimum-ttl: 250}]
`))
	if err != nil {
		t.Fatal(err)
	}
	return announce.PeerRoutes{Peer: c.Peers[0], RouterID: netip.MustParseAddr("10.0.0.9"), BFD: &c.BFDProfiles[0], Multihop: true}
}

func TestSettingsOfPeersReachTheSpeakerAndBFD(t *testing.T) {
	p := peerRoutes(t)
	addr := cmpopts.EquateComparable(netip.Addr{})
	want := bgp.Peer{
		LocalASN: 64512, PeerASN: 64513, Address: p.Peer.Address, Port: 1179, SourceAddress: p.Peer.SourceAddress, RouterID: p.RouterID,
		HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, ConnectTime: 5 * time.Second, Password: "s3cret", Multihop: true,
		RestartTime: restartTime, KeepOnNotification: true,
	}
	if diff := cmp.Diff(want, bgpPeer(&p), addr); diff != "" {
		t.Errorf("BGP (-want +got):\n%s", diff)
	}
	wantBFD := bfd.SessionConfig{
		Peer: p.Peer.Address, Local: p.Peer.SourceAddress, Multihop: true, MinimumTTL: 250,
		TransmitInterval: 50 * time.Millisecond, ReceiveInterval: 60 * time.Millisecond, DetectMultiplier: 4, Passive: true,
	}
	if diff := cmp.Diff(wantBFD, bfdSession(&p), addr); diff != "" {
		t.Errorf("BFD (-want +got):\n%s", diff)
	}
	// A dead node's routes must not outlive its hold time where nothing else
	// tells that it is dead.
	if p.BFD = nil; bgpPeer(&p).KeepOnNotification {
		t.Error("routers keep the routes of a dead node")
	}
}

func TestHeldPeersHaveNoSession(t *testing.T) {
	var log strings.Builder
	r := newRouters(slog.New(slog.NewTextHandler(&log, nil)))
	held := peerRoutes(t)
	held.Held = "there is no Secret tor"
	for range 2 {
		r.Apply(map[string]announce.PeerRoutes{"tor": held})
	}
	sessions := r.Sessions()
	if len(sessions) != 1 || sessions[0].Up || sessions[0].Reason != held.Held || sessions[0].State != "held" {
		t.Errorf("%+v", sessions)
	}
	if n := strings.Count(log.String(), held.Held); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
	if strings.Contains(log.String()+fmt.Sprintf("%+v", sessions), "s3cret") {
		t.Error("the password is shown")
	}
	if !r.Settled() {
		t.Error("there is nothing to wait for")
	}
}

func TestNextHopsComeFromTheKernel(t *testing.T) {
	r := newRouters(slog.New(slog.DiscardHandler))
	here := netip.MustParseAddr("127.0.0.1")
	got := r.NextHops([]config.Peer{{Name: "here", Address: here}, {Name: "nowhere", Address: here, SourceAddress: netip.MustParseAddr("203.0.113.77")}})
	if len(got) != 1 || got["here"].IPv4 != here {
		t.Errorf("%+v", got)
	}
}
